package tlspolicy

import (
	"context"
	"fmt"
	"strings"

	"sealpost/lib/certname"
	"sealpost/lib/dns"
	"sealpost/lib/idn"
)

// Texts of Error. They are Postfix's.
const (
	textConfig = "client TLS configuration problem"
	textLookup = "Temporary lookup error"
	textNoUse  = "server unavailable or unable to receive mail"
)

// query is one Lookup on its way.
type query struct {
	*Source
	site     Site
	host     Name   // the name of the host for tables and certificates
	entry    entry  // of a policy table; else only its level is set
	origin   string // what the entry comes from, for warnings
	warnings []string
}

func (q *query) warn(format string, args ...any) {
	q.warnings = append(q.warnings, fmt.Sprintf(format, args...))
}

// misconfigured is the error for what an administrator has to mend.
func (q *query) misconfigured(why error) *Error {
	q.warn("%s: %v", q.origin, why)
	return fail("4.7.5", textConfig, nil)
}

// Lookup gives the policy for a host. The error is an *Error.
func (s *Source) Lookup(ctx context.Context, site Site) (*Policy, error) {
	q := &query{Source: s, site: site}
	p, err := q.run(ctx)
	if err != nil {
		err.Warnings = q.warnings
		return nil, err
	}
	p.Warnings = q.warnings
	return p, nil
}

func (q *query) run(ctx context.Context) (*Policy, *Error) {
	q.canonicalHost()
	if err := q.find(ctx); err != nil {
		return nil, err
	}
	if err := q.adjust(); err != nil {
		return nil, err
	}
	if err := q.sts(); err != nil {
		return nil, err
	}
	p := &Policy{Initial: q.entry.level, Level: q.entry.level, Wrapper: q.set.WrapperMode, STS: q.entry.sts,
		HostAuthentic: q.host.Authentic, Matcher: certname.Matcher{MultiLabel: q.set.MultiLabelWildcard}}
	if p.Level == DANE || p.Level == DANEOnly {
		p.HostAuthentic = q.site.HostAuthentic
		if err := q.dane(ctx, p); err != nil {
			return nil, err
		}
	}
	if err := q.finish(p); err != nil {
		return nil, err
	}
	return p, nil
}

// canonicalHost finds the name that "hostname" matches and tls_per_site is asked
// for. CNAME records rename the host where they are authentic, and otherwise only
// with cname_overrides_servername; then nobody can believe the name.
func (q *query) canonicalHost() {
	q.host = hostName(q.site)
	target := strings.ToLower(strings.TrimSuffix(q.site.Canonical, "."))
	if target == "" || target == q.host.Text || !q.site.AddrAuthentic && !q.set.CNAMEOverrides {
		return
	}
	q.host = Name{target, Hostname, q.site.AddrAuthentic && q.host.Authentic}
}

// find takes the level, and attributes if there are any, from the first source
// that has them.
func (q *query) find(ctx context.Context) *Error {
	level := q.set.defaultLevel()
	q.origin = q.set.Prefix + "tls_security_level"
	switch {
	case q.site.TLSRequiredNo:
		// RFC 8689 §5: the sender prefers delivery to secrecy; no policy is asked.
		limit := May
		if q.set.WrapperMode {
			limit = Encrypt
		}
		q.entry = entry{level: min(level, limit)}
	case !q.maps.Empty():
		return q.policyMaps(ctx, level)
	case !q.perSite.Empty():
		return q.legacy(ctx, level)
	default:
		q.entry = entry{level: level}
	}
	return nil
}

// policyMaps asks tls_policy_maps for the destination, then its parents.
func (q *query) policyMaps(ctx context.Context, level Level) *Error {
	for _, key := range keys(q.site.Nexthop, idn.ToASCII) {
		lookup := q.maps.Lookup
		if key.Partial {
			lookup = q.maps.LookupPartial
		}
		text, found, err := lookup(ctx, key.Text)
		if err != nil {
			q.warn("%v", err)
			q.warn("%stls_policy_maps, next-hop destination %q: policy table lookup error", q.set.Prefix, q.site.Nexthop)
			return fail("4.7.5", textConfig, err)
		}
		if !found {
			continue
		}
		q.origin = fmt.Sprintf("%stls_policy_maps, next-hop destination %q", q.set.Prefix, key.Text)
		if q.entry, err = parseEntry(text); err != nil {
			return q.misconfigured(err)
		}
		for _, word := range q.entry.ignored {
			q.warn("%s: ignoring attribute %q with TLS disabled", q.origin, word)
		}
		return nil
	}
	q.entry = entry{level: level}
	return nil
}

