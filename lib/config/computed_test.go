package config

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestHostNameAndDomainDefaults(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	full := host
	if !strings.Contains(host, ".") {
		full += ".localdomain"
	}
	tests := []struct{ main, hostname, domain string }{
		{"", full, full[strings.Index(full, ".")+1:]},
		{"myhostname = a.b.c\n", "a.b.c", "b.c"},
		{"myhostname = single\n", "single", "localdomain"},
	}
	for _, tt := range tests {
		c := mustLoad(t, tt.main)
		if c.Str("myhostname") != tt.hostname || c.Str("mydomain") != tt.domain {
			t.Errorf("%q: %q, %q; want %q, %q", tt.main, c.Str("myhostname"), c.Str("mydomain"), tt.hostname, tt.domain)
		}
	}
	if !strings.Contains(host, ".") {
		if got := mustLoad(t, "mydomain = d.example\n").Str("myhostname"); got != host+".d.example" {
			t.Errorf("myhostname = %q", got)
		}
		if _, err := load(t, "mydomain = x.$myhostname\n"); err == nil {
			t.Error("a circle of host name and domain was accepted")
		}
	}
}

func TestNetworkStyles(t *testing.T) {
	tests := []struct{ style, in, want string }{
		{"host", "10.1.2.3/24", "10.1.2.3/32"},
		{"subnet", "10.1.2.3/24", "10.1.2.0/24"},
		{"class", "10.1.2.3/24", "10.0.0.0/8"},
		{"class", "172.16.2.3/24", "172.16.0.0/16"},
		{"class", "192.0.2.3/28", "192.0.2.0/24"},
		{"class", "2001:db8::1/64", "2001:db8::/64"},
		{"host", "2001:db8::1/64", "2001:db8::1/128"},
	}
	for _, tt := range tests {
		if got := styled(netip.MustParsePrefix(tt.in), tt.style).String(); got != tt.want {
			t.Errorf("%s of %s = %s, want %s", tt.style, tt.in, got, tt.want)
		}
	}
}

func TestDefaultNetworksCoverLoopback(t *testing.T) {
	for main, want := range map[string]string{
		"inet_protocols = ipv4\ninet_interfaces = loopback-only\n":                              "127.0.0.1/32",
		"inet_protocols = ipv4\ninet_interfaces = 127.0.0.1\nmynetworks_style = subnet\n":       "127.0.0.0/8",
		"inet_interfaces = [::1], 127.0.0.1\ninet_protocols = ipv4\nmynetworks_style = class\n": "127.0.0.0/8",
		"mynetworks = 1.2.3.4\n": "1.2.3.4",
	} {
		if got := mustLoad(t, main).Str("mynetworks"); got != want {
			t.Errorf("%q: mynetworks = %q, want %q", main, got, want)
		}
	}
}

func TestInterfaces(t *testing.T) {
	i, err := mustLoad(t, "inet_interfaces = 127.0.0.1, 192.0.2.250\ninet_protocols = ipv4\n").Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"127.0.0.1": true, "::ffff:127.0.0.1": true, "192.0.2.250": true, "192.0.2.251": false} {
		if got := i.Has(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Has(%s) = %v", addr, got)
		}
	}
	if i.All {
		t.Error("two addresses are all interfaces")
	}
	for _, bad := range []string{"inet_interfaces = [nonsense]\n", "inet_protocols = ipx\n", "inet_protocols =\n"} {
		if _, err := mustLoad(t, bad).Interfaces(); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
