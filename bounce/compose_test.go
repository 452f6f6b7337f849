package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/config"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
	"sealpost/test/capture"
)

// recorded is a notification as the recorded daemon wrote it, taken apart.
type recorded struct {
	content []string // all lines after the Date: header
	subject string
	from    string
	text    []string // template text
	id      string   // queue id of the message it is about
	now     int64    // from the boundary
	fields  map[string]string
	rcpts   []map[string]string
	reasons []string
	what    string // Content-Description of the third part
	kind    string // Content-Type of the third part
	message []string
}

const dateForm = "Mon, 02 Jan 2006 15:04:05 -0700 (MST)"

// takeApart reads a recorded stream to cleanup.
func takeApart(t *testing.T, stream []byte) *recorded {
	t.Helper()
	br := bufio.NewReader(bytes.NewReader(stream))
	if _, err := br.ReadString(0); err != nil { // flags NUL value NUL NUL
		t.Fatal(err)
	}
	br.ReadString(0)
	br.ReadByte()
	r := record.NewReader(br, 0)
	rec := &recorded{fields: map[string]string{}}
	for {
		typ, payload, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if typ == record.Extracted {
			break
		}
		if typ == record.Norm {
			rec.content = append(rec.content, string(payload))
		}
	}
	for len(rec.content) > 0 && !strings.HasPrefix(rec.content[0], "From: ") {
		rec.content = rec.content[1:] // PostMail's part
	}
	rec.parse(t)
	return rec
}

func (r *recorded) parse(t *testing.T) {
	t.Helper()
	var boundary string
	for _, l := range r.content {
		if v, ok := strings.CutPrefix(l, "Subject: "); ok && r.subject == "" {
			r.subject = v
		}
		if v, ok := strings.CutPrefix(l, "From: "); ok && r.from == "" {
			r.from = v
		}
		if v, ok := strings.CutPrefix(l, "\tboundary=\""); ok && boundary == "" {
			boundary = strings.TrimSuffix(v, "\"")
		}
	}
	if _, err := fmt.Sscanf(strings.ReplaceAll(boundary, ".", " "), "%s %d/", &r.id, &r.now); err != nil {
		t.Fatalf("boundary %q: %v", boundary, err)
	}
	parts := strings.Split(strings.Join(r.content, "\n"), "\n--"+boundary)
	_, note, _ := strings.Cut(parts[1], "\n\n")
	text, reasons, ok := strings.Cut(note, "\n\n<")
	if !ok {
		text, reasons, _ = strings.Cut("\n"+note, "\n<")
	}
	r.text = strings.Split(text, "\n")
	for _, one := range strings.Split("<"+strings.TrimRight(reasons, "\n"), "\n\n") {
		_, reason, _ := strings.Cut(strings.ReplaceAll(one, "\n    ", " "), ">: ")
		if i := strings.Index(one, " (expanded from <"); i > 0 {
			_, reason, _ = strings.Cut(strings.ReplaceAll(one, "\n    ", " "), ">): ")
		}
		r.reasons = append(r.reasons, reason)
	}
	_, report, _ := strings.Cut(parts[2], "\n\n")
	for i, block := range strings.Split(strings.TrimRight(report, "\n"), "\n\n") {
		m := map[string]string{}
		for _, f := range strings.Split(strings.ReplaceAll(block, "\n    ", " "), "\n") {
			k, v, _ := strings.Cut(f, ": ")
			m[k] = v
		}
		if i == 0 {
			r.fields = m
		} else {
			r.rcpts = append(r.rcpts, m)
		}
	}
	head, message, _ := strings.Cut(parts[3], "\n\n")
	for _, l := range strings.Split(head, "\n") {
		if v, ok := strings.CutPrefix(l, "Content-Description: "); ok {
			r.what = v
		}
		if v, ok := strings.CutPrefix(l, "Content-Type: "); ok {
			r.kind = v
		}
	}
	r.message = strings.Split(strings.TrimSuffix(message, "\n"), "\n")[1:] // without Return-Path:
}

