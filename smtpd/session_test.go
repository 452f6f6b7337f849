package main

import (
	"fmt"
	"strings"
	"testing"
)

const (
	ehloReply = "250-mail.example.com|250-PIPELINING|250-SIZE 10240000|250-VRFY|250-ETRN|250-ENHANCEDSTATUSCODES|250-8BITMIME|250-DSN|250-SMTPUTF8|250 CHUNKING"
	banner    = "220 mail.example.com ESMTP Postfix"
	mailA     = "MAIL FROM:<a@c.example>"
	rcptBob   = "RCPT TO:<bob@virt.example>"
	ok        = "250 2.0.0 Ok"
	senderOK  = "250 2.1.0 Ok"
	rcptOK    = "250 2.1.5 Ok"
	goAhead   = "354 End data with <CR><LF>.<CR><LF>"
	needMail  = "503 5.5.1 Error: need MAIL command"
	needRcpt  = "503 5.5.1 Error: need RCPT command"
	badSyntax = "500 5.5.2 Error: bad syntax"
)

// start opens a session and says EHLO.
func (r *rig) start() *dialog {
	r.t.Helper()
	d := r.dial("")
	if got := d.reply(); got != banner {
		r.t.Fatalf("banner %q", got)
	}
	d.want("EHLO client.example", ehloReply)
	return d
}

