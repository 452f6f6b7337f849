package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"sealpost/lib/record"
)

const (
	badAuth    = "550 5.7.0 Error: insufficient authorization"
	mayPose    = "smtpd_authorized_xclient_hosts=127.0.0.1"
	mayForward = "smtpd_authorized_xforward_hosts=127.0.0.1"
)

// extensions are the reply to EHLO with keywords before ENHANCEDSTATUSCODES.
func extensions(words ...string) string {
	more := ""
	for _, w := range words {
		more += "250-" + w + "|"
	}
	return strings.Replace(ehloReply, "250-ENHANCED", more+"250-ENHANCED", 1)
}

// attrs are the named attributes in a message's record stream.
func (m *fakeMessage) attrs(t *testing.T) map[string]string {
	t.Helper()
	list := map[string]string{}
	records := record.NewReader(bufio.NewReader(bytes.NewReader(m.stream)), 0)
	for {
		kind, payload, err := records.Read()
		switch {
		case err == io.EOF:
			return list
		case err != nil:
			t.Fatal(err)
		case kind == record.Attr:
			name, value, _ := record.SplitAttr(string(payload))
			list[name] = value
		}
	}
}

// TestXCLIENTReplies compares replies with those of Postfix 3.7.
func TestXCLIENTReplies(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		params    []string
		pairs     []string
	}{
		{"for authorized clients", []string{mayPose, mayForward}, []string{
			"EHLO c.example", extensions(xclientKeyword, xforwardKeyword), "XCLIENT", "501 5.5.4 Syntax: XCLIENT attribute=value...",
			"XFORWARD", "501 5.5.4 Syntax: XFORWARD attribute=value...", "xclient name=a.example", banner, "XFORWARD NAME=a.example", ok,
			"HELO c.example", "250 mail.example.com", "XCLIENT NAME=a.example", banner, "XFORWARD NAME=a.example", ok}},
		{"for nobody else", nil, []string{
			"EHLO c.example", ehloReply, "XCLIENT", "501 5.5.4 Syntax: XCLIENT attribute=value...", "XCLIENT NAME=a", badAuth,
			"XFORWARD", "501 5.5.4 Syntax: XFORWARD attribute=value...", "XFORWARD NAME=a", badAuth}},
		{"one does not give the other", []string{mayForward}, []string{
			"EHLO c.example", extensions(xforwardKeyword), "XCLIENT NAME=a", badAuth, "XFORWARD NAME=a", ok}},
		{"hidden where the keyword is discarded", []string{mayPose, mayForward, "smtpd_discard_ehlo_keywords=xclient,xforward"}, []string{
			"EHLO c.example", ehloReply}},
		{"not in a transaction", []string{mayPose, mayForward}, []string{
			mailA, senderOK, "XCLIENT NAME=a", errInMail, "XFORWARD NAME=a", errInMail, "XCLIENT", errInMail, "RSET", ok, "XCLIENT NAME=a", banner}},
		{"XCLIENT syntax", []string{mayPose, "smtpd_hard_error_limit=100"}, []string{
			"XCLIENT foo", errAttrExpected, "XCLIENT NAME=", errAttrExpected, "XCLIENT FOO=x", "501 5.5.4 Bad XCLIENT attribute name: FOO",
			"XCLIENT SOURCE=LOCAL", "501 5.5.4 Bad XCLIENT attribute name: SOURCE",
			"XCLIENT NAME=a..b", "501 5.5.4 Bad NAME syntax: a..b", "XCLIENT NAME=a+20b", "501 5.5.4 Bad NAME syntax: a b",
			"XCLIENT NAME=a+0D+0Ab", "501 5.5.4 Bad NAME syntax: a??b", "XCLIENT NAME=a+2", "501 5.5.4 Bad NAME syntax: a+2",
			"XCLIENT NAME=1.2.3.4", "501 5.5.4 Bad NAME syntax: 1.2.3.4", "XCLIENT ADDR=1.2.3", "501 5.5.4 Bad ADDR syntax: 1.2.3",
			"XCLIENT ADDR=[1.2.3.4]", "501 5.5.4 Bad ADDR syntax: [1.2.3.4]", "XCLIENT ADDR=2001:db8::1", "501 5.5.4 Bad ADDR syntax: 2001:db8::1",
			"XCLIENT ADDR=IPV6:1.2.3.4", "501 5.5.4 Bad ADDR syntax: IPV6:1.2.3.4", "XCLIENT ADDR=IPV6:fe80::1+25eth0", "501 5.5.4 Bad ADDR syntax: IPV6:fe80::1%eth0",
			"XCLIENT PORT=x", "501 5.5.4 Bad PORT syntax: x", "XCLIENT PORT=123456", "501 5.5.4 Bad PORT syntax: 123456",
			"XCLIENT PROTO=LMTP", "501 5.5.4 Bad PROTO syntax: LMTP", "XCLIENT PROTO=ESMTPS", "501 5.5.4 Bad PROTO syntax: ESMTPS",
			"XCLIENT LOGIN=a+0Ab", "501 5.5.4 Bad LOGIN syntax: a?b", "XCLIENT DESTADDR=x", "501 5.5.4 Bad DESTADDR syntax: x",
			"XCLIENT DESTPORT=x", "501 5.5.4 Bad DESTPORT syntax: x", "XCLIENT HELO=" + strings.Repeat("x", 256), errAttrTooLong}},
		{"XFORWARD syntax", []string{mayForward, "smtpd_hard_error_limit=100"}, []string{
			"XFORWARD foo", errAttrExpected, "XFORWARD FOO=x", "501 5.5.4 Bad XFORWARD attribute name: FOO",
			"XFORWARD LOGIN=x", "501 5.5.4 Bad XFORWARD attribute name: LOGIN", "XFORWARD NAME=a..b", "501 5.5.4 Bad NAME syntax: a..b",
			"XFORWARD NAME=[TEMPUNAVAIL]", "501 5.5.4 Bad NAME syntax: [TEMPUNAVAIL]", "XFORWARD ADDR=foo", "501 5.5.4 Bad ADDR syntax: foo",
			"XFORWARD PORT=foo", "501 5.5.4 Bad PORT syntax: foo", "XFORWARD SOURCE=foo", "501 5.5.4 Bad SOURCE syntax: foo",
			"XFORWARD PROTO=" + strings.Repeat("x", 65), "501 5.5.4 Bad PROTO syntax: " + strings.Repeat("x", 65),
			"XFORWARD IDENT=" + strings.Repeat("x", 256), errAttrTooLong, "XFORWARD NAME=a\x00b", errAttrExpected,
			"XFORWARD NAME=[unavailable] ADDR=[UNAVAILABLE] PORT=[Unavailable] SOURCE=[UNAVAILABLE]", ok,
			"XFORWARD PROTO=http IDENT=a+20b HELO=a+0Ab", ok}},
		{"whom the new client is decides", []string{mayPose, mayForward}, []string{
			"XCLIENT ADDR=10.1.2.3", banner, "XCLIENT ADDR=127.0.0.1", badAuth, "XFORWARD NAME=a", ok,
			"EHLO c.example", extensions(xforwardKeyword)}},
		{"HELO is forgotten, or given", []string{mayPose, "smtpd_helo_required=yes"}, []string{
			"EHLO c.example", extensions(xclientKeyword), "XCLIENT NAME=a.example", banner, mailA, "503 5.5.1 Error: send HELO/EHLO first",
			"XCLIENT HELO=b.example", banner, mailA, senderOK}},
		{"restrictions are about the new client", []string{mayPose, "mynetworks=127.0.0.0/8"}, []string{
			mailA, senderOK, "RCPT TO:<x@elsewhere.example>", rcptOK, "RSET", ok, "XCLIENT ADDR=10.1.2.3", banner,
			mailA, senderOK, "RCPT TO:<x@elsewhere.example>", "454 4.7.1 <x@elsewhere.example>: Relay access denied"}},
		{"an address that is not known is in no network", []string{mayPose, "mynetworks=0.0.0.0/0"}, []string{
			"XCLIENT ADDR=[UNAVAILABLE]", banner, mailA, senderOK, "RCPT TO:<x@elsewhere.example>", "454 4.7.1 <x@elsewhere.example>: Relay access denied"}},
		{"names that could not be looked up", []string{mayPose, "smtpd_client_restrictions=reject_unknown_client_hostname"}, []string{
			"XCLIENT NAME=[UNAVAILABLE] ADDR=10.1.2.3", banner, mailA, senderOK,
			rcptBob, "450 4.7.25 Client host rejected: cannot find your hostname, [10.1.2.3]"}},
		{"a login", []string{mayPose, "mynetworks=", "smtpd_relay_restrictions=permit_sasl_authenticated,reject_unauth_destination"}, []string{
			"XCLIENT LOGIN=joe", banner, mailA, senderOK, "RCPT TO:<x@elsewhere.example>", rcptOK, "RSET", ok,
			"XCLIENT NAME=a.example", banner, mailA, senderOK, "RCPT TO:<x@elsewhere.example>", "554 5.7.1 <x@elsewhere.example>: Relay access denied"}},
		{"a client that is refused at once", []string{mayPose, "smtpd_delay_reject=no", "smtpd_client_restrictions=check_client_access inline:{ bad.example=REJECT }"}, []string{
			"XCLIENT NAME=bad.example", "554 5.7.1 <bad.example[127.0.0.1]>: Client host rejected: Access denied",
			"XCLIENT NAME=good.example", "503 5.7.0 Error: access denied for bad.example[127.0.0.1]", "QUIT", "221 2.0.0 Bye"}},
		{"a bad attribute leaves all as it was", []string{mayPose, "mynetworks=127.0.0.0/8"}, []string{
			"XCLIENT ADDR=10.1.2.3 PORT=x", "501 5.5.4 Bad PORT syntax: x", mailA, senderOK, "RCPT TO:<x@elsewhere.example>", rcptOK}},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			d := newRig(t, tc.params...).dial("")
			d.reply()
			d.want(tc.pairs...)
		})
	}
}

