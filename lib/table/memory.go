package table

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"

	"sealpost/lib/confline"
)

// hash is a table of exact keys in memory; keys are folded, but for Env.Exact.
type hash struct {
	base
	exact bool
	rows  map[string]string
}

func newHash(env Env, spec string, files ...string) *hash {
	return &hash{base{spec: spec, fixed: true, files: files}, env.Exact, make(map[string]string)}
}

func (h *hash) key(key string) string {
	if h.exact {
		return key
	}
	return fold(key)
}

func (h *hash) Lookup(_ context.Context, key string) (string, bool, error) {
	value, found := h.rows[h.key(key)]
	return value, found, nil
}

// All implements Lister, in the order of the keys.
func (h *hash) All(context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(h.rows)) {
			if !yield(Entry{Key: key, Value: h.rows[key]}, nil) {
				return
			}
		}
	}
}

// openInternal is a table in the memory of the program, which begins empty: Postfix's
// for caches that need not outlive it.
func openInternal(env Env, spec, _ string) (Table, error) { return newHash(env, spec), nil }

// openInline reads inline:{key = value, {key = text with blanks}, ...}. A later
// key wins.
func openInline(env Env, spec, name string) (Table, error) {
	items, ok := braced(name)
	if !ok {
		return nil, fmt.Errorf("bad syntax: %q; need \"inline:{name=value...}\"", spec)
	}
	h := newHash(env, spec)
	for _, item := range confline.Split(items, confline.Comma) {
		inner, whole := confline.Unbrace(item)
		if !whole && strings.HasPrefix(item, "{") {
			return nil, fmt.Errorf("syntax error after '}' in %q: %q; need \"inline:{name=value...}\"", item, spec)
		}
		key, value, ok := confline.NameValue(inner)
		switch {
		case !ok:
			return nil, fmt.Errorf("missing '=' after attribute name: %q; need \"inline:{name=value...}\"", spec)
		case key == "":
			return nil, fmt.Errorf("missing attribute name: %q; need \"inline:{name=value...}\"", spec)
		}
		h.rows[h.key(key)] = value
	}
	if len(h.rows) == 0 {
		return nil, fmt.Errorf("empty table: %q; need \"inline:{name=value...}\"", spec)
	}
	return h, nil
}

// braced is the text inside a name that is written in { }.
func braced(name string) (string, bool) {
	return confline.Unbrace(strings.Trim(name, confline.White))
}

// static answers every key with its name.
type static struct {
	base
	value string
}

func (s *static) Lookup(context.Context, string) (string, bool, error) { return s.value, true, nil }

func openStatic(_ Env, spec, name string) (Table, error) {
	value, ok := confline.Unbrace(name)
	if !ok && strings.HasPrefix(name, "{") {
		return nil, fmt.Errorf("bad syntax: %q; need \"static:{text}\"", spec)
	}
	return &static{base{spec: spec, fixed: true}, value}, nil
}

// fail fails every look-up.
type fail struct{ base }

func (f *fail) Lookup(context.Context, string) (string, bool, error) {
	return "", false, Fail(f.spec, ErrFail)
}

func openFail(_ Env, spec, _ string) (Table, error) {
	return &fail{base{spec: spec, fixed: true}}, nil
}

// environ has the environment as it was when the table was opened.
type environ struct {
	base
	rows map[string]string
}

func (e *environ) Lookup(_ context.Context, key string) (string, bool, error) {
	value, found := e.rows[key]
	return value, found, nil
}

func openEnviron(_ Env, spec, _ string) (Table, error) {
	e := &environ{base{spec: spec, fixed: true}, make(map[string]string)}
	for _, entry := range os.Environ() {
		if key, value, ok := strings.Cut(entry, "="); ok {
			e.rows[key] = value
		}
	}
	return e, nil
}

// random answers every key with one of its values.
type random struct {
	base
	env    Env
	values []string
}

func (r *random) Lookup(context.Context, string) (string, bool, error) {
	return r.values[r.env.rand(len(r.values))], true, nil
}

