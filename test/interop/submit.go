package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sealpost/test/harness"
)

// python is Debian's, whatever comes first in PATH.
const python = "/usr/bin/python3"

// letter is a message with every header that a mail system would add otherwise,
// so that what is delivered must end with these bytes.
func letter(subject, text string) string {
	return "From: Alice <alice@sender.test>\nTo: Bob <bob@mx.test>\nDate: Sun, 22 Nov 2026 12:00:00 +0000\n" +
		"Message-Id: <" + subject + "@sender.test>\nSubject: " + subject + "\n\n" + text
}

// texts are message bodies that mail software likes to damage.
var texts = []struct{ name, text string }{
	{"plain", "Hello.\n\nBye.\n"},
	{"dots", ".\n..\n.text\n...\n. \n\n.\nend\n"},
	{"8bit", "Gr\u00fc\u00dfe, \u65e5\u672c\u8a9e\n\u00ff latin: \xe4\xf6\xfc\n"},
	{"long-line", strings.Repeat("x", 5000) + "\n" + strings.Repeat("0123456789", 210) + "\nend\n"},
	{"blanks", " leading\ntrailing  \n\t\n\n\n"},
	{"from-line", "From alice\n>From bob\n"},
	{"empty-body", ""},
}

var submitScenarios = []scenario{
	{"swaks submits every kind of text, plain, pipelined and in bulk", "swaks", swaksSubmits},
	{"s-nail submits over SMTP and through our sendmail", "s-nail", snailSubmits},
	{"Python smtplib submits every kind of text", python, pythonTexts},
	{"Python smtplib: pipelining, BDAT, DSN, SMTPUTF8, refusals", python, pythonProtocol},
	{"Python smtplib: a bare LF smuggles nothing", python, pythonBareLF},
}

// receiver is a running system of ours for mx.test.
func receiver(ctx context.Context, s *stage, params map[string]string, services ...string) (*system, error) {
	m, err := s.ours("mx", params, services...)
	if err != nil {
		return nil, err
	}
	return m, m.Start(ctx)
}

// delivered waits for the next message of a user and takes it out of the mailbox.
func (m *system) delivered(ctx context.Context, user string) (string, error) {
	mail, err := m.WaitMail(ctx, user, 1)
	if err != nil {
		return "", fmt.Errorf("%w; log:\n%s", err, lastLines(m.Log.Text(), 15))
	}
	if len(mail) != 1 {
		return "", fmt.Errorf("%d messages for %s, want 1", len(mail), user)
	}
	for _, path := range m.MailFiles(user) {
		if err := os.Remove(path); err != nil {
			return "", err
		}
	}
	return mail[0], nil
}

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// endsWith checks that a delivered message is our headers and then exactly want.
func endsWith(what, got, want string) error {
	if !strings.HasPrefix(got, "Return-Path: <") {
		return fmt.Errorf("%s: no Return-Path at the start: %q", what, got[:min(80, len(got))])
	}
	if strings.HasSuffix(got, want) {
		return nil
	}
	_, rest, _ := strings.Cut(got, "\nFrom: ")
	return same(what, "From: "+rest, want)
}

func (m *system) portArgs() []string { return []string{m.IP, strconv.Itoa(harness.SMTPPort)} }

