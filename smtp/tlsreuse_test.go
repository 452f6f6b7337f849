package main

import (
	"context"
	"crypto/tls"
	"net"
	"regexp"
	"strings"
	"testing"

	"sealpost/lib/dns/dnstest"
	"sealpost/lib/mailproto"
	"sealpost/lib/route"
	"sealpost/lib/sendopts"
	"sealpost/lib/tlspolicy"
	"sealpost/test/ca"
)

// reuse delivers two messages that qmgr wants over one connection, the second one
// after change, and tells how many connections that took and what the second
// delivery line says.
func reuse(t *testing.T, x *secure, server string, first, second map[string]string, opts sendopts.Options) (conns int, field, log string) {
	t.Helper()
	s := serve(t, x.behaviour(server))
	zone := zone(s.port(), "3 1 1 "+ca.SPKI(x.leaf(server)))
	srv := dnstest.New(t, dnstest.Config{Authentic: []string{"*"}, Zone: zone})
	values := map[string]string{"smtp_tls_CAfile": x.file, "smtp_dns_support_level": "dnssec",
		"smtp_tls_connection_reuse": "yes", "smtp_tls_loglevel": "1"}
	with := func(more map[string]string) *fixture {
		all := make(map[string]string)
		for _, m := range []map[string]string{values, more} {
			for k, v := range m {
				all[k] = v
			}
		}
		return newFixture(t, "smtp", all, resolver(t, srv))
	}
	request := func(opts sendopts.Options) *mailproto.DeliveryRequest {
		r := cachingRequest("b.test:" + s.port())
		r.SendOpts = opts
		return r
	}
	f := with(first)
	if out := f.run(t, request(0)); !strings.Contains(out.String(), " sent ") {
		t.Fatal(out)
	}
	g := with(second)
	g.cache = f.cache // what the same process would have after a change
	out := g.run(t, request(opts))
	_, conns = s.count()
	return conns, out.full[0].TLS, g.logged()
}

// TestTLSConnectionIsUsedAgain: a connection carries another message exactly when
// what it was held against is what that message demands (decision 5).
func TestTLSConnectionIsUsedAgain(t *testing.T) {
	x := newSecure(t)
	level := func(l string, more ...string) map[string]string {
		m := map[string]string{"smtp_tls_security_level": l}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for _, tc := range []struct {
		name, server  string
		first, second map[string]string
		opts          sendopts.Options
		conns         int
		field         string
	}{
		{name: "same policy", server: "right", first: level("verify"), second: level("verify"), conns: 1, field: "verify"},
		{name: "same policy, DANE", server: "right", first: level("dane"), second: level("dane"), conns: 1, field: "dane"},
		{name: "in the clear, nothing else was offered", server: "no STARTTLS", first: level("may"), second: level("may"), conns: 1, field: "may:none"},
		{name: "not verified before", server: "right", first: level("encrypt"), second: level("verify"), conns: 2, field: "verify"},
		{name: "not verified before, and bad", server: "wrong name", first: level("encrypt"), second: level("verify"), conns: 2, field: "!verify"},
		{name: "in the clear before", server: "no STARTTLS", first: level("may"), second: level("encrypt"), conns: 2, field: "!encrypt"},
		{name: "another name", server: "right", first: level("secure"),
			second: level("secure", "smtp_tls_secure_cert_match", "nexthop"), conns: 2, field: "!secure"},
		{name: "TLS-Required: no has its own policy", server: "right", first: level("verify"), second: level("verify"),
			opts: sendopts.RequireTLSHeader, conns: 2, field: "may"},
		{name: "reuse is off", server: "right", first: level("may", "smtp_tls_connection_reuse", "no"),
			second: level("may", "smtp_tls_connection_reuse", "no"), conns: 2, field: "may"},
		{name: "reuse is off for the second", server: "right", first: level("may"),
			second: level("may", "smtp_tls_policy_maps", "static:{may connection_reuse=no}"), conns: 2, field: "may"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			conns, field, log := reuse(t, x, tc.server, tc.first, tc.second, tc.opts)
			if conns != tc.conns || field != tc.field {
				t.Errorf("%d connections, tls=%s; want %d, tls=%s\n%s", conns, field, tc.conns, tc.field, log)
			}
			if used := strings.Contains(log, " TLS connection reused to mx.b.test[127.0.0.1]:"); used != (tc.conns == 1 && tc.server == "right") {
				t.Errorf("log of the second message: %s", log)
			}
		})
	}
}

