package tlspolicy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/dane"
	"sealpost/lib/dns"
)

// Texts of Error about DANE. They are Postfix's.
const (
	textUnsigned = "non DNSSEC destination"
	textNoTLSA   = "no TLSA records found"
	textUnusable = "TLSA records unusable"
)

// change lowers the level of p, or refuses where it is dane-only. Only "there is
// nothing to be found" lowers a level, never "the look-up failed" (RFC 7672 §2.1).
func change(p *Policy, to Level, reason string) *Error {
	if p.Level == DANEOnly {
		return fail("4.7.5", reason, nil)
	}
	p.Level, p.Reason = to, reason
	return nil
}

// dane replaces the level dane or dane-only of p by the one that DNSSEC and TLSA
// records give.
func (q *query) dane(ctx context.Context, p *Policy) *Error {
	if why := q.unsuitable(); why != "" {
		q.warn("%s: %s configured with %s", q.site.Nexthop, p.Level, why)
		if p.Level == DANEOnly {
			return fail("4.7.5", textConfig, nil)
		}
		return change(p, May, why)
	}
	q.probeOnce(ctx)
	level := p.Level
	if !q.site.HostAuthentic {
		switch {
		case p.Level == DANEOnly, q.set.InsecureMX == "may":
			return change(p, May, textUnsigned)
		case q.set.InsecureMX == "encrypt":
			level = Encrypt
		default:
			level = HalfDANE
		}
	}
	base, records, err := q.records(ctx)
	if err != nil {
		return err
	}
	if records == nil {
		reason := textNoTLSA
		if base == "" {
			reason = textUnsigned
		}
		return change(p, May, reason)
	}
	usable, not := q.digests.Usable(records)
	for _, u := range not {
		q.warn("unusable TLSA record %q of %s: %v", dane.Describe(u.Record), dane.Owner(base, q.site.Port), u.Err)
	}
	switch {
	case len(usable) == 0:
		// RFC 7672 §2.2: records that nobody can use still say that there is TLS.
		return change(p, Encrypt, textUnusable)
	case level != p.Level:
		p.Level, p.Reason = level, "MX lookup was not secure"
	}
	if p.Level.UsesTLSA() {
		p.TLSA, p.TLSADomain, p.ServerName = usable, base, base
		p.Names = q.daneNames(base)
	}
	return nil
}

// daneNames are the names that a certificate under a trust anchor may have (RFC
// 7672 §3.2.2): base domain, host, and the destination's own domain. None is more
// authentic than the way to the host: that is where the trust anchor is from.
func (q *query) daneNames(base string) []Name {
	var list []Name
	for _, n := range []Name{{Text: base, Origin: TLSABase}, {Text: q.site.Host, Origin: Hostname}, {Text: q.site.Domain, Origin: Nexthop}} {
		n.Text = strings.ToLower(strings.TrimSuffix(n.Text, "."))
		n.Authentic = q.site.HostAuthentic
		if !slices.ContainsFunc(list, func(o Name) bool { return o.Text == n.Text }) {
			list = append(list, n)
		}
	}
	return list
}

// unsuitable says which setting makes DANE impossible; "" for none.
func (q *query) unsuitable() string {
	switch {
	case q.resolver == nil || !q.set.DNSSEC:
		return "dnssec lookups disabled"
	case q.set.IgnoreMXError:
		return "MX lookup errors ignored"
	case len(q.digests) == 0:
		return "no digest in tls_dane_digests"
	}
	return ""
}

// records looks for TLSA records at each candidate for the base domain. nil
// records: there are none; then base "" says that nothing could be asked for,
// because the host's zone is not signed.
func (q *query) records(ctx context.Context) (base string, records []dns.TLSA, failed *Error) {
	if _, literal := dns.Literal(q.site.Host); literal {
		return "", nil, nil
	}
	alias := dane.Alias{Target: q.site.Canonical, Secure: q.site.AddrAuthentic}
	if alias.Target != "" && !alias.Secure {
		switch _, res, err := q.resolver.CNAME(ctx, q.site.Host); {
		case err == nil:
			alias.FirstSecure = res.Authentic
		case !errors.Is(err, dns.ErrNotFound) && !errors.Is(err, dns.ErrNoData):
			return "", nil, q.lookupFailed(err)
		}
	}
	addrSecure := q.site.AddrAuthentic || q.set.ForceInsecureTLSA
	for _, base = range dane.Bases(q.site.Host, alias, addrSecure) {
		list, res, err := q.resolver.TLSA(ctx, dane.Owner(base, q.site.Port))
		switch {
		case errors.Is(err, dns.ErrNotFound), errors.Is(err, dns.ErrNoData):
			continue
		case err != nil:
			return "", nil, q.lookupFailed(err)
		case res.Authentic && len(list) > 0:
			return strings.ToLower(base), list, nil
		}
	}
	return base, nil, nil
}

func (q *query) lookupFailed(err error) *Error {
	return fail("4.7.5", fmt.Sprintf("TLSA lookup error for %s:%d", q.site.Host, q.site.Port), err)
}

// probeOnce sends dnssec_probe when an answer was not validated and none was
// before, once in the life of the process, and says when it seems that none ever
// will be.
func (q *query) probeOnce(ctx context.Context) {
	if q.site.AddrAuthentic {
		q.probed.Store(true)
		return
	}
	if _, literal := dns.Literal(q.site.Host); literal || !q.probed.CompareAndSwap(false, true) {
		return
	}
	if err := q.resolver.Probe(ctx, q.set.Probe); err != nil {
		q.warn("DNSSEC validation may be unavailable")
		q.warn("reason: %v", err)
	}
}
