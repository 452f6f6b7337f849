// Package rewrite completes addresses and decides where they go: what
// trivial-rewrite(8) does in Postfix, called in process (protocols.md §2.8,
// §6.4; decision 42).
//
// Rewriting makes user@domain of what people write:
//
//	@site,@site:user@domain  user@domain
//	site!user                user@site            swap_bangpath
//	user%domain              user@domain          allow_percent_hack
//	user                     user@$myorigin       append_at_myorigin
//	user@site                user@site.$mydomain  append_dot_mydomain
//	user@site.               user@site
//
// In the remote context the last three add remote_header_rewrite_domain, and
// nothing when that is empty. Resolving finds the class of the domain, the
// transport and the next hop.
package rewrite

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/config"
	"sealpost/lib/table"
)

// Class of a resolved domain.
type Class int

const (
	Local   Class = iota + 1 // mydestination and own addresses
	Alias                    // virtual_alias_domains
	Virtual                  // virtual_mailbox_domains
	Relay                    // relay_domains
	Default
)

// Context of an address: local adds $myorigin and $mydomain, remote does not
// (remote_header_rewrite_domain).
type Context string

const (
	LocalContext  Context = "local"
	RemoteContext Context = "remote"
)

// Resolved is where an address goes.
type Resolved struct {
	Transport, Nexthop, Recipient string
	Class                         Class
	Routed                        bool // sender-specified routing (%, !, @ in the local part)
	Invalid                       bool // malformed address
}

type settings struct {
	MyHostname        string `conf:"myhostname"`
	MyOrigin          string `conf:"myorigin"`
	MyDomain          string `conf:"mydomain"`
	RemoteDomain      string `conf:"remote_header_rewrite_domain"`
	AppendAtMyOrigin  bool   `conf:"append_at_myorigin"`
	AppendDotMyDomain bool   `conf:"append_dot_mydomain"`
	SwapBangpath      bool   `conf:"swap_bangpath"`
	PercentHack       bool   `conf:"allow_percent_hack"`
	Dequoted          bool   `conf:"resolve_dequoted_address"`
	NullDomain        bool   `conf:"resolve_null_domain"`
	NumericDomain     bool   `conf:"resolve_numeric_domain"`
	AllowMinUser      bool   `conf:"allow_min_user"`
	EmptyRecipient    string `conf:"empty_address_recipient"`
	EmptyRelayKey     string `conf:"empty_address_relayhost_maps_lookup_key"`
	EmptyTransportKey string `conf:"empty_address_default_transport_maps_lookup_key"`
	ShowTableName     bool   `conf:"show_user_unknown_table_name"`
	RelocatedPrefix   bool   `conf:"relocated_prefix_enable"`
	Delimiters        string `conf:"recipient_delimiter"`
	ProxyInterfaces   string `conf:"proxy_interfaces"`
	ParentDomains     string `conf:"parent_domain_matches_subdomains"`
}

// Rewriter is safe for concurrent use.
type Rewriter struct {
	set             settings
	own             config.Interfaces
	proxy           []netip.Addr
	destinations    *table.List // mydestination
	aliasDomains    *table.List // virtual_alias_domains
	mailboxDomains  *table.List // virtual_mailbox_domains
	relayDomains    *table.List // relay_domains
	relocated       *table.Maps
	routes, verify  *routes
	parentTransport bool // transport_maps matches parent domains without a dot
}

// New opens the tables it needs.
func New(c *config.Config, env table.Env) (*Rewriter, error) {
	r := &Rewriter{}
	if err := c.Decode(&r.set); err != nil {
		return nil, err
	}
	var err error
	if r.own, err = c.Interfaces(); err != nil {
		return nil, err
	}
	for _, s := range config.SplitList(r.set.ProxyInterfaces) {
		a, err := netip.ParseAddr(strings.Trim(s, "[]"))
		if err != nil {
			return nil, fmt.Errorf("parameter proxy_interfaces: %q is not an IP address", s)
		}
		r.proxy = append(r.proxy, a.Unmap())
	}
	parents := func(name string) bool {
		for _, s := range config.SplitList(r.set.ParentDomains) {
			if s == name {
				return true
			}
		}
		return false
	}
	r.parentTransport = parents("transport_maps")
	for _, l := range []struct {
		dst   **table.List
		param string
		kind  table.Kind
	}{
		{&r.destinations, "mydestination", table.Strings},
		{&r.aliasDomains, "virtual_alias_domains", table.Strings},
		{&r.mailboxDomains, "virtual_mailbox_domains", table.Strings},
		{&r.relayDomains, "relay_domains", table.Domains},
	} {
		*l.dst, err = table.OpenList(env, l.param, c.Str(l.param), l.kind, parents(l.param))
		if err != nil {
			return nil, err
		}
	}
	r.relocated = table.OpenMaps(env, "relocated_maps", c.Str("relocated_maps"))
	r.routes = newRoutes(c, env, "")
	r.verify = newRoutes(c, env, "address_verify_")
	return r, nil
}

