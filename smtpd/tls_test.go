package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/lib/mailproto"
	"sealpost/lib/tlsconn"
	"sealpost/test/ca"
)

// tlsRig is a rig with a certificate for mail.example.com.
func tlsRig(t *testing.T, params ...string) (*rig, *ca.Authority) {
	t.Helper()
	authority := ca.New(t, "Test CA")
	dir := t.TempDir()
	chain := ca.WriteChain(t, filepath.Join(dir, "chain.pem"), authority.Issue(t, ca.Leaf{Names: []string{"mail.example.com"}, CN: "mail.example.com"}))
	caFile := authority.WriteCert(t, dir)
	return newRig(t, append([]string{"smtpd_tls_security_level=may", "smtpd_tls_chain_files=" + chain,
		"smtpd_tls_CAfile=" + caFile, "smtpd_tls_loglevel=1"}, params...)...), authority
}

// secure makes the client's side of the handshake.
func (d *dialog) secure(config *tls.Config) error {
	d.t.Helper()
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	c := tls.Client(d.conn, config)
	if err := c.Handshake(); err != nil {
		return err
	}
	d.conn, d.in = c, bufio.NewReader(c)
	return nil
}

// startTLS goes from the banner to a session under TLS, before EHLO.
func (d *dialog) startTLS(config *tls.Config) {
	d.t.Helper()
	d.reply()
	d.want("EHLO client.example", ehloOver("STARTTLS"), "STARTTLS", "220 2.0.0 Ready to start TLS")
	if err := d.secure(config); err != nil {
		d.t.Fatal(err)
	}
}

// ehloOver is the reply to EHLO in the clear, or under TLS.
func ehloOver(what string) string {
	list := "250-mail.example.com|250-PIPELINING|250-SIZE 10240000|250-VRFY|250-ETRN|"
	if what == "STARTTLS" {
		list += "250-STARTTLS|"
	}
	list += "250-ENHANCEDSTATUSCODES|250-8BITMIME|250-DSN|250-SMTPUTF8|"
	if what == "REQUIRETLS" {
		return list + "250-CHUNKING|250 REQUIRETLS"
	}
	return list + "250 CHUNKING"
}

