package tlspolicy

import (
	"context"
	"slices"
	"testing"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
)

// TestDANELevels is the first half of the decision table: what becomes of the
// levels of DANE by DNS authenticity and records.
func TestDANELevels(t *testing.T) {
	failing := zone()
	failing.Fail = []string{"_25._tcp.mx.example.org"}
	insecureTLSA := zone(good)
	insecureTLSA.Authentic = []string{"mx.example.org"}
	unsignedMX := func(s *Site) { s.HostAuthentic = false }
	unsignedAddr := func(s *Site) { s.AddrAuthentic = false }
	tests := []struct {
		name     string
		level    string
		insecure string // smtp_tls_dane_insecure_mx_policy
		dns      dnstest.Map
		site     func(*Site)
		set      func(*Settings)
		want     string // level, or status of the error
	}{
		{name: "usable records", level: "dane", dns: zone(good), want: "dane"},
		{name: "usable records", level: "dane-only", dns: zone(good), want: "dane-only"},
		{name: "usable and unusable records", level: "dane", dns: zone(bad, good), want: "dane"},
		{name: "no record", level: "dane", dns: zone(), want: "may"},
		{name: "no record", level: "dane-only", dns: zone(), want: "4.7.5 no TLSA records found"},
		{name: "only unusable records", level: "dane", dns: zone(bad), want: "encrypt"},
		{name: "only unusable records", level: "dane-only", dns: zone(bad), want: "4.7.5 TLSA records unusable"},
		{name: "look-up of records fails", level: "dane", dns: failing, want: "4.7.5 TLSA lookup error for mx.example.org:25"},
		{name: "look-up of records fails", level: "dane-only", dns: failing, want: "4.7.5 TLSA lookup error for mx.example.org:25"},
		{name: "look-up of records fails behind an unsigned MX", level: "dane", dns: failing, site: unsignedMX,
			want: "4.7.5 TLSA lookup error for mx.example.org:25"},
		{name: "records in an unsigned zone", level: "dane", dns: insecureTLSA, want: "may"},
		{name: "records in an unsigned zone", level: "dane-only", dns: insecureTLSA, want: "4.7.5 no TLSA records found"},
		{name: "unsigned addresses", level: "dane", dns: zone(good), site: unsignedAddr, want: "may"},
		{name: "unsigned addresses", level: "dane-only", dns: zone(good), site: unsignedAddr, want: "4.7.5 non DNSSEC destination"},
		{name: "unsigned addresses, records asked for all the same", level: "dane", dns: zone(good), site: unsignedAddr,
			set: func(s *Settings) { s.ForceInsecureTLSA = true }, want: "dane"},
		{name: "unsigned addresses do not ask for records", level: "dane", dns: failing, site: unsignedAddr, want: "may"},
		{name: "unsigned MX", level: "dane", insecure: "dane", dns: zone(good), site: unsignedMX, want: "halfdane"},
		{name: "unsigned MX, encrypt", level: "dane", insecure: "encrypt", dns: zone(good), site: unsignedMX, want: "encrypt"},
		{name: "unsigned MX, may", level: "dane", insecure: "may", dns: zone(good), site: unsignedMX, want: "may"},
		{name: "unsigned MX, may: no record is asked for", level: "dane", insecure: "may", dns: failing, site: unsignedMX, want: "may"},
		{name: "unsigned MX, unusable records", level: "dane", insecure: "dane", dns: zone(bad), site: unsignedMX, want: "encrypt"},
		{name: "unsigned MX, no record", level: "dane", insecure: "encrypt", dns: zone(), site: unsignedMX, want: "may"},
		{name: "unsigned MX", level: "dane-only", dns: zone(good), site: unsignedMX, want: "4.7.5 non DNSSEC destination"},
		{name: "no DNSSEC", level: "dane", dns: zone(good), set: func(s *Settings) { s.DNSSEC = false }, want: "may"},
		{name: "no DNSSEC", level: "dane-only", dns: zone(good), set: func(s *Settings) { s.DNSSEC = false },
			want: "4.7.5 client TLS configuration problem"},
		{name: "errors of MX look-ups are ignored", level: "dane", dns: zone(good), set: func(s *Settings) { s.IgnoreMXError = true }, want: "may"},
		{name: "no digest is enabled", level: "dane-only", dns: zone(good), set: func(s *Settings) { s.DANEDigests = "" },
			want: "4.7.5 client TLS configuration problem"},
		{name: "an address has no records", level: "dane", dns: zone(good), site: func(s *Site) { s.Host = "192.0.2.1" }, want: "may"},
		{name: "TLS-Required: no", level: "dane-only", dns: zone(good), site: func(s *Site) { s.TLSRequiredNo = true }, want: "may"},
		{name: "a socket", level: "dane", dns: zone(good), site: func(s *Site) { s.Unix = true }, want: "4.7.5 client TLS configuration problem"},
	}
	for _, tt := range tests {
		t.Run(tt.level+" "+tt.name, func(t *testing.T) {
			set, site := defaults(tt.level), mxSite()
			if tt.insecure != "" {
				set.InsecureMX = tt.insecure
			}
			if tt.set != nil {
				tt.set(&set)
			}
			if tt.site != nil {
				tt.site(&site)
			}
			p, err := New(set, Tables{}, tt.dns).Lookup(context.Background(), site)
			if got := outcome(p, err); got != tt.want {
				t.Fatalf("%s, want %s", got, tt.want)
			}
			if err != nil {
				return
			}
			if changed := p.Level != p.Initial; changed != (p.Reason != "") {
				t.Errorf("%s became %s, reason %q", p.Initial, p.Level, p.Reason)
			}
			if p.Level.UsesTLSA() != (len(p.TLSA) > 0) {
				t.Errorf("level %s has %d records", p.Level, len(p.TLSA))
			}
			if p.Level.UsesTLSA() && (p.ServerName != "mx.example.org" || p.TLSADomain != "mx.example.org") {
				t.Errorf("base domain %q, server name %q", p.TLSADomain, p.ServerName)
			}
		})
	}
}

