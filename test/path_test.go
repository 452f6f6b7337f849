// Package test tells what the mail system does as a whole, on real programs:
// private instances without privileges, on loopback, with name servers of their
// own. A test here reads like a story.
package test

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/harness"
)

func TestFromSendmailThroughTwoSystemsToMailbox(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()

	receiver := harness.Start(t, harness.Options{Name: "receiver", Domain: "receiver.test", Users: []string{"bob"}})
	names := dnstest.New(t, dnstest.Config{Zone: "receiver.test. MX 10 mx.receiver.test.\n" +
		"mx.receiver.test. A " + receiver.IP + "\n"})
	sender := harness.Start(t, harness.Options{Name: "sender", DNS: names.Addr()})

	message := "From: alice@sender.test\nTo: bob@receiver.test\nSubject: hello\n\nFirst line\n.\nlast line\n"
	_, err := sender.Command(ctx, strings.NewReader(message), "sendmail", "-i", "-f", "alice@sender.test", "bob@receiver.test")
	if err != nil {
		t.Fatal(err)
	}

	mail, err := receiver.WaitMail(ctx, "bob", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Return-Path: <alice@sender.test>\n",
		"Delivered-To: bob@receiver.test\n",
		"Received: from sender.test (",
		"\nSubject: hello\n",
		"\n\nFirst line\n.\nlast line\n",
	} {
		if !strings.Contains(mail[0], want) {
			t.Errorf("the delivered message lacks %q:\n%s", want, mail[0])
		}
	}
	if err := sender.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
	if err := receiver.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
	if _, err := sender.Log.Wait(ctx, 0, `postfix/smtp\[\d+\]: \w+: to=<bob@receiver.test>, relay=mx.receiver.test\[`+
		receiver.IP+`\]:2525, .*dsn=2.0.0, status=sent \(250 2.0.0 Ok: queued as \w+\)$`); err != nil {
		t.Error(err)
	}
	if n := sender.Log.Count(`(warning|error|fatal|panic): `) + receiver.Log.Count(`(warning|error|fatal|panic): `); n > 0 {
		t.Errorf("%d complaints in the logs", n)
	}
}

func TestAdministratorsDay(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mail := harness.Prepare(t, harness.Options{Domain: "example.test", Users: []string{"bob"}})

	// Nothing runs yet.
	if out, err := mail.Command(ctx, nil, "sealpost", "status"); err == nil || !strings.Contains(out, "the Postfix mail system is not running") {
		t.Errorf("status before start: %v %s", err, out)
	}
	if out, err := mail.Command(ctx, nil, "sealpost", "reload"); err == nil || !strings.Contains(out, "fatal: the Postfix mail system is not running") {
		t.Errorf("reload before start: %v %s", err, out)
	}
	if out, err := mail.Command(ctx, nil, "sealpost", "check"); err != nil || strings.Contains(out, "warning") {
		t.Errorf("check: %v %s", err, out)
	}

	// It starts once.
	if err := mail.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := mail.Command(ctx, nil, "sealpost", "start"); err == nil || !strings.Contains(out, "fatal: the Postfix mail system is already running") {
		t.Errorf("second start: %v %s", err, out)
	}
	send := func() {
		t.Helper()
		if err := mail.Send(ctx, "alice@example.test", []string{"bob@example.test"}, "Subject: x\n\nx\n"); err != nil {
			t.Fatal(err)
		}
	}
	send()
	if _, err := mail.WaitMail(ctx, "bob", 1); err != nil {
		t.Fatal(err)
	}
	out, err := mail.Command(ctx, nil, "sealpost", "status")
	if err != nil || !strings.Contains(out, "the Postfix mail system is running: PID: ") || !strings.Contains(out, "cleanup") {
		t.Errorf("status: %v %s", err, out)
	}

	// One service speaks up, while it runs.
	mark := mail.Log.Mark()
	if out, err := mail.Command(ctx, nil, "sealpost", "verbose", "cleanup", "1"); err != nil || !strings.Contains(out, "verbosity is now 1") {
		t.Errorf("verbose: %v %s", err, out)
	}
	if _, err := mail.Log.Wait(ctx, mark, "cleanup.*verbosity is now 1"); err != nil {
		t.Error(err)
	}

	// A killed master leaves nothing behind that keeps the next one from starting.
	if err := syscall.Kill(mail.MasterPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := harness.Poll(ctx, func() (bool, error) { return mail.MasterPID() == 0, nil }); err != nil {
		t.Fatal(err)
	}
	if err := mail.Start(ctx); err != nil {
		t.Fatal(err)
	}
	send()
	if _, err := mail.WaitMail(ctx, "bob", 2); err != nil {
		t.Fatal(err)
	}

	// A mistake in the configuration is refused, and the system goes on.
	mail.Params = map[string]string{"default_process_limit": "many"}
	if err := mail.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	if out, err := mail.Command(ctx, nil, "sealpost", "reload"); err == nil || !strings.Contains(out, "default_process_limit") {
		t.Errorf("reload with a mistake: %v %s", err, out)
	}
	send()
	mail.Params = nil
	if err := mail.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	if err := mail.Reloaded(ctx); err != nil {
		t.Error(err)
	}
	send()
	if _, err := mail.WaitMail(ctx, "bob", 4); err != nil {
		t.Fatal(err)
	}

	// And it stops.
	if err := mail.Stop(ctx); err != nil {
		t.Error(err)
	}
	if out, err := mail.Command(ctx, nil, "sealpost", "status"); err == nil {
		t.Errorf("status after stop: %s", out)
	}
}