func TestStartTLS(t *testing.T) {
	r, _ := tlsRig(t)
	d := r.dial("")
	d.startTLS(nil)
	d.want("MAIL FROM:<a@b.example> REQUIRETLS", "555 5.5.4 Unsupported option: REQUIRETLS", // EHLO first
		"EHLO client.example", ehloOver("REQUIRETLS"),
		"STARTTLS", "554 5.5.1 Error: TLS already active",
		"MAIL FROM:<a@b.example>", "250 2.1.0 Ok",
		"RCPT TO:<bob@virt.example>", "250 2.1.5 Ok",
		"DATA", "354 End data with <CR><LF>.<CR><LF>",
		"Subject: x\r\n\r\ny\r\n.", "250 2.0.0 Ok: queued as 4A5299A0001",
		"QUIT", "221 2.0.0 Bye")
	d.closed()
	if got := string(r.cleanup.done[0].lines); !strings.Contains(got, "with ESMTPS id ") || strings.Contains(got, "cipher") {
		t.Errorf("Received: %s", got)
	}
	log := r.log.String()
	for _, want := range []string{
		"Anonymous TLS connection established from localhost[127.0.0.1]: TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128/128 bits) key-exchange ",
		" server-signature ECDSA (prime256v1)\n", "ehlo=2 starttls=1/2 mail=1/2 ",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestStartTLSReplies(t *testing.T) {
	tests := []struct {
		name   string
		params []string
		pairs  []string
	}{
		{"argument", nil, []string{"EHLO c.example", ehloOver("STARTTLS"), "STARTTLS now", "501 5.5.4 Syntax: STARTTLS"}},
		{"off", []string{"smtpd_tls_security_level=none"}, []string{"EHLO c.example", ehloOver(""),
			"STARTTLS", "502 5.5.1 Error: command not implemented",
			"MAIL FROM:<a@b.example> REQUIRETLS", "555 5.5.4 Unsupported option: REQUIRETLS"}},
		{"discarded", []string{"smtpd_discard_ehlo_keywords=starttls, silent-discard"}, []string{"EHLO c.example", ehloOver(""),
			"STARTTLS", "502 5.5.1 Error: command not implemented"}},
		{"no certificate", []string{"smtpd_tls_chain_files="}, []string{"EHLO c.example", ehloOver(""),
			"STARTTLS", "454 4.7.0 TLS not available due to local problem", "MAIL FROM:<a@b.example>", "250 2.1.0 Ok"}},
		{"required", []string{"smtpd_tls_security_level=encrypt"}, []string{"EHLO c.example", ehloOver("STARTTLS"),
			"MAIL FROM:<a@b.example> REQUIRETLS", "530 5.7.0 Must issue a STARTTLS command first",
			"VRFY x", "530 5.7.0 Must issue a STARTTLS command first", "NOOP", "250 2.0.0 Ok",
			"BDAT 6 LAST\r\nNOOP", "530 5.7.0 Must issue a STARTTLS command first", "QUIT", "221 2.0.0 Bye"}},
		{"required, and where the chunk ends is not clear", []string{"smtpd_tls_security_level=encrypt"}, []string{
			"BDAT 6 \xff\r\nQUIT", "521 5.5.4 Syntax: BDAT count [LAST]", "", "EOF"}},
		{"required, no certificate", []string{"smtpd_tls_security_level=encrypt", "smtpd_tls_chain_files="}, []string{"EHLO c.example", ehloOver(""),
			"MAIL FROM:<a@b.example>", "530 5.7.0 Must issue a STARTTLS command first"}},
		{"older parameters", []string{"smtpd_tls_security_level=", "smtpd_use_tls=yes"}, []string{"EHLO c.example", ehloOver("STARTTLS")}},
		{"level of the client", []string{"smtpd_tls_security_level=verify"}, []string{"EHLO c.example", ehloOver("STARTTLS"),
			"MAIL FROM:<a@b.example>", "530 5.7.0 Must issue a STARTTLS command first"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := tlsRig(t, tt.params...)
			d := r.dial("")
			d.reply()
			d.want(tt.pairs...)
		})
	}
}

func TestRequireTLSParameter(t *testing.T) {
	const from = "MAIL FROM:<a@b.example>"
	unsupported := func(p string) string { return "555 5.5.4 Unsupported option: " + p }
	tests := []struct{ name, hello, param, reply string }{
		{"as it should be", "EHLO", " REQUIRETLS", "250 2.1.0 Ok"},
		{"among others", "EHLO", " SIZE=1000 RequireTLS BODY=8BITMIME RET=FULL", "250 2.1.0 Ok"},
		{"twice", "EHLO", " REQUIRETLS REQUIRETLS", "501 5.5.4 Error: duplicate parameter: REQUIRETLS"},
		{"with a value", "EHLO", " REQUIRETLS=yes", unsupported("REQUIRETLS=yes")},
		{"with an empty value", "EHLO", " REQUIRETLS=", unsupported("REQUIRETLS=")},
		{"longer", "EHLO", " REQUIRETLSX", unsupported("REQUIRETLSX")},
		{"after HELO", "HELO", " REQUIRETLS", unsupported("REQUIRETLS")},
		{"unknown one after it", "EHLO", " REQUIRETLS FOOBAR", unsupported("FOOBAR")},
	}
	r, _ := tlsRig(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := r.dial("")
			d.startTLS(nil)
			d.say(tt.hello + " client.example")
			d.want(from+tt.param, tt.reply)
			if d.say("MAIL FROM:<> REQUIRETLS"); strings.HasPrefix(tt.reply, "250") {
				d.want("RCPT TO:<bob@virt.example> REQUIRETLS", unsupported("REQUIRETLS"))
			}
		})
	}
	for _, off := range []string{"requiretls_enable=no", "smtpd_discard_ehlo_keywords=requiretls,silent-discard",
		"smtpd_discard_ehlo_keyword_address_maps=cidr:{{127.0.0.0/8 RequireTLS silent-discard}}"} {
		r, _ := tlsRig(t, off)
		d := r.dial("")
		d.startTLS(nil)
		d.want("EHLO client.example", ehloOver(""), from+" REQUIRETLS", unsupported("REQUIRETLS"))
	}
}