// TestWhatXCLIENTChanges: what is logged, stored and shown about the client.
func TestWhatXCLIENTChanges(t *testing.T) {
	r := newRig(t, mayPose)
	d := r.start2(extensions(xclientKeyword))
	d.want("XCLIENT NAME=six.example REVERSE_NAME=rev.example ADDR=IPV6:2001:DB8:0::1 PORT=77 HELO=he+0Alo+28x+29 PROTO=esmtp LOGIN=joe DESTADDR=IPV6:2001:DB8:0::2 DESTPORT=99",
		banner, mailA+" AUTH=boss", senderOK, rcptBob, rcptOK, "DATA", goAhead, "Subject: x\r\n\r\nx\r\n.", "250 2.0.0 Ok: queued as 4A5299A0001",
		"QUIT", "221 2.0.0 Bye")
	d.closed()
	m := r.cleanup.done[0]
	got := m.attrs(t)
	for name, want := range map[string]string{
		"client_name": "six.example", "reverse_client_name": "rev.example", "client_address": "2001:db8::1", "client_port": "77",
		"client_address_type": "10", "helo_name": "he?lo?x?", "protocol_name": "ESMTP", "server_address": "2001:db8::2", "server_port": "99",
		"sasl_method": "XCLIENT", "sasl_username": "joe", "sasl_sender": "boss", "log_client_name": "six.example",
		"log_message_origin": "six.example[2001:db8::1]", "rewrite_context": "remote",
	} {
		if got[name] != want {
			t.Errorf("%s=%s, want %s", name, got[name], want)
		}
	}
	if first, want, _ := strings.Cut(string(m.lines), "\n"); first != "Received: from he?lo?x? (six.example [IPv6:2001:db8::1])" {
		t.Errorf("%s\n%s", first, want)
	}
	if !strings.Contains(string(m.lines), " with ESMTPA id ") {
		t.Errorf("no ESMTPA in %s", m.lines)
	}
	log := r.log.String()
	for _, want := range []string{
		"connect from localhost[127.0.0.1]\n",
		"4A5299A0001: client=six.example[2001:db8::1], sasl_method=XCLIENT, sasl_username=joe, sasl_sender=boss\n",
		"disconnect from six.example[2001:db8::1] ehlo=1 xclient=0/1 mail=1 rcpt=1 data=1 quit=1 commands=5/6\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
}

// start2 opens a session with the reply to EHLO that is expected.
func (r *rig) start2(extensions string) *dialog {
	r.t.Helper()
	d := r.dial("")
	d.reply()
	d.want("EHLO client.example", extensions)
	return d
}

// TestWhatXFORWARDChanges: the log_ attributes and the client= line, and nothing that
// anything is decided by.
func TestWhatXFORWARDChanges(t *testing.T) {
	const unknown = "unknown"
	own := map[string]string{"log_client_name": "localhost", "log_client_address": "127.0.0.1", "log_message_origin": "localhost[127.0.0.1]",
		"log_helo_name": "client.example", "log_protocol_name": "ESMTP", "log_ident": "4A5299A0001", "rewrite_context": "local"}
	for _, tc := range []struct {
		behaviour string
		commands  []string
		want      map[string]string // where it differs from own; "" for none
		logged    string
	}{
		{"everything", []string{"XFORWARD NAME=spike.example ADDR=168.100.189.2 PORT=25 PROTO=SMTP HELO=h.example IDENT=ABC SOURCE=REMOTE"},
			map[string]string{"log_client_name": "spike.example", "log_client_address": "168.100.189.2", "log_client_port": "25",
				"log_message_origin": "spike.example[168.100.189.2]", "log_helo_name": "h.example", "log_protocol_name": "SMTP", "log_ident": "ABC",
				"rewrite_context": "remote"}, ", orig_queue_id=ABC, orig_client=spike.example[168.100.189.2]"},
		{"in several commands", []string{"XFORWARD NAME=spike.example", "XFORWARD ADDR=IPV6:2001:DB8:0::1"},
			map[string]string{"log_client_name": "spike.example", "log_client_address": "2001:db8::1", "log_client_port": unknown,
				"log_message_origin": "spike.example[2001:db8::1]", "log_helo_name": "", "log_protocol_name": unknown}, ", orig_client=spike.example[2001:db8::1]"},
		{"what is not known does not come from the session", []string{"XFORWARD NAME=[UNAVAILABLE]"},
			map[string]string{"log_client_name": unknown, "log_client_address": unknown, "log_client_port": unknown, "log_message_origin": unknown,
				"log_helo_name": "", "log_protocol_name": unknown}, ", orig_client=unknown"},
		{"a queue id only", []string{"XFORWARD IDENT=a+20b+28"}, map[string]string{"log_ident": "a?b?"}, ", orig_queue_id=a?b?"},
		{"a source only", []string{"XFORWARD SOURCE=remote"}, map[string]string{"rewrite_context": "remote"}, ""},
		{"a source that is not known", []string{"XFORWARD SOURCE=REMOTE", "XFORWARD SOURCE=[UNAVAILABLE] IDENT=[UNAVAILABLE]"}, nil, ""},
		{"text that could break a log line", []string{"XFORWARD PROTO=ht+3Ctp HELO=he+0Alo"},
			map[string]string{"log_client_name": unknown, "log_client_address": unknown, "log_message_origin": unknown,
				"log_helo_name": "he?lo", "log_protocol_name": "ht?tp"}, ", orig_client=unknown"},
		{"forgotten at RSET", []string{"XFORWARD NAME=a.example IDENT=A", "RSET"}, nil, ""},
		{"forgotten at EHLO", []string{"XFORWARD NAME=a.example IDENT=A", "EHLO client.example"}, nil, ""},
		{"a bad command changes nothing", []string{"XFORWARD NAME=a.example FOO=x"}, nil, ""},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t, mayForward)
			d := r.start2(extensions(xforwardKeyword))
			for _, c := range tc.commands {
				d.say(c)
			}
			d.want(mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead, "Subject: x\r\n\r\nx\r\n.", "250 2.0.0 Ok: queued as 4A5299A0001",
				mailA, senderOK, rcptBob, rcptOK, "QUIT", "221 2.0.0 Bye")
			d.closed()
			m := r.cleanup.done[0]
			got := m.attrs(t)
			for name, want := range own {
				if other, differs := tc.want[name]; differs {
					want = other
				}
				if got[name] != want {
					t.Errorf("%s=%s, want %s", name, got[name], want)
				}
			}
			for name, want := range map[string]string{"client_name": "localhost", "client_address": "127.0.0.1", "helo_name": "client.example", "protocol_name": "ESMTP"} {
				if got[name] != want {
					t.Errorf("%s=%s, want %s", name, got[name], want)
				}
			}
			if !strings.HasPrefix(string(m.lines), "Received: from client.example (localhost [127.0.0.1])\n") {
				t.Errorf("%s", m.lines)
			}
			if want := "4A5299A0001: client=localhost[127.0.0.1]" + tc.logged + "\n"; !strings.Contains(r.log.String(), want) {
				t.Errorf("no %q in\n%s", want, r.log)
			}
			// It was for one message.
			if want := "4A5299A0002: client=localhost[127.0.0.1]\n"; !strings.Contains(r.log.String(), want) {
				t.Errorf("no %q in\n%s", want, r.log)
			}
		})
	}
}

