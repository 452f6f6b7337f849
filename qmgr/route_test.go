package main

import (
	"errors"
	"testing"

	"sealpost/lib/mailproto"
	"sealpost/lib/rewrite"
)

func TestDeferTransports(t *testing.T) {
	inBubble(t, func(s *system) {
		s.set.DeferTransports = []string{"smtp"}
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		s.wantAsked("4.3.2 deferred transport: u@x.example")
		s.forget()
		s.trigger("FAD")
		s.wantAsked("x.example: u@x.example")
		s.wantIn("A1", "")
	})
}

func TestRouting(t *testing.T) {
	for name, c := range map[string]struct {
		m    mail
		set  func(*system)
		want []string
	}{
		"filter": {m: mail{rcpts: []string{"u@x.example", "v@y.example"}, filter: "smtp:[127.0.0.1]:10025"},
			want: []string{"[127.0.0.1]:10025: u@x.example v@y.example"}},
		"filter without nexthop": {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp:"}, want: []string{"x.example: u@x.example"}},
		"filter default nexthop": {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp:"},
			set: func(s *system) { s.set.DefaultFilterNexthop = "f.example" }, want: []string{"f.example: u@x.example"}},
		"filter default nexthop beside its own": {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp:[127.0.0.1]:10025"},
			set: func(s *system) { s.set.DefaultFilterNexthop = "f.example" }, want: []string{"[127.0.0.1]:10025: u@x.example"}},
		"filter that is a transport": {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp"}, want: []string{"x.example: u@x.example"}},
		"filter and no domain": {m: mail{rcpts: []string{"u"}, filter: "smtp:"},
			set: func(s *system) { s.set.Hostname = "mail.example" }, want: []string{"mail.example: u"}},
		"filter in deferred transports": {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp:h"},
			set: func(s *system) { s.set.DeferTransports = []string{"smtp"} }, want: []string{"4.3.2 deferred transport: u@x.example"}},
		"filter does not see probes": {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp:h", attrs: []string{"trace_flags=512"}}, want: []string{"x.example: u@x.example"}},
		"filter sees recorded mail":  {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp:h", attrs: []string{"trace_flags=1024"}}, want: []string{"h: u@x.example"}},
		"filter and leading minus":   {m: mail{rcpts: []string{"-u@x.example"}, filter: "smtp:h"}, want: []string{"5.1.3 bad address syntax: -u@x.example"}},
		"filter and redirect":        {m: mail{rcpts: []string{"u@x.example"}, filter: "smtp:h", to: "r@r.example"}, want: []string{"r.example: r@r.example"}},
		"leading minus allowed": {m: mail{rcpts: []string{"-u@x.example"}, filter: "smtp:h"},
			set: func(s *system) { s.set.AllowMinUser = true }, want: []string{"h: -u@x.example"}},
		"redirect": {m: mail{rcpts: []string{"u@x.example", "v@y.example"}, to: "r@r.example"}, want: []string{"r.example: r@r.example"}},
		"resolver fails": {m: mail{rcpts: []string{"u@x.example"}},
			set: func(s *system) {
				s.resolve = func(_, _ string) (rewrite.Resolved, error) { return rewrite.Resolved{}, errors.New("table") }
			},
			want: []string{"4.3.0 address resolver failure: u@x.example"}},
		"bad syntax": {m: mail{rcpts: []string{"u@x.example"}},
			set: func(s *system) {
				s.resolve = func(_, r string) (rewrite.Resolved, error) { return rewrite.Resolved{Invalid: true, Recipient: r}, nil }
			},
			want: []string{"5.1.3 bad address syntax: u@x.example"}},
		"leading minus": {m: mail{rcpts: []string{"-u@x.example"}}, want: []string{"5.1.3 bad address syntax: -u@x.example"}},
		"empty":         {m: mail{rcpts: []string{""}}, want: []string{"5.1.3 bad address syntax: "}},
		"verp": {m: mail{sender: "owner@a.example", rcpts: []string{"u@x.example", "v@x.example"}, verp: "+="},
			want: []string{"x.example: u@x.example", "x.example: v@x.example"}},
		"one recipient at a time": {m: mail{rcpts: []string{"u@x.example", "v@x.example"}},
			set:  func(s *system) { t := testTransport(); t.limits.Recipients = 1; s.trans["smtp"] = t },
			want: []string{"x.example: u@x.example", "x.example: v@x.example"}},
		"limit": {m: mail{rcpts: []string{"a@x.example", "b@x.example", "c@x.example"}},
			set:  func(s *system) { t := testTransport(); t.limits.Recipients = 2; s.trans["smtp"] = t },
			want: []string{"x.example: a@x.example b@x.example", "x.example: c@x.example"}},
		"case of the nexthop": {m: mail{rcpts: []string{"b@X.example", "a@x.example"}}, want: []string{"X.example: a@x.example b@X.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(s *system) {
				if c.set != nil {
					c.set(s)
				}
				s.put("incoming", "A1", c.m)
				s.start()
				s.wantAsked(c.want...)
			})
		})
	}
}

func TestDoubleBounceIsDiscarded(t *testing.T) {
	inBubble(t, func(s *system) {
		s.resolve = func(_, r string) (rewrite.Resolved, error) {
			return rewrite.Resolved{Transport: "local", Nexthop: "h", Recipient: r, Class: rewrite.Local}, nil
		}
		s.put("incoming", "A1", mail{sender: "", rcpts: []string{"double-bounce@mail.example.com"}})
		s.start()
		s.wantAsked()
		s.wantServices()
		s.wantIn("A1", "")
	})
}

func TestVERPSender(t *testing.T) {
	for _, c := range []struct{ sender, delims, rcpt, orig, want string }{
		{"owner@a", "+=", "u@b", "", "owner+u=b@a"},
		{"owner@a", "+=", "u@b", "list@c", "owner+list=c@a"},
		{"owner", "-=", "u", "", "owner-u"},
		{"owner@a", "+=", "u", "", "owner+u@a"},
	} {
		r := mailproto.Recipient{Addr: c.rcpt, OrigAddr: c.orig}
		if got := verpSender(c.sender, c.delims, r); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
}
