package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	c := mustLoad(t, "v = val\ne =\nten = 10\ndata = $$v ${v}$$\nmydomain = bücher.example\n")
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"$v ${v} $(v) $$v", "val val val $v"},
		{"a$5b", "a"},
		{"$nosuch.", "."},
		{"{$v}", "{val}"},
		{"$v{text}", "val{text}"},
		{"${v?{ x y }}", " x y "},
		{"${ }", ""},
		{"${{ a} == {a} ? {y} : { n }}", " n "}, // white space inside { } counts
		{"${v?{x}:{y}}${e?{x}:{y}}", "xy"},
		{"${ v ? {x} : {y} }", "x"},
		{"${e?{x}}", ""},
		{"${v?text with : colon}", "text with : colon"},
		{"${e:text}${v:text}", "text"},
		{"${e:{a}}", "a"},
		{"${v?{x}:y}${e?{x}:y}", "xy"},
		{"$(v?x)", "x"},
		{"${v?${e:q}}", "q"},
		{"${nosuch?{a}:{b}}", "b"},
		{"${{a} == {a} ? {yes} : {no}}", "yes"},
		{"${{a} == {b}}${{a} == {a}}", "true"},
		{"${{a} != {b} ? {1}}", "1"},
		{"${{a} != {a} : {1}}", "1"},
		{"${{10} > {9} ? {1}:{2}}", "1"},
		{"${{010} == {10} ? {1}:{2}}", "1"},
		{"${{10x} > {9x} ? {1}:{2}}", "2"},
		{"${{99999999999999999999999} > {9} ? {1}}", "1"},
		{"${{$v}=={val}?{ok}:{nok}}", "ok"},
		{"${{3.10} <level {3.9} ? {lt} : {ge}}", "ge"},
		{"${{3} <=level {3.0.0} ? {le} : {gt}}", "le"},
		{"${{$ten} >= {10} ? {${v}} : {$e}}", "val"},
		{"${domain_to_ascii{a.EXAMPLE}}", "a.EXAMPLE"},
		{"${domain_to_ascii{ $mydomain }}", "xn--bcher-kva.example"},
		{"${domain_to_utf8{xn--bcher-kva.example}}", "bücher.example"},
		{"${domain_to_utf8{bücher.example}}", "bücher.example"},
		{"$data", "$v val$"}, // values are not expanded again
	}
	for _, tt := range tests {
		if got, err := c.Expand(tt.in); got != tt.want || err != nil {
			t.Errorf("%s = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestExpandErrors(t *testing.T) {
	c := mustLoad(t, "v = val\n")
	deep := strings.Repeat("${v?{", 200) + strings.Repeat("}}", 200)
	tests := []struct{ in, want string }{
		{"a$", `empty macro name: "a$"`},
		{"a$ b", `empty macro name: "a$ b"`},
		{"${v", `truncated macro reference: "${v"`},
		{"${}", `empty macro name: "${}"`},
		{"${-}", `attribute name syntax error at: "...>>>-"`},
		{"${v-x}", `attribute name syntax error at: "...v>>>-x"`},
		{"${e:{text}junk}", `unexpected input at: "...text}>>>junk"`},
		{"${v?{text}junk}", `":" expected at: "...text}>>>junk"`},
		{"${v?{a}:{text}junk}", `unexpected input at: "...text}>>>junk"`},
		{"${{a} ?? {b}}", `"==" or "!=" or "<" or "<=" or ">=" or ">" expected at: "...a}>>>?? {b}"`},
		{"${{a} == b}", `"{expression}" expected at: "...{a} ==>>> b"`},
		{"${{a} == {b} x}", `"?" or ":" expected at: "...}>>>x"`},
		{"${{a} ==nosuch {b}}", `bad operator suffix`},
		{"${{a} <level {3}}", `malformed compatibility level syntax: "a"`},
		{"${nosuch{x}}", `unknown function "nosuch" at"...>>>nosuch{x}"`},
		{"${domain_to_ascii{x}y}", `unexpected input at: "...x}>>>y"`},
		{"${domain_to_utf8{xn--a}}", `bad domain argument in: 'domain_to_utf8{xn--a}'`},
		{deep, "unreasonable macro call nesting"},
	}
	for _, tt := range tests {
		_, err := c.Expand(tt.in)
		if !errors.Is(err, ErrExpand) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40s: %v; want %s", tt.in, err, tt.want)
		}
	}
}

func TestChainsOfParametersAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 150 {
		fmt.Fprintf(&text, "a%d = $a%d\n", i, i+1)
	}
	_, err := load(t, text.String()+"a150 = end\nmyorigin = $a50\n")
	if !errors.Is(err, ErrExpand) || !strings.Contains(err.Error(), "line 102: parameter a101: bad value \"$a102\": unreasonable macro call nesting") {
		t.Errorf("150 steps: %v", err)
	}
	if c, err := load(t, strings.ReplaceAll(text.String(), "$a90\n", "end\n")); err != nil || c.Str("myorigin") == "" {
		t.Errorf("90 steps: %v", err)
	}
}

// Values that double with each name would fill the memory.
func TestExpansionIsBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("a0 = 0123456789\n")
	for i := 1; i < 40; i++ {
		n, m := string(rune('a'+i/10))+string(rune('0'+i%10)), string(rune('a'+(i-1)/10))+string(rune('0'+(i-1)%10))
		text.WriteString(n + " = $" + m + "$" + m + "\n")
	}
	_, err := load(t, text.String())
	if !errors.Is(err, ErrExpand) || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("err = %v", err)
	}
}

// Expansion ends, is the same each time, and leaves text without $ alone.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"$v", "${v?{a}:{b}}", "${{a} <level {3.9} ? {lt}}", "${domain_to_ascii{é}}", "$(v", "$$", "${${v}}", "${{{}} == {}}"} {
		f.Add(seed)
	}
	c, err := FromMap(map[string]string{"v": "val", "e": ""})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err1 := c.Expand(text)
		second, err2 := c.Expand(text)
		if first != second || (err1 == nil) != (err2 == nil) {
			t.Errorf("%q: %q, %v and %q, %v", text, first, err1, second, err2)
		}
		if !strings.Contains(text, "$") && first != text {
			t.Errorf("%q became %q", text, first)
		}
	})
}

// A file that is accepted says the same when its settings are written one to a line.
func FuzzMainFile(f *testing.F) {
	for _, seed := range []string{"a = b\n", "a = b\n  c\n# x\n\n d\r\n", "a=b\na=c", "  a = b", "=", "a\n", "a = b # c\n", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		settings, _, err := parseMain(strings.NewReader(text), "main.cf")
		if err != nil {
			return
		}
		var plain strings.Builder
		for _, s := range settings {
			if s.Line < 1 || s.Name == "" {
				t.Errorf("setting %+v", s)
			}
			plain.WriteString(s.Name + " = " + s.Value + "\n")
		}
		again, _, err := parseMain(strings.NewReader(plain.String()), "main.cf")
		if err != nil || len(again) != len(settings) {
			t.Fatalf("%q: %d settings, then %d (%v)", text, len(settings), len(again), err)
		}
		for i := range again {
			if again[i].Name != settings[i].Name || again[i].Value != settings[i].Value {
				t.Errorf("%+v became %+v", settings[i], again[i])
			}
		}
	})
}
