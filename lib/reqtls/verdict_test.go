package reqtls

import (
	"os"
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/tlspolicy"
)

// policyOf is a policy of one level with a name that is, or is not, authentic.
func policyOf(level tlspolicy.Level, authentic bool) *tlspolicy.Policy {
	return &tlspolicy.Policy{Initial: level, Level: level, HostAuthentic: authentic,
		Names: []tlspolicy.Name{{Text: "mx.example", Origin: tlspolicy.Hostname, Authentic: authentic}}}
}

// server is how a server behaves.
type server struct {
	offers, refuses, broken bool
	peer                    tlspolicy.Peer
	announces               bool
	announcesInTheClear     bool
}

const hostText = "mx.example[192.0.2.1]"

// offer goes the way of a client to a server, and ends with the verdict that
// counts: Go or Plaintext before MAIL FROM, or Skip.
func offer(level Level, p *tlspolicy.Policy, srv server) (Verdict, Facts) {
	f := Facts{Nexthop: "dest.example", Name: "mx.example"}
	f.Host = hostText
	v := Decide(level, p, f)
	if v.Action != tlspolicy.StartTLS && v.Action != tlspolicy.Plaintext {
		return v, f
	}
	f.Stage, f.Offered, f.Announced = tlspolicy.Greeted, srv.offers, srv.announcesInTheClear
	v = Decide(level, p, f)
	if v.Action != tlspolicy.StartTLS {
		return v, f
	}
	if srv.refuses {
		f.Stage, f.Reply = tlspolicy.Refused, dsn.Status{Code: "4.7.0", Reason: "454 4.7.0 not now"}
		return Decide(level, p, f), f
	}
	if srv.broken {
		f.Stage = tlspolicy.Broken
		return Decide(level, p, f), f
	}
	f.Stage, f.Peer, f.Secured = tlspolicy.Encrypted, srv.peer, true
	if v = Decide(level, p, f); v.Action != tlspolicy.Go {
		return v, f
	}
	f.Ready, f.Announced = true, srv.announces
	return Decide(level, p, f), f
}

var (
	matched   = tlspolicy.Peer{Present: true, Trusted: true, Matched: true, Name: "mx.example", Authentic: true}
	forgeable = tlspolicy.Peer{Present: true, Trusted: true, Matched: true, Name: "mx.example"}
	wrongName = tlspolicy.Peer{Present: true, Trusted: true}
	untrusted = tlspolicy.Peer{Present: true}
	unusable  = tlspolicy.Peer{Present: true, Unusable: true}
)

// What Postfix was seen to do; the column of the default policy with an address
// is that of "opportunistic".
func TestObservedDecisions(t *testing.T) {
	text, err := os.ReadFile("testdata/decisions.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") {
			continue // the head
		}
		if len(f) != 8 {
			t.Fatalf("%q: %d fields", line, len(f))
		}
		rows++
		field, code, status, reason := f[4], f[5], f[6], f[7]
		gotField, gotCode, gotStatus, gotReason := observed(f[0], f[1], f[2])
		if gotField != field || gotCode != code || gotStatus != status || gotReason != reason {
			t.Errorf("%s, %s, %s:\n got %s %s %s %s\nwant %s %s %s %s", f[0], f[1], f[2],
				gotField, gotCode, gotStatus, gotReason, field, code, status, reason)
		}
	}
	if rows != 198 {
		t.Errorf("%d rows, want 198", rows)
	}
}

// observed is what the functions make of a row. The destination of the recordings
// is an address literal: no lookup led to it, so that its name is authentic.
func observed(srvText, levelText, policyText string) (field, code, status, reason string) {
	srv := server{offers: strings.HasPrefix(srvText, "STARTTLS"), announces: srvText == "STARTTLS,REQUIRETLS", peer: matched}
	name, detail, _ := strings.Cut(levelText, "(")
	level, _ := tlspolicy.ParseLevel(name)
	switch strings.TrimSuffix(detail, ")") {
	case "mismatch", "untrusted":
		srv.peer = untrusted
	case "name-mismatch":
		srv.peer = wrongName
	case "dnssec-disabled->may":
		level = tlspolicy.May
	case "dnssec-disabled":
		enforcement := levelNames[policyText]
		if strings.HasPrefix(policyText, "(default") {
			enforcement = Opportunistic
		} else if strings.HasPrefix(policyText, "nonsense") {
			enforcement = Failed
		}
		return Field(tlspolicy.Unknown(), Undecided(enforcement)), "4.7.5", "deferred", "client TLS configuration problem"
	}
	enforcement := Opportunistic
	switch {
	case strings.HasPrefix(policyText, "nonsense"):
		enforcement = Failed
	case !strings.HasPrefix(policyText, "(default"):
		enforcement = levelNames[policyText]
	}
	v, _ := offer(enforcement, policyOf(level, true), srv)
	text := func(s string) string {
		return strings.NewReplacer(hostText, "127.0.0.1[127.0.0.1]", "mx.example", "127.0.0.1").Replace(s)
	}
	switch {
	case v.Action != tlspolicy.Skip:
		return v.TLSField(), "2.0.0", "sent", "250 2.0.0 queued"
	case v.Status.Code[0] == '5':
		return v.TLSField(), v.Status.Code, "bounced", text(v.Status.Reason)
	}
	return v.TLSField(), v.Status.Code, "deferred", text(v.Status.Reason)
}

