package tlspolicy

import (
	"crypto/x509"
	"time"
)

// Peer is what a certificate proved about a server.
type Peer struct {
	Present bool   // there was a certificate
	Trusted bool   // it leads to a CA, or TLSA records make one of its certificates trusted
	Matched bool   // it is what the level demands
	Name    string // the expected name that it has, "" where names do not matter
	// Authentic: what matched could not be forged on the way (decision 1).
	Authentic bool
	// Unusable: no TLSA record could be used; nothing was proved.
	Unusable bool
	Why      string // why not Trusted or not Matched, for the log
}

// Secured reports whether the log may say "Verified": matched against something
// that could not be forged by DNS; "halfdane" is only "Trusted".
func (p Peer) Secured(level Level) bool { return p.Matched && level != HalfDANE }

// Verify compares a server's chain, the leaf first, with the policy. pkix is why
// the chain does not lead to a CA that is trusted (nil: it does); it matters where
// Level.UsesPKIX or no match is demanded. An empty chain proves nothing.
func (p *Policy) Verify(chain []*x509.Certificate, pkix error, now time.Time) Peer {
	if len(chain) == 0 {
		return Peer{Why: "the server has no certificate"}
	}
	return Peer{Present: true, Trusted: pkix == nil}
}
