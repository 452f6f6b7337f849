package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sealpost/lib/mailproto"
)

// notice ends the session and returns the only notice about it; nil when there is none.
func (r *rig) notice(d *dialog) *fakeMessage {
	r.t.Helper()
	d.conn.Close()
	<-d.done
	r.notices.mu.Lock()
	defer r.notices.mu.Unlock()
	switch len(r.notices.done) {
	case 0:
		return nil
	case 1:
		return r.notices.done[0]
	}
	r.t.Fatalf("%d notices about one session", len(r.notices.done))
	return nil
}

func TestTranscriptIsMailed(t *testing.T) {
	r := newRig(t, "notify_classes=protocol", "smtpd_recipient_restrictions=reject_non_fqdn_recipient", "error_notice_recipient=op@example.com")
	d := r.start()
	d.want("FOO\x01bar", "500 5.5.2 Error: command not recognized", mailA, senderOK, rcptBob, rcptOK)
	m := r.notice(d)
	if m == nil {
		t.Fatal("no notice")
	}
	if m.sender != "double-bounce@mail.example.com" || strings.Join(m.rcpts, " ") != "op@example.com" || m.flags != mailproto.CleanupInternal {
		t.Errorf("sender %q, recipients %q, flags %d", m.sender, m.rcpts, m.flags)
	}
	want := `From: Mail Delivery System <MAILER-DAEMON>
To: Postmaster <op@example.com>
Subject: Postfix SMTP server: errors from localhost[127.0.0.1]
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Transcript of session follows.

 Out: 220 mail.example.com ESMTP Postfix
 In:  EHLO client.example
 Out: 250-mail.example.com
`
	text := m.body()
	if !strings.HasPrefix(text, want) {
		t.Errorf("the notice begins %q, want %q", text[:min(len(text), len(want))], want)
	}
	want = ` Out: 250 CHUNKING
 In:  FOO?bar
 Out: 500 5.5.2 Error: command not recognized
 In:  MAIL FROM:<a@c.example>
 Out: 250 2.1.0 Ok
 In:  RCPT TO:<bob@virt.example>
 Out: 250 2.1.5 Ok

Session aborted, reason: lost connection

For other details, see the local mail logfile
`
	if !strings.HasSuffix(text, want) {
		t.Errorf("the notice ends %q, want %q", text[max(0, len(text)-len(want)):], want)
	}
	if !strings.Contains(r.log.String(), "postmaster notice about localhost[127.0.0.1] is queued as 4A5299A0001\n") {
		t.Errorf("log: %s", r.log)
	}
}

func TestClassesOfTrouble(t *testing.T) {
	const all = "policy protocol resource software data"
	tests := []struct {
		name, class string
		params      []string
		room        int64
		commands    []string
	}{
		{"nothing wrong", "", nil, 1 << 40, []string{mailA, rcptBob, "RSET", "QUIT"}},
		{"an unknown recipient", "policy", nil, 1 << 40, []string{mailA, "RCPT TO:<nobody@virt.example>"}},
		{"too many recipients", "policy", []string{"smtpd_recipient_limit=1"}, 1 << 40, []string{mailA, rcptBob, rcptBob}},
		{"a message that is announced too large", "policy", []string{"message_size_limit=1000"}, 1 << 40, []string{mailA + " SIZE=2000"}},
		{"a command out of order", "protocol", nil, 1 << 40, []string{rcptBob}},
		{"a bad address", "protocol", nil, 1 << 40, []string{"MAIL FROM:<a@c..example>"}},
		{"no room", "resource", nil, 0, []string{mailA}},
		{"a mistake in the configuration", "software", []string{"smtpd_client_restrictions=no_such_restriction"}, 1 << 40, []string{mailA, rcptBob}},
		{"a table that fails", "data", []string{"smtpd_sender_restrictions=check_sender_access fail:x"}, 1 << 40, []string{mailA, rcptBob}},
	}
	for _, tt := range tests {
		for class := range strings.FieldsSeq(all) {
			t.Run(tt.name+", "+class, func(t *testing.T) {
				r := newRig(t, append(tt.params, "notify_classes="+class)...)
				r.srv.space.read = func(string) (int64, error) { return tt.room, nil }
				d := r.dial("")
				d.reply()
				d.say("EHLO client.example")
				for _, c := range tt.commands {
					d.say(c)
				}
				if m := r.notice(d); (m != nil) != (class == tt.class) {
					t.Errorf("there is a notice: %t", m != nil)
				}
			})
		}
	}
}

