package reqtls

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"sealpost/lib/confline"
	"sealpost/lib/idn"
	"sealpost/lib/table"
)

// Policy is the value of smtp_requiretls_policy or lmtp_requiretls_policy: words
// and tables, of which the first that decides counts (requiretls.md §6.2). It is
// safe for concurrent use.
type Policy struct {
	param string
	items []item
	warnf func(format string, args ...any)
}

// item is one word or one table of a policy.
type item struct {
	word  string
	table table.Table // nil: a word
}

// Open reads a policy. A table that cannot be opened fails when it is asked, and
// a word that is not known when it is reached.
func Open(env table.Env, param, value string) *Policy {
	p := &Policy{param: param, warnf: env.Warnf}
	if p.warnf == nil {
		p.warnf = func(string, ...any) {}
	}
	for _, word := range confline.Split(value, confline.Comma) {
		it := item{word: word}
		if strings.Contains(word, ":") {
			it.table = table.Open(env, word)
		}
		p.items = append(p.items, it)
	}
	return p
}

// Files are the files to watch for changes.
func (p *Policy) Files() []string {
	var files []string
	for _, it := range p.items {
		if it.table != nil {
			files = append(files, it.table.Files()...)
		}
	}
	return files
}

// Close closes the tables.
func (p *Policy) Close() error {
	var first error
	for _, it := range p.items {
		if it.table == nil {
			continue
		}
		if err := it.table.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Level gives the level for a destination: a domain, or an address without
// brackets; for a Unix socket $myhostname. What is wrong with the policy is
// warned, and the level is Failed. A policy that does not decide enforces.
func (p *Policy) Level(ctx context.Context, nexthop string) Level {
	for _, it := range p.items {
		if it.table == nil {
			return p.atom(p.param, it.word)
		}
		if level, decided := p.ask(ctx, it.table, nexthop); decided {
			return level
		}
	}
	return Enforce
}

// atom is a word's level.
func (p *Policy) atom(origin, word string) Level {
	level, ok := levelNames[strings.ToLower(word)]
	if !ok {
		p.warnf("%s: unknown policy action: '%s' -- ignoring the remainder of this policy", origin, word)
		return Failed
	}
	return level
}

// ask looks a destination up in one table, under each of its names.
func (p *Policy) ask(ctx context.Context, t table.Table, nexthop string) (level Level, decided bool) {
	names, err := p.names(nexthop)
	if err != nil {
		p.warnf("%s: malformed next-hop destination: '%s' -- using default policy 'enforce'", p.param, nexthop)
		return Enforce, true
	}
	for _, name := range names {
		for _, key := range keys(name, t.Fixed()) {
			value, found, err := t.Lookup(ctx, key)
			if err != nil {
				p.warnf("%s: %s: table lookup error -- ignoring the remainder of this policy: %v", p.param, t.Name(), err)
				return Failed, true
			}
			if found {
				return p.result(t.Name(), value), true
			}
		}
	}
	return 0, false
}

// result is what a table's value means: exactly one word.
func (p *Policy) result(table, value string) Level {
	kind := ""
	switch {
	case strings.Contains(value, ":"):
		kind = "nested"
	case strings.ContainsAny(value, ", \t\r\n"):
		kind = "composite"
	default:
		return p.atom(table, value)
	}
	p.warnf("table %s: %s lookup result \"%s\" is not allowed -- ignoring remainder of policy", table, kind, value)
	return Failed
}

// names are the forms under which a destination is looked up: as it is, and as
// A-labels where that differs (decision 11).
func (p *Policy) names(nexthop string) ([]string, error) {
	if _, err := netip.ParseAddr(nexthop); err == nil || isASCII(nexthop) {
		return []string{nexthop}, nil
	}
	ascii, err := idn.ToASCII(nexthop)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nexthop, err)
	}
	return []string{nexthop, ascii}, nil
}

// keys are a name and, for tables with exact keys, ".domain" for each domain
// above it. An address has none above it.
func keys(name string, fixed bool) []string {
	if _, err := netip.ParseAddr(name); err == nil || !fixed {
		return []string{name}
	}
	var out []string
	for _, k := range table.DomainKeys(name, false) {
		out = append(out, k.Text)
	}
	return out
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
