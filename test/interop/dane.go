package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// daemonOf starts a program in the foreground that ends with the stage.
func (s *stage) daemonOf(args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	log, err := os.Create(filepath.Join(s.dir, filepath.Base(args[0])+".log"))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error {
		// It is told to end; how it does is its own matter.
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		return nil
	})
	return nil
}

// freePort is a port of loopback that was free a moment ago, for UDP and TCP.
func freePort() (int, error) {
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			u.Close()
			return port, nil
		}
	}
	return 0, errors.New("no port is free for UDP and TCP")
}

// signedZone serves the zone NAME.test, signed, and gives the address of a resolver that
// validates it. wrong: it trusts another key, so that everything is bogus.
func (s *stage) signedZone(ctx context.Context, name, records string, wrong bool) (string, error) {
	for _, program := range []string{"nsd", "ldns-signzone"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%w: %s", errAbsent, program)
		}
	}
	dir := filepath.Join(s.dir, "dns")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	origin := name + ".test."
	zone := filepath.Join(dir, "zone")
	text := fmt.Sprintf("$ORIGIN %s\n$TTL 60\n@ SOA ns.%[1]s hostmaster.%[1]s 1 3600 600 86400 60\n@ NS ns.%[1]s\nns A 127.0.0.1\n%[2]s", origin, records)
	if err := os.WriteFile(zone, []byte(text), 0o644); err != nil {
		return "", err
	}
	var keys []string
	for range 2 {
		out, err := run(ctx, nil, "sh", "-c", "cd "+dir+" && ldns-keygen -k -a ECDSAP256SHA256 -r /dev/urandom "+origin)
		if err != nil {
			return "", err
		}
		keys = append(keys, filepath.Join(dir, strings.TrimSpace(out)))
	}
	if _, err := run(ctx, nil, "ldns-signzone", "-n", "-o", origin, zone, keys[0]); err != nil {
		return "", err
	}
	anchor := keys[0]
	if wrong {
		anchor = keys[1]
	}
	return s.nameServers(ctx, dir, origin, zone+".signed", anchor+".key")
}

