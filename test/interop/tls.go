package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var tlsScenarios = []scenario{
	{"openssl s_client: STARTTLS, chain, name, resumption, a client certificate", "openssl", opensslClient},
	{"swaks submits over STARTTLS and in wrapper mode", "swaks", swaksOverTLS},
	{"sslscan finds the versions and ciphers that are configured, and no others", "sslscan", scanned},
	{"Debian's Postfix relays to us at may, encrypt, verify, secure and fingerprint", postfixMaster, postfixOverTLS},
}

// tlsFiles are certificates that openssl(1) made: of a CA, of a server mx.ours.test
// and of a client.
type tlsFiles struct{ ca, server, client string }

// authority makes certificates.
func authority(ctx context.Context, s *stage) (tlsFiles, error) {
	path := func(name string) string { return filepath.Join(s.dir, name) }
	f := tlsFiles{ca: path("ca.pem"), server: path("server.pem"), client: path("client.pem")}
	common := []string{"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"}
	if _, err := run(ctx, nil, append(common, "-subj", "/CN=Interop CA", "-keyout", path("ca.key"), "-out", f.ca)...); err != nil {
		return f, err
	}
	for _, leaf := range []struct{ file, name string }{{f.server, "mx.ours.test"}, {f.client, "client.test"}} {
		key, cert := leaf.file+".key", leaf.file+".crt"
		if _, err := run(ctx, nil, append(common, "-CA", f.ca, "-CAkey", path("ca.key"), "-subj", "/CN="+leaf.name,
			"-addext", "subjectAltName=DNS:"+leaf.name, "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert)...); err != nil {
			return f, err
		}
		var chain []byte
		for _, part := range []string{key, cert} {
			text, err := os.ReadFile(part)
			if err != nil {
				return f, err
			}
			chain = append(chain, text...)
		}
		if err := os.WriteFile(leaf.file, chain, 0o600); err != nil {
			return f, err
		}
	}
	return f, nil
}

// tlsReceiver is a running system of ours that offers STARTTLS, and wrapper mode
// at port 4465.
func tlsReceiver(ctx context.Context, s *stage, f tlsFiles, params map[string]string) (*system, error) {
	all := map[string]string{
		"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f.server, "smtpd_tls_CAfile": f.ca,
		"smtpd_tls_loglevel": "1", "smtpd_tls_received_header": "yes",
	}
	for k, v := range params {
		all[k] = v
	}
	m, err := s.ours("ours", all)
	if err != nil {
		return nil, err
	}
	m.Services = append(m.Services, m.IP+":4465 inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes")
	if err := m.WriteConfig(); err != nil {
		return nil, err
	}
	return m, m.Start(ctx)
}

func opensslClient(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	m, err := tlsReceiver(ctx, s, f, map[string]string{
		"smtpd_tls_ask_ccert": "yes", "smtpd_forbid_unauth_pipelining": "no"})
	if err != nil {
		return err
	}
	client := []string{"openssl", "s_client", "-connect", m.SMTP(), "-starttls", "smtp", "-CAfile", f.ca,
		"-verify_hostname", "mx.ours.test", "-verify_return_error", "-crlf"}
	session := filepath.Join(s.dir, "session")
	for _, c := range []struct {
		what string
		args []string
		say  []string // of openssl
		log  string   // of ours
	}{
		{"TLS 1.3", []string{"-tls1_3", "-sess_out", session}, []string{"Verify return code: 0 (ok)", "250 REQUIRETLS", "221 2.0.0 Bye"},
			`Anonymous TLS connection established from .*: TLSv1\.3 with cipher TLS_AES_`},
		{"TLS 1.3 resumed", []string{"-tls1_3", "-sess_in", session}, []string{"Reused, TLSv1.3", "221 2.0.0 Bye"},
			`Anonymous TLS connection established from .*: TLSv1\.3`},
		{"TLS 1.2", []string{"-tls1_2"}, []string{"Verify return code: 0 (ok)", "ECDHE-ECDSA-", "221 2.0.0 Bye"},
			`Anonymous TLS connection established from .*: TLSv1\.2 with cipher ECDHE-ECDSA-`},
		{"a client certificate", []string{"-cert", f.client, "-key", f.client}, []string{"221 2.0.0 Bye"},
			`Trusted TLS connection established from`},
	} {
		mark := m.Log.Mark()
		// With -ign_eof it stays until the server hangs up, and the "Q" of QUIT is not
		// a command to itself.
		out, err := run(ctx, strings.NewReader("EHLO client.test\nQUIT\n"), append(append(client[:len(client):len(client)], "-ign_eof"), c.args...)...)
		if err != nil {
			return fmt.Errorf("%s: %w%s", c.what, err, logs(m))
		}
		if strings.Contains(out, "unexpected eof") {
			return fmt.Errorf("%s: the server does not end TLS in order:\n%s", c.what, out)
		}
		if err := contains(c.what, out, c.say...); err != nil {
			return err
		}
		if _, err := m.Log.Wait(ctx, mark, c.log); err != nil {
			return fmt.Errorf("%s: %w%s", c.what, err, logs(m))
		}
	}
	return nil
}

func swaksOverTLS(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	m, err := tlsReceiver(ctx, s, f, nil)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what string
		args []string
	}{
		{"STARTTLS", []string{"--server", m.IP, "--port", "2525", "--tls"}},
		{"wrapper mode", []string{"--server", m.IP, "--port", "4465", "--tlsc"}},
	} {
		args := append([]string{"swaks", "--from", "alice@sender.test", "--to", "bob@ours.test", "--helo", "client.test"}, c.args...)
		out, err := run(ctx, nil, args...)
		if strings.Contains(out, "requires Net::SSLeay") {
			return fmt.Errorf("Net::SSLeay for swaks is %w (Debian package libnet-ssleay-perl)", errAbsent)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		got, err := m.delivered(ctx, "bob")
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		if err := contains(c.what, got, "\n\t(using TLSv1.3 with cipher TLS_", "\n\t(No client certificate requested)\n", " with ESMTPS id "); err != nil {
			return err
		}
	}
	return nil
}

// accepted finds the lines of sslscan about what a server takes.
var accepted = regexp.MustCompile(`(?m)^(?:Accepted|Preferred)\s+(\S+)\s+\d+ bits\s+(\S+)`)

func scanned(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	m, err := tlsReceiver(ctx, s, f, map[string]string{
		"smtpd_tls_protocols": ">=TLSv1.2", "smtpd_tls_exclude_ciphers": "CHACHA20, SHA1",
		"smtpd_hard_error_limit": "1000", "smtpd_error_sleep_time": "0",
	})
	if err != nil {
		return err
	}
	out, err := run(ctx, nil, "sslscan", "--starttls-smtp", "--no-colour", m.SMTP())
	if err != nil {
		return err
	}
	if err := contains("sslscan", out, "not vulnerable to heartbleed", "Subject:  mx.ours.test"); err != nil {
		return err
	}
	seen := make(map[string]int)
	for _, hit := range accepted.FindAllStringSubmatch(out, -1) {
		version, cipher := hit[1], hit[2]
		seen[version]++
		if version != "TLSv1.2" && version != "TLSv1.3" {
			return fmt.Errorf("%s is accepted:\n%s", version, out)
		}
		if version == "TLSv1.2" && (strings.Contains(cipher, "CHACHA20") || strings.HasSuffix(cipher, "-SHA")) {
			return fmt.Errorf("%s is accepted:\n%s", cipher, out)
		}
	}
	if seen["TLSv1.2"] == 0 || seen["TLSv1.3"] == 0 {
		return fmt.Errorf("versions %v:\n%s", seen, out)
	}
	return nil
}

func postfixOverTLS(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	ours, err := tlsReceiver(ctx, s, f, nil)
	if err != nil {
		return err
	}
	debian, err := s.debian("debian", map[string]string{
		"transport_maps":    fmt.Sprintf("inline:{ { ours.test = smtp:[%s]:2525 } }", ours.IP),
		"smtp_tls_CAfile":   f.ca,
		"smtp_tls_loglevel": "1", "smtp_tls_fingerprint_digest": "sha256",
	})
	if err != nil {
		return err
	}
	if err := debian.Start(ctx); err != nil {
		return err
	}
	print, err := run(ctx, nil, "openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", f.server)
	if err != nil {
		return err
	}
	_, digest, _ := strings.Cut(strings.TrimSpace(print), "=")
	for _, c := range []struct{ policy, state string }{
		{"may", "Trusted"},
		{"encrypt", "Trusted"},
		{"verify match=mx.ours.test", "Verified"},
		{"secure match=mx.ours.test protocols=TLSv1.2", "Verified"},
		{"fingerprint match=" + digest, "Verified"},
	} {
		if err := debian.set(ctx, fmt.Sprintf("smtp_tls_policy_maps=inline:{ { [%s]:2525 = %s } }", ours.IP, c.policy)); err != nil {
			return err
		}
		mark := debian.Log.Mark()
		if err := debian.send(ctx, envelope{from: "alice@debian.test", to: "bob@ours.test"}, letter("tls", "text\n")); err != nil {
			return err
		}
		got, err := ours.delivered(ctx, "bob")
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", c.policy, err), errors.New(logs(debian)))
		}
		if err := contains(c.policy, got, "\n\t(using TLSv1.", " with ESMTPS id "); err != nil {
			return err
		}
		if _, err := debian.Log.Wait(ctx, mark, c.state+` TLS connection established to `); err != nil {
			return fmt.Errorf("%s: %w%s", c.policy, err, logs(debian, ours))
		}
	}
	// A name that the certificate does not have: nothing is said over that connection.
	if err := debian.set(ctx, fmt.Sprintf("smtp_tls_policy_maps=inline:{ { [%s]:2525 = secure match=other.test } }", ours.IP)); err != nil {
		return err
	}
	mark := debian.Log.Mark()
	if err := debian.send(ctx, envelope{from: "alice@debian.test", to: "bob@ours.test"}, letter("wrong", "text\n")); err != nil {
		return err
	}
	if _, err := debian.Log.Wait(ctx, mark, `status=deferred \(Server certificate not verified\)`); err != nil {
		return fmt.Errorf("wrong name: %w%s", err, logs(debian, ours))
	}
	return nil
}
