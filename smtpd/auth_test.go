package main

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"sealpost/lib/sasl"
)

// fakeAuth is an authentication service with one user, alice, whose password is
// "wonder". PLAIN asks for a response when there is none; LOGIN asks twice.
type fakeAuth struct {
	down     bool
	requests []sasl.Request
}

func (f *fakeAuth) Mechanisms(context.Context) ([]sasl.Mechanism, error) {
	if f.down {
		return nil, sasl.ErrUnavailable
	}
	return []sasl.Mechanism{{Name: "PLAIN", Properties: sasl.Plaintext}, {Name: "LOGIN", Properties: sasl.Plaintext},
		{Name: "CRAM-MD5", Properties: sasl.Dictionary}, {Name: "ANONYMOUS", Properties: sasl.Anonymous}, {Name: "EXTERNAL"}}, nil
}

func (f *fakeAuth) Begin(_ context.Context, r *sasl.Request) (sasl.Exchange, sasl.Step, error) {
	f.requests = append(f.requests, *r)
	e := &fakeExchange{owner: f, mechanism: r.Mechanism}
	switch {
	case f.down:
		return nil, sasl.Step{}, sasl.ErrUnavailable
	case r.Mechanism == "LOGIN":
		return e, sasl.Step{Challenge: b64("Username:")}, nil
	case r.HasInitial:
		step, err := e.Respond(context.Background(), r.Initial)
		return nil, step, err
	}
	return e, sasl.Step{}, nil
}

type fakeExchange struct {
	owner     *fakeAuth
	mechanism string
	said      []string
	canceled  bool
}

func (e *fakeExchange) Cancel() { e.canceled = true }

