package table

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/lib/store"
)

// look opens a table and asks it; the answer is "-" when the key is not there.
func look(t *testing.T, env Env, spec, key string) string {
	t.Helper()
	table, err := TryOpen(env, spec)
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	defer table.Close()
	value, found, err := table.Lookup(context.Background(), key)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !found:
		return "-"
	}
	return value
}

// TestPCRE has the answers of Debian's postmap -q for the same rule and key.
func TestPCRE(t *testing.T) {
	for _, tt := range []struct{ rule, key, want string }{
		{`/^foo$/ yes`, "FOO", "yes"},
		{`/^foo$/i yes`, "FOO", "-"},
		{`/a.b/ yes`, "a\nb", "yes"},
		{`/a.b/s yes`, "a\nb", "-"},
		{`/^b/ yes`, "a\nb", "-"},
		{`/^b/m yes`, "a\nb", "yes"},
		{`/a b/x yes`, "ab", "yes"},
		{`/b/A yes`, "ab", "-"},
		{`/b|ab/A yes`, "ab", "yes"},
		{`/(a+)(a*)/ $1:$2`, "aaa", "aaa:"},
		{`/(a+)(a*)/U $1:$2`, "aaa", "a:"},
		{`!/foo/ yes`, "bar", "yes"},
		{`!/foo/ yes`, "foo", "-"},
		{`/^(.*)@(.*)$/ $2 ${1}x $(1) $$`, "u@d", "d ux u $"},
		{`/(\w)\1/ twice $1`, "aabc", "twice a"},
		{`/(\w)\1/ twice`, "abc", "-"},
		{`/^(?!.*spam).*$/ clean`, "ham", "clean"},
		{`/^(?!.*spam).*$/ clean`, "a spam", "-"},
		{`/(?<=x)y/ after`, "xy", "after"},
		{`/(?<=x)y/ after`, "zy", "-"},
		{`/(?>a+)b/ atomic`, "aab", "atomic"},
		{`/^a++b/ possessive`, "aab", "possessive"},
		{`/^(?<user>.+)@(?<dom>.+)$/ $2`, "u@d", "d"},
		{`/^a\h+b$/ blank`, "a \tb", "blank"},
		{`/^[\h]+$/ blanks`, " \t", "blanks"},
		{`/^\H+$/ no`, "a b", "-"},
		{`/^a\Nb$/ one`, "a\nb", "-"},
		{`/^[[:alpha:]]+$/ letters`, "abC", "letters"},
		{`/^[]h]+$/ set`, "]h", "set"},
		{`/^\d{2,3}$/ digits`, "123", "digits"},
		{`/a\/b/ slash`, "a/b", "slash"},
		{`#a/b# other`, "a/b", "other"},
		{`/(a)|(b)/ <$1$2>`, "b", "<b>"},
	} {
		var warned []string
		env := Env{Warnf: func(format string, args ...any) { warned = append(warned, format) }}
		if got := look(t, env, "pcre:{{"+tt.rule+"}}", tt.key); strings.HasPrefix(tt.rule, "#") && got == "-" {
			// a rule that begins with # is a comment in a file, too
		} else if got != tt.want || len(warned) > 0 {
			t.Errorf("%s: %q gives %q, want %q; warnings %q", tt.rule, tt.key, got, tt.want, warned)
		}
	}
}

