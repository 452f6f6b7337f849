package test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sealpost/test/harness"
)

// smuggled would be a second message if a server took what stands before it for
// the end of the first.
const smuggled = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@sink.test>\r\nDATA\r\nevil\r\n"

// outbound are the contents of security-cases.md §2.B. Line endings are CRLF but
// where the case is about them.
func outbound() map[string]string {
	cases := map[string]string{}
	for _, seq := range []string{
		"\n.\n", "\n.\r\n", "\r.\r", "\r.\n", "\r\n.\r", "\r\n.\n", "\n.\r", "\r.\r\n",
		"\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\x00\n.\r\n", "\x00\r\n.\r\n", "\r\n.\x00\r\n",
	} {
		cases[fmt.Sprintf("%q", seq)] = "line" + seq + smuggled
		cases[fmt.Sprintf("%q at the start", seq)] = seq + smuggled
	}
	long := strings.Repeat("x", 998)
	for name, text := range map[string]string{
		"a line of a dot": "a\r\n.\r\n" + smuggled, "two dots": "..\r\nb\r\n", "dot and text": ".x\r\n",
		"the last line has no ending": "a\r\nb", "the last line is a dot without ending": "a\r\n.",
		"a dot behind the cut":           long + ".\r\n" + smuggled,
		"dots only":                      strings.Repeat(".", 5000) + "\r\n",
		"dots behind every cut":          strings.Repeat(long+".", 4) + "\r\n.\r\n",
		"CR at the end of a record":      strings.Repeat("x", 2047) + "\r.\r\n" + smuggled,
		"CRLF over two records":          strings.Repeat("x", 2047) + "\r\n.\r\n" + smuggled,
		"a dot begins a record":          strings.Repeat("x", 2048) + ".\r\n" + smuggled,
		"CRs only":                       strings.Repeat("\r", 5000) + "\n.\r\n" + smuggled,
		"a whole record and a dot line":  strings.Repeat("x", 2048) + "\r\n.\r\n" + smuggled,
		"CR is the first of a record":    strings.Repeat("x", 2048) + "\r.\r\n" + smuggled,
		"a bare LF first in a record":    strings.Repeat("x", 2048) + "\n.\r\n" + smuggled,
		"NULs":                           strings.Repeat("\x00", 3000) + "\r\n.\r\n",
		"nothing":                        "",
		"an empty line and nothing else": "\r\n",
	} {
		cases[name] = text
	}
	return cases
}

// stuff is what a client that follows the rules sends for the content.
func stuff(content string) string {
	if !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	if strings.HasPrefix(content, ".") {
		content = "." + content
	}
	return strings.ReplaceAll(content, "\r\n.", "\r\n..") + ".\r\n"
}

