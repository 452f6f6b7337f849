package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sealpost/test/harness"
)

var relayScenarios = []scenario{
	{"Debian's Postfix relays to us and takes mail from us", postfixMaster, bothWays(relayTexts)},
	{"8BITMIME: downgraded where the next hop cannot", postfixMaster, bothWays(relayDowngrade)},
	{"bounces: refused by the next hop, and after it accepted", postfixMaster, bothWays(relayBounces)},
	{"DSN: success is reported by the system that delivers", postfixMaster, bothWays(relayDSN)},
	{"SMTPUTF8 between both", postfixMaster, bothWays(relayUTF8)},
	{"a message that is too large for the next hop comes back", postfixMaster, bothWays(relayTooLarge)},
	{"a 4xx defers, and postqueue -f delivers", postfixMaster, bothWays(relayDeferral)},
	{"smtp-source to us, our smtp to smtp-sink", "smtp-source", sourceAndSink},
}

// pair are two running systems that know each other. Mail of one direction is
// relayed by from.
type pair struct {
	from, to *system
}

// neighbours starts one system of each kind; mail for the other's domain goes
// straight to it.
func neighbours(ctx context.Context, s *stage, params map[string]string) (ours, debian *system, err error) {
	if ours, err = s.ours("ours", params); err != nil {
		return nil, nil, err
	}
	if debian, err = s.debian("debian", params); err != nil {
		return nil, nil, err
	}
	names, err := s.names(ours, debian)
	if err != nil {
		return nil, nil, err
	}
	// Ours asks the name server; Debian's C library cannot be told which to ask.
	if err := ours.set(ctx, "dns_servers="+names); err != nil {
		return nil, nil, err
	}
	route := fmt.Sprintf("transport_maps=inline:{ { ours.test = smtp:[%s]:2525 } }", ours.IP)
	if err := debian.set(ctx, route); err != nil {
		return nil, nil, err
	}
	return ours, debian, errors.Join(ours.Start(ctx), debian.Start(ctx))
}

// bothWays runs a story in both directions.
func bothWays(story func(context.Context, *stage, pair) error) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		ours, debian, err := neighbours(ctx, s, nil)
		if err != nil {
			return err
		}
		if err := story(ctx, s, pair{ours, debian}); err != nil {
			return fmt.Errorf("from ours to Debian's: %w%s", err, logs(ours, debian))
		}
		if err := errors.Join(ours.reset(ctx), debian.reset(ctx)); err != nil {
			return err
		}
		if err := story(ctx, s, pair{debian, ours}); err != nil {
			return fmt.Errorf("from Debian's to ours: %w%s", err, logs(ours, debian))
		}
		return nil
	}
}

// logs are the last lines of both systems' logs, for an error.
func logs(systems ...*system) string {
	var b strings.Builder
	for _, m := range systems {
		fmt.Fprintf(&b, "\n-- %s:\n%s", m.Name, lastLines(m.Log.Text(), 12))
	}
	return b.String()
}

func (p pair) sender() string            { return "alice@" + p.from.Domain }
func (p pair) recipient(u string) string { return u + "@" + p.to.Domain }
func (p pair) name(what string) string   { return what + "-by-" + p.from.Name }
func (p pair) removed(ctx context.Context) error {
	return errors.Join(p.from.WaitEmpty(ctx), p.to.WaitEmpty(ctx))
}

func relayTexts(ctx context.Context, _ *stage, p pair) error {
	for _, t := range texts {
		want := letter(p.name(t.name), t.text)
		if t.name == "long-line" {
			// Both fold lines at smtp_line_length_limit on the way out: 998 bytes, then
			// the rest after a blank.
			want = letter(p.name(t.name), folded(t.text))
		}
		err := p.from.send(ctx, envelope{from: p.sender(), to: p.recipient("bob"), mailArgs: " BODY=8BITMIME"}, letter(p.name(t.name), t.text))
		if err != nil {
			return err
		}
		got, err := p.to.delivered(ctx, "bob")
		if err != nil {
			return err
		}
		if err := endsWith(t.name, got, want); err != nil {
			return err
		}
		if err := contains(t.name, got, "Return-Path: <"+p.sender()+">\n",
			"\nReceived: from "+p.from.Name+".test (", "\tby "+p.to.Name+".test (", "\nReceived: from client.test ("); err != nil {
			return err
		}
	}
	return p.removed(ctx)
}