// TestReplies compares replies with those that Postfix was seen to give, but for
// the rows of decisions.md.
func TestReplies(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		params    []string
		pairs     []string
	}{
		{"HELO and EHLO", nil, []string{
			"EHLO", "501 Syntax: EHLO hostname", "HELO", "501 Syntax: HELO hostname",
			"HELO c.example", "250 mail.example.com", "EHLO c d e", ehloReply, "ehlo c.example", ehloReply}},
		{"NOOP, RSET, HELP, QUIT", nil, []string{
			"NOOP", ok, "NOOP x y", ok, "RSET", ok, "RSET x", "501 5.5.4 Syntax: RSET",
			"HELP", "214 2.0.0 Commands: BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY XCLIENT XFORWARD",
			"QUIT x", "221 2.0.0 Bye"}},
		{"VRFY", nil, []string{
			"VRFY", "501 5.5.4 Syntax: VRFY address [SMTPUTF8]",
			"VRFY SMTPUTF8", "501 5.5.4 Syntax: VRFY address [SMTPUTF8]",
			"VRFY bob@virt.example", "252 2.0.0 bob@virt.example",
			"VRFY <bob@virt.example>", "252 2.0.0 <bob@virt.example>",
			"VRFY nobody@virt.example", "550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table",
			"VRFY a b", "501 5.1.3 Bad recipient address syntax",
			"VRFY x@elsewhere.example", "252 2.0.0 x@elsewhere.example"}},
		{"ETRN without a flush service", nil, []string{
			"ETRN", "500 Syntax: ETRN domain", "ETRN foo.example", "458 Unable to queue messages",
			"ETRN a b", "500 Syntax: ETRN domain", "ETRN a..b", "501 Error: invalid parameter syntax"}},
		{"what is not offered", nil, []string{
			"STARTTLS", "502 5.5.1 Error: command not implemented", "AUTH PLAIN", "503 5.5.1 Error: authentication not enabled",
			"XCLIENT NAME=a", "550 5.7.0 Error: insufficient authorization", "FOO", "500 5.5.2 Error: command not recognized",
			"", badSyntax, "  ", badSyntax}},
		{"order of commands", nil, []string{
			"DATA", needRcpt, "BDAT 0 LAST", needRcpt, rcptBob, needMail, mailA, senderOK,
			"MAIL FROM:<b>", "503 5.5.1 Error: nested MAIL command",
			"EHLO c.example", ehloReply, rcptBob, needMail}},
		{"MAIL syntax", nil, []string{
			"MAIL", "501 5.5.4 Syntax: MAIL FROM:<address>", "MAIL FROM", "501 5.5.4 Syntax: MAIL FROM:<address>",
			"MAIL FROM:", "501 5.5.4 Syntax: MAIL FROM:<address>", "MAIL FROM:<a@c.example", "501 5.1.7 Bad sender address syntax",
			"MAIL FROM:<a b@c.example>", "501 5.1.7 Bad sender address syntax",
			"MAIL FROM:<a@c.example>x", "501 5.1.7 Bad sender address syntax",
			"MAIL FROM: <a@c.example>", senderOK, "RSET", ok, "MAIL FROM:a@c.example", senderOK, "RSET", ok,
			"mail from:<>", senderOK}},
		{"MAIL parameters", nil, []string{
			mailA + " x", "555 5.5.4 Unsupported option: x", mailA + " BODY=FOO", "555 5.5.4 Unsupported option: BODY=FOO",
			mailA + " SIZE=x", "501 5.5.4 Bad message size syntax", mailA + " SIZE=", "501 5.5.4 Bad message size syntax",
			mailA + " SIZE=-1", "501 5.5.4 Bad message size syntax",
			mailA + " SIZE=10240001", "552 5.3.4 Message size exceeds fixed limit",
			mailA + " SIZE=99999999999999999999", "552 5.3.4 Message size exceeds file system imposed limit",
			mailA + " RET=FOO", "501 5.5.4 Bad RET parameter syntax", mailA + " RET=FULL RET=HDRS", "501 5.5.4 Bad RET parameter syntax",
			mailA + " ENVID=", "501 5.5.4 Bad ENVID parameter syntax", mailA + " ENVID=a+", "501 5.5.4 Bad ENVID parameter syntax",
			mailA + " ENVID=a ENVID=b", "501 5.5.4 Bad ENVID parameter syntax",
			mailA + " SMTPUTF8=1", "555 5.5.4 Unsupported option: SMTPUTF8=1",
			mailA + " SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2Bb AUTH=<> SMTPUTF8", senderOK, "RSET", ok,
			mailA + " BODY=7BIT", senderOK}},
		{"REQUIRETLS is not accepted in the clear", nil, []string{
			mailA + " REQUIRETLS", "555 5.5.4 Unsupported option: REQUIRETLS",
			mailA + " REQUIRETLS=yes", "555 5.5.4 Unsupported option: REQUIRETLS=yes"}},
		{"repeated parameters (2.F)", nil, []string{
			mailA + " SIZE=1 SIZE=2", "501 5.5.4 Error: duplicate parameter: SIZE=2",
			mailA + " BODY=7BIT BODY=7BIT", "501 5.5.4 Error: duplicate parameter: BODY=7BIT",
			mailA + " SMTPUTF8 SMTPUTF8", "501 5.5.4 Error: duplicate parameter: SMTPUTF8"}},
		{"encoded control characters (decision 22)", nil, []string{
			mailA + " ENVID=a+0D+0Ab", "501 5.5.4 Bad ENVID parameter syntax", mailA + " ENVID=a+00b", "501 5.5.4 Bad ENVID parameter syntax",
			mailA + " AUTH=a+0", "555 5.5.4 Unsupported option: AUTH=a+0",
			mailA + " AUTH=a+0Ab", "501 5.5.4 Bad AUTH parameter syntax", mailA, senderOK,
			rcptBob + " ORCPT=rfc822;a+0D+0AX:y@t", "501 5.5.4 Error: Bad ORCPT parameter syntax",
			rcptBob + " ORCPT=rfc822;a+00", "501 5.5.4 Error: Bad ORCPT parameter syntax",
			rcptBob + ` ORCPT=utf-8;a\x{0A}b`, "501 5.5.4 Error: Bad ORCPT parameter syntax"}},
		{"RCPT syntax and parameters", nil, []string{
			mailA, senderOK, "RCPT", "501 5.5.4 Syntax: RCPT TO:<address>", "RCPT FROM:<x>", "501 5.5.4 Syntax: RCPT TO:<address>",
			"RCPT TO:<>", "501 5.1.3 Bad recipient address syntax", "RCPT TO: <bob@virt.example>", rcptOK,
			rcptBob + " NOTIFY=NEVER", rcptOK, rcptBob + " NOTIFY=NEVER,SUCCESS", "501 5.5.4 Error: Bad NOTIFY parameter syntax",
			rcptBob + " NOTIFY=", "501 5.5.4 Error: Bad NOTIFY parameter syntax",
			rcptBob + " NOTIFY=SUCCESS NOTIFY=FAILURE", "501 5.5.4 Error: Bad NOTIFY parameter syntax",
			rcptBob + " NOTIFY=success,DELAY,failure", rcptOK,
			rcptBob + " ORCPT=x", "501 5.5.4 Error: Bad ORCPT parameter syntax", rcptBob + " ORCPT=;x", "501 5.5.4 Error: Bad ORCPT parameter syntax",
			rcptBob + " ORCPT=rfc822;x ORCPT=rfc822;y", "501 5.5.4 Error: Bad ORCPT parameter syntax",
			rcptBob + " ORCPT=rfc822;a+2Bb@x", rcptOK, rcptBob + ` ORCPT=utf-8;b\x{f6}b@x`, rcptOK,
			rcptBob + " FOO", "555 5.5.4 Unsupported option: FOO", rcptBob + " REQUIRETLS", "555 5.5.4 Unsupported option: REQUIRETLS"}},
		{"recipients that exist", nil, []string{
			mailA, senderOK, rcptBob, rcptOK, "RCPT TO:<info@valias.example>", rcptOK, "RCPT TO:<alice>", rcptOK,
			"RCPT TO:<alice@localhost>", rcptOK, "RCPT TO:<postmaster>", rcptOK, "RCPT TO:<x@relay.example>", rcptOK,
			"RCPT TO:<@a,@b:bob@virt.example>", rcptOK, `RCPT TO:<"bob"@virt.example>`, rcptOK}},
		{"recipients that do not", nil, []string{
			mailA, senderOK,
			"RCPT TO:<nobody@virt.example>", "550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table",
			"RCPT TO:<nobody@localhost>", "550 5.1.1 <nobody@localhost>: Recipient address rejected: User unknown in local recipient table",
			"RCPT TO:<nobody@valias.example>", "550 5.1.1 <nobody@valias.example>: Recipient address rejected: User unknown in virtual alias table",
			"DATA", "554 5.5.1 Error: no valid recipients"}},
		{"recipients that would only bounce", []string{"transport_maps=inline:{ { gone.example = error:5.7.7 go away }, { x@relay.example = error:no such user } }", "relay_domains=gone.example relay.example"}, []string{
			mailA, senderOK, "RCPT TO:<x@gone.example>", "550 5.7.7 <x@gone.example>: Recipient address rejected: go away",
			"RCPT TO:<x@relay.example>", "550 5.1.1 <x@relay.example>: Recipient address rejected: no such user", "RCPT TO:<y@relay.example>", rcptOK}},
		{"recipients that would only bounce, unchecked", []string{"transport_maps=inline:{ { gone.example = error:5.7.7 go away } }", "relay_domains=gone.example", "smtpd_reject_unlisted_recipient=no"}, []string{
			mailA, senderOK, "RCPT TO:<x@gone.example>", rcptOK}},
		{"never an open relay", []string{"mynetworks=10.0.0.0/8"}, []string{
			mailA, senderOK, rcptBob, rcptOK,
			"RCPT TO:<x@elsewhere.example>", "454 4.7.1 <x@elsewhere.example>: Relay access denied",
			"RCPT TO:<a%b@virt.example>", "454 4.7.1 <a%b@virt.example>: Relay access denied",
			"RCPT TO:<a!b@virt.example>", "454 4.7.1 <a!b@virt.example>: Relay access denied",
			`RCPT TO:<"a@b.c"@virt.example>`, "454 4.7.1 <a@b.c@virt.example>: Relay access denied",
			"RCPT TO:<x@[1.2.3.4]>", "454 4.7.1 <x@[1.2.3.4]>: Relay access denied",
			"VRFY x@elsewhere.example", "454 4.7.1 <x@elsewhere.example>: Relay access denied"}},
		{"reject_unauth_destination", []string{"mynetworks=", "smtpd_relay_restrictions=reject_unauth_destination"}, []string{
			mailA, senderOK, "RCPT TO:<x@elsewhere.example>", "554 5.7.1 <x@elsewhere.example>: Relay access denied", "RCPT TO:<bob>", rcptOK}},
		{"a client that is refused, delayed", []string{"smtpd_client_restrictions=reject"}, []string{
			mailA, senderOK, "RCPT TO:<postmaster>", rcptOK, rcptBob, "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied",
			"VRFY bob@virt.example", "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied"}},
		{"an unknown restriction", []string{"smtpd_client_restrictions=foo_bar"}, []string{
			mailA, senderOK, rcptBob, "451 4.3.5 Server configuration error", "DATA", "554 5.5.1 Error: no valid recipients"}},
		{"HELO and sender, not delayed", []string{"smtpd_delay_reject=no", "smtpd_sender_restrictions=reject"}, []string{
			mailA, "554 5.7.1 <a@c.example>: Sender address rejected: Access denied", rcptBob, needMail}},
		{"HELO, not delayed", []string{"smtpd_delay_reject=no", "smtpd_helo_restrictions=reject_invalid_helo_hostname,reject_non_fqdn_helo_hostname"}, []string{
			"EHLO a..b", "501 5.5.2 <a..b>: Helo command rejected: Invalid name", "EHLO [1.2.3", "501 5.5.2 <[1.2.3>: Helo command rejected: invalid ip address",
			"EHLO [1.2.3.4]", ehloReply, "EHLO foo", "504 5.5.2 <foo>: Helo command rejected: need fully-qualified hostname",
			"EHLO a_b.c", ehloReply, "EHLO a_b", "504 5.5.2 <a_b>: Helo command rejected: need fully-qualified hostname",
			"EHLO 1.2.3.4", "504 5.5.2 <1.2.3.4>: Helo command rejected: need fully-qualified hostname", "HELO [IPv6:::1]", "250 mail.example.com"}},
		{"fully-qualified addresses", []string{"smtpd_sender_restrictions=reject_non_fqdn_sender", "smtpd_recipient_restrictions=reject_non_fqdn_recipient"}, []string{
			"MAIL FROM:<a@b>", senderOK, rcptBob, "504 5.5.2 <a@b>: Sender address rejected: need fully-qualified address", "RSET", ok,
			"MAIL FROM:<a>", senderOK, rcptBob, "504 5.5.2 <a>: Sender address rejected: need fully-qualified address", "RSET", ok,
			"MAIL FROM:<>", senderOK, "RCPT TO:<bob>", "504 5.5.2 <bob>: Recipient address rejected: need fully-qualified address", rcptBob, rcptOK}},
		{"multi-recipient bounces", []string{"smtpd_data_restrictions=reject_multi_recipient_bounce"}, []string{
			"MAIL FROM:<>", senderOK, rcptBob, rcptOK, rcptBob, rcptOK, "DATA", "550 5.5.3 <DATA>: Data command rejected: Multi-recipient bounce",
			"RSET", ok, "MAIL FROM:<>", senderOK, rcptBob, rcptOK, "DATA", goAhead}},
		{"defer_if_permit", []string{"smtpd_recipient_restrictions=defer_if_permit,permit"}, []string{
			mailA, senderOK, rcptBob, "450 4.7.0 <bob@virt.example>: Recipient address rejected: defer_if_permit requested",
			"RCPT TO:<nobody@virt.example>", "550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table"}},
		{"defer_if_reject", []string{"smtpd_recipient_restrictions=defer_if_reject,reject"}, []string{
			mailA, senderOK, rcptBob, "450 4.7.0 <bob@virt.example>: Recipient address rejected: defer_if_reject requested"}},
		{"warn_if_reject", []string{"smtpd_client_restrictions=warn_if_reject,reject"}, []string{mailA, senderOK, rcptBob, rcptOK}},
		{"defer", []string{"smtpd_client_restrictions=defer"}, []string{
			mailA, senderOK, rcptBob, "450 4.3.2 <localhost[127.0.0.1]>: Client host rejected: Try again later"}},
		{"restriction classes", []string{"smtpd_restriction_classes=strict", "strict=reject_non_fqdn_sender reject", "smtpd_recipient_restrictions=strict"}, []string{
			mailA, senderOK, rcptBob, "554 5.7.1 <bob@virt.example>: Recipient address rejected: Access denied"}},
		{"HELO required", []string{"smtpd_helo_required=yes"}, []string{"EHLO x", ehloReply, mailA, senderOK}},
		{"VRFY disabled", []string{"disable_vrfy_command=yes"}, []string{"VRFY x", "502 5.5.1 VRFY command is disabled"}},
		{"no-op commands", []string{"smtpd_noop_commands=XYZ data"}, []string{"XYZ foo", ok, "DATA", ok}},
		{"soft bounce", []string{"soft_bounce=yes"}, []string{
			"FOO", "400 4.5.2 Error: command not recognized", mailA, senderOK,
			"RCPT TO:<nobody@virt.example>", "450 4.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table"}},
		{"unlisted sender", []string{"smtpd_reject_unlisted_sender=yes"}, []string{
			"MAIL FROM:<nobody@virt.example>", senderOK, rcptBob, "550 5.1.0 <nobody@virt.example>: Sender address rejected: User unknown in virtual mailbox table"}},
		{"strict SMTPUTF8", []string{"strict_smtputf8=yes"}, []string{
			"MAIL FROM:<ü@c.example>", "553 5.6.7 Must declare SMTPUTF8 to send unicode address", mailA, senderOK,
			"RCPT TO:<böb@virt.example>", "553 5.6.7 Must declare SMTPUTF8 to send unicode address"}},
		{"bytes that are not UTF-8", nil, []string{"MAIL FROM:<\xff\xfe@c.example>", "500 5.5.2 Error: bad UTF-8 syntax"}},
		{"domains that cannot be", nil, []string{
			"MAIL FROM:<a@c..example> SIZE=99999999999", "501 5.1.7 Bad sender address syntax", "MAIL FROM:<-a@c.example>", "501 5.1.7 Bad sender address syntax",
			"MAIL FROM:<>", senderOK, "RCPT TO:<a@127.0.0.1>", "501 5.1.3 Bad recipient address syntax", "VRFY a@c..example", "501 5.1.3 Bad recipient address syntax"}},
		{"control characters (decision 21)", nil, []string{
			"EHLO a\x00b", "501 5.5.2 Error: bad syntax: control character in hostname", "EHLO a\rb", "501 5.5.2 Error: bad syntax: control character in hostname",
			"MAIL FROM:<a\rb@c.example>", "501 5.1.7 Bad sender address syntax", "MAIL FROM:<\"a\rX-Inj: 1\"@c.example>", "501 5.1.7 Bad sender address syntax",
			"MAIL FROM:<a\x00@c.example>", "501 5.1.7 Bad sender address syntax", mailA, senderOK,
			"RCPT TO:<b\x00ob@virt.example>", "501 5.1.3 Bad recipient address syntax", "NOOP\x01", "500 5.5.2 Error: command not recognized"}},
		{"null BDAT", nil, []string{
			mailA, senderOK, rcptBob, rcptOK, "BDAT 0", "551 5.7.1 Null BDAT request", "BDAT 0 LAST", "250 2.0.0 Ok: 0 bytes queued as 4A5299A0001"}},
		{"no space in the queue", []string{"queue_minfree=2000000000000"}, []string{mailA, "452 4.3.1 Insufficient system storage", rcptBob, needMail}},
		{"recipient limit", []string{"smtpd_recipient_limit=2"}, []string{
			mailA, senderOK, rcptBob, rcptOK, rcptBob, rcptOK, rcptBob, "452 4.5.3 Error: too many recipients", rcptBob, "452 4.5.3 Error: too many recipients"}},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t, tc.params...)
			d := r.dial("")
			if got := d.reply(); got != banner {
				t.Fatalf("banner %q", got)
			}
			if !strings.HasPrefix(tc.pairs[0], "EHLO") {
				d.say("EHLO client.example")
			}
			d.want(tc.pairs...)
		})
	}
}

