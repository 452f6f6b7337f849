package tlspolicy

import (
	"context"
	"strings"
	"testing"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/idn"
	"sealpost/lib/route"
)

// The way from a destination to a policy, with a name server that answers for
// signed and unsigned zones.
func TestFromDestinationToPolicy(t *testing.T) {
	const records = " TLSA 3 1 1 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\n"
	server := dnstest.New(t, dnstest.Config{
		Zone: "signed.test MX 10 mx.signed.test\nmx.signed.test A 192.0.2.1\n_25._tcp.mx.signed.test" + records +
			"plain.test MX 10 mx.signed.test\n" +
			"out.test MX 10 alias.out.test\nalias.out.test CNAME far.test\nfar.test A 192.0.2.2\n_25._tcp.alias.out.test" + records +
			"bogus.test MX 10 mx.bogus.test\nmx.bogus.test A 192.0.2.3\n" +
			"xn--bcher-kva.test MX 10 mx.signed.test\n. NS a.test\n",
		Fail: []string{"_25._tcp.mx.bogus.test"},
		Authentic: []string{"signed.test", "mx.signed.test", "_25._tcp.mx.signed.test", "out.test", "alias.out.test/CNAME", "_25._tcp.alias.out.test",
			"bogus.test", "mx.bogus.test", "xn--bcher-kva.test", "./NS"},
	})
	resolver := server.Resolver()
	rc := &route.Config{Resolver: resolver, Table: &dns.Hosts{}, UseDNS: true, HostDNS: true, DNSSEC: true, IPv4: true, Preference: "any", ASCII: idn.ToASCII}
	source := New(defaults("dane"), Tables{}, resolver)
	for _, tt := range []struct{ dest, want string }{
		{"signed.test", "dane mx.signed.test authentic"},
		{"plain.test", "halfdane mx.signed.test"},
		{"out.test", "dane alias.out.test authentic"},
		{"bogus.test", "4.7.5 TLSA lookup error for mx.bogus.test:25"},
		{"[mx.signed.test]", "dane mx.signed.test authentic"},
		{"[mx.signed.test]:26", "may "},
		{"[192.0.2.1]", "may "},
		{"bücher.test", "dane mx.signed.test authentic"},
	} {
		t.Run(tt.dest, func(t *testing.T) {
			d, err := route.Parse(tt.dest, route.Syntax{DefaultPort: 25})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := rc.Hosts(context.Background(), d)
			if err != nil {
				t.Fatal(err)
			}
			p, err := source.Lookup(context.Background(), SiteOf(d, plan.Hosts[0], "me.test"))
			got := outcome(p, err)
			if err == nil {
				got += " " + p.TLSADomain
				if p.Authenticates() {
					got += " authentic"
				}
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestSiteOf(t *testing.T) {
	d, err := route.Parse("unix:/run/lmtp", route.Syntax{LMTP: true})
	if err != nil {
		t.Fatal(err)
	}
	site := SiteOf(d, route.Host{Name: "me.test", Unix: d.Unix}, "me.test")
	if site.Nexthop != "/run/lmtp" || site.Domain != "me.test" || !site.Unix {
		t.Errorf("%+v", site)
	}
	d, err = route.Parse("inet:[bücher.test]:26", route.Syntax{LMTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if site = SiteOf(d, route.Host{Name: "xn--bcher-kva.test"}, ""); site.Nexthop != "[bücher.test]:26" || !strings.EqualFold(site.Domain, "xn--bcher-kva.test") {
		t.Errorf("%+v", site)
	}
}
