package maillog

import (
	"testing"
	"time"

	"sealpost/lib/mailproto"
)

func TestAppendDelay(t *testing.T) {
	for _, tt := range []struct {
		d        time.Duration
		decimals int
		want     string
	}{
		{-time.Second, 2, "0"},
		{0, 2, "0"},
		{4 * time.Millisecond, 2, "0"},
		{5 * time.Millisecond, 2, "0.01"},
		{50 * time.Millisecond, 2, "0.05"},
		{100 * time.Millisecond, 2, "0.1"},
		{123 * time.Millisecond, 2, "0.12"},
		{190 * time.Millisecond, 2, "0.19"},
		{994 * time.Millisecond, 2, "0.99"},
		{996 * time.Millisecond, 2, "1"},
		{1040 * time.Millisecond, 2, "1"},
		{1060 * time.Millisecond, 2, "1.1"},
		{1200 * time.Millisecond, 2, "1.2"},
		{9940 * time.Millisecond, 2, "9.9"},
		{9960 * time.Millisecond, 2, "10"},
		{12499 * time.Millisecond, 2, "12"},
		{12500 * time.Millisecond, 2, "13"},
		{43 * time.Second, 2, "43"},
		{1234 * time.Microsecond, 6, "0.0012"},
		{12 * time.Microsecond, 6, "0.000012"},
		{400 * time.Millisecond, 0, "0"},
		{600 * time.Millisecond, 0, "1"},
		{1600 * time.Millisecond, 0, "2"},
	} {
		if got := string(AppendDelay(nil, tt.d, tt.decimals)); got != tt.want {
			t.Errorf("%v with %d decimals: %s, want %s", tt.d, tt.decimals, got, tt.want)
		}
	}
}

func TestDeliveryText(t *testing.T) {
	ms := func(n int) time.Time {
		if n < 0 {
			return time.Time{}
		}
		return at.Add(time.Duration(n) * time.Millisecond)
	}
	stats := func(active, handoff, conn, done, reuse int) mailproto.MsgStats {
		return mailproto.MsgStats{
			IncomingArrival: at, ActiveArrival: ms(active), AgentHandoff: ms(handoff),
			ConnSetupDone: ms(conn), DeliverDone: ms(done), ReuseCount: reuse,
		}
	}
	for _, tt := range []struct {
		name string
		d    Delivery
		want string
	}{
		{"smtp", Delivery{
			QueueID: "99AD89C052C", To: "bob@virt.example", Relay: "127.0.0.2[127.0.0.2]:3527", Stats: stats(80, 220, 230, 230, 1),
			TLS: "may?", DSN: "2.0.0", Status: StatusSent, Reason: "250 2.0.0 Ok: stored as 0007-2",
		}, "99AD89C052C: to=<bob@virt.example>, relay=127.0.0.2[127.0.0.2]:3527, conn_use=2, delay=0.23, " +
			"delays=0.08/0.14/0.01/0, tls=may?, dsn=2.0.0, status=sent (250 2.0.0 Ok: stored as 0007-2)"},
		{"alias", Delivery{
			QueueID: "A", To: "bob@virt.example", OrigTo: "info@valias.example", Relay: "virtual", Stats: stats(40, 60, -1, 70, 0),
			DSN: "2.0.0", Status: StatusSent, Reason: "delivered to maildir",
		}, "A: to=<bob@virt.example>, orig_to=<info@valias.example>, relay=virtual, delay=0.07, delays=0.04/0.02/0/0.01, " +
			"dsn=2.0.0, status=sent (delivered to maildir)"},
		{"same address in other letters", Delivery{
			QueueID: "A", To: "bob@virt.example", OrigTo: "Bob@VIRT.example", Relay: "none", Stats: stats(0, 0, 0, 0, 0),
			DSN: "4.4.1", Status: StatusDeferred, Reason: "x",
		}, "A: to=<bob@virt.example>, relay=none, delay=0, delays=0/0/0/0, dsn=4.4.1, status=deferred (x)"},
		{"by cleanup, before qmgr", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: stats(-1, -1, -1, -1, 0), Now: ms(60),
			DSN: "5.7.1", Status: StatusBounced, Reason: "no thanks",
		}, "A: to=<b>, relay=none, delay=0.06, delays=0.06/0/0/0, dsn=5.7.1, status=bounced (no thanks)"},
		{"by qmgr, before an agent", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: stats(50, -1, -1, -1, 0), Now: ms(80),
			DSN: "4.7.0", Status: StatusDeferred, Reason: "r",
		}, "A: to=<b>, relay=none, delay=0.08, delays=0.05/0.03/0/0, dsn=4.7.0, status=deferred (r)"},
		{"clock set back", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: mailproto.MsgStats{IncomingArrival: at.Add(time.Hour), ActiveArrival: at, DeliverDone: at},
			DSN: "2.0.0", Status: StatusSent, Reason: "r",
		}, "A: to=<b>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (r)"},
		{"six decimals", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: stats(1, 1, 1, 1, 0), Decimals: 7,
			DSN: "2.0.0", Status: StatusSent, Reason: "r",
		}, "A: to=<b>, relay=none, delay=0.001, delays=0.001/0/0/0, dsn=2.0.0, status=sent (r)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.d.AppendText(nil)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			for _, f := range tt.d.Fields() {
				if f.Key == "" || f.Value == nil {
					t.Errorf("field %+v", f)
				}
			}
		})
	}
}
