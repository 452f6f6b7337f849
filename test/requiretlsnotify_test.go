package test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/ca"
	"sealpost/test/harness"
)

// TestReturnPathOfREQUIRETLS: what goes back to another system, redacted and not
// (requiretls.md §8): it asks for REQUIRETLS exactly when it has the content, and ends at
// the postmaster where the return path does not comply.
func TestReturnPathOfREQUIRETLS(t *testing.T) {
	authority := ca.New(t, "Test CA")
	exchangers := map[string]*recorder{}
	var zone strings.Builder
	for name, secret := range map[string]string{"good": "8BITMIME DSN REQUIRETLS", "lax": "8BITMIME DSN"} {
		cert := authority.Issue(t, ca.Leaf{Names: []string{"mx." + name + ".test"}})
		r := newRecorder(t, behaviour{clear: "STARTTLS", secret: secret, cert: &cert, good: true})
		r.up(t)
		exchangers[name] = r
		fmt.Fprintf(&zone, "%s.test. MX 10 mx.%s.test.\nmx.%s.test. A %s\n", name, name, name, r.ip)
	}
	broken := newRecorder(t, behaviour{clear: "STARTTLS"})
	broken.up(t)
	fmt.Fprintf(&zone, "broken.test. MX 10 mx.broken.test.\nmx.broken.test. A %s\n", broken.ip)
	names := dnstest.New(t, dnstest.Config{Zone: zone.String(), Authentic: []string{"*"}})
	for _, tc := range []struct {
		name, redact, sender, rcpt, log string
		reader                          string // who gets the notification: a name of exchangers, or "postmaster"
		mail                            string // its MAIL command there
		code                            string
		content                         bool
	}{
		{name: "redacted, to a system without REQUIRETLS", redact: "yes", sender: "s@lax.test", rcpt: "u@lax.test", code: "5.7.30",
			reader: "lax", mail: "tls MAIL FROM:<>", log: "to=<s@lax.test>, .* tls=secure, dsn=2.0.0, status=sent"},
		{name: "redacted, to a system with REQUIRETLS", redact: "yes", sender: "s@good.test", rcpt: "u@lax.test", code: "5.7.30",
			reader: "good", mail: "tls MAIL FROM:<>", log: "to=<s@good.test>, .* tls=secure, dsn=2.0.0, status=sent"},
		{name: "redacted, expired", redact: "yes", sender: "s@good.test", rcpt: "u@broken.test", code: "4.7.5",
			reader: "good", mail: "tls MAIL FROM:<>", log: "from=<s@good.test>, status=expired, returned to sender"},
		{name: "complete, to a system with REQUIRETLS", redact: "no", sender: "s@good.test", rcpt: "u@lax.test", code: "5.7.30", content: true,
			reader: "good", mail: "tls MAIL FROM:<> REQUIRETLS", log: "to=<s@good.test>, .* tls=secure/requiretls, dsn=2.0.0, status=sent"},
		{name: "complete, to a system without REQUIRETLS", redact: "no", sender: "s@lax.test", rcpt: "u@lax.test", code: "5.7.30", content: true,
			reader: "postmaster", log: "to=<s@lax.test>, .* tls=secure/!requiretls:none, dsn=5.7.30, status=bounced"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
			defer cancel()
			mta := harness.Start(t, harness.Options{Name: "sender", Domain: "sender.test", Users: []string{"postmaster"}, DNS: names.Addr(), Params: map[string]string{
				"mydomain":                 "sender.test",
				"dns_servers_authentic":    "yes",
				"smtp_dns_support_level":   "dnssec",
				"smtp_tls_CAfile":          authority.WriteCert(t, t.TempDir()),
				"smtp_tls_security_level":  "secure",
				"requiretls_redact_dsn":    tc.redact,
				"maximal_queue_lifetime":   "0",
				"notify_classes":           "2bounce",
				"2bounce_notice_recipient": "postmaster@sender.test",
			}})
			for _, r := range exchangers {
				r.forget()
			}
			_, err := mta.Command(ctx, strings.NewReader("Subject: scenario "+tc.name+"\n\n"+secret+"\n"), "sendmail", "-O", "requiretls=yes", "-f", tc.sender, tc.rcpt)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := mta.Log.Wait(ctx, 0, tc.log); err != nil {
				t.Error(err)
			}
			if err := mta.WaitEmpty(ctx); err != nil {
				t.Error(err)
			}
			var got string
			if tc.reader == "postmaster" {
				if mail, err := mta.Mail("postmaster"); err != nil || len(mail) != 1 {
					t.Fatalf("%d messages for the postmaster: %v", len(mail), err)
				} else {
					got = mail[0]
				}
			} else {
				got = exchangers[tc.reader].only(t, tc.mail)
			}
			for name, r := range exchangers {
				if n := len(r.mails()); name != tc.reader && n > 0 {
					t.Errorf("%s has seen %q", name, r.mails())
				}
			}
			if !tc.content {
				checkNotification(t, got, tc.code, tc.name)
				return
			}
			own, _, _ := strings.Cut(got, "\n\n")
			if !strings.Contains(got, "\nStatus: "+tc.code+"\n") || !strings.Contains(got, secret) || !strings.Contains(own, "\nRequire-TLS-ESMTP: yes") {
				t.Errorf("the notification is not complete, or has lost the request:\n%s", got)
			}
		})
	}
}

// only is the one message that a recorder has, which came with this MAIL command, SIZE
// left aside.
func (r *recorder) only(t *testing.T, mail string) string {
	t.Helper()
	if got := r.mails(); len(got) != 1 || got[0] != mail {
		t.Errorf("MAIL commands %q, want %q", got, mail)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.messages) != 1 {
		t.Fatalf("%d messages", len(r.messages))
	}
	return r.messages[0]
}