// A policy that fails for a host with an idle connection is told apart from one that
// fails before a connection is made (requiretls.md §6.3).
func TestPolicyFailsForIdleConnection(t *testing.T) {
	x := newSecure(t)
	good := map[string]string{"smtp_tls_security_level": "encrypt"}
	bad := map[string]string{"smtp_tls_security_level": "dane-only", "smtp_dns_support_level": "enabled"}
	conns, field, log := reuse(t, x, "right", good, bad, 0)
	log = regexp.MustCompile(`b\.test:\d+`).ReplaceAllString(log, "b.test:PORT")
	for _, what := range []string{"lookup error", "lookup"} {
		if line := "warning: TLS policy " + what + " for b.test:PORT/mx.b.test: client TLS configuration problem"; !strings.Contains(log, line) {
			t.Errorf("the log lacks %q:\n%s", line, log)
		}
	}
	if conns != 1 || field != "unknown?" {
		t.Errorf("%d connections, tls=%s", conns, field)
	}
}

// A message in the clear because a handshake failed leaves no connection behind.
func TestFallbackConnectionIsNotKept(t *testing.T) {
	x := newSecure(t)
	s := serve(t, x.behaviour("broken"))
	srv := dnstest.New(t, dnstest.Config{Zone: zone(s.port())})
	f := newFixture(t, "smtp", nil, resolver(t, srv))
	f.set.minBackoff = 0
	for range 2 {
		if out := f.run(t, cachingRequest("b.test:"+s.port())); out.full[0].TLS != "may:none" {
			t.Errorf("%s, tls=%s", out, out.full[0].TLS)
		}
	}
	if messages, conns := s.count(); messages != 2 || conns != 4 {
		t.Errorf("%d messages, %d connections; want each message to try TLS first", messages, conns)
	}
}

