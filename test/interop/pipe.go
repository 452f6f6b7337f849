package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sealpost/test/harness"
)

var pipeScenarios = []scenario{
	{"pipe: what commands get, and what their end means, is as with Debian's", postfixMaster, pipeLikeDebian},
	{"pipe: a content filter of Debian's procmail and formail, with REQUIRETLS", "procmail", procmailFilter},
	{"pipe: delivery by Debian's procmail", "procmail", procmailDelivery},
}

// commandScripts are what the services run.
var commandScripts = map[string]string{
	// exit STATUS TEXT: ends so, and says so.
	"exit": "cat >/dev/null\nstatus=$1; shift\n[ $# -gt 0 ] && printf '%b' \"$*\"\nexit $status\n",
	// unread STATUS: does not read the message.
	"unread": "exit $1\n",
	"signal": "cat >/dev/null\nkill -$1 $$\n",
	// chatty STATUS BYTES: says more than anybody reads.
	"chatty": "cat >/dev/null\nhead -c $2 /dev/zero | tr '\\0' y\nexit $1\n",
	"slow":   "cat >/dev/null\necho partial output\nsleep 300\n",
	// record NAME ...: keeps all that it got. The list of descriptors is no pipeline:
	// its ends would be in it, or not.
	"record": "out=RECORDS/$1; shift\n{ for a in \"$@\"; do printf '[%s]' \"$a\"; done; echo; echo \"$PWD $(umask) $(id)\"; env | grep -v '^_=\\|PWD=' | sort\n" +
		"ls -l /proc/$$/fd >$out.fds; sed 's/.* \\([0-9]* -> [^:]*\\).*/\\1/' $out.fds; rm $out.fds; cat; } >$out.tmp 2>&1; mv $out.tmp $out\n",
}

// commandServices are services by name: their attributes and command. SCRIPTS
// stands for the directory of the scripts.
var commandServices = map[string]string{
	"out":        `user=nobody argv=SCRIPTS/exit 0 {hello\nworld \n}`,
	"nothing":    `user=nobody argv=SCRIPTS/exit 0`,
	"blank":      `user=nobody argv=SCRIPTS/exit 0 \n\n`,
	"fakecode":   `user=nobody argv=SCRIPTS/exit 0 {5.7.1 no}`,
	"outfailed":  `user=nobody argv=SCRIPTS/exit 1 {hello\nworld\n}`,
	"outknown":   `user=nobody argv=SCRIPTS/exit 67 {no\tsuch \001thing\n}`,
	"code4":      `user=nobody argv=SCRIPTS/exit 67 {4.2.1 busy\nsecond line}`,
	"code5":      `user=nobody argv=SCRIPTS/exit 75 {5.7.1 refused}`,
	"nocode":     `user=nobody argv=SCRIPTS/exit 1 {5.7.1-x}`,
	"unread":     `user=nobody argv=SCRIPTS/unread 0`,
	"unread75":   `user=nobody argv=SCRIPTS/unread 75`,
	"term":       `user=nobody argv=SCRIPTS/signal TERM`,
	"kill":       `user=nobody argv=SCRIPTS/signal KILL`,
	"chatty":     `user=nobody argv=SCRIPTS/chatty 0 5000`,
	"chattyfail": `user=nobody argv=SCRIPTS/chatty 1 1500`,
	"slow":       `user=nobody argv=SCRIPTS/slow`,
	"nocommand":  `user=nobody argv=/nonexistent/command`,
	"noexec":     `user=nobody argv=/etc/passwd`,
	"nodir":      `user=nobody directory=/nonexistent argv=/bin/true`,
	"noroot":     `user=nobody chroot=/nonexistent argv=/bin/true`,
	"path":       `user=nobody argv=true`,
	"size":       `user=nobody size=10 argv=/bin/true`,
	"several":    `user=nobody flags=D argv=/bin/true`,
	"loop":       `user=nobody flags=D argv=/bin/true`,
	"client": `user=nobody argv=SCRIPTS/record client ${client_address} ${client_helo} ${client_protocol} ${sasl_username} ` +
		`${nexthop} $(sender) $$x {two words} {a{b}c} ${size}`,
	"each": `user=daemon:mail directory=/tmp argv=SCRIPTS/record each ${recipient} e=${extension} ${user}@${domain} $mailbox ${original_recipient}`,
	"folded": `user=nobody flags=hqu argv=SCRIPTS/record folded ${recipient} ${user} ${extension} ${mailbox} ${domain} ${nexthop} ` +
		`${original_recipient} ${sender}`,
	"letter": `user=nobody flags=BDFORXhqu.> argv=SCRIPTS/record letter ${sender}`,
	"null":   `user=nobody flags=FR argv=SCRIPTS/record null -f ${sender}`,
	"empty":  `user=nobody flags=FRq null_sender= argv=SCRIPTS/record empty -f ${sender} x`,
	"eol":    `user=nobody flags=FB. eol=\r\n argv=SCRIPTS/record eol`,
}

