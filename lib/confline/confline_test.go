package confline

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

func scan(t *testing.T, text string, collapse bool) []Line {
	t.Helper()
	sc := NewScanner(strings.NewReader(text))
	sc.Collapse = collapse
	var lines []Line
	for {
		line, err := sc.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

func TestLogicalLines(t *testing.T) {
	tests := []struct {
		name, text string
		collapse   bool
		want       []Line
	}{
		{"empty", "", false, nil},
		{"comments and blank lines", "# a\n\n  # b\n \t\nx", false, []Line{{"x", 5, 5, false}}},
		{"continuation", "a\n b\n\tc\nd\n", false, []Line{{"a b\tc", 1, 3, false}, {"d", 4, 4, false}}},
		{"collapsed continuation", "a,\n \t b\n", true, []Line{{"a, b", 1, 2, false}}},
		{"over comments and blank lines", "a\n#x\n\n b\n", false, []Line{{"a b", 1, 4, false}}},
		{"CR LF", "a\r\n b\r\nc\r\n", false, []Line{{"a b", 1, 2, false}, {"c", 3, 3, false}}},
		{"no line to continue", " a\n b\nc\n", false, []Line{{" a b", 1, 2, true}, {"c", 3, 3, false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := scan(t, tt.text, tt.collapse); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestLongLinesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"physical": strings.Repeat("x", MaxLine+2),
		"logical":  "a\n" + strings.Repeat(" "+strings.Repeat("x", 1000)+"\n", MaxLine/1000+1),
	} {
		if _, err := NewScanner(strings.NewReader(text)).Next(); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewScanner(strings.NewReader(strings.Repeat("x", MaxLine-1))).Next(); err != nil {
		t.Errorf("a line of the greatest length: %v", err)
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"":                      nil,
		" , ,":                  nil,
		"a, b\tc,,d":            {"a", "b", "c", "d"},
		"{a, b} c:{d, {e f}}g":  {"{a, b}", "c:{d, {e f}}g"},
		"a} b":                  {"a}", "b"},
		"a {b c":                {"a", "{b c"},
		"inline:{{a=b}, {c=d}}": {"inline:{{a=b}, {c=d}}"},
	} {
		if got := Split(text, Comma); !reflect.DeepEqual(got, want) {
			t.Errorf("Split(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestBraces(t *testing.T) {
	for text, want := range map[string]string{
		"{ a b }": "a b true",
		"{}":      " true",
		"{a}{b}":  "{a}{b} false",
		"{a":      "{a false",
		"a":       "a false",
		"{{a}}":   "{a} true",
	} {
		inner, ok := Unbrace(text)
		if got := fmt.Sprint(inner, " ", ok); got != want {
			t.Errorf("Unbrace(%q) = %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]int{"{a{b}}c": 6, "(a(b))": 6, "{a": -1, "a": -1, "": -1, "{(}": 3} {
		if got := Balanced(text); got != want {
			t.Errorf("Balanced(%q) = %d, want %d", text, got, want)
		}
	}
}

// Splitting at commas and joining again loses nothing but separators.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"a, b", "{a, b} c", "{{", "}}", "a{b c}d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := Split(text, Comma)
		for _, w := range words {
			if w == "" {
				t.Errorf("%q has an empty word", text)
			}
		}
		strip := func(s string) string {
			return strings.Map(func(r rune) rune {
				if strings.ContainsRune(Comma, r) {
					return -1
				}
				return r
			}, strings.ToValidUTF8(s, "?"))
		}
		if got, want := strip(strings.Join(words, " ")), strip(text); got != want {
			t.Errorf("%q became %q", want, got)
		}
	})
}
