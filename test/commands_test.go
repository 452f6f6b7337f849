package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sealpost/test/harness"
)

// TestHostileCommands (§2.C, §2.E, §2.F, §2.M) talks to a running server from
// outside mynetworks. A row is what is sent and how the replies begin; "EOF" is
// the end of the session, and without it the session goes on.
func TestHostileCommands(t *testing.T) {
	const (
		from   = "MAIL FROM:<a@c.test>\r\n"
		to     = "RCPT TO:<bob@in.test>\r\n"
		sync   = "554 5.5.0 Error: SMTP protocol synchronization"
		rules  = "221 2.7.0 I can break rules, too. Goodbye."
		toolow = "521 5.5.4 "
	)
	mta := harness.Start(t, harness.Options{Name: "in", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
		"mynetworks": "192.0.2.0/24", "smtpd_error_sleep_time": "0",
	}})
	for _, tc := range []struct {
		behaviour string
		hello     bool
		input     string
		want      []string
	}{
		// 2.C
		{"BDAT -1", true, from + to + "BDAT -1 LAST\r\n", []string{"250", "250", toolow, "EOF"}},
		{"BDAT +4", true, from + to + "BDAT +4\r\n", []string{"250", "250", toolow, "EOF"}},
		{"BDAT 0x4", true, from + to + "BDAT 0x4\r\n", []string{"250", "250", toolow, "EOF"}},
		{"BDAT of 20 digits", true, from + to + "BDAT 18446744073709551617\r\n", []string{"250", "250", toolow, "EOF"}},
		{"BDAT of MaxInt64", true, from + to + "BDAT 9223372036854775807 LAST\r\n", []string{"250", "250", "552 5.3.4", "EOF"}},
		{"null BDAT", true, from + to + "BDAT 0\r\n", []string{"250", "250", "551 5.7.1"}},
		{"empty message", true, from + to + "BDAT 0 LAST\r\n", []string{"250", "250", "250 2.0.0 Ok: 0 bytes"}},
		{"chunk without RCPT is consumed", true, from + "BDAT 6 LAST\r\nQUIT\r\n", []string{"250", "554 5.5.1"}},
		{"chunk without MAIL is consumed", true, "BDAT 6 LAST\r\nQUIT\r\n", []string{"503"}},
		{"after a chunk in error come commands", true, "BDAT 6 LAST\r\nQUIT\r\nBDAT 0\r\nDATA\r\n", []string{"503", "503", "503"}},
		{"DATA after BDAT", true, from + to + "BDAT 4\r\nab\r\nDATA\r\n", []string{"250", "250", "250", "503 5.5.1"}},
		{"end of data in a chunk", true, from + to + "BDAT 12 LAST\r\na\r\n.\r\nQUIT\r\n", []string{"250", "250", "250 2.0.0 Ok: "}},
		{"a dot chunk", true, from + to + "BDAT 1 LAST\r\n.", []string{"250", "250", "250 2.0.0 Ok: "}},
		{"a chunk of the next message", true, from + to + "BDAT 3 LAST\r\na\r\nBDAT 6\r\nQUIT\r\n", []string{"250", "250", "250 2.0.0 Ok", "503"}},
		// 2.E
		{"EHLO and a group", true, "EHLO x\r\n" + from + to + "DATA\r\n", []string{sync, "EOF"}},
		{"a group with content", true, from + to + "DATA\r\nx\r\n.\r\nQUIT\r\n", []string{"250", "250", sync, "EOF"}},
		{"HELO and more", false, "HELO x\r\n" + from, []string{sync, "EOF"}},
		{"GET", false, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", []string{rules, "EOF"}},
		{"POST", false, "POST / HTTP/1.1\r\n\r\n", []string{rules, "EOF"}},
		{"CONNECT", false, "CONNECT in.test:25 HTTP/1.1\r\n\r\n", []string{rules, "EOF"}},
		{"a TLS ClientHello", false, "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\r\n", []string{rules, "EOF"}},
		// 2.F
		{"NUL in EHLO", false, "EHLO a\x00b\r\n", []string{"501 5.5.2"}},
		{"NUL in MAIL", true, "MAIL FROM:<a\x00@c.test>\r\n", []string{"501 5.1.7"}},
		{"NUL in RCPT", true, from + "RCPT TO:<b\x00ob@in.test>\r\n", []string{"250", "501 5.1.3"}},
		{"CR in MAIL", true, "MAIL FROM:<a\rb@c.test>\r\n", []string{"501 5.1.7"}},
		{"CR in a quoted local part", true, "MAIL FROM:<\"a\rX-Inj: 1\"@c.test>\r\n", []string{"501 5.1.7"}},
		{"LF in MAIL", true, "MAIL FROM:<a\n", []string{"501"}},
		{"bare LF ends a command", true, "NOOP\n", []string{"250"}},
		{"bare CR does not", false, "EHLO a\rEHLO b\r\n", []string{"501"}},
		{"4096 bytes and a command", true, strings.Repeat("x", 4096) + from, []string{"500 5.5.2"}},
		{"4 MB", true, strings.Repeat("x", 4<<20), []string{"500 5.5.2", "EOF"}},
		{"local part of 65", true, "MAIL FROM:<" + strings.Repeat("a", 65) + "@c.test>\r\n", []string{"250"}},
		{"address of 2000", true, "MAIL FROM:<" + strings.Repeat("a", 1990) + "@c.test>\r\n", []string{"250"}},
		{"bytes that are no UTF-8", true, "MAIL FROM:<\xff\xfe@c.test>\r\n", []string{"5"}},
		{"odd A-labels", true, "MAIL FROM:<a@xn--a.test>\r\nRSET\r\nMAIL FROM:<a@xn--99999999999>\r\n", []string{"250", "250", "250"}},
		{"SIZE=-1", true, "MAIL FROM:<a@c.test> SIZE=-1\r\n", []string{"501"}},
		{"SIZE twice", true, "MAIL FROM:<a@c.test> SIZE=1 SIZE=2\r\n", []string{"501"}},
		{"SIZE of 20 digits", true, "MAIL FROM:<a@c.test> SIZE=18446744073709551617\r\n", []string{"552"}},
		{"SIZE above the limit", true, "MAIL FROM:<a@c.test> SIZE=10240001\r\n", []string{"552"}},
		{"REQUIRETLS in the clear", true, "MAIL FROM:<a@c.test> REQUIRETLS\r\n", []string{"555 5.5.4 Unsupported option"}},
		{"AUTH with an encoded LF", true, "MAIL FROM:<a@c.test> AUTH=a+0Ab\r\n", []string{"501 5.5.4"}},
		{"ENVID with CRLF", true, "MAIL FROM:<a@c.test> ENVID=a+0D+0Ab\r\n", []string{"501"}},
		{"ENVID with NUL", true, "MAIL FROM:<a@c.test> ENVID=a+00b\r\n", []string{"501"}},
		{"ORCPT with CRLF", true, from + "RCPT TO:<bob@in.test> ORCPT=rfc822;a+0D+0AX:y@t\r\n", []string{"250", "501 5.5.4"}},
		{"percent hack", true, from + "RCPT TO:<v%x.test@in.test>\r\n", []string{"250", "454 4.7.1"}},
		{"source route", true, from + "RCPT TO:<@in.test:v@x.test>\r\n", []string{"250", "454 4.7.1"}},
		{"quoted at", true, from + "RCPT TO:<\"a@victim.test\"@in.test>\r\n", []string{"250", "454 4.7.1"}},
		{"bang path", true, from + "RCPT TO:<victim.test!a>\r\n", []string{"250", "454 4.7.1"}},
		{"bang path and domain", true, from + "RCPT TO:<victim.test!a@in.test>\r\n", []string{"250", "454 4.7.1"}},
		{"two ats", true, from + "RCPT TO:<a@victim.test@in.test>\r\n", []string{"250", "454 4.7.1"}},
		// 2.G as far as this server goes: text, never a command, a file or an option.
		{"shell in the sender", true, "MAIL FROM:<;for i in 0 1 2;do read r;done;sh;exit 0;>\r\n", []string{"501"}},
		{"expansion", true, from + "RCPT TO:<${run{\\x2Fbin\\x2Fsh}}@in.test>\r\n", []string{"250", "5"}},
		{"a pipe", true, from + "RCPT TO:<|/bin/sh@in.test>\r\n", []string{"250", "550 5.1.1"}},
		{"a file", true, from + "RCPT TO:</etc/passwd@in.test>\r\n", []string{"250", "550 5.1.1"}},
		{"an include", true, from + "RCPT TO:<:include:/etc/shadow@in.test>\r\n", []string{"250", "5"}},
		{"an option", true, from + "RCPT TO:<-oX/t/x@in.test>\r\n", []string{"250", "501 5.1.3"}},
		{"a path", true, from + "RCPT TO:<../../etc/cron.d/x@in.test>\r\n", []string{"250", "5"}},
		// 2.M
		{"VRFY with UTF-8 in a transaction", true, from + to + "VRFY b\u00f6b@in.test SMTPUTF8\r\n", []string{"250", "250", "550 5.1.1"}},
		{"BDAT in error, then DATA", true, from + "BDAT 3\r\nabcDATA\r\n", []string{"250", "554", "554"}},
		{"RCPT after the message", true, from + to + "BDAT 3 LAST\r\na\r\n" + to + "DATA\r\n", []string{"250", "250", "250", "503", "503"}},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			w := dialWire(t, mta.SMTP())
			if tc.hello {
				w.want("EHLO c.test\r\n", "250-")
			}
			go w.write(tc.input) // the server may stop reading
			for i, want := range tc.want {
				if got := w.reply(); !strings.HasPrefix(got, want) {
					t.Fatalf("reply %d: %q, want %q", i+1, got, want)
				}
			}
			if tc.want[len(tc.want)-1] != "EOF" {
				w.want("QUIT\r\n", "221 2.0.0 Bye")
				w.ended()
			}
		})
	}
	wellFormed(t, mta, logLine)
}

