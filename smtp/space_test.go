package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/lib/dns/dnstest"
	"sealpost/lib/dsn"
	"sealpost/lib/reqtls"
	"sealpost/lib/sendopts"
	"sealpost/lib/tlspolicy"
	"sealpost/test/ca"
)

// The rest of the space of requiretls.md §6: each kind of server, each TLS level,
// each enforcement level. What becomes of the message is foretold twice: by the pure
// functions of lib/reqtls, from facts that are written down here and not gathered; and
// by RFC 8689 §4.2.1 in a few words, for what the server may see.

// kind is a kind of server: what it does, and the facts that come of it.
type kind struct {
	name, cert     string // cert: of secure.certs
	clear, secret  string // extensions before and inside TLS
	on, inside     map[string]string
	refusal        dsn.Status // of STARTTLS
	broken         bool       // the handshake
	old            bool       // the message has waited for better days
	lost           string     // the activity at which the connection ends, under TLS if any
	lostInTheClear string
}

const clearExt, secretExt = "PIPELINING STARTTLS DSN", "PIPELINING DSN REQUIRETLS"

func kinds() []kind {
	says := func(verb, reply string) map[string]string { return map[string]string{verb: reply} }
	return []kind{
		{name: "right", cert: "right", clear: clearExt, secret: secretExt},
		{name: "no STARTTLS", clear: "PIPELINING DSN REQUIRETLS"},
		{name: "STARTTLS 454", clear: clearExt, on: says("STARTTLS", "454 4.7.0 not now"), refusal: dsn.Status{Code: "4.7.0", Reason: "454 4.7.0 not now"}},
		{name: "STARTTLS 500", clear: clearExt, on: says("STARTTLS", "500 5.5.1 what?"), refusal: dsn.Status{Code: "5.5.1", Reason: "500 5.5.1 what?"}},
		{name: "STARTTLS 354", clear: clearExt, on: says("STARTTLS", "354 go on"), refusal: dsn.Status{Code: "3.0.0", Reason: "354 go on"}},
		{name: "broken handshake", clear: clearExt, on: says("STARTTLS", "220 go!close"), broken: true},
		{name: "broken handshake, old message", clear: clearExt, on: says("STARTTLS", "220 go!close"), broken: true, old: true},
		{name: "expired", cert: "expired", clear: clearExt, secret: secretExt},
		{name: "self-signed", cert: "self-signed", clear: clearExt, secret: secretExt},
		{name: "other CA", cert: "other CA", clear: clearExt, secret: secretExt},
		{name: "wrong name", cert: "wrong name", clear: clearExt, secret: secretExt},
		{name: "wrong name, no REQUIRETLS", cert: "wrong name", clear: clearExt, secret: "PIPELINING DSN"},
		{name: "no REQUIRETLS", cert: "right", clear: clearExt, secret: "PIPELINING DSN"},
		{name: "REQUIRETLS before TLS only", cert: "right", clear: clearExt + " REQUIRETLS", secret: "PIPELINING DSN"},
		{name: "REQUIRETLS injected", cert: "right", clear: clearExt, secret: "PIPELINING DSN",
			on: says("STARTTLS", "220 go|250-mx.test|250-REQUIRETLS|250 DSN")},
		{name: "hangs up at STARTTLS", clear: clearExt, on: map[string]string{"STARTTLS": "!close", "MAIL": "!close"}, lost: "receiving the STARTTLS response", lostInTheClear: "sending MAIL FROM"},
		{name: "hangs up at EHLO under TLS", cert: "right", clear: clearExt, inside: says("EHLO", "!close"), lost: "performing the EHLO handshake"},
	}
}

// regime is a TLS level, how it was come by, and what it demands.
type regime struct {
	name   string
	set    map[string]string
	tlsa   string          // "match", "mismatch", "unusable", "": no record
	signed []string        // what is authentic; nil: all
	level  tlspolicy.Level // in effect (requiretls.md §6.5)
	fails  string          // the policy's own failure, 4.7.5
	// forgeable: the level matches certificates against a name from unsigned DNS
	// (decision 1).
	forgeable bool
	// fits says whether a certificate is what the level demands, and whether it is
	// trusted at all.
	fits func(cert string) (matched, trusted bool)
}

