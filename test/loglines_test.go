package test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"sealpost/test/harness"
)

// TestNobodyForgesALogLine (§2.H): CR, LF, ESC, C1 controls, separators and very
// long text in whatever a stranger can choose give one printable line per event.
func TestNobodyForgesALogLine(t *testing.T) {
	const forged = "Nov 22 22:22:22 log postfix/smtpd[1]: forged"
	nasty := map[string]string{
		"CR": "a\r" + forged, "LF": "a\n" + forged, "CRLF": "a\r\n" + forged, "ESC": "a\x1b]0;x\x07b", "C1": "a\u009bb",
		"C1 byte": "a\x9bb", "line separator": "a\u2028b\u2029c\u0085d", "NUL": "a\x00b", "bad UTF-8": "a\xff\xfe\xc0\x80b",
		"long": strings.Repeat("y", 1<<20), "DEL": "a\x7fb", "percent": "%s%n%d", "override": "a\u202eb",
	}
	replies := make(chan string, 1)
	remote := listen(t, func(c net.Conn) {
		fmt.Fprint(c, "220 remote.test ESMTP\r\n")
		text := <-replies
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			fmt.Fprintf(c, "550 5.1.1 %s\r\n", text)
		}
	})
	mta := harness.Start(t, harness.Options{Name: "log", Domain: "log.test", Users: []string{"bob"}, Params: map[string]string{
		"relay_domains":          "remote.test",
		"transport_maps":         "inline:{ { remote.test = smtp:" + nexthop(remote) + " } }",
		"smtpd_error_sleep_time": "0",
		"smtpd_hard_error_limit": "1000",
	}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	for name, text := range nasty {
		t.Run(name, func(t *testing.T) {
			for _, command := range []string{"EHLO %s", "HELO %s", "MAIL FROM:<%s@a.test>", "MAIL FROM:<\"%s\"@a.test>",
				"VRFY %s@log.test", "%s", "NOOP %s", "ETRN %s", "MAIL FROM:<a@b.test> ENVID=%s"} {
				w := dialWire(t, mta.SMTP())
				w.write("EHLO c.test\r\n")
				w.reply()
				w.write(strings.Replace(command, "%s", text, 1) + "\r\nQUIT\r\n")
				for w.reply() != "EOF" {
				}
				w.conn.Close()
			}
			w := dialWire(t, mta.SMTP())
			w.want("EHLO c.test\r\n", "250-")
			w.want("MAIL FROM:<a@b.test>\r\n", "250 ")
			w.write("RCPT TO:<" + text + "@nowhere.test>\r\n")
			w.reply()
			w.conn.Close()

			w = dialWire(t, mta.SMTP())
			w.want("EHLO c.test\r\n", "250-")
			w.envelope("a@b.test", "bob@log.test")
			w.want("DATA\r\n", "354 ")
			w.write("Message-ID: <" + text + "@x>\r\nSubject: " + text + "\r\nFrom: " + text + "\r\n\r\nx\r\n.\r\n")
			if got := w.reply(); got[0] != '2' && got[0] != '5' {
				t.Errorf("message: %q", got)
			}
			w.conn.Close()

			mark := mta.Log.Mark()
			replies <- text
			if err := mta.Send(ctx, "", []string{"u@remote.test"}, "Subject: x\n\nx\n"); err != nil {
				t.Fatal(err)
			}
			// A reply without end defers the message: it is not removed.
			if _, err := mta.Log.Wait(ctx, mark, `to=<u@remote\.test>.* status=`); err != nil {
				t.Error(err)
			}
			// The local way: what an option may say, and what a file name may be.
			for _, args := range [][]string{{"-f", text, "bob@log.test"}, {"-F", text, "bob@log.test"}, {"-V", text, "bob@log.test"}, {text + "@log.test"}} {
				if strings.Contains(text, "\x00") || len(text) > 100_000 {
					break // no argument can be that
				}
				mta.Command(ctx, strings.NewReader("Subject: x\n\nx\n"), "sendmail", args...)
			}
		})
	}
	if n := mta.Log.Count(`^Nov 22 22:22:22`); n > 0 {
		t.Errorf("%d forged lines", n)
	}
	wellFormed(t, mta, logLine)
	for line := range strings.Lines(mta.Log.Text()) {
		if len(line) > 8<<10 {
			t.Errorf("a line of %d bytes: %.100q", len(line), line)
			break
		}
	}
}