// TestLimitsOfASession (§2.L, §2.F): floods end, in order.
func TestLimitsOfASession(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "in", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
		"mynetworks": "192.0.2.0/24", "smtpd_error_sleep_time": "0",
	}})
	for _, tc := range []struct {
		behaviour, command, reply, last string
		times                           int // replies before the last one
	}{
		{"bad commands", "FOO\r\n", "500 5.5.2", "421 4.7.0", 20},
		{"a flood of NOOPs", "NOOP\r\n", "250 2.0.0 Ok", "421 4.7.0", 120},
		{"a flood of RSETs", "RSET\r\n", "250 2.0.0 Ok", "421 4.7.0", 120},
		{"a flood of VRFYs", "VRFY bob@in.test\r\n", "252", "421 4.7.0", 120},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			w := dialWire(t, mta.SMTP())
			w.want("EHLO c.test\r\n", "250-")
			n := 0
			for got := ""; n < 10_000; n++ {
				w.write(tc.command)
				if got = w.reply(); !strings.HasPrefix(got, tc.reply) {
					if got != "EOF" && !strings.HasPrefix(got, tc.last) {
						t.Errorf("reply %q after %d", got, n)
					}
					break
				}
			}
			if n > tc.times+1 || n < tc.times-1 {
				t.Errorf("%d commands were taken, want %d", n, tc.times)
			}
		})
	}
	t.Run("recipients", func(t *testing.T) {
		w := dialWire(t, mta.SMTP())
		w.want("EHLO c.test\r\n", "250-")
		w.want("MAIL FROM:<a@c.test>\r\n", "250 ")
		go w.write(strings.Repeat("RCPT TO:<bob@in.test>\r\n", 2100))
		count := map[string]int{}
		for {
			got := w.reply()
			count[got]++
			if got == "EOF" || strings.HasPrefix(got, "421 ") {
				break
			}
		}
		if count["250 2.1.5 Ok"] != 1000 || count["452 4.5.3 Error: too many recipients"] != 1020 {
			t.Errorf("replies: %v", count)
		}
	})
	t.Run("tiny chunks", func(t *testing.T) {
		const chunks = 20_000
		w := dialWire(t, mta.SMTP())
		w.want("EHLO c.test\r\n", "250-")
		w.envelope("a@c.test", "bob@in.test")
		w.want("BDAT 14\r\nSubject: x\r\n\r\n", "250 ")
		pid := mta.Workers()["smtpd"][0]
		before := peak(t, pid)
		go w.write(strings.Repeat("BDAT 1\r\nx", chunks))
		for range chunks {
			w.want("", "250 2.0.0 Ok: 1 bytes")
		}
		w.want("BDAT 0 LAST\r\n", fmt.Sprintf("250 2.0.0 Ok: %d bytes", chunks+16))
		if grown := peak(t, pid) - before; grown > 16<<20 {
			t.Errorf("smtpd grew by %d KB", grown>>10)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mail, err := mta.WaitMail(ctx, "bob", 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(mail[0], "\n\n"+strings.Repeat("x", 20_000)+"\n") {
		t.Errorf("the chunks did not become one line: %.300q", mail[0])
	}
}

// peak is the greatest resident memory of a process so far, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmHWM in %s", text)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return kb << 10
}

// TestContentBombs (§2.I): content that is made to be expensive costs time and
// memory in proportion to its size, and arrives or is refused as a whole.
func TestContentBombs(t *testing.T) {
	const mb = 1 << 20
	mta := harness.Start(t, harness.Options{Name: "in", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
		"message_size_limit": "0", "virtual_mailbox_limit": "0", "mailbox_size_limit": "0", "always_add_missing_headers": "yes",
	}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	arrived := 0
	nested := ""
	for i := range 10_000 {
		nested += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for _, tc := range []struct {
		behaviour, content, want string
		holds                    string // of the delivered message
	}{
		{"a header line of 200 KB", "X-Long: " + strings.Repeat("x", 200<<10) + "\r\n\r\nbody\r\n", "250 ", "\nbody\n"},
		{"a header of 200 KB, folded", "X-Long: " + strings.Repeat("x\r\n ", 50<<10) + "\r\n\r\nbody\r\n", "250 ", "\nbody\n"},
		{"60 hops", strings.Repeat("Received: from x by y; Thu, 1 Jan 1970 00:00:00 +0000\r\n", 60) + "\r\n", "554 5.4.0 ", ""},
		{"a million headers", strings.Repeat("a:b\r\n", 1_000_000) + "\r\nbody\r\n", "250 ", "\nbody\n"},
		{"nested comments", "From: " + strings.Repeat("(", 5*mb) + "\r\nTo: " + strings.Repeat("(", mb) + strings.Repeat(")", mb) + "\r\n\r\nbody\r\n", "250 ", "\nbody\n"},
		{"a line that is no header", "no header\r\nbody\r\n", "250 ", "\n\nno header\nbody\n"},
		{"a header that begins with a blank", " x: y\r\n\r\nbody\r\n", "250 ", "\nbody\n"},
		{"mailbox separators", strings.Repeat("From x\r\n>From y\r\n>>>From \r\n", 100_000) + "\r\nbody\r\n", "250 ", "body\n"},
		{"NULs", "Subject: \x00\r\n\r\n" + strings.Repeat("\x00", mb) + "\r\n", "250 ", "\x00\n"},
		{"NULs in every header", strings.Repeat("\x00:\x00\r\n", 1000) + "\r\nbody\r\n", "250 ", "body\n"},
		{"10000 nested multiparts", nested, "250 ", "--b9999"},
		{"a boundary of 2049", "Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 2049) + "\r\n\r\nbody\r\n", "250 ", "body\n"},
		{"200 messages in messages", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 200) + "body\r\n", "250 ", "body\n"},
		{"encoded words", "Subject: " + strings.Repeat("=?utf-8?q?", mb/10) + "\r\n\r\nbody\r\n", "250 ", "body\n"},
		{"addresses", "To: " + strings.Repeat("a@b, ", mb/5) + "\r\n\r\nbody\r\n", "250 ", "body\n"},
		{"quotes", "To: " + strings.Repeat("\"\\", mb/2) + "\r\n\r\nbody\r\n", "250 ", "body\n"},
		{"groups", "To: " + strings.Repeat("g:", mb/2) + "\r\n\r\nbody\r\n", "250 ", "body\n"},
		{"angles", "From: " + strings.Repeat("<", mb) + "\r\n\r\nbody\r\n", "250 ", "body\n"},
		{"empty lines", strings.Repeat("\r\n", mb), "250 ", "\n\n\n\n"},
		{"a line of 5 MB", "Subject: x\r\n\r\n" + strings.Repeat("y", 5*mb) + "\r\n", "250 ", "yyyy\n"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			w := dialWire(t, mta.SMTP())
			w.want("EHLO c.test\r\n", "250-")
			w.envelope("a@c.test", "bob@in.test")
			cpu := cpuSeconds(t, mta)
			w.want("DATA\r\n", "354 ")
			w.want(stuff(tc.content), tc.want)
			if tc.holds != "" {
				arrived++
				mail, err := mta.WaitMail(ctx, "bob", arrived)
				if err != nil {
					t.Fatal(err)
				}
				found := false
				for _, m := range mail {
					found = found || strings.Contains(m, tc.holds)
				}
				if !found {
					t.Errorf("no message holds %q", tc.holds)
				}
			}
			// The bound of §2.I is 20 ms a MB for one pass; there are four daemons, a
			// race detector perhaps, and a clock of 10 ms.
			used, allowed := cpuSeconds(t, mta)-cpu, 0.5+0.2*float64(len(tc.content))/mb
			if used > allowed {
				t.Errorf("%.2f s of CPU for %d KB", used, len(tc.content)>>10)
			}
		})
	}
	for _, name := range []string{"smtpd", "cleanup", "qmgr", "virtual"} {
		for _, pid := range mta.Workers()[name] {
			if m := peak(t, pid); m > 80*mb {
				t.Errorf("%s needed %d MB", name, m/mb)
			}
		}
	}
	if n := mta.Log.Count(`(panic|fatal|error): `); n > 0 {
		t.Errorf("%d complaints in the log", n)
	}
}

// cpuSeconds is the CPU time that the daemons have used.
func cpuSeconds(t *testing.T, mta *harness.Instance) float64 {
	t.Helper()
	ticks := 0
	for _, pids := range mta.Workers() {
		for _, pid := range pids {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				continue
			}
			fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
			for _, f := range fields[11:13] {
				n, _ := strconv.Atoi(f)
				ticks += n
			}
		}
	}
	return float64(ticks) / 100
}

// TestSlowAndEndlessPeers (§2.L): a client that trickles or vanishes holds
// nothing but its own session, and no part of a message stays.
func TestSlowAndEndlessPeers(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "in", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
		"smtpd_timeout": "2s", "smtpd_per_request_deadline": "yes", "smtpd_min_data_rate": "500",
	}})
	slow := func(before ...string) *wire {
		w := dialWire(t, mta.SMTP())
		for _, command := range before {
			w.write(command)
			w.reply()
		}
		return w
	}
	all := []*wire{
		slow(), slow("EHLO c.test\r\n"),
		slow("EHLO c.test\r\n", "MAIL FROM:<a@c.test>\r\n", "RCPT TO:<bob@in.test>\r\n", "DATA\r\n"),
		slow("EHLO c.test\r\n", "MAIL FROM:<a@c.test>\r\n", "RCPT TO:<bob@in.test>\r\n"),
	}
	all[1].write("MAI")
	all[2].write("Subject: x\r\n\r\nnot finished\r\n")
	all[3].write("BDAT 1000 LAST\r\nSubject: x\r\n")
	for range 200 { // connections that are reset at once, and in DATA
		c, err := net.Dial("tcp", mta.SMTP())
		if err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).SetLinger(0)
		io.WriteString(c, "EHLO x\r\n")
		c.Close()
	}
	if err := mta.Send(t.Context(), "a@c.test", []string{"bob@in.test"}, "Subject: y\n\nfinished\n"); err != nil {
		t.Fatal(err)
	}
	for i, w := range all {
		if got := w.reply(); got != "421 4.4.2 in.test Error: timeout exceeded" {
			t.Errorf("slow client %d: %q", i, got)
		}
		w.ended()
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mail, err := mta.WaitMail(ctx, "bob", 1)
	if err == nil {
		err = mta.WaitEmpty(ctx)
	}
	if err != nil || len(mail) != 1 || !strings.Contains(mail[0], "\nfinished\n") {
		t.Errorf("%v, %q", err, mail)
	}
}
