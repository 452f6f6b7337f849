package tlspolicy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/table"
)

// defaults are the parameters' defaults, with a level.
func defaults(level string) Settings {
	return Settings{
		Prefix: "smtp_", SecurityLevel: level, EnforcePeername: true,
		VerifyMatch: []string{"hostname"}, SecureMatch: []string{"nexthop", "dot-nexthop"},
		Digest: "sha256", Ciphers: "medium", MandatoryCiphers: "medium",
		Protocols: ">=TLSv1", MandatoryProtocols: ">=TLSv1", InsecureMX: "dane",
		DANEDigests: "sha512 sha256", DNSSEC: true, Probe: "ns:.", EnforceSTSPatterns: true, MultiLabelWildcard: true,
	}
}

func maps(spec string) *table.Maps {
	return table.OpenMaps(table.Env{}, "smtp_tls_policy_maps", spec)
}

// mxSite is a host found through an MX record, both in signed zones.
func mxSite() Site {
	return Site{Nexthop: "example.org", Domain: "example.org", Host: "mx.example.org", Port: 25,
		HostAuthentic: true, AddrAuthentic: true}
}

// good is a record that can be used, bad one that cannot.
var (
	good = dns.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: make([]byte, 32)}
	bad  = dns.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: []byte{1, 2, 3}}
)

// zone is a signed zone with these records for mx.example.org.
func zone(records ...dns.TLSA) dnstest.Map {
	m := dnstest.Map{
		Hosts:     map[string][]string{"mx.example.org": {"192.0.2.1"}},
		Authentic: []string{"mx.example.org", "_25._tcp.mx.example.org"},
	}
	if len(records) > 0 {
		m.TLSAs = map[string][]dns.TLSA{"_25._tcp.mx.example.org": records}
	}
	return m
}

func outcome(p *Policy, err error) string {
	if err == nil {
		return p.Level.String()
	}
	var e *Error
	if !errors.As(err, &e) {
		return "not an *Error: " + err.Error()
	}
	return e.Status.Code + " " + e.Status.Reason
}

