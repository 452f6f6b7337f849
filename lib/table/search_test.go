package table

import (
	"strings"
	"testing"
)

// TestSearchOrders has the orders of protocols.md §6.3 and §6.4; "*" follows keys that
// are not for patterns.
func TestSearchOrders(t *testing.T) {
	twice := func(s string) []string { return []string{s, "xn--" + s} }
	once := func(s string) []string { return []string{s} }
	for _, tt := range []struct {
		name string
		got  []Key
		want string
	}{
		{"domain", DomainKeys("mx.a.example", true), "mx.a.example a.example* example*"},
		{"domain, dots", DomainKeys("mx.a.example", false), "mx.a.example .a.example* .example*"},
		{"domain, dot at the end", DomainKeys("a.example.", true), "a.example example*"},
		{"domain, dot at the start", DomainKeys(".example", true), ".example"},
		{"one label", DomainKeys("example", true), "example"},
		{"literal", DomainKeys("[192.0.2.1]", true), "[192.0.2.1]"},
		{"empty", DomainKeys("", true), ""},
		{"IPv4", HostKeys("192.0.2.1"), "192.0.2.1 192.0.2* 192.0* 192*"},
		{"IPv6", HostKeys("2001:db8::1"), "2001:db8::1 2001:db8* 2001*"},
		{"IPv6, shortest", HostKeys("::1"), "::1"},
		{"no address", HostKeys("unknown"), "unknown"},
		{"access", AccessKeys("user+ext@a.example", "+", true), "user+ext@a.example user@a.example* a.example* example* user+ext@* user@*"},
		{"access, dots", AccessKeys("user+ext@a.example", "+", false), "user+ext@a.example user@a.example* a.example* .example* user+ext@* user@*"},
		{"access, no delimiter", AccessKeys("user+ext@example", "", true), "user+ext@example example* user+ext@*"},
		{"access, literal", AccessKeys("user@[192.0.2.1]", "", true), "user@[192.0.2.1] [192.0.2.1]* user@*"},
		{"transport", TransportKeys("user+ext@a.example", "a.example", "+", false), "user+ext@a.example user@a.example* a.example* .example* **"},
		{"transport, parents", TransportKeys("u@b.a.example", "b.a.example", "+", true), "u@b.a.example b.a.example* a.example* example* **"},
		{"transport, literal", TransportKeys("u@[192.0.2.1]", "[192.0.2.1]", "", false), "u@[192.0.2.1] [192.0.2.1]* **"},
		{"transport, bare user", TransportKeys("user", "", "", false), "user **"},
		{"policy", PolicyKeys("mx.a.example", once), "mx.a.example .a.example* .example*"},
		{"policy, port", PolicyKeys("[mx.example]:587", once), "[mx.example]:587"},
		{"policy, socket", PolicyKeys("/var/x", once), "/var/x"},
		{"policy, two forms", PolicyKeys("a.b", twice), "a.b xn--a.b .b* xn--.b*"},
	} {
		if got := strings.Join(Texts(tt.got), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
