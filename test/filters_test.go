package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/lib/dns/dnstest"
)

// requireHeader is the header that hands a request for REQUIRETLS on.
const requireHeader = "Require-TLS-ESMTP: yes\n"

// TestScriptFilterOfTheGuide: a shell script between two passages of a message.
func TestScriptFilterOfTheGuide(t *testing.T) {
	sink := startStrictSink(t)
	f := newFiltering(t, sink)
	f.use("script/scan", "script/master.cf")

	f.send(false, "alice@mail.test", "bob@mail.test", "Subject: clean\n\n.\nFrom here\n")
	text := f.mail("bob", 1)[0]
	for _, want := range []string{"Return-Path: <alice@mail.test>\n", "\nSubject: clean\n", "\n\n.\nFrom here\n", "from userid "} {
		if !strings.Contains(text, want) {
			t.Errorf("the message lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\nReceived: "); n != 2 {
		t.Errorf("%d Received: headers, want 2:\n%s", n, text)
	}
	f.log(`postfix/pipe\[\d+\]: \w+: to=<bob@mail.test>, relay=scan, .*dsn=2.0.0, status=sent \(delivered via scan service\)$`)

	f.send(false, "alice@mail.test", "bob@mail.test", "Subject: a lottery\n\nx\n")
	bounce := f.mail("alice", 1)[0]
	for _, want := range []string{"<bob@mail.test>: message content rejected", "\nStatus: 5.7.1\n", "\nDiagnostic-Code: x-unix; message content rejected"} {
		if !strings.Contains(bounce, want) {
			t.Errorf("the notification lacks %q:\n%s", want, bounce)
		}
	}
	f.log(`to=<bob@mail.test>, relay=scan, .*dsn=5.7.1, status=bounced \(message content rejected \)$`)

	f.send(false, "", "bob@mail.test", "Subject: no sender\n\nx\n")
	if text := strings.Join(f.mail("bob", 2), ""); !strings.Contains(text, "Return-Path: <>\n") {
		t.Errorf("a message without sender came as:\n%s", text)
	}

	// Addresses are arguments, whatever is in them.
	const hostile = `"$(touch pwned) ';x\" -oX |y"@mail.test`
	f.send(false, hostile, "bob@mail.test", "Subject: hostile\n\nx\n")
	if text := strings.Join(f.mail("bob", 3), ""); !strings.Contains(text, "Return-Path: <"+hostile+">\n") {
		t.Errorf("the sender %s came as:\n%s", hostile, text)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "pwned")); err == nil {
		t.Error("an address was run as a command")
	}

	// A request for REQUIRETLS comes back out of the script, once in the header.
	f.send(true, "alice@mail.test", "user@out.test", "Subject: clean\n\nx\n")
	if got := f.arrived(sink); strings.Count(got, requireHeader) != 1 {
		t.Errorf("want one %q:\n%s", requireHeader, got)
	}
	f.log(`to=<user@out.test>, relay=127.0.0.1\[.*tls=may:none/requiretls:none, .*status=sent`)
	f.quiet("")
}

// TestScriptFilterDown: a filter that cannot work keeps the mail in the queue.
func TestScriptFilterDown(t *testing.T) {
	f := newFiltering(t, startStrictSink(t))
	f.use("script/master.cf") // and no script
	f.send(false, "alice@mail.test", "bob@mail.test", "Subject: clean\n\nx\n")
	f.log(`to=<bob@mail.test>, relay=scan, .*dsn=4.3.0, status=deferred \(temporary failure. cannot execute command .*: no such file or directory\)`)
	f.use("script/scan")
	if _, err := f.Command(f.ctx, nil, "postqueue", "-f"); err != nil {
		t.Fatal(err)
	}
	f.mail("bob", 1)
	f.quiet("service scan: cannot execute command")
}

// TestSMTPFilterOfTheGuide: a filter beside the mail system, and a second server
// that takes its mail.
func TestSMTPFilterOfTheGuide(t *testing.T) {
	sink := startStrictSink(t)
	scan := startScanner(t, "")
	f := newFiltering(t, sink, "[127.0.0.1]:10025", "[127.0.0.1]:"+scan.port())
	scan.back = f.back()
	f.set("always_bcc", "alice@mail.test")
	f.use("smtp/main.cf", "smtp/master.cf")

	// The filter sees the address that was used; aliases and copies come after it.
	f.send(false, "sender@a.test", "list@mail.test", "Subject: clean\n\nx\n")
	f.mail("bob", 1)
	f.mail("alice", 1)
	if seen := scan.all(); len(seen) != 1 || strings.Join(seen[0].to, " ") != "list@mail.test" {
		t.Errorf("the filter saw %+v", seen)
	}

	// The log after the filter names the client before it.
	f.log(`client=\S+\[127\.[\d.]+\], orig_queue_id=\w+, orig_client=localhost\[127.0.0.1\]$`)

	// Mail of local users passes it, too, with their request.
	if _, err := f.Command(f.ctx, strings.NewReader("Subject: local\n\nx\n"), "sendmail", "-O", "requiretls=yes", "-f", "alice@mail.test", "user@out.test"); err != nil {
		t.Fatal(err)
	}
	if got := f.arrived(sink); strings.Count(got, requireHeader) != 1 {
		t.Errorf("want one %q:\n%s", requireHeader, got)
	}
	f.log(`to=<user@out.test>, relay=127.0.0.1\[.*tls=may:none/requiretls:none, .*status=sent`)

	// What it refuses is returned, and the notification does not pass it.
	scan.scan = func(m string) (string, string) { return "", "550 5.7.1 I do not like it" }
	before := len(scan.all())
	f.send(false, "alice@mail.test", "bob@mail.test", "Subject: bad\n\nx\n")
	f.log(`to=<alice@mail.test>, relay=virtual, .*status=sent`)
	f.log(`to=<bob@mail.test>, relay=127.0.0.1\[127.0.0.1\]:` + scan.port() + `, .*dsn=5.7.1, status=bounced \(host .* said: 550 5.7.1 I do not like it`)
	if got := len(scan.all()) - before; got != 1 {
		t.Errorf("the filter saw %d more messages, want 1", got)
	}

	// A question about an address does not reach it.
	if _, err := f.Command(f.ctx, nil, "sendmail", "-bv", "-f", "alice@mail.test", "bob@mail.test"); err != nil {
		t.Fatal(err)
	}
	f.log(`to=<bob@mail.test>, relay=virtual, .*status=deliverable`)
	f.quiet("")
}

// TestRequireTLSThroughAnSMTPFilter: what becomes of a request, by what the filter
// does to the message and what is configured.
func TestRequireTLSThroughAnSMTPFilter(t *testing.T) {
	cases := map[string]struct {
		params  map[string]string
		message string
		scan    func(string) (string, string)
		headers int  // Require-TLS-ESMTP: in what arrives
		asked   bool // the last delivery knows of the request
	}{
		"a filter that changes nothing":      {headers: 1, asked: true},
		"the sender had written the header":  {message: requireHeader, headers: 1, asked: true},
		"a message that is nothing but head": {message: "X: y\n", headers: 1, asked: true},
		"a filter that adds headers": {scan: func(m string) (string, string) { return "X-Scanned: yes\n" + m, "" },
			headers: 1, asked: true},
		"a filter that writes the message anew": {scan: func(m string) (string, string) { return strings.Replace(m, requireHeader, "", 1), "" }},
		"without the header":                    {params: map[string]string{"requiretls_esmtp_header": "no"}},
		"REQUIRETLS is off":                     {params: map[string]string{"requiretls_enable": "no"}, message: requireHeader, headers: 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			sink := startStrictSink(t)
			scan := startScanner(t, "")
			if c.scan != nil {
				scan.scan = c.scan
			}
			f := newFiltering(t, sink, "[127.0.0.1]:10025", "[127.0.0.1]:"+scan.port())
			scan.back = f.back()
			for name, value := range c.params {
				f.set(name, value)
			}
			f.use("smtp/main.cf", "smtp/master.cf")
			f.send(c.params["requiretls_enable"] == "", "alice@mail.test", "user@out.test", "Subject: x\n"+c.message+"\nbody\n")
			got := f.arrived(sink)
			if n := strings.Count(got, requireHeader); n != c.headers {
				t.Errorf("%d headers, want %d:\n%s", n, c.headers, got)
			}
			f.log(`to=<user@out.test>, relay=127.0.0.1\[127.0.0.1\]:` + port(sink.Addr().String()) + `.*status=sent`)
			if asked := f.Log.Count(`to=<user@out.test>, relay=127.0.0.1\[127.0.0.1\]:`+port(sink.Addr().String())+`.*tls=[^,]*requiretls`) == 1; asked != c.asked {
				t.Errorf("the request arrived: %v, want %v", asked, c.asked)
			}
			for _, m := range scan.all() {
				if strings.Contains(m.mail, "REQUIRETLS") {
					t.Errorf("the filter was sent MAIL FROM with %q", m.mail)
				}
			}
			f.quiet("")
		})
	}
}

