package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/lib/agent"
	"sealpost/lib/config"
	"sealpost/lib/dsn"
	"sealpost/lib/mailbox"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// newAgent makes an agent whose mailboxes are below dir.
func newAgent(t *testing.T, dir string, values map[string]string) *virtualAgent {
	t.Helper()
	all := map[string]string{
		"myhostname": "mx.b.example", "virtual_mailbox_base": dir, "recipient_delimiter": "+",
		"virtual_mailbox_maps": "inline:{ {user@b.example=user/}, {box@b.example=box}, {up@b.example=../up/}, {@any.example=all/} }",
	}
	for k, v := range values {
		all[k] = v
	}
	c, err := config.FromMap(all)
	if err != nil {
		t.Fatal(err)
	}
	v := &virtualAgent{users: mailbox.NewUsers(), now: func() time.Time { return time.Date(2026, 11, 22, 20, 18, 3, 0, time.UTC) }}
	if err := c.Decode(&v.set); err != nil {
		t.Fatal(err)
	}
	env := table.Env{Warnf: t.Logf}
	v.boxes = table.OpenMaps(env, "virtual_mailbox_maps", v.set.Maps)
	v.uids = table.OpenMaps(env, "virtual_uid_maps", v.set.UIDMaps)
	v.gids = table.OpenMaps(env, "virtual_gid_maps", v.set.GIDMaps)
	return v
}

// delivery is a request for a message with one line of header and body.
func delivery(t *testing.T, flags mailproto.DeliveryFlags) *agent.Delivery {
	t.Helper()
	var b []byte
	for _, l := range []string{"Subject: x", "", "body"} {
		b = record.Append(b, record.Norm, l)
	}
	b = record.Append(b, record.Extracted, "")
	f, err := os.CreateTemp(t.TempDir(), "msg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	return &agent.Delivery{File: f, Req: &mailproto.DeliveryRequest{QueueID: "ABC12", Sender: "s@a.example", Flags: flags}}
}

// files are the regular files below dir, relative to it.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return nil
	})
	return out
}

func TestRecipients(t *testing.T) {
	cases := map[string]struct {
		addr   string
		config map[string]string
		flags  mailproto.DeliveryFlags
		want   dsn.Status
		file   string // prefix of the only file that is made; empty: none
	}{
		"Maildir":            {addr: "user@b.example", want: dsn.Status{Code: "2.0.0", Action: "delivered", Reason: "delivered to maildir"}, file: "user/new/"},
		"mailbox file":       {addr: "box@b.example", want: dsn.Status{Code: "2.0.0", Action: "delivered", Reason: "delivered to mailbox"}, file: "box"},
		"upper case":         {addr: "USER@B.Example", want: dsn.Status{Code: "2.0.0", Action: "delivered", Reason: "delivered to maildir"}, file: "user/new/"},
		"extension":          {addr: "user+list@b.example", want: dsn.Status{Code: "2.0.0", Action: "delivered", Reason: "delivered to maildir"}, file: "user/new/"},
		"domain entry":       {addr: "who@any.example", want: dsn.Status{Code: "2.0.0", Action: "delivered", Reason: "delivered to maildir"}, file: "all/new/"},
		"unknown":            {addr: "nosuch@b.example", want: dsn.Status{Code: "5.1.1", Reason: `unknown user: "nosuch@b.example"`}},
		"probe, Maildir":     {addr: "user@b.example", flags: mailproto.DeliverUserVerify, want: dsn.Status{Code: "2.0.0", Reason: "delivers to maildir"}},
		"probe, mailbox":     {addr: "box@b.example", flags: mailproto.DeliverMTAVerify, want: dsn.Status{Code: "2.0.0", Reason: "delivers to mailbox"}},
		"probe, unknown":     {addr: "x@b.example", flags: mailproto.DeliverUserVerify, want: dsn.Status{Code: "5.1.1", Reason: `unknown user: "x@b.example"`}},
		"out of the tree":    {addr: "up@b.example", want: dsn.Status{Code: "4.3.5", Reason: "mail system configuration error"}},
		"table fails":        {addr: "user@b.example", config: map[string]string{"virtual_mailbox_maps": "fail:maps"}, want: dsn.Status{Code: "4.3.0", Reason: "mailbox lookup failure"}},
		"base not absolute":  {addr: "user@b.example", config: map[string]string{"virtual_mailbox_base": ""}, want: dsn.Status{Code: "4.3.5", Reason: "mail system configuration error"}},
		"above the limit":    {addr: "user@b.example", config: map[string]string{"virtual_mailbox_limit": "20", "message_size_limit": "20"}, want: dsn.Status{Code: "5.2.2"}},
		"mailbox over limit": {addr: "box@b.example", config: map[string]string{"virtual_mailbox_limit": "20", "message_size_limit": "20"}, want: dsn.Status{Code: "5.2.2"}, file: "box"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v := newAgent(t, dir, c.config)
			d := delivery(t, c.flags)
			got := v.recipient(context.Background(), d, &mailproto.Recipient{Addr: c.addr, OrigAddr: "orig@b.example"})
			if c.want.Reason == "" {
				got.Reason = ""
			}
			if got != c.want {
				t.Errorf("status %+v, want %+v", got, c.want)
			}
			made := files(t, dir)
			if c.file == "" && len(made) > 0 || c.file != "" && (len(made) != 1 || !strings.HasPrefix(made[0], c.file)) {
				t.Errorf("files %q, want %q", made, c.file)
			}
		})
	}
}

