package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestProxyAndBareNewlines (security-cases.md §2.A and §2.B on this hop): the filter
// gets CR LF only, and one message for one end of data.
func TestProxyAndBareNewlines(t *testing.T) {
	for _, policy := range []string{"normalize", "note", "reject"} {
		for _, mode := range []string{"", "speed_adjust"} {
			for _, before := range []string{"\r\n", "\n", "\r", "\r\r\n", "\r\x00\n"} {
				for _, after := range []string{"\n", "\r", "\r\r\n", "\r\x00\n"} {
					name := fmt.Sprintf("%s %s %q.%q", policy, mode, before, after)
					r, f := proxyRig(t, nil, "smtpd_forbid_bare_newline="+policy, "smtpd_proxy_options="+mode)
					d := r.start()
					d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
					d.send("line1" + before + "." + after + "MAIL FROM:<evil@x.example>\r\nRCPT TO:<evil@x.example>\r\nDATA\r\nevil\r\n.\r\n")
					reply := d.reply()
					if !strings.HasPrefix(reply, "250 ") && !(policy == "reject" && strings.HasPrefix(reply, "550 5.5.2 ")) {
						t.Errorf("%s: %q", name, reply)
					}
					d.want("QUIT", "221 2.0.0 Bye")
					<-d.done
					got := f.Seen()
					crlf := strings.Count(got, "\r\n")
					ends := strings.Count(got, "\r\n.\r\n")
					if strings.Count(got, "\r") != crlf || strings.Count(got, "\n") != crlf && !strings.HasSuffix(got, "EOF") || ends > 1 || ends == 1 != strings.HasPrefix(reply, "250 ") {
						t.Errorf("%s: the filter was told %q", name, got)
					}
				}
			}
		}
	}
}

// TestProxyAndExemptClients (security-cases.md §2.M h): a client that may end its lines
// as it likes says where its messages end, and the filter sees them end there.
func TestProxyAndExemptClients(t *testing.T) {
	for _, mode := range []string{"", "speed_adjust"} {
		for _, end := range []string{"\r\n.\r\n", "\n.\n", "\n.\r\n", "\r\n.\n", "\n.\r\r\n"} {
			r, f := proxyRig(t, nil, "smtpd_forbid_bare_newline_exclusions=127.0.0.1", "smtpd_proxy_options="+mode)
			d := r.start()
			for range 2 {
				d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
				d.send("Subject: x\n\n..\n..\r\n.\r.\nx" + end)
				if got := d.reply(); got != byFilter {
					t.Errorf("%q: reply %q", end, got)
				}
			}
			d.want("QUIT", "221 2.0.0 Bye")
			<-d.done
			const want = "Subject: x\n\n..\n..\n .\nx\n.\n"
			if got := told(f); strings.Count(got, want) != 2 || strings.ContainsAny(got, "\r") {
				t.Errorf("%q %s: the filter was told %q", end, mode, got)
			}
		}
	}
}

// TestProxyAndLimits: what is too large, or refused by us at its end, never gets an end
// at the filter.
func TestProxyAndLimits(t *testing.T) {
	for _, mode := range []string{"", "speed_adjust"} {
		for _, tc := range []struct {
			behaviour, param, reply, log string
		}{
			{"too large", "message_size_limit=100", "552 5.3.4 Error: message file too big", "proxy-reject: END-OF-MESSAGE: 552 5.3.4 Error: message file too big; "},
			{"smtpd_end_of_data_restrictions", "smtpd_end_of_data_restrictions=reject", "554 5.7.1 <END-OF-MESSAGE>: End-of-data rejected: Access denied", "NOQUEUE: reject: END-OF-MESSAGE from "},
		} {
			r, f := proxyRig(t, nil, tc.param, "smtpd_proxy_options="+mode)
			d := r.dial("")
			d.reply()
			d.want("HELO client.example", "250 mail.example.com", mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead,
				"From x\r\n"+strings.Repeat("From y\r\n", 1000)+"\r\n"+strings.Repeat("body\r\n", 100)+".", tc.reply,
				mailA, senderOK, "QUIT", "221 2.0.0 Bye")
			<-d.done
			if got := f.Seen(); strings.Contains(got, "\r\n.\r\n") || strings.Contains(got, "QUIT") || mode != "" && got != "" {
				t.Errorf("%s %s: the filter was told %q", tc.behaviour, mode, got)
			}
			if !strings.Contains(r.log.String(), tc.log) {
				t.Errorf("no %q in %s", tc.log, r.log)
			}
		}
	}
}

// TestProxyAndALostClient: half a message is none.
func TestProxyAndALostClient(t *testing.T) {
	for _, mode := range []string{"", "speed_adjust"} {
		r, f := proxyRig(t, nil, "smtpd_proxy_options="+mode)
		d := r.start()
		d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
		d.send("Subject: x\r\n\r\nhalf\r\n")
		d.conn.Close()
		<-d.done
		if got := f.Seen(); strings.Contains(got, "\r\n.\r\n") || strings.Contains(got, "QUIT") {
			t.Errorf("%s: the filter was told %q", mode, got)
		}
		if !strings.Contains(r.log.String(), "NOQUEUE: lost connection after DATA (") {
			t.Errorf("log %s", r.log)
		}
	}
}

// TestProxyThatHangs: the client is told within smtpd_proxy_timeout, also when its own
// time for the request was over before.
func TestProxyThatHangs(t *testing.T) {
	for _, stage := range []string{"BANNER", "EHLO", "XFORWARD", "MAIL", "RCPT", "DATA", "DOT"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			r, f := proxyRig(t, map[string]string{stage: "-"}, "smtpd_proxy_timeout=1s")
			r.srv.normal.RequestDeadline, r.srv.normal.Timeout = true, 700*time.Millisecond
			r.srv.normal.proxy.filter.Timeout = time.Second
			d := r.start()
			d.want(mailA, senderOK)
			reply := d.say(rcptBob)
			if reply == rcptOK {
				if reply = d.say("DATA"); reply == goAhead {
					reply = d.say(content)
				}
			}
			if reply != writeError || !strings.Contains(r.log.String(), "warning: timeout talking to proxy "+f.Spec()) {
				t.Errorf("reply %q, log\n%s", reply, r.log)
			}
			d.conn.Close()
		})
	}
}

// TestProxyIsNotThere: nothing is lost, the client comes again.
func TestProxyIsNotThere(t *testing.T) {
	for _, delay := range []string{"yes", "no"} {
		r, f := proxyRig(t, nil, "smtpd_delay_open_until_valid_rcpt="+delay)
		f.Close()
		d := r.start()
		if delay == "no" {
			d.want(mailA, writeError, rcptBob, needMail)
		} else {
			d.want(mailA, senderOK, rcptBob, writeError, "DATA", "554 5.5.1 Error: no valid recipients")
		}
		if want := "warning: connect to proxy filter " + f.Spec() + ": "; !strings.Contains(r.log.String(), want) {
			t.Errorf("no %q in %s", want, r.log)
		}
		d.conn.Close()
	}
}