// folded is a text as smtp(8) sends it: long lines broken after 998 bytes.
func folded(text string) string {
	const limit = 998
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		for first := true; first || line != ""; first = false {
			n := min(len(line), limit)
			if !first {
				out.WriteString(" ")
				n = min(len(line), limit-1)
			}
			out.WriteString(line[:n] + "\n")
			line = line[n:]
		}
	}
	return out.String()
}

func relayDowngrade(ctx context.Context, _ *stage, p pair) error {
	if err := p.to.set(ctx, "smtpd_discard_ehlo_keywords=8bitmime, smtputf8"); err != nil {
		return err
	}
	const text = "Gr\u00fc\u00dfe = 100%\n.dot\ntrailing \n"
	message := strings.Replace(letter(p.name("downgrade"), text), "\n\n",
		"\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n", 1)
	if err := p.from.send(ctx, envelope{from: p.sender(), to: p.recipient("bob"), mailArgs: " BODY=8BITMIME"}, message); err != nil {
		return err
	}
	got, err := p.to.delivered(ctx, "bob")
	if err != nil {
		return err
	}
	if err := same("transfer encoding", header(got, "Content-Transfer-Encoding"), "quoted-printable"); err != nil {
		return err
	}
	return same("body", body(got), "Gr=C3=BC=C3=9Fe =3D 100%\n.dot\ntrailing=20\n")
}

// report checks a delivery status notification in alice's mailbox of the sender's
// system.
func (p pair) report(ctx context.Context, parts ...string) error {
	got, err := p.from.delivered(ctx, "alice")
	if err != nil {
		return err
	}
	return contains("report", got, append(parts, "Return-Path: <>\n", "multipart/report; report-type=delivery-status;",
		"delivery-status\n", "\nContent-Description: Notification\n")...)
}

func relayBounces(ctx context.Context, _ *stage, p pair) error {
	for _, b := range []struct{ to, reporter, status string }{
		{"nobody", p.from.Name, "5.1.1"},    // refused by the next hop: the relay reports
		{"late-bounce", p.to.Name, "5.1.1"}, // accepted by the next hop, which reports
	} {
		id := p.name(b.to)
		if err := p.from.send(ctx, envelope{from: p.sender(), to: p.recipient(b.to)}, letter(id, "secret\n")); err != nil {
			return err
		}
		if err := p.report(ctx, "Action: failed\n", "Status: "+b.status+"\n", "\nReporting-MTA: dns; "+b.reporter+".test\n",
			"\nSubject: Undelivered Mail Returned to Sender\n", "\nMessage-Id: <"+id+"@sender.test>\n", "\nsecret\n"); err != nil {
			return fmt.Errorf("%s: %w", b.to, err)
		}
	}
	return p.removed(ctx)
}

