package tlspolicy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"sealpost/lib/certname"
	"sealpost/lib/dns"
	"sealpost/lib/dsn"
	"sealpost/lib/mtasts"
)

// Origin says where a name to match comes from.
type Origin int

// The origins of names.
const (
	Explicit   Origin = iota // written in main.cf or a policy table
	Nexthop                  // the destination's domain
	DotNexthop               // a name below it
	Hostname                 // the host's name
	TLSABase                 // where the TLSA records were found, or what led there
)

// String is the strategy's name in main.cf.
func (o Origin) String() string {
	return [...]string{"explicit", "nexthop", "dot-nexthop", "hostname", "dane"}[o]
}

// Name is a name that a certificate may have.
type Name struct {
	Text   string // lower case; ".domain" stands for names below domain
	Origin Origin
	// Authentic: Text does not come from a lookup that could be forged: from DNS
	// with DNSSEC, from an STS policy's patterns, or from no lookup (decision 1).
	Authentic bool
}

// Policy is what is demanded of one host. It is not changed after Lookup.
type Policy struct {
	Initial Level  // as configured
	Level   Level  // in effect; what the log shows
	Reason  string // why Level is not Initial; "" when it is

	Names        []Name // Verify, Secure; and the levels of DANE for usage 2
	Matcher      certname.Matcher
	Fingerprints []string   // Fingerprint: lower-case hexadecimal digits, no colons
	Digest       string     // algorithm of Fingerprints: sha256 ...
	TLSA         []dns.TLSA // DANE levels: those that can be used, at least one
	TLSADomain   string     // base domain: _port._tcp.TLSADomain has them

	Protocols     string             // syntax of smtp_tls_protocols, with ":" or blanks between words
	Ciphers       string             // grade
	Exclude       string             // ciphers and types not to be used
	TrustAnchors  []string           // files that replace the CA files of main.cf
	ServerName    string             // SNI; "": none is sent
	Reuse         bool               // smtp_tls_connection_reuse
	RawKeys       bool               // enable_rpk
	Wrapper       bool               // TLS from the first byte
	HostAuthentic bool               // the name of the host is: Site.HostAuthentic, or an STS policy lists it
	STS           *mtasts.Attributes // of a policy table; nil: none

	// Warnings are for the log: what an administrator can mend.
	Warnings []string
}

// Authenticates reports whether the level matches certificates against something
// that could not be forged on the way: what RFC 8689 §4.2.1 demands (decision 1).
// After the handshake Peer.Authentic says it of the name that matched.
func (p *Policy) Authenticates() bool {
	switch {
	case p.Level == Fingerprint:
		return true
	case p.Level == DANE || p.Level == DANEOnly:
		return p.HostAuthentic
	case p.Level.UsesPKIX():
		for _, n := range p.Names {
			if n.Authentic {
				return true
			}
		}
	}
	return false
}

// NameTexts are the names to match, those that are authentic first.
func (p *Policy) NameTexts() []string {
	texts := make([]string, 0, len(p.Names))
	for _, first := range [...]bool{true, false} {
		for _, n := range p.Names {
			if n.Authentic == first {
				texts = append(texts, n.Text)
			}
		}
	}
	return texts
}

// Key tells connections apart: one that was made under a policy can serve under
// another exactly when the keys are equal. Reasons and warnings are not part of it.
func (p *Policy) Key() string {
	h := sha256.New()
	add := func(values ...any) {
		for _, v := range values {
			text := fmt.Sprint(v)
			fmt.Fprintf(h, "%d:%s,", len(text), text)
		}
	}
	add(p.Level, p.Matcher, p.Digest, p.TLSADomain, p.Protocols, p.Ciphers, p.Exclude,
		p.ServerName, p.RawKeys, p.Wrapper, p.HostAuthentic)
	add(len(p.Names))
	for _, n := range p.Names {
		add(n)
	}
	for _, list := range [][]string{p.Fingerprints, p.TrustAnchors} {
		add(len(list))
		for _, s := range list {
			add(s)
		}
	}
	for _, r := range p.TLSA {
		add(r.Usage, r.Selector, r.Matching, hex.EncodeToString(r.Data))
	}
	if p.STS != nil {
		add(p.STS.Type, p.STS.Domain, p.STS.Failure)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Error is why there is no policy: the host is not to be connected to. Code is
// always of class 4, so that mail waits.
type Error struct {
	Status   dsn.Status // Code and Reason
	Warnings []string   // for the log, with what the status does not say
	Cause    error      // a table or lookup that failed; may be nil
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Status.Reason
	}
	return e.Status.Reason + ": " + strings.TrimSpace(e.Cause.Error())
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

func fail(code, reason string, cause error) *Error {
	return &Error{Status: dsn.Status{Code: code, Reason: reason}, Cause: cause}
}
