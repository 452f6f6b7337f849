package main

import (
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/sendopts"
)

// The two requests as bits.
const (
	esmtp = sendopts.RequireTLSESMTP
	noTLS = sendopts.RequireTLSHeader
)

// TestRequireTLSRules: what becomes of the two requests (requiretls.md §8.1, §8.2).
func TestRequireTLSRules(t *testing.T) {
	cases := map[string]struct {
		opts    sendopts.Options
		config  map[string]string
		want    sendopts.Options
		headers bool
		copied  bool // TLS-Required: no
	}{
		"redacted":                       {opts: esmtp, headers: true},
		"redacted, both":                 {opts: esmtp | noTLS, headers: true},
		"redacted, SMTPUTF8 stays":       {opts: esmtp | sendopts.SMTPUTF8Requested, want: sendopts.SMTPUTF8Requested, headers: true},
		"not redacted":                   {opts: esmtp, config: map[string]string{"requiretls_redact_dsn": "no"}, want: esmtp},
		"not redacted, both":             {opts: esmtp | noTLS, config: map[string]string{"requiretls_redact_dsn": "no"}, want: esmtp},
		"TLS-Required: no":               {opts: noTLS, want: noTLS, copied: true},
		"TLS-Required: no, not enabled":  {opts: noTLS, config: map[string]string{"tls_required_enable": "no"}, want: noTLS},
		"REQUIRETLS not enabled at all":  {opts: esmtp, config: map[string]string{"requiretls_enable": "no"}, want: esmtp},
		"only TLS-Required: no enabled":  {opts: esmtp | noTLS, config: map[string]string{"requiretls_enable": "no"}, want: esmtp | noTLS, copied: true},
		"a message without any of these": {},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "bounce", c.config)
			s.add(t, "r@b.example", 0)
			writeMessage(t, s)
			if err := s.handle(&mailproto.BounceRequest{Command: mailproto.BounceFlush, Sender: "s@a.example", SendOpts: c.opts}); err != nil {
				t.Fatal(err)
			}
			n := s.post.sent[0]
			if n.opts != c.want {
				t.Errorf("options of the notification: %v, want %v", n.opts, c.want)
			}
			if strings.Contains(n.content, "the secret body") == c.headers {
				t.Errorf("body returned: %v, want %v", c.headers, !c.headers)
			}
			if strings.Contains(n.content, "\nTLS-Required: no\nAuto-Submitted: ") != c.copied {
				t.Errorf("TLS-Required: no copied: %v, want %v", !c.copied, c.copied)
			}
		})
	}
}