func TestTLSLogLines(t *testing.T) {
	x := newSecure(t)
	for _, tc := range []struct {
		name, server, level, log string
		set                      map[string]string
		tlsa                     string // a record
		lines                    int    // how many; 0: one at most
		want                     string // the beginning
	}{
		{name: "nothing", server: "right", level: "verify", log: "0"},
		{name: "verified", server: "right", level: "verify", log: "1",
			want: "Verified TLS connection established to mx.b.test[127.0.0.1]:PORT: TLSv1.3 with cipher TLS_"},
		{name: "trusted", server: "right", level: "may", log: "1",
			want: "Trusted TLS connection established to mx.b.test[127.0.0.1]:PORT: TLSv1.3 with cipher TLS_"},
		{name: "untrusted", server: "self-signed", level: "may", log: "1",
			want: "Untrusted TLS connection established to mx.b.test[127.0.0.1]:PORT: TLSv1.3 with cipher TLS_"},
		{name: "wrong name", server: "wrong name", level: "verify", log: "1", lines: 2,
			want: `certificate verification failed for mx.b.test[127.0.0.1]:PORT: certificate is for ["mx.other.test"], not for ["mx.b.test"]` +
				"\nTrusted TLS connection established to mx.b.test[127.0.0.1]:PORT: "},
		{name: "other TLSA record", server: "right", level: "dane", log: "1", lines: 2, tlsa: "3 1 1 " + strings.Repeat("ab", 32),
			want: "certificate verification failed for mx.b.test[127.0.0.1]:PORT: certificate matches no TLSA record\n" +
				"Untrusted TLS connection established to mx.b.test[127.0.0.1]:PORT: "},
		{name: "no fingerprint", server: "right", level: "fingerprint", log: "summary", lines: 2,
			set: map[string]string{"smtp_tls_fingerprint_cert_match": strings.Repeat("ab", 32)},
			want: "certificate verification failed for mx.b.test[127.0.0.1]:PORT: certificate and key have none of the fingerprints\n" +
				"Untrusted TLS connection established to mx.b.test[127.0.0.1]:PORT: "},
		{name: "handshake failed", server: "broken", level: "encrypt", log: "0",
			want: "SSL_connect error to mx.b.test[127.0.0.1]:PORT: lost connection"},
		{name: "certificate", server: "right", level: "may", log: "peercert",
			want: "mx.b.test[127.0.0.1]:PORT: subject_CN=right, issuer_CN=Test CA, fingerprint="},
		{name: "offered and not wanted", server: "right", level: "none", log: "0", set: map[string]string{"smtp_tls_note_starttls_offer": "yes"},
			want: "Host offered STARTTLS: [mx.b.test]"},
		{name: "not offered", server: "no STARTTLS", level: "none", log: "0", set: map[string]string{"smtp_tls_note_starttls_offer": "yes"}},
		{name: "injection", server: "injection", level: "may", log: "0",
			want: "warning: mx.b.test[127.0.0.1]:PORT: dropped 41 bytes that came in the clear after the reply to STARTTLS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, x.behaviour(tc.server))
			conf := dnstest.Config{Zone: zone(s.port())}
			values := map[string]string{"smtp_tls_security_level": tc.level, "smtp_tls_loglevel": tc.log, "smtp_tls_CAfile": x.file}
			if tc.tlsa != "" {
				conf = dnstest.Config{Authentic: []string{"*"}, Zone: zone(s.port(), tc.tlsa)}
				values["smtp_dns_support_level"] = "dnssec"
			}
			srv := dnstest.New(t, conf)
			for k, v := range tc.set {
				values[k] = v
			}
			f := newFixture(t, "smtp", values, resolver(t, srv))
			f.run(t, request("b.test:"+s.port(), "a@b.test"))
			got := strings.ReplaceAll(f.logged(), ":"+s.port(), ":PORT")
			if !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" || strings.Count(got, "\n") != max(tc.lines-1, 0) {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// The extensions that count are those of the EHLO inside TLS.
func TestWhatWasAnnouncedBeforeTLSDoesNotCount(t *testing.T) {
	x := newSecure(t)
	sc := x.behaviour("right")
	sc.ehlo, sc.secret = "STARTTLS DSN SIZE=1 SMTPUTF8", "8BITMIME"
	s := serve(t, sc)
	f := newFixture(t, "smtp", nil, nil)
	req := request(s.nexthop(), "a@b.test")
	req.EnvelopeID = "id"
	if out := f.run(t, req); !strings.Contains(out.String(), " sent ") {
		t.Error(out)
	}
	want := "EHLO client.test\nSTARTTLS\nTLS\nEHLO client.test\nMAIL FROM:<from@a.test>\nRCPT TO:<a@b.test>\nDATA\nQUIT"
	if s.waitFor(t, "QUIT"); s.seen() != want {
		t.Errorf("got\n%s\nwant\n%s", s.seen(), want)
	}
}

func TestWrapperMode(t *testing.T) {
	x := newSecure(t)
	for _, tc := range []struct{ level, want string }{
		{"encrypt", "a@b.test sent 2.0.0 250 2.0.0 queued"},
		{"may", "a@b.test deferred "},
	} {
		sc := x.behaviour("right")
		sc.wrapper = true
		s := serve(t, sc)
		f := newFixture(t, "smtp", map[string]string{"smtp_tls_security_level": tc.level, "smtp_tls_wrappermode": "yes"}, nil)
		if out := f.run(t, request(s.nexthop(), "a@b.test")); !strings.HasPrefix(out.String(), tc.want) {
			t.Errorf("%s: %s", tc.level, out)
		}
		if strings.Contains(s.seen(), "STARTTLS") {
			t.Errorf("%s: the server saw\n%s", tc.level, s.seen())
		}
	}
}

// A server on the port for TLS from the first byte is spoken to as configured; the
// administrator is told.
func TestPort465(t *testing.T) {
	x := newSecure(t)
	const hint = `SMTPS wrappermode (TCP port 465) requires setting "smtp_tls_wrappermode = yes", and "smtp_tls_security_level = encrypt" (or stronger)`
	for wrapper, want := range map[string]string{"yes": "", "no": hint} {
		sc := x.behaviour("right")
		sc.wrapper = wrapper == "yes"
		s := serve(t, sc)
		f := newFixture(t, "smtp", map[string]string{"smtp_tls_security_level": "encrypt", "smtp_tls_wrappermode": wrapper}, nil)
		f.dial = func(ctx context.Context, h route.Host) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.addr())
		}
		if out := f.run(t, request("[192.0.2.1]:465", "a@b.test")); !strings.Contains(out.String(), " sent ") || f.logged() != want {
			t.Errorf("%s: %s; log %q, want %q", wrapper, out, f.logged(), want)
		}
	}
}

func TestLMTPOverTLS(t *testing.T) {
	x := newSecure(t)
	sc := x.behaviour("right")
	s := serve(t, sc)
	for _, tc := range []struct{ level, want string }{{"encrypt", " sent "}, {"verify", " deferred 4.7.5 " + notVerified}} {
		f := newFixture(t, "lmtp", map[string]string{"lmtp_tls_security_level": tc.level, "lmtp_tls_CAfile": x.file}, nil)
		if out := f.run(t, request("inet:"+s.nexthop(), "a@b.test")); !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: %s", tc.level, out)
		}
	}
	if !strings.HasPrefix(s.seen(), "LHLO client.test\nSTARTTLS\nTLS\nLHLO client.test\n") {
		t.Errorf("the server saw\n%s", s.seen())
	}
}

