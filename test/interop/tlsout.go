package main

import (
	"context"
	"fmt"
	"strings"
)

// Mail from us to Debian's Postfix over TLS.
var tlsOutScenarios = []scenario{
	{"we relay to Debian's Postfix at may, encrypt, verify, secure and fingerprint", postfixMaster, oursOverTLS},
	{"DANE: a zone signed by ldns, served by NSD, validated by Unbound; Debian's Postfix has the certificate", "unbound", oursOverDANE},
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
