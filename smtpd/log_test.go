package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sealpost/lib/dns"
)

// logged are the texts of the log, without time, host and tag.
func (r *rig) logged() []string {
	var texts []string
	for line := range strings.Lines(r.log.String()) {
		if _, text, ok := strings.Cut(line, "]: "); ok {
			texts = append(texts, strings.TrimSuffix(text, "\n"))
		}
	}
	return texts
}

func TestLogOfASession(t *testing.T) {
	r := newRig(t)
	d := r.start()
	d.say("FOO")
	d.want(mailA, senderOK, "RCPT TO:<nobody@virt.example>", "550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table",
		rcptBob, rcptOK)
	d.say(`RCPT TO:<"no body"@localhost>`)
	d.say("RCPT TO:<>")
	d.say("DATA")
	d.say("x\r\n.")
	d.say("VRFY nobody@virt.example")
	d.say("MAIL FROM:<a b@c.example>")
	d.say("QUIT")
	d.closed()
	want := []string{
		"connect from localhost[127.0.0.1]",
		"NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table; from=<a@c.example> to=<nobody@virt.example> proto=ESMTP helo=<client.example>",
		"4A5299A0001: client=localhost[127.0.0.1]",
		`4A5299A0001: reject: RCPT from localhost[127.0.0.1]: 550 5.1.1 <no body@localhost>: Recipient address rejected: User unknown in local recipient table; from=<a@c.example> to=<"no body"@localhost> proto=ESMTP helo=<client.example>`,
		"warning: Illegal address syntax from localhost[127.0.0.1] in RCPT command: <>",
		"NOQUEUE: reject: VRFY from localhost[127.0.0.1]: 550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table; to=<nobody@virt.example> proto=ESMTP helo=<client.example>",
		"warning: Illegal address syntax from localhost[127.0.0.1] in MAIL command: <a b@c.example>",
		"disconnect from localhost[127.0.0.1] ehlo=1 mail=1/2 rcpt=1/4 data=1 vrfy=0/1 quit=1 unknown=0/1 commands=5/11",
	}
	got := r.logged()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("extra: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("line %d:\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
}

func TestLogLines(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		params    []string
		input     string
		want      string
	}{
		{"pipelining", nil, "EHLO x\r\nMAIL FROM:<a@c.example>\r\n", `improper command pipelining after EHLO from localhost[127.0.0.1]: MAIL FROM:<a@c.example>\r\n`},
		{"another protocol", nil, "\x16\x03\x01\r\n", `warning: non-SMTP command from localhost[127.0.0.1]: \026\003\001`},
		{"bare LF in a command", []string{"smtpd_forbid_bare_newline=reject"}, "EHLO x\n", "NOQUEUE: reject: CONNECT from localhost[127.0.0.1]: bare <LF> received; proto=SMTP"},
		{"malformed BDAT", nil, "BDAT -1 LAST\r\n", "warning: NOQUEUE: malformed BDAT command syntax from localhost[127.0.0.1]: BDAT -1 LAST"},
		{"discarded keywords", []string{"smtpd_discard_ehlo_keywords=etrn, dsn"}, "EHLO x\r\n", "discarding EHLO keywords: ETRN DSN"},
		{"an unknown restriction", []string{"smtpd_client_restrictions=foo_bar"}, "", `warning: parameter smtpd_client_restrictions: unknown smtpd restriction: "foo_bar"; mail will be refused with 451 4.3.5`},
		{"an access decision as a warning", []string{"smtpd_delay_reject=no", "smtpd_client_restrictions=warn_if_reject reject"}, "", "NOQUEUE: reject_warning: CONNECT from localhost[127.0.0.1]: 554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied; proto=SMTP"},
		{"statistics without commands", nil, "", "disconnect from localhost[127.0.0.1] commands=0/0"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t, tc.params...)
			d := r.dial("")
			d.reply()
			d.send(tc.input)
			if tc.input != "" {
				d.reply()
			}
			d.conn.Close()
			<-d.done
			for _, line := range r.logged() {
				if strings.HasPrefix(line, tc.want) {
					return
				}
			}
			t.Errorf("no line %q in\n%s", tc.want, r.log)
		})
	}
}

