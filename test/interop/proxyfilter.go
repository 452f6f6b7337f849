package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"sealpost/lib/proxyfilter/filtertest"
	"sealpost/test/harness"
)

// Filters before the queue, XCLIENT and XFORWARD, with Debian's Postfix on either side.
var proxyScenarios = []scenario{
	{"XCLIENT and XFORWARD: Debian's smtpd and ours give the same replies and log lines", postfixMaster, sameAttributes},
	{"swaks poses as another client with XCLIENT, plain and under TLS", "swaks", swaksPoses},
	{"XFORWARD: smtp tells the next hop where a message came from, both ways", postfixMaster, bothWaysWith(forwardParams, relayForwards)},
	{"before the queue: with one filter Debian's front and ours say and log the same", postfixMaster, sameFronts},
	{"before the queue: our front with Debian's smtpd behind it, and the other way", postfixMaster, mixedFronts},
}

// rawDialogue sends lines, each after the reply to the one before, and gives the replies.
// A line that begins with "=" is content: it is sent as it is, with \r\n for a newline,
// and its reply is read.
func rawDialogue(ctx context.Context, addr string, lines ...string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	var out strings.Builder
	reply := func() bool {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				out.WriteString("EOF\n")
				return false
			}
			out.WriteString(strings.TrimRight(line, "\r\n") + "\n")
			if len(line) < 4 || line[3] != '-' {
				return true
			}
		}
	}
	ok := reply()
	for _, line := range lines {
		if !ok {
			break
		}
		text, content := strings.CutPrefix(line, "=")
		if content {
			text = strings.ReplaceAll(text, "\n", "\r\n")
		} else {
			out.WriteString("> " + line + "\n")
			text += "\r\n"
		}
		if _, err := c.Write([]byte(text)); err != nil {
			out.WriteString("EOF\n")
			break
		}
		ok = reply()
	}
	return out.String(), nil
}

// neutral is a text without what differs between two systems: names, queue ids, dates,
// ports, and the name of the mail system.
func (m *system) neutral(text string) string {
	for old, plain := range map[string]string{m.Name + ".test": "mta.test", m.IP: "IP", "Sealpost": "Postfix"} {
		text = strings.ReplaceAll(text, old, plain)
	}
	for _, r := range []struct{ expr, with string }{
		{`\b[0-9A-F]{9,}\b`, "QID"}, {`\b[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d{4} .*`, "DATE"}, {`PORT=\d+`, "PORT=N"},
	} {
		text = regexp.MustCompile(r.expr).ReplaceAllString(text, r.with)
	}
	return text
}

// smtpdLines are the texts of smtpd's log lines since a mark that match.
func (m *system) smtpdLines(mark int, match string) string {
	var out strings.Builder
	expr := regexp.MustCompile(`/smtpd\[\d+\]: (.*(?:` + match + `).*)`)
	for line := range strings.Lines(m.Log.Text()[mark:]) {
		if found := expr.FindStringSubmatch(line); found != nil {
			out.WriteString(found[1] + "\n")
		}
	}
	return m.neutral(out.String())
}

// two starts one system of each kind with the same parameters.
func two(ctx context.Context, s *stage, params map[string]string, services func(ip string) []string) (systems []*system, err error) {
	ours, err := s.ours("ours", params)
	if err != nil {
		return nil, err
	}
	debian, err := s.debian("debian", params)
	if err != nil {
		return nil, err
	}
	if services != nil {
		ours.Services = append(ours.Services, services(ours.IP)...)
		if err := errors.Join(ours.WriteConfig(), writeDebian(debian.Instance, params, services(debian.IP))); err != nil {
			return nil, err
		}
	}
	return []*system{ours, debian}, errors.Join(ours.Start(ctx), debian.Start(ctx))
}

