package main

import (
	"testing"

	"sealpost/lib/agent"
	"sealpost/lib/mailproto"
)

func TestReasonAndCode(t *testing.T) {
	for _, c := range []struct {
		service, nexthop, code, reason string
	}{
		{"5.0.0", "5.1.2 no such domain here", "5.1.2", "no such domain here"},
		{"5.0.0", "no code", "5.0.0", "no code"},
		{"5.0.0", "4.1.2 still a bounce", "5.1.2", "still a bounce"},
		{"5.0.0", "5.1.2", "5.1.2", ""},
		{"5.0.0", "5.1.2x not a code", "5.0.0", "5.1.2x not a code"},
		{"4.0.0", "4.4.1 delivery temporarily suspended: refused", "4.4.1", "delivery temporarily suspended: refused"},
		{"4.0.0", "5.7.1 deferred all the same", "4.7.1", "deferred all the same"},
		{"2.0.0", "silently", "2.0.0", "silently"},
	} {
		d := &agent.Delivery{Req: &mailproto.DeliveryRequest{Nexthop: c.nexthop, Recipients: []mailproto.Recipient{{Addr: "a@x"}, {Addr: "b@x"}}}}
		var got []agent.Outcome
		each(d, c.service, func(o agent.Outcome) { got = append(got, o) })
		if len(got) != 2 || got[0].Recipient.Addr != "a@x" || got[1].Recipient.Addr != "b@x" {
			t.Fatalf("%q: outcomes %+v", c.nexthop, got)
		}
		if s := got[0].Status; s.Code != c.code || s.Reason != c.reason || got[0].Relay != "none" {
			t.Errorf("%s %q: %+v, want %s %q", c.service, c.nexthop, got[0], c.code, c.reason)
		}
	}
}