func TestClientCertificate(t *testing.T) {
	x := newSecure(t)
	sc := x.behaviour("right")
	sc.tls.ClientAuth = tls.RequireAnyClientCert
	s := serve(t, sc)
	chain := ca.WriteChain(t, t.TempDir()+"/client.pem", x.certs["domain"])
	for file, want := range map[string]string{"": " deferred ", chain: " sent "} {
		f := newFixture(t, "smtp", map[string]string{"smtp_tls_security_level": "encrypt", "smtp_tls_chain_files": file}, nil)
		if out := f.run(t, request(s.nexthop(), "a@b.test")); !strings.Contains(out.String(), want) {
			t.Errorf("chain %q: %s", file, out)
		}
	}
}

// A reply inside TLS before the first mail command answers somebody else's
// (CVE-2009-3555).
func TestEarlyMailReply(t *testing.T) {
	x := newSecure(t)
	for value, want := range map[string]string{"yes": " deferred 4.7.0 host 127.0.0.1[127.0.0.1] sent a reply before the first mail command", "no": " bounced 5.0.0 "} {
		sc := x.behaviour("right")
		sc.on["EHLO"] = "250-mx.test|250 STARTTLS"
		sc.inside = map[string]string{"EHLO": "250 mx.test|250 2.1.0 ok|250 2.1.5 ok|354 go|554 5.0.0 no"}
		s := serve(t, sc)
		f := newFixture(t, "smtp", map[string]string{"smtp_tls_security_level": "encrypt", "smtp_tls_block_early_mail_reply": value}, nil)
		out := f.run(t, request(s.nexthop(), "a@b.test"))
		if !strings.Contains(out.String(), want) || value == "yes" && mailSeen(s) != "no" {
			t.Errorf("%s: %s; MAIL %s", value, out, mailSeen(s))
		}
	}
}

// The last check before MAIL FROM asks the connection, whatever was decided.
func TestGuardBeforeMail(t *testing.T) {
	x := newSecure(t)
	s := serve(t, x.behaviour("no STARTTLS"))
	f := newFixture(t, "smtp", map[string]string{"smtp_tls_security_level": "may", "smtp_connection_cache_time_limit": "60s", "connection_cache_ttl_limit": "60s"}, nil)
	f.run(t, cachingRequest(s.nexthop()))
	open := f.cache.byKey["endp\n"+s.addr()][0]
	g := newFixture(t, "smtp", map[string]string{"smtp_tls_security_level": "encrypt"}, nil)
	policy, err := g.tls.Lookup(t.Context(), tlspolicy.SiteOf(route.Destination{Plain: s.nexthop(), Host: "127.0.0.1"}, open.Host, "client.test"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a message that wants TLS may leave in the clear")
		}
	}()
	plan := &hostPlan{}
	plan.Policy = policy
	plan.guard(open)
}
