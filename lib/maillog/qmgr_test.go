package maillog

import "testing"

func TestQmgrLines(t *testing.T) {
	for want, e := range map[string]Event{
		"A1: from=<a@b.example>, size=353, nrcpt=2 (queue active)":         &QueueActive{"A1", "a@b.example", 353, 2},
		"A1: from=<>, size=1, nrcpt=1 (queue active)":                      &QueueActive{"A1", "", 1, 1},
		"A1: from=<a@b.example>, status=expired, returned to sender":       &Expired{"A1", "a@b.example", false},
		"A1: from=<a@b.example>, status=force-expired, returned to sender": &Expired{"A1", "a@b.example", true},
		"A1: skipped, still being delivered":                               &StillDelivering{"A1"},
		"A1: removed":                                                      &Removed{"A1"},
	} {
		if got := string(e.AppendText(nil)); got != want {
			t.Errorf("%s\n\twant %s", got, want)
		}
		if e.Name() == "" || e.Fields()[0] != (Field{"queue_id", "A1"}) {
			t.Errorf("%T: %v", e, e.Fields())
		}
	}
}