// regimes are the levels.
func (x *secure) regimes() []regime {
	level := func(name string, more ...string) map[string]string {
		set := map[string]string{"smtp_tls_security_level": name, "smtp_dns_support_level": "dnssec"}
		for i := 0; i+1 < len(more); i += 2 {
			set[more[i]] = more[i+1]
		}
		return set
	}
	const match = "smtp_tls_fingerprint_cert_match"
	unsignedMX := []string{"mx.b.test", "TLSA"}
	byCA := func(cert string) (matched, trusted bool) {
		return cert == "right", cert == "right" || cert == "wrong name"
	}
	always := func(string) (bool, bool) { return true, true }
	never := func(string) (bool, bool) { return false, false }
	right := func(cert string) (bool, bool) { return cert == "right", cert == "right" }
	return []regime{
		{name: "none", set: level("none"), level: tlspolicy.None, fits: never},
		{name: "may", set: level("may"), level: tlspolicy.May, fits: never},
		{name: "encrypt", set: level("encrypt"), level: tlspolicy.Encrypt, fits: never},
		{name: "fingerprint", set: level("fingerprint", match, ca.Fingerprint(x.certs["right"].Leaf)), level: tlspolicy.Fingerprint, fits: right},
		{name: "another fingerprint", set: level("fingerprint", match, strings.Repeat("AB:", 31)+"AB"), level: tlspolicy.Fingerprint, fits: never},
		{name: "verify", set: level("verify"), level: tlspolicy.Verify, fits: byCA},
		{name: "verify, unsigned MX", set: level("verify"), signed: unsignedMX, level: tlspolicy.Verify, forgeable: true, fits: byCA},
		{name: "secure", set: level("secure"), signed: []string{}, level: tlspolicy.Secure, fits: byCA},
		{name: "dane", set: level("dane"), tlsa: "match", level: tlspolicy.DANE, fits: always},
		{name: "dane, other TLSA", set: level("dane"), tlsa: "mismatch", level: tlspolicy.DANE, fits: never},
		{name: "dane, no TLSA", set: level("dane"), level: tlspolicy.May, fits: never},
		{name: "dane, unusable TLSA", set: level("dane"), tlsa: "unusable", level: tlspolicy.Encrypt, fits: never},
		{name: "dane, unsigned MX", set: level("dane"), tlsa: "match", signed: unsignedMX, level: tlspolicy.HalfDANE, forgeable: true, fits: always},
		{name: "dane, no DNSSEC", set: level("dane", "smtp_dns_support_level", "enabled"), tlsa: "match", level: tlspolicy.May, fits: never},
		{name: "dane-only", set: level("dane-only"), tlsa: "match", level: tlspolicy.DANEOnly, fits: always},
		{name: "dane-only, no TLSA", set: level("dane-only"), fails: "no TLSA records found"},
		{name: "dane-only, unsigned", set: level("dane-only"), tlsa: "match", signed: []string{}, fails: "non DNSSEC destination"},
		{name: "dane-only, no DNSSEC", set: level("dane-only", "smtp_dns_support_level", "enabled"), tlsa: "match", fails: "client TLS configuration problem"},
	}
}

// enforcement are the values of smtp_requiretls_policy. The default one enforces for
// a domain that is not $mydomain.
var enforcement = map[string]reqtls.Level{
	"enforce": reqtls.Enforce, "opportunistic+starttls": reqtls.StartTLS, "opportunistic": reqtls.Opportunistic,
	"disable": reqtls.Disable, "nonsense": reqtls.Failed, "": reqtls.Enforce,
}

// foretold is what must become of a message.
type foretold struct {
	word, code, field, reason string
	mail                      string // as of mailSince
}