func relayDSN(ctx context.Context, _ *stage, p pair) error {
	// A kept connection would remember what the next hop announced before.
	if err := p.from.set(ctx, "smtp_connection_cache_on_demand=no"); err != nil {
		return err
	}
	e := envelope{from: p.sender(), to: p.recipient("bob"), mailArgs: " RET=HDRS ENVID=env+2Bid",
		rcptArgs: " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old+2Bbob@" + p.to.Domain}
	if err := p.from.send(ctx, e, letter(p.name("dsn"), "secret\n")); err != nil {
		return err
	}
	if _, err := p.to.delivered(ctx, "bob"); err != nil {
		return err
	}
	// The next hop announces DSN, so the relay says nothing and it reports.
	if err := p.report(ctx, "\nAction: delivered\n", "\nStatus: 2.0.0\n", "\nReporting-MTA: dns; "+p.to.Name+".test\n",
		"\nOriginal-Envelope-Id: env+id\n", "\nOriginal-Recipient: rfc822;old+bob@"+p.to.Domain+"\n",
		"\nFinal-Recipient: rfc822; bob@"+p.to.Domain+"\n", "\nContent-Type: text/rfc822-headers"); err != nil {
		return err
	}
	// NOTIFY=NEVER: a failure is reported to nobody.
	never := envelope{from: p.sender(), to: p.recipient("late-bounce"), rcptArgs: " NOTIFY=NEVER"}
	if err := p.from.send(ctx, never, letter(p.name("never"), "secret\n")); err != nil {
		return err
	}
	if _, err := p.to.Log.Wait(ctx, 0, `status=bounced \(unknown user: `); err != nil {
		return err
	}
	if err := p.removed(ctx); err != nil {
		return err
	}
	if n := len(p.from.MailFiles("alice")); n != 0 {
		return fmt.Errorf("NOTIFY=NEVER was answered with %d reports", n)
	}
	// A next hop without DSN: the relay reports that it relayed, and to whom.
	if err := p.to.set(ctx, "smtpd_discard_ehlo_keywords=dsn"); err != nil {
		return err
	}
	if err := p.from.send(ctx, e, letter(p.name("relayed"), "secret\n")); err != nil {
		return err
	}
	if _, err := p.to.delivered(ctx, "bob"); err != nil {
		return err
	}
	return p.report(ctx, "\nAction: relayed\n", "\nReporting-MTA: dns; "+p.from.Name+".test\n", "\nStatus: 2.0.0\n")
}

func relayUTF8(ctx context.Context, _ *stage, p pair) error {
	e := envelope{from: "\u00fcser@" + p.from.Domain, to: p.recipient("bob"), mailArgs: " SMTPUTF8 BODY=8BITMIME"}
	message := strings.Replace(letter(p.name("utf8"), "text\n"), "From: Alice", "From: \u00c4lice", 1)
	if err := p.from.send(ctx, e, message); err != nil {
		return err
	}
	got, err := p.to.delivered(ctx, "bob")
	if err != nil {
		return err
	}
	if err := contains("message", got, "Return-Path: <\u00fcser@"+p.from.Domain+">\n", "with UTF8SMTP id "); err != nil {
		return err
	}
	if err := same("From", header(got, "From"), "\u00c4lice <alice@sender.test>"); err != nil {
		return err
	}
	// A next hop without SMTPUTF8 cannot have it.
	if err := p.to.set(ctx, "smtputf8_enable=no"); err != nil {
		return err
	}
	e.from = p.sender()
	if err := p.from.send(ctx, e, message); err != nil {
		return err
	}
	return p.report(ctx, "\nStatus: 5.6.7\n", "SMTPUTF8")
}

func relayTooLarge(ctx context.Context, _ *stage, p pair) error {
	if err := p.to.set(ctx, "message_size_limit=20000"); err != nil {
		return err
	}
	text := strings.Repeat(strings.Repeat("x", 70)+"\n", 400)
	if err := p.from.send(ctx, envelope{from: p.sender(), to: p.recipient("bob")}, letter(p.name("large"), text)); err != nil {
		return err
	}
	if err := p.report(ctx, "\nStatus: 5.3.4\n", "Action: failed\n"); err != nil {
		return err
	}
	if n := len(p.to.MailFiles("bob")); n != 0 {
		return errors.New("it was delivered")
	}
	// A limit that is not announced: refused at the end of the content.
	if err := p.to.set(ctx, "smtpd_discard_ehlo_keywords=size"); err != nil {
		return err
	}
	if err := p.from.send(ctx, envelope{from: p.sender(), to: p.recipient("bob")}, letter(p.name("large2"), text)); err != nil {
		return err
	}
	return errors.Join(p.report(ctx, "\nStatus: 5.3.4\n", "Action: failed\n"), p.removed(ctx))
}

