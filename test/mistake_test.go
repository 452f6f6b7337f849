package test

import (
	"context"
	"strings"
	"testing"

	"sealpost/test/harness"
)

// TestMistakeInMainCFOfARunningSystem: while an administrator has a mistake in main.cf,
// users submit and list mail as before, and the system can be looked at, flushed and
// stopped; a reload is refused with the mistake.
func TestMistakeInMainCFOfARunningSystem(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mta := harness.Start(t, harness.Options{Domain: "example.test", Users: []string{"bob"}})
	// Daemons that run go on; one that started now would refuse its configuration.
	submit := func(n int) {
		t.Helper()
		if _, err := mta.Command(ctx, strings.NewReader("Subject: up\n\nhello\n"), "sendmail", "bob@example.test"); err != nil {
			t.Error(err)
		}
		if _, err := mta.WaitMail(ctx, "bob", n); err != nil {
			t.Fatal(err)
		}
		if err := mta.WaitEmpty(ctx); err != nil {
			t.Error(err)
		}
		if out, err := mta.Command(ctx, nil, "mailq"); err != nil || !strings.Contains(out, "Mail queue is empty") {
			t.Errorf("mailq: %v %s", err, out)
		}
	}
	submit(1)
	mta.Params = map[string]string{"smtpd_timeout": "soon"}
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	const mistake = `parameter smtpd_timeout: bad value "soon": a time such as 30s`
	for _, verb := range []string{"reload", "check", "start"} {
		if out, err := mta.Command(ctx, nil, "sealpost", verb); err == nil || !strings.Contains(out, "sealpost: fatal: ") || !strings.Contains(out, mistake) {
			t.Errorf("%s: %v %s", verb, err, out)
		}
	}
	submit(2)
	for _, verb := range []string{"status", "flush", "stop"} {
		if out, err := mta.Command(ctx, nil, "sealpost", verb); err != nil || !strings.Contains(out, "sealpost: warning: ") || !strings.Contains(out, mistake) {
			t.Errorf("%s: %v %s", verb, err, out)
		}
	}
	if pid := mta.MasterPID(); pid != 0 {
		t.Errorf("process %d runs still", pid)
	}
	if _, err := mta.Command(ctx, strings.NewReader("Subject: down\n\nhello\n"), "sendmail", "bob@example.test"); err != nil {
		t.Error(err)
	}
	if n := mta.Queue()["maildrop"]; n != 1 {
		t.Errorf("%d messages in maildrop", n)
	}
}
