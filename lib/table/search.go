package table

import (
	"net/netip"
	"slices"
	"strings"

	"sealpost/lib/address"
)

// Key is one of the keys that a search asks for, in order; the first that is found
// counts. A partial one is for tables with exact keys only: a pattern would match
// parts that its author did not mean.
type Key struct {
	Text    string
	Partial bool
}

// The search orders of protocols.md §6.3 and §6.4, in one place. Addresses with their
// own rules, as virtual_alias_maps has them, are searched by Maps.FindAddr, and match
// lists by List. parents says how domains stand for those below them: as they are
// (parent_domain_matches_subdomains lists the parameter), or with a dot before them.

// DomainKeys are a name and the domains above it. An address literal has none.
func DomainKeys(name string, parents bool) []Key {
	name = strings.TrimSuffix(name, ".")
	keys := []Key{{Text: name}}
	if strings.HasPrefix(name, "[") {
		return keys
	}
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '.' {
			continue
		}
		if parents {
			keys = append(keys, Key{name[i+1:], true})
		} else {
			keys = append(keys, Key{name[i:], true})
		}
	}
	return keys
}

// HostKeys are an address of a host, and what is left of it when it is cut from the end
// at each dot or colon.
func HostKeys(addr string) []Key {
	keys := []Key{{Text: addr}}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return keys
	}
	sep := "."
	if ip.Is6() {
		sep = ":"
	}
	for i := strings.LastIndex(addr, sep); i > 0; i = strings.LastIndex(addr[:i], sep) {
		if net := strings.TrimRight(addr[:i], sep); net != "" && net != keys[len(keys)-1].Text {
			keys = append(keys, Key{net, true})
		}
	}
	return keys
}

// AccessKeys are a mail address, without its extension, its domain and those above it,
// and its local part with "@", with and without extension (access(5)).
func AccessKeys(addr, delimiters string, parents bool) []Key {
	local, domain := address.Split(addr)
	user, _ := address.SplitExtension(local, delimiters)
	keys := []Key{{Text: addr}}
	if user != local {
		keys = append(keys, Key{user + "@" + domain, true})
	}
	for _, k := range DomainKeys(domain, parents) {
		keys = append(keys, Key{k.Text, true})
	}
	keys = append(keys, Key{local + "@", true})
	if user != local {
		keys = append(keys, Key{user + "@", true})
	}
	return keys
}

// TransportKeys are a mail address, without its extension, its domain, which may be
// another than the address says, and those above it, and "*" (transport(5)).
func TransportKeys(addr, domain, delimiters string, parents bool) []Key {
	keys := []Key{{Text: addr}}
	local, _ := address.Split(addr)
	if user, _ := address.SplitExtension(local, delimiters); user != local {
		keys = append(keys, Key{user + addr[len(local):], true})
	}
	if domain != "" {
		for _, k := range DomainKeys(domain, parents) {
			keys = append(keys, Key{k.Text, true})
		}
	}
	return append(keys, Key{"*", true})
}

// PolicyKeys are a next hop as written and, when it is a bare name, the domains above
// it with a dot (smtp_tls_policy_maps). Each comes in the forms that form gives: the
// name as it is and in A-labels (decision 11).
func PolicyKeys(nexthop string, form func(string) []string) []Key {
	var keys []Key
	for _, text := range form(nexthop) {
		keys = append(keys, Key{Text: text})
	}
	if strings.ContainsAny(nexthop, "[]:/") || nexthop == "" {
		return keys
	}
	for _, k := range DomainKeys(nexthop, false)[1:] {
		for _, text := range form(k.Text) {
			keys = append(keys, Key{text, true})
		}
	}
	return keys
}

// Texts are the keys as a test or a log shows them; "*" follows a partial one.
func Texts(keys []Key) []string {
	out := slices.Grow([]string(nil), len(keys))
	for _, k := range keys {
		text := k.Text
		if k.Partial {
			text += "*"
		}
		out = append(out, text)
	}
	return out
}
