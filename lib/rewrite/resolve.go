package rewrite

import (
	"context"
	"fmt"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/idn"
)

// maxRouteSteps bounds the domains of our own that are taken off one address.
const maxRouteSteps = 100

// Resolve decides transport, next hop and class of an internal-form recipient.
// An error is temporary: a table failed.
func (r *Rewriter) Resolve(ctx context.Context, sender, rcpt string) (Resolved, error) {
	return r.resolve(ctx, r.routes, sender, rcpt)
}

// ResolveVerify is Resolve for address probes: with the address_verify_
// overrides of relayhost and transports.
func (r *Rewriter) ResolveVerify(ctx context.Context, sender, rcpt string) (Resolved, error) {
	return r.resolve(ctx, r.verify, sender, rcpt)
}

func (r *Rewriter) resolve(ctx context.Context, rt *routes, sender, rcpt string) (Resolved, error) {
	if rcpt == "" {
		rcpt = r.set.EmptyRecipient
	}
	rcpt, local, err := r.reduce(ctx, rcpt)
	if err != nil {
		return Resolved{}, err
	}
	user, domain := address.Split(rcpt)
	res := Resolved{Recipient: rcpt, Routed: r.isRouted(user)}
	switch {
	case local:
		res.Class = Local
	case r.set.NumericDomain && isIPv4(domain):
		domain = "[" + domain + "]"
		res.Recipient = user + "@" + domain
		res.Class = Default
	case !validDomain(domain):
		res.Class, res.Invalid = Default, true
		return res, nil
	default:
		if res.Class, err = r.classify(ctx, domain); err != nil {
			return Resolved{}, err
		}
	}
	if err := r.route(ctx, rt, &res, sender, domain); err != nil {
		return Resolved{}, err
	}
	if strings.HasPrefix(res.Recipient, "-") && !r.set.AllowMinUser {
		res.Invalid = true
	}
	return res, nil
}

// reduce takes domains of our own off an address as long as the local part in
// front holds another one: user%remote@ours is user@remote.
func (r *Rewriter) reduce(ctx context.Context, rcpt string) (addr string, local bool, err error) {
	addr = stripRoute(rcpt)
	if r.set.NullDomain {
		addr = strings.TrimSuffix(addr, "@")
	}
	kept := "" // the address with the last domain that was taken off
	for range maxRouteSteps {
		user, domain := address.Split(addr)
		if len(user) == len(addr) { // no domain
			next := r.complete(LocalContext, addr, false)
			if next == addr {
				break
			}
			addr = next
			continue
		}
		if withoutDot(domain) != domain {
			domain = withoutDot(domain)
			addr = addr[:len(addr)-1]
		}
		own, err := r.IsLocalDomain(ctx, domain)
		if err != nil {
			return "", false, err
		}
		if !own {
			return addr, false, nil
		}
		kept = addr
		if !r.set.Dequoted && address.Quote(user) != user || user == "" {
			return kept, true, nil
		}
		addr = user
	}
	if kept == "" {
		addr = r.addOrigin(LocalContext, addr)
		_, domain := address.Split(addr)
		own, err := r.IsLocalDomain(ctx, domain)
		return addr, own, err
	}
	return kept, true, nil
}

// withoutDot takes the dot of the root off a domain name.
func withoutDot(domain string) string {
	if n := len(domain) - 1; n > 0 && domain[n] == '.' && domain[n-1] != '.' {
		return domain[:n]
	}
	return domain
}

// Malformed reports that an address, in internal form, can be nobody's whatever the
// tables say: its domain is neither a name nor a literal, or it begins with "-" and
// allow_min_user does not allow that. An address without a domain has none that is wrong.
func (r *Rewriter) Malformed(addr string) bool {
	addr = stripRoute(addr)
	if strings.HasPrefix(addr, "-") && !r.set.AllowMinUser {
		return true
	}
	_, domain := address.Split(addr)
	return domain != "" && !validDomain(withoutDot(domain)) && !(r.set.NumericDomain && isIPv4(domain))
}

// isRouted: the local part tells a site how to send the message on.
func (r *Rewriter) isRouted(local string) bool {
	for i := range len(local) {
		switch local[i] {
		case '@':
			return true
		case '%':
			if r.set.PercentHack {
				return true
			}
		case '!':
			if r.set.SwapBangpath {
				return true
			}
		}
	}
	return false
}

