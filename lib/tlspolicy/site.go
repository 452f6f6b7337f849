package tlspolicy

import (
	"net"

	"sealpost/lib/idn"
	"sealpost/lib/route"
)

// Site is what a policy is asked for: one host of one destination.
type Site struct {
	// Nexthop is the key for policy tables: the destination as written, with any
	// [ ] and :port, without "inet:" or "unix:" (route.Destination.Plain; the path
	// of a Unix socket).
	Nexthop string
	// Domain is the name in Nexthop as A-labels, without [ ], "ipv6:" and port; for
	// a Unix socket $myhostname. It is what "nexthop" matches.
	Domain string
	// Host is the name of the server: of an MX or SRV record, or Domain, or an
	// address. For a Unix socket $myhostname.
	Host string
	Port uint16 // 0 for a Unix socket
	Unix bool
	// HostAuthentic: every lookup that led from Domain to Host was (DNSSEC), or
	// there was none. Not known means false.
	HostAuthentic bool
	// Canonical is what CNAME records of Host led to; "": Host has none.
	Canonical string
	// AddrAuthentic: the lookup of Host's addresses was, with all CNAME steps.
	AddrAuthentic bool
	// TLSRequiredNo: the message says "TLS-Required: no" and nothing overrides that
	// (requiretls.md §6.5).
	TLSRequiredNo bool
}

// SiteOf is the site of a host that was found for a destination. myHostname names
// both ends of a Unix socket.
func SiteOf(d route.Destination, h route.Host, myHostname string) Site {
	if h.Unix != "" {
		return Site{Nexthop: h.Unix, Domain: myHostname, Host: myHostname, Unix: true, HostAuthentic: true}
	}
	domain := d.Host
	if ascii, err := idn.ToASCII(domain); err == nil && net.ParseIP(domain) == nil {
		domain = ascii // a name without that form has no hosts either
	}
	return Site{
		Nexthop: d.Plain, Domain: domain, Host: h.Name, Port: h.Addr.Port(),
		HostAuthentic: h.Authentic, AddrAuthentic: h.AddrAuthentic, Canonical: h.Canonical,
	}
}
