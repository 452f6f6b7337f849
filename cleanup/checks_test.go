package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

// checkTables are the tables that the test's messages meet.
const headerTable = `
/^Reject-It:/ REJECT not here
/^Reject-Dsn:/ REJECT 5.7.99 with code
/^Reject-Bare:/ REJECT
/^Reject-Now:/ REJECT 4.7.1 try later
/^Reject-Odd:/ REJECT 2.1.5 odd
/^Warn-It:/ WARN careful
/^Info-It:/ INFO for you
/^Filter-It:/ FILTER smtp:[127.0.0.1]:9
/^Filter-Bad:/ FILTER nonsense
/^Pass-It:/ PASS
/^Discard-It:/ DISCARD gone
/^Hold-It:/ HOLD wait
/^Prepend-It:/ PREPEND X-Pre: pended
/^Prepend-Empty:/ PREPEND
/^Prepend-Body:/ PREPEND not a header
/^Replace-It:/ REPLACE X-Replaced: yes
/^Replace-Body:/ REPLACE not a header
/^Replace-Empty:/ REPLACE
/^Replace-TLS:/ REPLACE TLS-Required: no
/^Redirect-It:/ REDIRECT carol@virt.example
/^Redirect-Bad:/ REDIRECT nodomain
/^Bcc-It:/ BCC dave@virt.example
/^Strip-It:/ STRIP stripped
/^Ignore-It:/ IGNORE
/^TLS-Required: No/ IGNORE
/^Dunno-It:/ DUNNO
/^Ok-It:/ OK
/^Bogus-It:/ BOGUS text
/^X-After: fail/ WARN after
/^To: nested/ WARN must not be asked
/^Content-Type: text.evil/ WARN must not be asked
`

const bodyTable = `
/bodyreject/ REJECT bad body
/bodywarn/ WARN body warned
/bodyreplace/ REPLACE replaced line
/bodyprepend/ PREPEND prepended line
/bodyignore/ IGNORE
/bodystrip/ STRIP s
/bodypass/ PASS
/bodybcc/ BCC eve@virt.example
/must not be seen/ REJECT limit
`

func checkedHouse(t *testing.T, values map[string]string) *logged {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{}
	for name, text := range map[string]string{"header_checks": headerTable, "body_checks": bodyTable,
		"mime_header_checks":   "/^X-Mime:/ WARN mime part header\n/^Content-Type: text.evil/ WARN mime evil\n/^X-Gone:/ IGNORE\n",
		"nested_header_checks": "/^X-Nested:/ WARN nested header\n"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		all[name] = "regexp:" + path
	}
	for name, value := range values {
		all[name] = value
	}
	h := &logged{house: newHouse(t, t.TempDir(), all)}
	h.w.log = maillog.New(maillog.Options{Program: "cleanup", Writer: &h.log})
	return h
}

// logged is a house whose log is kept.
type logged struct {
	*house
	log strings.Builder
}

// submit sends a message of header and body lines and returns what cleanup answered and
// the records of the file, if there is one.
func (h *house) submit(t *testing.T, flags mailproto.CleanupFlags, message string) (reply mailproto.CleanupReply, content string, list []rec) {
	t.Helper()
	in := []string{"T1795378728 1", "Arewrite_context=remote", "Alog_message_origin=client.example[192.0.2.1]", "Alog_helo_name=c",
		"Alog_protocol_name=ESMTP", "Sq@b.example", "Rbob@virt.example", "M"}
	for line := range strings.Lines(message) {
		in = append(in, "N"+strings.TrimSuffix(line, "\n"))
	}
	_, r := h.session(stream(flags, append(in, "X", "E")...))
	if r == nil {
		t.Fatal("no reply")
	}
	for _, file := range h.files() {
		list = readRecords(t, file)
		inside := false
		for _, rec := range list {
			switch rec.t {
			case record.Message:
				inside = true
			case record.Extracted:
				inside = false
			case record.Norm, record.Cont:
				if inside {
					content += rec.p
				}
				if inside && rec.t == record.Norm {
					content += "\n"
				}
			}
		}
	}
	return *r, content, list
}

const checkFlags = mailproto.CleanupFilter | mailproto.CleanupMap | mailproto.CleanupSMTPReply

