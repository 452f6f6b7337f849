package maillog

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestSmtpdLines: lines that tell where a message came from and what a filter said.
func TestSmtpdLines(t *testing.T) {
	for _, tt := range []struct {
		name   string
		event  Event
		want   string
		fields map[string]any
	}{
		{"a client", &QueueClient{QueueID: "4XYZ", Client: "a[1.2.3.4]"}, "4XYZ: client=a[1.2.3.4]", map[string]any{"client": "a[1.2.3.4]", "orig_client": nil}},
		{"a client and an origin", &QueueClient{QueueID: "4XYZ", Client: "a[1.2.3.4]", SASLMethod: "XCLIENT", SASLUsername: "joe", OrigQueueID: "OLD",
			OrigClient: "b[5.6.7.8]", RequireTLS: true},
			"4XYZ: client=a[1.2.3.4], sasl_method=XCLIENT, sasl_username=joe, orig_queue_id=OLD, orig_client=b[5.6.7.8], requiretls=yes",
			map[string]any{"orig_queue_id": "OLD", "orig_client": "b[5.6.7.8]", "requiretls": true}},
		{"a filter's word", &ProxyResult{Action: "proxy-accept", Where: "END-OF-MESSAGE", Text: "250 Ok", From: "a@x", To: "b@y", Proto: "ESMTP", Helo: "h"},
			"proxy-accept: END-OF-MESSAGE: 250 Ok; from=<a@x> to=<b@y> proto=ESMTP helo=<h>",
			map[string]any{"event": "proxy-accept", "text": "250 Ok", "from": "a@x", "to": "b@y"}},
		{"for a user", &ProxyResult{Action: "proxy-reject", Where: "END-OF-MESSAGE", Text: "550 no", Proto: "SMTP", SASLUsername: "joe"},
			"proxy-reject: END-OF-MESSAGE: 550 no; from=<> to=<> proto=SMTP sasl_username=<joe>", map[string]any{"event": "proxy-reject"}},
	} {
		l, b := testLogger(Options{})
		l.Log(Info, tt.event)
		if got := strings.TrimSpace(b.String()); !strings.HasSuffix(got, ": "+tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		l, b = testLogger(Options{Format: FormatJSON})
		l.Log(Info, tt.event)
		got := map[string]any{}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v: %s", tt.name, err, b.String())
		}
		for name, want := range tt.fields {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v, in %s", tt.name, name, got[name], want, b.String())
			}
		}
	}
}