// Rewrite completes an address in external form; the null address is `""`.
func (r *Rewriter) Rewrite(ctx Context, addr string) string {
	if strings.IndexByte(addr, '"') < 0 && strings.IndexByte(addr, '\\') < 0 {
		out := r.complete(ctx, addr, true)
		if out == "" {
			return `""`
		}
		return address.Quote(out)
	}
	// A quoted local part means what it says: only a missing domain is added.
	inner := address.Unquote(addr)
	out := inner
	if at := unquotedAt(addr); at >= 0 {
		_, domain := address.Split(inner)
		out = inner[:len(inner)-len(domain)] + r.domain(ctx, domain)
	} else if inner != "" {
		out = r.addOrigin(ctx, inner)
	}
	if out == "" {
		return `""`
	}
	return address.Quote(out)
}

// RewriteInternal is Rewrite for an internal-form address.
func (r *Rewriter) RewriteInternal(ctx Context, addr string) string {
	if addr == "" {
		return ""
	}
	if q := address.Quote(addr); len(q) != len(addr) {
		return address.Unquote(r.Rewrite(ctx, q))
	}
	return r.complete(ctx, addr, true)
}

// unquotedAt is the index of an "@" outside quotes, or -1.
func unquotedAt(addr string) int {
	quoted, at := false, -1
	for i := 0; i < len(addr); i++ {
		switch addr[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '@':
			if !quoted {
				at = i
			}
		}
	}
	return at
}

// complete applies the rules to an address in internal form. Without origin a
// missing domain stays missing.
func (r *Rewriter) complete(ctx Context, addr string, origin bool) string {
	addr = stripRoute(addr)
	local, domain := address.Split(addr)
	if len(local) < len(addr) {
		if d := r.domain(ctx, domain); d != domain {
			return local + "@" + d
		}
		return addr
	}
	if addr == "" {
		return ""
	}
	if r.set.SwapBangpath {
		if host, user, ok := strings.Cut(addr, "!"); ok {
			return user + "@" + r.domain(ctx, host)
		}
	}
	if r.set.PercentHack {
		if i := strings.LastIndexByte(addr, '%'); i >= 0 {
			return addr[:i] + "@" + r.domain(ctx, addr[i+1:])
		}
	}
	if !origin {
		return addr
	}
	return r.addOrigin(ctx, addr)
}

// stripRoute drops "@a,@b:" in front of an address.
func stripRoute(addr string) string {
	if addr == "" || addr[0] != '@' {
		return addr
	}
	if i := strings.IndexByte(addr, ':'); i >= 0 && strings.IndexByte(addr[i:], '@') >= 0 && strings.IndexByte(addr[:i], '"') < 0 {
		return addr[i+1:]
	}
	return addr
}

func (r *Rewriter) addOrigin(ctx Context, local string) string {
	switch {
	case ctx == RemoteContext:
		if r.set.RemoteDomain == "" {
			return local
		}
		return local + "@" + r.set.RemoteDomain
	case r.set.AppendAtMyOrigin:
		return local + "@" + r.domain(ctx, r.set.MyOrigin)
	}
	return local
}

// domain removes one trailing dot, or completes a domain without dots.
func (r *Rewriter) domain(ctx Context, domain string) string {
	if domain == "" || domain[0] == '[' {
		return domain
	}
	if n := len(domain) - 1; n > 0 && domain[n] == '.' {
		if domain[n-1] == '.' {
			return domain
		}
		return domain[:n]
	}
	if strings.IndexByte(domain, '.') >= 0 {
		return domain
	}
	switch {
	case ctx == RemoteContext:
		if r.set.RemoteDomain != "" {
			return domain + "." + r.set.RemoteDomain
		}
	case r.set.AppendDotMyDomain:
		return domain + "." + r.set.MyDomain
	}
	return domain
}

// IsLocalDomain: mydestination, inet_interfaces [addr], proxy_interfaces.
func (r *Rewriter) IsLocalDomain(ctx context.Context, domain string) (bool, error) {
	if domain == "" {
		return false, nil
	}
	if domain[0] == '[' {
		if a, ok := literal(domain); ok && r.ownAddr(a) {
			return true, nil
		}
	}
	return r.destinations.Match(ctx, domain)
}

// BareUsers tells whether tables of addresses may name users of a domain without
// it: $myorigin and the domains of IsLocalDomain (virtual(5)).
func (r *Rewriter) BareUsers(ctx context.Context, domain string) (bool, error) {
	if strings.EqualFold(domain, r.set.MyOrigin) {
		return true, nil
	}
	return r.IsLocalDomain(ctx, domain)
}

func (r *Rewriter) ownAddr(a netip.Addr) bool {
	if r.own.Has(a) {
		return true
	}
	for _, p := range r.proxy {
		if p == a {
			return true
		}
	}
	return false
}

// literal parses an address literal: [192.0.2.1] or [IPv6:2001:db8::1].
func literal(domain string) (netip.Addr, bool) {
	if len(domain) < 2 || domain[0] != '[' || domain[len(domain)-1] != ']' {
		return netip.Addr{}, false
	}
	text := domain[1 : len(domain)-1]
	const prefix = "IPv6:"
	v6 := len(text) > len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
	if v6 {
		text = text[len(prefix):]
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is6() != v6 || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
