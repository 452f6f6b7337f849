package tlspolicy

import (
	"context"
	"os"
	"strings"
	"testing"
)

// What Postfix was seen to do for each server and level, from Lookup to the last
// verdict before MAIL FROM.
func TestObservedDeliveries(t *testing.T) {
	text, err := os.ReadFile("testdata/observed.tsv")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 7 {
			t.Fatalf("%q: %d fields", line, len(f))
		}
		n++
		server, level, slot, code, reason := f[0], f[1], f[3], f[4], f[6]
		if f[5] == "sent" {
			code, reason = "", ""
		}
		t.Run(server+" "+level, func(t *testing.T) {
			gotSlot, gotCode, gotReason := deliver(t, server, level)
			if gotSlot != slot || gotCode != code || gotReason != reason {
				t.Errorf("tls=%s %s %q, want tls=%s %s %q", gotSlot, gotCode, gotReason, slot, code, reason)
			}
		})
	}
	if n < 30 {
		t.Errorf("%d recordings", n)
	}
}

// deliver goes the way of a client to a scripted server.
func deliver(t *testing.T, server, level string) (slot, code, reason string) {
	name, detail, _ := strings.Cut(level, "(")
	set := defaults(name)
	set.DNSSEC = false
	set.Fingerprints = []string{strings.Repeat("00", 32)}
	p, err := New(set, Tables{}, nil).Lookup(context.Background(), Site{Nexthop: "[127.0.0.1]", Domain: "127.0.0.1", Host: "127.0.0.1", Port: 25})
	if err != nil {
		return Unknown().String(), err.(*Error).Status.Code, err.(*Error).Status.Reason
	}
	f := Facts{Host: "127.0.0.1[127.0.0.1]", Stage: Before}
	v := p.Decide(f)
	if v.Action == StartTLS || v.Action == Plaintext {
		f.Stage, f.Offered = Greeted, strings.HasPrefix(server, "STARTTLS")
		v = p.Decide(f)
	}
	if v.Action == StartTLS {
		f.Stage = Encrypted
		f.Peer = Peer{Present: true, Trusted: !strings.HasPrefix(detail, "untrusted"), Matched: strings.HasPrefix(detail, "match)")}
		v = p.Decide(f)
	}
	return v.Slot.String(), v.Status.Code, v.Status.Reason
}