func TestRequireTLSIsPassedOn(t *testing.T) {
	r, _ := tlsRig(t)
	d := r.dial("")
	d.startTLS(nil)
	for _, param := range []string{" REQUIRETLS", ""} {
		d.say("EHLO client.example")
		d.want("MAIL FROM:<a@b.example>"+param, "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", "250 2.1.5 Ok")
		d.say("DATA")
		d.say("\r\nx\r\n.")
	}
	d.say("QUIT")
	d.closed()
	with, without := r.cleanup.done[0], r.cleanup.done[1]
	if with.flags&mailproto.CleanupReqTLS == 0 || without.flags&mailproto.CleanupReqTLS != 0 {
		t.Errorf("flags %#x and %#x", with.flags, without.flags)
	}
	log := r.log.String()
	if !strings.Contains(log, with.id+": client=localhost[127.0.0.1], requiretls=yes\n") ||
		!strings.Contains(log, without.id+": client=localhost[127.0.0.1]\n") {
		t.Errorf("log:\n%s", log)
	}
}

// What comes in the clear behind STARTTLS is not a command (security-cases.md
// §2.D), and what was said before is forgotten.
func TestStartTLSInjection(t *testing.T) {
	for _, injected := range []string{"EHLO injected.example\r\n", "MAIL FROM:<inj@b.example>\r\nRCPT TO:<bob@virt.example>\r\n", "R"} {
		r, _ := tlsRig(t)
		d := r.dial("")
		d.reply()
		d.want("EHLO client.example", ehloOver("STARTTLS"),
			"MAIL FROM:<before@b.example>", "250 2.1.0 Ok", "RCPT TO:<bob@virt.example>", "250 2.1.5 Ok")
		d.want("STARTTLS\r\n"+strings.TrimSuffix(injected, "\r\n"), "220 2.0.0 Ready to start TLS")
		if err := d.secure(nil); err != nil {
			if injected != "R" {
				t.Fatalf("%q: %v", injected, err)
			}
			continue
		}
		// The first reply under TLS answers the first command under TLS.
		d.want("RCPT TO:<bob@virt.example>", "503 5.5.1 Error: need MAIL command",
			"EHLO client.example", ehloOver("REQUIRETLS"))
		if !strings.Contains(r.log.String(), "came in the clear after STARTTLS and are discarded") {
			t.Errorf("%q: nothing in the log", injected)
		}
		if len(r.cleanup.done) != 0 {
			t.Errorf("%q: a message was accepted", injected)
		}
	}
}

func TestWrapperMode(t *testing.T) {
	r, _ := tlsRig(t, "smtpd_tls_wrappermode=yes", "smtpd_tls_security_level=none")
	d := r.dial("")
	if err := d.secure(nil); err != nil {
		t.Fatal(err)
	}
	if got := d.reply(); got != strings.TrimSuffix(banner, "\r\n") {
		t.Errorf("greeting %q", got)
	}
	d.want("EHLO client.example", ehloOver("REQUIRETLS"), "MAIL FROM:<a@b.example> REQUIRETLS", "250 2.1.0 Ok")
	// A client that does not speak TLS.
	d = r.dial("")
	d.send("EHLO client.example\r\n")
	if got := d.reply(); !strings.Contains(got, "EOF") || strings.Contains(got, "250") {
		t.Errorf("plaintext was answered %q", got)
	}
}