// recipients of services that are not just sent to u@NAME.pipe.test.
var commandRecipients = map[string][]string{
	"several": {"a@several.pipe.test", "b@several.pipe.test"},
	"loop":    {"Before@loop.pipe.test"},
	"each":    {"u+Ext@each.pipe.test", "V@each.pipe.test", `"w W+x"@each.pipe.test`},
	"folded":  {"U.+Ext@Folded.pipe.test", `"a B+c D"@FOLDED.pipe.test`},
	"letter":  {"U+Ext@letter.pipe.test"},
}

const pipeLetter = `From: alice@sender.test
Message-Id: <1@sender.test>
Date: Sun, 8 Nov 2026 09:08:07 +0000
Delivered-To: before@LOOP.pipe.test
Subject: x

From here
.
>From there
end
`

// pipeSystem prepares a system with the services, and the directory of its records.
func pipeSystem(s *stage, name string, make func(string, map[string]string, ...string) (*system, error)) (*system, string, error) {
	dir := filepath.Join(s.dir, name+"-commands")
	records := filepath.Join(dir, "records")
	if err := os.MkdirAll(records, 0o755); err != nil {
		return nil, "", err
	}
	if err := os.Chmod(records, 0o777); err != nil {
		return nil, "", err
	}
	for script, text := range commandScripts {
		text = "#!/bin/sh\n" + strings.ReplaceAll(text, "RECORDS", records)
		if err := os.WriteFile(filepath.Join(dir, script), []byte(text), 0o755); err != nil {
			return nil, "", err
		}
	}
	params := map[string]string{"recipient_delimiter": "+", "relay_domains": "pipe.test", "slow_time_limit": "2s", "export_environment": "TZ=UTC, NEW=value, HOME",
		"loop_destination_recipient_limit": "1", "letter_destination_recipient_limit": "1", "null_destination_recipient_limit": "1"}
	var services, routes []string
	for _, service := range slices.Sorted(maps.Keys(commandServices)) {
		services = append(services, service+" unix - n n - - pipe "+strings.ReplaceAll(commandServices[service], "SCRIPTS", dir))
		routes = append(routes, fmt.Sprintf("{%s.pipe.test = %s:Hop.Test}", service, service))
	}
	params["transport_maps"] = "inline:{ " + strings.Join(routes, ", ") + " }"
	m, err := make(name, params, services...)
	return m, records, err
}

