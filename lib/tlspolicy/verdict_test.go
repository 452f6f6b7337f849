package tlspolicy

import (
	"fmt"
	"testing"

	"sealpost/lib/dsn"
)

// The second half of the decision table: level x what the server did -> action,
// status, and the slot of the tls= field. With REQUIRETLS demanding TLS ("!") no
// level goes on in the clear.
func TestDecisionTable(t *testing.T) {
	const (
		notOffered = "4.7.4 TLS is required, but was not offered by host mx.test[192.0.2.1]"
		refused    = "4.3.0 TLS is required, but host mx.test[192.0.2.1] refused to start TLS: 454 4.3.0 later"
		handshake  = "4.7.5 Cannot start TLS: handshake failure"
		noEngine   = "4.7.5 TLS is required, but our TLS engine is unavailable"
		unverified = "4.7.5 Server certificate not verified"
		disabled   = "4.7.4 TLS is required, but our configuration disables it for host mx.test[192.0.2.1]"
		noUse      = "4.7.0 TLS is required, but unavailable"
	)
	none, offered := Facts{Stage: Greeted}, Facts{Stage: Greeted, Offered: true}
	refusal := Facts{Stage: Refused, Offered: true, Reply: dsn.Status{Code: "4.3.0", Reason: "454 4.3.0 later"}}
	broken, old := Facts{Stage: Broken}, Facts{Stage: Broken, MayRetry: true}
	matched := Facts{Stage: Encrypted, Peer: Peer{Present: true, Trusted: true, Matched: true}}
	trusted := Facts{Stage: Encrypted, Peer: Peer{Present: true, Trusted: true}}
	nobody := Facts{Stage: Encrypted}
	unusable := Facts{Stage: Encrypted, Peer: Peer{Present: true, Unusable: true}}
	engine := Facts{Stage: Greeted, Offered: true, NoEngine: true}
	demand := func(f Facts) Facts { f.Demanded = true; return f }
	type row struct {
		levels []Level
		name   string
		facts  Facts
		action Action
		status string
		slot   string // with L for the level
	}
	all := []Level{None, May, Encrypt, Fingerprint, HalfDANE, DANE, DANEOnly, Verify, Secure}
	mandatory, matching := all[2:], all[3:]
	only := func(l ...Level) []Level { return l }
	rows := []row{
		{levels: only(None), name: "before", facts: Facts{}, action: Plaintext, slot: "L?"},
		{levels: only(None), name: "before, demanded", facts: demand(Facts{}), action: Skip, status: disabled, slot: "L?"},
		{levels: all[1:], name: "before", facts: Facts{}, action: StartTLS, slot: "L?"},

		{levels: only(None), name: "not offered", facts: none, action: Plaintext, slot: "L"},
		{levels: only(None), name: "offered", facts: offered, action: Plaintext, slot: "L"},
		{levels: only(None), name: "offered, demanded", facts: demand(offered), action: Skip, status: noUse, slot: "L?"},
		{levels: only(May), name: "not offered", facts: none, action: Plaintext, slot: "L:none"},
		{levels: only(May), name: "not offered, demanded", facts: demand(none), action: Skip, status: notOffered, slot: "L?"},
		{levels: mandatory, name: "not offered", facts: none, action: Skip, status: notOffered, slot: "!L"},
		{levels: mandatory, name: "not offered, demanded", facts: demand(none), action: Skip, status: notOffered, slot: "!L"},
		{levels: all[1:], name: "offered", facts: offered, action: StartTLS, slot: "L?"},
		{levels: only(May), name: "no engine", facts: engine, action: Plaintext, slot: "L:none"},
		{levels: mandatory, name: "no engine", facts: engine, action: Skip, status: noEngine, slot: "L?"},

		{levels: only(May), name: "refused", facts: refusal, action: Plaintext, slot: "L:none"},
		{levels: only(May), name: "refused, demanded", facts: demand(refusal), action: Skip, status: refused, slot: "L?"},
		{levels: mandatory, name: "refused", facts: refusal, action: Skip, status: refused, slot: "!L"},

		{levels: only(May), name: "broken handshake", facts: broken, action: Skip, status: handshake, slot: "L?"},
		{levels: only(May), name: "broken handshake, old message", facts: old, action: Reconnect, slot: "L?"},
		{levels: only(May), name: "broken handshake, old message, demanded", facts: demand(old), action: Skip, status: handshake, slot: "L?"},
		{levels: mandatory, name: "broken handshake", facts: broken, action: Skip, status: handshake, slot: "L?"},
		{levels: mandatory, name: "broken handshake, old message", facts: old, action: Skip, status: handshake, slot: "L?"},

		{levels: only(May, Encrypt), name: "no certificate", facts: nobody, action: Go, slot: "L"},
		{levels: only(May, Encrypt), name: "matched", facts: matched, action: Go, slot: "L"},
		{levels: matching, name: "matched", facts: matched, action: Go, slot: "L"},
		{levels: matching, name: "trusted, not matched", facts: trusted, action: Skip, status: unverified, slot: "!L"},
		{levels: matching, name: "no certificate", facts: nobody, action: Skip, status: unverified, slot: "!L"},
		{levels: only(HalfDANE, DANE), name: "records prove unusable", facts: unusable, action: Go, slot: "L:encrypt"},
		{levels: only(Fingerprint, DANEOnly, Verify, Secure), name: "records prove unusable", facts: unusable, action: Skip, status: unverified, slot: "!L"},
		{levels: only(None), name: "encrypted all the same", facts: matched, action: Skip, status: noUse, slot: "L?"},
		{levels: all, name: "a stage that does not exist", facts: Facts{Stage: 99}, action: Skip, status: noUse, slot: "L?"},
	}
	for _, r := range rows {
		for _, level := range r.levels {
			t.Run(fmt.Sprintf("%s %s", level, r.name), func(t *testing.T) {
				f := r.facts
				f.Host = "mx.test[192.0.2.1]"
				p := &Policy{Initial: level, Level: level}
				v := p.Decide(f)
				status := ""
				if v.Status.Code != "" {
					status = v.Status.Code + " " + v.Status.Reason
				}
				if v.Action != r.action || status != r.status || v.Slot.String() != withLevel(r.slot, level) {
					t.Errorf("%s %q %s, want %s %q %s", v.Action, status, v.Slot, r.action, r.status, withLevel(r.slot, level))
				}
			})
		}
	}
}