func TestClientCertificates(t *testing.T) {
	r, authority := tlsRig(t, "smtpd_tls_ask_ccert=yes", "smtpd_tls_received_header=yes", "smtpd_tls_loglevel=2",
		"smtpd_relay_restrictions=permit_tls_clientcerts, permit_tls_all_clientcerts, reject_unauth_destination",
		"mynetworks=", "smtpd_recipient_restrictions=")
	known := ca.New(t, "Other CA").Issue(t, ca.Leaf{CN: "known.example", SelfSigned: true})
	withList, _ := tlsRig(t, "smtpd_tls_ask_ccert=yes", "mynetworks=", "smtpd_recipient_restrictions=",
		"smtpd_relay_restrictions=permit_tls_clientcerts, reject_unauth_destination",
		"relay_clientcerts=inline:{ "+ca.Fingerprint(known.Leaf)+"=known }")
	trusted := authority.Issue(t, ca.Leaf{CN: `evil") (x`})
	tests := []struct {
		name    string
		rig     *rig
		cert    *tls.Certificate
		reply   string
		line    string // of the Received header
		logLine string
	}{
		{"none", r, nil, "554 5.7.1 <x@elsewhere.example>: Relay access denied", "", "Anonymous TLS connection established from"},
		{"of a CA", r, &trusted, "250 2.1.5 Ok", `	(Client CN "evil?? ?x", Issuer "Test CA" (verified OK))`, "Trusted TLS connection established from"},
		{"unknown", r, &known, "554 5.7.1 <x@elsewhere.example>: Relay access denied", "", "Untrusted TLS connection established from"},
		{"in the table", withList, &known, "250 2.1.5 Ok", "", "Untrusted TLS connection established from"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := &tls.Config{InsecureSkipVerify: true}
			if tt.cert != nil {
				// Whatever CAs the server names.
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
			}
			d := tt.rig.dial("")
			d.startTLS(config)
			d.say("EHLO client.example")
			d.want("MAIL FROM:<a@b.example>", "250 2.1.0 Ok", "RCPT TO:<x@elsewhere.example>", tt.reply)
			if tt.line != "" {
				d.say("DATA")
				d.say("\r\n.")
				if got := string(tt.rig.cleanup.done[0].lines); !strings.Contains(got, tt.line+"\n") {
					t.Errorf("Received lacks %s:\n%s", tt.line, got)
				}
			}
			if log := tt.rig.log.String(); !strings.Contains(log, tt.logLine) {
				t.Errorf("the log lacks %q:\n%s", tt.logLine, log)
			}
		})
	}
}

func TestClientCertificateIsRequired(t *testing.T) {
	r, authority := tlsRig(t, "smtpd_tls_req_ccert=yes", "smtpd_tls_security_level=encrypt")
	good := authority.Issue(t, ca.Leaf{CN: "good.example"})
	bad := authority.Issue(t, ca.Leaf{CN: "bad.example", SelfSigned: true})
	tests := []struct {
		cert  *tls.Certificate
		reply string
	}{
		{nil, "421 4.7.1 mail.example.com Error: No client certificate presented"},
		{&bad, "421 4.7.1 mail.example.com Error: Client certificate not trusted"},
		{&good, ""},
	}
	for _, tt := range tests {
		config := &tls.Config{InsecureSkipVerify: true}
		if tt.cert != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
		}
		d := r.dial("")
		d.startTLS(config)
		if tt.reply == "" {
			d.want("EHLO c.example", ehloOver("REQUIRETLS"))
			continue
		}
		if got := d.reply(); got != tt.reply {
			t.Errorf("got %q, want %q", got, tt.reply)
		}
		d.closed()
		if want := "NOQUEUE: abort: TLS from localhost[127.0.0.1]: " + tt.reply[len("421 4.7.1 mail.example.com Error: "):]; !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// Where TLS is optional, a certificate is only asked for.
func TestClientCertificateCannotBeRequired(t *testing.T) {
	r, _ := tlsRig(t, "smtpd_tls_req_ccert=yes", "smtpd_tls_received_header=yes")
	d := r.dial("")
	d.startTLS(nil)
	d.want("EHLO c.example", ehloOver("REQUIRETLS"))
	if want := "warning: Can't require client certs unless TLS is required\n"; !strings.Contains(r.log.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, r.log.String())
	}
}

// A client that asks for a name gets the certificate for it, or for the nearest
// domain above it, or the usual one.
func TestServerNames(t *testing.T) {
	authority := ca.New(t, "Test CA")
	dir := t.TempDir()
	file := func(name string) string {
		return ca.WriteChain(t, filepath.Join(dir, name), authority.Issue(t, ca.Leaf{CN: name, Names: []string{name}}))
	}
	r, _ := tlsRig(t, "tls_server_sni_maps=inline:{ mx.one.example="+file("one")+", .two.example="+file("two")+" }")
	for _, tt := range []struct{ sni, cn string }{
		{"mx.one.example", "one"}, {"other.one.example", "mail.example.com"}, {"a.b.two.example", "two"},
		{"two.example", "mail.example.com"}, {"", "mail.example.com"},
	} {
		d := r.dial("")
		var got string
		d.startTLS(&tls.Config{InsecureSkipVerify: true, ServerName: tt.sni,
			VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
				cert, err := x509.ParseCertificate(raw[0])
				if err == nil {
					got = cert.Subject.CommonName
				}
				return err
			}})
		if got != tt.cn {
			t.Errorf("%q: certificate of %s, want %s", tt.sni, got, tt.cn)
		}
	}
	if log := r.log.String(); !strings.Contains(log, "from localhost[127.0.0.1] to mx.one.example: TLSv1.3") {
		t.Errorf("log:\n%s", log)
	}
	// A certificate that cannot be read is not replaced by another one, and the log says
	// which it is.
	r, _ = tlsRig(t, "tls_server_sni_maps=inline:{ mx.one.example=/nonexistent/key.pem }")
	d := r.dial("")
	d.reply()
	d.say("EHLO client.example")
	d.say("STARTTLS")
	if err := d.secure(&tls.Config{InsecureSkipVerify: true, ServerName: "mx.one.example"}); err == nil {
		t.Error("there was a certificate")
	}
	<-d.done
	for _, want := range []string{`warning: no certificate for the name "mx.one.example" that a client asks for: open /nonexistent/key.pem: no such file or directory`,
		"SSL_accept error from localhost[127.0.0.1]: open /nonexistent/key.pem: no such file or directory\n"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, r.log.String())
		}
	}
}