// TestPolicyForAFilterWithAName: by default REQUIRETLS is enforced on the way to a
// filter that has a name elsewhere, and this one cannot do it.
func TestPolicyForAFilterWithAName(t *testing.T) {
	scan := startScanner(t, "")
	names := dnstest.New(t, dnstest.Config{Zone: "scanner.example. A 127.0.0.1\n"})
	f := newFiltering(t, startStrictSink(t), "[127.0.0.1]:10025", "[scanner.example]:"+scan.port())
	f.DNS = names.Addr()
	scan.back = f.back()
	f.use("smtp/main.cf", "smtp/master.cf")
	f.send(true, "alice@mail.test", "bob@mail.test", "Subject: first\n\nx\n")
	f.log(`to=<bob@mail.test>, relay=none, .*dsn=5.7.10, status=bounced \(Sender requested REQUIRETLS, but my configured TLS security level 'may'`)
	if err := f.WaitEmpty(f.ctx); err != nil {
		t.Fatal(err)
	}
	f.use("requiretls/main.cf")
	f.send(true, "alice@mail.test", "bob@mail.test", "Subject: second\n\nx\n")
	if text := f.mail("bob", 1)[0]; strings.Count(text, requireHeader) != 1 || !strings.Contains(text, "Subject: second\n") {
		t.Errorf("delivered:\n%s", text)
	}
	f.quiet("TLS policy lookup for .scanner.example")
}

