package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/lib/proxyfilter/filtertest"
)

const (
	writeError = "451 4.3.0 Error: queue file write error"
	byFilter   = "250 2.0.0 Ok: queued as FILTER1"
	rcptAlice  = "RCPT TO:<alice>"
	content    = "Subject: x\r\n\r\nbody\r\n."
)

// proxyRig is a server with a filter, which answers by a script.
func proxyRig(t testing.TB, script map[string]string, params ...string) (*rig, *filtertest.Filter) {
	t.Helper()
	all := map[string]string{"DOT": byFilter, "EHLO": "250-filter|250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT|250 8BITMIME"}
	for k, v := range script {
		all[k] = v
	}
	f := filtertest.Start(t, "tcp", all)
	return newRig(t, append([]string{"smtpd_proxy_filter=" + f.Spec(), "smtpd_proxy_timeout=20s"}, params...)...), f
}

// told is what the filter was told, one connection after the other, without EHLO,
// XFORWARD and the date.
func told(f *filtertest.Filter) string {
	var b strings.Builder
	for line := range strings.Lines(f.Seen()) {
		line = strings.TrimSuffix(line, "\r\n")
		if strings.HasPrefix(line, "EHLO ") || strings.HasPrefix(line, "XFORWARD ") {
			continue
		}
		if i := strings.Index(line, "Sun, 22 Nov 2026"); i >= 0 {
			line = line[:i] + "DATE"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

const (
	mailLine = "MAIL FROM:<a@c.example>\n"
	bobLine  = "RCPT TO:<bob@virt.example>\n"
	received = "Received: from client.example (localhost [127.0.0.1])\n\tby mail.example.com (Postfix) with ESMTP\n\tfor <bob@virt.example>; DATE\n"
	message  = "DATA\n" + received + "Subject: x\n\nbody\n.\n"
)

// TestProxyDialogues compares with what Postfix 3.7 was seen to say to clients and to
// filters, with and without speed_adjust.
func TestProxyDialogues(t *testing.T) {
	one := []string{mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, content, byFilter}
	refusedAtEnd := func(reply string) []string {
		return []string{mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, content, reply, mailA, senderOK}
	}
	for _, tc := range []struct {
		behaviour   string
		script      map[string]string
		live, after []string // dialogue with the client
		told, later string   // what the filter saw; later: with speed_adjust
		log         string
	}{
		{"a message", nil, one, one, mailLine + bobLine + message + "QUIT\n", "",
			"proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as FILTER1; from=<a@c.example> to=<bob@virt.example> proto=ESMTP helo=<client.example>"},
		{"two messages", nil, append(one, one...), append(one, one...),
			strings.Repeat(mailLine+bobLine+message+"QUIT\n", 2), "", "proxy-accept: "},
		{"a message that is refused", map[string]string{"DOT": "550-5.7.1 spam|550 5.7.1 really"},
			refusedAtEnd("550-5.7.1 spam|550 5.7.1 really"), refusedAtEnd("550-5.7.1 spam|550 5.7.1 really"), mailLine + bobLine + message + "QUIT\n", "",
			"proxy-reject: END-OF-MESSAGE: 550-5.7.1 spam??550 5.7.1 really; from=<a@c.example> to=<bob@virt.example> proto=ESMTP helo=<client.example>"},
		{"a message that is refused for a time", map[string]string{"DOT": "450 4.7.1 later"},
			refusedAtEnd("450 4.7.1 later"), refusedAtEnd("450 4.7.1 later"), mailLine + bobLine + message + "QUIT\n", "", "proxy-reject: END-OF-MESSAGE: 450 4.7.1 later; "},
		{"nobody knows whether it was taken", map[string]string{"DOT": "!"},
			refusedAtEnd(writeError), refusedAtEnd(writeError), mailLine + bobLine + message, "",
			"proxy-reject: END-OF-MESSAGE: 451 4.3.0 Error: queue file write error; "},
		{"a reply that makes no sense", map[string]string{"DOT": "354 go on"},
			refusedAtEnd(writeError), refusedAtEnd(writeError), mailLine + bobLine + message + "QUIT\n", "", `unexpected reply to the end of the message: "354 go on"`},
		{"garbage", map[string]string{"DOT": "huh"}, refusedAtEnd(writeError), refusedAtEnd(writeError), mailLine + bobLine + message + "EOF\n", mailLine + bobLine + message + "EOF\n",
			"warning: received garbage from proxy "},
		{"421 after the content ends both sessions", map[string]string{"DOT": "421 4.3.0 bye!"},
			[]string{mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, content, "421 4.3.0 bye", "NOOP", "EOF"},
			[]string{mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, content, "421 4.3.0 bye", "NOOP", "EOF"}, mailLine + bobLine + message, "",
			"proxy-reject: END-OF-MESSAGE: 421 4.3.0 bye; "},
		{"one recipient is refused", map[string]string{"RCPT 1": "550 5.1.1 no such"},
			[]string{mailA, senderOK, rcptBob, "550 5.1.1 no such", rcptAlice, rcptOK, "DATA", goAhead, content, byFilter},
			[]string{mailA, senderOK, rcptBob, rcptOK, rcptAlice, rcptOK, "DATA", goAhead, content, "550 5.1.1 no such"},
			mailLine + bobLine + "RCPT TO:<alice>\n" + strings.Replace(message, "bob@virt.example", "alice", 1) + "QUIT\n", mailLine + bobLine + "QUIT\n",
			`warning: proxy FILTER rejected "RCPT TO:<bob@virt.example>": "550 5.1.1 no such"`},
		{"all recipients are refused", map[string]string{"RCPT": "450-4.1.1 a|450 4.1.1 b"},
			[]string{mailA, senderOK, rcptBob, "450-4.1.1 a|450 4.1.1 b", rcptAlice, "450-4.1.1 a|450 4.1.1 b", "DATA", "554 5.5.1 Error: no valid recipients", "RSET", ok},
			[]string{mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, content, "450-4.1.1 a|450 4.1.1 b"},
			mailLine + bobLine + "RCPT TO:<alice>\nQUIT\n", mailLine + bobLine + "QUIT\n", `"450-4.1.1 a??450 4.1.1 b"`},
		{"the sender is refused", map[string]string{"MAIL": "550 5.7.1 bad sender"},
			[]string{mailA, senderOK, rcptBob, "550 5.7.1 bad sender", rcptAlice, "550 5.7.1 bad sender"},
			refusedAtEnd("550 5.7.1 bad sender"), mailLine + "QUIT\n" + mailLine + "QUIT\n", mailLine + "QUIT\n",
			`warning: proxy FILTER rejected "MAIL FROM:<a@c.example>": "550 5.7.1 bad sender"`},
		{"421 at RCPT ends both sessions", map[string]string{"RCPT": "421 4.3.0 bye!"},
			[]string{mailA, senderOK, rcptBob, "421 4.3.0 bye", "NOOP", "EOF"},
			[]string{mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, content, "421 4.3.0 bye", "NOOP", "EOF"}, mailLine + bobLine, "", ""},
		{"a connection that is lost at RCPT is not made again", map[string]string{"RCPT 2": "!"},
			[]string{mailA, senderOK, rcptBob, rcptOK, rcptAlice, writeError, rcptBob, writeError, "DATA", writeError, "RSET", ok},
			[]string{mailA, senderOK, rcptBob, rcptOK, rcptAlice, rcptOK, "DATA", goAhead, content, writeError},
			mailLine + bobLine + "RCPT TO:<alice>\n", "", "warning: lost connection with proxy FILTER"},
		{"DATA is refused", map[string]string{"DATA": "550 5.5.0 no data"},
			[]string{mailA, senderOK, rcptBob, rcptOK, "DATA", "550 5.5.0 no data", "DATA", "550 5.5.0 no data", mailA, "503 5.5.1 Error: nested MAIL command", "RSET", ok},
			refusedAtEnd("550 5.5.0 no data"), mailLine + bobLine + "DATA\nDATA\nQUIT\n", mailLine + bobLine + "DATA\nQUIT\n",
			`warning: proxy FILTER rejected "DATA": "550 5.5.0 no data"`},
		{"a good reply where none is", map[string]string{"DATA": "250 fine"},
			[]string{mailA, senderOK, rcptBob, rcptOK, "DATA", writeError}, refusedAtEnd(writeError), mailLine + bobLine + "DATA\nQUIT\n", "", `rejected "DATA": "250 fine"`},
		{"DATA and the end", map[string]string{"DATA": "!"},
			[]string{mailA, senderOK, rcptBob, rcptOK, "DATA", writeError, "DATA", writeError}, refusedAtEnd(writeError), mailLine + bobLine + "DATA\n", "", "lost connection"},
		{"the greeting is a refusal", map[string]string{"BANNER": "554 go away"},
			[]string{mailA, senderOK, rcptBob, writeError, rcptAlice, writeError}, refusedAtEnd(writeError), "QUIT\nQUIT\n", "QUIT\n",
			`warning: proxy FILTER rejected "connection request": "554 go away"`},
		{"EHLO is refused", map[string]string{"EHLO": "421 4.3.2 busy!"},
			[]string{mailA, senderOK, rcptBob, writeError, "NOOP", ok}, refusedAtEnd(writeError), "", "", `rejected "EHLO mail.example.com": "421 4.3.2 busy"`},
		{"XFORWARD is refused", map[string]string{"XFORWARD": "550 5.7.0 no"},
			[]string{mailA, senderOK, rcptBob, writeError}, refusedAtEnd(writeError), "QUIT\n", "", `: "550 5.7.0 no"`},
		{"RSET and EHLO end the filter's transaction", nil,
			[]string{mailA, senderOK, rcptBob, rcptOK, "RSET", ok, mailA, senderOK, rcptBob, rcptOK, "EHLO client.example", ehloReply},
			[]string{mailA, senderOK, rcptBob, rcptOK, "RSET", ok, mailA, senderOK, rcptBob, rcptOK, "EHLO client.example", ehloReply},
			mailLine + bobLine + "QUIT\n" + mailLine + bobLine + "QUIT\n", "-", ""},
		{"what we refuse the filter does not see", nil,
			[]string{mailA, senderOK, "RCPT TO:<nobody@virt.example>", "550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table",
				"VRFY bob@virt.example", "252 2.0.0 bob@virt.example", "DATA", "554 5.5.1 Error: no valid recipients"},
			nil, "", "", ""},
	} {
		for _, mode := range []string{"", "speed_adjust"} {
			t.Run(tc.behaviour+" "+mode, func(t *testing.T) {
				r, f := proxyRig(t, tc.script, "smtpd_proxy_options="+mode)
				d := r.start()
				pairs, want := tc.live, tc.told
				if mode != "" {
					pairs = tc.after
					if tc.later != "" {
						want = strings.Replace(tc.later, "-", "", 1)
					}
				}
				d.want(pairs...)
				d.say("QUIT")
				d.closed()
				if got := told(f); got != want && pairs != nil {
					t.Errorf("the filter was told\n%s\nwant\n%s", got, want)
				}
				if log := strings.ReplaceAll(r.log.String(), f.Spec(), "FILTER"); !strings.Contains(log, tc.log) {
					t.Errorf("no %q in\n%s", tc.log, log)
				}
				if n := len(r.cleanup.done) + len(r.cleanup.canceled); n > 0 {
					t.Errorf("cleanup was given %d messages", n)
				}
				files, err := os.ReadDir(r.srv.spoolDir)
				if err != nil || len(files) > 0 {
					t.Errorf("left behind: %v, %v", files, err)
				}
			})
		}
	}
}

// TestProxyPassesCommandsOn: as they came, with all parameters.
func TestProxyPassesCommandsOn(t *testing.T) {
	r, f := proxyRig(t, nil)
	d := r.start()
	d.want("mail from:<a@c.example>   SIZE=100 BODY=8BITMIME RET=HDRS ENVID=foo+2B SMTPUTF8", senderOK,
		"rcpt to: bob@virt.example\t NOTIFY=SUCCESS ORCPT=rfc822;bob@x", rcptOK, "DATA", goAhead, content, byFilter,
		"QUIT", "221 2.0.0 Bye")
	d.closed()
	got := f.Seen()
	for _, want := range []string{
		"\r\nmail from:<a@c.example>   SIZE=100 BODY=8BITMIME RET=HDRS ENVID=foo+2B SMTPUTF8\r\n",
		"\r\nrcpt to: bob@virt.example\t NOTIFY=SUCCESS ORCPT=rfc822;bob@x\r\n",
		" with UTF8SMTP\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestProxyTellsTheOrigin: XFORWARD says who the client is, or what it said so.
func TestProxyTellsTheOrigin(t *testing.T) {
	r, f := proxyRig(t, nil, mayPose, mayForward)
	d := r.start2(extensions(xclientKeyword, xforwardKeyword))
	port := d.conn.LocalAddr().String()
	port = port[strings.LastIndexByte(port, ':')+1:]
	d.want(mailA, senderOK, rcptBob, rcptOK, "RSET", ok)
	d.want("XFORWARD NAME=fwd.example ADDR=IPV6:2001:db8::1 IDENT=ABC SOURCE=REMOTE", ok, mailA, senderOK, rcptBob, rcptOK,
		"DATA", goAhead, content, byFilter)
	d.want("XCLIENT ADDR=10.1.2.3 NAME=[UNAVAILABLE] PORT=77 HELO=a+2Bb", banner, mailA, senderOK, rcptBob, rcptOK, "QUIT", "221 2.0.0 Bye")
	d.closed()
	got := f.Seen()
	for _, want := range []string{
		"EHLO mail.example.com\r\nXFORWARD NAME=localhost ADDR=127.0.0.1 PORT=" + port + " HELO=client.example IDENT=[UNAVAILABLE] PROTO=ESMTP SOURCE=LOCAL\r\nMAIL",
		// What came by XFORWARD is passed on, and its sender wrote a Received header.
		"XFORWARD NAME=fwd.example ADDR=IPv6:2001:db8::1 PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=ABC PROTO=[UNAVAILABLE] SOURCE=REMOTE\r\nMAIL",
		"DATA\r\nSubject: x\r\n",
		"XFORWARD NAME=[UNAVAILABLE] ADDR=10.1.2.3 PORT=77 HELO=a+2Bb IDENT=[UNAVAILABLE] PROTO=SMTP SOURCE=REMOTE\r\nMAIL",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	log := r.log.String()
	for _, want := range []string{"NOQUEUE: client=localhost[127.0.0.1]\n",
		"NOQUEUE: client=localhost[127.0.0.1], orig_queue_id=ABC, orig_client=fwd.example[2001:db8::1]\n", "NOQUEUE: client=unknown[10.1.2.3]\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
}

// TestProxyAndBDAT: chunks reach the filter as one message after DATA.
func TestProxyAndBDAT(t *testing.T) {
	for _, tc := range []struct {
		behaviour   string
		script      map[string]string
		live, after []string
		told        string
	}{
		{"a line over chunks", nil,
			[]string{"BDAT 5\r\nSubje", "250 2.0.0 Ok: 5 bytes", "BDAT 8\r\nct: y\r\n\r", "250 2.0.0 Ok: 8 bytes", "BDAT 5 LAST\r\n\n.\r\nb", byFilter}, nil,
			"Subject: y\n\n..\nb\n.\n"},
		{"nothing", nil, []string{"BDAT 0 LAST\r\n", byFilter}, nil, "for <bob@virt.example>; DATE\n.\n"},
		{"what looks like an end of data is text", nil, []string{"BDAT 11 LAST\r\nA: b\r\n.\r\nx", "", "RSET", ""}, nil, ""},
		{"DATA is refused", map[string]string{"DATA": "550 no"},
			[]string{"BDAT 5\r\nSubje", "550 no", "BDAT 4 LAST\r\nQUIT", "551 5.0.0 Discarded 4 bytes after earlier error", "NOOP\r\n", ok},
			[]string{"BDAT 5\r\nSubje", "250 2.0.0 Ok: 5 bytes", "BDAT 4 LAST\r\nQUIT", "550 no", "NOOP\r\n", ok}, ""},
		{"DATA is refused, and this was the last chunk", map[string]string{"DATA": "550 no"},
			[]string{"BDAT 4 LAST\r\nQUIT", "550 no", mailA + "\r\n", senderOK}, nil, ""},
		{"421", map[string]string{"DATA": "421 4.3.0 bye!"},
			[]string{"BDAT 4\r\nQUIT", "421 4.3.0 bye", "", "EOF"}, []string{"BDAT 4 LAST\r\nQUIT", "421 4.3.0 bye", "", "EOF"}, ""},
	} {
		for _, mode := range []string{"", "speed_adjust"} {
			t.Run(tc.behaviour+" "+mode, func(t *testing.T) {
				r, f := proxyRig(t, tc.script, "smtpd_proxy_options="+mode)
				d := r.start()
				d.want(mailA, senderOK, rcptBob, rcptOK)
				pairs := tc.live
				if mode != "" && tc.after != nil {
					pairs = tc.after
				}
				for i := 0; i+1 < len(pairs); i += 2 {
					if pairs[i+1] == "" {
						continue
					}
					d.send(pairs[i])
					if got := d.reply(); got != pairs[i+1] {
						t.Errorf("%q: reply %q, want %q", pairs[i], got, pairs[i+1])
					}
				}
				d.send("QUIT\r\n")
				<-d.done
				if got := told(f); !strings.Contains(got, tc.told) {
					t.Errorf("the filter was told\n%s", got)
				}
			})
		}
	}
}

// TestProxyRequireTLS: the verb stays here, the request goes on as a header
// (requiretls.md §2.5, decision 4).
func TestProxyRequireTLS(t *testing.T) {
	for _, mode := range []string{"", "speed_adjust"} {
		for _, tc := range []struct{ behaviour, mail, filterMail, content, want string }{
			{"asked for", "MAIL FROM:<a@c.example> SIZE=10 requiretls BODY=7BIT", "MAIL FROM:<a@c.example> SIZE=10 BODY=7BIT", "Subject: x\r\n\r\nRequire-TLS-ESMTP: yes\r\n.",
				"Subject: x\r\nRequire-TLS-ESMTP: yes\r\n\r\nRequire-TLS-ESMTP: yes\r\n.\r\n"},
			{"headers only", "MAIL FROM:<a@c.example> REQUIRETLS", "MAIL FROM:<a@c.example>", "Subject: x\r\n.", "Subject: x\r\nRequire-TLS-ESMTP: yes\r\n.\r\n"},
			{"with the header", "MAIL FROM:<a@c.example> REQUIRETLS", "MAIL FROM:<a@c.example>", "Require-TLS-ESMTP: yes\r\n\r\nx\r\n.", "\r\nRequire-TLS-ESMTP: yes\r\n\r\nx\r\n.\r\n"},
			{"a word in an address is none", `MAIL FROM:<"a REQUIRETLS b"@c.example> REQUIRETLS`, `MAIL FROM:<"a REQUIRETLS b"@c.example>`, "Subject: x\r\n\r\n.", "Subject: x\r\nRequire-TLS-ESMTP: yes\r\n\r\n.\r\n"},
			{"not asked for", "MAIL FROM:<a@c.example>  SIZE=10", "MAIL FROM:<a@c.example>  SIZE=10", "Subject: x\r\n\r\nx\r\n.", "Subject: x\r\n\r\nx\r\n.\r\n"},
		} {
			t.Run(tc.behaviour+" "+mode, func(t *testing.T) {
				f := filtertest.Start(t, "tcp", map[string]string{"DOT": byFilter})
				r, _ := tlsRig(t, "smtpd_proxy_filter="+f.Spec(), "smtpd_proxy_options="+mode)
				d := r.dial("")
				d.startTLS(nil)
				d.say("EHLO client.example")
				d.want(tc.mail, senderOK, rcptBob, rcptOK, "DATA", goAhead, tc.content, byFilter, "QUIT", "221 2.0.0 Bye")
				<-d.done
				got := f.Seen()
				if !strings.Contains(got, "\r\n"+tc.filterMail+"\r\n") || !strings.HasSuffix(got, tc.want+"QUIT\r\n") {
					t.Errorf("the filter was told\n%s", got)
				}
				if strings.Contains(r.log.String(), "requiretls=yes") != strings.Contains(strings.ToUpper(tc.mail), " REQUIRETLS") {
					t.Errorf("log\n%s", r.log)
				}
			})
		}
	}
	// Without the header the request cannot go on, and the log says so.
	f := filtertest.Start(t, "tcp", map[string]string{"DOT": byFilter})
	r, _ := tlsRig(t, "smtpd_proxy_filter="+f.Spec(), "requiretls_esmtp_header=no")
	d := r.dial("")
	d.startTLS(nil)
	d.say("EHLO client.example")
	d.want("MAIL FROM:<a@c.example> REQUIRETLS", senderOK, rcptBob, rcptOK, "DATA", goAhead, content, byFilter, "QUIT", "221 2.0.0 Bye")
	<-d.done
	if got := f.Seen(); strings.Contains(strings.ToUpper(got), "REQUIRE") || !strings.Contains(r.log.String(), "warning: requiretls_esmtp_header = no: the filter ") {
		t.Errorf("told %s\nlog %s", got, r.log)
	}
}

// TestProxyAndAccessActions: the message is not ours to act on; headers are.
func TestProxyAndAccessActions(t *testing.T) {
	r, f := proxyRig(t, nil, "smtpd_recipient_restrictions=check_recipient_access inline:{ { bob@virt.example = PREPEND X-Foo: bar }, { alice = HOLD } }")
	d := r.start()
	d.want(mailA, senderOK, rcptBob, rcptOK, rcptAlice, rcptOK, "DATA", goAhead, content, byFilter, "QUIT", "221 2.0.0 Bye")
	<-d.done
	if got := f.Seen(); !strings.Contains(got, "DATA\r\nX-Foo: bar\r\nReceived: from ") {
		t.Errorf("the filter was told\n%s", got)
	}
	if want := "with smtpd_proxy_filter specified, action HOLD is unavailable"; !strings.Contains(r.log.String(), want) {
		t.Errorf("no %q in %s", want, r.log)
	}
}

// TestProxySpeedAdjustFiles: a file that cannot be made or written defers the message,
// and the queue's file system needs more room.
func TestProxySpeedAdjustFiles(t *testing.T) {
	r, f := proxyRig(t, nil, "smtpd_proxy_options=speed_adjust", "message_size_limit=1000")
	r.srv.spoolDir = "/nonexistent"
	d := r.start2(strings.Replace(ehloReply, "10240000", "1000", 1))
	d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", writeError, "RSET", ok)
	r.srv.space.read = func(string) (int64, error) { return 2400, nil }
	r.srv.space.asked = time.Time{}
	d.want(mailA, "452 4.3.1 Insufficient system storage")
	d.conn.Close()
	if f.Conns() != 0 {
		t.Error("the filter was asked")
	}
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.f.Close()
	for range 100 {
		s.record('N', make([]byte, 1000))
	}
	if err := s.replay(nil); err == nil {
		t.Error("a file that could not be written is read")
	}
}

func TestProxyParameters(t *testing.T) {
	for param, want := range map[string]string{
		"smtpd_proxy_filter=a b":        `parameter smtpd_proxy_filter: bad endpoint "a b"`,
		"smtpd_proxy_options=speed":     `parameter smtpd_proxy_options: unknown option "speed"; there is speed_adjust`,
		"smtpd_proxy_ehlo=two words":    `parameter smtpd_proxy_ehlo: "two words" cannot be said in EHLO`,
		"smtpd_proxy_options=a":         "smtpd_proxy_options",
		"smtpd_proxy_filter=unix:":      "smtpd_proxy_filter",
		"smtpd_proxy_filter=host:port:": "smtpd_proxy_filter",
	} {
		values := map[string]string{"smtpd_proxy_filter": "10025"}
		for name, value := range testConfig {
			values[name] = value
		}
		name, value, _ := strings.Cut(param, "=")
		values[name] = value
		if _, err := tryRig(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", param, err)
		}
	}
}
