package route

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"sealpost/lib/dns"
	"sealpost/lib/dsn"
)

// Config is how hosts are found; values as of the parameters of main.cf.
type Config struct {
	Resolver   dns.Resolver
	Table      *dns.Hosts // for lookups of kind native
	UseDNS     bool       // smtp_dns_support_level, disable_dns_lookups
	HostDNS    bool       // smtp_host_lookup has dns
	HostNative bool       // smtp_host_lookup has native
	DNSSEC     bool       // smtp_dns_support_level = dnssec
	IPv4, IPv6 bool       // inet_protocols

	IgnoreMXError bool   // ignore_mx_lookup_error
	DeferNoMXAddr bool   // smtp_defer_if_no_mx_address_found
	Preference    string // smtp_address_preference: any, ipv4, ipv6
	Balance       bool   // smtp_balance_inet_protocols
	AddressLimit  int    // smtp_mx_address_limit; 0: none
	Randomize     bool   // smtp_randomize_addresses
	LoopPort      uint16 // loops are looked for when the destination has this port; 0: never
	Self          Self
	Shuffle       func(n int, swap func(i, j int)) // math/rand/v2.Shuffle
	ASCII         func(domain string) (string, error)
}

// Self says which hosts are this mail system.
type Self struct {
	Name  string // myhostname
	Addrs []netip.Addr
}

func (s Self) is(h Host) bool {
	addr := h.Addr.Addr()
	return addr.IsUnspecified() || slices.Contains(s.Addrs, addr)
}

// Failure is why there is no host to try. Status.Code says whether that may change.
type Failure struct {
	Status dsn.Status
	// BestMX: this system is the best mail exchanger of the destination: mail
	// would loop. No other destination can help.
	BestMX bool
	// Warnings are what the administrator of the destination did wrong.
	Warnings []string
}

func (f *Failure) Error() string { return f.Status.Reason }

// Plan is the outcome of a lookup.
type Plan struct {
	Hosts []Host // in the order in which to try them
	// BestMX: hosts were left out because this system is a mail exchanger of the
	// destination: fallback relays must not be used.
	BestMX   bool
	Warnings []string
}

// Hosts finds the hosts of a destination. The error is a *Failure.
func (c *Config) Hosts(ctx context.Context, d Destination) (Plan, error) {
	if d.Unix != "" {
		return Plan{Hosts: []Host{{Name: c.Self.Name, Unix: d.Unix, Best: true, For: d.Plain}}}, nil
	}
	name := d.Host
	if c.ASCII != nil && !isASCII(name) {
		ascii, err := c.ASCII(name)
		if err != nil {
			return Plan{}, fail("5.1.2", "malformed domain name in next hop "+d.Text+": "+err.Error())
		}
		name, d.Host = ascii, ascii
	}
	mx, authentic, err := c.exchangers(ctx, d, name)
	if err != nil {
		return Plan{}, err
	}
	hosts, err := c.addresses(ctx, d, mx, authentic)
	if err != nil {
		return Plan{}, err
	}
	hosts = c.order(hosts)
	plan := Plan{Warnings: numericNames(d, mx)}
	if c.LoopPort != 0 && d.Port == c.LoopPort {
		if hosts, plan.BestMX = c.dropSelf(hosts); len(hosts) == 0 {
			return Plan{}, &Failure{BestMX: true, Status: dsn.Status{Code: "5.4.6",
				Reason: "mail for " + d.Plain + " loops back to myself"}}
		}
	}
	best := hosts[0].Pref
	for i := range hosts {
		hosts[i].Best = hosts[i].Pref == best
	}
	plan.Hosts = c.limit(hosts)
	return plan, nil
}

// exchangers gives the names to look up: those of the MX records, or the name
// itself (RFC 5321 §5.1, RFC 7505).
func (c *Config) exchangers(ctx context.Context, d Destination, name string) ([]dns.MX, bool, error) {
	itself := []dns.MX{{Host: name}}
	if _, literal := dns.Literal(name); !d.MX || literal || !c.UseDNS {
		return itself, true, nil
	}
	list, res, err := c.Resolver.MX(ctx, name)
	switch {
	case err == nil:
	case errors.Is(err, dns.ErrNotFound), errors.Is(err, dns.ErrNoData):
		return itself, res.Authentic, nil
	case errors.Is(err, dns.ErrTemporary) && c.IgnoreMXError:
		return itself, false, nil
	default:
		return nil, false, lookupFailure(err)
	}
	real := list[:0]
	for _, mx := range list {
		if mx.Host != "" {
			real = append(real, mx)
		}
	}
	if len(real) == 0 {
		return nil, false, fail("5.1.10", "Domain "+name+" does not accept mail (nullMX)")
	}
	slices.SortStableFunc(real, func(a, b dns.MX) int { return int(a.Pref) - int(b.Pref) })
	return real, res.Authentic, nil
}