func TestHeadersOfADeliveredMessage(t *testing.T) {
	dir := t.TempDir()
	v := newAgent(t, dir, nil)
	d := delivery(t, 0)
	d.Req.Sender = "a b\r\nBcc: x@a.example"
	if got := v.recipient(context.Background(), d, &mailproto.Recipient{Addr: "User@b.example", OrigAddr: "orig@b.example"}); got.Code != "2.0.0" {
		t.Fatalf("status %+v", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, files(t, dir)[0]))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"Return-Path: <", "X-Original-To: orig@b.example", "Delivered-To: User@b.example", "Subject: x", "", "body", ""} {
		lines := strings.Split(string(text), "\n")
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) || (want == "") != (lines[i] == "") {
			t.Fatalf("message:\n%s", text)
		}
	}
}

func TestOwner(t *testing.T) {
	cases := map[string]struct {
		uid, gid string
		want     mailbox.ID
		err      string
	}{
		"numbers":        {uid: "static:5000", gid: "static:5001", want: mailbox.ID{UID: 5000, GID: 5001}},
		"by recipient":   {uid: "inline:{ {user@b.example=5002} }", gid: "static:8", want: mailbox.ID{UID: 5002, GID: 8}},
		"below minimum":  {uid: "static:99", gid: "static:99", err: "below virtual_minimum_uid 100"},
		"root":           {uid: "static:0", gid: "static:99", err: "below virtual_minimum_uid"},
		"group of root":  {uid: "static:5000", gid: "static:0", err: "gid 0"},
		"not a number":   {uid: "static:mail", gid: "static:8", err: "not a numeric id"},
		"negative":       {uid: "static:-1", gid: "static:8", err: "not a numeric id"},
		"no entry":       {uid: "inline:{ {x@b.example=5002} }", gid: "static:8", err: "virtual_uid_maps has no entry"},
		"group no entry": {uid: "static:5000", gid: "inline:{ {x@b.example=1} }", err: "virtual_gid_maps has no entry"},
		"table fails":    {uid: "fail:uids", gid: "static:8", err: "fail:uids"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			v := newAgent(t, t.TempDir(), map[string]string{"virtual_uid_maps": c.uid, "virtual_gid_maps": c.gid})
			v.root = true
			got, err := v.owner(context.Background(), "user@b.example", table.AddrSearch{Delimiters: "+"})
			if c.err == "" && (err != nil || got != c.want) {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestLimitsThatContradictAreNamed(t *testing.T) {
	c, err := config.FromMap(map[string]string{"virtual_mailbox_limit": "10", "message_size_limit": "20"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := initVirtual(&service.Env{Config: c}); err == nil || !strings.Contains(err.Error(), "virtual_mailbox_limit (10)") {
		t.Errorf("error %v", err)
	}
}
