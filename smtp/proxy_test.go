package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/lib/dns/dnstest"
	"sealpost/lib/sendopts"
	"sealpost/test/ca"
)

// proxy is the attacker on the way: it relays between the client and a server that
// does everything right, and records all that the client says.
type proxy struct {
	mode string
	to   string // the server
	cert *tls.Certificate
	ln   net.Listener

	mu     sync.Mutex
	clear  bytes.Buffer // from the client, in the clear
	opened bytes.Buffer // from the client, inside TLS that ends here
	wg     sync.WaitGroup
}

// modes are what the proxy does.
var modes = []string{"strip", "refuse", "swap", "hang up at STARTTLS", "garbage at STARTTLS", "drop after handshake", "answer for the server"}

func newProxy(t testing.TB, mode, to string, cert *tls.Certificate) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{mode: mode, to: to, cert: cert, ln: ln}
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { defer c.Close(); p.relay(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); p.wg.Wait() })
	return p
}

func (p *proxy) port() string {
	return p.ln.Addr().String()[strings.LastIndex(p.ln.Addr().String(), ":")+1:]
}

// recorder keeps what is read through it.
type recorder struct {
	io.Reader
	mu *sync.Mutex
	to *bytes.Buffer
}

func (r recorder) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.mu.Lock()
	r.to.Write(b[:n])
	r.mu.Unlock()
	return n, err
}

// relay is one connection: command by command in the clear, then as the mode says.
func (p *proxy) relay(c net.Conn) {
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	// An attacker who is not asked for anything more gives up.
	c.SetDeadline(time.Now().Add(10 * time.Second))
	up.SetDeadline(time.Now().Add(10 * time.Second))
	server := bufio.NewReader(up)
	client := bufio.NewReader(recorder{c, &p.mu, &p.clear})
	p.reply(server, c)
	for {
		line, err := client.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) != "STARTTLS" {
			io.WriteString(up, line)
			p.reply(server, c)
			continue
		}
		switch p.mode {
		case "strip", "refuse":
			io.WriteString(c, "454 4.7.0 TLS not available\r\n")
		case "hang up at STARTTLS":
			return
		case "garbage at STARTTLS":
			io.WriteString(c, "220 go\r\n250 this is no handshake\r\n250 nor this\r\n")
			io.Copy(io.Discard, client)
			return
		case "answer for the server":
			io.WriteString(c, "220 go\r\n250-mx.b.test\r\n250 REQUIRETLS\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n250 2.0.0 mine\r\n")
			io.Copy(io.Discard, client)
			return
		case "swap":
			io.WriteString(c, "220 go\r\n")
			p.terminate(c, tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*p.cert}}))
			return
		case "drop after handshake":
			io.WriteString(up, line)
			p.reply(server, c)
			p.pass(c, up)
			return
		}
	}
}

// reply passes one reply on; in mode strip the offer of TLS is taken out.
func (p *proxy) reply(server *bufio.Reader, c net.Conn) {
	for {
		line, err := server.ReadString('\n')
		if err != nil {
			return
		}
		if p.mode == "strip" {
			line = strings.Replace(line, "STARTTLS", "X-STRIPPED", 1)
		}
		io.WriteString(c, line)
		if len(line) > 3 && line[3] == ' ' {
			return
		}
	}
}

// terminate plays the server inside TLS.
func (p *proxy) terminate(c net.Conn, secret *tls.Conn) {
	r := bufio.NewReader(recorder{secret, &p.mu, &p.opened})
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "EHLO":
			io.WriteString(secret, "250-mx.b.test\r\n250-REQUIRETLS\r\n250 8BITMIME\r\n")
		case "DATA":
			io.WriteString(secret, "354 go\r\n")
		default:
			io.WriteString(secret, "250 2.0.0 mine\r\n")
		}
	}
}

// pass relays the handshake and cuts the line when the client has sent its last
// part of it.
func (p *proxy) pass(c, up net.Conn) {
	p.wg.Go(func() { io.Copy(c, up); c.Close() })
	b := make([]byte, 16<<10)
	for range 2 { // ClientHello; then Finished, with which EHLO may come
		n, err := c.Read(b)
		if err != nil {
			return
		}
		up.Write(b[:n])
	}
}

// TestNoWayInTheClear: an attacker on the way gets no MAIL FROM in the clear at a
// level that demands TLS, and none at all where the certificate must match.
func TestNoWayInTheClear(t *testing.T) {
	x := newSecure(t)
	forged := x.ca.Issue(t, ca.Leaf{Names: []string{"mx.evil.test"}})
	other := x.certs["other CA"]
	for _, level := range []string{"encrypt", "fingerprint", "verify", "secure", "dane", "halfdane", "dane-only", "may, enforce", "secure, enforce", "may, opportunistic+starttls", "dane, opportunistic+starttls"} {
		for _, mode := range modes {
			for _, cert := range []*tls.Certificate{&forged, &other} {
				if mode != "swap" && cert == &other {
					continue
				}
				t.Run(level+", "+mode, func(t *testing.T) {
					t.Parallel()
					configured, policy, requested := strings.Cut(level, ", ")
					anyCert := configured == "encrypt" || level == "may, opportunistic+starttls" // that is what the level says
					s := serve(t, x.behaviour("REQUIRETLS"))
					p := newProxy(t, mode, s.addr(), cert)
					conf := dnstest.Config{Authentic: []string{"*"}, Zone: zone(p.port(), "3 1 1 "+ca.SPKI(x.certs["right"].Leaf))}
					if level == "halfdane" {
						conf.Authentic = []string{"mx.b.test", "_" + p.port() + "._tcp.mx.b.test"}
					}
					f := newFixture(t, "smtp", map[string]string{
						"smtp_tls_security_level": strings.Replace(configured, "halfdane", "dane", 1), "smtp_requiretls_policy": policy, "smtp_tls_CAfile": x.file,
						"smtp_dns_support_level":          "dnssec",
						"smtp_starttls_timeout":           "1s", // an attacker may also just wait
						"smtp_tls_fingerprint_cert_match": ca.Fingerprint(x.certs["right"].Leaf),
					}, resolver(t, dnstest.New(t, conf)))
					req := request("b.test:"+p.port(), "a@b.test")
					if requested {
						req.SendOpts = sendopts.RequireTLSESMTP
					}
					// Old enough for a fallback to the clear where that is allowed.
					req.Stats.ActiveArrival = time.Now()
					req.Stats.IncomingArrival = req.Stats.ActiveArrival.Add(-time.Hour)
					out := f.run(t, req)
					p.mu.Lock()
					defer p.mu.Unlock()
					if bytes.Contains(p.clear.Bytes(), []byte("MAIL")) {
						t.Errorf("MAIL FROM in the clear: %q; %s", p.clear.Bytes(), out)
					}
					if level != "may, enforce" && !bytes.Contains(p.clear.Bytes(), []byte("EHLO")) {
						t.Errorf("the proxy saw nothing: %s", out)
					}
					if mailSeen(s) != "no" {
						t.Errorf("MAIL FROM reached the server: %s", out)
					}
					if anyCert && mode == "swap" {
						return
					}
					if bytes.Contains(p.opened.Bytes(), []byte("MAIL")) || strings.Contains(out.String(), " sent ") {
						t.Errorf("MAIL FROM inside the attacker's TLS: %q; %s", p.opened.Bytes(), out)
					}
				})
			}
		}
	}
}
