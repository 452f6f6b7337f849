package dnstest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"sealpost/lib/dns"
)

// Map is a dns.Resolver made of plain maps. Keys are lower case, without
// trailing dot. A name that is in no map does not exist. An entry of Fail or
// Authentic is a name (an address for PTR), for all types or as "name/TYPE";
// the types are MX, A, AAAA and PTR.
type Map struct {
	MXs       map[string][]dns.MX
	Hosts     map[string][]string // addresses of both families
	PTRs      map[string][]string // address to names
	Fail      []string            // temporary failure
	Authentic []string
}

// MX implements dns.Resolver.
func (m Map) MX(ctx context.Context, domain string) ([]dns.MX, dns.Result, error) {
	res, err := m.check(ctx, domain, "MX")
	if err != nil {
		return nil, res, err
	}
	list := m.MXs[mapKey(domain)]
	if len(list) == 0 {
		return nil, res, m.none(domain, "MX")
	}
	return slices.Clone(list), res, nil
}

// Addrs implements dns.Resolver.
func (m Map) Addrs(ctx context.Context, host string, v4, v6 bool) ([]netip.Addr, dns.Result, error) {
	if addr, ok := dns.Literal(host); ok {
		return []netip.Addr{addr}, dns.Result{}, nil
	}
	var found []netip.Addr
	var res dns.Result
	var last error
	for _, family := range []struct {
		wanted bool
		qtype  string
		is     func(netip.Addr) bool
	}{{v4, "A", netip.Addr.Is4}, {v6, "AAAA", netip.Addr.Is6}} {
		if !family.wanted {
			continue
		}
		r, err := m.check(ctx, host, family.qtype)
		if err != nil {
			last = err
			continue
		}
		n := len(found)
		for _, text := range m.Hosts[mapKey(host)] {
			if addr := netip.MustParseAddr(text); family.is(addr) {
				found = append(found, addr)
			}
		}
		if len(found) > n {
			res.Authentic = r.Authentic && (res.Authentic || n == 0)
		} else if !errors.Is(last, dns.ErrTemporary) {
			last = m.none(host, family.qtype)
		}
	}
	if len(found) == 0 {
		return nil, res, last
	}
	return found, res, nil
}

// PTR implements dns.Resolver.
func (m Map) PTR(ctx context.Context, addr netip.Addr) ([]string, dns.Result, error) {
	res, err := m.check(ctx, addr.String(), "PTR")
	if err != nil {
		return nil, res, err
	}
	names := m.PTRs[addr.String()]
	if len(names) == 0 {
		return nil, res, &dns.Error{Name: addr.String(), Type: "PTR", Kind: dns.ErrNotFound}
	}
	return slices.Clone(names), res, nil
}

func (m Map) check(ctx context.Context, name, qtype string) (dns.Result, error) {
	_, literal := dns.Literal(name)
	switch {
	case ctx.Err() != nil:
		return dns.Result{}, &dns.Error{Name: name, Type: qtype, Kind: dns.ErrTemporary, Cause: ctx.Err()}
	case !literal && !dns.ValidHostname(name):
		return dns.Result{}, &dns.Error{Name: name, Type: qtype, Kind: dns.ErrNotFound, Invalid: true}
	case listed(m.Fail, name, qtype):
		return dns.Result{}, &dns.Error{Name: name, Type: qtype, Kind: dns.ErrTemporary}
	}
	return dns.Result{Authentic: listed(m.Authentic, name, qtype)}, nil
}

func (m Map) none(name, qtype string) error {
	kind := dns.ErrNotFound
	if k := mapKey(name); m.MXs[k] != nil || m.Hosts[k] != nil {
		kind = dns.ErrNoData
	}
	return &dns.Error{Name: name, Type: qtype, Kind: kind}
}

func mapKey(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
