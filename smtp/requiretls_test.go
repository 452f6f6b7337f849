package main

import (
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/sendopts"
	"sealpost/test/ca"
)

// TestRequireTLS is the decision table of REQUIRETLS against real sockets
// (requiretls.md §6, Appendix A; decisions 1, 2, 8): enforcement level, TLS level,
// server, DNS; and what becomes of the message.
func TestRequireTLS(t *testing.T) {
	x := newSecure(t)
	const requested = "Sender requested REQUIRETLS, but "
	match := []string{"match"}
	for _, tc := range []struct {
		policy string
		secureCase
	}{
		{"enforce", secureCase{level: "dane", server: "REQUIRETLS", tlsa: match, want: "sent 2.0.0 tls=dane/requiretls mail=tls"}},
		{"enforce", secureCase{level: "secure", server: "REQUIRETLS", want: "sent 2.0.0 tls=secure/requiretls mail=tls"}},
		{"enforce", secureCase{level: "fingerprint", server: "REQUIRETLS", want: "sent 2.0.0 tls=fingerprint/requiretls mail=tls"}},
		{"enforce", secureCase{level: "verify", server: "REQUIRETLS", want: "sent 2.0.0 tls=verify/requiretls mail=tls"}},
		{"enforce", secureCase{level: "verify", server: "REQUIRETLS", dns: "unsigned", want: "bounced 5.7.10 tls=verify?/!requiretls:nosecuremx mail=no",
			text: requested + "the MX lookup for b.test was not secure. The last attempted server was mx.b.test"}},
		{"enforce", secureCase{level: "dane", server: "REQUIRETLS", tlsa: match, dns: "unsigned MX", want: "bounced 5.7.10 tls=halfdane?/!requiretls:nosecuremx mail=no"}},
		{"enforce", secureCase{level: "none", server: "REQUIRETLS", want: "bounced 5.7.10 tls=none?/!requiretls:nocertmatch mail=no"}},
		{"enforce", secureCase{level: "may", server: "REQUIRETLS", want: "bounced 5.7.10 tls=may?/!requiretls:nocertmatch mail=no",
			text: requested + "my configured TLS security level 'may' disables certificate matching. The last attempted server was mx.b.test"}},
		{"enforce", secureCase{level: "encrypt", server: "REQUIRETLS", want: "bounced 5.7.10 tls=encrypt?/!requiretls:nocertmatch mail=no"}},
		{"enforce", secureCase{level: "dane", server: "REQUIRETLS", want: "bounced 5.7.10 tls=may?/!requiretls:nocertmatch mail=no"}},
		{"enforce", secureCase{level: "dane", server: "REQUIRETLS", tlsa: []string{"unusable"}, want: "bounced 5.7.10 tls=encrypt?/!requiretls:nocertmatch mail=no"}},
		{"enforce", secureCase{level: "secure", server: "no REQUIRETLS", want: "bounced 5.7.30 tls=secure/!requiretls:none mail=no",
			text: requested + "no server was found that supports REQUIRETLS. The last attempted server was mx.b.test[127.0.0.1]"}},
		{"enforce", secureCase{level: "secure", server: "injection", want: "bounced 5.7.30 tls=secure/!requiretls:none mail=no"}},
		{"enforce", secureCase{level: "secure", server: "no STARTTLS", want: "bounced 5.7.30 tls=!secure/!requiretls:nostarttls mail=no",
			text: requested + "TLS service was not offered by host mx.b.test[127.0.0.1]"}},
		{"enforce", secureCase{level: "secure", server: "refused", want: "bounced 5.7.10 tls=!secure/!requiretls:nostarttls mail=no",
			text: requested + "host mx.b.test[127.0.0.1] refused to start TLS: 454 4.7.0 not now"}},
		{"enforce", secureCase{level: "secure", server: "broken", old: true, want: "deferred 4.7.5 tls=secure?/requiretls? mail=no", text: "handshake failure"}},
		{"enforce", secureCase{level: "secure", server: "REQUIRETLS, wrong name", want: "bounced 5.7.10 tls=!secure/!requiretls:nocertmatch mail=no",
			text: requested + "no matching server certificate was found. The last attempted server was mx.b.test[127.0.0.1]"}},
		{"enforce", secureCase{level: "secure", server: "self-signed", want: "bounced 5.7.10 tls=!secure/!requiretls:nocertmatch mail=no",
			text: requested + "no trusted server certificate was found."}},
		{"enforce", secureCase{level: "secure", server: "expired", want: "bounced 5.7.10 tls=!secure/!requiretls:nocertmatch mail=no"}},
		{"enforce", secureCase{level: "dane", server: "right", tlsa: []string{"mismatch"}, want: "bounced 5.7.10 tls=!dane/!requiretls:nocertmatch mail=no"}},
		{"enforce", secureCase{level: "dane", server: "REQUIRETLS", dns: "TLSA fails", want: "deferred 4.7.5 tls=unknown?/requiretls? mail=no"}},
		{"opportunistic+starttls", secureCase{level: "none", server: "REQUIRETLS", want: "bounced 5.7.10 tls=none?/!requiretls:noencryption mail=no"}},
		{"opportunistic+starttls", secureCase{level: "may", server: "no STARTTLS", want: "bounced 5.7.30 tls=may?/!requiretls:nostarttls mail=no"}},
		{"opportunistic+starttls", secureCase{level: "may", server: "refused", want: "bounced 5.7.10 tls=may?/!requiretls:nostarttls mail=no"}},
		{"opportunistic+starttls", secureCase{level: "may", server: "broken", old: true, want: "deferred 4.7.5 tls=may?/requiretls? mail=no"}},
		{"opportunistic+starttls", secureCase{level: "may", server: "REQUIRETLS", want: "sent 2.0.0 tls=may/requiretls:nocertmatch mail=tls"}},
		{"opportunistic+starttls", secureCase{level: "encrypt", server: "no REQUIRETLS", want: "sent 2.0.0 tls=encrypt/requiretls:none mail=tls"}},
		{"opportunistic", secureCase{level: "none", server: "REQUIRETLS", want: "sent 2.0.0 tls=none/requiretls:none mail=clear"}},
		{"opportunistic", secureCase{level: "may", server: "no STARTTLS", want: "sent 2.0.0 tls=may:none/requiretls:none mail=clear"}},
		{"opportunistic", secureCase{level: "may", server: "broken", old: true, want: "sent 2.0.0 tls=may:none/requiretls:none mail=clear"}},
		{"opportunistic", secureCase{level: "encrypt", server: "no STARTTLS", want: "deferred 4.7.4 tls=!encrypt/requiretls? mail=no"}},
		{"opportunistic", secureCase{level: "verify", server: "REQUIRETLS, wrong name", want: "deferred 4.7.5 tls=!verify/requiretls:nocertmatch mail=no"}},
		{"opportunistic", secureCase{level: "verify", server: "REQUIRETLS", dns: "unsigned", want: "sent 2.0.0 tls=verify/requiretls:nosecuremx mail=tls"}},
		{"disable", secureCase{level: "may", server: "REQUIRETLS", want: "sent 2.0.0 tls=may mail=tls"}},
		{"nonsense", secureCase{level: "may", server: "REQUIRETLS", want: "deferred 4.7.10 tls=may? mail=no",
			text: "REQUIRETLS policy configuration error. The last attempted server was mx.b.test"}},
	} {
		t.Run(tc.policy+", "+tc.name(), func(t *testing.T) {
			t.Parallel()
			tc.opts = sendopts.RequireTLSESMTP | sendopts.RequireTLSHeader // the header is ignored
			tc.set = map[string]string{"smtp_requiretls_policy": tc.policy}
			got, reason, f := tc.run(t, x)
			if got != tc.want || !strings.Contains(reason, tc.text) {
				t.Errorf("got  %s (%s)\nwant %s (%s)\nlog: %s", got, reason, tc.want, tc.text, f.logged())
			}
		})
	}
}

