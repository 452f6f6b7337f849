package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
)

// fakePoster keeps the notifications that would go to cleanup.
type fakePoster struct {
	sent []sentNotice
	fail bool
}

type sentNotice struct {
	sender, recipient, subject string
	opts                       sendopts.Options
	rcpts                      []string
	content                    string
}

var errPost = errors.New("cleanup is down")

func (p *fakePoster) post(_ context.Context, n *notice, r *report, compose func(*lineWriter, string) error) (string, error) {
	if p.fail {
		return "", errPost
	}
	s := sentNotice{sender: r.sender, recipient: r.recipient, subject: r.subject, opts: n.sendOpts}
	for _, rec := range r.rcpts {
		s.rcpts = append(s.rcpts, rec.Recipient.Addr)
	}
	w := &lineWriter{record: func(_ record.Type, b []byte) { s.content += string(b) + "\n" }}
	if err := compose(w, "NEWID"); err != nil {
		return "", err
	}
	w.close()
	p.sent = append(p.sent, s)
	return "NEWID", nil
}

// scene is a bounce service with one message in active and a log about it.
type scene struct {
	b    *bouncer
	post *fakePoster
	log  bytes.Buffer
	mlog *maillog.Logger
}

const sceneID = "12345ABC"

func newScene(t *testing.T, service string, values map[string]string) *scene {
	t.Helper()
	s := &scene{b: testBouncer(t, values), post: &fakePoster{}}
	s.b.service, s.b.poster = service, s.post
	s.mlog = maillog.New(maillog.Options{Writer: &s.log})
	return s
}

func (s *scene) handle(req *mailproto.BounceRequest) error {
	req.QueueName, req.QueueID = "active", sceneID
	return s.b.handle(context.Background(), s.mlog, req)
}

// add appends a recipient to the log as an agent would.
func (s *scene) add(t *testing.T, addr string, notify dsn.Notify) {
	t.Helper()
	req := &mailproto.BounceRequest{
		Command: mailproto.BounceAppend, QueueID: sceneID,
		Recipient: mailproto.Recipient{Addr: addr, Notify: notify, Offset: 0},
		DSN:       dsn.Status{Code: "5.1.1", Action: "failed", Reason: "unknown user"},
	}
	if err := s.b.handle(context.Background(), s.mlog, req); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) logExists() bool {
	_, err := os.Stat(s.b.queue.Path(s.b.service, sceneID))
	return err == nil
}

