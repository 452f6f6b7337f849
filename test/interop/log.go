package main

import (
	"context"
	"fmt"
	"regexp"
)

var logScenarios = []scenario{
	{"pflogsumm counts what we received, delivered, bounced, deferred and rejected", "pflogsumm", pflogsumm},
}

// pflogsumm has mail of every fate counted by a program that reads Postfix's log.
func pflogsumm(ctx context.Context, s *stage) error {
	m, err := receiver(ctx, s, map[string]string{"relayhost": "[127.0.0.1]:9",
		// Its 1.1.5 does not know the field tls=, which Postfix has since 3.11.
		"smtp_log_tls_feature_status": "no"})
	if err != nil {
		return err
	}
	for _, to := range []string{"bob@mx.test", "bob@mx.test", "postmaster@mx.test", "late-bounce@mx.test", "x@elsewhere.test"} {
		if err := m.send(ctx, envelope{from: "alice@mx.test", to: to}, letter("to-"+to, "text\n")); err != nil {
			return err
		}
	}
	if err := m.send(ctx, envelope{from: "alice@mx.test", to: "nobody@mx.test"}, letter("no", "no\n")); err == nil {
		return fmt.Errorf("an unknown user was accepted")
	}
	if _, err := m.delivered(ctx, "alice"); err != nil { // the bounce
		return err
	}
	if _, err := m.waitQueue(ctx, "deferred", 1); err != nil {
		return err
	}
	if err := m.Stop(); err != nil {
		return err
	}
	out, err := run(ctx, nil, "pflogsumm", "--smtpd-stats", m.LogFile)
	if err != nil {
		return err
	}
	for _, want := range []string{
		`\n +5 +received\n`,  // it does not count the bounce
		`\n +4 +delivered\n`, // 2 bob, postmaster, the bounce to alice
		`\n +1 +deferred  \(1 +deferrals\)\n`,
		`\n +1 +bounced\n`,
		`\n +1 +rejected \([0-9]+%\)\n`,
		`\n +4  +\S+ .*mx\.test\n`,
		`(?s)Per-Hour Traffic Summary.*Recipient address rejected: User unknown in virtual mailbox table`,
		`smtpd\n\n +7 +connections`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			return fmt.Errorf("pflogsumm has no %q:\n%s", want, out)
		}
	}
	return nil
}