// What MAIL FROM says about the request, and what it says to a server without it; and
// what the parameters make of that.
func TestRequireTLSInMailFrom(t *testing.T) {
	x := newSecure(t)
	const from = "tls: <from@a.test>"
	for _, tc := range []struct {
		name, policy, server string
		set                  map[string]string
		wrapper              bool
		mail                 string // "": it is not said
		field                string
	}{
		{name: "announced", policy: "opportunistic", server: "REQUIRETLS", mail: from + " RET=FULL REQUIRETLS", field: "fingerprint/requiretls"},
		{name: "not announced", policy: "opportunistic", server: "no REQUIRETLS", mail: from + " RET=HDRS", field: "fingerprint/requiretls:none"},
		{name: "disable, not announced", policy: "disable", server: "no REQUIRETLS", mail: from + " RET=FULL", field: "fingerprint"},
		{name: "disable", policy: "disable", server: "REQUIRETLS", mail: from + " RET=FULL", field: "fingerprint"},
		{name: "requiretls_enable = no", policy: "enforce", server: "no REQUIRETLS", set: map[string]string{"requiretls_enable": "no"},
			mail: from + " RET=FULL", field: "fingerprint"},
		{name: "passed over in EHLO, enforce", policy: "enforce", server: "REQUIRETLS", set: map[string]string{"smtp_discard_ehlo_keywords": "requiretls"},
			field: "fingerprint/!requiretls:none"},
		{name: "passed over in EHLO", policy: "opportunistic", server: "REQUIRETLS", set: map[string]string{"smtp_discard_ehlo_keywords": "requiretls"},
			mail: from + " RET=HDRS", field: "fingerprint/requiretls:none"},
		{name: "passed over in EHLO of this server, enforce", policy: "enforce", server: "REQUIRETLS",
			set: map[string]string{"smtp_discard_ehlo_keyword_address_maps": "inline:{127.0.0.1=requiretls}"}, field: "fingerprint/!requiretls:none"},
		{name: "passed over in EHLO of another server", policy: "enforce", server: "REQUIRETLS",
			set:  map[string]string{"smtp_discard_ehlo_keyword_address_maps": "inline:{127.0.0.2=requiretls}"},
			mail: from + " RET=FULL REQUIRETLS", field: "fingerprint/requiretls"},
		{name: "TLS from the first byte", policy: "enforce", server: "REQUIRETLS", wrapper: true, mail: from + " RET=FULL REQUIRETLS", field: "fingerprint/requiretls"},
		{name: "TLS from the first byte, not announced", policy: "enforce", server: "no REQUIRETLS", wrapper: true, field: "fingerprint/!requiretls:none"},
		{name: "TLS from the first byte, another certificate", policy: "enforce", server: "REQUIRETLS, wrong name", wrapper: true, field: "!fingerprint/!requiretls:nocertmatch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sc := x.behaviour(tc.server)
			sc.wrapper = tc.wrapper
			s := serve(t, sc)
			set := map[string]string{"smtp_requiretls_policy": tc.policy, "smtp_tls_security_level": "fingerprint",
				"smtp_tls_fingerprint_cert_match": ca.Fingerprint(x.certs["right"].Leaf)}
			if tc.wrapper {
				set["smtp_tls_wrappermode"] = "yes"
			}
			for k, v := range tc.set {
				set[k] = v
			}
			f := newFixture(t, "smtp", set, nil)
			req := request(s.nexthop(), "a@b.test")
			req.SendOpts, req.Ret = sendopts.RequireTLSESMTP, dsn.RetFull
			out := f.run(t, req)
			if mail := s.mailSince(0); mail != tc.mail || out.full[0].TLS != tc.field {
				t.Errorf("MAIL FROM %q, tls=%s; want %q, tls=%s; %s", mail, out.full[0].TLS, tc.mail, tc.field, out)
			}
		})
	}
}