// TestXCLIENTIsNotTLS: nothing that a client says makes a connection in the clear
// count as protected, and what was said in the clear gives no rights under TLS.
func TestXCLIENTIsNotTLS(t *testing.T) {
	r, _ := tlsRig(t, mayPose, mayForward, "smtpd_relay_restrictions=permit_sasl_authenticated,reject_unauth_destination", "mynetworks=")
	d := r.dial("")
	d.reply()
	d.want("XCLIENT ADDR=10.1.2.3 LOGIN=joe PROTO=ESMTP HELO=c.example", banner)
	d.want(mailA+" REQUIRETLS", "555 5.5.4 Unsupported option: REQUIRETLS")
	d.want("XFORWARD PROTO=ESMTPS NAME=a.example", ok, mailA+" REQUIRETLS", "555 5.5.4 Unsupported option: REQUIRETLS")
	if got := d.say("EHLO c.example"); strings.Contains(got, "REQUIRETLS") || !strings.Contains(got, "STARTTLS") {
		t.Errorf("announced in the clear: %s", got)
	}
	d.want("XFORWARD NAME=a.example IDENT=A", ok)
	d.want("STARTTLS", "220 2.0.0 Ready to start TLS")
	if err := d.secure(nil); err != nil {
		t.Fatal(err)
	}
	// The client stays who it is: falling back to the trusted one would open a relay.
	d.want(mailA, senderOK, "RCPT TO:<x@elsewhere.example>", "554 5.7.1 <x@elsewhere.example>: Relay access denied", rcptBob, rcptOK,
		"QUIT", "221 2.0.0 Bye")
	d.closed()
	if want := "4A5299A0001: client=localhost[10.1.2.3]\n"; !strings.Contains(r.log.String(), want) {
		t.Errorf("no %q in\n%s", want, r.log)
	}
}

