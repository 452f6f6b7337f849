package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/lib/filelock"
)

func build(t testing.TB, name string, rows map[string]string) {
	t.Helper()
	var entries []Entry
	for k, v := range rows {
		entries = append(entries, Entry{k, v})
	}
	if err := Build(context.Background(), name, entries, 0o640); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, name string) *Store {
	t.Helper()
	s, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func all(t testing.TB, s *Store) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for e, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
		rows[e[0]] = e[1]
	}
	return rows
}

func some(n int) map[string]string {
	rows := map[string]string{}
	for i := range n {
		rows[fmt.Sprintf("user%d@example.com", i)] = fmt.Sprint("value ", i)
	}
	return rows
}

func TestBuildAndGet(t *testing.T) {
	for _, n := range []int{0, 1, 1000, batch + 1} {
		name := filepath.Join(t.TempDir(), "t")
		rows := some(n)
		build(t, name, rows)
		s := open(t, name)
		if got := all(t, s); !maps.Equal(got, rows) {
			t.Errorf("%d entries: got %d others", n, len(got))
		}
		for k, v := range rows {
			if got, found, err := s.Get(k); got != v || !found || err != nil {
				t.Fatalf("%s: %q, %v, %v", k, got, found, err)
			}
		}
		if got, found, err := s.Get("nobody"); got != "" || found || err != nil {
			t.Errorf("nobody: %q, %v, %v", got, found, err)
		}
		if _, found, err := s.Get(""); found || err != nil {
			t.Errorf("empty key: %v, %v", found, err)
		}
		if st, err := os.Stat(name + Suffix); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestUpdate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	ctx := context.Background()
	if err := Update(ctx, name, false, 0o644, func(*Change) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without table: %v", err)
	}
	put := func(c *Change) error { return errors.Join(c.Put("a", "1"), c.Put("b", "2"), c.Put("c", "")) }
	if err := Update(ctx, name, true, 0o644, put); err != nil {
		t.Fatal(err)
	}
	old := open(t, name)
	stop := errors.New("stop")
	if err := Update(ctx, name, true, 0o644, func(c *Change) error { return errors.Join(c.Put("z", "9"), stop) }); !errors.Is(err, stop) {
		t.Errorf("error of fn: %v", err)
	}
	if err := Update(ctx, name, false, 0o644, func(c *Change) error {
		if v, ok := c.Get("a"); v != "1" || !ok {
			t.Errorf("a: %q, %v", v, ok)
		}
		return errors.Join(c.Delete("a"), c.Delete("nobody"), c.Put("b", "3"))
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := all(t, open(t, name)), map[string]string{"b": "3", "c": ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := all(t, old), map[string]string{"a": "1", "b": "2", "c": ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("who had it open sees %v, want %v", got, want)
	}
}

// TestDamage: a file with one changed byte, or cut off anywhere, does not open, and an
// update does not build on it.
func TestDamage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	build(t, name, some(300))
	whole, err := os.ReadFile(name + Suffix)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(name+Suffix, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(name); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name+Suffix) {
			t.Errorf("%s: opened %v, %v", what, s, err)
		}
		if err := Update(context.Background(), name, true, 0o644, func(*Change) error { return nil }); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: update: %v", what, err)
		}
	}
	for i := 0; i < len(whole); i += 97 {
		b := append([]byte(nil), whole...)
		b[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("byte %d", i), b)
	}
	for n := 0; n < len(whole); n += 511 {
		check(fmt.Sprintf("%d bytes of %d", n, len(whole)), whole[:n])
	}
}

// TestCutOffWhileOpen: the hole is an error of the look-up, not the end of the program.
func TestCutOffWhileOpen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	rows := some(20_000)
	build(t, name, rows)
	s := open(t, name)
	if err := os.Truncate(name+Suffix, 8192); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for k := range rows {
		if _, _, err := s.Get(k); errors.Is(err, ErrDamaged) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Error("no look-up failed")
	}
	for _, err := range s.All() {
		if err != nil {
			return
		}
	}
	t.Error("the list has no error")
}