// A probe goes as far as a message would, and the log can be told to say nothing of TLS
// (requiretls.md §6.11, §7.1); a server that does not know REQUIRETLS is noted.
func TestRequireTLSProbesAndLog(t *testing.T) {
	x := newSecure(t)
	for _, tc := range []struct {
		name, server, policy, field, want, log string
		probe                                  bool
	}{
		{name: "probe", server: "REQUIRETLS", policy: "enforce", field: "yes", probe: true, want: "sent 2.1.5 fingerprint/requiretls 250 2.1.5 ok"},
		{name: "probe of one that does not comply", server: "no REQUIRETLS", policy: "enforce", field: "yes", probe: true,
			want: "bounced 5.7.30 fingerprint/!requiretls:none Sender requested REQUIRETLS, but no server was found that supports REQUIRETLS."},
		{name: "smtp_log_tls_feature_status = no", server: "REQUIRETLS", policy: "enforce", field: "no", want: "sent 2.0.0  250 2.0.0 queued"},
		{name: "not offered", server: "no REQUIRETLS", policy: "opportunistic", field: "yes", want: "sent 2.0.0 fingerprint/requiretls:none 250 2.0.0 queued",
			log: "4XYZ: Sender requested REQUIRETLS, but REQUIRETLS support was not offered by host 127.0.0.1[127.0.0.1]"},
		{name: "not offered, starttls", server: "no REQUIRETLS", policy: "opportunistic+starttls", field: "yes", want: "sent 2.0.0 fingerprint/requiretls:none 250 2.0.0 queued",
			log: "4XYZ: Sender requested REQUIRETLS, but REQUIRETLS support was not offered by host 127.0.0.1[127.0.0.1]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, x.behaviour(tc.server))
			f := newFixture(t, "smtp", map[string]string{"smtp_requiretls_policy": tc.policy, "smtp_log_tls_feature_status": tc.field,
				"smtp_tls_security_level": "fingerprint", "smtp_tls_fingerprint_cert_match": ca.Fingerprint(x.certs["right"].Leaf)}, nil)
			req := request(s.nexthop(), "a@b.test")
			req.SendOpts = sendopts.RequireTLSESMTP
			if tc.probe {
				req.Flags = mailproto.DeliverUserVerify
			}
			out := f.run(t, req)
			word := strings.Fields(out.String())[1]
			o := out.full[0]
			if got := word + " " + o.Status.Code + " " + o.TLS + " " + o.Status.Reason; !strings.HasPrefix(got, tc.want) || f.logged() != tc.log {
				t.Errorf("got  %s\nwant %s\nlog  %q\nwant %q", got, tc.want, f.logged(), tc.log)
			}
			if said := s.mailSince(0); strings.Contains(said, "REQUIRETLS") != (tc.server == "REQUIRETLS") {
				t.Errorf("MAIL FROM %q", said)
			}
		})
	}
}

