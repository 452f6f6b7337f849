package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/ca"
)

// server greets, knows EHLO and STARTTLS, and notes any other command.
func server(t *testing.T, cert *tls.Certificate, wrapper bool) (port string, others *sync.Map) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	others = &sync.Map{}
	config := &tls.Config{}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if wrapper {
				c = tls.Server(c, config)
			}
			wg.Go(func() { defer c.Close(); talk(c, cert != nil, config, others) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port, others
}

func talk(c net.Conn, offer bool, config *tls.Config, others *sync.Map) {
	fmt.Fprint(c, "220 mx.b.test ESMTP\r\n")
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		_, secret := c.(*tls.Conn)
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "EHLO", "LHLO":
			if offer && !secret {
				fmt.Fprint(c, "250-mx.b.test\r\n250 STARTTLS\r\n")
			} else {
				fmt.Fprint(c, "250-mx.b.test\r\n250 REQUIRETLS\r\n")
			}
		case "STARTTLS":
			fmt.Fprint(c, "220 go\r\n")
			c = tls.Server(c, config)
			r = bufio.NewReader(c)
		case "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			others.Store(verb, true)
			return
		}
	}
}

func TestProbe(t *testing.T) {
	t.Setenv("MAIL_CONFIG", t.TempDir())
	a := ca.New(t, "Test CA")
	roots := a.WriteCert(t, t.TempDir())
	right := a.Issue(t, ca.Leaf{Names: []string{"mx.b.test"}, CN: "mx"})
	match, mismatch := "3 1 1 "+ca.SPKI(right.Leaf), "3 1 1 "+strings.Repeat("ab", 32)
	for _, tc := range []struct {
		name     string
		noTLS    bool
		wrapper  bool
		tlsa     string
		args     string
		status   int
		want     []string
		unwanted string
	}{
		{name: "DANE, matching", tlsa: match, status: 0, want: []string{
			"MX preference 10 of b.test, name authentic, address authentic", "level dane\n", "TLSA of mx.b.test: 3 1 1 " + ca.SPKI(right.Leaf),
			"> STARTTLS\n", "< 250 REQUIRETLS\n", "subject_CN=mx, issuer_CN=Test CA, fingerprint=", "matched: yes",
			"Verified TLS connection established to mx.b.test[127.0.0.1]:", "verdict: mail would be sent (tls=dane)"}},
		{name: "DANE, not matching", tlsa: mismatch, status: 1, want: []string{"matched: no",
			"verdict: no mail: 4.7.5 Server certificate not verified (tls=!dane)"}},
		{name: "no records: secure, nobody is trusted", status: 1, want: []string{"no DANE: ", "level secure\n",
			"trusted: no", "(tls=!secure)"}},
		{name: "no records: secure, trusted", args: "-F " + roots, status: 0, want: []string{"level secure\n", "(tls=secure)"}},
		{name: "verify", args: "-l verify -F " + roots, status: 0, want: []string{"names to match: [mx.b.test]", "(tls=verify)"}},
		{name: "another name", args: "-l secure -F " + roots + " DEST other.test", status: 1, want: []string{"names to match: [other.test]", "(tls=!secure)"}},
		{name: "fingerprint", args: "-l fingerprint DEST " + ca.Fingerprint(right.Leaf), status: 0, want: []string{"(tls=fingerprint)"}},
		{name: "no STARTTLS", noTLS: true, args: "-l encrypt", status: 1, want: []string{
			"verdict: no mail: 4.7.4 TLS is required, but was not offered by host mx.b.test[127.0.0.1] (tls=!encrypt)"}},
		{name: "no STARTTLS is fine at may", noTLS: true, args: "-l may", status: 0, want: []string{"(tls=may:none)"}},
		{name: "only TLS", args: "-c -l encrypt", status: 0, want: []string{"(tls=encrypt)"}, unwanted: "EHLO"},
		{name: "chain", args: "-cC -L none -l encrypt", status: 0, want: []string{"BEGIN CERTIFICATE", "Certificate 1: subject CN=Test CA"}, unwanted: "subject_CN"},
		{name: "wrapper", wrapper: true, args: "-w -l encrypt", status: 0, want: []string{"(tls=encrypt)"}, unwanted: "STARTTLS"},
		{name: "session", args: "-r 0 -l encrypt", status: 0, want: []string{"(tls=encrypt)"}, unwanted: "resumed"},
		{name: "unknown option", args: "-Z", status: exUnavailable, want: []string{"invalid option -- 'Z'"}},
		{name: "unknown level", args: "-l much", status: exUnavailable, want: []string{`smtp_tls_security_level: "much"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cert := &right
			if tc.noTLS {
				cert = nil
			}
			port, others := server(t, cert, tc.wrapper)
			zone := "b.test. 60 IN MX 10 mx.b.test.\nmx.b.test. 60 IN A 127.0.0.1\n"
			if tc.tlsa != "" {
				zone += "_" + port + "._tcp.mx.b.test. 60 IN TLSA " + tc.tlsa + "\n"
			}
			srv := dnstest.New(t, dnstest.Config{Zone: zone, Authentic: []string{"*"}})
			args := []string{"-o", "dns_servers=" + srv.Addr(), "-o", "dns_servers_authentic=yes", "-o", "myhostname=client.test",
				"-o", "inet_protocols=ipv4"}
			dest := "b.test:" + port
			if before, after, ok := strings.Cut(tc.args, "DEST"); ok {
				args = append(append(args, strings.Fields(before)...), append([]string{dest}, strings.Fields(after)...)...)
			} else {
				args = append(append(args, strings.Fields(tc.args)...), dest)
			}
			var out bytes.Buffer
			if status := run(t.Context(), args, &out, &out); status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q", want)
				}
			}
			if tc.unwanted != "" && strings.Contains(out.String(), tc.unwanted) {
				t.Errorf("%q is there", tc.unwanted)
			}
			others.Range(func(verb, _ any) bool { t.Errorf("the server got %s", verb); return true })
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}