func sameAttributes(ctx context.Context, s *stage) error {
	systems, err := two(ctx, s, map[string]string{"smtpd_authorized_xclient_hosts": "127.0.0.0/8", "smtpd_authorized_xforward_hosts": "127.0.0.0/8",
		"inet_protocols": "all", "smtpd_hard_error_limit": "100", "smtpd_error_sleep_time": "0"}, nil)
	if err != nil {
		return err
	}
	envelope := []string{"MAIL FROM:<a@x.test>", "RCPT TO:<bob@DOMAIN>", "RSET"}
	message := []string{"MAIL FROM:<a@x.test>", "RCPT TO:<bob@DOMAIN>", "DATA", "=Subject: x\n\nx\n.\n"}
	long := strings.Repeat("x", 256)
	for name, lines := range map[string][]string{
		"syntax of XCLIENT": {"XCLIENT", "XCLIENT foo", "XCLIENT NAME=", "XCLIENT =x", "XCLIENT FOO=x", "XCLIENT SOURCE=LOCAL", "XCLIENT NAME=a..b", "XCLIENT NAME=a+20b",
			"XCLIENT NAME=a+2", "XCLIENT NAME=1.2.3.4", "XCLIENT NAME=-a.example", "XCLIENT ADDR=1.2.3", "XCLIENT ADDR=[1.2.3.4]", "XCLIENT ADDR=2001:db8::1",
			"XCLIENT PORT=x", "XCLIENT PROTO=LMTP", "XCLIENT DESTADDR=x", "XCLIENT DESTPORT=x", "XCLIENT HELO=" + long, "QUIT"},
		"syntax of XFORWARD": {"XFORWARD", "XFORWARD foo", "XFORWARD FOO=x", "XFORWARD NAME=a..b", "XFORWARD NAME=[TEMPUNAVAIL]", "XFORWARD ADDR=foo", "XFORWARD PORT=foo",
			"XFORWARD SOURCE=foo", "XFORWARD PROTO=" + long[:65], "XFORWARD IDENT=" + long, "XFORWARD NAME=xn--a.example ADDR=[unavailable] HELO=[1.2.3.4]", "QUIT"},
		"in a transaction": {"EHLO c.test", "MAIL FROM:<a@x.test>", "XCLIENT NAME=a", "XFORWARD NAME=a", "RSET", "XFORWARD NAME=a", "QUIT"},
		"another client": append(append([]string{"EHLO c.test", "XCLIENT NAME=spike.example ADDR=10.1.2.3 PORT=77", "EHLO x.test"}, envelope...),
			"XCLIENT NAME=x", "XFORWARD NAME=a", "EHLO y.test", "QUIT"),
		"IPv6 and a login": append(append([]string{"XCLIENT ADDR=IPV6:2001:DB8:0::1 NAME=six.example HELO=he+0Alo+28x+29 PROTO=ESMTP LOGIN=joe"}, message...), "QUIT"),
		"not known":        append(append([]string{"XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE]"}, message...), "QUIT"),
		"an origin": append(append(append([]string{"EHLO c.test", "XFORWARD NAME=spike.example ADDR=168.100.189.2 IDENT=abc@x<> SOURCE=REMOTE", "XFORWARD HELO=a+40b PROTO=http"},
			message...), message...), "QUIT"),
		"parts of an origin": append(append(append(append([]string{"EHLO c.test", "XFORWARD ADDR=10.1.2.3"}, envelope...), "XFORWARD NAME=[UNAVAILABLE]"), envelope...), "XFORWARD IDENT=a+20b", "EHLO d.test", "MAIL FROM:<a@x.test>", "QUIT"),
	} {
		var replies, logs [2]string
		for i, m := range systems {
			mark := m.Log.Mark()
			var own []string
			for _, line := range lines {
				own = append(own, strings.ReplaceAll(line, "DOMAIN", m.Domain))
			}
			got, err := rawDialogue(ctx, m.SMTP(), own...)
			if err != nil {
				return err
			}
			replies[i] = m.neutral(got)
			if _, err := m.Log.Wait(ctx, mark, `disconnect from `); err != nil {
				return err
			}
			logs[i] = m.smtpdLines(mark, "client=|disconnect from")
		}
		if err := errors.Join(same(name+": replies", replies[0], replies[1]), same(name+": log", logs[0], logs[1])); err != nil {
			return err
		}
	}
	return nil
}

func swaksPoses(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	m, err := tlsReceiver(ctx, s, f, map[string]string{"smtpd_authorized_xclient_hosts": "127.0.0.0/8"})
	if err != nil {
		return err
	}
	for _, more := range [][]string{nil, {"--tls"}, {"--tls", "--xclient-before-starttls"}} {
		mark := m.Log.Mark()
		out, err := run(ctx, nil, append([]string{"swaks", "--server", m.SMTP(), "--helo", "client.test", "--from", "a@x.test", "--to", "bob@ours.test",
			"--xclient-name", "spike.example", "--xclient-addr", "10.1.2.3"}, more...)...)
		if err != nil {
			return err
		}
		if err := contains("swaks", out, "XCLIENT ", "250 2.0.0 Ok: queued as "); err != nil {
			return err
		}
		if _, err := m.Log.Wait(ctx, mark, `: client=spike\.example\[10\.1\.2\.3\]$`); err != nil {
			return err
		}
		// What the trusted host may do the other client may not.
		out, _ = run(ctx, nil, append([]string{"swaks", "--server", m.SMTP(), "--helo", "client.test", "--from", "a@x.test", "--to", "u@elsewhere.test",
			"--xclient-addr", "10.1.2.3"}, more...)...)
		if err := contains("swaks", out, "454 4.7.1 <u@elsewhere.test>: Relay access denied"); err != nil {
			return err
		}
	}
	return nil
}

