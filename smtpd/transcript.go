package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/smtpio"
)

// problems are the classes of trouble of a session that the postmaster may want to
// hear of (notify_classes).
type problems uint8

const (
	problemPolicy   problems = 1 << iota // refused by restrictions and limits
	problemProtocol                      // a command that is not one, or not here
	problemResource                      // no room, no service
	problemSoftware                      // a mistake in the configuration, or of a daemon
	problemData                          // a table or a name server failed
)

var problemClasses = map[string]problems{
	"policy": problemPolicy, "protocol": problemProtocol, "resource": problemResource,
	"software": problemSoftware, "data": problemData,
	"bounce": 0, "2bounce": 0, "delay": 0, // those are bounce's
}

// parseProblems reads notify_classes. A name that is none is told and left out.
func parseProblems(classes []string, warnf func(string, ...any)) problems {
	var wanted problems
	for _, name := range classes {
		class, ok := problemClasses[strings.ToLower(name)]
		if !ok {
			warnf("parameter notify_classes: no class %q: expecting bounce, 2bounce, data, delay, policy, protocol, resource or software", name)
		}
		wanted |= class
	}
	return wanted
}

// transcript is what was said lately in a session, and the trouble that was in it.
type transcript struct {
	wanted problems // 0: nothing is kept
	had    problems
	text   []byte
	cut    bool
}

const (
	// maxTranscript bounds what is kept, in bytes: the latest lines.
	maxTranscript = 8 << 10
	// maxTranscriptLine bounds a line of it.
	maxTranscriptLine = 300
)

// in adds a command. What AUTH says beyond the mechanism is a secret.
func (t *transcript) in(line []byte) {
	if verb, arg := splitVerb(line); len(verb) == 4 && equalFoldASCII(verb, "AUTH") {
		mechanism, secret := splitVerb(arg)
		line = append([]byte("AUTH "), mechanism...)
		if len(secret) > 0 {
			line = append(line, " (not shown)"...)
		}
	}
	t.add(" In:  ", line)
}

// out adds replies, as they are sent.
func (t *transcript) out(lines []byte) {
	for line := range bytes.Lines(lines) {
		t.add(" Out: ", bytes.TrimRight(line, "\r\n"))
	}
}

func (t *transcript) add(direction string, line []byte) {
	if t.wanted == 0 {
		return
	}
	t.text = append(t.text, direction...)
	t.text = smtpio.AppendPrintable(t.text, line[:min(len(line), maxTranscriptLine)])
	if len(line) > maxTranscriptLine {
		t.text = append(t.text, "..."...)
	}
	t.text = append(t.text, '\n')
	if len(t.text) > maxTranscript {
		half := t.text[len(t.text)/2:]
		half = half[bytes.IndexByte(half, '\n')+1:]
		t.text, t.cut = append(t.text[:0], half...), true
	}
}

// messageTaken forgets what was said as long as there is nothing to be told about.
func (t *transcript) messageTaken() {
	if t.had&t.wanted == 0 {
		t.text, t.cut = t.text[:0], false
	}
}

// errNotice is a notice that cleanup did not take.
var errNotice = errors.New("not accepted by cleanup")

// notifyPostmaster mails the transcript when the session had trouble of a class in
// notify_classes. reason, if there is one, is why the session broke off.
func (s *session) notifyPostmaster(ctx context.Context, reason string) {
	if s.script.had&s.script.wanted == 0 || s.standAlone {
		return
	}
	id, err := s.postTranscript(ctx, reason)
	if err != nil {
		s.log.Warnf("postmaster notice about %s to <%s>: %v", s.client.text, address.Quote(s.p.ErrorNotice), err)
		return
	}
	s.log.Infof("postmaster notice about %s is queued as %s", s.client.text, id)
}

func (s *session) postTranscript(ctx context.Context, reason string) (id string, err error) {
	sender := s.srv.double
	if !strings.Contains(sender, "@") {
		sender += "@" + s.p.MyHostname
	}
	c, err := s.srv.post(ctx, mailclient.Post{Sender: sender, Recipient: s.p.ErrorNotice, Flags: mailproto.CleanupInternal,
		MyHostname: s.p.MyHostname, MailName: s.p.MailName, Now: time.Now()})
	if err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(s.noticeText(reason), "\n") {
		c.RecordString(record.Norm, line)
	}
	c.RecordString(record.Extracted, "")
	reply, err := c.Finish(ctx)
	if err == nil && reply.Status != mailproto.CleanupOK {
		err = fmt.Errorf("%w: %s", errNotice, reply.Status.Detail().Text)
	}
	return c.QueueID(), err
}

// noticeText is the notice without the lines that cleanup adds.
func (s *session) noticeText(reason string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: Mail Delivery System <MAILER-DAEMON>\nTo: Postmaster <%s>\nSubject: %s SMTP server: errors from %s\n",
		address.Quote(s.p.ErrorNotice), s.p.MailName, s.client.text)
	b.WriteString("Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n")
	b.WriteString("Transcript of session follows.\n\n")
	if s.script.cut {
		b.WriteString(" (what was said before is left out)\n")
	}
	b.Write(s.script.text)
	if reason != "" {
		fmt.Fprintf(&b, "\nSession aborted, reason: %s\n", reason)
	}
	b.WriteString("\nFor other details, see the local mail logfile")
	return b.String()
}