// TestEveryNotificationAboutREQUIRETLS: each kind of notification, redacted and not: who
// gets what part of the message, and whether it asks for REQUIRETLS itself
// (requiretls.md §8.3, decision 3).
func TestEveryNotificationAboutREQUIRETLS(t *testing.T) {
	const (
		failure, failureHeaders = "Undelivered Message", "Undelivered Message Headers"
		message                 = "Message Headers"
		full, part              = "message/rfc822", "text/rfc822-headers"
	)
	type copyOf struct{ to, what, kind string }
	toSender := func(what, kind string) copyOf { return copyOf{"s@a.example", what, kind} }
	toPostmaster := func(what, kind string) copyOf { return copyOf{"postmaster", what, kind} }
	for _, tc := range []struct {
		name, service string
		command       mailproto.BounceCommand
		flags         mailproto.DeliveryFlags
		sender        string
		ret           dsn.Ret
		redacted      []copyOf
		complete      []copyOf
	}{
		{name: "non-delivery", service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example",
			redacted: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)},
			complete: []copyOf{toSender(failure, full), toPostmaster(failureHeaders, part)}},
		{name: "non-delivery, RET=FULL", service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example", ret: dsn.RetFull,
			redacted: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)},
			complete: []copyOf{toSender(failure, full), toPostmaster(failureHeaders, part)}},
		{name: "non-delivery, RET=HDRS", service: "bounce", command: mailproto.BounceFlush, sender: "s@a.example", ret: dsn.RetHdrs,
			redacted: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)},
			complete: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)}},
		{name: "one recipient", service: "bounce", command: mailproto.BounceOne, sender: "s@a.example",
			redacted: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)},
			complete: []copyOf{toSender(failure, full), toPostmaster(failureHeaders, part)}},
		{name: "VERP", service: "bounce", command: mailproto.BounceVERP, sender: "s@a.example",
			redacted: []copyOf{{"s+r=b.example@a.example", failureHeaders, part}, toPostmaster(failureHeaders, part)},
			complete: []copyOf{{"s+r=b.example@a.example", failure, full}, toPostmaster(failureHeaders, part)}},
		{name: "expired", service: "defer", command: mailproto.BounceFlush, sender: "s@a.example",
			redacted: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)},
			complete: []copyOf{toSender(failure, full), toPostmaster(failureHeaders, part)}},
		{name: "delay", service: "defer", command: mailproto.BounceWarn, sender: "s@a.example",
			redacted: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)},
			complete: []copyOf{toSender(failureHeaders, part), toPostmaster(failureHeaders, part)}},
		{name: "success", service: "trace", command: mailproto.BounceTrace, sender: "s@a.example",
			redacted: []copyOf{toSender(message, part)}, complete: []copyOf{toSender(message, part)}},
		{name: "probe", service: "trace", command: mailproto.BounceTrace, flags: mailproto.DeliverUserVerify, sender: "s@a.example",
			redacted: []copyOf{toSender(message, part)}, complete: []copyOf{toSender(message, part)}},
		{name: "double bounce", service: "bounce", command: mailproto.BounceFlush,
			redacted: []copyOf{toPostmaster(failureHeaders, part)}, complete: []copyOf{toPostmaster(failure, full)}},
		{name: "double bounce, one recipient", service: "bounce", command: mailproto.BounceOne,
			redacted: []copyOf{toPostmaster(failureHeaders, part)}, complete: []copyOf{toPostmaster(failure, full)}},
		{name: "delay of a bounce", service: "defer", command: mailproto.BounceWarn,
			redacted: []copyOf{toPostmaster(failureHeaders, part)}, complete: []copyOf{toPostmaster(failure, full)}},
	} {
		for redact, want := range map[string][]copyOf{"yes": tc.redacted, "no": tc.complete} {
			t.Run(tc.name+", redact "+redact, func(t *testing.T) {
				s := newScene(t, tc.service, map[string]string{"requiretls_redact_dsn": redact, "notify_classes": "bounce, 2bounce, delay"})
				writeMessage(t, s)
				req := &mailproto.BounceRequest{Command: tc.command, Sender: tc.sender, SendOpts: esmtp, Ret: tc.ret, VERPDelims: "+=",
					Flags: mailproto.BounceFlags(tc.flags), DSN: dsn.Status{Code: "5.7.30", Action: "failed", Reason: "no server was found"},
					Recipient: mailproto.Recipient{Addr: "r@b.example"}}
				if tc.command != mailproto.BounceOne {
					s.add(t, "r@b.example", 0)
				}
				if err := s.handle(req); err != nil {
					t.Fatal(err)
				}
				if len(s.post.sent) != len(want) {
					t.Fatalf("%d notifications, want %d", len(s.post.sent), len(want))
				}
				for i, n := range s.post.sent {
					w := want[i]
					if n.recipient != w.to || !strings.Contains(n.content, "\nContent-Description: "+w.what+"\nContent-Type: "+w.kind+"\n") {
						t.Errorf("to %s, want to %s with %s, %s:\n%s", n.recipient, w.to, w.what, w.kind, n.content)
					}
					if got := strings.Contains(n.content, "the secret body"); got != (w.kind == full) {
						t.Errorf("to %s: the body is there: %t", n.recipient, got)
					}
					if n.opts.Has(esmtp) != (redact == "no") {
						t.Errorf("to %s: options %v", n.recipient, n.opts)
					}
				}
			})
		}
	}
}

// A notification that cleanup does not take is a line in the log that names the reader.
func TestNotificationThatFails(t *testing.T) {
	classes := map[string]string{"notify_classes": "bounce, 2bounce"}
	for sender, want := range map[string]string{
		"s@a.example": sceneID + ": sender notification failed to <s@a.example>: cleanup is down",
		"":            sceneID + ": postmaster notification failed to <postmaster>: cleanup is down",
	} {
		s := newScene(t, "bounce", classes)
		s.add(t, "r@b.example", 0)
		s.post.fail = true
		err := s.handle(&mailproto.BounceRequest{Command: mailproto.BounceFlush, Sender: sender, SendOpts: esmtp})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", sender, err, want)
		}
	}
}