func TestLevelsAndAttributes(t *testing.T) {
	tests := []struct {
		entry string // of smtp_tls_policy_maps
		want  string // level, or status
		check func(*Policy) bool
	}{
		{"none", "none", nil},
		{"none protocols=x", "none", func(p *Policy) bool { return len(p.Warnings) == 1 && p.Protocols == "" }},
		{"MAY", "may", func(p *Policy) bool { return p.Protocols == ">=TLSv1" && p.Ciphers == "medium" }},
		{"may protocols=>=TLSv1.3 ciphers=high exclude=aNULL:RC4", "may", func(p *Policy) bool {
			return p.Protocols == ">=TLSv1.3" && p.Ciphers == "high" && p.Exclude == "aNULL:RC4"
		}},
		{"encrypt, connection_reuse=yes, enable_rpk=yes", "encrypt", func(p *Policy) bool { return p.Reuse && p.RawKeys }},
		{"encrypt match=example.org", "4.7.5 client TLS configuration problem", nil},
		{"fingerprint match=" + strings.Repeat("AB:", 31) + "cd|" + strings.Repeat("0f", 32), "fingerprint", func(p *Policy) bool {
			return slices.Equal(p.Fingerprints, []string{strings.Repeat("ab", 31) + "cd", strings.Repeat("0f", 32)}) && p.Authenticates()
		}},
		{"fingerprint", "4.7.5 client TLS configuration problem", nil},
		{"fingerprint match=abcd", "4.7.5 client TLS configuration problem", nil},
		{"verify", "verify", func(p *Policy) bool { return texts(p) == "mx.example.org/hostname" && p.ServerName == "" }},
		{"verify match=hostname:nexthop:.Example.NET", "verify", func(p *Policy) bool {
			return texts(p) == "mx.example.org/hostname example.org/nexthop .example.net/explicit"
		}},
		{"verify match=a b", "4.7.5 client TLS configuration problem", nil},
		{"secure", "secure", func(p *Policy) bool { return texts(p) == "example.org/nexthop .example.org/dot-nexthop" }},
		{"secure match=in-valid-.x", "4.7.5 client TLS configuration problem", nil},
		{"secure tafile=/etc/a.pem tafile=/etc/b.pem servername=hostname", "secure", func(p *Policy) bool {
			return slices.Equal(p.TrustAnchors, []string{"/etc/a.pem", "/etc/b.pem"}) && p.ServerName == "mx.example.org"
		}},
		{"secure servername=nexthop", "secure", func(p *Policy) bool { return p.ServerName == "example.org" }},
		{"secure servername=not/a/name", "4.7.5 client TLS configuration problem", nil},
		{"encrypt tafile=/etc/a.pem", "4.7.5 client TLS configuration problem", nil},
		{"halfdane", "4.7.5 client TLS configuration problem", nil},
		{"strict", "4.7.5 client TLS configuration problem", nil},
		{"may unknown=1", "4.7.5 client TLS configuration problem", nil},
		{"may ciphers=", "4.7.5 client TLS configuration problem", nil},
		{"may ciphers=best", "4.7.5 client TLS configuration problem", nil},
		{"may ciphers=high ciphers=low", "4.7.5 client TLS configuration problem", nil},
		{"may connection_reuse=perhaps", "4.7.5 client TLS configuration problem", nil},
		{"secure match=nexthop policy_type=sts policy_domain=example.org mx_host_pattern=*.example.org policy_ttl=60 {policy_string = mode: enforce}",
			"secure", func(p *Policy) bool {
				return texts(p) == "mx.example.org/hostname" && p.Authenticates() && p.STS.Strings[0] == "mode: enforce"
			}},
		{"secure policy_type=sts policy_domain=example.org mx_host_pattern=mx2.example.org",
			"4.7.5 MX name 'mx.example.org' does not match STS MX pattern for 'example.org'", nil},
		{"may policy_type=sts mx_host_pattern=mx2.example.org", "may", nil},
		{"secure policy_type=guess", "4.7.5 client TLS configuration problem", nil},
		{"secure policy_type=sts mx_host_pattern=*", "4.7.5 client TLS configuration problem", nil},
		{"dane policy_type=no-policy-found policy_domain=example.org", "dane", nil},
		// as postfix-mta-sts-resolver and postfix-tlspol (QUERYwithTLSRPT) answer
		{"secure match=.example.org:mail.example.net servername=hostname", "secure", func(p *Policy) bool {
			return texts(p) == ".example.org/explicit mail.example.net/explicit" && p.ServerName == "mx.example.org"
		}},
		{"secure match=.example.org servername=hostname policy_type=sts policy_domain=example.org policy_ttl=604800 mx_host_pattern=*.example.org" +
			" { policy_string = version: STSv1 } { policy_string = mode: enforce } { policy_string = mx: *.example.org } { policy_string = max_age: 604800 }",
			"secure", func(p *Policy) bool { return texts(p) == "mx.example.org/hostname" && len(p.STS.Strings) == 4 }},
	}
	for _, tt := range tests {
		t.Run(tt.entry, func(t *testing.T) {
			m := maps("inline:{{example.org=" + tt.entry + "}}")
			site := mxSite()
			site.HostAuthentic = tt.want == "dane"
			p, err := New(defaults("may"), Tables{PolicyMaps: m}, zone(good)).Lookup(context.Background(), site)
			if got := outcome(p, err); got != tt.want {
				t.Fatalf("%s, want %s", got, tt.want)
			}
			if tt.check != nil && !tt.check(p) {
				t.Errorf("%+v", p)
			}
			var e *Error
			if errors.As(err, &e) && e.Status.Reason == textConfig && len(e.Warnings) == 0 {
				t.Error("nobody is told what is wrong")
			}
		})
	}
}

// The words are those that Postfix 3.7 was seen to log for the same entries.
func TestWarningsAreThoseOfPostfix(t *testing.T) {
	const prefix = `smtp_tls_policy_maps, next-hop destination "example.org": `
	for entry, want := range map[string]string{
		"none protocols=x":             prefix + `ignoring attribute "protocols=x" with TLS disabled`,
		"strict":                       prefix + `invalid security level "strict"`,
		"encrypt match=a":              prefix + `attribute "match" invalid at security level "encrypt"`,
		"dane match=x":                 prefix + `attribute "match" invalid at security level "dane"`,
		"verify match=":                prefix + `attribute "match" has empty value`,
		"may unknown=1":                prefix + `invalid attribute name: "unknown"`,
		"may ciphers=":                 prefix + `attribute "ciphers" has empty value`,
		"may ciphers=high ciphers=low": prefix + `attribute "ciphers" is specified multiple times`,
		"may connection_reuse=perhaps": prefix + `attribute "connection_reuse" has bad value: "perhaps"`,
		"secure servername=not/a/name": prefix + `"servername=not/a/name" specifies an invalid hostname`,
		"encrypt tafile=/x.pem":        prefix + `attribute "tafile" invalid at security level "encrypt"`,
		"may word":                     prefix + `malformed attribute/value pair "word": missing '=' after attribute name`,
		"fingerprint":                  `nexthop domain example.org: configured at fingerprint security level, but with no fingerprints to match.`,
		"dane":                         `example.org: dane configured with dnssec lookups disabled`,
		"dane-only":                    `example.org: dane-only configured with dnssec lookups disabled`,
	} {
		set := defaults("may")
		set.DNSSEC = false
		p, err := New(set, Tables{PolicyMaps: maps("inline:{{example.org=" + entry + "}}")}, nil).Lookup(context.Background(), mxSite())
		var e *Error
		var got []string
		if errors.As(err, &e) {
			got = e.Warnings
		} else {
			got = p.Warnings
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", entry, got, want)
		}
	}
}