func TestWhoIsTold(t *testing.T) {
	classes := map[string]string{"notify_classes": "bounce, 2bounce, delay"}
	cases := map[string]struct {
		service string
		command mailproto.BounceCommand
		flags   mailproto.DeliveryFlags
		sender  string
		verp    string
		notify  dsn.Notify
		config  map[string]string
		want    []string // sender>recipient: subject
		keeps   bool     // the log
		logs    string
	}{
		"bounce to the sender": {service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example",
			want: []string{">s@a.example: sender non-delivery notification"}, logs: sceneID + ": sender non-delivery notification: NEWID"},
		"with a copy to the postmaster": {service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example", config: classes,
			want: []string{">s@a.example: sender non-delivery notification", "double-bounce@mail.example.com>postmaster: postmaster non-delivery notification"}},
		"no sender, nobody cares": {service: "bounce", command: mailproto.BounceFlush},
		"no sender, double bounce": {service: "bounce", command: mailproto.BounceFlush, config: classes,
			want: []string{"double-bounce@mail.example.com>postmaster: postmaster non-delivery notification"}},
		"a double bounce ends here": {service: "bounce", command: mailproto.BounceFlush, sender: "Double-Bounce@mail.example.com", config: classes,
			logs: "undeliverable postmaster notification discarded"},
		"NOTIFY=NEVER":   {service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example", notify: dsn.NotifyNever, config: classes},
		"NOTIFY=SUCCESS": {service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example", notify: dsn.NotifySuccess},
		"NOTIFY=FAILURE": {service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example", notify: dsn.NotifyFailure,
			want: []string{">s@a.example: sender non-delivery notification"}},
		"VERP": {service: "bounce", command: mailproto.BounceVERP, sender: "owner@a.example", verp: "+=",
			want: []string{">owner+r=b.example@a.example: sender non-delivery notification"}},
		"delay notice": {service: "defer", command: mailproto.BounceWarn, sender: "s@a.example", keeps: true,
			want: []string{">s@a.example: sender delay notification"}},
		"delay notice with a copy": {service: "defer", command: mailproto.BounceWarn, sender: "s@a.example", keeps: true, config: classes,
			want: []string{">s@a.example: sender delay notification", "double-bounce@mail.example.com>postmaster: postmaster delay notification"}},
		"delay notice not wanted": {service: "defer", command: mailproto.BounceWarn, sender: "s@a.example", notify: dsn.NotifyFailure, keeps: true},
		"expired": {service: "defer", command: mailproto.BounceFlush, sender: "s@a.example",
			want: []string{">s@a.example: sender non-delivery notification"}},
		"success report": {service: "trace", command: mailproto.BounceTrace, sender: "s@a.example", notify: dsn.NotifySuccess,
			want: []string{">s@a.example: sender delivery status notification"}},
		"probe report": {service: "trace", command: mailproto.BounceTrace, sender: "s@a.example", flags: mailproto.DeliverUserVerify,
			want: []string{">s@a.example: sender delivery status notification"}},
		"report without sender": {service: "trace", command: mailproto.BounceTrace, logs: "not sending trace/success notification for single-bounce message"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.service, c.config)
			s.add(t, "r@b.example", c.notify)
			err := s.handle(&mailproto.BounceRequest{Command: c.command, Sender: c.sender, VERPDelims: c.verp, Flags: mailproto.BounceFlags(c.flags)})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range s.post.sent {
				got = append(got, n.sender+">"+n.recipient+": "+n.subject)
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("sent:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if s.logExists() != c.keeps {
				t.Errorf("log exists: %v, want %v", s.logExists(), c.keeps)
			}
			if !strings.Contains(s.log.String(), c.logs) {
				t.Errorf("mail log %q lacks %q", s.log.String(), c.logs)
			}
		})
	}
}

func TestFailureKeepsTheLogUnlessCleanIsAsked(t *testing.T) {
	for _, clean := range []bool{false, true} {
		s := newScene(t, "bounce", nil)
		s.add(t, "r@b.example", 0)
		s.post.fail = true
		req := &mailproto.BounceRequest{Command: mailproto.BounceFlush, Sender: "s@a.example"}
		if clean {
			req.Flags = mailproto.BounceClean
		}
		if err := s.handle(req); !errors.Is(err, errPost) {
			t.Fatalf("error %v", err)
		}
		if s.logExists() == clean {
			t.Errorf("clean %v: log exists %v", clean, s.logExists())
		}
	}
}

// writeMessage puts a complete queue file into active.
func writeMessage(t *testing.T, s *scene) {
	t.Helper()
	env := record.Append(nil, record.Time, "1795372800 123456")
	env = record.Append(env, record.From, "s@a.example")
	env = record.Append(env, record.OrigRcpt, "r@b.example")
	env = record.Append(env, record.Rcpt, "r@b.example")
	env = record.Append(env, record.Message, "")
	var content []byte
	for _, l := range []string{"Subject: x", "", "the secret body"} {
		content = record.Append(content, record.Norm, l)
	}
	size := queue.SizeRecord{ContentSize: int64(len(content)), DataOffset: int64(97 + len(env)), Rcpts: 1, ContentLen: int64(len(content))}
	file := append(append(queue.AppendSize(nil, size), env...), content...)
	file = record.Append(file, record.Extracted, "")
	file = record.Append(file, record.End, "")
	path := s.b.queue.Path("active", sceneID)
	if err := os.MkdirAll(path[:len(path)-len(sceneID)], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestRecipientsAreMarkedDone(t *testing.T) {
	s := newScene(t, "defer", nil)
	writeMessage(t, s)
	path := s.b.queue.Path("active", sceneID)
	before, _ := os.ReadFile(path)
	offset := int64(bytes.Index(before, []byte("R\x0br@b.example")))
	req := &mailproto.BounceRequest{Command: mailproto.BounceAppend, QueueID: sceneID,
		Recipient: mailproto.Recipient{Addr: "r@b.example", Offset: offset},
		DSN:       dsn.Status{Code: "4.4.1", Action: "delayed", Reason: "refused"}}
	if err := s.b.handle(context.Background(), s.mlog, req); err != nil {
		t.Fatal(err)
	}
	if err := s.handle(&mailproto.BounceRequest{Command: mailproto.BounceFlush, Sender: "s@a.example", Flags: mailproto.BounceDelRcpt}); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(path)
	if after[offset] != 'D' {
		t.Errorf("record type is %q", after[offset])
	}
	if !strings.Contains(s.post.sent[0].content, "\nAction: failed\n") {
		t.Error("an expired recipient is not reported as failed")
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	s := newScene(t, "bounce", nil)
	cases := map[string]*mailproto.BounceRequest{
		"queue id is a path":   {Command: mailproto.BounceFlush, QueueName: "active", QueueID: "../x"},
		"queue name is a path": {Command: mailproto.BounceFlush, QueueName: "../active", QueueID: "ABC12"},
		"status code": {Command: mailproto.BounceAppend, QueueName: "active", QueueID: "ABC12",
			DSN: dsn.Status{Code: "9.9.9\nrecipient=x"}},
	}
	for name, req := range cases {
		if err := s.b.handle(context.Background(), s.mlog, req); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTemplateFile(t *testing.T) {
	path := t.TempDir() + "/bounce.cf"
	write := func(text string) { os.WriteFile(path, []byte(text), 0o600) }
	c, err := config.FromMap(map[string]string{"myhostname": "mail.example.com", "delay_warning_time": "90m"})
	if err != nil {
		t.Fatal(err)
	}
	load := func() (templates, error) { return loadTemplates(path, c) }
	write("# a comment\n\ndelay_template = <<END\nSubject: late\ncharset: us-ascii\n\nat $myhostname for $delay_warning_time_minutes min, $$1\nEND\n")
	ts, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ts.delay.text, "|"); got != "at mail.example.com for 90 min, $1" {
		t.Errorf("text %q", got)
	}
	if ts.delay.subject != "late" || ts.delay.charset != "us-ascii" || ts.delay.from != "Mail Delivery System <MAILER-DAEMON>" {
		t.Errorf("headers %+v", ts.delay)
	}
	for text, want := range map[string]string{
		"x":                                     "line 1: expected",
		"nosuch_template = <<EOF\nEOF\n":        "line 1: unknown template name",
		"\nfailure_template = <<EOF\nabc\n":     "line 2: template failure_template has no end line",
		"failure_template = <<E\nX-Y: z\n\nE\n": "unknown header",
		"failure_template = <<E\nnothing\nE\n":  "malformed header",
	} {
		write(text)
		if _, err := load(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