// A drain of the worker reaches idle sessions under TLS too.
func TestDrainUnderTLS(t *testing.T) {
	r, _ := tlsRig(t)
	d := r.dial("")
	d.startTLS(nil)
	d.say("EHLO client.example")
	close(r.drain)
	if got := d.reply(); got != "421 4.3.2 mail.example.com Service is restarting, try again later" {
		t.Errorf("got %q", got)
	}
	d.closed()
}

// Key and certificate that are replaced one after the other are read when both are
// there; a key that stays wrong is an error in the end.
func TestKeyAndCertificateSettle(t *testing.T) {
	calls := 0
	load := func() (tlsconn.Certificates, error) {
		if calls++; calls < 3 {
			return tlsconn.Certificates{}, fmt.Errorf("key.pem: %w", tlsconn.ErrMismatch)
		}
		return tlsconn.Certificates{}, nil
	}
	if _, err := (&opener{}).settled(load); err != nil || calls != 3 {
		t.Errorf("%v after %d attempts", err, calls)
	}
	calls = -1 << 30
	late := &opener{settleBy: time.Now().Add(-time.Second)}
	if _, err := late.settled(load); !errors.Is(err, tlsconn.ErrMismatch) {
		t.Errorf("error %v", err)
	}
}

// A drain that comes during the handshake lets it end, and is told after it.
func TestDrainDuringHandshake(t *testing.T) {
	for range 20 { // the drain and the handshake race
		r, _ := tlsRig(t)
		d := r.dial("")
		d.reply()
		d.want("EHLO client.example", ehloOver("STARTTLS"), "STARTTLS", "220 2.0.0 Ready to start TLS")
		close(r.drain)
		if err := d.secure(nil); err != nil {
			t.Fatal(err)
		}
		if got := d.reply(); got != "421 4.3.2 mail.example.com Service is restarting, try again later" {
			t.Fatalf("got %q", got)
		}
		d.closed()
	}
}

func TestHandshakeThatFails(t *testing.T) {
	r, _ := tlsRig(t, "smtpd_starttls_timeout=1s")
	for _, tt := range []struct {
		name   string
		then   func(net.Conn)
		reason string
		log    string
	}{
		{"garbage", func(c net.Conn) { c.Write([]byte("EHLO again\r\n")) }, "tls: first record does not look like a TLS handshake", "lost connection after STARTTLS from localhost[127.0.0.1]"},
		{"silence", func(net.Conn) {}, "Connection timed out", "timeout after STARTTLS from localhost[127.0.0.1]"},
		{"gone", func(c net.Conn) { c.Close() }, "lost connection", "lost connection after STARTTLS from localhost[127.0.0.1]"},
		{"reset", func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }, "Connection reset by peer", "lost connection after STARTTLS from localhost[127.0.0.1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := r.dial("")
			d.reply()
			d.say("EHLO client.example")
			d.say("STARTTLS")
			before := len(r.log.String())
			tt.then(d.conn)
			select {
			case <-d.done:
			case <-time.After(20 * time.Second):
				t.Fatal("the session goes on")
			}
			if log := r.log.String()[before:]; !strings.Contains(log, "SSL_accept error from localhost[127.0.0.1]: "+tt.reason+"\n") || !strings.Contains(log, tt.log) {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}
