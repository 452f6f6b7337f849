package certname

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		expected, name string
		single, multi  bool
	}{
		{"mx.example.org", "mx.example.org", true, true},
		{"MX.Example.org.", "mx.EXAMPLE.org", true, true},
		{"mx.example.org", "mx.example.org.", true, true},
		{"mx.example.org", "example.org", false, false},
		{"example.org", "mx.example.org", false, false},
		{"mx.example.org", "*.example.org", true, true},
		{"a.mx.example.org", "*.example.org", false, true},
		{"example.org", "*.example.org", false, false},
		{"xexample.org", "*.example.org", false, false},
		{"mx.example.org", "m*.example.org", false, false},
		{"mx.example.org", "*", false, false},
		{"example.org", "*.org", false, false},
		{"mx.example.org", "*.*.org", false, false},
		{"*.example.org", "*.example.org", false, false},
		{".example.org", "mx.example.org", true, true},
		{".example.org", "a.mx.example.org", true, true},
		{".example.org", "example.org", false, false},
		{".example.org", "*.example.org", true, true},
		{".example.org", ".example.org", false, false},
		{".example.org", "badexample.org", false, false},
		{".", "mx.example.org", false, false},
		{"", "", false, false},
		{"mx.example.org", "mx.example.org\x00.evil.test", false, false},
		{"mx.example.org\x00.evil.test", "mx.example.org\x00.evil.test", false, false},
		{"mx.example.org", "mx.example.org ", false, false},
		{"xn--bcher-kva.example", "bücher.example", false, false},
		{"192.0.2.1", "192.0.2.1", true, true},
	}
	for _, tt := range tests {
		if got := (Matcher{}).Match(tt.expected, tt.name); got != tt.single {
			t.Errorf("Match(%q, %q) = %v", tt.expected, tt.name, got)
		}
		if got := (Matcher{MultiLabel: true}).Match(tt.expected, tt.name); got != tt.multi {
			t.Errorf("multi-label Match(%q, %q) = %v", tt.expected, tt.name, got)
		}
	}
}

func TestNamesOfACertificate(t *testing.T) {
	many := make([]string, MaxNames+5)
	for i := range many {
		many[i] = "a.test"
	}
	tests := []struct {
		name string
		cert x509.Certificate
		want []string
	}{
		{"alternative names hide the common name", x509.Certificate{DNSNames: []string{"A.test"}, Subject: pkix.Name{CommonName: "b.test"}}, []string{"a.test"}},
		{"bad alternative names hide it too", x509.Certificate{DNSNames: []string{"a b"}, Subject: pkix.Name{CommonName: "b.test"}}, nil},
		{"the common name alone", x509.Certificate{Subject: pkix.Name{CommonName: "b.test"}}, []string{"b.test"}},
		{"no name", x509.Certificate{}, nil},
	}
	for _, tt := range tests {
		if got := Of(&tt.cert); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	if n := len(Of(&x509.Certificate{DNSNames: many})); n != MaxNames {
		t.Errorf("%d names", n)
	}
}

func TestFindPrefersEarlierNames(t *testing.T) {
	want, name, ok := Matcher{}.Find([]string{"x.test", ".b.test", "a.test"}, []string{"a.test", "c.b.test"})
	if want != ".b.test" || name != "c.b.test" || !ok {
		t.Errorf("%q %q %v", want, name, ok)
	}
}

// A match means: equal but for case and a final dot, or a suffix at the border of
// a label; single-label wildcards match less than multi-label ones.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"mx.example.org", "*.example.org"}, {".example.org", "a.example.org"}, {"a\x00b", "a"}, {"a.", "A"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, expected, name string) {
		single, multi := Matcher{}.Match(expected, name), Matcher{MultiLabel: true}.Match(expected, name)
		if single && !multi {
			t.Fatalf("%q, %q: only with one label", expected, name)
		}
		if !multi {
			return
		}
		e, n := strings.ToLower(strings.TrimSuffix(expected, ".")), strings.ToLower(strings.TrimSuffix(name, "."))
		suffix := strings.TrimPrefix(n, "*")
		if e != n && !(strings.HasPrefix(n, "*.") && strings.HasSuffix(e, suffix) && len(e) > len(suffix)) &&
			!(strings.HasPrefix(e, ".") && strings.HasSuffix(n, e) && len(n) > len(e)) {
			t.Fatalf("%q matches %q", expected, name)
		}
		if strings.ContainsAny(e+n, "\x00 @") {
			t.Fatalf("%q matches %q", expected, name)
		}
	})
}
