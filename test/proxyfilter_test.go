package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"sealpost/lib/proxyfilter/filtertest"
	"sealpost/test/ca"
	"sealpost/test/harness"
)

// relayFilter is a content filter that passes commands and replies on to another SMTP
// server, one after the other, and adds a header to messages. breaks says where it dies.
type relayFilter struct {
	net.Listener
	to     string
	breaks atomic.Int32
}

// Where a relayFilter dies.
const (
	nowhere     = iota
	beforeEnd   // the content came; the other server does not get its end
	beforeReply // the other server has the message; nobody is told
	atRcpt
	atStart
)

func startRelayFilter(t *testing.T, to string) *relayFilter {
	f := &relayFilter{to: to}
	f.Listener = listen(t, func(c net.Conn) { f.relay(c) })
	return f
}

func (f *relayFilter) relay(c net.Conn) {
	server, err := net.Dial("tcp", f.to)
	breaks := f.breaks.Load()
	if err != nil || breaks == atStart {
		return
	}
	defer server.Close()
	in, replies := bufio.NewReader(c), bufio.NewReader(server)
	reply := func() (last string, err error) {
		for {
			line, err := replies.ReadString('\n')
			if err != nil {
				return "", err
			}
			io.WriteString(c, line)
			if len(line) < 4 || line[3] != '-' {
				return line, nil
			}
		}
	}
	for text, err := reply(); err == nil; text, err = reply() {
		if strings.HasPrefix(text, "354") {
			io.WriteString(server, "X-Filtered: yes\r\n")
			for line := ""; line != ".\r\n"; {
				if line, err = in.ReadString('\n'); err != nil || line == ".\r\n" && breaks == beforeEnd {
					return
				}
				io.WriteString(server, line)
			}
			if breaks == beforeReply {
				replies.ReadString('\n')
				return
			}
			continue
		}
		line, err := in.ReadString('\n')
		if err != nil || breaks == atRcpt && strings.HasPrefix(line, "RCPT") {
			return
		}
		io.WriteString(server, line)
	}
}

// filtered is a system with a filter before the queue, as docs/proxyfilter.md sets it
// up: a server on port 2525 that gives mail to it, with more options, and one on port
// 2526 that takes it back.
func filtered(t *testing.T, o harness.Options, more string) (mta *harness.Instance, filter *relayFilter) {
	mta = harness.Prepare(t, o)
	filter = startRelayFilter(t, mta.IP+":2526")
	text := strings.NewReplacer("smtp       inet", mta.SMTP()+" inet", "127.0.0.1:10025", filter.Addr().String(), "127.0.0.1:10026", filter.to).
		Replace(examples(t, "proxyfilter.md")["master.cf"])
	entries := services(text)
	if len(entries) != 2 {
		t.Fatalf("the guide has %d services", len(entries))
	}
	entries[0] += more
	mta.Services = append(mta.Services, entries...)
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return mta, filter
}

