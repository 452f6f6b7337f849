package tlsconn

import (
	"crypto/x509"
	"fmt"
	"strings"

	"sealpost/lib/tlspolicy"
)

// LogLevel is what smtpd_tls_loglevel and smtp_tls_loglevel ask for: a set.
type LogLevel uint

// The parts of a log level.
const (
	LogSummary   LogLevel = 1 << iota // one line for each handshake
	LogUntrusted                      // the summary of peers that are not trusted
	LogPeerCert                       // names and fingerprints of the peer
	LogCertMatch                      // what was compared, and why it did not match
	LogVerbose                        // the steps
	LogCache                          // sessions that are resumed
	LogDANE                           // TLSA records
)

const (
	logRoutine = LogSummary
	logDebug   = logRoutine | LogUntrusted | LogPeerCert | LogCertMatch | LogVerbose | LogCache | LogDANE
)

// logNames are the words of a log level. Those of OpenSSL's own debugging have no
// counterpart in crypto/tls: they mean what the level below them means, and
// Problems says so.
var logNames = map[string]LogLevel{
	"0": 0, "none": 0, "1": logRoutine, "routine": logRoutine, "2": logDebug, "debug": logDebug,
	"3": logDebug, "ssl-expert": logDebug, "4": logDebug, "ssl-developer": logDebug,
	"summary": LogSummary, "untrusted": LogUntrusted, "peercert": LogPeerCert, "certmatch": LogCertMatch,
	"verbose": LogVerbose, "cache": LogCache, "dane": LogDANE,
	"ssl-debug": 0, "ssl-handshake-packet-dump": 0, "ssl-session-packet-dump": 0, "trace": 0,
}

// beyond are the words that ask for more than crypto/tls can tell.
var beyond = []string{"3", "4", "ssl-expert", "ssl-developer", "ssl-debug",
	"ssl-handshake-packet-dump", "ssl-session-packet-dump", "trace"}

// ParseLogLevel reads a log level: a number from 0 to 4, or a list of names.
func ParseLogLevel(value string) (LogLevel, error) {
	var level LogLevel
	for _, word := range splitWords(value) {
		bits, ok := logNames[strings.ToLower(word)]
		if !ok {
			return 0, fmt.Errorf("bad value %q; specify a number from 0 to 4 or a list of: summary, untrusted, peercert, certmatch, verbose, cache, dane", word)
		}
		level |= bits
	}
	return level, nil
}

// Has reports whether any of these parts is asked for.
func (l LogLevel) Has(part LogLevel) bool { return l&part != 0 }

// Describe is the peer's certificate in one line: names and fingerprints.
func (f *Facts) Describe(digest string) string {
	leaf := f.Leaf()
	if leaf == nil {
		return "no certificate"
	}
	cert, _ := tlspolicy.Digest(digest, leaf.Raw)
	key, _ := tlspolicy.Digest(digest, leaf.RawSubjectPublicKeyInfo)
	return fmt.Sprintf("subject_CN=%s, issuer_CN=%s, fingerprint=%s, pkey_fingerprint=%s",
		leaf.Subject.CommonName, IssuerName(leaf), withColons(cert), withColons(key))
}

// IssuerName is the issuer's common name, or its organization.
func IssuerName(cert *x509.Certificate) string {
	if cert.Issuer.CommonName == "" && len(cert.Issuer.Organization) > 0 {
		return cert.Issuer.Organization[0]
	}
	return cert.Issuer.CommonName
}

// Fingerprints are the digests of a certificate and of its public key, as tables
// have them: "AB:CD:...".
func Fingerprints(cert *x509.Certificate, digest string) (whole, key string) {
	whole, _ = tlspolicy.Digest(digest, cert.Raw)
	key, _ = tlspolicy.Digest(digest, cert.RawSubjectPublicKeyInfo)
	return withColons(whole), withColons(key)
}

func withColons(hex string) string {
	hex = strings.ToUpper(hex)
	var b strings.Builder
	for i := 0; i+1 < len(hex); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(hex[i : i+2])
	}
	return b.String()
}
