// Package test tells what the mail system does as a whole, on real programs:
// private instances without privileges, on loopback, with name servers of their
// own. A test here reads like a story.
package test

import (
	"context"
	"strings"
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
