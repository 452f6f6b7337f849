package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"
)

// REQUIRETLS with a server and a client that are not Postfix and not ours: go-smtp.
var goSMTPScenarios = []scenario{
	{"REQUIRETLS to a server made with go-smtp: delivered; without the extension returned, headers only", "openssl", requireTLSToGoSMTP},
	{"REQUIRETLS from a client made with go-smtp: accepted under TLS, logged, demanded on the next hop", "openssl", requireTLSFromGoSMTP},
}

// received is one message at a goServer.
type received struct {
	from       string
	requireTLS bool
	secured    bool
	text       string
}

// goServer is a server made with go-smtp that remembers what it gets.
type goServer struct {
	addr string

	mu   sync.Mutex
	mail []received
}

// NewSession implements smtp.Backend.
func (g *goServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	_, secured := c.TLSConnectionState()
	return &goSession{server: g, conn: c, got: received{secured: secured}}, nil
}

func (g *goServer) messages() []received {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]received(nil), g.mail...)
}

type goSession struct {
	server *goServer
	conn   *smtp.Conn
	got    received
}

func (s *goSession) Reset()        {}
func (s *goSession) Logout() error { return nil }

func (s *goSession) Mail(from string, opts *smtp.MailOptions) error {
	_, secured := s.conn.TLSConnectionState()
	s.got = received{from: from, requireTLS: opts.RequireTLS, secured: secured}
	return nil
}

func (s *goSession) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (s *goSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.got.text = string(b)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.mail = append(s.server.mail, s.got)
	return nil
}

// goSMTP starts a server with a certificate for mx.ours.test.
func (s *stage) goSMTP(f tlsFiles, requireTLS bool) (*goServer, error) {
	cert, err := tls.LoadX509KeyPair(f.server, f.server)
	if err != nil {
		return nil, err
	}
	g := &goServer{}
	srv := smtp.NewServer(g)
	srv.Domain, srv.EnableREQUIRETLS, srv.EnableDSN = "mx.ours.test", requireTLS, true
	srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g.addr = ln.Addr().String()
	go srv.Serve(ln)
	s.closers = append(s.closers, srv.Close)
	return g, nil
}

// requiring is a system of ours that enforces REQUIRETLS on the way to two servers, one
// with and one without the extension.
func requiring(ctx context.Context, s *stage) (ours *system, f tlsFiles, with, without *goServer, err error) {
	if f, err = authority(ctx, s); err != nil {
		return nil, f, nil, nil, err
	}
	if with, err = s.goSMTP(f, true); err != nil {
		return nil, f, nil, nil, err
	}
	if without, err = s.goSMTP(f, false); err != nil {
		return nil, f, nil, nil, err
	}
	nexthop := func(g *goServer) string {
		host, port, _ := net.SplitHostPort(g.addr)
		return "[" + host + "]:" + port
	}
	ours, err = s.ours("ours", map[string]string{
		"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f.server,
		"smtp_tls_security_level": "secure", "smtp_tls_CAfile": f.ca, "smtp_tls_secure_cert_match": "mx.ours.test",
		"smtp_requiretls_policy": "enforce",
		"transport_maps":         fmt.Sprintf("inline:{ { with.test = smtp:%s }, { without.test = smtp:%s } }", nexthop(with), nexthop(without)),
	})
	if err == nil {
		err = ours.Start(ctx)
	}
	return ours, f, with, without, err
}

func requireTLSToGoSMTP(ctx context.Context, s *stage) error {
	ours, _, with, without, err := requiring(ctx, s)
	if err != nil {
		return err
	}
	send := func(to, want string) error {
		mark := ours.Log.Mark()
		if _, err := run(ctx, strings.NewReader("From: alice@ours.test\nSubject: s\n\nthe secret\n"), filepath.Join(s.bin, "sendmail"),
			"-C", ours.ConfigDir, "-O", "requiretls=yes", "-f", "alice@ours.test", to); err != nil {
			return err
		}
		if _, err := ours.Log.Wait(ctx, mark, want); err != nil {
			return fmt.Errorf("%s: %w%s", to, err, logs(ours))
		}
		return nil
	}
	if err := send("bob@with.test", `to=<bob@with\.test>.*tls=secure/requiretls, dsn=2\.0\.0, status=sent`); err != nil {
		return err
	}
	got := with.messages()
	if len(got) != 1 || !got[0].requireTLS || !got[0].secured || !strings.Contains(got[0].text, "Require-TLS-ESMTP: yes") || !strings.Contains(got[0].text, "the secret") {
		return fmt.Errorf("the server got %+v", got)
	}
	if err := send("bob@without.test", `to=<bob@without\.test>.*tls=secure/!requiretls:none, dsn=5\.7\.30, status=bounced`); err != nil {
		return err
	}
	if got := without.messages(); len(got) != 0 {
		return fmt.Errorf("the server without REQUIRETLS got %+v", got)
	}
	bounce, err := ours.delivered(ctx, "alice")
	if err != nil {
		return err
	}
	return errors.Join(contains("the notification", strings.Join(strings.Fields(bounce), " "), "no server was found that supports REQUIRETLS"), lacks("the notification", bounce, "the secret"))
}

func requireTLSFromGoSMTP(ctx context.Context, s *stage) error {
	ours, _, with, _, err := requiring(ctx, s)
	if err != nil {
		return err
	}
	mail := func(c *smtp.Client) error { return c.Mail("alice@ours.test", &smtp.MailOptions{RequireTLS: true}) }
	plain, err := smtp.Dial(ours.SMTP())
	if err != nil {
		return err
	}
	defer plain.Close()
	if err := mail(plain); err == nil {
		return errors.New("REQUIRETLS was accepted in the clear")
	}
	c, err := smtp.DialStartTLS(ours.SMTP(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer c.Close()
	mark := ours.Log.Mark()
	if err := mail(c); err != nil {
		return err
	}
	if err := c.Rcpt("bob@with.test", nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, "Subject: s\r\n\r\ntext\r\n"); err != nil {
		return err
	}
	if err := errors.Join(w.Close(), c.Quit()); err != nil {
		return err
	}
	for _, want := range []string{`client=.*, requiretls=yes`, `to=<bob@with\.test>.*tls=secure/requiretls, dsn=2\.0\.0, status=sent`} {
		if _, err := ours.Log.Wait(ctx, mark, want); err != nil {
			return fmt.Errorf("%w%s", err, logs(ours))
		}
	}
	if got := with.messages(); len(got) != 1 || !got[0].requireTLS || !got[0].secured {
		return fmt.Errorf("the next hop got %+v", got)
	}
	return nil
}