var forwardParams = map[string]string{"smtp_send_xforward_command": "yes", "smtpd_authorized_xforward_hosts": "127.0.0.0/8", "smtpd_authorized_xclient_hosts": "127.0.0.0/8"}

// bothWaysWith is bothWays with parameters for both systems.
func bothWaysWith(params map[string]string, story func(context.Context, *stage, pair) error) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		ours, debian, err := neighbours(ctx, s, params)
		if err != nil {
			return err
		}
		for _, p := range []pair{{ours, debian}, {debian, ours}} {
			if err := story(ctx, s, p); err != nil {
				return fmt.Errorf("from %s: %w%s", p.from.Name, err, logs(ours, debian))
			}
		}
		return nil
	}
}

func relayForwards(ctx context.Context, _ *stage, p pair) error {
	mark := p.to.Log.Mark()
	out, err := rawDialogue(ctx, p.from.SMTP(), "XCLIENT NAME=spike.example ADDR=10.1.2.3 HELO=porcupine.example PROTO=ESMTP", "EHLO porcupine.example",
		"MAIL FROM:<"+p.sender()+">", "RCPT TO:<"+p.recipient("bob")+">", "QUIT")
	if err != nil {
		return err
	}
	if err := contains("a stranger", out, "Relay access denied"); err != nil {
		return err
	}
	// The client itself may relay; where it said that the message came from goes on.
	out, err = rawDialogue(ctx, p.from.SMTP(), "EHLO c.test", "XFORWARD NAME=spike.example ADDR=10.1.2.3 IDENT=OLD SOURCE=REMOTE",
		"MAIL FROM:<"+p.sender()+">", "RCPT TO:<"+p.recipient("bob")+">", "DATA", "=Subject: x\n\nx\n.\n", "QUIT")
	if err != nil {
		return err
	}
	if err := contains("the dialogue", out, "queued as "); err != nil {
		return err
	}
	_, err = p.to.Log.Wait(ctx, mark, `, orig_queue_id=OLD, orig_client=spike\.example\[10\.1\.2\.3\]$`)
	return err
}

// frontServices are two more SMTP servers, which have a filter: one of them asks it
// afterwards.
func frontServices(filter string) func(ip string) []string {
	return func(ip string) []string {
		const common = " inet n - n - - smtpd -o syslog_name=postfix/front -o smtpd_proxy_timeout=2 -o smtpd_proxy_filter="
		return []string{ip + ":2526" + common + filter, ip + ":2527" + common + filter + " -o smtpd_proxy_options=speed_adjust"}
	}
}

func sameFronts(ctx context.Context, s *stage) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	filter := filtertest.New(ln, nil)
	s.closers = append(s.closers, func() error { filter.Close(); return nil })
	systems, err := two(ctx, s, map[string]string{"smtpd_authorized_xforward_hosts": "127.0.0.0/8", "smtpd_error_sleep_time": "0"}, frontServices(ln.Addr().String()))
	if err != nil {
		return err
	}
	message := []string{"EHLO c.test", "MAIL FROM:<a@x.test> BODY=8BITMIME", "RCPT TO:<bob@DOMAIN> NOTIFY=NEVER", "rcpt to: alice@DOMAIN", "DATA", "=Subject: x\n\n..dot\n.\n",
		"MAIL FROM:<>", "RCPT TO:<bob@DOMAIN>", "RSET", "QUIT"}
	var refused []string // without a message that would be commands
	for _, line := range message {
		if !strings.HasPrefix(line, "=") {
			refused = append(refused, line)
		}
	}
	origin := append([]string{"EHLO c.test", "XFORWARD NAME=spike.example ADDR=10.1.2.3 IDENT=OLD SOURCE=REMOTE"}, message[1:]...)
	chunks := []string{"EHLO c.test", "MAIL FROM:<a@x.test>", "RCPT TO:<bob@DOMAIN>", "=BDAT 5\nSubje", "=BDAT 11 LAST\nct: x\n\nab", "QUIT"}
	for _, tc := range []struct {
		name        string
		script      map[string]string
		live, after []string // after: with speed_adjust
	}{
		{"taken", nil, message, message},
		{"refused", map[string]string{"DOT": "550-5.7.1 spam|550 5.7.1 really spam"}, message, message},
		{"later", map[string]string{"DOT": "450 4.7.1 later"}, message, message},
		{"lost at the end", map[string]string{"DOT": "!"}, message, message},
		{"421 at the end", map[string]string{"DOT": "421 4.3.0 later!"}, message, message},
		{"one recipient refused", map[string]string{"RCPT 1": "550 5.1.1 no such"}, message, message},
		{"all recipients refused", map[string]string{"RCPT": "450-4.1.1 a|450 4.1.1 b"}, refused, message},
		{"sender refused", map[string]string{"MAIL": "550 5.7.1 bad"}, refused, message},
		{"421 at RCPT", map[string]string{"RCPT 2": "421 4.3.0 bye!"}, message, message},
		{"lost at RCPT", map[string]string{"RCPT 1": "!"}, refused, message},
		{"DATA refused", map[string]string{"DATA": "550 5.5.0 no"}, refused, message},
		{"lost at DATA", map[string]string{"DATA": "!"}, refused, message},
		{"greeting refused", map[string]string{"BANNER": "554 go away"}, refused, message},
		{"no greeting", map[string]string{"BANNER": "!"}, refused, message},
		{"hangs", map[string]string{"MAIL": "-"}, refused[:3], message[:6]},
		{"EHLO refused", map[string]string{"EHLO": "500 what"}, refused, message},
		{"XFORWARD refused", map[string]string{"XFORWARD": "501 no"}, refused, message},
		{"an origin is passed on", nil, origin, origin},
		{"BDAT", nil, chunks, chunks},
	} {
		full := map[string]string{"DOT": "250 2.0.0 Ok: queued as FILTER1", "EHLO": "250-filter|250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT|250 8BITMIME"}
		for k, v := range tc.script {
			full[k] = v
		}
		err := errors.Join(compareFronts(ctx, systems, filter, "2526", full, tc.live), compareFronts(ctx, systems, filter, "2527", full, tc.after))
		if err != nil {
			return fmt.Errorf("%s: %w", tc.name, err)
		}
	}
	return nil
}

