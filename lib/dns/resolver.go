package dns

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// resolver is the Resolver that asks name servers.
type resolver struct {
	client *client
	cache  *cache
}

// New reads resolv.conf (unless Servers are set). It opens all files it needs now.
func New(s Settings) (SecureResolver, error) { return newResolver(s, resolvConf) }

func newResolver(s Settings, path string) (*resolver, error) {
	c, err := newClient(s, path)
	if err != nil {
		return nil, err
	}
	return &resolver{client: c, cache: &cache{all: make(map[question]cached), now: time.Now}}, nil
}

// lookup follows CNAMEs over several questions where a server does not.
func (r *resolver) lookup(ctx context.Context, name string, qtype uint16) ([]dns.RR, Result, error) {
	fail := &Error{Name: trimDot(name), Type: dns.TypeToString[qtype]}
	if !ValidHostname(name) {
		fail.Kind, fail.Invalid = ErrNotFound, true
		return nil, Result{}, fail
	}
	res := Result{Authentic: r.client.authentic}
	for range MaxCNAMEs {
		a, err := r.step(ctx, name, qtype)
		if err != nil {
			fail.Kind, fail.Cause = ErrTemporary, err
			return nil, Result{}, fail
		}
		res.Authentic = res.Authentic && a.authentic
		if a.owner != canonical(name) {
			res.Canonical = trimDot(a.owner)
		}
		switch {
		case a.kind != nil:
			fail.Kind, fail.Loop = a.kind, a.loop
			return nil, res, fail
		case a.next == "":
			return a.records, res, nil
		}
		name = a.next
	}
	fail.Kind, fail.Loop = ErrMalformed, true
	return nil, Result{}, fail
}

func (r *resolver) step(ctx context.Context, name string, qtype uint16) (answer, error) {
	q := question{canonical(name), qtype}
	if a, ok := r.cache.get(q); ok {
		return a, nil
	}
	reply, err := r.client.ask(ctx, name, qtype)
	if err != nil {
		return answer{}, err
	}
	a := interpret(reply, name, qtype)
	r.cache.put(q, a)
	return a, nil
}

// MX implements Resolver. Records with a name that cannot be a host are left
// out; when nothing else is there the reply is malformed.
func (r *resolver) MX(ctx context.Context, domain string) ([]MX, Result, error) {
	records, res, err := r.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, res, err
	}
	list := make([]MX, 0, len(records))
	for _, rr := range records {
		mx, ok := rr.(*dns.MX)
		if !ok {
			continue
		}
		host := trimDot(mx.Mx)
		if _, literal := Literal(host); host == "" || literal || ValidHostname(host) {
			list = append(list, MX{Host: host, Pref: mx.Preference})
		}
	}
	if len(list) == 0 {
		return nil, res, &Error{Name: trimDot(domain), Type: "MX", Kind: ErrMalformed}
	}
	return list, res, nil
}

type addrResult struct {
	addrs []netip.Addr
	res   Result
	err   error
}

// Addrs implements Resolver; both families are asked at the same time. The
// result is authentic when all lookups that gave an address were.
func (r *resolver) Addrs(ctx context.Context, host string, v4, v6 bool) ([]netip.Addr, Result, error) {
	if addr, ok := Literal(host); ok {
		if addr = addr.Unmap(); addr.Is4() && v4 || addr.Is6() && v6 {
			return []netip.Addr{addr}, Result{}, nil
		}
		return nil, Result{}, &Error{Name: host, Type: "A", Kind: ErrNoData}
	}
	if !v4 {
		one := r.family(ctx, host, dns.TypeAAAA)
		return one.addrs, one.res, one.err
	}
	if !v6 {
		one := r.family(ctx, host, dns.TypeA)
		return one.addrs, one.res, one.err
	}
	second := make(chan addrResult, 1)
	if _, ok := r.cache.get(question{canonical(host), dns.TypeAAAA}); ok {
		second <- r.family(ctx, host, dns.TypeAAAA)
	} else {
		go func() { second <- r.family(ctx, host, dns.TypeAAAA) }()
	}
	return join(r.family(ctx, host, dns.TypeA), <-second)
}

// join prefers what was found, then a reason to try again, then the last error.
func join(a, b addrResult) ([]netip.Addr, Result, error) {
	switch {
	case a.err == nil && b.err == nil:
		res := a.res
		res.Authentic = res.Authentic && b.res.Authentic && res.Canonical == b.res.Canonical
		return append(a.addrs, b.addrs...), res, nil
	case a.err == nil:
		return a.addrs, a.res, nil
	case b.err == nil:
		return b.addrs, b.res, nil
	case kind(a.err) == ErrTemporary && kind(b.err) != ErrTemporary:
		return nil, a.res, a.err
	default:
		return nil, b.res, b.err
	}
}

func kind(err error) error {
	if e, ok := err.(*Error); ok {
		return e.Kind
	}
	return nil
}

func (r *resolver) family(ctx context.Context, host string, qtype uint16) addrResult {
	records, res, err := r.lookup(ctx, host, qtype)
	if err != nil {
		return addrResult{res: res, err: err}
	}
	addrs := make([]netip.Addr, 0, len(records))
	for _, rr := range records {
		var addr netip.Addr
		var ok bool
		switch rr := rr.(type) {
		case *dns.A:
			addr, ok = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			addr, ok = netip.AddrFromSlice(rr.AAAA.To16())
		}
		if ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	if len(addrs) == 0 {
		return addrResult{res: res, err: &Error{Name: trimDot(host), Type: dns.TypeToString[qtype], Kind: ErrMalformed}}
	}
	return addrResult{addrs: addrs, res: res}
}

// PTR implements Resolver.
func (r *resolver) PTR(ctx context.Context, addr netip.Addr) ([]string, Result, error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, Result{}, &Error{Name: addr.String(), Type: "PTR", Kind: ErrMalformed, Cause: err}
	}
	records, res, err := r.lookup(ctx, name, dns.TypePTR)
	if err != nil {
		return nil, res, err
	}
	var names []string
	for _, rr := range records {
		if ptr, ok := rr.(*dns.PTR); ok && ValidHostname(ptr.Ptr) {
			names = append(names, trimDot(ptr.Ptr))
		}
	}
	if len(names) == 0 {
		return nil, res, &Error{Name: trimDot(name), Type: "PTR", Kind: ErrMalformed}
	}
	return names, res, nil
}
