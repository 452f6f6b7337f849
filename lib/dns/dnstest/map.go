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
// the types are MX, A, AAAA, PTR, TLSA and CNAME. An entry "name/CNAME" is about
// that one step; a lookup through it is authentic when all steps and the last
// name are.
type Map struct {
	MXs       map[string][]dns.MX
	Hosts     map[string][]string   // addresses of both families
	PTRs      map[string][]string   // address to names
	TLSAs     map[string][]dns.TLSA // "_25._tcp.host"
	CNAMEs    map[string]string
	Fail      []string // temporary failure
	Authentic []string
	Probed    error // what Probe gives
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
	host, chain, err := m.follow(ctx, host)
	if err != nil {
		return nil, dns.Result{}, err
	}
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
	if chain.Canonical != "" {
		res.Canonical = chain.Canonical
		res.Authentic = res.Authentic && chain.Authentic
	}
	if len(found) == 0 {
		return nil, res, last
	}
	return found, res, nil
}

// follow goes along CNAMEs. The result is about the steps; without any it is zero.
func (m Map) follow(ctx context.Context, name string) (string, dns.Result, error) {
	res := dns.Result{Authentic: true}
	for range dns.MaxCNAMEs {
		target, alias := m.CNAMEs[mapKey(name)]
		if !alias {
			return name, res, nil
		}
		step, err := m.check(ctx, name, "CNAME")
		if err != nil {
			return "", dns.Result{}, err
		}
		name = target
		res = dns.Result{Authentic: res.Authentic && step.Authentic, Canonical: target}
	}
	return "", dns.Result{}, &dns.Error{Name: name, Type: "CNAME", Kind: dns.ErrMalformed, Loop: true}
}

// TLSA implements dns.SecureResolver.
func (m Map) TLSA(ctx context.Context, name string) ([]dns.TLSA, dns.Result, error) {
	res, err := m.check(ctx, name, "TLSA")
	if err != nil {
		return nil, res, err
	}
	list := m.TLSAs[mapKey(name)]
	if len(list) == 0 {
		return nil, res, m.none(name, "TLSA")
	}
	return slices.Clone(list), res, nil
}

// CNAME implements dns.SecureResolver.
func (m Map) CNAME(ctx context.Context, name string) (string, dns.Result, error) {
	res, err := m.check(ctx, name, "CNAME")
	if err != nil {
		return "", res, err
	}
	target, ok := m.CNAMEs[mapKey(name)]
	if !ok {
		return "", res, m.none(name, "CNAME")
	}
	return target, res, nil
}

// Probe implements dns.SecureResolver.
func (m Map) Probe(context.Context, string) error { return m.Probed }

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