// adjust changes or refuses levels that the way of delivery does not allow.
func (q *query) adjust() *Error {
	level := &q.entry.level
	if q.site.Unix {
		switch {
		case *level == May:
			q.warn("%s: opportunistic TLS encryption is not appropriate for unix-domain destinations.", q.origin)
			*level = None
		case *level == DANE || *level == DANEOnly:
			q.warn("%s: the %q security level is invalid for delivery via unix-domain sockets", q.site.Nexthop, level.String())
			return fail("4.7.5", textConfig, nil)
		}
	}
	if q.set.WrapperMode && *level < Encrypt {
		q.warn("%stls_wrappermode requires \"%stls_security_level = encrypt\" (or stronger)", q.set.Prefix, q.set.Prefix)
		return fail("4.3.0", textNoUse, nil)
	}
	return nil
}

// sts holds the host's name against the patterns of an STS policy. A name that they
// allow is authentic, and it is the one that the certificate must have, whatever
// CNAME records say (RFC 8461 §4.1).
func (q *query) sts() *Error {
	sts, level := q.entry.sts, q.entry.level
	if !q.set.EnforceSTSPatterns || !sts.Restricts() || !level.Mandatory() || level.UsesTLSA() {
		return nil // DANE comes before STS (RFC 8461 §2)
	}
	if !sts.Allows(q.site.Host) {
		domain := sts.Domain
		if domain == "" {
			domain = q.site.Domain
		}
		return fail("4.7.5", fmt.Sprintf("MX name '%s' does not match STS MX pattern for '%s'", q.site.Host, domain), nil)
	}
	q.host = Name{strings.ToLower(strings.TrimSuffix(q.site.Host, ".")), Hostname, true}
	return nil
}

// finish fills in what the level in effect needs.
func (q *query) finish(p *Policy) *Error {
	e, set := &q.entry, &q.set
	if p.Level == None {
		return nil
	}
	p.Protocols, p.Ciphers, p.Exclude = set.Protocols, set.Ciphers, set.Exclude
	if p.Level.Mandatory() {
		p.Protocols, p.Ciphers = set.MandatoryProtocols, set.MandatoryCiphers
		p.Exclude = strings.TrimSpace(set.Exclude + " " + set.MandatoryExclude)
	}
	override(&p.Protocols, e.protocols)
	override(&p.Ciphers, e.ciphers)
	if e.hasExclude {
		p.Exclude = e.exclude
		if p.Level.Mandatory() {
			p.Exclude = strings.TrimSpace(set.Exclude + " " + e.exclude)
		}
	}
	p.Reuse = set.Reuse && e.reuse == "" || e.reuse == "yes"
	p.RawKeys = set.RawKeys && e.rpk == "" || e.rpk == "yes"
	if err := q.serverName(p); err != nil {
		return err
	}
	switch {
	case p.Level == Fingerprint:
		return q.fingerprints(p)
	case p.Level.UsesPKIX():
		return q.names(p)
	}
	return nil
}

func override(field *string, value string) {
	if value != "" {
		*field = value
	}
}

// serverName decides about SNI. With TLSA records it is their base domain (RFC
// 7672 §8.1), which dane has set.
func (q *query) serverName(p *Policy) *Error {
	if p.Level.UsesTLSA() {
		return nil
	}
	name := q.set.ServerName
	override(&name, q.entry.serverName)
	switch strings.ToLower(name) {
	case "hostname":
		name = q.host.Text
	case "nexthop":
		name = q.site.Domain
	case "":
		return nil
	default:
		if !dns.ValidHostname(name) {
			q.warn("%q specifies an invalid hostname", q.set.Prefix+"tls_servername = "+name)
			return fail("4.7.5", textConfig, nil)
		}
	}
	if dns.ValidHostname(name) { // an address is never sent (RFC 6066 §3)
		p.ServerName = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return nil
}

func (q *query) fingerprints(p *Policy) *Error {
	words := q.entry.match
	if len(words) == 0 {
		words = q.set.Fingerprints
	}
	list, err := fingerprints(words, q.set.Digest)
	if err != nil {
		return q.misconfigured(err)
	}
	if len(list) == 0 {
		q.warn("nexthop domain %s: configured at fingerprint security level, but with no fingerprints to match.", q.site.Nexthop)
		return fail("4.7.5", textConfig, nil)
	}
	p.Fingerprints, p.Digest = list, strings.ToLower(q.set.Digest)
	return nil
}

// names fills in the names and the trust anchors of verify and secure. Under an
// enforced STS policy the name is the host's, which the policy lists.
func (q *query) names(p *Policy) *Error {
	words := q.entry.match
	if len(words) == 0 {
		words = q.set.VerifyMatch
		if p.Level == Secure {
			words = q.set.SecureMatch
		}
	}
	if q.set.EnforceSTSPatterns && p.STS.Restricts() {
		words = []string{"hostname"}
	}
	list, err := matchNames(words, q.site, q.host)
	if err != nil {
		return q.misconfigured(err)
	}
	if len(list) == 0 {
		return q.misconfigured(fmt.Errorf("no name to match a certificate against"))
	}
	p.Names, p.TrustAnchors = list, q.set.TrustAnchors
	if len(q.entry.trustAnchors) > 0 {
		p.TrustAnchors = q.entry.trustAnchors
	}
	return nil
}