// TestLMTPFilterOfTheGuide: the filter answers for each recipient.
func TestLMTPFilterOfTheGuide(t *testing.T) {
	sink := startStrictSink(t)
	scan := startScanner(t, "")
	scan.lmtp = true
	scan.refuse = func(to string) string {
		if strings.HasPrefix(to, "alice@") {
			return "550 5.7.1 not for alice"
		}
		return ""
	}
	f := newFiltering(t, sink, "[127.0.0.1]:10025", "[127.0.0.1]:"+scan.port())
	scan.back = f.back()
	f.use("smtp/main.cf", "smtp/master.cf", "lmtp/master.cf")
	if err := f.Send(f.ctx, "bob@mail.test", []string{"alice@mail.test", "bob@mail.test"}, "Subject: x\n\ny\n"); err != nil {
		t.Fatal(err)
	}
	f.mail("bob", 2) // and the notification
	f.log(`postfix/lmtp\[\d+\]: \w+: to=<alice@mail.test>, .*dsn=5.7.1, status=bounced`)
	f.log(`postfix/lmtp\[\d+\]: \w+: to=<bob@mail.test>, .*dsn=2.0.0, status=sent \(250 2.0.0 passed on\)`)
	f.send(true, "alice@mail.test", "user@out.test", "Subject: x\n\ny\n")
	if got := f.arrived(sink); strings.Count(got, requireHeader) != 1 {
		t.Errorf("want one %q:\n%s", requireHeader, got)
	}
	f.log(`to=<user@out.test>, relay=127.0.0.1\[.*tls=may:none/requiretls:none, .*status=sent`)
	f.quiet("")
}

// TestFilterForSomeMail: the action FILTER of access tables and header_checks.
func TestFilterForSomeMail(t *testing.T) {
	scan := startScanner(t, "")
	f := newFiltering(t, startStrictSink(t), "[127.0.0.1]:10025", "[127.0.0.1]:"+scan.port())
	scan.back = f.back()
	f.use("some/filter_senders", "some/header_checks", "some/main.cf", "smtp/master.cf")
	for _, m := range []struct{ from, message string }{
		{"alice@mail.test", "Subject: not filtered\n\nx\n"},
		{"ads@newsletter.example", "Subject: by sender\n\nx\n"},
		{"alice@mail.test", "Subject: by content\nContent-Type: application/zip\n\nx\n"},
	} {
		f.send(false, m.from, "bob@mail.test", m.message)
	}
	f.mail("bob", 3)
	var seen []string
	for _, m := range scan.all() {
		for _, subject := range []string{"not filtered", "by sender", "by content"} {
			if strings.Contains(m.message, "Subject: "+subject) {
				seen = append(seen, subject)
			}
		}
	}
	if len(seen) != 2 || strings.Contains(strings.Join(seen, " "), "not") {
		t.Errorf("the filter saw %q", seen)
	}
	f.log(`NOQUEUE|\w+: filter: RCPT from .*: <ads@newsletter.example>: Sender address triggers FILTER scan:`)
	f.log(`\w+: filter: header Content-Type: application/zip from `)
	f.quiet("")
}