// write makes a file that every user can read.
func (s *stage) write(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func swaksSubmits(ctx context.Context, s *stage) error {
	m, err := receiver(ctx, s, nil)
	if err != nil {
		return err
	}
	swaks := func(file string, more ...string) (string, error) {
		args := append([]string{"swaks", "--server", m.SMTP(), "--helo", "client.test", "--from", "alice@sender.test",
			"--to", "bob@mx.test", "--data", "@" + file}, more...)
		return run(ctx, nil, args...)
	}
	for _, t := range texts {
		want := letter("swaks-"+t.name, t.text)
		file, err := s.write(t.name, want)
		if err != nil {
			return err
		}
		for _, more := range [][]string{nil, {"--pipeline"}} {
			if _, err := swaks(file, more...); err != nil {
				return err
			}
			got, err := m.delivered(ctx, "bob")
			if err != nil {
				return err
			}
			// swaks ends the content with an empty line of its own.
			if err := endsWith(t.name, got, strings.TrimRight(want, "\n")+got[len(strings.TrimRight(got, "\n")):]); err != nil {
				return err
			}
		}
	}
	// Not an open relay, and an unknown user is refused before the content.
	file, err := s.write("refused", letter("refused", "no\n"))
	if err != nil {
		return err
	}
	out, err := swaks(file, "--to", "nobody@mx.test")
	if err == nil {
		return fmt.Errorf("an unknown recipient was accepted")
	}
	if err := contains("swaks", out, "550 5.1.1 <nobody@mx.test>: Recipient address rejected: User unknown in virtual mailbox table"); err != nil {
		return err
	}
	if err := m.set(ctx, "mynetworks="); err != nil {
		return err
	}
	out, err = swaks(file, "--to", "someone@elsewhere.test")
	if err == nil {
		return fmt.Errorf("a stranger may relay")
	}
	return contains("swaks", out, "<someone@elsewhere.test>: Relay access denied")
}

func snailSubmits(ctx context.Context, s *stage) error {
	m, err := receiver(ctx, s, nil)
	if err != nil {
		return err
	}
	const text = "Hello Bob,\n.\n..dots\nGr\u00fc\u00dfe\nFrom here\n"
	for _, via := range []struct{ name, mta string }{
		{"smtp", "smtp://" + m.SMTP()},
		{"sendmail", filepath.Join(m.Bin, "sendmail")},
	} {
		cmd := command(ctx, "s-nail", "-:/", "-S", "v15-compat=yes", "-S", "mta="+via.mta, "-S", "from=alice@sender.test",
			"-S", "hostname=client.test", "-S", "smtp-auth=none", "-S", "smtp-config=-all", "-S", "sendwait", "-S", "ttycharset=utf-8",
			"-S", "sendcharsets=utf-8", "-S", "encoding=8bit", "-S", "mime-encoding=8bit", "-r", "alice@sender.test",
			"-s", "by "+via.name, "bob@mx.test")
		cmd.Env = append(cmd.Env, "MAIL_CONFIG="+m.ConfigDir)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("s-nail by %s: %w: %s", via.name, err, out)
		}
		got, err := m.delivered(ctx, "bob")
		if err != nil {
			return err
		}
		if err := same("body by "+via.name, body(got), text); err != nil {
			return err
		}
		if err := contains("message", got, "Return-Path: <alice@sender.test>\n", "\nSubject: by "+via.name+"\n", "\nTo: bob@mx.test\n"); err != nil {
			return err
		}
	}
	_, err = m.Log.Wait(ctx, 0, `pickup\[.*: uid=0 from=<alice@sender.test>`)
	return err
}

// python runs a program with the SMTP session s, the file's content and crlf().
const pythonPrelude = `
import smtplib, socket, sys
host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
content = open(path, 'rb').read()
def crlf(b): return b.replace(b'\n', b'\r\n')
s = smtplib.SMTP(host, port, local_hostname='client.test', timeout=30)
s.ehlo()
def say(line, code):
    got, text = s.docmd(line)
    if got != code: sys.exit('%s: %d %s' % (line, got, text.decode()))
    return text.decode()
def reply(code, what):
    got, text = s.getreply()
    if got != code: sys.exit('%s: %d %s' % (what, got, text.decode()))
    return text.decode()
def chunk(b, last=False):
    s.send(b'BDAT %d%s\r\n' % (len(b), b' LAST' if last else b'') + b)
`