func TestClientNames(t *testing.T) {
	client := netip.MustParseAddr("127.0.0.9")
	for _, tc := range []struct {
		behaviour string
		set       func(*fakeDNS)
		params    []string
		want      string
		reply     string // of rcptBob
	}{
		{"a name that leads back", func(f *fakeDNS) {
			f.ptr[client] = []string{"c.example."}
			f.addrs["c.example"] = []netip.Addr{netip.MustParseAddr("10.1.1.1"), client}
		}, nil, "connect from c.example[127.0.0.9]", rcptOK},
		{"a name that leads elsewhere", func(f *fakeDNS) {
			f.ptr[client] = []string{"c.example"}
			f.addrs["c.example"] = []netip.Addr{netip.MustParseAddr("10.1.1.1")}
		}, nil, "connect from unknown[127.0.0.9]", "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.9]"},
		{"no name", func(*fakeDNS) {}, nil, "connect from unknown[127.0.0.9]", "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.9]"},
		{"a name server that fails", func(f *fakeDNS) { f.fail["127.0.0.9"] = dns.ErrTemporary }, nil,
			"connect from unknown[127.0.0.9]", "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.9]"},
		{"a name that is an address", func(f *fakeDNS) { f.ptr[client] = []string{"10.0.0.1"} }, nil,
			"connect from unknown[127.0.0.9]", "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.9]"},
		{"not looked up", func(f *fakeDNS) { f.ptr[client] = []string{"c.example"} }, []string{"smtpd_peername_lookup=no"},
			"connect from unknown[127.0.0.9]", "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.9]"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t, append(tc.params, "smtpd_client_restrictions=reject_unknown_client_hostname")...)
			tc.set(r.dns)
			d := r.dial("127.0.0.9")
			d.reply()
			d.say("EHLO c.example")
			d.want(mailA, senderOK, rcptBob, tc.reply)
			if !strings.Contains(r.log.String(), tc.want+"\n") {
				t.Errorf("log: %s", r.log)
			}
		})
	}
}

func TestUnknownDomains(t *testing.T) {
	for _, tc := range []struct {
		behaviour, sender, want string
	}{
		{"no such domain", "a@nx.example", "450 4.1.8 <a@nx.example>: Sender address rejected: Domain not found"},
		{"a domain with MX", "a@mx.example", rcptOK},
		{"a domain with an address", "a@host.example", rcptOK},
		{"a domain that takes no mail", "a@null.example", "550 5.7.27 <a@null.example>: Sender address rejected: Domain null.example does not accept mail (nullMX)"},
		{"a name server that fails", "a@fail.example", "450 4.1.8 <a@fail.example>: Sender address rejected: Domain not found"},
		{"a domain of this host", "alice@localhost", rcptOK},
		{"an address literal", "a@[1.2.3.4]", rcptOK},
		{"the null sender", "", rcptOK},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t, "smtpd_sender_restrictions=reject_unknown_sender_domain")
			r.dns.mx["mx.example"] = []dns.MX{{Host: "x.example", Pref: 10}}
			r.dns.mx["null.example"] = []dns.MX{{}}
			r.dns.addrs["host.example"] = []netip.Addr{netip.MustParseAddr("10.1.1.1")}
			r.dns.fail["fail.example"] = dns.ErrTemporary
			d := r.start()
			d.want(fmt.Sprintf("MAIL FROM:<%s>", tc.sender), senderOK, rcptBob, tc.want)
		})
	}
}

func TestOpenRelayDoesNotStart(t *testing.T) {
	for _, tc := range []struct {
		behaviour, relay, recipient string
		ok                          bool
	}{
		{"nothing protects", "permit_mynetworks", "", false},
		{"empty lists", "", "", false},
		{"relay restrictions protect", "permit_mynetworks, reject_unauth_destination", "", true},
		{"recipient restrictions protect", "", "permit_mynetworks reject", true},
		{"an unknown name does not protect", "reject_unauth_destinatoin", "", false},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			values := map[string]string{}
			for k, v := range testConfig {
				values[k] = v
			}
			values["smtpd_relay_restrictions"], values["smtpd_recipient_restrictions"] = tc.relay, tc.recipient
			if _, err := tryRig(t, values); (err == nil) != tc.ok {
				t.Errorf("err %v, want it to start: %v", err, tc.ok)
			}
		})
	}
}
