package main

import (
	"strings"
	"testing"
	"time"

	"sealpost/lib/mailproto"
)

func TestBareLFPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy, want, notes string
		messages            int
	}{
		{"normalize", "250 2.0.0 Ok: queued as 4A5299A0001", "", 1},
		{"yes", "250 2.0.0 Ok: queued as 4A5299A0001", "", 1},
		{"note", "250 2.0.0 Ok: queued as 4A5299A0001", " notes=bare_lf", 1},
		{"reject", "550 5.5.2 mail.example.com Error: bare <LF> received", "", 0},
		{"no", "250 2.0.0 Ok: queued as 4A5299A0001", "", 1},
	} {
		t.Run(tc.policy, func(t *testing.T) {
			r := newRig(t, "smtpd_forbid_bare_newline="+tc.policy)
			d := r.start()
			d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
			d.send("a\nb\r\n.\r\n")
			if got := d.reply(); got != tc.want {
				t.Errorf("reply %q, want %q", got, tc.want)
			}
			d.want("QUIT", "221 2.0.0 Bye")
			d.closed()
			if len(r.cleanup.done) != tc.messages {
				t.Errorf("%d messages", len(r.cleanup.done))
			}
			if log := r.log.String(); strings.Contains(log, "notes=") != (tc.notes != "") {
				t.Errorf("log %q", log)
			}
		})
	}
}

func TestBareLFExclusion(t *testing.T) {
	r := newRig(t, "smtpd_forbid_bare_newline=reject", "smtpd_forbid_bare_newline_exclusions=127.0.0.0/8")
	d := r.start()
	d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
	d.send("a\nb\n.\n")
	if got := d.reply(); got != "250 2.0.0 Ok: queued as 4A5299A0001" {
		t.Errorf("reply %q", got)
	}
}

