package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/sendopts"
	"sealpost/test/ca"
)

// secure is a world for one test: an authority, certificates, and the domain
// b.test whose exchanger mx.b.test is on loopback.
type secure struct {
	ca    *ca.Authority
	certs map[string]tls.Certificate
	file  string // the authority's certificate
}

func newSecure(t testing.TB) *secure {
	a := ca.New(t, "Test CA")
	names := []string{"mx.b.test"}
	return &secure{ca: a, file: a.WriteCert(t, t.TempDir()), certs: map[string]tls.Certificate{
		"right":       a.Issue(t, ca.Leaf{Names: names, CN: "right"}),
		"domain":      a.Issue(t, ca.Leaf{Names: []string{"b.test"}, CN: "domain"}),
		"wrong name":  a.Issue(t, ca.Leaf{Names: []string{"mx.other.test"}}),
		"expired":     a.Issue(t, ca.Leaf{Names: names, Expired: true}),
		"self-signed": a.Issue(t, ca.Leaf{Names: names, SelfSigned: true}),
		"other CA":    ca.New(t, "Other CA").Issue(t, ca.Leaf{Names: names}),
	}}
}

// leaf is the certificate of a server; of one that never shows any, the right one.
func (x *secure) leaf(server string) *x509.Certificate {
	if cert, ok := x.certs[server]; ok {
		return cert.Leaf
	}
	return x.certs["right"].Leaf
}