// TestFilterChosenTwice: header_checks win over access tables, and both over
// content_filter.
func TestFilterChosenTwice(t *testing.T) {
	var scanners []*scanner
	for range 3 {
		scanners = append(scanners, startScanner(t, ""))
	}
	f := newFiltering(t, startStrictSink(t))
	to := func(i int) string { return "scan:[127.0.0.1]:" + scanners[i].port() }
	for _, s := range scanners {
		s.back = f.back()
	}
	f.set("content_filter", to(0))
	f.set("smtpd_sender_restrictions", "check_sender_access inline:{{alice@mail.test=FILTER "+to(1)+"}}")
	f.set("header_checks", "regexp:{{/^Subject: third/ FILTER "+to(2)+"}}")
	f.use("smtp/master.cf")
	f.send(false, "bob@mail.test", "bob@mail.test", "Subject: first\n\nx\n")
	f.send(false, "alice@mail.test", "bob@mail.test", "Subject: second\n\nx\n")
	f.send(false, "alice@mail.test", "bob@mail.test", "Subject: third\n\nx\n")
	f.mail("bob", 3)
	for i, subject := range []string{"first", "second", "third"} {
		if seen := scanners[i].all(); len(seen) != 1 || !strings.Contains(seen[0].message, "Subject: "+subject+"\n") {
			t.Errorf("filter %d saw %+v", i+1, seen)
		}
	}
	f.quiet("")
}

// TestProgramsOfTheGuide: what maildrop, procmail and Mailman would be told.
func TestProgramsOfTheGuide(t *testing.T) {
	f := newFiltering(t, startStrictSink(t))
	// A program that keeps its arguments and the message, one file for each run.
	program := f.file("program", "#!/bin/sh\numask 077\nname=$1; shift\n{ printf '%s|' \"$@\"; echo; cat; } >\""+f.dir+"/$name.tmp\" && mv \""+
		f.dir+"/$name.tmp\" \""+f.dir+"/$name.done\"\n", 0o755)
	f.guide["programs/master.cf"] = strings.NewReplacer("/usr/bin/", program+" ", "/usr/lib/mailman/bin/", program+" ").Replace(f.guide["programs/master.cf"])
	f.use("programs/main.cf", "programs/master.cf")
	want := map[string]struct {
		to, args string
		header   []string
	}{
		"maildrop": {"Jo@Shop.example", "-d|jo@shop.example|",
			[]string{"Return-Path: <alice@mail.test>", "Delivered-To: Jo@Shop.example", "Received: "}},
		"procmail": {"Jo+Lists@club.example", "-t|-m|USER=jo|EXTENSION=lists|/etc/procmailrc|",
			[]string{"Return-Path: <alice@mail.test>", "X-Original-To: Jo+Lists@club.example", "Delivered-To: Jo+Lists@club.example", "Received: "}},
		"postfix-to-mailman.py": {"news@lists.example", "lists.example|news|",
			[]string{"From alice@mail.test  ", "Return-Path: <alice@mail.test>", "Received: "}},
	}
	for _, w := range want {
		f.send(false, "alice@mail.test", w.to, "Subject: x\n\nbody\n")
	}
	for name, w := range want {
		f.log(`to=<` + strings.ReplaceAll(w.to, "+", `\+`) + `>, relay=\w+, .*dsn=2.0.0, status=sent \(delivered via \w+ service\)`)
		text, err := os.ReadFile(filepath.Join(f.dir, name+".done"))
		if err != nil {
			t.Fatal(err)
		}
		args, message, _ := strings.Cut(string(text), "\n")
		if args != w.args {
			t.Errorf("%s: arguments %q, want %q", name, args, w.args)
		}
		for i, line := range strings.Split(message, "\n")[:len(w.header)] {
			if !strings.HasPrefix(line, w.header[i]) {
				t.Errorf("%s: line %d is %q, want %q", name, i+1, line, w.header[i])
			}
		}
		if !strings.HasSuffix(message, "\n\nbody\n") {
			t.Errorf("%s: message %q", name, message)
		}
	}
	f.quiet("")
}