func openRandom(env Env, spec, name string) (Table, error) {
	inner, ok := braced(name)
	values := confline.Split(inner, confline.Comma)
	if !ok || len(values) == 0 {
		return nil, fmt.Errorf("bad syntax: %q; need \"randmap:{value...}\"", spec)
	}
	return &random{base{spec: spec}, env, values}, nil
}

// debugged is a table whose look-ups are logged.
type debugged struct {
	Table
	spec  string
	infof func(format string, args ...any)
}

// openDebug opens the table that debug: names.
func openDebug(env Env, spec, name string) (Table, error) {
	t, err := TryOpen(env, name)
	if err != nil {
		return nil, err
	}
	d := &debugged{t, spec, env.Infof}
	if d.infof == nil {
		d.infof = env.warnf
	}
	return d, nil
}

func (d *debugged) Name() string { return d.spec }

func (d *debugged) Lookup(ctx context.Context, key string) (string, bool, error) {
	value, found, err := d.Table.Lookup(ctx, key)
	said := value
	switch {
	case err != nil:
		said = "error"
	case !found:
		said = "not_found"
	}
	d.infof("%s lookup: \"%s\" = \"%s\"", d.Table.Name(), key, said)
	return value, found, err
}

// All implements Lister where the table does.
func (d *debugged) All(ctx context.Context) iter.Seq2[Entry, error] { return list(ctx, d.Table) }

// All implements Lister where the table does.
func (r *renamed) All(ctx context.Context) iter.Seq2[Entry, error] { return list(ctx, r.Table) }

// list is the list of a table, or the error that it has none.
func list(ctx context.Context, t Table) iter.Seq2[Entry, error] {
	if l, ok := t.(Lister); ok {
		return l.All(ctx)
	}
	return func(yield func(Entry, error) bool) { yield(Entry{}, Fail(t.Name(), ErrNoList)) }
}

// openProxy opens the table that proxy: names.
func openProxy(env Env, spec, name string) (Table, error) {
	t, err := TryOpen(env, name)
	if err != nil {
		return nil, err
	}
	return &renamed{t, spec}, nil
}

// renamed is a table under the name that the configuration has for it.
type renamed struct {
	Table
	spec string
}

func (r *renamed) Name() string { return r.spec }

// group is a list of tables that make one.
type group struct {
	base
	members []Table
}

func openGroup(env Env, spec, name string) (group, error) {
	kind, _, _ := strings.Cut(spec, ":")
	inner, ok := braced(name)
	words := confline.Split(inner, confline.Comma)
	if !ok || len(words) == 0 {
		return group{}, fmt.Errorf("bad syntax: %q; need \"%s:{type:name...}\"", spec, kind)
	}
	g := group{base: base{spec: spec, fixed: true}}
	for _, word := range words {
		t, err := TryOpen(env, word)
		if err != nil {
			return group{}, err
		}
		g.members = append(g.members, t)
		g.fixed = g.fixed && t.Fixed()
		g.files = append(g.files, t.Files()...)
	}
	return g, nil
}

func (g *group) Close() error {
	var first error
	for _, t := range g.members {
		if err := t.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// pipe hands the result of each table to the next as its key.
type pipe struct{ group }

func openPipe(env Env, spec, name string) (Table, error) {
	g, err := openGroup(env, spec, name)
	if err != nil {
		return nil, err
	}
	return &pipe{g}, nil
}

func (p *pipe) Lookup(ctx context.Context, key string) (string, bool, error) {
	for _, t := range p.members {
		value, found, err := t.Lookup(ctx, key)
		if err != nil || !found {
			return "", false, err
		}
		key = value
	}
	return key, true, nil
}

// union joins what all tables answer with commas.
type union struct{ group }

func openUnion(env Env, spec, name string) (Table, error) {
	g, err := openGroup(env, spec, name)
	if err != nil {
		return nil, err
	}
	return &union{g}, nil
}

func (u *union) Lookup(ctx context.Context, key string) (string, bool, error) {
	var values []string
	for _, t := range u.members {
		value, found, err := t.Lookup(ctx, key)
		if err != nil {
			return "", false, err
		}
		if found {
			values = append(values, value)
		}
	}
	return strings.Join(values, ","), len(values) > 0, nil
}