// TestLastReplies: replies after which the session is over.
func TestLastReplies(t *testing.T) {
	const rules = "221 2.7.0 I can break rules, too. Goodbye."
	const sync = "554 5.5.0 Error: SMTP protocol synchronization"
	for _, tc := range []struct {
		behaviour, input, want string
		params                 []string
	}{
		{"HTTP", "GET / HTTP/1.1\r\n", rules, nil},
		{"HTTP in lower case", "get / HTTP/1.1\r\n", rules, nil},
		{"CONNECT", "CONNECT x\r\n", rules, nil},
		{"TLS", "\x16\x03\x01\x02\r\n", rules, nil},
		{"TLS with bytes that are not UTF-8", "\x16\x03\x01\x00\xc8\x01\r\n", rules, nil},
		{"a header of a message", "Subject: x\r\n", rules, nil},
		{"a header", ": x\r\n", rules, nil},
		{"commands after EHLO", "EHLO x\r\n" + mailA + "\r\n", sync, nil},
		{"commands after HELO", "HELO x\r\n" + mailA + "\r\n", sync, nil},
		{"commands before EHLO", mailA + "\r\n" + rcptBob + "\r\n", sync, nil},
		{"bare LF in a command", "EHLO x\n", "550 5.5.2 mail.example.com Error: bare <LF> received", []string{"smtpd_forbid_bare_newline=reject"}},
		{"an endless command", strings.Repeat("x", 100000), "500 5.5.2 Error: line too long", nil},
		{"malformed BDAT", "BDAT\r\n", "521 5.5.4 Syntax: BDAT count [LAST]", nil},
		{"negative BDAT", "BDAT -1 LAST\r\n", "521 5.5.4 Syntax: BDAT count [LAST]", nil},
		{"BDAT with a sign", "BDAT +4\r\n", "521 5.5.4 Syntax: BDAT count [LAST]", nil},
		{"hexadecimal BDAT", "BDAT 0x4\r\n", "521 5.5.4 Syntax: BDAT count [LAST]", nil},
		{"BDAT of 20 digits", "BDAT 12345678901234567890\r\n", "521 5.5.4 Syntax: BDAT count [LAST]", nil},
		{"BDAT with more words", "BDAT 3 LAST x\r\n", "521 5.5.4 Syntax: BDAT count [LAST]", nil},
		{"huge BDAT", "BDAT 9223372036854775807 LAST\r\n", "552 5.3.4 Chunk exceeds message size limit", nil},
		{"BDAT that is not offered", "BDAT 0\r\n", "521 5.5.1 Error: command not implemented", []string{"smtpd_discard_ehlo_keywords=chunking"}},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t, tc.params...)
			d := r.dial("")
			d.reply()
			d.send(tc.input)
			if got := d.reply(); got != tc.want {
				t.Errorf("reply %q, want %q", got, tc.want)
			}
			d.closed()
		})
	}
}