// behaviour is a kind of server.
func (x *secure) behaviour(name string) script {
	sc := script{ehlo: "PIPELINING STARTTLS REQUIRETLS", secret: "PIPELINING", on: map[string]string{}}
	switch name {
	case "no STARTTLS":
		sc.ehlo = "PIPELINING"
	case "refused":
		sc.on["STARTTLS"] = "454 4.7.0 not now"
	case "broken":
		sc.on["STARTTLS"] = "220 go!close"
	case "lost at EHLO":
		name = "right"
		sc.inside = map[string]string{"EHLO": "!close"}
	case "lost at MAIL":
		name = "right"
		sc.inside = map[string]string{"MAIL": "!close"}
	case "lost at DATA":
		name = "right"
		sc.inside = map[string]string{"DATA": "!close"}
	case "lost at the dot":
		name = "right"
		sc.inside = map[string]string{"DOT": "!close"}
	case "421 at MAIL":
		name = "right"
		sc.inside = map[string]string{"MAIL": "421 4.3.2 bye!close"}
	case "REQUIRETLS":
		name = "right"
		sc.secret = "PIPELINING DSN REQUIRETLS"
	case "no REQUIRETLS":
		name = "right"
		sc.secret = "PIPELINING DSN"
	case "REQUIRETLS, wrong name":
		name = "wrong name"
		sc.secret = "PIPELINING DSN REQUIRETLS"
	case "injection":
		name = "right"
		sc.on["STARTTLS"] = "220 go|250-mx.test|250-REQUIRETLS|250 SIZE 1"
	}
	if cert, ok := x.certs[name]; ok {
		sc.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	return sc
}

// zone is the DNS of a server; tlsa are the data of records for it.
func zone(port string, tlsa ...string) string {
	z := "b.test. 60 IN MX 10 mx.b.test.\nmx.b.test. 60 IN A 127.0.0.1\n"
	for _, rr := range tlsa {
		z += fmt.Sprintf("_%s._tcp.mx.b.test. 60 IN TLSA %s\n", port, rr)
	}
	return z
}

// resolver asks the server, and believes it.
func resolver(t testing.TB, srv *dnstest.Server) dns.SecureResolver {
	r, err := dns.New(dns.Settings{Servers: []string{srv.Addr()}, ServersAuthentic: true, WantDNSSEC: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mailSeen says how the server saw MAIL FROM: not at all, in the clear, inside TLS,
// or first the one, then the other.
func mailSeen(s *server) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mails) == 0 {
		return "no"
	}
	return strings.Join(s.mails, ", ")
}

type secureCase struct {
	level, server string
	tlsa          []string // "match", "mismatch", "unusable" or data
	dns           string   // "unsigned": nothing is authentic; "broken": TLSA fails; default: signed
	old           bool     // the message has waited
	opts          sendopts.Options
	set           map[string]string

	want string // status word, code, tls= and how MAIL was seen
	text string // part of the reason
}

func (tc *secureCase) name() string {
	name := tc.level + ", " + tc.server
	for _, more := range append(tc.tlsa, tc.dns) {
		if more != "" {
			name += ", " + more
		}
	}
	if tc.old {
		name += ", old"
	}
	if tc.opts != 0 {
		name += ", " + tc.opts.String()
	}
	return name
}

// run delivers one message and describes what happened.
func (tc *secureCase) run(t *testing.T, x *secure) (got, reason string, f *fixture) {
	s := serve(t, x.behaviour(tc.server))
	conf := dnstest.Config{Authentic: []string{"*"}}
	var records []string
	for _, r := range tc.tlsa {
		switch r {
		case "match":
			r = "3 1 1 " + ca.SPKI(x.leaf(tc.server))
		case "match CA":
			r = "2 1 1 " + ca.SPKI(x.ca.Cert)
		case "mismatch":
			r = "3 1 1 " + strings.Repeat("ab", 32)
		case "unusable":
			r = "7 1 1 " + strings.Repeat("ab", 32)
		}
		records = append(records, r)
	}
	conf.Zone = zone(s.port(), records...)
	switch tc.dns {
	case "unsigned":
		conf.Authentic = nil
	case "unsigned MX":
		conf.Authentic = []string{"mx.b.test", "_" + s.port() + "._tcp.mx.b.test"}
	case "TLSA fails":
		conf.Fail = []string{"_" + s.port() + "._tcp.mx.b.test"}
	}
	values := map[string]string{
		"smtp_tls_security_level": tc.level, "smtp_tls_CAfile": x.file, "smtp_dns_support_level": "dnssec",
		"smtp_tls_fingerprint_cert_match": ca.Fingerprint(x.certs["right"].Leaf),
	}
	maps.Copy(values, tc.set)
	f = newFixture(t, "smtp", values, resolver(t, dnstest.New(t, conf)))
	req := request("b.test:"+s.port(), "a@b.test")
	req.SendOpts = tc.opts
	now := time.Now()
	req.Stats.IncomingArrival, req.Stats.ActiveArrival = now, now
	if tc.old {
		req.Stats.IncomingArrival = now.Add(-time.Hour)
	}
	out := f.run(t, req)
	word, _, _ := strings.Cut(strings.TrimPrefix(out.String(), "a@b.test "), " ")
	o := out.full[0]
	return fmt.Sprintf("%s %s tls=%s mail=%s", word, o.Status.Code, o.TLS, mailSeen(s)), o.Status.Reason, f
}

const notVerified = "Server certificate not verified"

// TestSecurityLevels is the decision table against real sockets: level, what the
// server does, what DNS says; and what becomes of the message.
func TestSecurityLevels(t *testing.T) {
	x := newSecure(t)
	header := sendopts.RequireTLSHeader
	for _, tc := range []secureCase{
		{level: "none", server: "right", want: "sent 2.0.0 tls=none mail=clear"},
		{level: "may", server: "no STARTTLS", want: "sent 2.0.0 tls=may:none mail=clear"},
		{level: "may", server: "refused", want: "sent 2.0.0 tls=may:none mail=clear"},
		{level: "may", server: "broken", want: "deferred 4.7.5 tls=may? mail=no", text: "Cannot start TLS: handshake failure"},
		{level: "may", server: "broken", old: true, want: "sent 2.0.0 tls=may:none mail=clear"},
		{level: "may", server: "self-signed", want: "sent 2.0.0 tls=may mail=tls"},
		{level: "may", server: "expired", want: "sent 2.0.0 tls=may mail=tls"},
		{level: "may", server: "right", want: "sent 2.0.0 tls=may mail=tls"},
		{level: "may", server: "injection", want: "sent 2.0.0 tls=may mail=tls"},
		{level: "may", server: "lost at EHLO", want: "deferred 4.4.2 tls=may mail=no", text: "lost connection with mx.b.test[127.0.0.1] while performing the EHLO handshake"},
		{level: "may", server: "lost at EHLO", old: true, want: "sent 2.0.0 tls=may:none mail=clear"},
		{level: "may", server: "lost at MAIL", want: "deferred 4.4.2 tls=may mail=tls", text: "while sending MAIL FROM"},
		{level: "may", server: "lost at MAIL", old: true, want: "sent 2.0.0 tls=may:none mail=tls, clear"},
		{level: "may", server: "lost at DATA", old: true, want: "sent 2.0.0 tls=may:none mail=tls, clear"},
		{level: "may", server: "lost at the dot", old: true, want: "deferred 4.4.2 tls=may mail=tls", text: "message may be sent more than once"},
		{level: "may", server: "421 at MAIL", old: true, want: "deferred 4.3.2 tls=may mail=tls", text: "421 4.3.2 bye"},
		{level: "encrypt", server: "lost at EHLO", old: true, want: "deferred 4.4.2 tls=encrypt mail=no"},
		{level: "encrypt", server: "lost at MAIL", old: true, want: "deferred 4.4.2 tls=encrypt mail=tls"},
		{level: "verify", server: "lost at MAIL", old: true, want: "deferred 4.4.2 tls=verify mail=tls"},
		{level: "encrypt", server: "no STARTTLS", want: "deferred 4.7.4 tls=!encrypt mail=no", text: "TLS is required, but was not offered by host mx.b.test[127.0.0.1]"},
		{level: "encrypt", server: "refused", want: "deferred 4.7.0 tls=!encrypt mail=no", text: "TLS is required, but host mx.b.test[127.0.0.1] refused to start TLS: 454 4.7.0 not now"},
		{level: "encrypt", server: "broken", old: true, want: "deferred 4.7.5 tls=encrypt? mail=no", text: "Cannot start TLS: handshake failure"},
		{level: "encrypt", server: "self-signed", want: "sent 2.0.0 tls=encrypt mail=tls"},
		{level: "encrypt", server: "injection", want: "sent 2.0.0 tls=encrypt mail=tls"},
		{level: "fingerprint", server: "right", want: "sent 2.0.0 tls=fingerprint mail=tls"},
		{level: "fingerprint", server: "self-signed", want: "deferred 4.7.5 tls=!fingerprint mail=no", text: notVerified},
		{level: "verify", server: "no STARTTLS", want: "deferred 4.7.4 tls=!verify mail=no", text: "not offered"},
		{level: "verify", server: "right", want: "sent 2.0.0 tls=verify mail=tls"},
		{level: "verify", server: "wrong name", want: "deferred 4.7.5 tls=!verify mail=no", text: notVerified},
		{level: "verify", server: "expired", want: "deferred 4.7.5 tls=!verify mail=no", text: notVerified},
		{level: "verify", server: "self-signed", want: "deferred 4.7.5 tls=!verify mail=no", text: notVerified},
		{level: "verify", server: "other CA", want: "deferred 4.7.5 tls=!verify mail=no", text: notVerified},
		{level: "verify", server: "broken", old: true, want: "deferred 4.7.5 tls=verify? mail=no", text: "handshake failure"},
		{level: "secure", server: "right", want: "sent 2.0.0 tls=secure mail=tls"}, // dot-nexthop
		{level: "secure", server: "domain", want: "sent 2.0.0 tls=secure mail=tls"},
		{level: "secure", server: "wrong name", want: "deferred 4.7.5 tls=!secure mail=no", text: notVerified},
		{level: "dane", server: "right", tlsa: []string{"match"}, want: "sent 2.0.0 tls=dane mail=tls"},
		{level: "dane", server: "right", tlsa: []string{"match CA"}, want: "sent 2.0.0 tls=dane mail=tls"},
		{level: "dane", server: "wrong name", tlsa: []string{"match CA"}, want: "deferred 4.7.5 tls=!dane mail=no", text: notVerified},
		{level: "dane", server: "self-signed", tlsa: []string{"match"}, want: "sent 2.0.0 tls=dane mail=tls"},
		{level: "dane", server: "expired", tlsa: []string{"match"}, want: "sent 2.0.0 tls=dane mail=tls"},
		{level: "dane", server: "right", tlsa: []string{"mismatch"}, want: "deferred 4.7.5 tls=!dane mail=no", text: notVerified},
		{level: "dane", server: "right", tlsa: []string{"mismatch", "match"}, want: "sent 2.0.0 tls=dane mail=tls"},
		{level: "dane", server: "right", tlsa: []string{"unusable"}, want: "sent 2.0.0 tls=encrypt mail=tls"},
		{level: "dane", server: "no STARTTLS", tlsa: []string{"unusable"}, want: "deferred 4.7.4 tls=!encrypt mail=no"},
		{level: "dane", server: "no STARTTLS", tlsa: []string{"match"}, want: "deferred 4.7.4 tls=!dane mail=no"},
		{level: "dane", server: "broken", tlsa: []string{"mismatch"}, old: true, want: "deferred 4.7.5 tls=dane? mail=no"},
		{level: "dane", server: "right", want: "sent 2.0.0 tls=may mail=tls"},
		{level: "dane", server: "no STARTTLS", want: "sent 2.0.0 tls=may:none mail=clear"},
		{level: "dane", server: "no STARTTLS", tlsa: []string{"mismatch"}, dns: "unsigned", want: "sent 2.0.0 tls=may:none mail=clear"},
		{level: "dane", server: "right", tlsa: []string{"match"}, dns: "unsigned MX", want: "sent 2.0.0 tls=halfdane mail=tls"},
		{level: "dane", server: "right", tlsa: []string{"mismatch"}, dns: "unsigned MX", want: "deferred 4.7.5 tls=!halfdane mail=no"},
		{level: "dane", server: "no STARTTLS", dns: "TLSA fails", want: "deferred 4.7.5 tls=unknown? mail=no", text: "TLSA lookup error for mx.b.test:"},
		{level: "dane-only", server: "right", tlsa: []string{"match"}, want: "sent 2.0.0 tls=dane-only mail=tls"},
		{level: "dane-only", server: "right", tlsa: []string{"mismatch"}, want: "deferred 4.7.5 tls=!dane-only mail=no"},
		{level: "dane-only", server: "right", want: "deferred 4.7.5 tls=unknown? mail=no", text: "no TLSA records found"},
		{level: "dane-only", server: "right", tlsa: []string{"unusable"}, want: "deferred 4.7.5 tls=unknown? mail=no", text: "TLSA records unusable"},
		{level: "dane-only", server: "right", tlsa: []string{"match"}, dns: "unsigned", want: "deferred 4.7.5 tls=unknown? mail=no", text: "non DNSSEC destination"},
		{level: "secure", server: "no STARTTLS", opts: header, want: "sent 2.0.0 tls=may:none mail=clear"},
		{level: "secure", server: "wrong name", opts: header, want: "sent 2.0.0 tls=may mail=tls"},
	} {
		t.Run(tc.name(), func(t *testing.T) {
			t.Parallel()
			got, reason, f := tc.run(t, x)
			if got != tc.want || !strings.Contains(reason, tc.text) {
				t.Errorf("got  %s (%s)\nwant %s (%s)\nlog: %s", got, reason, tc.want, tc.text, f.logged())
			}
		})
	}
}