func (f foretold) String() string {
	return fmt.Sprintf("%s %s tls=%s (%s) MAIL FROM %q", f.word, f.code, f.field, f.reason, f.mail)
}

// foretell goes the way of a client with the facts of the tables.
func foretell(k *kind, r *regime, level reqtls.Level) foretold {
	if r.fails != "" {
		return failed("4.7.5", reqtls.Field(tlspolicy.Unknown(), reqtls.Undecided(level)), r.fails)
	}
	v, f := course(k, r, level)
	if strings.HasPrefix(v.Status.Code, "lost") {
		return failed("4.4.2", v.TLSField(), v.Status.Reason)
	}
	if v.Action == tlspolicy.Skip {
		return failed(v.Status.Code, v.TLSField(), v.Status.Reason)
	}
	ret, how := " RET=FULL", "clear"
	if v.HeadersOnly {
		ret = " RET=HDRS"
	}
	if v.Say {
		ret += " REQUIRETLS"
	}
	if f.Secured {
		how = "tls"
	}
	return foretold{word: "sent", code: "2.0.0", field: v.TLSField(), reason: "250 2.0.0 queued", mail: how + ": <from@a.test>" + ret}
}

func failed(code, field, reason string) foretold {
	word := "deferred"
	if code[0] == '5' {
		word = "bounced"
	}
	return foretold{word: word, code: code, field: field, reason: reason}
}

// course asks for the verdicts one after the other; a connection that ends has the
// code "lost".
func course(k *kind, r *regime, level reqtls.Level) (reqtls.Verdict, reqtls.Facts) {
	p := &tlspolicy.Policy{Initial: r.level, Level: r.level, HostAuthentic: !r.forgeable,
		Names: []tlspolicy.Name{{Text: "mx.b.test", Authentic: !r.forgeable}}}
	f := reqtls.Facts{Nexthop: "b.test", Name: "mx.b.test"}
	f.Host, f.MayRetry = "mx.b.test[127.0.0.1]", k.old
	v := reqtls.Decide(level, p, f)
	if v.Action == tlspolicy.Skip {
		return v, f
	}
	lost := func(while string) (reqtls.Verdict, reqtls.Facts) {
		v.Status = dsn.Status{Code: "lost", Reason: "lost connection with mx.b.test[127.0.0.1] while " + while}
		return v, f
	}
	f.Stage, f.Offered = tlspolicy.Greeted, strings.Contains(k.clear, "STARTTLS")
	if v = reqtls.Decide(level, p, f); v.Action != tlspolicy.StartTLS {
		if v.Action == tlspolicy.Plaintext && k.lostInTheClear != "" {
			return lost(k.lostInTheClear)
		}
		return v, f
	}
	if k.refusal.Code != "" {
		f.Stage, f.Reply = tlspolicy.Refused, k.refusal
		return reqtls.Decide(level, p, f), f
	}
	if k.broken {
		f.Stage = tlspolicy.Broken
		if v = reqtls.Decide(level, p, f); v.Action == tlspolicy.Reconnect {
			f.Stage, f.Offered = tlspolicy.Greeted, false
			v = reqtls.Decide(level, p, f)
		}
		return v, f
	}
	if k.lost != "" && k.cert == "" {
		return lost(k.lost)
	}
	f.Stage, f.Secured, f.Peer.Present = tlspolicy.Encrypted, true, true
	f.Peer.Matched, f.Peer.Trusted = r.fits(k.cert)
	f.Peer.Authentic = f.Peer.Matched && !r.forgeable
	if v = reqtls.Decide(level, p, f); v.Action != tlspolicy.Go {
		return v, f
	}
	if k.lost != "" {
		return lost(k.lost)
	}
	f.Ready, f.Announced = true, strings.Contains(k.secret, "REQUIRETLS")
	return reqtls.Decide(level, p, f), f
}