func (m *system) python(ctx context.Context, s *stage, content, program string) (string, error) {
	file, err := s.write("content", content)
	if err != nil {
		return "", err
	}
	args := append([]string{python, "-c", pythonPrelude + program}, m.portArgs()...)
	return run(ctx, nil, append(args, file)...)
}

func pythonTexts(ctx context.Context, s *stage) error {
	m, err := receiver(ctx, s, nil)
	if err != nil {
		return err
	}
	for _, t := range texts {
		want := letter("python-"+t.name, t.text)
		if _, err := m.python(ctx, s, want, `
s.sendmail('alice@sender.test', ['bob@mx.test', 'alice@mx.test'], crlf(content), mail_options=['BODY=8BITMIME'])
s.quit()`); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		for _, user := range []string{"bob", "alice"} {
			got, err := m.delivered(ctx, user)
			if err != nil {
				return err
			}
			if err := endsWith(t.name, got, want); err != nil {
				return err
			}
		}
	}
	return nil
}

// exchanges are programs and what they must say or deliver.
var exchanges = []struct {
	name, program string
	deliver       string // body that bob gets; empty: nothing
	header        string // that the delivered message has
}{
	{name: "pipelined transactions", deliver: "first\n", header: "\nReceived: from client.test (", program: `
s.send(b'MAIL FROM:<alice@sender.test>\r\nRCPT TO:<nobody@mx.test>\r\nRCPT TO:<bob@mx.test>\r\nDATA\r\n')
reply(250, 'MAIL'); reply(550, 'RCPT unknown'); reply(250, 'RCPT'); reply(354, 'DATA')
s.send(b'Subject: one\r\n\r\nfirst\r\n.\r\nRSET\r\nQUIT\r\n')
reply(250, 'content'); reply(250, 'RSET'); reply(221, 'QUIT')`},
	{name: "BDAT in chunks that split lines", deliver: "a.\n.\n.b\nc\n", program: `
say('MAIL FROM:<alice@sender.test>', 250); say('RCPT TO:<bob@mx.test>', 250)
for b in (b'Subject: chunks\r', b'\n\r\na.\r\n', b'.\r\n.b', b'\r\nc'):
    chunk(b); reply(250, 'BDAT')
chunk(b'\r\n', True); reply(250, 'BDAT LAST')`},
	{name: "BDAT pipelined with its envelope", deliver: "all at once\n", program: `
b = b'Subject: x\r\n\r\nall at once\r\n'
s.send(b'MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@mx.test>\r\nBDAT %d LAST\r\n' % len(b) + b)
reply(250, 'MAIL'); reply(250, 'RCPT'); reply(250, 'BDAT')`},
	{name: "BDAT after a refused recipient swallows its chunk", program: `
say('MAIL FROM:<alice@sender.test>', 250); say('RCPT TO:<nobody@mx.test>', 550)
chunk(b'RSET\r\nNOOP\r\n'); reply(554, 'BDAT'); say('RSET', 250)`},
	{name: "DSN parameters", deliver: "dsn\n", program: `
text = say('EHLO client.test', 250)
assert 'DSN' in text.split('\n'), text
say('MAIL FROM:<alice@sender.test> RET=HDRS ENVID=QQ+2B1', 250)
say('RCPT TO:<bob@mx.test> NOTIFY=NEVER ORCPT=rfc822;bob+2Btag@old.test', 250)
say('RCPT TO:<alice@mx.test> NOTIFY=NEVER,SUCCESS', 501)
say('DATA', 354); s.send(b'Subject: d\r\n\r\ndsn\r\n.\r\n'); reply(250, 'content')`},
	{name: "SMTPUTF8", deliver: "utf8\n", header: "\nSubject: \u65e5\u672c\n", program: `
say('EHLO client.test', 250)
s.send('MAIL FROM:<\u00fcser@sender.test> SMTPUTF8 BODY=8BITMIME\r\n'.encode()); reply(250, 'MAIL')
say('RCPT TO:<bob@mx.test>', 250); say('DATA', 354)
s.send('Subject: \u65e5\u672c\r\n\r\nutf8\r\n.\r\n'.encode()); reply(250, 'content')`},
	{name: "a message that is too large", program: `
say('MAIL FROM:<alice@sender.test> SIZE=999999999', 552)
say('MAIL FROM:<alice@sender.test>', 250); say('RCPT TO:<bob@mx.test>', 250); say('DATA', 354)
s.send(b'Subject: big\r\n\r\n' + (b'x' * 70 + b'\r\n') * 2000 + b'.\r\n'); reply(552, 'content')`},
	{name: "sequence errors", program: `
say('RCPT TO:<bob@mx.test>', 503); say('DATA', 503); say('MAIL FROM:<alice@sender.test>', 250)
say('MAIL FROM:<alice@sender.test>', 503); say('DATA', 554); say('XYZZY', 500); say('BDAT x', 521)`},
	{name: "an aborted DATA", program: `
say('MAIL FROM:<alice@sender.test>', 250); say('RCPT TO:<bob@mx.test>', 250); say('DATA', 354)
s.send(b'Subject: never\r\n\r\nnever'); s.close()`},
}

