package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"sealpost/lib/proxyfilter/filtertest"
	"sealpost/lib/service"
)

func FuzzParseBdat(f *testing.F) {
	for _, s := range []string{"0", "5 LAST", "-1", "+4", "0x4", "9223372036854775807 LAST", "99999999999999999999", "3 LAST x", "", "  7  last "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		size, last, ok := parseBdat(arg)
		if !ok {
			return
		}
		fields := strings.FieldsFunc(arg, func(r rune) bool { return r == ' ' || r == '\t' })
		if size < 0 || strings.TrimLeft(fields[0], "0") != strings.TrimLeft(itoa(size), "0") || last != (len(fields) == 2) || len(fields) > 2 {
			t.Errorf("%q: %d, %v", arg, size, last)
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"SIZE=1 BODY=8BITMIME", "RET=FULL ENVID=a+2Bb", "NOTIFY=NEVER ORCPT=rfc822;a+40b", `ORCPT=utf-8;\x{f6}`, "ENVID=+0D", "SMTPUTF8 SMTPUTF8"} {
		f.Add(s)
	}
	s := &session{p: &profile{settings: &settings{SMTPUTF8: true}}}
	f.Fuzz(func(t *testing.T, list string) {
		if mail, reply := s.parseMailParams(list); reply == "" {
			if hasControl(mail.envID) || mail.announced < 0 || !mail.ret.Valid() {
				t.Errorf("%q: %+v", list, mail)
			}
		}
		if rcpt, reply := s.parseRcptParams(list); reply == "" {
			if hasControl(rcpt.orcpt) || !rcpt.notify.Valid() || !utf8.ValidString(rcpt.orcpt) {
				t.Errorf("%q: %+v", list, rcpt)
			}
		}
	})
}

// FuzzSession feeds bytes to a session. Whatever they are, each reply is a line
// with a code, nothing comes after the end, and what cleanup gets has no line
// breaks in its envelope.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<bob@virt.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@virt.example>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\n",
		"HELO x\r\nVRFY <bob@virt.example>\r\nETRN #x\r\n", "GET / HTTP/1.0\r\n\r\n",
		"XCLIENT NAME=a.b ADDR=IPV6:::1 HELO=+0A LOGIN=x\r\nEHLO x\r\n", "XFORWARD NAME=a IDENT=+20 HELO=+FF PROTO=+0D\r\nMAIL FROM:<a@b>\r\nRCPT TO:<bob@virt.example>\r\n",
		"MAIL FROM:<\"a\rb\"@c>\r\nRCPT TO:<@a:b@c> NOTIFY=NEVER ORCPT=rfc822;+0A\r\n",
	} {
		f.Add([]byte(s))
	}
	r := newRig(f, "smtpd_forbid_unauth_pipelining=no", "mynetworks=10.0.0.0/8", mayPose, mayForward)
	r.srv.env.Log = nil
	f.Fuzz(func(t *testing.T, input []byte) {
		r.cleanup.done, r.cleanup.canceled = nil, nil
		conn := &scripted{in: bytes.NewReader(input)}
		r.srv.serve(context.Background(), &service.Session{Conn: conn})
		for line := range strings.Lines(conn.out.String()) {
			if len(line) < 6 || !isDigit(line[0]) || !isDigit(line[1]) || !isDigit(line[2]) || line[3] != ' ' && line[3] != '-' || !strings.HasSuffix(line, "\r\n") {
				t.Errorf("%q: reply line %q", input, line)
			}
		}
		for _, m := range append(r.cleanup.done, r.cleanup.canceled...) {
			for _, field := range append(m.rcpts, m.sender) {
				if hasControl(field) {
					t.Errorf("%q: envelope %q", input, field)
				}
			}
		}
	})
}

// FuzzCommandLine: the words of a command line are those that the line has.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{"NOOP", "  mail from:<a>", "EHLO\tx", "", " "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		verb, arg := splitVerb(line)
		if bytes.ContainsAny(verb, " \t") || !bytes.Contains(line, verb) || !bytes.Contains(line, arg) {
			t.Errorf("%q: %q, %q", line, verb, arg)
		}
		if row := findCommand(verb); row != nil && !strings.EqualFold(row.verb, string(verb)) {
			t.Errorf("%q is not %s", verb, row.verb)
		}
	})
}

// FuzzProxy feeds bytes to a session with a filter. Whatever they are, the filter gets
// lines with CR LF only, commands that it may get, and one end of data for each message
// that it answered.
func FuzzProxy(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\nMAIL FROM:<a@b> SIZE=1\r\nRCPT TO:<bob@virt.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@virt.example>\r\nBDAT 5\r\n\r\n.\r\nBDAT 0 LAST\r\n",
		"MAIL FROM:<a>\r\nRCPT TO:<bob@virt.example>\r\nDATA\r\n\n.\n\r.\r\n..\r\r\n.\r\nMAIL FROM:<a>\r\nRCPT TO: bob@virt.example\tNOTIFY=NEVER\r\nDATA\r\n",
		"XFORWARD NAME=a\r\nMAIL FROM:<a>\r\nRCPT TO:<bob@virt.example>\r\nRSET\r\nMAIL \rFROM:<a>\r\nRCPT TO:<\"\r\"@virt.example>\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, afterwards bool) {
		filter := filtertest.Start(t, "tcp", map[string]string{"DOT": byFilter})
		option := ""
		if afterwards {
			option = "speed_adjust"
		}
		r := newRig(t, "smtpd_forbid_unauth_pipelining=no", "mynetworks=10.0.0.0/8", mayForward,
			"smtpd_proxy_filter="+filter.Spec(), "smtpd_proxy_options="+option)
		conn := &scripted{in: bytes.NewReader(input)}
		r.srv.serve(context.Background(), &service.Session{Conn: conn})
		content, ends := false, 0
		for line := range strings.Lines(filter.Seen()) {
			text, ok := strings.CutSuffix(line, "\r\n")
			if rest, cut := strings.CutPrefix(line, "EOF"); cut && rest == "" {
				content = false
				continue
			}
			if !ok || strings.ContainsAny(text, "\r\n") {
				t.Errorf("%q: line %q", input, line)
			}
			verb, _, _ := strings.Cut(strings.ToUpper(text), " ")
			switch {
			case content && text == ".":
				content, ends = false, ends+1
			case content:
			case verb == "DATA":
				content = true
			case verb != "EHLO" && verb != "XFORWARD" && verb != "MAIL" && verb != "RCPT" && verb != "QUIT" && !strings.HasPrefix(verb, "MAIL\t") && !strings.HasPrefix(verb, "RCPT\t"):
				t.Errorf("%q: command %q", input, text)
			}
		}
		if got := strings.Count(conn.out.String(), byFilter+"\r\n"); got != ends {
			t.Errorf("%q: %d ends of data, %d answers", input, ends, got)
		}
	})
}