// TestXCLIENTUnderTLS: TLS stays.
func TestXCLIENTUnderTLS(t *testing.T) {
	r, _ := tlsRig(t, mayPose, "smtpd_tls_security_level=encrypt")
	d := r.dial("")
	d.reply()
	d.want("XFORWARD NAME=a", "530 5.7.0 Must issue a STARTTLS command first", "XCLIENT NAME=a.example", banner,
		mailA, "530 5.7.0 Must issue a STARTTLS command first")
	d.want("STARTTLS", "220 2.0.0 Ready to start TLS")
	if err := d.secure(nil); err != nil {
		t.Fatal(err)
	}
	d.want("XCLIENT NAME=b.example ADDR=10.1.2.3", banner)
	if got := d.say("EHLO c.example"); !strings.HasSuffix(got, "|250 REQUIRETLS") || strings.Contains(got, "STARTTLS") {
		t.Errorf("announced under TLS: %s", got)
	}
	d.want(mailA+" REQUIRETLS", senderOK, rcptBob, rcptOK)
}

// TestXCLIENTAndPipelining: the greeting that answers XCLIENT is waited for; XFORWARD
// may stand in front of MAIL.
func TestXCLIENTAndPipelining(t *testing.T) {
	d := newRig(t, mayPose, mayForward).start2(extensions(xclientKeyword, xforwardKeyword))
	d.send("XFORWARD NAME=a.example\r\n" + mailA + "\r\n" + rcptBob + "\r\n")
	for _, want := range []string{ok, senderOK, rcptOK} {
		if got := d.reply(); got != want {
			t.Errorf("reply %q, want %q", got, want)
		}
	}
	d.want("RSET", ok)
	d.send("XCLIENT NAME=a.example\r\nEHLO c.example\r\n")
	if got := d.reply(); got != "554 5.5.0 Error: SMTP protocol synchronization" {
		t.Errorf("reply %q", got)
	}
	d.closed()
}

