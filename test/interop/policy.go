package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Policy servers that others wrote.
var policyScenarios = []scenario{
	{"a grey list: postgrey defers a stranger, then lets it in; without it the default action", "postgrey", greyList},
}

func greyList(ctx context.Context, s *stage) error {
	dir := filepath.Join(s.dir, "grey")
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	addr := "127.0.0.1:" + strconv.Itoa(port)
	if err := s.daemonOf("postgrey", "--inet="+addr, "--delay=1", "--dbdir="+dir, "--user=nobody", "--group=nogroup",
		"--whitelist-clients=/dev/null", "--whitelist-recipients=/dev/null"); err != nil {
		return err
	}
	if err := reachable(ctx, addr); err != nil {
		return err
	}
	m, err := s.ours("ours", map[string]string{"mynetworks": "",
		"smtpd_recipient_restrictions": "check_policy_service inet:" + addr, "smtpd_policy_service_retry_delay": "1s"})
	if err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	rcpt := func() string {
		out, _ := run(ctx, nil, "swaks", "--server", m.SMTP(), "--helo", "client.test", "--from", "stranger@sender.test",
			"--to", "bob@ours.test", "--quit-after", "RCPT") // the dialogue says more than the status
		return out
	}
	if err := contains("the first time", rcpt(), "450 4.2.0 <bob@ours.test>: Recipient address rejected: Greylisted"); err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	if err := until(ctx, func() error { return contains("later", rcpt(), "250 2.1.5 Ok") }); err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	if err := m.set(ctx, "smtpd_recipient_restrictions=check_policy_service inet:127.0.0.1:1"); err != nil {
		return err
	}
	mark := m.Log.Mark()
	if err := contains("without a server", rcpt(), "451 4.3.5 <bob@ours.test>: Recipient address rejected: Server configuration problem"); err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	_, err = m.Log.Wait(ctx, mark, `warning: problem talking to server inet:127\.0\.0\.1:1: `)
	return err
}