func (e *fakeExchange) Respond(_ context.Context, response string) (sasl.Step, error) {
	text, _ := base64.StdEncoding.DecodeString(response)
	e.said = append(e.said, string(text))
	switch all := strings.Join(e.said, "\x00"); {
	case e.mechanism == "LOGIN" && len(e.said) < 2:
		return sasl.Step{Challenge: b64("Password:")}, nil
	case strings.TrimPrefix(all, "\x00") == "alice\x00wonder":
		return sasl.Step{State: sasl.Success, User: "alice"}, nil
	case strings.HasPrefix(all, "\x00later"):
		return sasl.Step{State: sasl.Failure, Temporary: true, User: "later"}, nil
	case strings.HasPrefix(all, "\x00gone"):
		return sasl.Step{}, sasl.ErrUnavailable
	}
	return sasl.Step{State: sasl.Failure, User: "alice", Reason: "wrong\r\n250 password"}, nil
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// authRig is a rig with fakeAuth.
func authRig(t *testing.T, params ...string) (*rig, *fakeAuth) {
	t.Helper()
	r, _ := tlsRig(t, append([]string{"smtpd_sasl_auth_enable=yes", "smtpd_sasl_type=dovecot", "smtpd_sasl_path=private/auth",
		"smtpd_hard_error_limit=100", "smtpd_soft_error_limit=100",
		"smtpd_sender_login_maps=inline:{ alice@example.com=alice, root@example.com={root, admin} }"}, params...)...)
	f := &fakeAuth{}
	r.srv.normal.auth.service = f
	return r, f
}

func ehloAuth(how, auth string) string {
	return strings.Replace(ehloOver(how), "250-ENHANCEDSTATUSCODES", auth+"250-ENHANCEDSTATUSCODES", 1)
}

const allMechanisms = "250-AUTH PLAIN LOGIN CRAM-MD5|"

// good and bad are AUTH commands with the right and a wrong password.
var good, bad = "AUTH PLAIN " + b64("\x00alice\x00wonder"), "AUTH PLAIN " + b64("\x00alice\x00wrong")

// TestAuthReplies has the replies of Debian's Postfix, but where a comment says why not.
func TestAuthReplies(t *testing.T) {
	const unavailable = "454 4.7.0 Temporary authentication failure: "
	for _, tt := range []struct {
		name   string
		params []string
		pairs  []string
	}{
		{"off", []string{"smtpd_sasl_auth_enable=no"}, []string{good, errAuthOff, "AUTH", errAuthOff}},
		{"success", nil, []string{good, "235 2.7.0 Authentication successful", good, errAuthTwice, "HELO c", "250 mail.example.com", good, errAuthTwice}},
		{"lower case", nil, []string{strings.Replace(good, "AUTH PLAIN", "auth plain", 1), "235 2.7.0 Authentication successful"}},
		{"wrong password", nil, []string{bad, `535 5.7.8 Error: authentication failed: wrong\r\n250 password`, good, "235 2.7.0 Authentication successful"}},
		{"syntax", nil, []string{"AUTH", errAuthSyntax, "AUTH PLAIN a b", errAuthSyntax, "AUTH PL\x00AIN", errAuthSyntax}},
		{"mechanisms that are not offered", nil, []string{"AUTH FOO", "535 5.7.8 Error: authentication failed: Invalid authentication mechanism",
			"AUTH ANONYMOUS " + b64("x"), "535 5.7.8 Error: authentication failed: Invalid authentication mechanism",
			"AUTH EXTERNAL =", "535 5.7.8 Error: authentication failed: Invalid authentication mechanism"}},
		{"dialogue", nil, []string{"AUTH LOGIN", "334 " + b64("Username:"), b64("alice"), "334 " + b64("Password:"), b64("wonder"), "235 2.7.0 Authentication successful"}},
		{"empty challenge", nil, []string{"AUTH PLAIN", "334 ", b64("\x00alice\x00wonder"), "235 2.7.0 Authentication successful"}},
		{"aborted", nil, []string{"AUTH LOGIN", "334 " + b64("Username:"), "*", errAuthAborted, "NOOP", "250 2.0.0 Ok"}},
		{"no base64", nil, []string{"AUTH PLAIN x!", "535 5.7.8 Error: authentication failed: Invalid base64 data in initial response",
			"AUTH LOGIN", "334 " + b64("Username:"), "YQ", "535 5.7.8 Error: authentication failed: Invalid base64 data in continued response"}},
		{"empty initial response", nil, []string{"AUTH PLAIN =", `535 5.7.8 Error: authentication failed: wrong\r\n250 password`}},
		{"long response", []string{"smtpd_sasl_response_limit=3000"}, []string{"AUTH LOGIN", "334 " + b64("Username:"), strings.Repeat("A", 3004), errAuthLimit, "NOOP", "250 2.0.0 Ok"}},
		{"longer than a line", []string{"smtpd_sasl_response_limit=3000"}, []string{"AUTH LOGIN", "334 " + b64("Username:"), strings.Repeat("A", 5000), errAuthLimit, "NOOP", "250 2.0.0 Ok"}},
		{"in a transaction", nil, []string{"MAIL FROM:<a@b.example>", "250 2.1.0 Ok", good, errAuthInMail, "AUTH", errAuthInMail}},
		{"temporary", nil, []string{"AUTH PLAIN " + b64("\x00later\x00x"), unavailable + "(reason unavailable)",
			"AUTH PLAIN " + b64("\x00gone\x00x"), unavailable + "Connection lost to authentication server"}},
		{"exceptions", []string{"smtpd_sasl_exceptions_networks=127.0.0.0/8"}, []string{good, errAuthOff}},
		{"discarded keyword", []string{"smtpd_discard_ehlo_keywords=auth"}, []string{good, errAuthOff}},
		{"under TLS only", []string{"smtpd_tls_auth_only=yes"}, []string{good, errAuthOff}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r *rig
			if tt.name == "off" {
				r, _ = tlsRig(t, tt.params...)
			} else {
				r, _ = authRig(t, tt.params...)
			}
			d := r.dial("")
			d.reply()
			d.want(tt.pairs...)
			for _, secret := range []string{"wonder", b64("wonder"), b64("\x00alice\x00wonder"), b64("\x00alice\x00wrong")} {
				if strings.Contains(r.log.String(), secret) {
					t.Errorf("the log has a password: %s", r.log)
				}
			}
		})
	}
}

