package test

import (
	"context"
	"strings"
	"testing"

	"sealpost/test/harness"
)

// TestTranscriptReachesThePostmaster: a session with trouble of a class in
// notify_classes is a message to error_notice_recipient, and one without is none.
func TestTranscriptReachesThePostmaster(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "in", Domain: "in.test", Users: []string{"bob", "op"}, Params: map[string]string{
		"notify_classes": "policy", "error_notice_recipient": "op@in.test",
	}})
	for rcpt, reply := range map[string]string{"bob": "250 ", "nobody": "550 "} {
		w := dialWire(t, mta.SMTP())
		w.want("EHLO c.test\r\n", "250-")
		w.want("FOO\r\n", "500 ")
		w.want("MAIL FROM:<a@c.test>\r\n", "250 ")
		w.want("RCPT TO:<"+rcpt+"@in.test>\r\n", reply)
		w.want("QUIT\r\n", "221 ")
		w.ended()
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	if _, err := mta.WaitMail(ctx, "op", 1); err != nil {
		t.Fatal(err)
	}
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Fatal(err)
	}
	mails, err := mta.Mail("op")
	if err != nil || len(mails) != 1 {
		t.Fatalf("%d notices, want one; %v", len(mails), err)
	}
	for _, want := range []string{
		"\nTo: Postmaster <op@in.test>\n", " SMTP server: errors from localhost[127.0.0.1]\n",
		"\n In:  FOO\n Out: 500 5.5.2 Error: command not recognized\n", "\n In:  RCPT TO:<nobody@in.test>\n Out: 550 5.1.1 <nobody@in.test>: ",
		"\n Out: 221 2.0.0 Bye\n\nFor other details, see the local mail logfile\n",
	} {
		if !strings.Contains(mails[0], want) {
			t.Errorf("the notice lacks %q:\n%s", want, mails[0])
		}
	}
}