// TestXCLIENTAndConnectionCounts: what was counted at the start is given back at the
// end, whoever the client became; who may pose is not limited.
func TestXCLIENTAndConnectionCounts(t *testing.T) {
	r := newRig(t, mayPose, "smtpd_client_connection_count_limit=1", "smtpd_client_event_limit_exceptions=")
	for range 3 {
		d := r.dial("")
		d.reply()
		e := r.dial("")
		if got := e.reply(); got != banner {
			t.Errorf("second connection: %q", got)
		}
		d.want("XCLIENT ADDR=10.1.2.3", banner, "QUIT", "221 2.0.0 Bye")
		e.want("QUIT", "221 2.0.0 Bye")
		d.closed()
		e.closed()
	}
	if n := r.srv.env.Tally.Len(); n != 0 {
		t.Errorf("%d clients are still counted", n)
	}
}

// TestPolicyServersAndXCLIENT: they are asked about the client that XCLIENT names, and
// learn nothing from XFORWARD.
func TestPolicyServersAndXCLIENT(t *testing.T) {
	p := newPolicyServer(t, nil)
	d := newRig(t, mayPose, mayForward, "smtpd_data_restrictions=check_policy_service "+p.addr).start2(extensions(xclientKeyword, xforwardKeyword))
	d.want("XCLIENT NAME=six.example REVERSE_NAME=rev.example ADDR=IPV6:2001:db8::1 PORT=77 HELO=h.example PROTO=ESMTP LOGIN=joe DESTADDR=10.1.2.3 DESTPORT=99", banner,
		"XFORWARD NAME=fwd.example ADDR=10.9.9.9 HELO=fwd.example PROTO=ESMTPS", ok, mailA, senderOK, rcptBob, rcptOK, "DATA", goAhead)
	got := p.asked("DATA")
	for _, want := range []string{"|protocol_name=ESMTP|client_address=2001:db8::1|client_name=six.example|client_port=77|reverse_client_name=rev.example|" +
		"server_address=10.1.2.3|server_port=99|helo_name=h.example|", "|sasl_method=XCLIENT|sasl_username=joe|", "|encryption_protocol=|"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "fwd") || strings.Contains(got, "10.9.9.9") {
		t.Errorf("what XFORWARD said is in\n%s", got)
	}
}