func TestAuthAnnounced(t *testing.T) {
	for _, tt := range []struct {
		name            string
		params          []string
		inClear, secret string
	}{
		{"default", nil, allMechanisms, allMechanisms},
		{"TLS only", []string{"smtpd_tls_auth_only=yes"}, "", allMechanisms},
		{"TLS is demanded", []string{"smtpd_tls_security_level=encrypt"}, "", allMechanisms},
		{"no plain text in the clear", []string{"smtpd_sasl_security_options=noanonymous,noplaintext", "smtpd_sasl_tls_security_options=noanonymous"},
			"250-AUTH CRAM-MD5|", allMechanisms},
		{"filter", []string{"smtpd_sasl_mechanism_filter=plain, cram-md5"}, "250-AUTH PLAIN CRAM-MD5|", "250-AUTH PLAIN CRAM-MD5|"},
		{"old clients", []string{"broken_sasl_auth_clients=yes", "smtpd_sasl_mechanism_filter=plain"},
			"250-AUTH PLAIN|250-AUTH=PLAIN|", "250-AUTH PLAIN|250-AUTH=PLAIN|"},
		{"nothing is left", []string{"smtpd_sasl_security_options=noanonymous,mutual_auth"}, "", ""},
		{"exceptions", []string{"smtpd_sasl_exceptions_networks=127.0.0.1"}, "", ""},
		{"discarded keyword", []string{"smtpd_discard_ehlo_keywords=auth,silent-discard"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := authRig(t, tt.params...)
			d := r.dial("")
			d.reply()
			d.want("EHLO c", ehloAuth("STARTTLS", tt.inClear), "STARTTLS", "220 2.0.0 Ready to start TLS")
			if err := d.secure(nil); err != nil {
				t.Fatal(err)
			}
			d.want("EHLO c", ehloAuth("REQUIRETLS", tt.secret))
		})
	}
}

// TestAuthServiceDown: AUTH is not announced, a client that tries it nevertheless is
// told to come again, and mail goes on.
func TestAuthServiceDown(t *testing.T) {
	r, f := authRig(t)
	f.down = true
	d := r.dial("")
	d.reply()
	d.want("EHLO c", ehloAuth("STARTTLS", ""), good, "454 4.7.0 Temporary authentication failure: Connection lost to authentication server",
		"MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", "250 2.1.5 Ok")
	if !strings.Contains(r.log.String(), "SASL: authentication service unavailable") {
		t.Errorf("log: %s", r.log)
	}
}

// TestAuthForgottenAtStartTLS: who the client was in the clear does not count under
// TLS (RFC 3207 §4.2), and what came in the clear after STARTTLS is dropped.
func TestAuthForgottenAtStartTLS(t *testing.T) {
	r, f := authRig(t, "mynetworks=")
	d := r.dial("")
	d.reply()
	d.want("EHLO c", ehloAuth("STARTTLS", allMechanisms), good, "235 2.7.0 Authentication successful")
	d.send("STARTTLS\r\n" + good + "\r\n")
	if got := d.reply(); got != "220 2.0.0 Ready to start TLS" {
		t.Fatal(got)
	}
	if err := d.secure(nil); err != nil {
		t.Fatal(err)
	}
	d.want("EHLO c", ehloAuth("REQUIRETLS", allMechanisms), "MAIL FROM:<a@b.example>", "250 2.1.0 Ok",
		"RCPT TO:<x@elsewhere.example>", "454 4.7.1 <x@elsewhere.example>: Relay access denied",
		"RSET", "250 2.0.0 Ok", good, "235 2.7.0 Authentication successful", "MAIL FROM:<a@b.example>", "250 2.1.0 Ok",
		"RCPT TO:<x@elsewhere.example>", "250 2.1.5 Ok")
	if len(f.requests) != 2 || f.requests[0].Secured || !f.requests[1].Secured || f.requests[1].RemoteAddr != "127.0.0.1" || f.requests[1].Service != "smtp" {
		t.Errorf("the service was asked %+v", f.requests)
	}
}

func TestAuthenticatedMessage(t *testing.T) {
	r, _ := authRig(t, "smtpd_sasl_authenticated_header=yes")
	d := r.dial("")
	d.startTLSAuth(t)
	d.want("MAIL FROM:<alice@example.com> AUTH=real+40example.com", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", "250 2.1.5 Ok",
		"DATA", "354 End data with <CR><LF>.<CR><LF>", "Subject: x\r\n\r\ny\r\n.", "250 2.0.0 Ok: queued as 4A5299A0001", "QUIT", "221 2.0.0 Bye")
	d.closed()
	m := r.cleanup.done[0]
	for _, want := range []string{"\n\t(Authenticated sender: alice)\n", " with ESMTPSA id "} {
		if !strings.Contains(string(m.lines), want) {
			t.Errorf("no %q in\n%s", want, m.lines)
		}
	}
	for _, want := range []string{"sasl_method=PLAIN", "sasl_username=alice", "sasl_sender=real+40example.com", "log_protocol_name=ESMTP"} {
		if !strings.Contains(string(m.stream), want) {
			t.Errorf("no %s for cleanup", want)
		}
	}
	for _, want := range []string{"client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=alice, sasl_sender=real+40example.com\n", " auth=1 "} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, r.log)
		}
	}
}