// TestChecks has actions, log lines and replies as they were seen of Debian's Postfix.
// In a log line QID stands for the queue id.
func TestChecks(t *testing.T) {
	const from = " from client.example[192.0.2.1]; from=<q@b.example> to=<bob@virt.example> proto=ESMTP helo=<c>"
	const kept = "Subject: t\n%s: value\n folded\nX-After: 1\n\nhello\n"
	for _, tt := range []struct {
		header  string // with "value" and a folded line
		content string // "-": nothing is left; %s is the header as it was
		log     string
		reply   string
	}{
		{"Reject-It", "-", "reject: header Reject-It: value? folded" + from + ": 5.7.1 not here", "5.7.1 not here"},
		{"Reject-Dsn", "-", "reject: header Reject-Dsn: value? folded" + from + ": 5.7.99 with code", "5.7.99 with code"},
		{"Reject-Bare", "-", "reject: header Reject-Bare: value? folded" + from + ": 5.7.1 message content rejected", "5.7.1 message content rejected"},
		{"Reject-Now", "-", "reject: header Reject-Now: value? folded" + from + ": 4.7.1 try later", "4.7.1 try later"},
		{"Reject-Odd", "-", `bad status code in header_checks map: "REJECT 2.1.5 odd" -- need 4.x.x or 5.x.x`, "4.1.5 odd"},
		{"Warn-It", kept, "warning: header Warn-It: value? folded" + from + ": careful", ""},
		{"Info-It", kept, "info: header Info-It: value? folded" + from + ": for you", ""},
		{"Filter-It", kept, "filter: header Filter-It: value? folded" + from + ": smtp:[127.0.0.1]:9", ""},
		{"Filter-Bad", kept, `bad FILTER target "nonsense" in header_checks map -- need transport:destination`, ""},
		{"Pass-It", kept, "pass: header Pass-It: value? folded" + from + "\n", ""},
		{"Discard-It", "-", "discard: header Discard-It: value? folded" + from + ": gone", ""},
		{"Hold-It", kept, "hold: header Hold-It: value? folded" + from + ": wait", ""},
		{"Prepend-It", "Subject: t\nX-Pre: pended\n" + strings.TrimPrefix(kept, "Subject: t\n"), "prepend: header Prepend-It: value? folded" + from + ": X-Pre: pended", ""},
		{"Prepend-Empty", kept, "PREPEND action without text in header_checks map", ""},
		{"Prepend-Body", kept, `bad PREPEND header text "not a header" in header_checks map -- need "headername: headervalue"`, ""},
		{"Replace-It", "Subject: t\nX-Replaced: yes\nX-After: 1\n\nhello\n", "replace: header Replace-It: value? folded" + from + ": X-Replaced: yes", ""},
		{"Replace-Body", kept, `bad REPLACE header text "not a header" in header_checks map -- need "headername: headervalue"`, ""},
		{"Replace-Empty", kept, "REPLACE action without text in header_checks map", ""},
		{"Redirect-It", kept, "redirect: header Redirect-It: value? folded" + from + ": carol@virt.example", ""},
		{"Redirect-Bad", kept, `bad REDIRECT target "nodomain" in header_checks map -- need user@domain`, ""},
		{"Bcc-It", kept, "bcc: header Bcc-It: value? folded" + from + ": dave@virt.example", ""},
		{"Strip-It", "Subject: t\nX-After: 1\n\nhello\n", "strip: header Strip-It: value? folded" + from + ": stripped", ""},
		{"Ignore-It", "Subject: t\nX-After: 1\n\nhello\n", "", ""},
		{"Dunno-It", kept, "", ""},
		{"Ok-It", kept, "", ""},
		{"Bogus-It", kept, `unknown command in header_checks map: "BOGUS text"`, ""},
		{"Nothing", kept, "", ""},
	} {
		t.Run(tt.header, func(t *testing.T) {
			h := checkedHouse(t, nil)
			reply, content, _ := h.submit(t, checkFlags, strings.ReplaceAll(kept, "%s", tt.header))
			want := strings.ReplaceAll(tt.content, "%s", tt.header)
			if want == "-" {
				want = ""
			}
			if content != want {
				t.Errorf("content\n%s\nwant\n%s", content, want)
			}
			if (reply.Status != 0) != (tt.reply != "") || reply.Reason != tt.reply {
				t.Errorf("reply %+v, want reason %q", reply, tt.reply)
			}
			if now := reply.Status == mailproto.CleanupDefer; now != strings.HasPrefix(tt.reply, "4") {
				t.Errorf("status %d with reason %q", reply.Status, tt.reply)
			}
			if got := h.log.String(); !strings.Contains(got, tt.log) || tt.log == "" && strings.Contains(got, " header ") {
				t.Errorf("log\n%s\nwant %s", got, tt.log)
			}
		})
	}
}

func TestBodyChecks(t *testing.T) {
	for _, tt := range []struct{ body, want, log string }{
		{"first\nbodywarn\nlast\n", "first\nbodywarn\nlast\n", "warning: body bodywarn from client.example[192.0.2.1]; "},
		{"first\nbodyreplace\nlast\n", "first\nreplaced line\nlast\n", "replace: body bodyreplace from "},
		{"first\nbodyprepend\nlast\n", "first\nprepended line\nbodyprepend\nlast\n", "prepend: body "},
		{"first\nbodyignore\nlast\n", "first\nlast\n", ""},
		{"first\nbodystrip\nlast\n", "first\nlast\n", "strip: body bodystrip from "},
		{"first\nbodypass\nbodyreject\n", "first\nbodypass\nbodyreject\n", "pass: body bodypass from "},
		{"first\nbodyreject\nlast\n", "", "reject: body bodyreject from client.example[192.0.2.1]; from=<q@b.example> to=<bob@virt.example> proto=ESMTP helo=<c>: 5.7.1 bad body"},
		{strings.Repeat("x", 60000) + "\nmust not be seen\n", strings.Repeat("x", 60000) + "\nmust not be seen\n", ""},
	} {
		h := checkedHouse(t, nil)
		_, content, _ := h.submit(t, checkFlags, "Subject: b\n\n"+tt.body)
		if want := "Subject: b\n\n" + tt.want; content != want && tt.want != "" || tt.want == "" && content != "" {
			t.Errorf("%.40q: content\n%.200s\nwant\n%.200s", tt.body, content, want)
		}
		if !strings.Contains(h.log.String(), tt.log) {
			t.Errorf("%.40q: log %s, want %s", tt.body, h.log.String(), tt.log)
		}
	}
}

