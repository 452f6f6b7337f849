package test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sealpost/test/harness"
)

// TestScenariosOfREQUIRETLS are the 22 scenarios of security-cases.md §2.K, from
// sendmail to recording exchangers and back to the sender's mailbox: not one byte of
// MAIL FROM on a connection that does not qualify, and the right notification every time.
func TestScenariosOfREQUIRETLS(t *testing.T) {
	st := setStage(t, scenarios())
	seen := map[string]bool{}
	for _, s := range st.cases {
		seen[strings.Fields(s.name)[0]] = true
	}
	if len(seen) != 22 {
		t.Errorf("%d scenarios, want 22", len(seen))
	}
	t.Run("undisturbed", func(t *testing.T) {
		for _, s := range st.cases {
			if !s.stays {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
					defer cancel()
					st.play(ctx, t, s)
				})
			}
		}
	})
	st.disturb(t)
	st.postmaster(t)
}

// play delivers the message of a scenario and looks at what became of it.
func (st *stage2K) play(ctx context.Context, t *testing.T, s *staged) {
	if s.before != "" {
		st.submit(ctx, t, s, true)
		if _, err := st.Log.Wait(ctx, 0, s.delivery("tls=may, .*status=sent")); err != nil {
			t.Fatal(err)
		}
		s.recorders[0].forget()
	}
	st.submit(ctx, t, s, false)
	if s.super != nil {
		st.handled(ctx, t, s)
	}
	st.judge(ctx, t, s)
}

// handled has an administrator handle a message that waits for its exchanger, which then
// comes.
func (st *stage2K) handled(ctx context.Context, t *testing.T, s *staged) {
	id, err := st.Log.Wait(ctx, 0, `(\w+): to=<u@`+regexp.QuoteMeta(s.domain)+`>, .*status=deferred`)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range s.super {
		if _, err := st.Command(ctx, nil, "postsuper", append(args, id[1])...); err != nil {
			t.Fatal(err)
		}
	}
	s.recorders[0].up(t)
	err = harness.Poll(ctx, func() (bool, error) {
		_, err := st.Command(ctx, nil, "postqueue", "-f")
		return st.Log.Count(s.delivery(s.want)) > 0, err
	})
	if err != nil {
		t.Error(err)
	}
}

// judge waits for the outcome of a scenario and checks what was said to whom.
func (st *stage2K) judge(ctx context.Context, t *testing.T, s *staged) {
	if _, err := st.Log.Wait(ctx, 0, s.delivery(s.want)); err != nil {
		t.Error(err)
	}
	switch {
	case s.pays == "delay":
		st.late(ctx, t, s)
	case s.header == "X-Filter: me\n" && st.Log.Count(`to=<u@`+regexp.QuoteMeta(s.domain)+`>, relay=filter, .*status=sent`) != 1:
		t.Error("the message did not go through the content filter")
	}
	if s.notice != "" {
		st.notified(ctx, t, s)
	}
	mails := 0
	for _, r := range s.recorders {
		for _, text := range r.trespasses() {
			t.Errorf("said on a connection that does not qualify: %s", text)
		}
		for _, mail := range r.mails() {
			mails++
			if !strings.HasPrefix(mail, "tls ") || !strings.HasSuffix(mail, " REQUIRETLS") {
				t.Errorf("%s", mail)
			}
		}
		if s.unsigned && r.connections() > 0 {
			t.Error("a connection was made")
		}
	}
	if mails != s.mails {
		t.Errorf("%d MAIL commands, want %d", mails, s.mails)
	}
}

// late makes the queue manager try a message until its sender has been told that it
// is late.
func (st *stage2K) late(ctx context.Context, t *testing.T, s *staged) {
	id, err := st.Log.Wait(ctx, 0, `(\w+): to=<u@`+regexp.QuoteMeta(s.domain)+`>, `)
	if err != nil {
		t.Error(err)
		return
	}
	err = harness.Poll(ctx, func() (bool, error) {
		if st.Log.Count(id[1]+": sender delay notification: ") > 0 {
			return true, nil
		}
		// It may be busy with the message just now, and not heed this.
		_, err := st.Command(ctx, nil, "postqueue", "-i", id[1])
		return false, err
	})
	if err != nil {
		t.Errorf("no delay notification: %v", err)
	}
}

