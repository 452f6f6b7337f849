package table

import (
	"context"
	"iter"
	"os"
	"time"

	"sealpost/lib/store"
)

// Indexed are the names of the type whose tables postmap builds: all of them mean the
// same (decision 41).
func Indexed() []string { return []string{"bbolt", "btree", "cdb", "hash", "lmdb"} }

// settle is how old the source of a table may be without a warning that it is newer
// than the table: whoever edits it is about to run postmap.
const settle = 100 * time.Second

// indexed is a table that postmap built; keys are folded, but for Env.Exact.
type indexed struct {
	base
	exact bool
	store *store.Store
}

func openIndexed(env Env, spec, name string) (Table, error) {
	s, err := store.Open(name)
	if err != nil {
		return nil, err
	}
	path := name + store.Suffix
	source, err1 := os.Stat(name)
	built, err2 := os.Stat(path)
	if err1 == nil && err2 == nil && source.ModTime().After(built.ModTime()) && time.Since(source.ModTime()) > settle {
		env.warnf("database %s is older than source file %s", path, name)
	}
	return &indexed{base{spec: spec, fixed: true, files: []string{path}}, env.Exact, s}, nil
}

func (t *indexed) Lookup(_ context.Context, key string) (string, bool, error) {
	if !t.exact {
		key = fold(key)
	}
	value, found, err := t.store.Get(key)
	if err != nil {
		return "", false, Fail(t.spec, err)
	}
	return value, found, nil
}

// All implements Lister, in the order of the keys.
func (t *indexed) All(context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range t.store.All() {
			if err != nil {
				err = Fail(t.spec, err)
			}
			if !yield(Entry{Key: e[0], Value: e[1]}, err) {
				return
			}
		}
	}
}

func (t *indexed) Close() error { return t.store.Close() }