func TestPCREConditions(t *testing.T) {
	name := filepath.Join(t.TempDir(), "p")
	text := "if /@a\\.test$/\n/^x/ x in a\nif !/^y/\n/./ other in a\nendif\nendif\n/^y/ y\n/(/ bad\n/a(?R)?b/ neither engine\n/q/Z flag\n/$3/ $3\n!/q/ $1\n"
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var warned strings.Builder
	env := Env{Warnf: func(format string, args ...any) { warned.WriteString(fmt.Sprintf(format, args...) + "\n") }}
	for key, want := range map[string]string{"x@a.test": "x in a", "w@a.test": "other in a", "y@a.test": "y", "y@b.test": "y", "w@b.test": "-"} {
		if got := look(t, env, "pcre:"+name, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	for _, want := range []string{"line 8: invalid regular expression", "line 9: invalid regular expression", `line 10: unknown pcre option "Z": skipping this rule`,
		`line 11: out of range replacement index "3": skipping this rule`, "line 12: $number found in negative match replacement text: skipping this rule"} {
		if !strings.Contains(warned.String(), "pcre map "+name+", "+want) {
			t.Errorf("no warning %q in\n%s", want, warned.String())
		}
	}
}

// TestSlowPattern: a match that takes too long is a temporary error that names table and
// line. It is never "not found", and no later rule answers.
func TestSlowPattern(t *testing.T) {
	table, err := TryOpen(Env{}, `pcre:{{/^x/ x}, {/^(a+)+\1$/ slow}, {/./ later}}`)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	value, found, err := table.Lookup(context.Background(), strings.Repeat("a", 60)+"!")
	if !errors.Is(err, ErrSlow) || found || !strings.Contains(err.Error(), "table pcre:{{/^x/ x}") || !strings.Contains(err.Error(), "line 2: the match took too long") {
		t.Errorf("got %q, %v, %v", value, found, err)
	}
	if d := time.Since(begin); d > 20*matchLimit {
		t.Errorf("it took %v", d)
	}
}

func TestBackReferenceInRegexp(t *testing.T) {
	for _, tt := range []struct{ rule, key, want string }{
		{`/^(.)\1$/ twice`, "aa", "twice"},
		{`/^(.)\1$/ twice`, "ab", "-"},
		{`/^\(.\)\1$/x basic`, "bb", "basic"},
	} {
		if got := look(t, Env{}, "regexp:{{"+tt.rule+"}}", tt.key); got != tt.want {
			t.Errorf("%s: %q gives %q, want %q", tt.rule, tt.key, got, tt.want)
		}
	}
}

// POSIX has counts that package regexp has not: the rule must not get lost.
func TestLargeCountsInRegexp(t *testing.T) {
	tbl, err := TryOpen(Env{Warnf: t.Errorf}, `regexp:{{/^x{2,2000}y$/ repeated}, {/^(a{1,900}){1,900}b$/ nested}}`)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{strings.Repeat("x", 1500) + "y": "repeated", "XXY": "repeated", "xy": "", "aab": "nested"} {
		if got, _, err := tbl.Lookup(t.Context(), key); got != want || err != nil {
			t.Errorf("%.10s: %q, %v; want %q", key, got, err, want)
		}
	}
}

func TestDebugAndInternal(t *testing.T) {
	var said []string
	env := Env{Infof: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	for spec, want := range map[string]string{
		"debug:inline:{a=b}": `inline:{a=b} lookup: "a" = "b"`, "debug:inline:{c=d}": `inline:{c=d} lookup: "a" = "not_found"`, "debug:fail:x": `fail:x lookup: "a" = "error"`,
	} {
		said = nil
		look(t, env, spec, "a")
		if len(said) != 1 || said[0] != want {
			t.Errorf("%s said %q, want %q", spec, said, want)
		}
	}
	if got := look(t, env, "internal:x", "a"); got != "-" {
		t.Errorf("internal: %q", got)
	}
}

func TestIndexed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := store.Build(context.Background(), name, []store.Entry{{Key: "user@example.com", Value: "yes"}, {Key: "empty", Value: ""}}, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, kind := range Indexed() {
		for key, want := range map[string]string{"user@example.com": "yes", "USER@example.COM": "yes", "empty": "", "x": "-"} {
			if got := look(t, Env{}, kind+":"+name, key); got != want {
				t.Errorf("%s: %q gives %q, want %q", kind, key, got, want)
			}
		}
		if got := look(t, Env{Exact: true}, kind+":"+name, "USER@example.com"); got != "-" {
			t.Errorf("%s: exact: %q", kind, got)
		}
	}
	table, err := TryOpen(Env{}, "hash:"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if files := table.Files(); len(files) != 1 || files[0] != name+store.Suffix {
		t.Errorf("files %v", files)
	}
	old := time.Now().Add(-time.Hour)
	for file, at := range map[string]time.Time{name: old, name + store.Suffix: old.Add(-time.Minute)} {
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	var warned string
	look(t, Env{Warnf: func(format string, args ...any) { warned += fmt.Sprintf(format, args...) }}, "hash:"+name, "x")
	if want := "database " + name + ".bbolt is older than source file " + name; warned != want {
		t.Errorf("warned %q, want %q", warned, want)
	}
	if _, err := TryOpen(Env{}, "hash:"+name+"2"); err == nil || !strings.Contains(err.Error(), "run postmap "+name+"2") {
		t.Errorf("not built: %v", err)
	}
}
