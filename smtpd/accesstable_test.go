package main

import (
	"crypto/tls"
	"reflect"
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/table"
	"sealpost/test/ca"
)

// What the subjects of access tables are asked for; the orders themselves are tested in
// lib/table.
func TestAccessKeys(t *testing.T) {
	r := newRig(t, "recipient_delimiter=+")
	a := &access{s: &session{p: r.srv.normal}}
	for _, tt := range []struct {
		name string
		got  subject
		want string
	}{
		{"address", a.addressSubject(classSender, "user+ext@a.example"), "user+ext@a.example user@a.example* a.example* example* user+ext@* user@*"},
		{"null sender", a.addressSubject(classSender, ""), "<>"},
	} {
		if got := strings.Join(table.Texts(tt.got.keys), " "); got != tt.want {
			t.Errorf("%s: %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestAccessActions(t *testing.T) {
	const denied = "<c.example>: Helo command rejected: "
	tests := []struct{ action, reply, log string }{
		{"OK", "250 2.1.5 Ok", ""},
		{"relay", "250 2.1.5 Ok", ""},
		{"12345", "250 2.1.5 Ok", ""},
		{"DUNNO", "554 5.7.1 <x@elsewhere.example>: Relay access denied", ""},
		{"REJECT", "554 5.7.1 " + denied + "Access denied", ""},
		{"reject go away", "554 5.7.1 " + denied + "go away", ""},
		{"REJECT 5.7.9 go away", "554 5.7.9 " + denied + "go away", ""},
		{"DEFER later", "450 4.7.1 " + denied + "later", ""},
		{"550 5.1.0 no", "550 5.1.0 " + denied + "no", ""},
		{"451 wait", "451 4.7.1 " + denied + "wait", ""},
		{"DEFER_IF_PERMIT", "554 5.7.1 <x@elsewhere.example>: Relay access denied", ""},
		{"reject_non_fqdn_helo_hostname, permit", "250 2.1.5 Ok", ""},
		{"nonsense", "451 4.3.5 Server configuration error", `unknown smtpd restriction: "nonsense"`},
		{"INFO take note", "554 5.7.1 <x@elsewhere.example>: Relay access denied", "info: RCPT from localhost[127.0.0.1]: <c.example>: Helo command take note; from=<a@b.example> to=<x@elsewhere.example>"},
		{"FILTER", "451 4.3.5 Server configuration error", "action FILTER needs a value"},
		{"FILTER scan", "451 4.3.5 Server configuration error", "action FILTER scan needs transport:destination"},
	}
	for _, tt := range tests {
		t.Run(tt.action, func(t *testing.T) {
			r := newRig(t, "mynetworks=", "smtpd_recipient_restrictions=",
				"smtpd_relay_restrictions=check_helo_access inline:{{c.example="+tt.action+"}}, reject_unauth_destination")
			d := r.dial("")
			d.reply()
			d.say("EHLO c.example")
			d.want("MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<x@elsewhere.example>", tt.reply)
			if log := r.log.String(); !strings.Contains(log, tt.log) {
				t.Errorf("the log lacks %q:\n%s", tt.log, log)
			}
		})
	}
}

// DEFER_IF_PERMIT turns what would be accepted into a temporary refusal.
func TestAccessDeferIfPermit(t *testing.T) {
	r := newRig(t, "smtpd_recipient_restrictions=check_sender_access inline:{{b.example=DEFER_IF_PERMIT busy}}")
	d := r.dial("")
	d.reply()
	d.say("EHLO c.example")
	d.want("MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", "450 4.7.1 <a@b.example>: Sender address rejected: busy")
}

// What a table says about the message reaches cleanup, once for all recipients.
func TestAccessActionsOnTheMessage(t *testing.T) {
	r := newRig(t, "smtpd_recipient_restrictions=check_sender_access inline:{{a@=HOLD wait}}, check_sender_access inline:{{b.example=PREPEND X-Seen: yes}}, "+
		"check_client_access inline:{{127=FILTER smtp:[192.0.2.1]}}, check_recipient_access inline:{{bob@virt.example=BCC keep@virt.example}}, "+
		"check_recipient_access inline:{{virt.example=REDIRECT all@virt.example}}")
	d := r.dial("")
	d.reply()
	d.say("EHLO c.example")
	d.want("MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", "250 2.1.5 Ok", "RCPT TO:<bob@virt.example>", "250 2.1.5 Ok")
	d.say("DATA")
	d.say("Subject: x\r\n\r\n.")
	d.say("QUIT")
	d.closed()
	m := r.cleanup.done[0]
	if !strings.HasPrefix(string(m.lines), "X-Seen: yes\nReceived: ") {
		t.Errorf("content:\n%s", m.lines)
	}
	var tail []byte
	tail = record.Append(tail, record.Extracted, "")
	tail = record.Append(tail, record.Filter, "smtp:[192.0.2.1]")
	tail = record.Append(tail, record.Redirect, "all@virt.example")
	tail = record.Append(tail, record.Rcpt, "keep@virt.example")
	tail = record.AppendAttr(tail, "notify_flags", itoa(int64(dsn.NotifyNever)))
	tail = record.Append(tail, record.Flags, itoa(int64(mailproto.CleanupHold)))
	tail = record.Append(tail, record.End, "")
	if !strings.HasSuffix(string(m.stream), string(tail)) {
		t.Errorf("end of the envelope:\n%q\nwant\n%q", m.stream[max(0, len(m.stream)-len(tail)):], tail)
	}
	log := r.log.String()
	for _, want := range []string{
		"hold: RCPT from localhost[127.0.0.1]: <a@b.example>: Sender address triggers HOLD action: wait; from=<a@b.example> to=<bob@virt.example>",
		"filter: RCPT from localhost[127.0.0.1]: <localhost[127.0.0.1]>: Client host triggers FILTER smtp:[192.0.2.1]; ",
		"redirect: RCPT from localhost[127.0.0.1]: <bob@virt.example>: Recipient address triggers REDIRECT all@virt.example; ",
	} {
		if strings.Count(log, want) != 1 {
			t.Errorf("the log has %d of %q:\n%s", strings.Count(log, want), want, log)
		}
	}
}

func TestAccessBeforeTheMessage(t *testing.T) {
	r := newRig(t, "smtpd_delay_reject=no", "smtpd_client_restrictions=check_client_access inline:{{127.0.0.1=HOLD}}")
	d := r.dial("")
	if got := d.reply(); got != strings.TrimSuffix(banner, "\r\n") {
		t.Errorf("greeting %q", got)
	}
	if log := r.log.String(); !strings.Contains(log, "action HOLD needs a message: smtpd_delay_reject = yes") {
		t.Errorf("log:\n%s", log)
	}
}

// A table that fails refuses for now; it never lets anything through.
func TestAccessTableFails(t *testing.T) {
	r := newRig(t, "smtpd_recipient_restrictions=check_client_access fail:x, permit")
	d := r.dial("")
	d.reply()
	d.say("EHLO c.example")
	d.want("MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", "451 4.3.0 <localhost[127.0.0.1]>: Temporary lookup failure")
}

func TestAccessByCertificate(t *testing.T) {
	authority := ca.New(t, "Any CA")
	good, bad := authority.Issue(t, ca.Leaf{CN: "good"}), authority.Issue(t, ca.Leaf{CN: "bad"})
	r, _ := tlsRig(t, "smtpd_tls_ask_ccert=yes", "mynetworks=", "smtpd_recipient_restrictions=",
		"smtpd_relay_restrictions=check_ccert_access inline:{{"+ca.Fingerprint(good.Leaf)+"=OK}, {"+ca.Fingerprint(bad.Leaf)+"=REJECT not you}}, reject_unauth_destination")
	for _, tt := range []struct {
		cert  *tls.Certificate
		reply string
	}{
		{&good, "250 2.1.5 Ok"},
		{&bad, "554 5.7.1 <localhost[127.0.0.1]>: Client certificate rejected: not you"},
		{nil, "554 5.7.1 <x@elsewhere.example>: Relay access denied"},
	} {
		config := &tls.Config{InsecureSkipVerify: true}
		if tt.cert != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
		}
		d := r.dial("")
		d.startTLS(config)
		d.say("EHLO c.example")
		d.want("MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<x@elsewhere.example>", tt.reply)
	}
}

func TestAddOnce(t *testing.T) {
	list, known := addOnce([]string{"a"}, "b")
	if known || !reflect.DeepEqual(list, []string{"a", "b"}) {
		t.Errorf("%q, %t", list, known)
	}
	if list, known = addOnce(list, "a"); !known || len(list) != 2 {
		t.Errorf("%q, %t", list, known)
	}
}