// TestReadersAndWriters: each reader sees one whole table, whoever writes.
func TestReadersAndWriters(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	const keys, rounds = 200, 20
	table := func(n int) map[string]string {
		rows := map[string]string{}
		for k := range keys {
			rows[fmt.Sprint(k)] = fmt.Sprint(n)
		}
		return rows
	}
	build(t, name, table(0))
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range rounds {
				build(t, name, table(w*rounds+i))
			}
		})
	}
	for range 3 {
		wg.Go(func() {
			for range rounds {
				s, err := Open(name)
				if err != nil {
					t.Error(err)
					return
				}
				seen := map[string]bool{}
				for k := range keys {
					v, found, err := s.Get(fmt.Sprint(k))
					if err != nil || !found {
						t.Error(found, err)
					}
					seen[v] = true
				}
				s.Close()
				if len(seen) != 1 {
					t.Errorf("a mixture of tables: %v", seen)
				}
			}
		})
	}
	wg.Wait()
}

// TestPlantedFiles: what somebody else put where the table or its temporary file goes is
// neither written through nor kept.
func TestPlantedFiles(t *testing.T) {
	for _, at := range []string{".t" + Suffix + ".tmp", ".t" + Suffix + ".lock", "t" + Suffix} {
		for _, plant := range []struct {
			name string
			do   func(victim, path string) error
		}{{"symbolic link", os.Symlink}, {"hard link", os.Link}} {
			dir := t.TempDir()
			victim := filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := plant.do(victim, filepath.Join(dir, at)); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, "t")
			build(t, name, some(10))
			if b, err := os.ReadFile(victim); string(b) != "precious" || err != nil {
				t.Errorf("%s at %s: the victim is now %d bytes, %v", plant.name, at, len(b), err)
			}
			if st, err := os.Lstat(name + Suffix); err != nil || !st.Mode().IsRegular() {
				t.Errorf("%s at %s: the table is %v, %v", plant.name, at, st, err)
			}
			if got := all(t, open(t, name)); len(got) != 10 {
				t.Errorf("%s at %s: %d entries", plant.name, at, len(got))
			}
		}
	}
}

// TestLocksOfOthers: who can read a directory and a table can lock both; that stops
// neither writers nor readers.
func TestLocksOfOthers(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "t")
	build(t, name, some(10))
	for _, path := range []string{dir, name + Suffix} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := filelock.TryLock(f, filelock.Exclusive); err != nil {
			t.Fatal(err)
		}
	}
	if got := all(t, open(t, name)); len(got) != 10 {
		t.Errorf("a reader sees %d entries", len(got))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := Build(ctx, name, []Entry{{"a", "b"}}, 0o644); err != nil {
		t.Errorf("a writer: %v", err)
	}
}

// TestWritersWait: of two who change one table at once, neither loses anything.
func TestWritersWait(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	const writers, rounds = 4, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				if err := Update(context.Background(), name, true, 0o644, func(c *Change) error { return c.Put(fmt.Sprint(w, "-", i), "x") }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(all(t, open(t, name))); n != writers*rounds {
		t.Errorf("%d entries, want %d", n, writers*rounds)
	}
}

func TestNotThere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	if _, err := Open(name); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "run postmap "+name) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(name+".db", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name+".db of Postfix is not read: run postmap") {
		t.Errorf("another program's: %v", err)
	}
}

// FuzzOpen: whatever the file has, Open says no, or the table is one.
func FuzzOpen(f *testing.F) {
	name := filepath.Join(f.TempDir(), "t")
	build(f, name, some(10))
	b, err := os.ReadFile(name + Suffix)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "t")
		if err := os.WriteFile(name+Suffix, b, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(name)
		if err != nil {
			return
		}
		defer s.Close()
		for e, err := range s.All() {
			if err != nil {
				return
			}
			if v, found, err := s.Get(e[0]); v != e[1] || !found || err != nil {
				t.Errorf("%q: %q, %v, %v", e[0], v, found, err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	name := filepath.Join(b.TempDir(), "t")
	build(b, name, some(100_000))
	s := open(b, name)
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = fmt.Sprintf("user%d@example.com", i*97)
	}
	b.ReportAllocs()
	for i := range b.N {
		if _, _, err := s.Get(keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}
