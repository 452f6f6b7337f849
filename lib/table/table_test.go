package table

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// warnings collects what tables complain about.
type warnings []string

func (w *warnings) env() Env {
	return Env{
		Warnf: func(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) },
		Rand:  func(n int) int { return n - 1 },
	}
}

func (w *warnings) has(t *testing.T, text string) {
	t.Helper()
	if !slices.ContainsFunc(*w, func(s string) bool { return strings.Contains(s, text) }) {
		t.Errorf("no warning has %q: %q", text, *w)
	}
}

// file writes a table source and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLookup(t *testing.T) {
	texthash := "texthash:" + file(t, "# comment\nUser@Example.com  one  two \n\n\"a b\"@example.com quoted\n"+
		"long first,\n   # comment\n\tsecond\nwin value\r\ndup 1\nDUP 2\n")
	tests := []struct {
		name, spec, key, want string
		found                 bool
	}{
		{"key is folded, inner blanks stay", texthash, "USER@example.COM", "one  two", true},
		{"quoted key is verbatim", texthash, `"a b"@example.com`, "quoted", true},
		{"unquoted key differs from quoted", texthash, `a b@example.com`, "", false},
		{"continuation over a comment", texthash, "long", "first,\tsecond", true},
		{"line may end in CR LF", texthash, "win", "value", true},
		{"the first of two equal keys counts", texthash, "dup", "1", true},
		{"key of other script is folded", "texthash:" + file(t, "Ärger@example.com x\n"), "ärger@EXAMPLE.com", "x", true},
		{"inline", "inline:{a=b, {c = d e}}", "C", "d e", true},
		{"inline, later key wins", "inline:{a=b, A=c}", "a", "c", true},
		{"inline, empty value is found", "inline:{a=}", "a", "", true},
		{"static", "static:x", "anything", "x", true},
		{"static text", "static:{ a b }", "anything", "a b", true},
		{"random", "randmap:{a, b}", "anything", "b", true},
		{"pipe", "pipemap:{inline:{a=b}, inline:{b=c}}", "a", "c", true},
		{"broken pipe", "pipemap:{inline:{a=b}, inline:{c=c}}", "a", "", false},
		{"union", "unionmap:{inline:{a=b}, inline:{a=c}}", "a", "b,c", true},
		{"union of nothing", "unionmap:{inline:{a=b}, inline:{a=c}}", "b", "", false},
		{"proxy is the table itself", "proxy:inline:{a=b}", "a", "b", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w warnings
			table := Open(w.env(), tt.spec)
			value, found, err := table.Lookup(context.Background(), tt.key)
			if value != tt.want || found != tt.found || err != nil {
				t.Errorf("Lookup(%q) = %q, %v, %v; want %q, %v", tt.key, value, found, err, tt.want, tt.found)
			}
			if table.Name() != tt.spec {
				t.Errorf("Name() = %q", table.Name())
			}
		})
	}
}

func TestTableThatCannotBeOpenedFailsEveryLookup(t *testing.T) {
	tests := []struct {
		spec string
		want error
	}{
		{"texthash:/no/such/file", os.ErrNotExist},
		{"regexp:/no/such/file", os.ErrNotExist},
		{"cidr:/no/such/file", os.ErrNotExist},
		{"nosuch:name", ErrType},
		{"proxy:nosuch:name", ErrType},
		{"unionmap:{nosuch:name}", ErrType},
		{"/etc/passwd", ErrForm},
		{"static:", ErrForm},
		{"inline:{}", nil},
		{"inline:{a}", nil},
		{"inline:{=a}", nil},
		{"inline:a=b", nil},
		{"randmap:a", nil},
		{"pipemap:{}", nil},
		{"regexp:{a}", nil},
		{"cidr:{{a}", nil},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			var w warnings
			table := Open(w.env(), tt.spec)
			_, found, err := table.Lookup(context.Background(), "key")
			if found || !errors.Is(err, ErrUnavailable) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Lookup = %v, %v; want %v", found, err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.spec+" is unavailable. ") {
				t.Errorf("error does not name the table: %v", err)
			}
			w.has(t, tt.spec+" is unavailable. ")
		})
	}
}