func TestTLSABaseDomain(t *testing.T) {
	target := []dns.TLSA{good}
	own := []dns.TLSA{{Usage: 3, Selector: 0, Matching: 1, Data: make([]byte, 32)}}
	tests := []struct {
		name      string
		addrs     bool
		authentic []string
		tlsa      map[string][]dns.TLSA
		fail      []string
		want      string
		base      string
	}{
		{"all steps signed: the target's records", true, []string{"*"}, map[string][]dns.TLSA{"_25._tcp.target.test": target, "_25._tcp.mx.example.org": own}, nil, "dane", "target.test"},
		{"all steps signed, none at the target: the host's own", true, []string{"*"}, map[string][]dns.TLSA{"_25._tcp.mx.example.org": own}, nil, "dane", "mx.example.org"},
		{"the target is unsigned: the host's own", false, []string{"mx.example.org", "_25._tcp.mx.example.org"}, map[string][]dns.TLSA{"_25._tcp.mx.example.org": own, "_25._tcp.target.test": target}, nil, "dane", "mx.example.org"},
		{"no step is signed: none", false, nil, map[string][]dns.TLSA{"_25._tcp.mx.example.org": own}, nil, "may", ""},
		{"the first step cannot be looked up", false, nil, nil, []string{"mx.example.org/CNAME"}, "4.7.5 TLSA lookup error for mx.example.org:25", ""},
		{"the target's records cannot be looked up", true, []string{"*"}, map[string][]dns.TLSA{"_25._tcp.mx.example.org": own}, []string{"_25._tcp.target.test"}, "4.7.5 TLSA lookup error for mx.example.org:25", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := dnstest.Map{CNAMEs: map[string]string{"mx.example.org": "target.test"}, TLSAs: tt.tlsa, Fail: tt.fail, Authentic: tt.authentic}
			site := mxSite()
			site.Canonical, site.AddrAuthentic = "target.test", tt.addrs
			p, err := New(defaults("dane"), Tables{}, m).Lookup(context.Background(), site)
			if got := outcome(p, err); got != tt.want || err == nil && p.TLSADomain != tt.base {
				t.Fatalf("%s, base %+v; want %s, %s", got, p, tt.want, tt.base)
			}
		})
	}
}

func TestDNSSECProbe(t *testing.T) {
	for _, tt := range []struct {
		name   string
		probed error
		site   func(*Site)
		want   []string
	}{
		{"no validation", &dns.ProbeError{Probe: "ns:."}, func(s *Site) { s.HostAuthentic, s.AddrAuthentic = false, false },
			[]string{"DNSSEC validation may be unavailable", "reason: dnssec_probe 'ns:.' received a response that is not DNSSEC validated"}},
		{"no validation, a host without MX look-up", &dns.ProbeError{Probe: "ns:."}, func(s *Site) { s.AddrAuthentic = false },
			[]string{"DNSSEC validation may be unavailable", "reason: dnssec_probe 'ns:.' received a response that is not DNSSEC validated"}},
		{"the host alone is unsigned", nil, func(s *Site) { s.AddrAuthentic = false }, nil},
		{"an address", &dns.ProbeError{Probe: "ns:."}, func(s *Site) { s.Host, s.AddrAuthentic = "192.0.2.1", false }, nil},
		{"a signed destination", &dns.ProbeError{Probe: "ns:."}, func(*Site) {}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, site := zone(good), mxSite()
			m.Probed = tt.probed
			tt.site(&site)
			s := New(defaults("dane"), Tables{}, m)
			p, err := s.Lookup(context.Background(), site)
			if err != nil || !slices.Equal(p.Warnings, tt.want) {
				t.Fatalf("%+v, %v", p, err)
			}
			if p, err = s.Lookup(context.Background(), site); err != nil || len(p.Warnings) != 0 {
				t.Errorf("it is said again: %+v, %v", p, err)
			}
		})
	}
}
