package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/selfsigned"
)

var stsScenarios = []scenario{
	{"MTA-STS: postfix-mta-sts-resolver answers for policies on a local HTTPS server", "mta-sts-daemon", oursOverSTS},
}

// Addresses of loopback with the ports that DNS and HTTPS have.
const (
	stsNames  = "127.53.0.53:53"
	stsPolicy = "127.53.0.54"
)

// stsDomains are domains with an STS policy in mode enforce, each with the name of
// the MX host that it permits.
var stsDomains = map[string]string{"debian.test": "mx.ours.test", "wrong.test": "elsewhere.test"}

// oursOverSTS asks the plug-in about a domain whose MX host its policy names, and
// about one whose policy names another.
func oursOverSTS(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	debian, err := s.debian("debian", map[string]string{"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f.server})
	if err != nil {
		return err
	}
	trusted, err := s.policyServer()
	if err != nil {
		return err
	}
	zone := fmt.Sprintf("mx.ours.test. A %s\n", debian.IP)
	for domain := range stsDomains {
		zone += fmt.Sprintf("%s. MX 10 mx.ours.test.\n_mta-sts.%[1]s. TXT \"v=STSv1; id=1\"\nmta-sts.%[1]s. A %s\n", domain, stsPolicy)
	}
	names, err := dnstest.Start(dnstest.Config{Listen: stsNames, Zone: zone})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { names.Close(); return nil })
	addr, err := s.plugIn(ctx, trusted)
	if err != nil {
		return err
	}
	ours, err := s.ours("ours", map[string]string{
		"dns_servers": stsNames, "smtp_host_lookup": "dns", "smtp_tls_security_level": "may", "smtp_tls_CAfile": f.ca,
		"smtp_tls_policy_maps": "socketmap:inet:" + addr + ":postfix", "smtp_tls_loglevel": "1",
	})
	if err != nil {
		return err
	}
	if err := errors.Join(debian.Start(ctx), ours.Start(ctx)); err != nil {
		return err
	}
	for _, c := range []struct{ to, want string }{
		{"bob@debian.test", `to=<bob@debian\.test>, relay=mx\.ours\.test.* tls=secure, dsn=2\.0\.0, status=sent`},
		{"bob@wrong.test", `to=<bob@wrong\.test>, .*tls=!secure, dsn=4\.7\.5, status=deferred \(Server certificate not verified\)`},
	} {
		mark := ours.Log.Mark()
		if err := ours.send(ctx, envelope{from: "alice@ours.test", to: c.to}, letter("sts", "text\n")); err != nil {
			return err
		}
		if _, err := ours.Log.Wait(ctx, mark, c.want); err != nil {
			return fmt.Errorf("%s: %w%s", c.to, err, logs(ours, debian))
		}
	}
	_, err = debian.delivered(ctx, "bob")
	return err
}

// policyServer serves the policies over HTTPS and gives the file with the
// certificate to trust.
func (s *stage) policyServer() (trusted string, err error) {
	var hosts []string
	for domain := range stsDomains {
		hosts = append(hosts, "mta-sts."+domain)
	}
	cert, err := selfsigned.New(hosts...)
	if err != nil {
		return "", err
	}
	trusted = filepath.Join(s.dir, "https.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Leaf.Raw})
	if err := os.WriteFile(trusted, text, 0o644); err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", stsPolicy+":443")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mx := stsDomains[strings.TrimPrefix(r.Host, "mta-sts.")]
		if mx == "" || r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "version: STSv1\r\nmode: enforce\r\nmx: %s\r\nmax_age: 86400\r\n", mx)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert.Certificate}})) // until it is closed
	}()
	s.closers = append(s.closers, func() error {
		err := server.Close()
		<-done
		return err
	})
	return trusted, nil
}

// plugIn starts the daemon with a resolv.conf of its own and gives its address.
func (s *stage) plugIn(ctx context.Context, trusted string) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	host, _, _ := net.SplitHostPort(stsNames)
	resolv, conf := filepath.Join(s.dir, "resolv.conf"), filepath.Join(s.dir, "sts.yml")
	if err := os.WriteFile(resolv, []byte("nameserver "+host+"\n"), 0o644); err != nil {
		return "", err
	}
	text := fmt.Sprintf("host: 127.0.0.1\nport: %d\nreuse_port: true\ncache:\n  type: internal\ndefault_zone:\n  strict_testing: false\n  timeout: 4\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return "", err
	}
	script := fmt.Sprintf("mount --bind %s /etc/resolv.conf && SSL_CERT_FILE=%s exec mta-sts-daemon -c %s", resolv, trusted, conf)
	if err := s.daemonOf("unshare", "-m", "sh", "-c", script); err != nil {
		return "", err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return addr, reachable(ctx, addr)
}
