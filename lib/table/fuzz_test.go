package table

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

// A source of entries is read without a fault, and what it yields is usable: no
// empty value, no blank outside quotes in a key.
func FuzzReadEntries(f *testing.F) {
	for _, seed := range []string{"a b\n", "  a b\n", "\"a b\"@c d\n", "a\\ b c\n", "a b\n\n# c\n  d\n", "a:\r\n b", "\"", "\x00 a", "\r0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := ReadEntries(Env{}, strings.NewReader(text), "fuzz")
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Value == "" || e.Key == "" || strings.Contains(e.Key, "\n") {
				t.Errorf("entry %+v", e)
			}
			if !strings.ContainsAny(e.Key, "\"\\") && strings.ContainsAny(e.Key, " \t") {
				t.Errorf("key %q has a blank", e.Key)
			}
		}
	})
}

// A source of aliases is read without a fault, and what it yields is usable: a local
// name, values that can be read again to the same.
func FuzzReadAliases(f *testing.F) {
	for _, seed := range []string{"a: b\n", "\"a b\": c, d\n", "a (x:y): |\"b, c\", :include:/d\n", "a:\n b\n", "a\\:b: c\n", "a: (", ": x\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := ReadAliases(Env{}, strings.NewReader(text), "fuzz")
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Key == "" || e.Value == "" || strings.Contains(e.Key, "@") {
				t.Errorf("entry %+v", e)
			}
			if strings.ContainsAny(e.Value, "\n\r\"\\()") {
				continue
			}
			again, err := ReadAliases(Env{}, strings.NewReader("x: "+e.Value+"\n"), "again")
			if err != nil || len(again) != 1 || again[0].Value != e.Value {
				t.Errorf("%q became %+v, %v", e.Value, again, err)
			}
		}
	})
}

// Whatever a pattern table holds, a look-up ends, and a result without $ in the
// source is literal.
func FuzzPatternTables(f *testing.F) {
	for _, seed := range []string{"/a(b)/ $1\n", "if /a/\n/b/ c\nendif\n", "!/a/!/b/ c\n", "10.0.0.0/8 x\n", "if !::/0\n::1 y\n", "/[[:alpha:]/ x", "|a\\|b|xi c", "/\\(a\\)*/x $1"} {
		f.Add(seed, "ab")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		path := t.TempDir() + "/source"
		if err := writeFile(path, text); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"regexp:", "cidr:", "pcre:"} {
			table, err := TryOpen(Env{}, kind+path)
			if err != nil {
				continue
			}
			value, found, err := table.Lookup(context.Background(), key)
			if err != nil && !errors.Is(err, ErrSlow) || !found && value != "" {
				t.Errorf("%s: %q, %v, %v", kind, value, found, err)
			}
			if found && !strings.Contains(text, "$") && value != "" && !strings.Contains(strings.ReplaceAll(text, "\n", ""), value) && !strings.Contains(text, "\r") {
				t.Errorf("%s: result %q is not in the source", kind, value)
			}
		}
	})
}

// A match list is either refused or answers without a fault.
func FuzzList(f *testing.F) {
	for _, seed := range []string{"a, !b .c", "10.0.0.0/8 [::1]", "!inline:{a=b} static:x", "!!!", "{a b}", "a:b:c"} {
		f.Add(seed, "a.b.c")
	}
	f.Fuzz(func(t *testing.T, spec, key string) {
		if namesFile(spec) {
			return
		}
		l, err := OpenList(Env{}, "fuzz", spec, Hosts, true)
		if err != nil {
			return
		}
		first, err1 := l.Match(context.Background(), key)
		second, err2 := l.Match(context.Background(), key)
		if first != second || (err1 == nil) != (err2 == nil) {
			t.Errorf("answers differ: %v, %v", first, second)
		}
	})
}

// namesFile reports whether a list may name a file outside the test.
func namesFile(spec string) bool {
	for i := range len(spec) {
		if spec[i] == '/' && (i == 0 || strings.IndexByte("0123456789]", spec[i-1]) < 0) {
			return true
		}
	}
	return false
}