// TestFilterBeforeTheQueue: mail goes through the filter once, whoever logs it names the
// first client, and the next content filter is told, too.
func TestFilterBeforeTheQueue(t *testing.T) {
	for name, front := range map[string]string{"as it comes": "", "speed_adjust": " -o smtpd_proxy_options=speed_adjust"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := filtertest.Start(t, "tcp", map[string]string{"EHLO": "250-next|250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"})
			host, port, _ := strings.Cut(next.Spec(), ":")
			mta, filter := filtered(t, harness.Options{Name: "mx", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
				"relay_domains": "next.test", "smtp_send_xforward_command": "yes", "smtpd_authorized_xclient_hosts": "127.0.0.1",
				"transport_maps": fmt.Sprintf("inline:{ { next.test = smtp:[%s]:%s } }", host, port),
			}}, front)
			ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
			defer cancel()
			w := dialWire(t, mta.SMTP())
			w.want("XCLIENT NAME=spike.example ADDR=10.1.2.3 PORT=77\r\n", "220 ")
			w.want("EHLO porcupine.example\r\n", "250-")

			// The filter breaks: the client keeps its message, and nobody gets half of it.
			filter.breaks.Store(beforeEnd)
			w.envelope("s@x.test", "bob@in.test")
			w.want("DATA\r\n", "354 ")
			w.want("Subject: first try\r\n\r\nx\r\n.\r\n", "451 4.3.0 Error: queue file write error")
			filter.breaks.Store(nowhere)

			w.envelope("s@x.test", "bob@in.test", "bob@next.test")
			w.want("DATA\r\n", "354 ")
			w.want("Subject: second\r\n\r\n..dot\r\n.\r\n", "250 2.0.0 Ok: queued as ")
			w.envelope("s@x.test", "bob@in.test")
			const third = "Subject: third\r\n\r\nby BDAT\r\n"
			w.want(fmt.Sprintf("BDAT %d LAST\r\n%s", len(third), third), "250 2.0.0 Ok: queued as ")
			mail, err := mta.WaitMail(ctx, "bob", 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range mail {
				if strings.Contains(m, "first try") || strings.Count(m, "X-Filtered: yes\n") != 1 ||
					strings.Count(m, "\nReceived: from porcupine.example (spike.example [10.1.2.3])\n\tby mx.test (Sealpost) with ESMTP") != 1 ||
					strings.Count(m, "\nReceived: from mx.test (") != 1 {
					t.Errorf("delivered:\n%s", m)
				}
			}
			if err := mta.WaitEmpty(ctx); err != nil {
				t.Error(err)
			}
			if n := len(mta.MailFiles("bob")); n != 2 {
				t.Errorf("%d messages", n)
			}
			log := mta.Log.Text()
			for _, want := range []string{
				"NOQUEUE: client=spike.example[10.1.2.3]\n", "warning: lost connection with proxy " + filter.Addr().String(),
				"proxy-reject: END-OF-MESSAGE: 451 4.3.0 Error: queue file write error; from=<s@x.test> to=<bob@in.test> proto=ESMTP helo=<porcupine.example>\n",
				"proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as ", ", orig_client=spike.example[10.1.2.3]\n",
			} {
				if !strings.Contains(log, want) {
					t.Errorf("no %q in the log", want)
				}
			}
			// Through cleanup, the queue file, qmgr and smtp.
			if got := next.Told(); !strings.Contains(got, "XFORWARD NAME=spike.example ADDR=10.1.2.3 PORT=77\r\nXFORWARD PROTO=ESMTP HELO=porcupine.example IDENT=") ||
				!strings.Contains(got, " SOURCE=REMOTE\r\nMAIL FROM:<s@x.test>") {
				t.Errorf("the next filter was told\n%s", got)
			}
			wellFormed(t, mta, logLine)
		})
	}
}

// TestFilterThatDies: whatever a filter dies of, what was answered with 250 is delivered,
// once for each time that the server behind it took it; what was not is the client's.
func TestFilterThatDies(t *testing.T) {
	for name, front := range map[string]string{"as it comes": "", "speed_adjust": " -o smtpd_proxy_options=speed_adjust"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mta, filter := filtered(t, harness.Options{Name: "mx", Domain: "in.test", Users: []string{"bob"},
				Params: map[string]string{"smtpd_error_sleep_time": "0", "smtpd_hard_error_limit": "1000"}}, front)
			ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
			defer cancel()
			w := dialWire(t, mta.SMTP())
			w.want("EHLO c.test\r\n", "250-")
			want := map[string]int{}
			total := 0
			for round := range 10 {
				for breaks := nowhere; breaks <= atStart; breaks++ {
					id := fmt.Sprintf("<%d.%d@x>", round, breaks)
					for _, state := range []int{breaks, nowhere} { // the client tries again, if it must
						filter.breaks.Store(int32(state))
						reply := ""
						for _, step := range []string{"MAIL FROM:<s@x.test>\r\n", "RCPT TO:<bob@in.test>\r\n", "DATA\r\n",
							"Message-ID: " + id + "\r\n\r\n" + strings.Repeat(strings.Repeat("text", 25)+"\r\n", 1000*(round%2)) + ".\r\n"} {
							w.write(step)
							if reply = w.reply(); reply[0] != '2' && reply[0] != '3' {
								break
							}
						}
						if state != nowhere && !strings.HasPrefix(reply, "451 4.3.0 ") || state == nowhere && !strings.HasPrefix(reply, "250 ") {
							t.Fatalf("%s, filter dies at %d: %q", id, state, reply)
						}
						w.want("RSET\r\n", "250 ")
						if state == nowhere || state == beforeReply {
							want[id]++
							total++
						}
						if state == nowhere {
							break
						}
					}
				}
			}
			mail, err := mta.WaitMail(ctx, "bob", total)
			if err != nil {
				t.Error(err)
			}
			if err := mta.WaitEmpty(ctx); err != nil {
				t.Error(err)
			}
			if n := len(mta.MailFiles("bob")); n != total {
				t.Errorf("%d messages, want %d", n, total)
			}
			got := map[string]int{}
			for _, m := range mail {
				_, rest, _ := strings.Cut(m, "\nMessage-ID: ")
				id, _, _ := strings.Cut(rest, "\n")
				got[id]++
				if n := strings.Count(m, "text\n"); n != 0 && n != 1000 {
					t.Errorf("%s came with %d lines", id, n)
				}
			}
			for id, n := range want {
				if got[id] != n {
					t.Errorf("%s came %d times, want %d", id, got[id], n)
				}
			}
		})
	}
}