// records turns the report back into status records.
func (r *recorded) records() []queue.StatusRecord {
	var out []queue.StatusRecord
	for i, m := range r.rcpts {
		var rec queue.StatusRecord
		_, final, _ := strings.Cut(m["Final-Recipient"], "; ")
		rec.Recipient = mailproto.Recipient{Addr: address.Unquote(final), OrigRcpt: m["Original-Recipient"], Offset: -1}
		if _, orig, ok := strings.Cut(m["Original-Recipient"], ";"); ok && strings.HasPrefix(orig, "info@") {
			rec.Recipient.OrigAddr = orig
		}
		rec.Status = dsn.Status{Code: m["Status"], Action: m["Action"], Reason: r.reasons[i]}
		rec.Status.MTAType, rec.Status.MTAName, _ = strings.Cut(m["Remote-MTA"], "; ")
		if typ, text, _ := strings.Cut(m["Diagnostic-Code"], "; "); typ != "X-Postfix" {
			rec.Status.DiagType, rec.Status.DiagText = typ, text
		}
		out = append(out, rec)
	}
	return out
}

func testBouncer(t *testing.T, values map[string]string) *bouncer {
	t.Helper()
	all := map[string]string{"myhostname": "mail.example.com", "mail_name": "Postfix"}
	for k, v := range values {
		all[k] = v
	}
	c, err := config.FromMap(all)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{"bounce", "defer", "trace"} {
		if err := os.Mkdir(dir+"/"+d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b, err := newBouncer(c, queue.New(dir, queue.Settings{}), "bounce")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// contentFile makes a file that has a message's content at offset 0.
func contentFile(t *testing.T, lines []string) *os.File {
	t.Helper()
	var b []byte
	for _, l := range lines {
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
	return f
}

func composed(t *testing.T, b *bouncer, n *notice, r *report) []string {
	t.Helper()
	var got []string
	w := &lineWriter{record: func(_ record.Type, p []byte) { got = append(got, string(p)) }}
	if err := b.compose(w, n, r); err != nil {
		t.Fatal(err)
	}
	w.close()
	return got
}

// TestNotificationsMatchTheRecordings takes each recorded notification apart,
// composes it anew from the pieces and compares every line.
func TestNotificationsMatchTheRecordings(t *testing.T) {
	conns := capture.Conns(t, "cleanup-from-bounce*")
	if len(conns) < 20 {
		t.Fatalf("only %d recordings", len(conns))
	}
	for _, c := range conns {
		t.Run(c.Name(), func(t *testing.T) {
			want := takeApart(t, c.Client)
			b := testBouncer(t, nil)
			b.now = func() time.Time { return time.Unix(want.now, 0).UTC() }
			senderType, sender, _ := strings.Cut(want.fields["X-Postfix-Sender"], "; ")
			arrival, err := time.Parse(dateForm, want.fields["Arrival-Date"])
			if err != nil {
				t.Fatal(err)
			}
			n := &notice{
				req: &mailproto.BounceRequest{QueueID: want.id, EnvelopeID: want.fields["Original-Envelope-Id"]},
				log: maillog.Discard(), sender: address.Unquote(sender), rcpts: want.records(),
				file: contentFile(t, want.message), msg: &queue.Message{Arrival: arrival.UTC(), CreateTime: arrival.UTC()},
			}
			if senderType == "utf-8" {
				n.sendOpts = sendopts.SMTPUTF8Requested
			}
			full := !strings.HasSuffix(want.what, "Headers")
			if !full {
				n.file = contentFile(t, append(want.message, "", "body that must not be returned"))
			}
			to := ""
			for _, l := range want.content {
				if v, ok := strings.CutPrefix(l, "To: "); ok {
					to = address.Unquote(v)
					break
				}
			}
			got := composed(t, b, n, &report{
				template: &template{charset: "utf-8", from: want.from, subject: want.subject, text: want.text,
					delivered: !strings.HasPrefix(want.what, "Undelivered")},
				recipient: to, full: full, rcpts: n.rcpts,
				retry: strings.HasPrefix(want.subject, "Delayed"),
			})
			for i := range max(len(got), len(want.content)) {
				var g, w string
				if i < len(got) {
					g = got[i]
				}
				if i < len(want.content) {
					w = want.content[i]
				}
				if g != w {
					t.Fatalf("line %d:\n got %q\nwant %q", i+1, g, w)
				}
			}
		})
	}
}

func TestReturnedMessage(t *testing.T) {
	lines := []string{"Subject: secret", "\tfolded", "X-Other: y", "", "the body", "From inside"}
	cases := map[string]struct {
		full     bool
		redacted bool
		limit    string
		size     int64
		opts     sendopts.Options
		kind     string
		body     bool
	}{
		"whole message":                     {full: true, kind: "message/rfc822", body: true},
		"headers":                           {kind: "text/rfc822-headers"},
		"above bounce_size_limit":           {full: true, limit: "10", size: 11, kind: "text/rfc822-headers"},
		"REQUIRETLS":                        {full: true, redacted: true, kind: "text/rfc822-headers"},
		"whole SMTPUTF8 message":            {full: true, opts: sendopts.SMTPUTF8Requested, kind: "message/global", body: true},
		"headers of an SMTPUTF8 message":    {opts: sendopts.SMTPUTF8Requested, kind: "message/global-headers"},
		"SMTPUTF8 needed but not requested": {full: true, opts: sendopts.SMTPUTF8Sender, kind: "message/rfc822", body: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			values := map[string]string{}
			if c.limit != "" {
				values["bounce_size_limit"] = c.limit
			}
			b := testBouncer(t, values)
			n := &notice{req: &mailproto.BounceRequest{QueueID: "ABC12"}, redacted: c.redacted, sendOpts: c.opts,
				file: contentFile(t, lines), msg: &queue.Message{DataSize: c.size}}
			got := strings.Join(composed(t, b, n, &report{template: &b.templates.failure, recipient: "s@a.example", full: c.full}), "\n")
			if !strings.Contains(got, "\nContent-Type: "+c.kind+"\n") {
				t.Errorf("no part of type %s in\n%s", c.kind, got)
			}
			if strings.Contains(got, "the body") != c.body {
				t.Errorf("body returned: %v, want %v", !c.body, c.body)
			}
			if !strings.Contains(got, "Subject: secret\n\tfolded\nX-Other: y") {
				t.Errorf("headers are missing in\n%s", got)
			}
		})
	}
}

func TestForeignTextCannotForgeLines(t *testing.T) {
	b := testBouncer(t, nil)
	evil := "550\r\nSubject: forged\r\n\r\n--boundary\x1b]0;x\x07\u0085"
	n := &notice{req: &mailproto.BounceRequest{QueueID: "ABC12", EnvelopeID: evil}, sender: "a\r\nBcc: x@a.example", sendOpts: sendopts.RequireTLSHeader}
	rcpts := []queue.StatusRecord{{
		Recipient: mailproto.Recipient{Addr: "r\r\nX: y@b.example", OrigRcpt: "rfc822;" + evil},
		Status:    dsn.Status{Code: "5.0.0", Action: "failed", Reason: evil, DiagType: "smtp", DiagText: evil, MTAType: "dns", MTAName: evil},
	}}
	for _, l := range composed(t, b, n, &report{template: &b.templates.failure, recipient: n.sender, rcpts: rcpts}) {
		for _, bad := range []string{"Subject: forged", "Bcc:", "X: y"} {
			if strings.HasPrefix(l, bad) {
				t.Errorf("forged line %q", l)
			}
		}
		if strings.ContainsAny(l, "\r\x1b\x07\u0085") {
			t.Errorf("control character in %q", l)
		}
	}
}

func TestWrapping(t *testing.T) {
	cases := map[string]string{
		"short":                 "short\r\n",
		"":                      "\r\n",
		strings.Repeat("x", 90): strings.Repeat("x", 90) + "\r\n",
		"name: " + strings.Repeat("y", 90) + " end":                           "name:\r\n    " + strings.Repeat("y", 90) + "\r\n    end\r\n",
		strings.Repeat("a ", 39) + "b":                                        strings.Repeat("a ", 39) + "b\r\n",
		strings.Repeat("a ", 39) + "bb":                                       strings.TrimRight(strings.Repeat("a ", 39), " ") + "\r\n    bb\r\n",
		strings.Repeat("a ", 39) + "bb " + strings.Repeat("c ", 36) + "ddddd": strings.TrimRight(strings.Repeat("a ", 39), " ") + "\r\n    bb " + strings.TrimRight(strings.Repeat("c ", 36), " ") + "\r\n    ddddd\r\n",
	}
	for in, want := range cases {
		var out bytes.Buffer
		bw := bufio.NewWriter(&out)
		writeWrapped(bw, in)
		bw.Flush()
		if out.String() != want {
			t.Errorf("%q:\n got %q\nwant %q", in, out.String(), want)
		}
	}
}

func TestLongLinesAreCut(t *testing.T) {
	var types []record.Type
	var text string
	w := &lineWriter{record: func(typ record.Type, p []byte) { types = append(types, typ); text += string(p) }}
	long := strings.Repeat("x", 3*maxLine+5)
	io.WriteString(w, long+"\r\n")
	io.WriteString(w, "no end")
	w.close()
	if text != long+"no end" {
		t.Errorf("text has %d bytes", len(text))
	}
	if n := len(types); types[n-2] != record.Norm || types[n-1] != record.Norm || types[0] != record.Cont {
		t.Errorf("types %q", types)
	}
}