// TestMIMEChecks: each header meets the table for its kind, and no other.
func TestMIMEChecks(t *testing.T) {
	const message = "Subject: m\nContent-Type: multipart/mixed; boundary=b\n\n--b\nX-Mime: 1\nX-Gone: 1\nContent-Type: message/rfc822\n\n" +
		"X-Nested: 1\nTo: nested\n\nbodywarn\n--b--\n"
	h := checkedHouse(t, nil)
	_, content, _ := h.submit(t, checkFlags, message)
	if want := strings.Replace(message, "X-Gone: 1\n", "", 1); content != want {
		t.Errorf("content\n%s\nwant\n%s", content, want)
	}
	log := h.log.String()
	for _, want := range []string{"warning: header X-Mime: 1 from ", ": mime part header", "warning: header X-Nested: 1 from ", ": nested header", "warning: body bodywarn from "} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	if strings.Contains(log, "must not be asked") {
		t.Errorf("a wrong table was asked:\n%s", log)
	}
	h = checkedHouse(t, nil)
	h.submit(t, checkFlags, "Subject: m\nContent-Type: text/evil\n\nx\n")
	if !strings.Contains(h.log.String(), "warning: header Content-Type: text/evil from ") || !strings.Contains(h.log.String(), ": mime evil") {
		t.Errorf("MIME header of the message: %s", h.log.String())
	}
	h = checkedHouse(t, map[string]string{"disable_mime_input_processing": "yes"})
	h.submit(t, checkFlags, message)
	if log := h.log.String(); strings.Contains(log, "X-Mime") || strings.Contains(log, "X-Nested") || !strings.Contains(log, "body bodywarn") {
		t.Errorf("without MIME: %s", log)
	}
}

// TestChecksAreOff: without the flag nothing is looked at, and what passes is the message
// byte for byte.
func TestChecksAreOff(t *testing.T) {
	const message = "Reject-It: 1\nX-Odd:  two  blanks \n\nbodyreject\n\n.\ntail\n"
	h := checkedHouse(t, nil)
	reply, content, _ := h.submit(t, mailproto.CleanupMap, message)
	if reply.Status != 0 || content != message {
		t.Errorf("%+v\n%s", reply, content)
	}
}

// TestChecksAndRequireTLS: a header that a table removed does not count, and one that a
// table wrote in place of another does (requiretls.md §3.2).
func TestChecksAndRequireTLS(t *testing.T) {
	for header, want := range map[string]string{"TLS-Required: No": "0", "Replace-TLS: x": "16", "Require-TLS-ESMTP: yes": "32"} {
		h := checkedHouse(t, nil)
		_, _, list := h.submit(t, checkFlags, header+"\n\nx\n")
		if f := strings.Fields(list[0].p); f[5] != want {
			t.Errorf("%s: sendopts %s, want %s", header, f[5], want)
		}
	}
}

// TestCheckTableFails: the client is told to come again.
func TestCheckTableFails(t *testing.T) {
	for _, param := range []string{"header_checks", "body_checks"} {
		h := checkedHouse(t, map[string]string{param: "fail:x"})
		reply, content, _ := h.submit(t, checkFlags, "Subject: x\n\nbody\n")
		if reply.Status&mailproto.CleanupDefer == 0 || content != "" {
			t.Errorf("%s: %+v, %q", param, reply, content)
		}
		if !strings.Contains(h.log.String(), param) || !strings.Contains(h.log.String(), "fail:x") {
			t.Errorf("%s: log %s", param, h.log.String())
		}
	}
}

// TestCheckTargets: FILTER, REDIRECT and BCC are in the queue file where qmgr looks.
func TestCheckTargets(t *testing.T) {
	h := checkedHouse(t, nil)
	_, _, list := h.submit(t, checkFlags, "Filter-It: 1\nRedirect-It: 1\nBcc-It: 1\nSubject: x\n\nbodybcc\n")
	for types, want := range map[string]string{string(rune(record.Filter)): "smtp:[127.0.0.1]:9", string(rune(record.Redirect)): "carol@virt.example",
		string(rune(record.Rcpt)): "bob@virt.example dave@virt.example eve@virt.example"} {
		if got := strings.Join(lines(list, types), " "); got != want {
			t.Errorf("%s records %q, want %q", types, got, want)
		}
	}
}
