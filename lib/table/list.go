package table

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"sealpost/lib/confline"
)

// List is a match list: domain names, host names and addresses, or strings,
// with !negation, /file and type:table elements (§6.3, mydestination, mynetworks).
// The first element that matches decides.
type List struct {
	param   string
	kind    Kind
	parents bool
	steps   []step
	files   []string
}

// Kind of match list.
type Kind int

const (
	Domains Kind = iota // mydestination: names; parents where parent_domain_matches_subdomains says so
	Hosts               // mynetworks: names, addresses, networks
	Strings             // exact strings
)

// step is a run of neighbouring elements of the same sign: their order does not
// matter, so names are looked up at once. A table is a step of its own.
type step struct {
	negate bool
	names  map[string]struct{} // folded; one that begins with "." matches below it
	below  bool                // some name begins with "."
	nets   []netip.Prefix
	table  Table
}

// maxListDepth is how deep files may name files.
const maxListDepth = 10

// OpenList parses a match list. parents: sub.domain.example matches domain.example
// (else only ".domain.example" does).
func OpenList(env Env, param, spec string, kind Kind, parents bool) (*List, error) {
	l := &List{param: param, kind: kind, parents: parents}
	if err := l.add(env, spec, false, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", param, err)
	}
	return l, nil
}

// Empty reports whether the list has no elements.
func (l *List) Empty() bool { return l == nil || len(l.steps) == 0 }

// Files are the files that the list and its tables were read from.
func (l *List) Files() []string {
	if l == nil {
		return nil
	}
	return l.files
}

// Close closes the tables.
func (l *List) Close() error {
	var first error
	if l == nil {
		return nil
	}
	for _, s := range l.steps {
		if s.table == nil {
			continue
		}
		if err := s.table.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (l *List) add(env Env, spec string, negate bool, depth int) error {
	if depth > maxListDepth {
		return fmt.Errorf("files name each other more than %d deep", maxListDepth)
	}
	for _, word := range confline.Split(spec, confline.Comma) {
		sign := negate
		for strings.HasPrefix(word, "!") {
			sign = !sign
			word = word[1:]
		}
		if err := l.addWord(env, word, sign, depth); err != nil {
			return err
		}
	}
	return nil
}

func (l *List) addWord(env Env, word string, negate bool, depth int) error {
	switch {
	case word == "":
		return fmt.Errorf("no pattern after '!'")
	case word[0] == '/':
		text, err := os.ReadFile(word)
		if err != nil {
			return err
		}
		l.files = append(l.files, word)
		rules, err := readRules(env, strings.NewReader(string(text)), word, false)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if err := l.add(env, r.text, negate, depth+1); err != nil {
				return fmt.Errorf("%s, line %d: %w", word, r.line, err)
			}
		}
		return nil
	case l.isTable(word):
		t := Open(env, word)
		l.steps = append(l.steps, step{negate: negate, table: t})
		l.files = append(l.files, t.Files()...)
		return nil
	}
	if l.kind == Hosts && looksLikeNet(word) {
		prefix, err := ParseNet(word)
		if err != nil {
			return err
		}
		s := l.run(negate)
		s.nets = append(s.nets, prefix)
		return nil
	}
	s := l.run(negate)
	if s.names == nil {
		s.names = make(map[string]struct{})
	}
	s.names[fold(word)] = struct{}{}
	s.below = s.below || word[0] == '.'
	return nil
}

// isTable reports whether a word is type:name. An IPv6 address is not.
func (l *List) isTable(word string) bool {
	kind, _, ok := strings.Cut(word, ":")
	if !ok || !isTypeName(kind) {
		return false
	}
	if l.kind == Hosts {
		if _, err := ParseNet(word); err == nil {
			return false
		}
	}
	return true
}

// looksLikeNet reports whether a word of a host list is an address or a network
// rather than a name.
func looksLikeNet(word string) bool {
	if word[0] == '[' || strings.ContainsAny(word, "/:") {
		return true
	}
	return strings.Trim(word, "0123456789.") == ""
}

// run is the last step if further elements of the same sign may join it.
func (l *List) run(negate bool) *step {
	if n := len(l.steps); n > 0 && l.steps[n-1].table == nil && l.steps[n-1].negate == negate {
		return &l.steps[n-1]
	}
	l.steps = append(l.steps, step{negate: negate})
	return &l.steps[len(l.steps)-1]
}

// Match matches a domain or a string, case-insensitively.
func (l *List) Match(ctx context.Context, name string) (bool, error) {
	if l == nil || name == "" {
		return false, nil
	}
	key := fold(name)
	for i := range l.steps {
		s := &l.steps[i]
		hit, err := l.matchName(ctx, s, key)
		if err != nil {
			return false, fmt.Errorf("%s: %w", l.param, err)
		}
		if hit {
			return !s.negate, nil
		}
	}
	return false, nil
}

func (l *List) matchName(ctx context.Context, s *step, key string) (bool, error) {
	if s.table != nil {
		if _, found, err := s.table.Lookup(ctx, key); found || err != nil {
			return found, err
		}
	} else if _, hit := s.names[key]; hit {
		return true, nil
	}
	switch {
	case l.kind == Strings:
		return false, nil
	case s.table != nil && !s.table.Fixed():
		return false, nil
	case s.table == nil && !s.below && (!l.parents || len(s.names) == 0):
		return false, nil
	}
	for rest := key; ; {
		dot := strings.IndexByte(rest[1:], '.')
		if dot < 0 {
			return false, nil
		}
		rest = rest[dot+1:]
		parent := rest
		if l.parents {
			parent = rest[1:]
		}
		if parent == "" {
			return false, nil
		}
		if s.table != nil {
			if _, found, err := s.table.Lookup(ctx, parent); found || err != nil {
				return found, err
			}
			continue
		}
		if _, hit := s.names[parent]; hit {
			return true, nil
		}
		if l.parents {
			if _, hit := s.names[rest]; hit {
				return true, nil
			}
		}
	}
}

// MatchHost matches a client by name and address; name may be empty.
func (l *List) MatchHost(ctx context.Context, name string, addr netip.Addr) (bool, error) {
	if l == nil {
		return false, nil
	}
	addr = addr.Unmap().WithZone("")
	key, text := fold(name), ""
	for i := range l.steps {
		s := &l.steps[i]
		hit := addr.IsValid() && slices.ContainsFunc(s.nets, func(p netip.Prefix) bool { return p.Contains(addr) })
		var err error
		if !hit && key != "" {
			hit, err = l.matchName(ctx, s, key)
		}
		if !hit && err == nil && s.table != nil && addr.IsValid() {
			if text == "" {
				text = addr.String()
			}
			_, hit, err = s.table.Lookup(ctx, text)
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", l.param, err)
		}
		if hit {
			return !s.negate, nil
		}
	}
	return false, nil
}