// pipeLikeDebian gives both systems the same services and mail, and compares the
// outcome of each recipient and all that the commands were given.
func pipeLikeDebian(ctx context.Context, s *stage) error {
	ours, ourRecords, err := pipeSystem(s, "mx", s.ours)
	if err != nil {
		return err
	}
	theirs, theirRecords, err := pipeSystem(s, "deb", s.debian)
	if err != nil {
		return err
	}
	var errs []error
	outcomes := make(map[*system]map[string]string)
	for _, m := range []*system{ours, theirs} {
		if err := m.Start(ctx); err != nil {
			return err
		}
		if outcomes[m], err = pipeOutcomes(ctx, m); err != nil {
			return err
		}
	}
	got, want := outcomes[ours], outcomes[theirs]
	for _, rcpt := range slices.Sorted(maps.Keys(want)) {
		errs = append(errs, same("outcome of "+rcpt, got[rcpt], want[rcpt]))
	}
	found, err := os.ReadDir(theirRecords)
	if err != nil {
		return err
	}
	if len(found) < 6 {
		errs = append(errs, fmt.Errorf("only %d commands of Debian's kept what they got", len(found)))
	}
	for _, f := range found {
		mine, err := readRecord(ourRecords, f.Name(), ours)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		its, err := readRecord(theirRecords, f.Name(), theirs)
		errs = append(errs, err, same("what the command of "+f.Name()+" got", mine, its))
	}
	return errors.Join(errs...)
}

// pipeOutcomes sends one message to every service and gives what the log says of
// each recipient: relay, dsn, status and text.
func pipeOutcomes(ctx context.Context, m *system) (map[string]string, error) {
	var all []string
	for _, service := range slices.Sorted(maps.Keys(commandServices)) {
		rcpts := commandRecipients[service]
		if rcpts == nil {
			rcpts = []string{"u@" + service + ".pipe.test"}
		}
		from := `"s x"@Sender.test`
		if service == "null" || service == "empty" {
			from = ""
		}
		if err := m.Instance.Send(ctx, from, rcpts, pipeLetter); err != nil {
			return nil, fmt.Errorf("%s: %w", service, err)
		}
		all = append(all, rcpts...)
	}
	outcomes := make(map[string]string)
	for _, rcpt := range all {
		line, err := m.Log.Wait(ctx, 0, `to=<`+regexp.QuoteMeta(rcpt)+`>, (relay=\S+), .*(dsn=\S+), (status=\w+) \((.*)$`)
		if err != nil {
			return nil, fmt.Errorf("%w%s", err, logs(m))
		}
		outcomes[rcpt] = alike(strings.Join(line[1:], " "), m)
	}
	return outcomes, nil
}

// alike takes out what must differ: the directory and name of the system. Of
// a command that could not be started only the status is the same: there is no
// output that we could quote.
func alike(text string, m *system) string {
	text = strings.ReplaceAll(text, m.Name+"-commands", "COMMANDS")
	text = strings.ReplaceAll(text, m.QueueDir, "QUEUE")
	text = strings.ReplaceAll(text, m.Name+".test", "HOST")
	return regexp.MustCompile(`(temporary failure)(\)$|\. (Command output: pipe: fatal|cannot execute command).*)`).ReplaceAllString(text, "$1")
}

// readRecord is what a command got, without what must differ.
func readRecord(dir, name string, m *system) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("%s: the command got nothing: %w%s", m.Name, err, logs(m))
	}
	out := alike(string(text), m)
	for _, r := range []struct{ pattern, with string }{
		{`(?m)^Received: .*\n(\t.*\n)+`, "RECEIVED\n"},
		{`(?m)^(From \S+( \S+)?  )\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}`, "${1}DATE"},
		{`(?m)^(\[.*)\[\d+\]$`, "${1}[SIZE]"}, // Received: has the name of the system
	} {
		out = regexp.MustCompile(r.pattern).ReplaceAllString(out, r.with)
	}
	return out, nil
}

// procmailRC adds a header, and submits the message again.
const procmailRC = `SHELL=/bin/sh
SENDMAIL=%s
SENDMAILFLAGS="-C %s -G -oi"

:0 fw
| /usr/bin/formail -A "X-Scanned: by procmail"

:0
! "$@"
`