// Where Sealpost differs from Postfix on purpose, and what no recording shows.
func TestDecisions(t *testing.T) {
	good := server{offers: true, announces: true, peer: matched}
	with := func(change func(*server)) server { s := good; change(&s); return s }
	const notSecure = "Sender requested REQUIRETLS, but the MX lookup for dest.example was not secure. The last attempted server was "
	tests := []struct {
		name      string
		level     Level
		tls       tlspolicy.Level
		authentic bool
		srv       server
		action    tlspolicy.Action
		field     string
		code      string
		reason    string
		say       bool
		headers   bool
	}{
		{"all there", Enforce, tlspolicy.DANE, true, good, tlspolicy.Go, "dane/requiretls", "", "", true, false},
		{"name from unsigned DNS", Enforce, tlspolicy.Verify, false, good, tlspolicy.Skip, "verify?/!requiretls:nosecuremx", "5.7.10", notSecure + "mx.example", false, false},
		{"halfdane", Enforce, tlspolicy.HalfDANE, false, good, tlspolicy.Skip, "halfdane?/!requiretls:nosecuremx", "5.7.10", notSecure + "mx.example", false, false},
		{"the TLS level comes first", Enforce, tlspolicy.May, false, good, tlspolicy.Skip, "may?/!requiretls:nocertmatch", "5.7.10",
			"Sender requested REQUIRETLS, but my configured TLS security level 'may' disables certificate matching. The last attempted server was mx.example", false, false},
		{"an authentic name was expected, another one matched", Enforce, tlspolicy.Verify, true, with(func(s *server) { s.peer = forgeable }),
			tlspolicy.Skip, "verify/!requiretls:nosecuremx", "5.7.10", notSecure + hostText, false, false},
		{"level 2 with an unsigned name", StartTLS, tlspolicy.Verify, false, with(func(s *server) { s.peer = forgeable }), tlspolicy.Go, "verify/requiretls:nosecuremx", "", "", true, false},
		{"level 1 with an unsigned name", Opportunistic, tlspolicy.HalfDANE, false, with(func(s *server) { s.peer = forgeable }), tlspolicy.Go, "halfdane/requiretls:nosecuremx", "", "", true, false},
		{"records that nobody can use", Enforce, tlspolicy.DANE, true, with(func(s *server) { s.peer = unusable }), tlspolicy.Skip, "dane:encrypt/!requiretls:nocertmatch", "5.7.10",
			"Sender requested REQUIRETLS, but no trusted server certificate was found. The last attempted server was " + hostText, false, false},
		{"the same at level 2", StartTLS, tlspolicy.DANE, true, with(func(s *server) { s.peer = unusable }), tlspolicy.Go, "dane:encrypt/requiretls:nocertmatch", "", "", true, false},
		{"broken handshake", Enforce, tlspolicy.DANE, true, with(func(s *server) { s.broken = true }), tlspolicy.Skip, "dane?/requiretls?", "4.7.5", "Cannot start TLS: handshake failure", false, false},
		{"broken handshake at level may", StartTLS, tlspolicy.May, true, with(func(s *server) { s.broken = true }), tlspolicy.Skip, "may?/requiretls?", "4.7.5", "Cannot start TLS: handshake failure", false, false},
		{"STARTTLS is refused", Enforce, tlspolicy.DANE, true, with(func(s *server) { s.refuses = true }), tlspolicy.Skip, "!dane/!requiretls:nostarttls", "5.7.10",
			"Sender requested REQUIRETLS, but host " + hostText + " refused to start TLS: 454 4.7.0 not now", false, false},
		{"STARTTLS is refused at level may", StartTLS, tlspolicy.May, true, with(func(s *server) { s.refuses = true }), tlspolicy.Skip, "may?/!requiretls:nostarttls", "5.7.10",
			"Sender requested REQUIRETLS, but host " + hostText + " refused to start TLS: 454 4.7.0 not now", false, false},
		{"STARTTLS is refused, nothing demands it", Opportunistic, tlspolicy.May, true, with(func(s *server) { s.refuses = true }), tlspolicy.Plaintext, "may:none/requiretls:none", "", "", false, true},
		{"REQUIRETLS in the clear", Opportunistic, tlspolicy.None, true, server{announcesInTheClear: true}, tlspolicy.Plaintext, "none/requiretls:none", "", "", false, true},
		{"REQUIRETLS in the clear only", Enforce, tlspolicy.DANE, true, with(func(s *server) { s.announces, s.announcesInTheClear = false, true }), tlspolicy.Skip, "dane/!requiretls:none", "5.7.30",
			"Sender requested REQUIRETLS, but no server was found that supports REQUIRETLS. The last attempted server was " + hostText, false, false},
		{"nobody asked", Disable, tlspolicy.Verify, false, good, tlspolicy.Go, "verify", "", "", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, _ := offer(tt.level, policyOf(tt.tls, tt.authentic), tt.srv)
			if v.Action != tt.action || v.TLSField() != tt.field || v.Say != tt.say || v.HeadersOnly != tt.headers {
				t.Errorf("%s, tls=%s, say %t, headers only %t", v.Action, v.TLSField(), v.Say, v.HeadersOnly)
			}
			if tt.action == tlspolicy.Skip && (v.Status.Code != tt.code || v.Status.Reason != tt.reason) {
				t.Errorf("%s %s\nwant %s %s", v.Status.Code, v.Status.Reason, tt.code, tt.reason)
			}
		})
	}
}

