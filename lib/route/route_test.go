package route

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
)

func TestParse(t *testing.T) {
	smtp := Syntax{DefaultPort: 25, Services: func(n string) (uint16, bool) { return 587, n == "submission" }}
	lmtp := Syntax{LMTP: true, DefaultPort: 24}
	for _, tc := range []struct {
		text   string
		syntax Syntax
		want   string // host port mx unix, or error text
	}{
		{"b.test", smtp, "b.test 25 mx"},
		{"b.test:2525", smtp, "b.test 2525 mx"},
		{"b.test:submission", smtp, "b.test 587 mx"},
		{"[b.test]", smtp, "b.test 25"},
		{"[b.test]:2525", smtp, "b.test 2525"},
		{"[192.0.2.1]", smtp, "192.0.2.1 25"},
		{"[ipv6:2001:db8::1]:26", smtp, "2001:db8::1 26"},
		{"[IPv6:::1]", smtp, "::1 25"},
		{"inet:x", smtp, `unknown port "x"`},
		{"", smtp, "no host"},
		{"[]", smtp, "no host"},
		{"[b.test", smtp, "missing ]"},
		{"[b.test]x", smtp, "text after ]"},
		{"b.test:", smtp, "missing port"},
		{"[b.test]:", smtp, "missing port"},
		{"b.test:0", smtp, "unknown port"},
		{"b.test:65536", smtp, "unknown port"},
		{"b.test:nosuch", smtp, "unknown port"},
		{"2001:db8::1", smtp, "[ipv6:address]"},
		{"inet:b.test", lmtp, "b.test 24"},
		{"inet:b.test:26", lmtp, "b.test 26"},
		{"inet:[192.0.2.1]:26", lmtp, "192.0.2.1 26"},
		{"b.test", lmtp, "b.test 24"},
		{"unix:private/lmtp", lmtp, "unix private/lmtp"},
		{"unix:", lmtp, "no path"},
		{"unix:" + strings.Repeat("x", 200), lmtp, "not the path"},
	} {
		d, err := Parse(tc.text, tc.syntax)
		got := fmt.Sprintf("%s %d", d.Host, d.Port)
		if d.MX {
			got += " mx"
		}
		if d.Unix != "" {
			got = "unix " + d.Unix
		}
		if err != nil {
			got = err.Error()
			if !errors.Is(err, ErrSyntax) || !strings.Contains(got, tc.want) {
				t.Errorf("%q: error %v, want %s", tc.text, err, tc.want)
			}
			continue
		}
		if got != tc.want {
			t.Errorf("%q: %s, want %s", tc.text, got, tc.want)
		}
	}
	if list, err := ParseList("a.test, [b.test]:26\tc.test", smtp); err != nil || len(list) != 3 || list[1].Host != "b.test" {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := ParseList(" , ", smtp); !errors.Is(err, ErrSyntax) {
		t.Errorf("empty list: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"b.test:25", "[ipv6:::1]:26", "unix:x", "inet:[a]:1", "[", "]:", ":::"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, lmtp bool) {
		d, err := Parse(text, Syntax{LMTP: lmtp, DefaultPort: 25})
		if err != nil {
			return
		}
		if d.Unix == "" && (d.Host == "" || d.Port == 0) || d.Unix != "" && !lmtp || d.MX && lmtp {
			t.Fatalf("%q: %+v", text, d)
		}
	})
}

var world = dnstest.Map{
	MXs: map[string][]dns.MX{
		"two.test":    {{Host: "mx2.test", Pref: 20}, {Host: "mx1.test", Pref: 10}},
		"null.test":   {{Host: "", Pref: 0}},
		"mixed.test":  {{Host: "", Pref: 0}, {Host: "mx1.test", Pref: 10}},
		"lit.test":    {{Host: "192.0.2.77", Pref: 0}},
		"dead.test":   {{Host: "nosuch.test", Pref: 0}},
		"half.test":   {{Host: "nosuch.test", Pref: 0}, {Host: "mx2.test", Pref: 5}},
		"sick.test":   {{Host: "nosuch.test", Pref: 0}, {Host: "fail.test", Pref: 5}},
		"me.test":     {{Host: "own.test", Pref: 10}, {Host: "mx1.test", Pref: 20}},
		"backup.test": {{Host: "mx1.test", Pref: 5}, {Host: "mx2.test", Pref: 10}, {Host: "own.test", Pref: 10}, {Host: "mx3.test", Pref: 30}},
		"zero.test":   {{Host: "0.0.0.0", Pref: 1}},
		"many.test":   {{Host: "many.test", Pref: 1}},
		"equal.test":  {{Host: "mx1.test", Pref: 5}, {Host: "mx2.test", Pref: 5}, {Host: "mx3.test", Pref: 5}},
		"dup.test":    {{Host: "mx1.test", Pref: 5}, {Host: "same.test", Pref: 6}},
	},
	Hosts: map[string][]string{
		"mx1.test": {"192.0.2.1"}, "mx2.test": {"192.0.2.2"}, "mx3.test": {"192.0.2.3"}, "same.test": {"192.0.2.1"},
		"own.test": {"192.0.2.99"}, "bare.test": {"192.0.2.5", "2001:db8::5"},
		"many.test": {"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5", "2001:db8::6", "192.0.2.1", "192.0.2.2", "192.0.2.3"},
	},
	Fail: []string{"fail.test", "servfail.test"},
}

func base() *Config {
	return &Config{
		Resolver: world, Table: mustHosts("192.0.2.50 local.test\n"), UseDNS: true, HostDNS: true, IPv4: true, IPv6: true,
		Preference: "any", Balance: true, AddressLimit: 5, LoopPort: 25,
		Self: Self{Name: "me.test", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.99")}},
	}
}

func mustHosts(text string) *dns.Hosts {
	h, err := dns.ReadHosts(strings.NewReader(text))
	if err != nil {
		panic(err)
	}
	return h
}

func TestHosts(t *testing.T) {
	notFound := func(name, kind string) string {
		return "5.4.4 Host or domain name not found. Name service error for name=" + name + " type=" + kind + ": Host not found"
	}
	for _, tc := range []struct {
		name, dest string
		change     func(*Config)
		want       string
		best       bool // BestMX
	}{
		{"by preference", "two.test", nil, "mx1.test[192.0.2.1]:25! mx2.test[192.0.2.2]:25", false},
		{"no MX", "bare.test", nil, "bare.test[192.0.2.5]:25! bare.test[2001:db8::5]:25!", false},
		{"IPv6 first", "bare.test", func(c *Config) { c.Preference = "ipv6" }, "bare.test[2001:db8::5]:25! bare.test[192.0.2.5]:25!", false},
		{"IPv4 alone", "bare.test", func(c *Config) { c.IPv6 = false }, "bare.test[192.0.2.5]:25!", false},
		{"host in brackets", "[two.test]", nil, notFoundData("two.test", "AAAA"), false},
		{"address", "[192.0.2.8]:26", nil, "192.0.2.8[192.0.2.8]:26!", false},
		{"address of a disabled family", "[ipv6:::1]", func(c *Config) { c.IPv6 = false },
			"5.4.4 unable to look up host ::1: address family is disabled by inet_protocols", false},
		{"null MX", "null.test", nil, "5.1.10 Domain null.test does not accept mail (nullMX)", false},
		{"null MX among others", "mixed.test", nil, "mx1.test[192.0.2.1]:25!", false},
		{"MX is an address", "lit.test", nil, "192.0.2.77[192.0.2.77]:25!", false},
		{"no such domain", "gone.test", nil, notFound("gone.test", "AAAA"), false},
		{"no MX has an address", "dead.test", nil, notFound("nosuch.test", "AAAA"), false},
		{"no MX has an address, deferred", "dead.test", func(c *Config) { c.DeferNoMXAddr = true }, "4" + notFound("nosuch.test", "AAAA")[1:], false},
		{"one MX has an address", "half.test", nil, "mx2.test[192.0.2.2]:25!", false},
		{"temporary wins", "sick.test", nil, "4.4.3 Host or domain name not found. Name service error for name=fail.test type=AAAA: Host not found, try again", false},
		{"MX lookup fails", "servfail.test", nil, "4.4.3 Host or domain name not found. Name service error for name=servfail.test type=MX: Host not found, try again", false},
		{"MX lookup fails and is ignored", "servfail.test", func(c *Config) { c.IgnoreMXError = true },
			"4.4.3 Host or domain name not found. Name service error for name=servfail.test type=AAAA: Host not found, try again", false},
		{"best MX is this system", "me.test", nil, "5.4.6 mail for me.test loops back to myself", true},
		{"this system is a backup", "backup.test", nil, "mx1.test[192.0.2.1]:25!", true},
		{"unspecified address", "zero.test", nil, "5.4.6 mail for zero.test loops back to myself", true},
		{"own address", "[192.0.2.99]", nil, "5.4.6 mail for [192.0.2.99] loops back to myself", true},
		{"own address on another port", "[192.0.2.99]:2525", nil, "192.0.2.99[192.0.2.99]:2525!", false},
		{"limit", "many.test", func(c *Config) { c.Balance, c.Preference = false, "ipv6" },
			"many.test[2001:db8::1]:25! many.test[2001:db8::2]:25! many.test[2001:db8::3]:25! many.test[2001:db8::4]:25! many.test[2001:db8::5]:25!", false},
		{"limit with balance", "many.test", func(c *Config) { c.Preference = "ipv6" },
			"many.test[2001:db8::1]:25! many.test[2001:db8::2]:25! many.test[2001:db8::3]:25! many.test[192.0.2.1]:25! many.test[192.0.2.2]:25!", false},
		{"same address twice", "dup.test", nil, "mx1.test[192.0.2.1]:25!", false},
		{"host table", "local.test", func(c *Config) { c.HostNative = true }, "local.test[192.0.2.50]:25!", false},
		{"host table alone", "[local.test]", func(c *Config) { c.HostDNS, c.HostNative = false, true }, "local.test[192.0.2.50]:25!", false},
		{"localhost", "[localhost]", func(c *Config) { c.HostDNS, c.HostNative, c.IPv6 = false, true, false }, "localhost[127.0.0.1]:25!", false},
		{"without DNS", "two.test", func(c *Config) { c.UseDNS = false }, "5.4.4 unable to look up host two.test: Name or service not known", false},
		{"without DNS, temporary", "fail.test", func(c *Config) { c.UseDNS = false }, "4.4.3 unable to look up host fail.test: Temporary failure in name resolution", false},
		{"bad name", "a@b.test", nil, "5.4.4 Name service error for a@b.test: invalid host or domain name", false},
		{"no form in the DNS", "\u00fc.test", func(c *Config) { c.ASCII = func(string) (string, error) { return "", errors.New("odd") } },
			"5.1.2 malformed domain name in next hop \u00fc.test: odd", false},
		{"form in the DNS", "\u00fc.test", func(c *Config) { c.ASCII = func(string) (string, error) { return "two.test", nil } },
			"mx1.test[192.0.2.1]:25! mx2.test[192.0.2.2]:25", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := base()
			if tc.change != nil {
				tc.change(c)
			}
			d, err := Parse(tc.dest, Syntax{DefaultPort: 25})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := c.Hosts(context.Background(), d)
			var words []string
			for _, h := range plan.Hosts {
				word := h.Relay()
				if h.Best {
					word += "!"
				}
				words = append(words, word)
			}
			got, best := strings.Join(words, " "), plan.BestMX
			if err != nil {
				f := err.(*Failure)
				got, best = f.Status.Code+" "+f.Status.Reason, f.BestMX
			}
			if got != tc.want || best != tc.best {
				t.Errorf("got  %s, best MX %v\nwant %s, %v", got, best, tc.want, tc.best)
			}
		})
	}
}

func notFoundData(name, kind string) string {
	return "5.4.4 Host or domain name not found. Name service error for name=" + name + " type=" + kind + ": Host found but no data record of requested type"
}

func TestWarnings(t *testing.T) {
	for dest, want := range map[string]string{
		"lit.test":  "numeric domain name in resource data of MX record for lit.test: 192.0.2.77",
		"dead.test": "no MX host for dead.test has a valid address record",
		"gone.test": "", "two.test": "", "[192.0.2.8]": "",
	} {
		d, err := Parse(dest, Syntax{DefaultPort: 25})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := base().Hosts(context.Background(), d)
		got := plan.Warnings
		if err != nil {
			got = err.(*Failure).Warnings
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q, want %q", dest, got, want)
		}
	}
}

func TestShuffleIsAmongEquals(t *testing.T) {
	c := base()
	c.Randomize = true
	rng := rand.New(rand.NewPCG(1, 2))
	c.Shuffle = rng.Shuffle
	firsts := make(map[string]int)
	for range 60 {
		plan, err := c.Hosts(context.Background(), Destination{Text: "equal.test", Host: "equal.test", Port: 25, MX: true})
		if err != nil {
			t.Fatal(err)
		}
		firsts[plan.Hosts[0].Name]++
		plan, err = c.Hosts(context.Background(), Destination{Text: "two.test", Host: "two.test", Port: 25, MX: true})
		if err != nil || plan.Hosts[0].Name != "mx1.test" {
			t.Fatalf("%v, %v", plan, err)
		}
	}
	if len(firsts) != 3 {
		t.Errorf("%v", firsts)
	}
}

func TestUnixSocket(t *testing.T) {
	plan, err := base().Hosts(context.Background(), Destination{Text: "unix:private/x", Unix: "private/x"})
	if err != nil || len(plan.Hosts) != 1 || plan.Hosts[0].Relay() != "me.test[private/x]" {
		t.Errorf("%v, %v", plan, err)
	}
}

// The name of a host and its addresses are authentic each for itself, and a host
// knows what it is an alias of (DANE needs all of it, decision 1 the first).
func TestAuthenticity(t *testing.T) {
	m := dnstest.Map{
		MXs: map[string][]dns.MX{
			"signed.test":   {{Host: "mx.signed.test", Pref: 1}, {Host: "mx.plain.test", Pref: 2}, {Host: "alias.signed.test", Pref: 3}, {Host: "out.signed.test", Pref: 4}},
			"unsigned.test": {{Host: "mx.signed.test", Pref: 1}},
		},
		CNAMEs: map[string]string{"alias.signed.test": "mx2.signed.test", "out.signed.test": "mx2.plain.test"},
		Hosts: map[string][]string{
			"mx.signed.test": {"192.0.2.1"}, "mx2.signed.test": {"192.0.2.2"}, "mx.plain.test": {"192.0.2.3"}, "mx2.plain.test": {"192.0.2.4"},
			"table.test": {"192.0.2.9"},
		},
		Authentic: []string{"signed.test", "mx.signed.test", "mx2.signed.test", "alias.signed.test", "out.signed.test"},
	}
	for _, tc := range []struct{ name, dest, want string }{
		{"a signed MX", "signed.test", "mx.signed.test name addr; mx.plain.test name; alias.signed.test name addr mx2.signed.test; out.signed.test name mx2.plain.test"},
		{"an unsigned MX", "unsigned.test", "mx.signed.test addr"},
		{"no look-up leads to a host in brackets", "[mx.plain.test]", "mx.plain.test name"},
		{"nor to an address", "[192.0.2.7]", "192.0.2.7 name"},
		{"a signed domain without MX", "mx.signed.test", "mx.signed.test name addr"},
		{"an unsigned domain without MX", "mx.plain.test", "mx.plain.test"},
		{"addresses from the host table", "[local.test]", "local.test name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := base()
			c.Resolver, c.IPv6, c.HostNative = m, false, true
			d, err := Parse(tc.dest, Syntax{DefaultPort: 25})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := c.Hosts(context.Background(), d)
			if err != nil {
				t.Fatal(err)
			}
			var hosts []string
			for _, h := range plan.Hosts {
				text := h.Name
				if h.Authentic {
					text += " name"
				}
				if h.AddrAuthentic {
					text += " addr"
				}
				if h.Canonical != "" {
					text += " " + h.Canonical
				}
				hosts = append(hosts, text)
			}
			if got := strings.Join(hosts, "; "); got != tc.want {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
		})
	}
}