func relayDeferral(ctx context.Context, _ *stage, p pair) error {
	if err := p.to.set(ctx, "smtpd_recipient_restrictions=defer"); err != nil {
		return err
	}
	mark := p.from.Log.Mark()
	want := letter(p.name("deferred"), "text\n")
	if err := p.from.send(ctx, envelope{from: p.sender(), to: p.recipient("bob")}, want); err != nil {
		return err
	}
	if _, err := p.from.Log.Wait(ctx, mark, `status=deferred \(host .* said: 450 4\.3\.2`); err != nil {
		return err
	}
	// Not before the message is back in the deferred queue.
	out, err := p.listed(ctx, "deferred")
	if err != nil {
		return err
	}
	if err := contains("queue list", out, "said: 450 4.3.2", p.recipient("bob"), p.sender(), "in 1 Request."); err != nil {
		return err
	}
	if err := p.to.set(ctx, "smtpd_recipient_restrictions="); err != nil {
		return err
	}
	if _, err := p.from.Command(ctx, nil, "postqueue", "-f"); err != nil {
		return err
	}
	got, err := p.to.delivered(ctx, "bob")
	if err != nil {
		return err
	}
	return errors.Join(endsWith("deferred mail", got, want), p.removed(ctx))
}

// listed waits until the only message of the relaying system is in a queue, and
// returns what postqueue -p says then.
func (p pair) listed(ctx context.Context, queue string) (string, error) {
	err := harness.Poll(ctx, func() (bool, error) { return p.from.Queue()[queue] == 1, nil })
	if err != nil {
		return "", fmt.Errorf("no message in %s: %v: %w", queue, p.from.Queue(), err)
	}
	return p.from.Command(ctx, nil, "postqueue", "-p")
}

// sourceAndSink: Debian's load generator speaks to our server, our client to its
// sink, and every message arrives.
func sourceAndSink(ctx context.Context, s *stage) error {
	const messages = 200
	ip, err := harness.Loopback()
	if err != nil {
		return err
	}
	sinkAddr := ip + ":2525"
	dump := filepath.Join(s.dir, "dump")
	if err := os.Mkdir(dump, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(dump, 0o777); err != nil {
		return err
	}
	sink := command(ctx, "smtp-sink", "-u", "nobody", "-d", dump+"/%M.", sinkAddr, "100")
	if err := sink.Start(); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error {
		err := sink.Process.Kill()
		_ = sink.Wait() // killed
		return err
	})
	m, err := receiver(ctx, s, map[string]string{"relayhost": "[" + ip + "]:2525"})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-s", "10", "-m", strconv.Itoa(messages)},       // a connection for each message
		{"-s", "10", "-m", strconv.Itoa(messages), "-d"}, // connections kept
		{"-s", "2", "-m", "20", "-r", "10"},              // ten recipients each
		{"-s", "2", "-m", "4", "-l", "2000000"},          // large
	} {
		args = append(append([]string{"smtp-source", "-f", "a@sender.test", "-t", "b@elsewhere.test"}, args...), m.SMTP())
		if _, err := run(ctx, nil, args...); err != nil {
			return err
		}
	}
	if err := m.WaitEmpty(ctx); err != nil {
		return err
	}
	files, err := os.ReadDir(dump)
	if err != nil {
		return err
	}
	const want = 2*messages + 20 + 4
	if len(files) != want {
		return fmt.Errorf("smtp-sink got %d messages, want %d%s", len(files), want, logs(m))
	}
	if n := m.Log.Count(`status=sent \(250 2\.0\.0 Ok\)`); n != 2*messages+20*10+4 {
		return fmt.Errorf("%d recipients were logged as sent, want %d", n, 2*messages+20*10+4)
	}
	return nil
}