// A request that fails does not make its destination wait (decision 8).
func TestRefusalsDoNotThrottle(t *testing.T) {
	for _, level := range []Level{Failed, Enforce} {
		for _, srv := range []server{{}, {offers: true, peer: untrusted}, {offers: true, peer: matched}} {
			if v, _ := offer(level, policyOf(tlspolicy.Secure, true), srv); v.Throttle {
				t.Errorf("%s, %+v: throttled", level, srv)
			}
		}
	}
}

func TestNotes(t *testing.T) {
	p := policyOf(tlspolicy.May, true)
	f := Facts{Name: "mx.example"}
	f.Host = hostText
	want := "Sender requested REQUIRETLS, but my configured TLS security level 'may' disables certificate matching. The last attempted server was mx.example"
	if v := Decide(StartTLS, p, f); v.Note != want || v.Action != tlspolicy.StartTLS {
		t.Errorf("%s %q", v.Action, v.Note)
	}
	v, _ := offer(Opportunistic, p, server{offers: true, peer: untrusted})
	if want := "Sender requested REQUIRETLS, but REQUIRETLS support was not offered by host " + hostText; v.Note != want {
		t.Errorf("%q", v.Note)
	}
}

// Whatever a server does: at Enforce MAIL FROM is said only where STARTTLS, an
// authentic name, a certificate that matched, and REQUIRETLS under TLS were all
// there; and Permits, which does not build on Decide, says the same.
func FuzzInvariant(f *testing.F) {
	f.Add(3, 5, uint16(0xffff))
	f.Add(3, 7, uint16(0x0f0f))
	f.Add(2, 1, uint16(0x0003))
	f.Add(-1, 8, uint16(0x1234))
	f.Fuzz(func(t *testing.T, lev, tlsLevel int, bits uint16) {
		level := Level((lev%5+5)%5 - 1)
		tl := tlspolicy.Level((tlsLevel%9 + 9) % 9)
		bit := func(n int) bool { return bits>>n&1 == 1 }
		srv := server{offers: bit(0), refuses: bit(1), broken: bit(2), announces: bit(3), announcesInTheClear: bit(4),
			peer: tlspolicy.Peer{Present: bit(5), Trusted: bit(6), Matched: bit(7), Authentic: bit(8), Unusable: bit(9)}}
		p := policyOf(tl, bit(10))
		v, facts := offer(level, p, srv)
		sends := v.Action == tlspolicy.Go || v.Action == tlspolicy.Plaintext
		if v.Action == tlspolicy.StartTLS {
			t.Fatal("the last verdict asks for more")
		}
		if !sends {
			if v.Say || v.Status.Reason == "" || !dsn.ValidCode(v.Status.Code) || v.Status.Code[0] == '2' {
				t.Fatalf("refused with %+v", v)
			}
			return
		}
		if !Permits(level, p, facts) {
			t.Fatalf("%s, %s: sends where it is not permitted: %+v", level, tl, facts)
		}
		if v.Say && !(facts.Secured && facts.Announced) {
			t.Fatalf("REQUIRETLS is said to a server that did not announce it under TLS")
		}
		if level == Enforce {
			complies := srv.offers && !srv.refuses && !srv.broken && srv.peer.Matched && srv.peer.Authentic && srv.announces && tl.MatchesCertificate()
			if !complies || !v.Say || v.TLSField() != tl.String()+"/requiretls" {
				t.Fatalf("%s: sent as tls=%s, say %t, to %+v", tl, v.TLSField(), v.Say, srv)
			}
		}
		if level.DemandsTLS() && !facts.Secured {
			t.Fatalf("%s: sent in the clear", level)
		}
	})
}