// TestPipelining sends groups of commands in one segment.
func TestPipelining(t *testing.T) {
	for _, tc := range []struct {
		behaviour, input string
		want             []string
	}{
		{"a proper group", mailA + "\r\n" + rcptBob + "\r\nDATA\r\n", []string{senderOK, rcptOK, goAhead}},
		{"content after DATA", mailA + "\r\n" + rcptBob + "\r\nDATA\r\nx\r\n.\r\n", []string{senderOK, rcptOK, "554 5.5.0 Error: SMTP protocol synchronization", "EOF"}},
		{"NOOP is the last of a group", "RSET\r\nNOOP\r\nQUIT\r\n", []string{ok, "554 5.5.0 Error: SMTP protocol synchronization", "EOF"}},
		{"RSET and MAIL in groups", mailA + "\r\nRSET\r\n" + mailA + "\r\n", []string{senderOK, ok, senderOK}},
		{"unknown commands in groups", "FOO\r\nRSET\r\nRSET\r\n", []string{"500 5.5.2 Error: command not recognized", ok, ok}},
		{"a chunk and a command", mailA + "\r\n" + rcptBob + "\r\nBDAT 3 LAST\r\nabcNOOP\r\n", []string{senderOK, rcptOK, "250 2.0.0 Ok: 5 bytes queued as 4A5299A0001", ok}},
		{"a chunk without recipients", mailA + "\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", []string{senderOK, "554 5.5.1 Error: no valid recipients", ok}},
		{"a chunk without MAIL", "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", []string{needRcpt, ok}},
		{"two messages", mailA + "\r\n" + rcptBob + "\r\nBDAT 1 LAST\r\nx" + mailA + "\r\n" + rcptBob + "\r\nBDAT 1 LAST\r\ny", []string{
			senderOK, rcptOK, "250 2.0.0 Ok: 3 bytes queued as 4A5299A0001", senderOK, rcptOK, "250 2.0.0 Ok: 3 bytes queued as 4A5299A0002"}},
		{"the last word", "QUIT\r\nNOOP\r\n", []string{"221 2.0.0 Bye", "EOF"}},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			d := newRig(t).start()
			d.send(tc.input)
			for _, want := range tc.want {
				if got := d.reply(); got != want {
					t.Errorf("reply %q, want %q", got, want)
				}
			}
		})
	}
}