func TestLimitsOnErrors(t *testing.T) {
	t.Run("hard error limit", func(t *testing.T) {
		r := newRig(t, "smtpd_hard_error_limit=3")
		d := r.start()
		const no = "500 5.5.2 Error: command not recognized"
		d.want("FOO", no, "FOO", no)
		d.send("FOO\r\n")
		if got := d.reply() + "," + d.reply(); got != no+",421 4.7.0 mail.example.com Error: too many errors" {
			t.Errorf("replies %q", got)
		}
		d.closed()
		if !strings.Contains(r.log.String(), "too many errors after UNKNOWN from localhost[127.0.0.1]") {
			t.Errorf("log: %s", r.log)
		}
	})
	t.Run("junk command limit", func(t *testing.T) {
		d := newRig(t, "smtpd_hard_error_limit=6", "smtpd_junk_command_limit=4").start()
		for range 11 {
			d.want("NOOP", ok)
		}
		if got := d.reply(); got != "421 4.7.0 mail.example.com Error: too many errors" {
			t.Errorf("reply %q", got)
		}
	})
	t.Run("a message forgives", func(t *testing.T) {
		d := newRig(t, "smtpd_hard_error_limit=3").start()
		for range 3 {
			d.say("FOO")
			d.say("FOO")
			d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
			if got := d.say("."); !strings.HasPrefix(got, "250 ") {
				t.Fatalf("reply %q", got)
			}
		}
	})
	t.Run("recipients above the overshoot limit are errors", func(t *testing.T) {
		d := newRig(t, "smtpd_recipient_limit=2", "smtpd_recipient_overshoot_limit=2", "smtpd_hard_error_limit=3").start()
		d.want(mailA, senderOK, rcptBob, rcptOK, rcptBob, rcptOK)
		for range 5 {
			d.want(rcptBob, "452 4.5.3 Error: too many recipients")
		}
		if got := d.reply(); got != "421 4.7.0 mail.example.com Error: too many errors" {
			t.Errorf("reply %q", got)
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t, "smtpd_client_connection_count_limit=1", "mynetworks=10.0.0.1")
	r.start()
	second := r.dial("")
	if got := second.reply(); got != "421 4.7.0 mail.example.com Error: too many connections from localhost[127.0.0.1]" {
		t.Errorf("second connection: %q", got)
	}
	second.closed()
	if got := r.dial("127.0.0.2").reply(); got != banner {
		t.Errorf("another client: %q", got)
	}
	if !strings.Contains(r.log.String(), "warning: Connection concurrency limit exceeded: 2 from localhost[127.0.0.1] for service smtp") {
		t.Errorf("log: %s", r.log)
	}
}

func TestRefusedClient(t *testing.T) {
	r := newRig(t, "smtpd_delay_reject=no", "smtpd_client_restrictions=reject")
	d := r.dial("")
	if got := d.reply(); got != "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied" {
		t.Errorf("greeting %q", got)
	}
	const denied = "503 5.7.0 Error: access denied for localhost[127.0.0.1]"
	d.want("EHLO x", denied, mailA, denied, "NOOP", denied, "FOO", denied,
		"BDAT 6 LAST\r\nNOOP", denied, "QUIT", "221 2.0.0 Bye") // the chunk is no command (security-cases.md §2.C)
	if !strings.Contains(r.log.String(), "NOQUEUE: reject: CONNECT from localhost[127.0.0.1]: 554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied; proto=SMTP\n") {
		t.Errorf("log: %s", r.log)
	}
}

func TestMessageSizeLimit(t *testing.T) {
	const tooBig = "552 5.3.4 Error: message file too big"
	r := newRig(t, "message_size_limit=300")
	d := r.start0("250-mail.example.com|250-PIPELINING|250-SIZE 300|250-VRFY|250-ETRN|250-ENHANCEDSTATUSCODES|250-8BITMIME|250-DSN|250-SMTPUTF8|250 CHUNKING")
	d.want(mailA+" SIZE=301", "552 5.3.4 Message size exceeds fixed limit",
		mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, strings.Repeat("x", 400)+"\r\n.", tooBig, "NOOP", ok,
		mailA, senderOK, rcptBob, rcptOK)
	d.send("BDAT 400 LAST\r\n" + strings.Repeat("x", 400))
	if got := d.reply(); got != tooBig {
		t.Errorf("BDAT: %q", got)
	}
	d.want(rcptBob, needMail)
	if len(r.cleanup.done) != 0 {
		t.Errorf("%d messages", len(r.cleanup.done))
	}
}

func (r *rig) start0(ehlo string) *dialog {
	r.t.Helper()
	d := r.dial("")
	d.reply()
	d.want("EHLO client.example", ehlo)
	return d
}

func TestCleanupAnswers(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		answer    mailproto.CleanupReply
		want      string
	}{
		{"taken", mailproto.CleanupReply{}, "250 2.0.0 Ok: queued as 4A5299A0001"},
		{"write error", mailproto.CleanupReply{Status: mailproto.CleanupWrite}, "451 4.3.0 Error: queue file write error"},
		{"too big", mailproto.CleanupReply{Status: mailproto.CleanupSize}, "552 5.3.4 Error: message file too big"},
		{"hops", mailproto.CleanupReply{Status: mailproto.CleanupHops}, "554 5.4.0 Error: too many hops"},
		{"protocol error", mailproto.CleanupReply{Status: mailproto.CleanupBad}, "451 4.3.0 Error: internal error 1"},
		{"content with a reason", mailproto.CleanupReply{Status: mailproto.CleanupCont, Reason: "5.7.1 no spam"}, "550 5.7.1 no spam"},
		{"content with a whole reply", mailproto.CleanupReply{Status: mailproto.CleanupCont, Reason: "554 5.7.1 no spam"}, "554 5.7.1 no spam"},
		{"content without a reason", mailproto.CleanupReply{Status: mailproto.CleanupCont}, "550 5.7.1 Error: message content rejected"},
		{"a reason with a line break", mailproto.CleanupReply{Status: mailproto.CleanupCont, Reason: "5.7.1 a\r\n250 b"}, "550 5.7.1 a  250 b"},
		{"deferred", mailproto.CleanupReply{Status: mailproto.CleanupDefer}, "451 4.7.1 Error: service unavailable"},
		{"defer before write", mailproto.CleanupReply{Status: mailproto.CleanupDefer | mailproto.CleanupWrite}, "451 4.7.1 Error: service unavailable"},
		{"size before write", mailproto.CleanupReply{Status: mailproto.CleanupSize | mailproto.CleanupWrite}, "552 5.3.4 Error: message file too big"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t)
			r.cleanup.answer = tc.answer
			d := r.start()
			d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, "x\r\n.", tc.want, rcptBob, needMail)
		})
	}
}

func TestEndOfDataRejectEndsTheTransaction(t *testing.T) {
	const no = "554 5.7.1 <END-OF-MESSAGE>: End-of-data rejected: Access denied"
	r := newRig(t, "smtpd_end_of_data_restrictions=reject")
	d := r.start()
	d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, "x\r\n.", no, rcptBob, needMail, "DATA", needRcpt,
		mailA, senderOK, rcptBob, rcptOK)
	d.send("BDAT 0 LAST\r\n")
	if got := d.reply(); got != no {
		t.Errorf("BDAT: %q", got)
	}
	d.want("BDAT 0 LAST", needRcpt)
	if len(r.cleanup.done) != 0 || len(r.cleanup.canceled) != 2 {
		t.Errorf("%d messages done, %d canceled", len(r.cleanup.done), len(r.cleanup.canceled))
	}
}