// nameServers starts NSD and Unbound.
func (s *stage) nameServers(ctx context.Context, dir, origin, zone, anchor string) (string, error) {
	authPort, err := freePort()
	if err != nil {
		return "", err
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	nsd := filepath.Join(dir, "nsd.conf")
	if err := os.WriteFile(nsd, []byte(fmt.Sprintf("server:\n ip-address: 127.0.0.1@%d\n username: \"\"\n chroot: \"\"\n zonesdir: %q\n pidfile: \"\"\n"+
		" xfrdfile: %[2]q\n zonelistfile: %[3]q\n xfrdir: %[2]q\n server-count: 1\nremote-control:\n control-enable: no\nzone:\n name: %[4]q\n zonefile: %[5]q\n",
		authPort, dir, filepath.Join(dir, "zone.list"), origin, zone)), 0o644); err != nil {
		return "", err
	}
	unbound := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(unbound, []byte(fmt.Sprintf("server:\n interface: 127.0.0.1@%d\n username: \"\"\n chroot: \"\"\n directory: %q\n pidfile: \"\"\n use-syslog: no\n"+
		" do-not-query-localhost: no\n module-config: \"validator iterator\"\n trust-anchor-file: %q\n local-zone: \"test.\" nodefault\n"+
		"remote-control:\n control-enable: no\nstub-zone:\n name: %q\n stub-addr: 127.0.0.1@%d\n", port, dir, anchor, origin, authPort)), 0o644); err != nil {
		return "", err
	}
	if err := errors.Join(s.daemonOf("nsd", "-d", "-c", nsd), s.daemonOf("unbound", "-d", "-c", unbound)); err != nil {
		return "", err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return addr, errors.Join(reachable(ctx, fmt.Sprintf("127.0.0.1:%d", authPort)), reachable(ctx, addr))
}

// reachable waits until something listens.
func reachable(ctx context.Context, addr string) error {
	return until(ctx, func() error { return connectable("tcp", addr) })
}

// connectable reports whether somebody accepts connections there.
func connectable(network, addr string) error {
	c, err := net.Dial(network, addr)
	if err != nil {
		return fmt.Errorf("%s: %w", addr, err)
	}
	return c.Close()
}

// until tries again and again for some seconds, until it works.
func until(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// oursOverDANE: TLSA records in a zone that is signed for real.
func oursOverDANE(ctx context.Context, s *stage) error {
	f, err := authority(ctx, s)
	if err != nil {
		return err
	}
	digest, err := run(ctx, nil, "sh", "-c", "openssl x509 -in "+f.server+" -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1")
	if err != nil {
		return err
	}
	debian, err := s.debian("debian", map[string]string{"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f.server})
	if err != nil {
		return err
	}
	record := func(name, host, data string) string {
		zone := fmt.Sprintf("%s MX 10 %s\n%[2]s A %[3]s\n", name, host, debian.IP)
		if data != "" {
			zone += fmt.Sprintf("_2525._tcp.%s TLSA 3 1 1 %s\n", host, data)
		}
		return zone
	}
	addr, err := s.signedZone(ctx, "debian", record("@", "mx", strings.TrimSpace(digest))+
		record("bad", "mxbad", strings.Repeat("ab", 32))+record("plain", "mxplain", ""), false)
	if err != nil {
		return err
	}
	ours, err := s.ours("ours", map[string]string{
		"dns_servers": addr, "dns_servers_authentic": "yes", "smtp_host_lookup": "dns", "smtp_dns_support_level": "dnssec",
		"smtp_tls_security_level": "dane", "smtp_tls_loglevel": "1",
		"transport_maps": "inline:{ { debian.test = smtp:debian.test:2525 }, { bad.debian.test = smtp:bad.debian.test:2525 }, { plain.debian.test = smtp:plain.debian.test:2525 } }",
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
	for _, c := range []struct{ to, want string }{
		{"bob@debian.test", `Verified TLS connection established to mx\.debian\.test`},
		{"bob@debian.test", `tls=dane, dsn=2\.0\.0, status=sent`},
		{"bob@bad.debian.test", `tls=!dane, dsn=4\.7\.5, status=deferred \(Server certificate not verified\)`},
		{"bob@plain.debian.test", `tls=may, `}, // Debian's system does not know the domain
	} {
		mark := ours.Log.Mark()
		if err := ours.send(ctx, envelope{from: "alice@ours.test", to: c.to}, letter("dane", "text\n")); err != nil {
			return err
		}
		if _, err := ours.Log.Wait(ctx, mark, c.want); err != nil {
			return fmt.Errorf("%s: %w%s", c.to, err, logs(ours, debian))
		}
	}
	out, err := run(ctx, nil, filepath.Join(s.bin, "posttls-finger"), "-c", "-o", "dns_servers="+addr, "-o", "dns_servers_authentic=yes",
		"-o", "inet_protocols=ipv4", "debian.test:2525")
	if err != nil {
		return fmt.Errorf("posttls-finger: %w\n%s", err, out)
	}
	return contains("posttls-finger", out, "name authentic, address authentic", "matched: yes", "mail would be sent (tls=dane)")
}

// oursOverBogusDNS: records that do not validate defer, and nothing goes in the clear.
func oursOverBogusDNS(ctx context.Context, s *stage) error {
	addr, err := s.signedZone(ctx, "debian", "@ MX 10 mx\nmx A 127.0.0.1\n", true)
	if err != nil {
		return err
	}
	ours, err := s.ours("ours", map[string]string{
		"dns_servers": addr, "dns_servers_authentic": "yes", "smtp_host_lookup": "dns", "smtp_dns_support_level": "dnssec",
		"smtp_tls_security_level": "dane",
	})
	if err != nil {
		return err
	}
	if err := ours.Start(ctx); err != nil {
		return err
	}
	mark := ours.Log.Mark()
	if err := ours.send(ctx, envelope{from: "alice@ours.test", to: "bob@debian.test"}, letter("bogus", "text\n")); err != nil {
		return err
	}
	if _, err := ours.Log.Wait(ctx, mark, `relay=none, .*dsn=4\.4\.3, status=deferred`); err != nil {
		return fmt.Errorf("%w%s", err, logs(ours))
	}
	return nil
}