// TestNothingSmuggledLeaves (§2.B): whatever comes in by sendmail, DATA or BDAT
// leaves with one kind of line ending and one end of data, as a message and
// inside a bounce, with long lines cut or not.
func TestNothingSmuggledLeaves(t *testing.T) {
	sink := startStrictSink(t, "PIPELINING", "8BITMIME")
	slow := startStrictSink(t) // without pipelining
	mta := harness.Start(t, harness.Options{Name: "out",
		Params: map[string]string{
			"transport_maps": fmt.Sprintf("inline:{ { sink.test = smtp:%s }, { short.test = short:%s }, { whole.test = whole:%s }, { no.test = error:5.1.1 no such user } }",
				nexthop(sink), nexthop(slow), nexthop(sink)),
			"relay_domains":                        "sink.test, short.test, whole.test, no.test",
			"smtpd_reject_unlisted_recipient":      "no", // u@no.test is taken, and the bounce has the content
			"smtpd_forbid_bare_newline_exclusions": "",
		},
		Services: []string{
			"short unix - - n - - smtp -o smtp_line_length_limit=20",
			"whole unix - - n - - smtp -o smtp_line_length_limit=0",
		}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	rcpts := []string{"u@sink.test", "u@short.test", "u@whole.test", "u@no.test"}
	const header = "From: s@sink.test\r\nSubject: x\r\n\r\n"
	injected := 0
	conn := dialWire(t, mta.SMTP())
	conn.want("EHLO c.test\r\n", "250-")
	for name, body := range outbound() {
		t.Run(name, func(t *testing.T) {
			conn.t = t
			content := header + body
			args := append([]string{"-i", "-f", "s@sink.test", "--"}, rcpts...)
			if _, err := mta.Command(ctx, strings.NewReader(content), "sendmail", args...); err != nil {
				t.Error(err)
			}
			conn.envelope("s@sink.test", rcpts...)
			conn.want("DATA\r\n", "354 ")
			conn.want(stuff(content), "250 2.0.0 Ok: queued")
			conn.envelope("s@sink.test", rcpts...)
			conn.want(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content), "250 2.0.0 Ok: ")
			conn.envelope("s@sink.test", rcpts...)
			half := len(header) + len(body)/2
			conn.want(fmt.Sprintf("BDAT %d\r\n%s", half, content[:half]), "250 2.0.0 Ok: ")
			conn.want(fmt.Sprintf("BDAT %d\r\n%s", len(content)-half, content[half:]), zeroChunk(len(content)-half))
			conn.want("BDAT 0 LAST\r\n", "250 2.0.0 Ok: ")
			conn.want("NOOP\r\n", "250 ")
			injected += 4
		})
	}
	// Each went to two recipients behind the first sink, and a bounce came there.
	for _, m := range sink.wait(ctx, t, 3*injected) {
		if !strings.Contains(m, "Subject: ") {
			t.Errorf("a message without its header: %.200q", m)
		}
	}
	for _, m := range slow.wait(ctx, t, injected) {
		for line := range strings.Lines(m) {
			if len(line) > 21 {
				t.Errorf("a line of %d bytes left: %.60q", len(line)-1, line)
				break
			}
		}
	}
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
}

// zeroChunk is the reply to a chunk that may be empty.
func zeroChunk(size int) string {
	if size == 0 {
		return "551 5.7.1 "
	}
	return "250 2.0.0 Ok: "
}

// TestNothingSmuggledEnters (§2.A): each non-standard end of data, under each
// policy, gives one message per CR LF . CR LF, and nothing in the content is
// taken for a command.
func TestNothingSmuggledEnters(t *testing.T) {
	endings := []string{"\r\n", "\n", "\r", "\r\r\n", "\r\x00\n", "\x00\r\n"}
	sink := startStrictSink(t)
	for _, policy := range []string{"normalize", "note", "reject"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			mta := harness.Start(t, harness.Options{Name: "in", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
				"smtpd_forbid_bare_newline":            policy,
				"smtpd_forbid_bare_newline_exclusions": "",
				"relay_domains":                        "sink.test",
				"transport_maps":                       "inline:{ { sink.test = smtp:" + nexthop(sink) + " } }",
			}})
			accepted := 0
			for _, before := range endings {
				for _, after := range endings {
					if before == "\r\n" && after == "\r\n" {
						continue
					}
					for _, start := range []string{"line", ""} {
						accepted += smuggle(t, mta.SMTP(), start+before+"."+after, policy)
					}
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
			defer cancel()
			mail, err := mta.WaitMail(ctx, "bob", accepted)
			if err != nil || len(mail) != accepted {
				t.Errorf("%d messages, want %d: %v", len(mail), accepted, err)
			}
			for _, m := range mail {
				if strings.Contains(m, "Return-Path: <evil") {
					t.Errorf("a smuggled message:\n%s", m)
				}
			}
		})
	}
}

// smuggle sends one content and counts the messages that were accepted.
func smuggle(t *testing.T, addr, sequence, policy string) (accepted int) {
	t.Helper()
	w := dialWire(t, addr)
	defer w.conn.Close()
	w.want("EHLO c.test\r\n", "250-")
	w.envelope("a@c.test", "bob@in.test")
	w.want("DATA\r\n", "354 ")
	tail := strings.Replace(smuggled, "evil@sink.test", "bob@in.test", 1) + "\r\n.\r\n"
	content := sequence + tail
	w.write(content)
	got := w.reply()
	standard := strings.Index("\r\n"+content, "\r\n.\r\n")
	ends := standard+2 == len("\r\n"+content)-len(".\r\n")
	bareLF := strings.Contains(strings.ReplaceAll("\r\n"+content, "\r\n", ""), "\n")
	switch {
	case strings.HasPrefix(got, "250 2.0.0 Ok: queued"):
		accepted = 1
	case policy != "reject" || !bareLF || !strings.HasPrefix(got, "550 5.5.2 "):
		t.Fatalf("%q: reply %q", content, got)
	}
	if !ends {
		// A true end of data is in the sequence: what follows are commands of this
		// client, given without waiting.
		for got = w.reply(); strings.HasPrefix(got, "250 "); got = w.reply() {
		}
		if !strings.HasPrefix(got, "554 5.5.0 ") {
			t.Fatalf("%q: commands behind the end of data: %q", content, got)
		}
		w.ended()
		return accepted
	}
	w.want("NOOP\r\n", "250 2.0.0 Ok")
	w.want("QUIT\r\n", "221 ")
	w.ended()
	return accepted
}