func TestFailTableFails(t *testing.T) {
	_, _, err := Open(Env{}, "fail:x").Lookup(context.Background(), "key")
	if !errors.Is(err, ErrFail) || !strings.Contains(err.Error(), "fail:x") {
		t.Errorf("err = %v", err)
	}
}

func TestSourceWarnings(t *testing.T) {
	tests := []struct{ name, kind, text, want string }{
		{"no value", "texthash", "ok x\nkey\n", "line 2: expected format: key whitespace value -- ignoring this line"},
		{"alias file", "texthash", "alias: x\n", `line 1: record is in "key: value" format; is this an alias file?`},
		{"open quote", "texthash", "\"key x\n", `line 1: unbalanced '"' in '"key x' -- ignoring this line`},
		{"not UTF-8", "texthash", "k\xff x\n", "line 1: non-UTF-8 input"},
		{"duplicate", "texthash", "k x\n# c\nK y\n", `line 3: duplicate entry: "k"`},
		{"blank at the start", "texthash", "  k x\n", "logical line must not start with whitespace"},
		{"host bits", "cidr", "10.0.0.1/8 x\n", `line 1: non-null host address bits in "10.0.0.1/8", perhaps you should use "10.0.0.0/8" instead`},
		{"mask", "cidr", "10.0.0.0/33 x\n", `line 1: bad mask length in "10.0.0.0/33"`},
		{"address", "cidr", "foo x\n", `line 1: bad address pattern: "foo"`},
		{"no result", "cidr", "10.0.0.1\n", "line 1: no lookup result: skipping this rule"},
		{"endif", "cidr", "endif\n", "line 1: ENDIF without IF: skipping this rule"},
		{"if", "cidr", "if 10.0.0.0/8\n10.0.0.1 x\n", "line 1: IF has no matching ENDIF"},
		{"endif", "regexp", "endif\n", "line 1: ignoring ENDIF without matching IF"},
		{"delimiter", "regexp", "/a x\n", `line 1: no closing regexp delimiter "/"`},
		{"flag", "regexp", "/a/q x\n", `line 1: unknown regexp option "q": skipping this rule`},
		{"request", "regexp", "a/ x\n", "line 1: ignoring unrecognized request"},
		{"index", "regexp", "/a/ $1\n", `line 1: out of range replacement index "1": skipping this rule`},
		{"index zero", "regexp", "/a/ $0\n", `line 1: out of range replacement index "0": skipping this rule`},
		{"index word", "regexp", "/a/ $x\n", `line 1: non-numeric replacement index "x": skipping this rule`},
		{"negated index", "regexp", "!/(a)/ $1\n", "line 1: $number found in negative match replacement text: skipping this rule"},
		{"expression", "regexp", "/(a/ x\n", "line 1: invalid regular expression"},
		{"bracket", "regexp", "/[a/ x\n", "line 1: invalid regular expression"},
		{"back-reference", "regexp", `/(a)\2/ x`, "line 1: invalid regular expression"},
	}
	for _, tt := range tests {
		t.Run(tt.kind+" "+tt.name, func(t *testing.T) {
			var w warnings
			path := file(t, tt.text)
			if _, err := TryOpen(w.env(), tt.kind+":"+path); err != nil {
				t.Fatal(err)
			}
			w.has(t, tt.want)
			w.has(t, path)
		})
	}
}