// compareFronts holds the same dialogue with both systems.
func compareFronts(ctx context.Context, systems []*system, filter *filtertest.Filter, port string, script map[string]string, lines []string) error {
	var replies, logs, told [2]string
	for i, m := range systems {
		filter.Restart(script)
		mark := m.Log.Mark()
		var own []string
		for _, line := range lines {
			own = append(own, strings.ReplaceAll(line, "DOMAIN", m.Domain))
		}
		got, err := rawDialogue(ctx, m.IP+":"+port, own...)
		if err != nil {
			return err
		}
		replies[i] = m.neutral(got)
		if _, err := m.Log.Wait(ctx, mark, `disconnect from `); err != nil {
			return err
		}
		logs[i] = m.smtpdLines(mark, "client=|proxy")
		if err := harness.Poll(ctx, func() (bool, error) { return filter.Open() == 0, nil }); err != nil {
			return err
		}
		told[i] = m.neutral(filter.Told())
	}
	return errors.Join(same("port "+port+": replies", replies[0], replies[1]), same("port "+port+": log", logs[0], logs[1]),
		same("port "+port+": what the filter was told", told[0], told[1]))
}

// mixedFronts: the filter of one system is the SMTP server of the other.
func mixedFronts(ctx context.Context, s *stage) error {
	systems, err := two(ctx, s, map[string]string{"smtpd_authorized_xforward_hosts": "127.0.0.0/8", "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
		"virtual_mailbox_domains": "ours.test, debian.test",
		"virtual_mailbox_maps":    "inline:{ { bob@ours.test = bob/ }, { bob@debian.test = bob/ } }"}, nil)
	if err != nil {
		return err
	}
	for i, front := range systems {
		back := systems[1-i]
		for _, option := range []string{"", "speed_adjust"} {
			if err := front.set(ctx, "smtpd_proxy_filter="+back.SMTP(), "smtpd_proxy_options="+option); err != nil {
				return err
			}
			for _, t := range texts {
				mark := back.Log.Mark()
				id := fmt.Sprintf("%s-%s-%s", t.name, front.Name, option)
				if err := front.send(ctx, envelope{from: "a@x.test", to: "bob@" + back.Domain, mailArgs: " BODY=8BITMIME"}, letter(id, t.text)); err != nil {
					return fmt.Errorf("%s: %w%s", id, err, logs(systems...))
				}
				got, err := back.delivered(ctx, "bob")
				if err != nil {
					return fmt.Errorf("%s: %w%s", id, err, logs(systems...))
				}
				if err := errors.Join(endsWith(id, got, letter(id, t.text)),
					contains(id, got, "\nReceived: from client.test (", "\tby "+front.Name+".test (", "\nReceived: from "+front.Name+".test (")); err != nil {
					return err
				}
				if _, err := back.Log.Wait(ctx, mark, `, orig_client=unknown\[127\.0\.0\.1\]`); err != nil {
					return err
				}
			}
		}
		if err := front.reset(ctx); err != nil {
			return err
		}
	}
	return nil
}