// addresses looks each exchanger up. Those without address are passed over; when
// none has one, a reason to try again wins over the others.
func (c *Config) addresses(ctx context.Context, d Destination, list []dns.MX, authentic bool) ([]Host, error) {
	var hosts []Host
	var why *Failure
	for _, mx := range list {
		addrs, res, err := c.host(ctx, mx.Host)
		if err != nil {
			if f := lookupFailure(err); why == nil || !soft(why) {
				why = f
			}
			continue
		}
		for _, addr := range addrs {
			h := Host{
				Name: mx.Host, Addr: netip.AddrPortFrom(addr.Unmap(), d.Port), Pref: mx.Pref, For: d.Plain,
				Authentic: authentic, AddrAuthentic: res.Authentic, Canonical: res.Canonical,
			}
			if !slices.ContainsFunc(hosts, func(o Host) bool { return o.Addr == h.Addr }) {
				hosts = append(hosts, h)
			}
		}
	}
	if len(hosts) > 0 {
		return hosts, nil
	}
	if len(list) > 1 || list[0].Host != d.Host {
		why.Warnings = append(why.Warnings, "no MX host for "+d.Host+" has a valid address record")
	}
	if c.DeferNoMXAddr && !soft(why) && d.MX {
		why.Status.Code = dsn.SetClass(why.Status.Code, dsn.CodeSoft4)
	}
	return nil, why
}

// numericNames finds MX records that give an address where a name belongs.
func numericNames(d Destination, list []dns.MX) (warnings []string) {
	for _, mx := range list {
		if _, literal := dns.Literal(mx.Host); literal && mx.Host != d.Host {
			warnings = append(warnings, "numeric domain name in resource data of MX record for "+d.Host+": "+mx.Host)
		}
	}
	return warnings
}

// host finds the addresses of one name, in the DNS first (smtp_host_lookup).
func (c *Config) host(ctx context.Context, name string) ([]netip.Addr, dns.Result, error) {
	if addr, literal := dns.Literal(name); literal {
		if addr = addr.Unmap(); addr.Is4() && c.IPv4 || addr.Is6() && c.IPv6 {
			return []netip.Addr{addr}, dns.Result{}, nil
		}
		return nil, dns.Result{}, fail("5.4.4", "unable to look up host "+name+": address family is disabled by inet_protocols")
	}
	var last error
	if c.UseDNS && c.HostDNS {
		addrs, res, err := c.Resolver.Addrs(ctx, name, c.IPv4, c.IPv6)
		if err == nil || !c.HostNative || c.DNSSEC && errors.Is(err, dns.ErrTemporary) {
			return addrs, res, err
		}
		last = err
	}
	if addrs := c.Table.Lookup(name, c.IPv4, c.IPv6); len(addrs) > 0 {
		return addrs, dns.Result{}, nil
	}
	if last == nil {
		// The system's own lookup goes on to the DNS (nsswitch "files dns").
		addrs, _, err := c.Resolver.Addrs(ctx, name, c.IPv4, c.IPv6)
		if err == nil {
			return addrs, dns.Result{}, nil
		}
		last = native(name, err)
	}
	return nil, dns.Result{}, last
}

// native words a failure as the system's own lookup does.
func native(name string, err error) error {
	if errors.Is(err, dns.ErrTemporary) {
		return fail("4.4.3", "unable to look up host "+name+": Temporary failure in name resolution")
	}
	return fail("5.4.4", "unable to look up host "+name+": Name or service not known")
}

// order sorts by preference. Among equals the order is random, then the
// preferred address family comes first.
func (c *Config) order(hosts []Host) []Host {
	if c.Randomize && c.Shuffle != nil {
		c.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	}
	slices.SortStableFunc(hosts, func(a, b Host) int {
		if a.Pref != b.Pref {
			return int(a.Pref) - int(b.Pref)
		}
		return c.family(a) - c.family(b)
	})
	return hosts
}

func (c *Config) family(h Host) int {
	v4 := h.Addr.Addr().Is4()
	if c.Preference == "ipv4" && !v4 || c.Preference == "ipv6" && v4 {
		return 1
	}
	return 0
}

// dropSelf leaves out this system and every host that is not better.
func (c *Config) dropSelf(hosts []Host) ([]Host, bool) {
	for _, h := range hosts {
		if !c.Self.is(h) {
			continue
		}
		n := slices.IndexFunc(hosts, func(o Host) bool { return o.Pref >= h.Pref })
		return hosts[:n], true
	}
	return hosts, false
}

// limit keeps smtp_mx_address_limit addresses; with Balance an address family
// that would be cut off completely gets the last places, at most half of them.
func (c *Config) limit(hosts []Host) []Host {
	n := c.AddressLimit
	if n <= 0 || len(hosts) <= n {
		return hosts
	}
	kept := slices.Clone(hosts[:n])
	if !c.Balance || n < 2 {
		return kept
	}
	v4 := kept[0].Addr.Addr().Is4()
	if slices.ContainsFunc(kept, func(h Host) bool { return h.Addr.Addr().Is4() != v4 }) {
		return kept
	}
	var other []Host
	for _, h := range hosts[n:] {
		if h.Addr.Addr().Is4() != v4 && len(other) < n/2 {
			other = append(other, h)
		}
	}
	return append(kept[:n-len(other)], other...)
}

// lookupFailure gives a lookup's error its status code.
func lookupFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	code := "5.4.4"
	if errors.Is(err, dns.ErrTemporary) {
		code = "4.4.3"
	}
	return fail(code, err.Error())
}

func fail(code, reason string) *Failure {
	return &Failure{Status: dsn.Status{Code: code, Reason: reason}}
}

func soft(f *Failure) bool { return f.Status.Code[0] == dsn.CodeSoft4 }

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