// TestRequireTLSThroughTheFilter: a request made with the verb REQUIRETLS survives a
// filter that knows nothing of it: mail for a place without TLS comes back.
func TestRequireTLSThroughTheFilter(t *testing.T) {
	sink := startStrictSink(t)
	authority := ca.New(t, "Test CA")
	dir := t.TempDir()
	chain := ca.WriteChain(t, filepath.Join(dir, "chain.pem"), authority.Issue(t, ca.Leaf{CN: "mx", Names: []string{"mx.test"}}))
	for name, front := range map[string]string{"as it comes": "", "speed_adjust": " -o smtpd_proxy_options=speed_adjust"} {
		t.Run(name, func(t *testing.T) {
			mta, _ := filtered(t, harness.Options{Name: "mx", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
				"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": chain, "relay_domains": "sink.test",
				"transport_maps":         "inline:{ { sink.test = smtp:" + nexthop(sink) + " } }",
				"smtp_requiretls_policy": "enforce",
			}}, front)
			ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
			defer cancel()
			for _, headers := range []string{"Subject: secret\r\n\r\nx\r\n", "Subject: secret\r\n"} {
				c, err := dialTLS(mta.SMTP(), nil)
				if err != nil {
					t.Fatal(err)
				}
				mark := mta.Log.Mark()
				for _, step := range []struct {
					send string
					code int
				}{
					{"MAIL FROM:<bob@in.test> REQUIRETLS\r\n", 250}, {"RCPT TO:<u@sink.test>\r\n", 250}, {"RCPT TO:<bob@in.test>\r\n", 250},
					{"DATA\r\n", 354}, {headers + ".\r\n", 250}, {"QUIT\r\n", 221},
				} {
					if code, text := c.command(step.send); code != step.code {
						t.Fatalf("%q: %d %s", step.send, code, text)
					}
				}
				c.Close()
				if _, err := mta.Log.Wait(ctx, mark, `to=<u@sink\.test>.*!requiretls.* status=bounced`); err != nil {
					t.Error(err)
				}
			}
			// Two messages and two reports about them.
			mail, err := mta.WaitMail(ctx, "bob", 4)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range mail {
				if strings.Contains(m, "X-Filtered") && !strings.Contains(m, "Content-Type: multipart/report") && strings.Count(m, "\nRequire-TLS-ESMTP: yes\n") != 1 {
					t.Errorf("delivered:\n%s", m)
				}
			}
		})
	}
	sink.wait(t.Context(), t, 0)
}

// TestNothingSmuggledReachesAFilter (§2.B on this hop): whatever comes by DATA or BDAT
// reaches the filter with one kind of line ending and one end of data.
func TestNothingSmuggledReachesAFilter(t *testing.T) {
	const header = "From: s@sink.test\r\nSubject: x\r\n\r\n"
	for name, option := range map[string]string{"as it comes": "", "speed_adjust": " -o smtpd_proxy_options=speed_adjust"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := startStrictSink(t)
			mta := harness.Prepare(t, harness.Options{Name: "in", Domain: "in.test", Users: []string{"bob"}, Params: map[string]string{
				"smtpd_forbid_bare_newline_exclusions": ""}})
			mta.Services = append(mta.Services, mta.SMTP()+" inet n - n - - smtpd -o smtpd_proxy_filter="+sink.Addr().String()+option)
			if err := mta.WriteConfig(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
			defer cancel()
			if err := mta.Start(ctx); err != nil {
				t.Fatal(err)
			}
			w := dialWire(t, mta.SMTP())
			w.want("EHLO c.test\r\n", "250-")
			sent := 0
			for _, body := range outbound() {
				content := header + body
				w.envelope("s@sink.test", "bob@in.test")
				w.want("DATA\r\n", "354 ")
				w.want(stuff(content), "250 2.0.0 Ok")
				w.envelope("s@sink.test", "bob@in.test")
				half := len(content) / 2
				w.want(fmt.Sprintf("BDAT %d\r\n%s", half, content[:half]), "250 2.0.0 Ok: ")
				w.want(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content)-half, content[half:]), "250 2.0.0 Ok")
				w.want("NOOP\r\n", "250 ")
				sent += 2
			}
			for _, m := range sink.wait(ctx, t, sent) {
				if !strings.Contains(m, "Subject: ") {
					t.Errorf("a message without its header: %.200q", m)
				}
			}
		})
	}
}
