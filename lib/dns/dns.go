// Package dns is the stub resolver of the mail system: MX, address, PTR
// and TLSA lookups through the recursive servers of resolv.conf or of dns_servers.
//
// A lookup sends one UDP question with EDNS0 to each server in turn, as often as
// resolv.conf's "attempts" says, repeats a truncated answer over TCP, and takes a
// reply only when id and question are its own. Answers are kept for their TTL in
// a bounded cache of the process. Names are looked up as written: there is no
// search list, no "ndots".
//
// It is the only place that believes an AD bit, and only as decision 46 says:
// from the servers of resolv.conf when "options trust-ad" is there, from
// dns_servers when dns_servers_authentic is set. A CNAME chain that took several
// questions is authentic when every step of it was.
//
// Errors wrap one of ErrNotFound, ErrNoData, ErrTemporary and ErrMalformed; the
// text is the reason that Postfix writes to the log.
package dns

import (
	"context"
	"errors"
	"net/netip"
)

var (
	ErrNotFound  = errors.New("host not found")           // NXDOMAIN, or a name that cannot exist
	ErrNoData    = errors.New("no data of this type")     // name exists
	ErrTemporary = errors.New("temporary lookup failure") // SERVFAIL, timeout
	ErrMalformed = errors.New("malformed name or reply")
)

// Limits on replies (security-cases.md §2.J).
const (
	MaxRecords = 100 // resource records of one answer that are looked at
	MaxCNAMEs  = 10  // steps of a CNAME chain
)

// Result says how far an answer can be believed, and whose records it has.
type Result struct {
	Authentic bool // AD bit from a believed server, in every step of a CNAME chain
	// Canonical is the name that owns the records, without trailing dot, when CNAME
	// records led away from the name asked for; else "".
	Canonical string
}

// MX is one mail exchanger.
type MX struct {
	Host string // without trailing dot; "" is the null MX (RFC 7505); may be an address
	Pref uint16
}

// Resolver looks names up. The zero value of an implementation's Result means
// not authentic. Errors wrap the sentinels; an error's text is the log's reason:
// "Host or domain name not found. Name service error for name=X type=MX: Host not found".
type Resolver interface {
	// MX gives the mail exchangers in the order of the reply.
	MX(ctx context.Context, domain string) ([]MX, Result, error)
	// Addrs gives A records, then AAAA records. When one of the two lookups fails
	// and the other does not, what was found is returned.
	Addrs(ctx context.Context, host string, v4, v6 bool) ([]netip.Addr, Result, error)
	// PTR gives names without trailing dot; names that are not host names are left out.
	PTR(ctx context.Context, addr netip.Addr) ([]string, Result, error)
}

// SecureResolver is a Resolver that DANE can stand on.
type SecureResolver interface {
	Resolver
	// TLSA gives the records in the order of the reply. ErrNotFound and ErrNoData,
	// where authentic, say that there are none.
	TLSA(ctx context.Context, name string) ([]TLSA, Result, error)
	// CNAME gives one step: what name is an alias of. Its Result is about that step
	// alone, while that of the other lookups is about all steps together.
	CNAME(ctx context.Context, name string) (target string, res Result, err error)
	// Probe sends dnssec_probe ("type:name") and says why answers are not validated;
	// nil when they are, or when the probe is empty.
	Probe(ctx context.Context, probe string) error
}

// Settings from main.cf.
type Settings struct {
	Servers          []string `conf:"dns_servers"`
	ServersAuthentic bool     `conf:"dns_servers_authentic"`
	// WantDNSSEC sets the DO bit in questions (smtp_dns_support_level = dnssec).
	WantDNSSEC bool
}

// Error is a lookup that failed. Its text is the reason for the log.
type Error struct {
	Name, Type string
	Kind       error // one of the sentinels
	Cause      error // what went wrong on the way to the last server; may be nil
	Invalid    bool  // Name is not a host name; nothing was asked
	Loop       bool  // CNAME records lead in a circle, or through too many names
}

func (e *Error) Error() string {
	if e.Invalid {
		return "Name service error for " + e.Name + ": invalid host or domain name"
	}
	if e.Loop {
		return "Name server loop for " + e.Name
	}
	const prefix = "Host or domain name not found. "
	text := "Name service error for name=" + e.Name + " type=" + e.Type + ": "
	switch e.Kind {
	case ErrNotFound:
		return prefix + text + "Host not found"
	case ErrNoData:
		return prefix + text + "Host found but no data record of requested type"
	case ErrMalformed:
		return text + "Malformed or unexpected name server reply"
	default:
		return prefix + text + "Host not found, try again"
	}
}

// Unwrap gives the sentinel and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
