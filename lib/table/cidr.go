package table

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sealpost/lib/confline"
)

// openCIDR opens a table of addresses and networks: lines "NETWORK[/LENGTH]
// RESULT", "!NETWORK RESULT", "if NETWORK" and "endif". Keys are addresses; the
// first line that matches answers.
func openCIDR(env Env, spec, name string) (Table, error) {
	rules, files, err := source(env, spec, name)
	if err != nil {
		return nil, err
	}
	syntax := patternSyntax{"cidr map", "ENDIF without IF: skipping this rule"}
	return &patternTable[netip.Addr]{
		base:  base{spec: spec, files: files},
		rules: compile(env, syntax, name, rules, parseCIDR),
		parse: parseAddrKey,
	}, nil
}

func parseAddrKey(key string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(key)
	return addr.WithZone(""), err == nil
}

type netCond struct{ prefix netip.Prefix }

func (n netCond) match(addr netip.Addr) (bool, error) { return n.prefix.Contains(addr), nil }

type fixedResult[K any] struct{ text string }

func (r fixedResult[K]) value(K) (string, error) { return r.text, nil }

func parseCIDR(text string, isIf bool) (patternRule[netip.Addr], error) {
	var r patternRule[netip.Addr]
	for strings.HasPrefix(text, "!") {
		r.negate = !r.negate
		text = strings.TrimLeft(text[1:], confline.White)
	}
	pattern, value := text, ""
	if i := strings.IndexAny(text, confline.White); i >= 0 {
		pattern, value = text[:i], strings.Trim(text[i:], confline.White)
	}
	prefix, err := ParseNet(pattern)
	if err != nil {
		return r, fmt.Errorf("%w: skipping this rule", err)
	}
	switch {
	case isIf && value != "":
		return r, fmt.Errorf("bad address pattern: %q: skipping this rule", text)
	case !isIf && value == "":
		return r, errors.New("no lookup result: skipping this rule")
	}
	r.cond = netCond{prefix}
	r.result = fixedResult[netip.Addr]{value}
	return r, nil
}

// ErrNet is the class of malformed network patterns.
var ErrNet = errors.New("bad address pattern")

// ParseNet reads an address, or a network "address/length" without bits beyond
// the length; an IPv6 address may be in [ ].
func ParseNet(pattern string) (netip.Prefix, error) {
	text := pattern
	host, length, slash := strings.Cut(text, "/")
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
		if !strings.Contains(host, ":") {
			return netip.Prefix{}, fmt.Errorf("%w: %q", ErrNet, pattern)
		}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%w: %q", ErrNet, pattern)
	}
	if !slash {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(host + "/" + length)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("bad mask length in %q: %w", pattern, ErrNet)
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fmt.Errorf("non-null host address bits in %q, perhaps you should use %q instead: %w", pattern, masked, ErrNet)
	}
	return prefix, nil
}