func pythonProtocol(ctx context.Context, s *stage) error {
	m, err := receiver(ctx, s, map[string]string{"message_size_limit": "100000"})
	if err != nil {
		return err
	}
	for _, x := range exchanges {
		if _, err := m.python(ctx, s, "", x.program); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		if x.deliver == "" {
			if err := m.WaitEmpty(ctx); err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			if n := len(m.MailFiles("bob")); n != 0 {
				return fmt.Errorf("%s: %d messages were delivered", x.name, n)
			}
			continue
		}
		got, err := m.delivered(ctx, "bob")
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		if err := same(x.name, body(got), x.deliver); err != nil {
			return err
		}
		if err := contains(x.name, got, x.header); err != nil {
			return err
		}
	}
	return nil
}

// smuggled is a message with a second one behind an end that is none.
func smuggled(end string) string {
	return "Subject: one\r\n\r\nfirst" + end + "MAIL FROM:<admin@mx.test>\r\nRCPT TO:<alice@mx.test>\r\nDATA\r\n" +
		"Subject: two\r\n\r\nsmuggled\r\n.\r\n"
}

func pythonBareLF(ctx context.Context, s *stage) error {
	m, err := receiver(ctx, s, map[string]string{"smtpd_forbid_bare_newline_exclusions": ""})
	if err != nil {
		return err
	}
	const program = `
say('MAIL FROM:<alice@sender.test>', 250); say('RCPT TO:<bob@mx.test>', 250); say('DATA', 354)
s.send(content)
print(s.getreply()[0])
s.sock.settimeout(1)
`
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n\x00.\r\n"} {
		out, err := m.python(ctx, s, smuggled(end), program)
		if err != nil {
			return fmt.Errorf("%q: %w", end, err)
		}
		if code := strings.TrimSpace(out); code == "250" {
			got, err := m.delivered(ctx, "bob")
			if err != nil {
				return err
			}
			// The whole of it is one message: the text of the second is content.
			if err := contains("message", got, "RCPT TO:<alice@mx.test>", "smuggled"); err != nil {
				return fmt.Errorf("%q: %w", end, err)
			}
		}
		if err := m.WaitEmpty(ctx); err != nil {
			return err
		}
		if n := len(m.MailFiles("alice")); n != 0 {
			return fmt.Errorf("%q smuggled a message", end)
		}
	}
	if err := m.set(ctx, "smtpd_forbid_bare_newline=reject"); err != nil {
		return err
	}
	out, err := m.python(ctx, s, smuggled("\n.\n"), program)
	if err != nil {
		return err
	}
	if code := strings.TrimSpace(out); code != "550" && code != "521" {
		return fmt.Errorf("with smtpd_forbid_bare_newline=reject the reply is %s", code)
	}
	return nil
}