func TestOverlongCommandIsOneError(t *testing.T) {
	d := newRig(t).start()
	// The tail would be a command if it were parsed (decision 20).
	d.send(strings.Repeat("x", 4096) + "MAIL FROM:<a@c.example>\r\nNOOP\r\n")
	if got := d.reply(); got != "500 5.5.2 Error: line too long" {
		t.Errorf("reply %q", got)
	}
	if got := d.reply(); got != ok {
		t.Errorf("reply to NOOP: %q", got)
	}
}

func TestBDATMessages(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		chunks    []string
		body      string
	}{
		{"one chunk", []string{"a\r\nb\r\n"}, "a\nb\n"},
		{"a last line without an ending", []string{"a\r\nb"}, "a\nb\n"},
		{"CRLF split over chunks", []string{"a\r", "\nb\r\n"}, "a\nb\n"},
		{"an end of data in the chunk", []string{"a\r\n.\r\nb\r\n"}, "a\n.\nb\n"},
		{"dots", []string{".", ".a\r\n..\r\n"}, "..a\n..\n"},
		{"commands", []string{"QUIT\r\n", "RSET\r\n"}, "QUIT\nRSET\n"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			r := newRig(t)
			d := r.start()
			d.want(mailA, senderOK, rcptBob, rcptOK)
			for i, chunk := range tc.chunks {
				last := ""
				if i == len(tc.chunks)-1 {
					last = " LAST"
				}
				d.send(fmt.Sprintf("BDAT %d%s\r\n%s", len(chunk), last, chunk))
				if got := d.reply(); !strings.HasPrefix(got, "250 2.0.0 Ok: ") {
					t.Errorf("reply %q", got)
				}
			}
			if len(r.cleanup.done) != 1 {
				t.Fatalf("%d messages", len(r.cleanup.done))
			}
			if got := r.cleanup.done[0].body(); got != tc.body {
				t.Errorf("content %q, want %q", got, tc.body)
			}
		})
	}
}

