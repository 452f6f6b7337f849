package mtasts

import (
	"errors"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, host string
		want          bool
	}{
		{"mx.example.org", "mx.example.org", true},
		{"MX.example.org", "mx.Example.org.", true},
		{"*.example.org", "mx.example.org", true},
		{"*.example.org", "a.mx.example.org", false},
		{"*.example.org", "example.org", false},
		{"*.example.org", ".example.org", false},
		{"*.example.org", "*.example.org", false},
		{"*", "mx.example.org", false},
		{"*.*.org", "mx.example.org", false},
		{".example.org", "mx.example.org", false},
		{"m*.example.org", "mx.example.org", false},
		{"", "", false},
		{"192.0.2.1", "192.0.2.1", false},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.host); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.host, got)
		}
	}
}

func TestAttributes(t *testing.T) {
	tests := []struct {
		name string
		set  [][2]string
		want error
	}{
		{"a policy", [][2]string{{"policy_type", "sts"}, {"policy_domain", "example.org"}, {"mx_host_pattern", "*.example.org"},
			{"MX_host_pattern", "mx.example.net"}, {"policy_string", "version: STSv1"}, {"policy_ttl", "86400"}, {"policy_failure", "sts-policy-invalid"}}, nil},
		{"no policy", [][2]string{{"policy_type", "no-policy-found"}}, nil},
		{"an unknown type", [][2]string{{"policy_type", "tlsa"}}, ErrValue},
		{"two types", [][2]string{{"policy_type", "sts"}, {"policy_type", "sts"}}, ErrRepeated},
		{"a domain that is none", [][2]string{{"policy_domain", "a b"}}, ErrValue},
		{"a pattern for everything", [][2]string{{"mx_host_pattern", "*"}}, ErrValue},
		{"a pattern with two stars", [][2]string{{"mx_host_pattern", "*.*.x"}}, ErrValue},
		{"a pattern with a leading dot", [][2]string{{"mx_host_pattern", ".x"}}, ErrValue},
		{"a pattern with NUL", [][2]string{{"mx_host_pattern", "a\x00b.test"}}, ErrValue},
		{"a negative time", [][2]string{{"policy_ttl", "-1"}}, ErrValue},
		{"an endless time", [][2]string{{"policy_ttl", "99999999999"}}, ErrValue},
		{"a time with a unit", [][2]string{{"policy_ttl", "7d"}}, nil},
		{"a time with two units", [][2]string{{"policy_ttl", "7dd"}}, ErrValue},
		{"a unit alone", [][2]string{{"policy_ttl", "d"}}, ErrValue},
		{"an unknown failure", [][2]string{{"policy_failure", "no"}}, ErrValue},
		{"another attribute", [][2]string{{"match", "x"}}, ErrAttribute},
	}
	for _, tt := range tests {
		var a Attributes
		var err error
		for _, kv := range tt.set {
			if err = a.Set(kv[0], kv[1]); err != nil {
				break
			}
		}
		if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	var a Attributes
	var err error
	for range MaxPatterns + 1 {
		err = a.Set("mx_host_pattern", "mx.test")
	}
	if !errors.Is(err, ErrTooMany) || len(a.MXPatterns) != MaxPatterns {
		t.Errorf("%d patterns, %v", len(a.MXPatterns), err)
	}
}

func TestRestricts(t *testing.T) {
	var none *Attributes
	for _, tt := range []struct {
		a    *Attributes
		want bool
	}{
		{none, false},
		{&Attributes{Type: TypeSTS}, false},
		{&Attributes{MXPatterns: []string{"mx.test"}}, false},
		{&Attributes{Type: TypeNone, MXPatterns: []string{"mx.test"}}, false},
		{&Attributes{Type: TypeSTS, MXPatterns: []string{"mx.test"}}, true},
	} {
		if tt.a.Restricts() != tt.want {
			t.Errorf("%+v", tt.a)
		}
	}
}

// What Set takes can be matched, and a pattern never matches outside its domain.
func FuzzAttributes(f *testing.F) {
	for _, s := range [][3]string{{"mx_host_pattern", "*.example.org", "mx.example.org"}, {"policy_type", "sts", ""}, {"policy_ttl", "1", "x"}, {"policy_domain", "a.", "a"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, name, value, host string) {
		var a Attributes
		err := a.Set(name, value)
		if (err == nil) && !Is(name) {
			t.Fatalf("%q was taken", name)
		}
		if err != nil && (a.Type+a.Domain+a.TTL+a.Failure != "" || len(a.MXPatterns)+len(a.Strings) != 0) {
			t.Fatalf("%q=%q was refused and taken: %+v", name, value, a)
		}
		if !a.Allows(host) {
			return
		}
		p, h := a.MXPatterns[0], strings.ToLower(strings.TrimSuffix(host, "."))
		if p != h && (!strings.HasPrefix(p, "*.") || !strings.HasSuffix(h, p[1:]) || strings.Count(p, ".") != strings.Count(h, ".")) {
			t.Fatalf("%q allows %q", p, host)
		}
	})
}
