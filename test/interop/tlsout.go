package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mail from us to Debian's Postfix over TLS.
var tlsOutScenarios = []scenario{
	{"we relay to Debian's Postfix at may, encrypt, verify, secure and fingerprint", postfixMaster, oursOverTLS},
	{"DANE: a zone signed by ldns, served by NSD, validated by Unbound; Debian's Postfix has the certificate", "unbound", oursOverDANE},
	{"LMTP to Dovecot over STARTTLS", "dovecot", lmtpOverTLS},
	{"DANE: a zone that does not validate defers", "unbound", oursOverBogusDNS},
}

func oursOverTLS(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	debian, err := s.debian("debian", map[string]string{
		"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f.server, "smtpd_tls_received_header": "yes",
	})
	if err != nil {
		return err
	}
	ours, err := s.ours("ours", map[string]string{
		"smtp_tls_CAfile": f.ca, "smtp_tls_loglevel": "1",
		"transport_maps": fmt.Sprintf("inline:{ { debian.test = smtp:[%s]:2525 } }", debian.IP),
	})
	if err != nil {
		return err
	}
	if err := debian.Start(ctx); err != nil {
		return err
	}
	if err := ours.Start(ctx); err != nil {
		return err
	}
	print, err := run(ctx, nil, "openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", f.server)
	if err != nil {
		return err
	}
	_, digest, _ := strings.Cut(strings.TrimSpace(print), "=")
	send := func(policy, want string) error {
		if err := ours.set(ctx, fmt.Sprintf("smtp_tls_policy_maps=inline:{ { [%s]:2525 = %s } }", debian.IP, policy)); err != nil {
			return err
		}
		mark := ours.Log.Mark()
		if err := ours.send(ctx, envelope{from: "alice@ours.test", to: "bob@debian.test"}, letter("tls", "text\n")); err != nil {
			return err
		}
		if _, err := ours.Log.Wait(ctx, mark, want); err != nil {
			return fmt.Errorf("%s: %w%s", policy, err, logs(ours, debian))
		}
		return nil
	}
	for _, c := range []struct{ policy, level string }{
		{"may", "may"}, {"encrypt", "encrypt"}, {"verify match=mx.ours.test", "verify"},
		{"secure match=mx.ours.test protocols=TLSv1.2", "secure"}, {"fingerprint match=" + digest, "fingerprint"},
	} {
		if err := send(c.policy, "tls="+c.level+`, dsn=2\.0\.0, status=sent`); err != nil {
			return err
		}
		got, err := debian.delivered(ctx, "bob")
		if err != nil {
			return fmt.Errorf("%s: %w%s", c.policy, err, logs(ours, debian))
		}
		if err := contains(c.policy, got, "(using TLSv1.", " with ESMTPS id "); err != nil {
			return err
		}
	}
	return send("secure match=other.test", `tls=!secure, dsn=4\.7\.5, status=deferred \(Server certificate not verified\)`)
}

// lmtpOverTLS delivers to Dovecot, over STARTTLS, at level verify.
func lmtpOverTLS(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	mail := filepath.Join(s.dir, "mail")
	if err := os.Mkdir(mail, 0o777); err != nil {
		return err
	}
	if err := os.Chown(mail, nobody, nobody); err != nil {
		return err
	}
	conf := filepath.Join(s.dir, "dovecot.conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf(`protocols = lmtp
base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = /dev/stderr
ssl = yes
ssl_cert = <%[2]s.crt
ssl_key = <%[2]s.key
mail_location = maildir:%[3]s/%%n
first_valid_uid = 1
first_valid_gid = 1
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[4]d
  }
}
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=%[5]d gid=%[5]d home=%[3]s/%%n
}
`, s.dir, f.server, mail, port, nobody)), 0o644); err != nil {
		return err
	}
	if err := s.daemonOf("dovecot", "-F", "-c", conf); err != nil {
		return err
	}
	if err := reachable(ctx, fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return err
	}
	ours, err := s.ours("ours", map[string]string{
		"lmtp_tls_security_level": "verify", "lmtp_tls_CAfile": f.ca, "lmtp_tls_loglevel": "1",
		"lmtp_tls_verify_cert_match": "mx.ours.test",
		"transport_maps":             fmt.Sprintf("inline:{ { dovecot.test = lmtp:inet:[127.0.0.1]:%d } }", port),
	})
	if err != nil {
		return err
	}
	if err := ours.Start(ctx); err != nil {
		return err
	}
	for _, c := range []struct{ match, want string }{
		{"mx.ours.test", `tls=verify, dsn=2\.0\.0, status=sent`},
		{"other.test", `tls=!verify, dsn=4\.7\.5, status=deferred`},
	} {
		if err := ours.set(ctx, "lmtp_tls_verify_cert_match="+c.match); err != nil {
			return err
		}
		mark := ours.Log.Mark()
		if err := ours.send(ctx, envelope{from: "alice@ours.test", to: "bob@dovecot.test"}, letter("lmtp", "text\n")); err != nil {
			return err
		}
		if _, err := ours.Log.Wait(ctx, mark, c.want); err != nil {
			return fmt.Errorf("%s: %w%s", c.match, err, logs(ours))
		}
	}
	found, err := filepath.Glob(filepath.Join(mail, "bob", "new", "*"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d messages in the mailbox, want 1 (%v)", len(found), err)
	}
	return nil
}