func TestBDATOrder(t *testing.T) {
	d := newRig(t).start()
	d.want(mailA, senderOK, rcptBob, rcptOK)
	d.send("BDAT 5\r\nhello")
	if got := d.reply(); got != "250 2.0.0 Ok: 5 bytes" {
		t.Errorf("reply %q", got)
	}
	d.want(rcptBob, "503 5.5.1 Error: RCPT after BDAT", mailA, "503 5.5.1 Error: MAIL after BDAT",
		"DATA", "503 5.5.1 Error: DATA after BDAT", "RSET", ok, rcptBob, needMail)
}

func TestChunksAfterAnErrorAreDropped(t *testing.T) {
	r := newRig(t, "smtpd_forbid_bare_newline=reject")
	d := r.start()
	d.want(mailA, senderOK, rcptBob, rcptOK)
	d.send("BDAT 3\r\na\nb")
	if got := d.reply(); got != "550 5.5.2 mail.example.com Error: bare <LF> received" {
		t.Errorf("reply %q", got)
	}
	d.send("BDAT 6\r\nQUIT\r\n")
	if got := d.reply(); got != "551 5.0.0 Discarded 6 bytes after earlier error" {
		t.Errorf("reply %q", got)
	}
	d.send("BDAT 0 LAST\r\n")
	if got := d.reply(); got != "551 5.0.0 Discarded 0 bytes after earlier error" {
		t.Errorf("reply %q", got)
	}
	d.want(rcptBob, needMail, mailA, senderOK)
	if len(r.cleanup.done) != 0 {
		t.Errorf("%d messages", len(r.cleanup.done))
	}
}