func withLevel(slot string, l Level) string {
	text := ""
	for _, c := range slot {
		if c == 'L' {
			text += l.String()
		} else {
			text += string(c)
		}
	}
	return text
}

// Whatever the facts are: nothing goes in the clear where the level or the message
// forbids it, and nothing goes over a connection that a matching level did not
// match.
func TestNoFactsLeadIntoTheClear(t *testing.T) {
	bits := []func(*Facts, bool){
		func(f *Facts, on bool) { f.Offered = on },
		func(f *Facts, on bool) { f.NoEngine = on },
		func(f *Facts, on bool) { f.MayRetry = on },
		func(f *Facts, on bool) { f.Demanded = on },
		func(f *Facts, on bool) { f.Peer.Present = on },
		func(f *Facts, on bool) { f.Peer.Trusted = on },
		func(f *Facts, on bool) { f.Peer.Matched = on },
		func(f *Facts, on bool) { f.Peer.Unusable = on },
	}
	for level := None; level <= Secure; level++ {
		for stage := Before; stage <= Encrypted+1; stage++ {
			for mask := range 1 << len(bits) {
				f := Facts{Stage: stage}
				for i, set := range bits {
					set(&f, mask>>i&1 == 1)
				}
				p := &Policy{Level: level}
				v := p.Decide(f)
				inClear := v.Action == Plaintext || v.Action == Reconnect
				if inClear && (level.Mandatory() || f.Demanded) {
					t.Fatalf("%s, %+v: %s", level, f, v.Action)
				}
				unusable := (level == DANE || level == HalfDANE) && f.Peer.Unusable
				if v.Action == Go && (level == None || stage != Encrypted || level.MatchesCertificate() && !f.Peer.Matched && !unusable) {
					t.Fatalf("%s, %+v: goes on", level, f)
				}
				if (v.Action == Skip) != (v.Status.Code != "") {
					t.Fatalf("%s, %+v: %s with status %q", level, f, v.Action, v.Status.Code)
				}
			}
		}
	}
}

func TestThrottling(t *testing.T) {
	for level := None; level <= Secure; level++ {
		p := &Policy{Level: level}
		if got, want := p.Decide(Facts{Stage: Broken}).Throttle, level != May; got != want {
			t.Errorf("%s, broken handshake: %v", level, got)
		}
	}
}

func TestRefusalWithoutUsableCode(t *testing.T) {
	p := &Policy{Level: Encrypt}
	for _, code := range []string{"", "2.0.0", "nonsense"} {
		if v := p.Decide(Facts{Stage: Refused, Reply: dsn.Status{Code: code}}); v.Status.Code != "4.7.4" {
			t.Errorf("%q: %q", code, v.Status.Code)
		}
	}
}

func TestLevelNames(t *testing.T) {
	for level := None; level <= Secure; level++ {
		got, ok := ParseLevel(level.String())
		if ok != (level != HalfDANE) || ok && got != level {
			t.Errorf("%s: %s, %v", level, got, ok)
		}
	}
	if _, ok := ParseLevel(""); ok {
		t.Error("an empty level")
	}
	if Level(99).String() != "unknown" || Unknown().String() != "unknown?" || (Slot{}).String() != "" {
		t.Error("unknown levels")
	}
}
