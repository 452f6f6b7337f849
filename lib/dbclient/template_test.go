package dbclient

import (
	"errors"
	"strings"
	"testing"
)

func TestTemplateExpand(t *testing.T) {
	const none = "\x00"
	for _, c := range []struct{ name, template, key, want string }{
		{"the key", "[%s]", "a@x.org", "[a@x.org]"},
		{"a percent sign", "100%%", "a", "100%"},
		{"local part and domain", "%u at %d", "a@x.org", "a at x.org"},
		{"the last @ divides", "%u|%d", "a@b@c", "a@b|c"},
		{"the local part of a bare name is the name", "%u", "root", "root"},
		{"no local part", "%u", "@x.org", none},
		{"no domain", "%d", "root", none},
		{"an empty domain", "%d", "root@", none},
		{"labels from the end", "%1.%2.%3", "u@mail.example.com", "com.example.mail"},
		{"too few labels", "%3", "u@example.com", none},
		{"labels need an address", "%1", "example.com", none},
		{"an empty label", "%2", "u@.com", none},
		{"upper case is the key, too", "%S %U %D", "a@x.org", "a@x.org a x.org"},
		{"sequences in the key stay text", "%s", "%d%u%s", "%d%u%s"},
		{"constant", "always", "", "always"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmpl, err := ParseTemplate(c.template)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := tmpl.Expand(c.key, nil)
			if want := c.want != none; ok != want || ok && got != c.want {
				t.Errorf("%q for %q: %q, %v; want %q", c.template, c.key, got, ok, c.want)
			}
		})
	}
}

func TestTemplateApply(t *testing.T) {
	for _, c := range []struct {
		name, template, key, value, want string
		ok                               bool
	}{
		{"the value", "smtp:[%s]", "k", "mx.example", "smtp:[mx.example]", true},
		{"parts of the value", "%u+%d", "k@x", "v@y", "v+y", true},
		{"parts of the key", "%U+%D", "k@x", "v@y", "k+x", true},
		{"labels are the key's", "%1", "k@x.org", "v@y.com", "org", true},
		{"a value without a domain is left out", "%d", "k@x", "v", "", false},
		{"sequences in the value stay text", "<%s>", "k", "%s%S%d", "<%s%S%d>", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmpl, err := ParseTemplate(c.template)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := tmpl.Apply(c.key, c.value); got != c.want || ok != c.ok {
				t.Errorf("%q, %v; want %q, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestTemplateRefusesOtherSequences(t *testing.T) {
	for _, text := range []string{"%z", "%", "a%0", "% s"} {
		if _, err := ParseTemplate(text); !errors.Is(err, ErrTemplate) {
			t.Errorf("%q: error %v, want ErrTemplate", text, err)
		}
	}
}

// FuzzTemplate: what is filled in never adds a quote that the quoting removed,
// and never is taken for a sequence.
func FuzzTemplate(f *testing.F) {
	f.Add("'%s' %u %d %1", "a'b@x.y")
	f.Add("%%s", "%s")
	f.Add("%9", "@")
	f.Fuzz(func(t *testing.T, text, key string) {
		tmpl, err := ParseTemplate(text)
		if err != nil {
			return
		}
		plain := strings.Count(strings.ReplaceAll(text, "%%", ""), "'")
		got, ok := tmpl.Expand(key, func(s string) string { return strings.ReplaceAll(s, "'", "") })
		if ok && strings.Count(got, "'") != plain {
			t.Errorf("%q with %q is %q", text, key, got)
		}
	})
}
