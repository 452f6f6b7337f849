package address

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":               "",
		"a@b":            "a@b",
		"a b@c":          `"a b"@c`,
		"a@b@c":          `"a@b"@c`,
		"a..b@c":         `"a..b"@c`,
		".a@c":           `".a"@c`,
		"a.@c":           `"a."@c`,
		"@c":             `""@c`,
		`a"b\c@d`:        `"a\"b\\c"@d`,
		"a\rb@c":         "\"a\\\rb\"@c",
		"a\tb@c":         "\"a\tb\"@c",
		"é@c":            "é@c",
		"@r1,@r2:a@b":    "@r1,@r2:a@b",
		"@r1:a b@c":      `@r1:"a b"@c`,
		"a%b!c+d@e":      "a%b!c+d@e",
		"a,b":            `"a,b"`,
		"a(b)<c>;[d]@e":  `"a(b)<c>;[d]"@e`,
		"user@[1.2.3.4]": "user@[1.2.3.4]",
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %q, want %q", in, got, want)
		}
		if got := Unquote(want); got != in {
			t.Errorf("Unquote(%q) = %q, want %q", want, got, in)
		}
	}
	for in, want := range map[string]string{
		`""`: "", `"a"@b`: "a@b", `a\@b@c`: "a@b@c", `"a"."b"@c`: "a.b@c", `"x@y"`: "x@y", `"open@b`: "open@b",
	} {
		if got := Unquote(in); got != want {
			t.Errorf("Unquote(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplitExtension(t *testing.T) {
	for _, tt := range []struct{ local, delims, base, ext string }{
		{"user+ext", "+", "user", "ext"},
		{"user+a+b", "+", "user", "a+b"},
		{"user-a+b", "+-", "user", "a+b"},
		{"user", "+", "user", ""},
		{"user+ext", "", "user+ext", ""},
		{"+ext", "+", "+ext", ""},
		{"owner-list", "-", "owner-list", ""},
		{"Owner-list", "-", "Owner-list", ""},
		{"list-request", "-", "list-request", ""},
		{"owner-list+x", "+", "owner-list", "x"},
		{"mailer-daemon", "-", "mailer-daemon", ""},
		{"double-bounce", "-", "double-bounce", ""},
		{"request-x", "-", "request", "x"},
	} {
		if base, ext := SplitExtension(tt.local, tt.delims); base != tt.base || ext != tt.ext {
			t.Errorf("SplitExtension(%q, %q) = %q, %q, want %q, %q", tt.local, tt.delims, base, ext, tt.base, tt.ext)
		}
	}
}

// What Postfix 3.7 took and refused, but for control characters (decision 21).
func TestParsePath(t *testing.T) {
	for _, tt := range []struct{ in, addr, rest string }{
		{"<user@dom.example>", "user@dom.example", ""},
		{"<user@dom.example> SIZE=1 BODY=8BITMIME", "user@dom.example", "SIZE=1 BODY=8BITMIME"},
		{"<>", "", ""},
		{"<> RET=HDRS", "", "RET=HDRS"},
		{`<"">`, "", ""},
		{"<user>", "user", ""},
		{"<@a,@b:user@dom>", "user@dom", ""},
		{"<@a:user@dom>", "user@dom", ""},
		{"<a@b@c>", "a@b@c", ""},
		{`<"a b"@c>`, `"a b"@c`, ""},
		{`<"a\"b>"@c>`, `"a\"b>"@c`, ""},
		{`<a\@b@c>`, `a\@b@c`, ""},
		{"<user@[1.2.3.4]>", "user@[1.2.3.4]", ""},
		{"<user@[IPv6:::1]>", "user@[IPv6:::1]", ""},
		{"<a..b@c>", "a..b@c", ""},
		{`<""@c>`, `""@c`, ""},
		{"<a%b!c@d>", "a%b!c@d", ""},
		{"<|/bin/sh@c>", "|/bin/sh@c", ""},
		{"<ü@c>", "ü@c", ""},
	} {
		for _, strict := range []bool{false, true} {
			addr, rest, err := ParsePath(tt.in, strict)
			if err != nil || addr != tt.addr || rest != tt.rest {
				t.Errorf("ParsePath(%q, %v) = %q, %q, %v", tt.in, strict, addr, rest, err)
			}
		}
	}
}

func TestParsePathNotStrict(t *testing.T) {
	for _, tt := range []struct{ in, addr, rest string }{
		{"user@dom", "user@dom", ""},
		{"user@dom SIZE=1", "user@dom", "SIZE=1"},
		{" <user@dom>", "user@dom", ""},
		{"< user@dom >", "user@dom", ""},
		{"< >", "", ""},
		{"<user @ dom . example>", "user@dom.example", ""},
		{"<(c)user@dom>", "user@dom", ""},
		{"<a:b@c>", "a:b@c", ""},
		{"Joe <user@dom>", "Joe", "<user@dom>"},
	} {
		addr, rest, err := ParsePath(tt.in, false)
		if err != nil || addr != tt.addr || rest != tt.rest {
			t.Errorf("ParsePath(%q) = %q, %q, %v", tt.in, addr, rest, err)
		}
		if _, _, err := ParsePath(tt.in, true); err == nil {
			t.Errorf("ParsePath(%q) is strict", tt.in)
		}
	}
}

func TestParsePathErrors(t *testing.T) {
	for _, in := range []string{
		"", " ", "<", ">", "<a@b", "<user@>", "<@dom>", "<user name@dom>", `<"ab@c>`, "<a,b@c>", "<a;b@c>",
		"<a(b)c@c>", "<a(b@c>", "<a[b@c>", "<a<b@c>", "<a>b@c>", `<a"b"c@d>`, "<user@dom>x", "<user@[1.2.3.4>",
		"<a@b>>", "<<a@b>>", `<a\>`, "<@a:>", "user@dom>",
	} {
		if addr, rest, err := ParsePath(in, false); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParsePath(%q) = %q, %q, %v", in, addr, rest, err)
		}
	}
	for _, in := range []string{"<a\x00b@c>", "<a\x01b@c>", "<\"a\rX: 1\"@c>", "<\"a\nb\"@c>", "<\"a\tb\"@c>", "<a\x7f@c>"} {
		if addr, rest, err := ParsePath(in, false); !errors.Is(err, ErrControl) {
			t.Errorf("ParsePath(%q) = %q, %q, %v", in, addr, rest, err)
		}
	}
}

func TestParseList(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"a@b":                           "a@b",
		" Joe Blow <joe@x> (boss), b@y": "joe@x|b@y",
		`"Bob, B." <bob@x>, "a b"@c`:    `bob@x|"a b"@c`,
		"Carol (carol, c) <carol@x>":    "carol@x",
		"grp: a, b@c;, d@e":             "a|b@c|d@e",
		"undisclosed-recipients:;":      "",
		"<@r1,@r2:x@y>":                 "x@y",
		"<>, a@b":                       "a@b",
		"(only a comment)":              "",
		"user @ dom . example":          "user@dom.example",
		"a@b\n\t(c)\n , d@e":            "a@b|d@e",
		"a@b,,, ,c@d":                   "a@b|c@d",
		"=?utf-8?q?J=C3=B6rg?= <j@x>":   "j@x",
		"a@[IPv6:::1], b@[1.2.3.4]":     "a@[IPv6:::1]|b@[1.2.3.4]",
		"(a (nested (comment)) b) a@b (unclosed (c": "a@b",
		`"unclosed <a@b>`: `"unclosed <a@b>`,
		"a b c":           "a|b|c",
		"x <a@b> <c@d>":   "a@b|c@d",
	} {
		if got := strings.Join(ParseList(in), "|"); got != want {
			t.Errorf("ParseList(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRewriteListKeepsTheRest(t *testing.T) {
	add := func(a string) string {
		if strings.Contains(a, "@") {
			return a
		}
		return a + "@home"
	}
	for in, want := range map[string]string{
		` Joe <joe> (the boss)`:      ` Joe <joe@home> (the boss)`,
		" a, b@c,\n\t\"d e\" (x), f": " a@home, b@c,\n\t\"d e\"@home (x), f@home",
		" a b@c d":                   " a@home b@c, d@home",
		" g: a, b; , <c>":            " g: a@home, b@home; , <c@home>",
	} {
		if got, changed := RewriteList(in, 0, add); got != want || !changed {
			t.Errorf("RewriteList(%q) = %q, want %q", in, got, want)
		}
	}
	if got, changed := RewriteList(" a@b (x)", 0, add); changed || got != " a@b (x)" {
		t.Errorf("unchanged value came back as %q, %v", got, changed)
	}
	if got, _ := RewriteList("a, b, c", 3, add); got != "a@home, b, c" {
		t.Errorf("with a limit of 3 tokens: %q", got)
	}
}

// TestBombs: hostile headers take time in proportion to their length.
func TestBombs(t *testing.T) {
	const size = 1 << 20
	for name, unit := range map[string]string{
		"comments": "(", "closed comments": "()", "quotes": `"`, "brackets": "<", "literals": "[", "commas": ",",
		"routes": "@a:", "groups": "g:;", "escapes": `\`, "dots": ".", "words": "a ",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			ParseList(strings.Repeat(unit, size/len(unit)))
			ParsePath("<"+strings.Repeat(unit, size/len(unit))+">", false)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("%v for 1 MB", d)
			}
		})
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a@b", `a"b@c`, `\@"`, "@a:b@c", "@:@", `@a":b@c`, "a\x00@b", "@a:@b", "\xff@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Unquote(Quote(s)); got != s {
			t.Errorf("Unquote(Quote(%q)) = %q (quoted %q)", s, got, Quote(s))
		}
		if got := string(AppendQuoted(nil, s)); got != Quote(s) {
			t.Errorf("AppendQuoted(%q) = %q", s, got)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<a@b> X", "<>", "<@a,@b:c@d>", `<"a\"b"@c>`, "<a@[1]>", "<(c)a@b>", "a@b c", "<\"\t\"@b>"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, strict bool) {
		addr, _, err := ParsePath(s, strict)
		if err != nil {
			return
		}
		for i := range len(addr) {
			if addr[i] < ' ' || addr[i] == 0x7f {
				t.Fatalf("ParsePath(%q) let a control character through: %q", s, addr)
			}
		}
		// What was taken is a path itself, and the same one.
		again, rest, err := ParsePath("<"+addr+">", false)
		if err != nil || rest != "" || again != addr {
			t.Fatalf("ParsePath(%q) = %q, which parses as %q, %q, %v", s, addr, again, rest, err)
		}
	})
}

func FuzzRewriteList(f *testing.F) {
	for _, s := range []string{"a@b", "g: a, b;", `"x" <y@z>`, "(((", "<@a:b@c>", `\`, "a (b) c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, changed := RewriteList(s, 0, func(a string) string { return a })
		if got != s || changed {
			t.Errorf("identity changed %q to %q", s, got)
		}
		// Only addresses are replaced: their number stays.
		n := len(ParseList(s))
		out, _ := RewriteList(s, 0, func(string) string { return "x@y" })
		if m := len(ParseList(out)); n != m {
			t.Errorf("%q has %d addresses, rewritten %q has %d", s, n, out, m)
		}
	})
}

func TestHeader(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"user@a.example":         "user@a.example",
		"a b@a.example":          `"a b"@a.example`,
		"a\r\nEvil: x@a.example": `"a\??Evil: x"@a.example`,
		"x@a.example\nEvil: x":   "x@a.example?Evil: x",
	} {
		if got := Header(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
