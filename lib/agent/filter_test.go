package agent

import (
	"context"
	"strings"
	"testing"

	"sealpost/lib/dsn"
)

func TestDeliveryStatusFilter(t *testing.T) {
	sent := dsn.Status{Code: "2.0.0", Reason: "delivered"}
	bounced := dsn.Status{Code: "5.1.1", Reason: "unknown user"}
	deferred := dsn.Status{Code: "4.3.0", Reason: "temporary failure"}
	cases := map[string]struct {
		tables string
		status dsn.Status
		want   string // in the log
		calls  string
		warned bool
	}{
		"nothing found":          {"inline:{ {x = 2.0.0 y} }", sent, "dsn=2.0.0, status=sent (delivered)", "", false},
		"another text":           {"inline:{ {2.0.0 delivered = 2.1.5 done} }", sent, "dsn=2.1.5, status=sent (done)", "", false},
		"permanent to temporary": {"inline:{ {5.1.1 unknown user = 4.1.1 later} }", bounced, "dsn=4.1.1, status=deferred (later)", "defer:delayed", false},
		"temporary to permanent": {"inline:{ {4.3.0 temporary failure = 5.3.0 never} }", deferred, "dsn=5.3.0, status=bounced (never)", "bounce:failed", false},
		"another failure":        {"inline:{ {5.1.1 unknown user = 5.7.1 no} }", bounced, "dsn=5.7.1, status=bounced (no)", "bounce:failed", false},
		"success stays success":  {"inline:{ {2.0.0 delivered = 5.7.1 no} }", sent, "dsn=2.0.0, status=sent (delivered)", "", true},
		"failure stays failure":  {"inline:{ {5.1.1 unknown user = 2.0.0 ok} }", bounced, "dsn=5.1.1, status=bounced (unknown user)", "bounce:failed", true},
		"no code":                {"inline:{ {2.0.0 delivered = ok} }", sent, "dsn=2.0.0, status=sent (delivered)", "", true},
		"a table that fails":     {"fail:no", bounced, "dsn=5.1.1, status=bounced (unknown user)", "bounce:failed", true},
		"a pattern":              {"regexp:{ {/^5(.*) user$$/ 4$$1 account} }", bounced, "dsn=4.1.1, status=deferred (unknown account)", "defer:delayed", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, map[string]string{"default_delivery_status_filter": c.tables})
			f.frame.env.Program = "pipe"
			f.frame.filter = openFilter(f.frame.env)
			f.run(t, func(ctx context.Context, d *Delivery) {
				record := map[byte]func(context.Context, Outcome){'2': d.Sent, '4': d.Deferred, '5': d.Bounced}[c.status.Code[0]]
				record(ctx, Outcome{Recipient: &d.Req.Recipients[0], Relay: "x", Stats: d.Req.Stats, Status: c.status})
			})
			if !strings.Contains(f.log.String(), c.want) || strings.Contains(f.log.String(), "warning: ") != c.warned {
				t.Errorf("log %q, want %q, a warning: %v", f.log, c.want, c.warned)
			}
			if calls := strings.Join(f.rep.calls, " "); calls != c.calls {
				t.Errorf("services called: %s, want %s", calls, c.calls)
			}
		})
	}
}

// TestProgramsWithoutFilter: error and discard have nothing to say that could be
// changed.
func TestProgramsWithoutFilter(t *testing.T) {
	f := newFixture(t, map[string]string{"default_delivery_status_filter": "inline:{ {x = 2.0.0 y} }"})
	for program, want := range map[string]bool{"error": false, "virtual": true, "smtp": true, "lmtp": true, "pipe": true} {
		f.frame.env.Program = program
		if got := openFilter(f.frame.env) != nil; got != want {
			t.Errorf("%s: %v, want %v", program, got, want)
		}
	}
}