// A connection that another message has used serves a request only where it
// satisfies it.
func TestRequireTLSAndReuse(t *testing.T) {
	x := newSecure(t)
	secure := map[string]string{"smtp_tls_security_level": "secure", "smtp_requiretls_policy": "enforce"}
	for _, tc := range []struct {
		server string
		conns  int
		field  string
	}{
		{"REQUIRETLS", 1, "secure/requiretls"},
		{"no REQUIRETLS", 2, "secure/!requiretls:none"},
	} {
		conns, field, log := reuse(t, x, tc.server, secure, secure, sendopts.RequireTLSESMTP)
		if conns != tc.conns || field != tc.field {
			t.Errorf("%s: %d connections, tls=%s; want %d, tls=%s\n%s", tc.server, conns, field, tc.conns, tc.field, log)
		}
	}
}

// A policy that cannot be read concerns one message, not the destination (decision 8);
// what a relay of ours cannot do is our configuration (requiretls.md §6.8).
func TestRequireTLSAndTheDestination(t *testing.T) {
	x := newSecure(t)
	s := serve(t, x.behaviour("REQUIRETLS"))
	for _, tc := range []struct{ policy, relayhost, want string }{
		{"nonsense", "", " deferred 4.7.10 REQUIRETLS policy configuration error."},
		{"enforce", s.nexthop(), " deferred 4.3.5 Sender requested REQUIRETLS, but my configured TLS security level 'may'"},
		{"enforce", "", " bounced 5.7.10 Sender requested REQUIRETLS, but my configured TLS security level 'may'"},
	} {
		f := newFixture(t, "smtp", map[string]string{"smtp_requiretls_policy": tc.policy, "relayhost": tc.relayhost}, nil)
		req := request(s.nexthop(), "a@b.test")
		req.SendOpts = sendopts.RequireTLSESMTP
		out := f.run(t, req)
		if !strings.Contains(out.String(), tc.want) || tc.policy == "nonsense" && out.hop.Reason != "" {
			t.Errorf("%s: %s; destination %q", tc.policy, out, out.hop.Reason)
		}
	}
	if _, conns := s.count(); conns != 0 {
		t.Errorf("%d connections", conns)
	}
}