// notified checks the notification in the sender's mailbox: one, with the code and
// the header, without the content, and without a request of its own.
func (st *stage2K) notified(ctx context.Context, t *testing.T, s *staged) {
	mail, err := st.WaitMail(ctx, s.user(), 1)
	if err != nil || len(mail) != 1 {
		t.Errorf("%d notifications: %v", len(mail), err)
		return
	}
	checkNotification(t, mail[0], s.notice, s.name)
	what := map[string]string{"": "Undelivered Message Headers", "delay": "Undelivered Message Headers", "success": "Message Headers"}[s.pays]
	if !strings.Contains(mail[0], "\nContent-Description: "+what+"\n") {
		t.Errorf("the part with the header is not called %q:\n%s", what, mail[0])
	}
}

// checkNotification checks what all notifications about a message with the request have
// in common when they are redacted.
func checkNotification(t *testing.T, mail, code, name string) {
	t.Helper()
	own, _, _ := strings.Cut(mail, "\n\n")
	for _, want := range []string{"\nStatus: " + code + "\n", "\nContent-Type: text/rfc822-headers\n", "\nSubject: scenario " + name + "\n"} {
		if !strings.Contains(mail, want) {
			t.Errorf("the notification lacks %q:\n%s", want, mail)
		}
	}
	if strings.Contains(mail, "secret") {
		t.Errorf("the content is in the notification:\n%s", mail)
	}
	for _, name := range []string{"Require-TLS-ESMTP", "TLS-Required"} {
		if strings.Contains(own, "\n"+name+":") {
			t.Errorf("the notification has %s:\n%s", name, own)
		}
	}
}

// disturb plays the scenarios of a system that is stopped, and of one whose queue
// manager is killed, between the acceptance of a message and its delivery.
func (st *stage2K) disturb(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	var restarted, killed []*staged
	for _, s := range st.cases {
		switch {
		case strings.HasPrefix(s.name, "21"):
			restarted = append(restarted, s)
		case strings.HasPrefix(s.name, "22"):
			killed = append(killed, s)
		}
	}
	for _, s := range restarted {
		if strings.HasSuffix(s.name, "stopped") {
			continue
		}
		st.submit(ctx, t, s, false)
		if _, err := st.Log.Wait(ctx, 0, s.delivery(`tls=secure\?/requiretls\?, dsn=4.4.1, status=deferred`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range restarted {
		if strings.HasSuffix(s.name, "stopped") {
			st.submit(ctx, t, s, false)
		} else {
			s.recorders[0].up(t)
		}
	}
	if err := st.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Command(ctx, nil, "postqueue", "-f"); err != nil {
		t.Fatal(err)
	}
	for _, s := range killed { // the exchanger keeps the client waiting
		st.submit(ctx, t, s, false)
		if err := harness.Poll(ctx, func() (bool, error) { return s.recorders[0].connections() > 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range st.Workers()["qmgr"] {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range killed {
		close(s.recorders[0].wait)
	}
	for _, s := range killed {
		st.rescued(ctx, t, s)
	}
	for _, s := range slices.Concat(restarted, killed) {
		t.Run(s.name, func(t *testing.T) { st.judge(ctx, t, s) })
	}
}

// rescued has the new queue manager look at a message that a client was busy with when
// the old one was killed, until it is done with it. By itself it would wait a minute.
func (st *stage2K) rescued(ctx context.Context, t *testing.T, s *staged) {
	id, err := st.Log.Wait(ctx, 0, `smtp\[\d+\]: (\w+): to=<u@`+regexp.QuoteMeta(s.domain)+`>, `)
	if err != nil {
		t.Fatal(err)
	}
	err = harness.Poll(ctx, func() (bool, error) {
		_, err := st.Command(ctx, nil, "postqueue", "-f")
		return st.Log.Count(`qmgr\[\d+\]: `+id[1]+`: removed`) > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// postmaster checks the copies of all notifications, and the one that came in place of
// a notification to nobody.
func (st *stage2K) postmaster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	want := 1 // 14 double bounce
	for _, s := range st.cases {
		if s.notice != "" && s.pays != "success" {
			want++
		}
	}
	mail, err := st.WaitMail(ctx, "postmaster", want)
	if err != nil {
		t.Error(err)
	}
	double := 0
	for _, m := range mail {
		code := regexp.MustCompile(`(?m)^Status: (\S+)$`).FindStringSubmatch(m)
		name := regexp.MustCompile(`(?m)^Subject: scenario (.*)$`).FindStringSubmatch(m)
		if code == nil || name == nil {
			t.Errorf("a copy without code or subject:\n%s", m)
			continue
		}
		checkNotification(t, m, code[1], name[1])
		if name[1] == "14 double bounce" {
			double++
		}
	}
	if double != 1 {
		t.Errorf("%d double bounces", double)
	}
}