func TestRefusedMessageIsTrouble(t *testing.T) {
	tests := []struct {
		status mailproto.CleanupStatus
		class  problems
	}{
		{mailproto.CleanupWrite, problemResource}, {mailproto.CleanupBad, problemSoftware}, {mailproto.CleanupProxy, problemSoftware},
		{mailproto.CleanupSize, problemPolicy}, {mailproto.CleanupCont, problemPolicy}, {mailproto.CleanupHops, problemPolicy},
		{mailproto.CleanupBareLF, problemProtocol},
	}
	for _, tt := range tests {
		if got := statusProblem(tt.status); got != tt.class {
			t.Errorf("status %#x: class %d, want %d", tt.status, got, tt.class)
		}
	}
}

// TestTranscriptHasNoSecrets: what AUTH and its client say is not mailed.
func TestTranscriptHasNoSecrets(t *testing.T) {
	var s transcript
	s.wanted = problemProtocol
	for _, line := range []string{"auth plain AGFAYgBjc2VjcmV0", "AUTH LOGIN", " AUTH  CRAM-MD5  x", "AUTHOR x"} {
		s.in([]byte(line))
	}
	want := " In:  AUTH plain (not shown)\n In:  AUTH LOGIN\n In:  AUTH CRAM-MD5 (not shown)\n In:  AUTHOR x\n"
	if string(s.text) != want {
		t.Errorf("transcript %q, want %q", s.text, want)
	}
}

// TestTranscriptIsBounded: the latest lines are kept, whole, and what is long is cut.
func TestTranscriptIsBounded(t *testing.T) {
	var s transcript
	s.in([]byte("NOOP"))
	if len(s.text) != 0 {
		t.Errorf("%q is kept though nobody wants it", s.text)
	}
	s.wanted = problemProtocol
	for i := range 10_000 {
		s.in(fmt.Appendf(nil, "NOOP %d", i))
	}
	lines := strings.Split(string(s.text), "\n")
	if !s.cut || len(s.text) > maxTranscript || cap(s.text) > 4*maxTranscript {
		t.Errorf("%d bytes, capacity %d, cut %t", len(s.text), cap(s.text), s.cut)
	}
	if last := lines[len(lines)-2]; last != " In:  NOOP 9999" {
		t.Errorf("the last line is %q", last)
	}
	if !strings.HasPrefix(lines[0], " In:  NOOP ") {
		t.Errorf("the first line is %q", lines[0])
	}
	s.in([]byte(strings.Repeat("x", 2000)))
	if n := len(s.text) - len(strings.Join(lines, "\n")); n > maxTranscriptLine+20 {
		t.Errorf("a long command takes %d bytes", n)
	}
	s.messageTaken()
	if len(s.text) != 0 || s.cut {
		t.Error("a message that was taken leaves its transcript")
	}
	s.in([]byte("FOO"))
	s.had = problemProtocol
	s.messageTaken()
	if len(s.text) == 0 {
		t.Error("the trouble before a message is forgotten")
	}
}

func TestNoticeThatCannotBeQueued(t *testing.T) {
	r := newRig(t, "notify_classes=protocol")
	r.notices.refuse = errors.New("no cleanup")
	d := r.start()
	d.say("FOO")
	if r.notice(d) != nil {
		t.Error("a notice, though cleanup is not there")
	}
	if !strings.Contains(r.log.String(), "warning: postmaster notice about localhost[127.0.0.1] to <postmaster>: no cleanup\n") {
		t.Errorf("log: %s", r.log)
	}
}

func TestUnknownClassIsTold(t *testing.T) {
	var warned []string
	got := parseProblems([]string{"Policy", "2bounce", "polcy"}, func(format string, args ...any) {
		warned = append(warned, fmt.Sprintf(format, args...))
	})
	if got != problemPolicy || len(warned) != 1 || !strings.Contains(warned[0], `notify_classes: no class "polcy"`) {
		t.Errorf("%d, %q", got, warned)
	}
}