func (r *Rewriter) classify(ctx context.Context, domain string) (Class, error) {
	if ok, err := r.aliasDomains.Match(ctx, domain); ok || err != nil {
		return Alias, err
	}
	if ok, err := r.mailboxDomains.Match(ctx, domain); ok || err != nil {
		return Virtual, err
	}
	if ok, err := r.relayDomains.Match(ctx, domain); ok || err != nil {
		return Relay, err
	}
	return Default, nil
}

// route fills transport and next hop (protocols.md §6.4).
func (r *Rewriter) route(ctx context.Context, rt *routes, res *Resolved, sender, domain string) error {
	var spec string
	res.Nexthop = domain
	switch res.Class {
	case Local:
		spec = rt.local
	case Alias:
		res.Transport = "error"
		res.Nexthop = "5.1.1 User unknown"
		if r.set.ShowTableName {
			res.Nexthop += " in virtual alias table"
		}
	case Virtual:
		spec = rt.virtual
	case Relay, Default:
		hop, err := r.relayhost(ctx, rt, sender)
		if err != nil {
			return err
		}
		if hop != "" {
			res.Nexthop = hop
		}
		spec = rt.relay
		if res.Class == Default {
			if spec, err = r.defaultTransport(ctx, rt, sender); err != nil {
				return err
			}
		}
	}
	if res.Class != Alias {
		transport, nexthop, _ := strings.Cut(spec, ":")
		res.Transport = transport
		if nexthop != "" {
			res.Nexthop = nexthop
		}
		if err := rt.override(ctx, r, res, domain); err != nil {
			return err
		}
	}
	if r.relocated.Empty() {
		return nil
	}
	search := r.search()
	search.LocalDomain = func(domain string) bool {
		bare, err := r.BareUsers(ctx, domain)
		return bare && err == nil
	}
	moved, _, found, err := r.relocated.FindAddr(ctx, res.Recipient, search)
	if err != nil || !found {
		return err
	}
	res.Transport, res.Nexthop = "error", moved
	if r.set.RelocatedPrefix {
		res.Nexthop = "5.1.6 User has moved to " + moved
	}
	return nil
}

// relayhost is the next hop that replaces the domain, or "".
func (r *Rewriter) relayhost(ctx context.Context, rt *routes, sender string) (string, error) {
	if !rt.senderRelayhost.Empty() {
		key := sender
		if key == "" {
			key = r.set.EmptyRelayKey
		}
		hop, _, found, err := rt.senderRelayhost.FindAddr(ctx, key, r.search())
		if err != nil {
			return "", fmt.Errorf("%ssender_dependent_relayhost_maps: %w", rt.prefix, err)
		}
		if found && !strings.EqualFold(hop, "DUNNO") {
			return hop, nil
		}
	}
	return rt.relayhost, nil
}

func (r *Rewriter) defaultTransport(ctx context.Context, rt *routes, sender string) (string, error) {
	if rt.senderTransport.Empty() {
		return rt.dflt, nil
	}
	key := sender
	if key == "" {
		key = r.set.EmptyTransportKey
	}
	spec, _, found, err := rt.senderTransport.FindAddr(ctx, key, r.search())
	if err != nil {
		return "", fmt.Errorf("%ssender_dependent_default_transport_maps: %w", rt.prefix, err)
	}
	if !found || strings.EqualFold(spec, "DUNNO") {
		return rt.dflt, nil
	}
	return spec, nil
}

// validDomain: host name labels (RFC 1123 with underscores; in the A-label form, which
// has the limits on lengths, RFC 5890 §2.3.2.1) that are not a number, or an address
// literal.
func validDomain(domain string) bool {
	domain, err := idn.ToASCII(domain)
	if err != nil {
		return false
	}
	if domain != "" && domain[0] == '[' {
		_, ok := literal(domain)
		return ok
	}
	if len(domain) == 0 || len(domain) > 255 {
		return false
	}
	label, numeric := 0, true
	for i := range len(domain) {
		switch c := domain[i]; {
		case c == '.':
			if label == 0 || domain[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c == '-':
			if label == 0 {
				return false
			}
			numeric = false
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
			numeric = false
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && !numeric && domain[len(domain)-1] != '-'
}

func isIPv4(s string) bool {
	a, ok := literal("[" + s + "]")
	return ok && a.Is4() && strings.IndexByte(s, ':') < 0
}