func texts(p *Policy) string {
	var list []string
	for _, n := range p.Names {
		list = append(list, n.Text+"/"+n.Origin.String())
	}
	return strings.Join(list, " ")
}

func TestMandatoryParametersReplaceOpportunisticOnes(t *testing.T) {
	set := defaults("encrypt")
	set.MandatoryCiphers, set.MandatoryProtocols, set.Exclude, set.MandatoryExclude = "high", ">=TLSv1.2", "RC4", "3DES"
	p, err := New(set, Tables{}, nil).Lookup(context.Background(), mxSite())
	if err != nil || p.Ciphers != "high" || p.Protocols != ">=TLSv1.2" || p.Exclude != "RC4 3DES" {
		t.Errorf("%+v, %v", p, err)
	}
	set.SecurityLevel = "may"
	p, err = New(set, Tables{}, nil).Lookup(context.Background(), mxSite())
	if err != nil || p.Ciphers != "medium" || p.Protocols != ">=TLSv1" || p.Exclude != "RC4" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestPolicyTableSearch(t *testing.T) {
	tests := []struct{ name, table, nexthop, want string }{
		{"a domain", "inline:{example.org=verify}", "example.org", "verify"},
		{"its parents", "inline:{.example.org=verify}", "a.b.example.org", "verify"},
		{"the domain comes before its parents", "inline:{{a.example.org=none},{.example.org=verify}}", "a.example.org", "none"},
		{"parents do not hold for the domain itself", "inline:{.example.org=verify}", "example.org", "may"},
		{"brackets and port are part of the key", "inline:{{[mx.example.org]:587=verify},{mx.example.org=none}}", "[mx.example.org]:587", "verify"},
		{"no parents with brackets", "inline:{.example.org=verify}", "[mx.example.org]", "may"},
		{"no parents with a port", "inline:{.example.org=verify}", "mx.example.org:26", "may"},
		{"A-labels for a name in UTF-8", "inline:{xn--bcher-kva.example=verify}", "bücher.example", "verify"},
		{"a name in UTF-8 as written", "inline:{bücher.example=verify}", "bücher.example", "verify"},
		{"A-labels within brackets", "inline:{[xn--bcher-kva.example]:26=verify}", "[bücher.example]:26", "verify"},
		{"A-labels of parents", "inline:{.xn--bcher-kva.example=verify}", "mx.bücher.example", "verify"},
		{"patterns do not see parents", "regexp:{{/^\\.example\\.org$/ verify}}", "a.example.org", "may"},
		{"a table that fails", "fail:x", "example.org", "4.7.5 client TLS configuration problem"},
		{"a hit before a table that fails", "inline:{example.org=verify}, fail:x", "example.org", "verify"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			site := mxSite()
			site.Nexthop = tt.nexthop
			p, err := New(defaults("may"), Tables{PolicyMaps: maps(tt.table)}, nil).Lookup(context.Background(), site)
			if got := outcome(p, err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestLegacyParameters(t *testing.T) {
	for _, tt := range []struct {
		use, enforce, peername bool
		want                   Level
	}{
		{false, false, true, None}, {true, false, true, May}, {true, true, true, Verify},
		{false, true, true, Verify}, {false, true, false, Encrypt},
	} {
		set := defaults("")
		set.UseTLS, set.EnforceTLS, set.EnforcePeername = tt.use, tt.enforce, tt.peername
		p, err := New(set, Tables{}, nil).Lookup(context.Background(), mxSite())
		if err != nil || p.Level != tt.want {
			t.Errorf("%+v: %s, %v", tt, outcome(p, err), err)
		}
	}
}

func TestPerSite(t *testing.T) {
	tests := []struct{ level, nexthop, host, want string }{
		{"may", "", "", "may"},
		{"may", "NONE", "", "none"},
		{"may", "none", "MAY", "none"},
		{"may", "MAY", "MUST", "verify"},
		{"none", "MAY", "", "may"},
		{"verify", "MAY", "", "verify"},
		{"verify", "NONE", "", "none"},
		{"verify", "MUST_NOPEERMATCH", "", "encrypt"},
		{"may", "NONE", "MUST_NOPEERMATCH", "encrypt"},
		{"may", "MUST", "NONE", "verify"},
		{"may", "", "MUST", "verify"},
		{"may", "SHOULD", "", "4.7.5 client TLS configuration problem"},
	}
	for _, tt := range tests {
		var rows []string
		for name, word := range map[string]string{"example.org": tt.nexthop, "mx.example.org": tt.host} {
			if word != "" {
				rows = append(rows, "{"+name+"="+word+"}")
			}
		}
		rows = append(rows, "{other.test=MUST}")
		tables := Tables{PerSite: maps("inline:{" + strings.Join(rows, ",") + "}")}
		p, err := New(defaults(tt.level), tables, nil).Lookup(context.Background(), mxSite())
		if got := outcome(p, err); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
	// With tls_policy_maps the legacy table is not asked.
	tables := Tables{PolicyMaps: maps("inline:{x.test=none}"), PerSite: maps("static:MUST")}
	if p, err := New(defaults("may"), tables, nil).Lookup(context.Background(), mxSite()); outcome(p, err) != "may" {
		t.Error(outcome(p, err))
	}
}

func TestTLSRequiredNoAsksNoTable(t *testing.T) {
	site := mxSite()
	site.TLSRequiredNo = true
	for level, want := range map[string]string{"none": "none", "may": "may", "encrypt": "may", "fingerprint": "may", "secure": "may"} {
		tables := Tables{PolicyMaps: maps("fail:x"), PerSite: maps("fail:x")}
		p, err := New(defaults(level), tables, nil).Lookup(context.Background(), site)
		if got := outcome(p, err); got != want {
			t.Errorf("%s: %s", level, got)
		}
		set := defaults(level)
		set.WrapperMode = true
		p, err = New(set, tables, nil).Lookup(context.Background(), site)
		wrapped := map[string]string{"none": "4.3.0 " + textNoUse, "may": "4.3.0 " + textNoUse}[level]
		if wrapped == "" {
			wrapped = "encrypt"
		}
		if got := outcome(p, err); got != wrapped {
			t.Errorf("wrapper mode, %s: %s", level, got)
		}
	}
}

func TestSocketsAndWrapperMode(t *testing.T) {
	set := defaults("may")
	set.Prefix = "lmtp_"
	p, err := New(set, Tables{}, nil).Lookup(context.Background(), Site{Nexthop: "/run/lmtp", Domain: "mail.test", Host: "mail.test", Unix: true})
	if outcome(p, err) != "none" || len(p.Warnings) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	set = defaults("may")
	set.WrapperMode = true
	_, err = New(set, Tables{}, nil).Lookup(context.Background(), mxSite())
	var e *Error
	if !errors.As(err, &e) || !slices.Equal(e.Warnings, []string{`smtp_tls_wrappermode requires "smtp_tls_security_level = encrypt" (or stronger)`}) {
		t.Errorf("%v", err)
	}
}

// Decision 1: which policies prove something that could not be forged by DNS.
func TestWhatAuthenticates(t *testing.T) {
	tests := []struct {
		name, entry string
		site        Site
		want        bool
	}{
		{"nexthop", "secure", Site{}, true},
		{"verify the host of an unsigned MX", "verify", Site{}, false},
		{"verify the host of a signed MX", "verify", Site{HostAuthentic: true}, true},
		{"verify with nexthop too", "verify match=hostname:nexthop", Site{}, true},
		{"a name that the administrator wrote", "verify match=mail.test", Site{}, true},
		{"secure by hostname", "secure match=hostname", Site{}, false},
		{"the host is the destination", "verify", Site{Host: "Example.org."}, true},
		{"an unsigned CNAME is followed only when told to", "verify", Site{HostAuthentic: true, Canonical: "other.test"}, true},
		{"a signed CNAME", "verify", Site{HostAuthentic: true, Canonical: "other.test", AddrAuthentic: true}, true},
		{"a signed CNAME behind an unsigned MX", "verify", Site{Canonical: "other.test", AddrAuthentic: true}, false},
		{"a host that an STS policy lists", "secure policy_type=sts mx_host_pattern=mx.example.org", Site{}, true},
		{"patterns without a policy", "secure match=hostname mx_host_pattern=mx.example.org", Site{}, false},
		{"encrypt", "encrypt", Site{HostAuthentic: true}, false},
		{"dane", "dane", Site{HostAuthentic: true, AddrAuthentic: true}, true},
		{"half dane", "dane", Site{AddrAuthentic: true}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			site := tt.site
			site.Nexthop, site.Domain, site.Port = "example.org", "example.org", 25
			if site.Host == "" {
				site.Host = "mx.example.org"
			}
			p, err := New(defaults("may"), Tables{PolicyMaps: maps("inline:{{example.org=" + tt.entry + "}}")}, zone(good)).Lookup(context.Background(), site)
			if err != nil || p.Authenticates() != tt.want {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

// No level of DANE proves more than the way to the host: its records are from there.
func TestDANEProvesNoMoreThanTheNameOfTheHost(t *testing.T) {
	for _, level := range []Level{HalfDANE, DANE, DANEOnly} {
		p := &Policy{Level: level, TLSA: []dns.TLSA{good}, Names: []Name{{"example.org", Nexthop, true}}}
		if p.Authenticates() {
			t.Errorf("%s of an unsigned MX", level)
		}
	}
	for _, signed := range []bool{false, true} {
		site := mxSite()
		site.HostAuthentic = signed
		p, err := New(defaults("dane"), Tables{}, zone(good)).Lookup(context.Background(), site)
		if err != nil || texts(p) != "mx.example.org/dane example.org/nexthop" || p.Names[0].Authentic != signed || p.Names[1].Authentic != signed {
			t.Errorf("signed %v: %+v, %v", signed, p, err)
		}
	}
}

func TestUnsignedCNAMEsRenameTheHostOnlyWhenToldTo(t *testing.T) {
	site := mxSite()
	site.Canonical, site.AddrAuthentic = "other.test", false
	for _, follow := range []bool{false, true} {
		set := defaults("verify")
		set.CNAMEOverrides = follow
		p, err := New(set, Tables{}, nil).Lookup(context.Background(), site)
		want := "mx.example.org/hostname"
		if follow {
			want = "other.test/hostname"
		}
		if err != nil || texts(p) != want || p.Authenticates() == follow {
			t.Errorf("cname_overrides_servername %v: %+v, %v", follow, p, err)
		}
	}
}

// A forged CNAME must not choose the name that an STS policy vouches for.
func TestSTSNamesTheHostOfTheMXRecord(t *testing.T) {
	site := mxSite()
	site.HostAuthentic, site.AddrAuthentic, site.Canonical = false, false, "evil.test"
	set := defaults("may")
	set.CNAMEOverrides = true
	m := maps("inline:{{example.org=secure policy_type=sts mx_host_pattern=*.example.org}}")
	p, err := New(set, Tables{PolicyMaps: m}, nil).Lookup(context.Background(), site)
	if err != nil || texts(p) != "mx.example.org/hostname" || !p.Authenticates() {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestKeyTellsPoliciesApart(t *testing.T) {
	base := func() *Policy {
		return &Policy{Level: Secure, Names: []Name{{"a.test", Nexthop, true}}, Protocols: ">=TLSv1", Fingerprints: []string{"ab"}, TLSA: []dns.TLSA{good}}
	}
	seen := map[string]string{base().Key(): "the same"}
	for name, change := range map[string]func(*Policy){
		"level":       func(p *Policy) { p.Level = Verify },
		"name":        func(p *Policy) { p.Names[0].Text = "b.test" },
		"origin":      func(p *Policy) { p.Names[0].Origin = Hostname },
		"authentic":   func(p *Policy) { p.Names[0].Authentic = false },
		"fingerprint": func(p *Policy) { p.Fingerprints = []string{"cd"} },
		"anchor":      func(p *Policy) { p.Fingerprints, p.TrustAnchors = nil, []string{"ab"} },
		"record":      func(p *Policy) { p.TLSA[0].Selector = 0 },
		"protocols":   func(p *Policy) { p.Protocols = "" },
		"server name": func(p *Policy) { p.ServerName = "a.test" },
		"wrapper":     func(p *Policy) { p.Wrapper = true },
	} {
		p := base()
		change(p)
		if other, dup := seen[p.Key()]; dup {
			t.Errorf("a change of %s gives the key of %s", name, other)
		}
		seen[p.Key()] = name
	}
	p := base()
	p.Reason, p.Warnings = "why", []string{"w"}
	if p.Key() != base().Key() {
		t.Error("a reason is part of the key")
	}
}

func TestErrorsSayWhatFailed(t *testing.T) {
	_, err := New(defaults("may"), Tables{PolicyMaps: maps("fail:x")}, nil).Lookup(context.Background(), mxSite())
	if !errors.Is(err, table.ErrFail) || !strings.Contains(fmt.Sprint(err), "fail:x") {
		t.Errorf("%v", err)
	}
}