// startTLSAuth goes from the banner to a session under TLS of alice.
func (d *dialog) startTLSAuth(t *testing.T) {
	d.reply()
	d.want("EHLO c", ehloAuth("STARTTLS", allMechanisms), "STARTTLS", "220 2.0.0 Ready to start TLS")
	if err := d.secure(nil); err != nil {
		t.Fatal(err)
	}
	d.want("EHLO c", ehloAuth("REQUIRETLS", allMechanisms), good, "235 2.7.0 Authentication successful")
}

// TestSenderLogin has the observed replies of Debian's Postfix.
func TestSenderLogin(t *testing.T) {
	const ok, notIn, notAlice = "250 2.1.5 Ok",
		"553 5.7.1 <root@example.com>: Sender address rejected: not logged in",
		"553 5.7.1 <root@example.com>: Sender address rejected: not owned by user alice"
	for _, tt := range []struct {
		restriction   string
		out, in       string // root@example.com, of a client that is not and one that is alice
		inMine, other string // of alice: her own, one that nobody owns
		outOther      string
	}{
		{"reject_sender_login_mismatch", notIn, notAlice, ok, "553 5.7.1 <q@b.example>: Sender address rejected: not owned by user alice", ok},
		{"reject_known_sender_login_mismatch", notIn, notAlice, ok, ok, ok},
		{"reject_authenticated_sender_login_mismatch", ok, notAlice, ok, "553 5.7.1 <q@b.example>: Sender address rejected: not owned by user alice", ok},
		{"reject_unauthenticated_sender_login_mismatch", notIn, ok, ok, ok, ok},
		{"check_sasl_access inline:{alice=REJECT}", ok, "554 5.7.1 <alice>: SASL login name rejected: Access denied",
			"554 5.7.1 <alice>: SASL login name rejected: Access denied", "554 5.7.1 <alice>: SASL login name rejected: Access denied", ok},
	} {
		t.Run(tt.restriction, func(t *testing.T) {
			r, _ := authRig(t, "smtpd_sender_restrictions="+tt.restriction)
			d := r.dial("")
			d.reply()
			for _, step := range [][2]string{{"root@example.com", tt.out}, {"q@b.example", tt.outOther}, {good},
				{"root@example.com", tt.in}, {"alice@example.com", tt.inMine}, {"q@b.example", tt.other}, {"", ok}} {
				if step[0] == good {
					d.want("EHLO c", ehloAuth("STARTTLS", allMechanisms), good, "235 2.7.0 Authentication successful")
					continue
				}
				want := step[1]
				if step[0] == "" && strings.HasPrefix(tt.restriction, "check_") {
					want = tt.in
				}
				d.want("MAIL FROM:<"+step[0]+">", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", want, "RSET", "250 2.0.0 Ok")
			}
			if tt.in == notAlice && !strings.Contains(r.log.String(), "proto=ESMTP helo=<c> sasl_username=<alice>") {
				t.Errorf("log: %s", r.log)
			}
		})
	}
}

func TestAuthSettings(t *testing.T) {
	for _, tt := range []struct{ param, value, want string }{
		{"smtpd_sasl_type", "cyrus", `parameter smtpd_sasl_type: "cyrus" is not supported; specify dovecot`},
		{"smtpd_sasl_path", "inet:nowhere", "parameter smtpd_sasl_path: bad address"},
		{"smtpd_sasl_security_options", "noanonymous, nonsense", `parameter smtpd_sasl_security_options: unknown SASL security option "nonsense"`},
		{"smtpd_sasl_tls_security_options", "x", `parameter smtpd_sasl_tls_security_options: unknown SASL security option "x"`},
	} {
		values := map[string]string{"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": "private/auth"}
		for name, value := range testConfig {
			values[name] = value
		}
		values[tt.param] = tt.value
		if _, err := tryRig(t, values); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s = %s: error %v, want %s", tt.param, tt.value, err, tt.want)
		}
	}
}