func TestVrfyLeavesTheTransactionAlone(t *testing.T) {
	r := newRig(t)
	d := r.start()
	d.want(mailA, senderOK, rcptBob, rcptOK, "VRFY b\u00f6@virt.example SMTPUTF8",
		"550 5.1.1 <b\u00f6@virt.example>: Recipient address rejected: User unknown in virtual mailbox table",
		"DATA", goAhead, "x\r\n.", "250 2.0.0 Ok: queued as 4A5299A0001")
	if m := r.cleanup.done[0]; len(m.rcpts) != 1 || m.rcpts[0] != "bob@virt.example" || m.flags != 178 {
		t.Errorf("recipients %q, flags %d", m.rcpts, m.flags)
	}
}

func TestFirstLinesOfTheContent(t *testing.T) {
	for _, tc := range []struct{ behaviour, input, want string }{
		{"a mailbox separator", "From a@b Mon\r\n>From c\r\nSubject: x\r\n", "X-Mailbox-Line: From a@b Mon\nX-Mailbox-Line: >From c\nSubject: x\n"},
		{"a continuation line", " lead: x\r\nSubject: y\r\n", "\n lead: x\nSubject: y\n"},
		{"From: is a header", "From: x\r\n", "From: x\n"},
		{"a body only", "\r\nFrom x\r\n", "\nFrom x\n"},
		{"a long mailbox separator", "From " + strings.Repeat("x", 5000) + "\r\nSubject: y\r\n", "X-Mailbox-Line: From " + strings.Repeat("x", 5000) + "\nSubject: y\n"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t)
			d := r.start()
			d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, tc.input+".", "250 2.0.0 Ok: queued as 4A5299A0001")
			if got := r.cleanup.done[0].body(); got != tc.want {
				t.Errorf("content %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	const bye = "421 4.3.2 mail.example.com Service is restarting, try again later"
	r := newRig(t)
	idle, busy := r.start(), r.start()
	busy.want(mailA, senderOK)
	close(r.drain)
	if got := idle.reply(); got != bye {
		t.Errorf("an idle session: %q", got)
	}
	idle.closed()
	busy.want(rcptBob, rcptOK, "DATA", goAhead)
	busy.send("x\r\n.\r\n")
	if got := busy.reply() + "," + busy.reply(); got != "250 2.0.0 Ok: queued as 4A5299A0001,"+bye {
		t.Errorf("a session with a transaction: %q", got)
	}
	busy.closed()
	if log := r.log.String(); strings.Contains(log, "lost connection") {
		t.Errorf("log: %s", log)
	}
}

func TestTimeout(t *testing.T) {
	r := newRig(t, "smtpd_timeout=1s")
	d := r.start()
	if got := d.reply(); got != "421 4.4.2 mail.example.com Error: timeout exceeded" {
		t.Errorf("reply %q", got)
	}
	d.closed()
	if !strings.Contains(r.log.String(), "NOQUEUE: timeout after EHLO from localhost[127.0.0.1]\n") {
		t.Errorf("log: %s", r.log)
	}
}

func TestRequestDeadlineHoldsAgainstTrickle(t *testing.T) {
	r := newRig(t, "smtpd_timeout=1s", "smtpd_per_request_deadline=yes")
	d := r.start()
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				d.conn.Write([]byte("x"))
			}
		}
	}()
	// Without the deadline this would take as long as the client likes.
	if got := d.reply(); got != "421 4.4.2 mail.example.com Error: timeout exceeded" {
		t.Errorf("reply %q", got)
	}
	<-d.done
	close(stop)
	if !strings.Contains(r.log.String(), "timeout after EHLO") {
		t.Errorf("log: %s", r.log)
	}
}

func TestLostConnections(t *testing.T) {
	for _, tc := range []struct{ behaviour, input, want string }{
		{"at once", "", "NOQUEUE: lost connection after CONNECT from localhost[127.0.0.1]\n"},
		{"in DATA", "EHLO x", "4A5299A0001: lost connection after DATA (5 bytes) from localhost[127.0.0.1]\n"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t)
			d := r.dial("")
			d.reply()
			if tc.input != "" {
				d.say(tc.input)
				d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
				d.send("abc\r\n")
			}
			d.conn.Close()
			<-d.done
			if !strings.Contains(r.log.String(), tc.want) {
				t.Errorf("log: %s", r.log)
			}
			if len(r.cleanup.done) != 0 {
				t.Errorf("%d messages", len(r.cleanup.done))
			}
		})
	}
}