func TestPatterns(t *testing.T) {
	rules := "regexp:" + file(t, `
/^a(.)(.)?$/        x$1-${2}-$(1)$$
/^case$/i           exact case
!/^[a-z0-9.+|\/]/   not a word
if /^in/
/^in-(.*)$/         inside $1
if !/x/
/^in$/              inner
endif
endif
/^in/               after
/^l/!/m/            l without m
|^pipe\|d$|         pipe
/^sl\/ash/          slash
/^b\(\d/            literal
/^q\(z\)\+$/x       basic $1
/^\<word\>/         word
/^[[:digit:]]+$/    digits
/^[]z]y/            bracket
`)
	networks := "cidr:" + file(t, `
192.0.2.1         host
if 10.0.0.0/8
10.1.0.0/16       ten one
!10.2.0.0/16      not ten two
endif
if !2001:db8::/32
[fe80::]/10       link
endif
2001:db8::/32     doc
::1               loop
`)
	tests := []struct {
		spec, key, want string
		found           bool
	}{
		{rules, "abc", "xb-c-b$", true},
		{rules, "ab", "xb--b$", true},
		{rules, "CASE", "", false},
		{rules, "case", "exact case", true},
		{rules, "_", "not a word", true},
		{rules, "in-side", "inside side", true},
		{rules, "IN", "inner", true},
		{rules, "inx", "after", true},
		{rules, "lx", "l without m", true},
		{rules, "lm", "", false},
		{rules, "pipe|d", "pipe", true},
		{rules, "sl/ash", "slash", true},
		{rules, "b(d", "literal", true},
		{rules, "qzz", "basic z", true},
		{rules, "word two", "word", true},
		{rules, "words", "", false},
		{rules, "123", "digits", true},
		{rules, "zy", "bracket", true},
		{"regexp:{{/x(y)/ a $1}, {/z/ 1}}", "Z", "1", true},
		{"regexp:{{/x(y)/ a $1}, {/z/ 1}}", "wxyw", "a y", true},
		{"regexp:{{/^a.b$/ x}}", "a\nb", "x", true},
		{"regexp:{{/^b$/ x}}", "a\nb", "", false},
		{"regexp:{{/^b$/m x}}", "a\nb", "x", true},
		{"regexp:{{/a|ab/ x}}", "${mail_version} a", "x", true},
		{"regexp:{{/(a|ab)(c|bcd)?/ <$1><$2>}}", "abcd", "<a><bcd>", true},
		{"regexp:{{/(.*)/ <$1>}}", "$1 %s ${x}", "<$1 %s ${x}>", true},
		{networks, "192.0.2.1", "host", true},
		{networks, "10.1.2.3", "ten one", true},
		{networks, "10.2.2.3", "", false},
		{networks, "10.3.2.3", "not ten two", true},
		{networks, "fe80::1", "link", true},
		{networks, "2001:db8::1", "doc", true},
		{networks, "::1", "loop", true},
		{networks, "name.example", "", false},
		{"cidr:{{0.0.0.0/0 four}, {::/0 six}}", "::2", "six", true},
		{"cidr:{{0.0.0.0/0 four}, {::/0 six}}", "9.9.9.9", "four", true},
	}
	for _, tt := range tests {
		var w warnings
		table := Open(w.env(), tt.spec)
		value, found, err := table.Lookup(context.Background(), tt.key)
		if value != tt.want || found != tt.found || err != nil || len(w) > 0 {
			t.Errorf("%.10s %q = %q, %v, %v (%q); want %q, %v", tt.spec, tt.key, value, found, err, w, tt.want, tt.found)
		}
		if table.Fixed() {
			t.Errorf("%s is not a pattern table", tt.spec)
		}
	}
}

// The rules inside an "if" that cannot be read must not apply to everything.
func TestRulesInsideMalformedIfNeverApply(t *testing.T) {
	for _, spec := range []string{
		"regexp:{{if /(/}, {/a/ inside}, {endif}, {/a/ outside}}",
		"cidr:{{if foo}, {0.0.0.0/0 inside}, {endif}, {0.0.0.0/0 outside}}",
	} {
		table := Open(Env{}, spec)
		for _, key := range []string{"a", "1.2.3.4"} {
			if value, _, _ := table.Lookup(context.Background(), key); value == "inside" {
				t.Errorf("%s: %q gives %q", spec, key, value)
			}
		}
	}
}
