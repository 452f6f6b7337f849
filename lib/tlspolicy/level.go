package tlspolicy

import "strings"

// Level is a TLS security level. A higher one is not always a stronger one, but
// all above Encrypt match the certificate.
type Level int

// The levels, with Postfix's numbers.
const (
	None        Level = iota // no TLS
	May                      // TLS where it is offered
	Encrypt                  // TLS, with any certificate
	Fingerprint              // a certificate with a known digest
	HalfDANE                 // TLSA records of a host whose name came from unsigned DNS
	DANE                     // TLSA records where there are any
	DANEOnly                 // TLSA records
	Verify                   // a trusted certificate for the name of the host
	Secure                   // a trusted certificate for the name of the destination
)

var levelNames = [...]string{"none", "may", "encrypt", "fingerprint", "halfdane", "dane", "dane-only", "verify", "secure"}

// String is the level's name in main.cf and in the log; HalfDANE is only in the log.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return "unknown"
	}
	return levelNames[l]
}

// ParseLevel reads the name of a level that can be configured.
func ParseLevel(name string) (Level, bool) {
	for i, known := range levelNames {
		if l := Level(i); l != HalfDANE && strings.EqualFold(name, known) {
			return l, true
		}
	}
	return None, false
}

// Mandatory reports whether the level demands TLS.
func (l Level) Mandatory() bool { return l >= Encrypt }

// MatchesCertificate reports whether the level demands a certificate that matches.
func (l Level) MatchesCertificate() bool { return l > Encrypt }

// UsesTLSA reports whether the certificate is matched against TLSA records.
func (l Level) UsesTLSA() bool { return l == HalfDANE || l == DANE || l == DANEOnly }

// UsesPKIX reports whether the certificate must be trusted by a CA and have one of
// Policy.Names.
func (l Level) UsesPKIX() bool { return l == Verify || l == Secure }
