package reqtls

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/table"
)

func TestPolicyLevels(t *testing.T) {
	const byDomain = "inline:{{example.com=opportunistic}, {.example.com=disable}, {xn--bcher-kva.example=disable}, {kürbis.example=opportunistic}}"
	tests := []struct {
		name, value, nexthop string
		level                Level
		warning              string
	}{
		{"empty", "", "a.example", Enforce, ""},
		{"a word", "Opportunistic+StartTLS", "a.example", StartTLS, ""},
		{"the first word counts", "disable, enforce", "a.example", Disable, ""},
		{"error", "error", "a.example", Failed, ""},
		{"unknown word", "nonsense", "a.example", Failed, "smtp_requiretls_policy: unknown policy action: 'nonsense' -- ignoring the remainder of this policy"},
		{"the domain", byDomain + " enforce", "example.com", Opportunistic, ""},
		{"below it", byDomain + " enforce", "a.b.example.com", Disable, ""},
		{"case", byDomain, "EXAMPLE.com", Opportunistic, ""},
		{"not in the table", byDomain + " opportunistic", "example.org", Opportunistic, ""},
		{"not in the table, nothing else", byDomain, "example.org", Enforce, ""},
		{"U-label", byDomain, "bücher.example", Disable, ""},
		{"U-label in the table", byDomain, "kürbis.example", Opportunistic, ""},
		{"malformed U-label", byDomain, "\u200d.example", Enforce, "smtp_requiretls_policy: malformed next-hop destination: '\u200d.example' -- using default policy 'enforce'"},
		{"address", "cidr:{{192.0.2.0/24 disable}, {2001:db8::/32 opportunistic}} enforce", "192.0.2.7", Disable, ""},
		{"IPv6 address", "cidr:{{192.0.2.0/24 disable}, {2001:db8::/32 opportunistic}} enforce", "2001:db8::1", Opportunistic, ""},
		{"an address has no parents", "inline:{{.0.2.7=disable}}", "192.0.2.7", Enforce, ""},
		{"a pattern sees whole names", "regexp:{{/^\\.example/ disable}}", "a.example", Enforce, ""},
		{"nested result", "inline:{{a.example=inline:x}} disable", "a.example", Failed, `table inline:{{a.example=inline:x}}: nested lookup result "inline:x" is not allowed -- ignoring remainder of policy`},
		{"composite result", "inline:{{a.example=disable, enforce}} disable", "a.example", Failed, `composite lookup result "disable, enforce" is not allowed -- ignoring remainder of policy`},
		{"unknown result", "inline:{{a.example=maybe}}", "a.example", Failed, "unknown policy action: 'maybe' -- ignoring the remainder of this policy"},
		{"a table that fails", "fail:x opportunistic", "a.example", Failed, "smtp_requiretls_policy: fail:x: table lookup error -- ignoring the remainder of this policy"},
		{"a table that is not there", "texthash:/nonexistent opportunistic", "a.example", Failed, "table lookup error -- ignoring the remainder of this policy"},
		{"a table that is not asked", "disable fail:x", "a.example", Disable, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var warnings []string
			p := Open(table.Env{Warnf: func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }},
				"smtp_requiretls_policy", tt.value)
			defer p.Close()
			if got := p.Level(context.Background(), tt.nexthop); got != tt.level {
				t.Errorf("level %s, want %s", got, tt.level)
			}
			if got := strings.Join(warnings, "\n"); (tt.warning == "") != (got == "") || !strings.Contains(got, tt.warning) {
				t.Errorf("warned %q, want %q", got, tt.warning)
			}
		})
	}
}

// Warnings name the parameter that the policy is in (decision 7).
func TestPolicyWarnsUnderItsOwnName(t *testing.T) {
	for value, nexthop := range map[string]string{"nonsense": "a.example", "fail:x": "a.example", "inline:{{a=b}}": "\u200d.example"} {
		for _, param := range []string{"smtp_requiretls_policy", "lmtp_requiretls_policy"} {
			var warning string
			p := Open(table.Env{Warnf: func(format string, args ...any) { warning += fmt.Sprintf(format, args...) }}, param, value)
			p.Level(context.Background(), nexthop)
			p.Close()
			if !strings.HasPrefix(warning, param+": ") {
				t.Errorf("%s = %s: warned %q", param, value, warning)
			}
		}
	}
}

// What the default policy comes to: the own domain and addresses are spared.
func TestDefaultPolicy(t *testing.T) {
	c, err := config.FromMap(map[string]string{"mydomain": "bücher.example"})
	if err != nil {
		t.Fatal(err)
	}
	p := Open(table.Env{Warnf: t.Errorf}, "smtp_requiretls_policy", c.Str("smtp_requiretls_policy"))
	defer p.Close()
	for nexthop, want := range map[string]Level{
		"bücher.example": Opportunistic, "mx.bücher.example": Opportunistic, "xn--bcher-kva.example": Opportunistic,
		"localhost": Opportunistic, "192.0.2.1": Opportunistic, "2001:db8::1": Opportunistic,
		"example.com": Enforce, "example": Enforce,
	} {
		if got := p.Level(context.Background(), nexthop); got != want {
			t.Errorf("%s: %s, want %s", nexthop, got, want)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	for _, value := range []string{"enforce", "inline:{{a=b}} disable", "x:y", "{", "inline:{{example=disable}}, opportunistic"} {
		f.Add(value, "mail.example")
	}
	f.Fuzz(func(t *testing.T, value, nexthop string) {
		if strings.ContainsAny(value, "/") || strings.Contains(value, "environ") {
			return // no files
		}
		p := Open(table.Env{}, "smtp_requiretls_policy", value)
		defer p.Close()
		if l := p.Level(context.Background(), nexthop); l < Failed || l > Enforce {
			t.Errorf("level %d", l)
		}
	})
}