// procmailFilter is the script of the guide to filters, as a procmail recipe: real
// rewriting of the header by a program that has never heard of REQUIRETLS.
func procmailFilter(ctx context.Context, s *stage) error {
	far, err := s.ours("far", nil)
	if err != nil {
		return err
	}
	m, err := s.ours("mx", map[string]string{"relay_domains": "far.test", "transport_maps": "inline:{ {far.test = smtp:[" + far.IP + "]} }"})
	if err != nil {
		return err
	}
	rc := filepath.Join(s.dir, "filter.rc")
	if err := os.WriteFile(rc, fmt.Appendf(nil, procmailRC, filepath.Join(s.bin, "sendmail"), m.ConfigDir), 0o644); err != nil {
		return err
	}
	m.Services = append(m.Services, "scan unix - n n - - pipe flags=R user=nobody null_sender= argv=/usr/bin/procmail -m "+rc+" -f ${sender} -- ${recipient}",
		m.SMTP()+" inet n - n - - smtpd -o content_filter=scan:")
	if err := m.WriteConfig(); err != nil {
		return err
	}
	if err := errors.Join(far.Start(ctx), m.Start(ctx)); err != nil {
		return err
	}
	message := "Require-TLS-ESMTP: yes\n" + letter("filtered", texts[2].text)
	if err := m.Instance.Send(ctx, "alice@mx.test", []string{"bob@far.test"}, message); err != nil {
		return err
	}
	mail, err := far.WaitMail(ctx, "bob", 1)
	if err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	_, err = m.Log.Wait(ctx, 0, `relay=scan, .*dsn=2.0.0, status=sent \(delivered via scan service`)
	_, err2 := m.Log.Wait(ctx, 0, `to=<bob@far.test>, relay=`+far.IP+`.*tls=[^,]*requiretls.*status=sent`)
	if n := strings.Count(mail[0], "Require-TLS-ESMTP: "); n != 1 {
		err = errors.Join(err, fmt.Errorf("%d headers Require-TLS-ESMTP", n))
	}
	return errors.Join(err, err2, same("body", strings.TrimRight(body(mail[0]), "\n"), strings.TrimSuffix(texts[2].text, "\n")),
		contains("the message", mail[0], "X-Scanned: by procmail\n", "Return-Path: <alice@mx.test>\n", "from userid "))
}

// procmailDelivery has procmail write a Maildir.
func procmailDelivery(ctx context.Context, s *stage) error {
	dir := filepath.Join(s.dir, "boxes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		return err
	}
	rc := filepath.Join(s.dir, "delivery.rc")
	if err := os.WriteFile(rc, []byte("BOXES="+dir+"\n:0\n* ^Subject: refused\n{\n  EXITCODE=77\n  :0\n  /dev/null\n}\n:0\n$BOXES/$USERPART/\n"), 0o644); err != nil {
		return err
	}
	m, err := s.ours("mx", map[string]string{"relay_domains": "club.test", "transport_maps": "inline:{ {club.test = procmail:} }",
		"procmail_destination_recipient_limit": "1", "recipient_delimiter": "+"},
		"procmail unix - n n - - pipe flags=DORXhu user=nobody argv=/usr/bin/procmail -t -m USERPART=${user} "+rc)
	if err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	if err := m.Instance.Send(ctx, "alice@mx.test", []string{"Jo+Ext@club.test", "Di@club.test"}, letter("hello", texts[2].text)); err != nil {
		return err
	}
	var errs []error
	for _, user := range []string{"jo", "di"} {
		var files []string
		err := harness.Poll(ctx, func() (bool, error) {
			files, _ = filepath.Glob(filepath.Join(dir, user, "new", "*"))
			return len(files) == 1, nil
		})
		if err != nil {
			return fmt.Errorf("mail of %s: %w%s", user, err, logs(m))
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		errs = append(errs, contains("the message", string(text), "Return-Path: <alice@mx.test>\n", "Delivered-To: ", "Subject: hello\n"))
	}
	if err := m.Instance.Send(ctx, "alice@mx.test", []string{"jo@club.test"}, letter("refused", texts[2].text)); err != nil {
		return err
	}
	_, err = m.Log.Wait(ctx, 0, `relay=procmail, .*dsn=5.7.0, status=bounced \(permission denied`)
	return errors.Join(append(errs, err)...)
}