// mayMail is RFC 8689 §4.2.1 in the words of its text, without any of our functions:
// whether a server of this kind may see MAIL FROM.
func mayMail(k *kind, r *regime, level reqtls.Level) bool {
	matched := false
	if r.fits != nil {
		matched, _ = r.fits(k.cert)
	}
	underTLS := strings.Contains(k.clear, "STARTTLS") && k.cert != "" && r.level != tlspolicy.None
	switch level {
	case reqtls.Enforce:
		return underTLS && matched && !r.forgeable && strings.Contains(k.secret, "REQUIRETLS")
	case reqtls.StartTLS:
		return underTLS
	case reqtls.Failed:
		return false
	}
	return true
}

// site is one kind of server with the DNS that the regimes need.
type site struct {
	*kind
	server *server
	dns    map[string]*dnstest.Server // by the regime's name
}

func (x *secure) site(t *testing.T, k *kind) *site {
	sc := script{ehlo: k.clear, secret: k.secret, on: k.on, inside: k.inside}
	if k.cert != "" {
		sc.tls = x.behaviour(k.cert).tls
	}
	return &site{kind: k, server: serve(t, sc), dns: map[string]*dnstest.Server{}}
}

// names is the name server for a regime.
func (s *site) names(t *testing.T, x *secure, r *regime) *dnstest.Server {
	if srv, ok := s.dns[r.name]; ok {
		return srv
	}
	records := map[string][]string{"match": {"3 1 1 " + ca.SPKI(x.leaf(s.cert))},
		"mismatch": {"3 1 1 " + strings.Repeat("ab", 32)}, "unusable": {"7 1 1 " + strings.Repeat("ab", 32)}}[r.tlsa]
	conf := dnstest.Config{Authentic: []string{"*"}, Zone: zone(s.server.port(), records...)}
	if r.signed != nil {
		conf.Authentic = nil
		for _, name := range r.signed {
			conf.Authentic = append(conf.Authentic, strings.Replace(name, "TLSA", "_"+s.server.port()+"._tcp.mx.b.test", 1))
		}
	}
	s.dns[r.name] = dnstest.New(t, conf)
	return s.dns[r.name]
}

// deliver sends a message with the request and tells what became of it.
func (s *site) deliver(t *testing.T, x *secure, r *regime, policy string) (foretold, *fixture) {
	values := map[string]string{"smtp_tls_CAfile": x.file, "mydomain": "c.test"}
	if policy != "" {
		values["smtp_requiretls_policy"] = policy
	}
	maps.Copy(values, r.set)
	f := newFixture(t, "smtp", values, resolver(t, s.names(t, x, r)))
	req := request("b.test:"+s.server.port(), "a@b.test")
	req.SendOpts, req.Ret = sendopts.RequireTLSESMTP, dsn.RetFull
	req.Stats.ActiveArrival = time.Now()
	req.Stats.IncomingArrival = req.Stats.ActiveArrival
	if s.old {
		req.Stats.IncomingArrival = req.Stats.ActiveArrival.Add(-time.Hour)
	}
	mark := s.server.mark()
	out := f.run(t, req)
	word, _, _ := strings.Cut(strings.TrimPrefix(out.String(), "a@b.test "), " ")
	o := out.full[0]
	return foretold{word, o.Status.Code, o.TLS, o.Status.Reason, s.server.mailSince(mark)}, f
}

func TestEveryServerAtEveryLevel(t *testing.T) {
	x := newSecure(t)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := x.site(t, &k)
			for _, r := range x.regimes() {
				for _, policy := range slices.Sorted(maps.Keys(enforcement)) {
					level := enforcement[policy]
					want := foretell(&k, &r, level)
					got, f := s.deliver(t, x, &r, policy)
					if k.lostInTheClear != "" {
						want.mail = got.mail // the server hangs up on it
					}
					if got != want {
						t.Errorf("%s, %s:\n got %s\nwant %s\nlog: %s", r.name, policy, got, want, f.logged())
					}
					if got.mail != "" && !mayMail(&k, &r, level) {
						t.Errorf("%s, %s: MAIL FROM must not be said: %s", r.name, policy, got.mail)
					}
				}
			}
		})
	}
}
