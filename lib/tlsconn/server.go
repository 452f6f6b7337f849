package tlsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"sealpost/lib/tlspolicy"
)

// ErrNoServerCert is a server that has nothing to show.
var ErrNoServerCert = errors.New("no certificate is configured")

// ServerOptions are what a Server is made of.
type ServerOptions struct {
	Certificates []tls.Certificate
	// SNI gives the certificates for a name that a client asked for (A-labels,
	// lower case); none: Certificates. nil: names do not matter.
	SNI func(name string) ([]tls.Certificate, error)

	AskCert bool           // ask clients for a certificate
	Roots   *x509.CertPool // CAs of clients; nil: nobody is trusted

	Versions Versions
	Suites   []uint16
	Curves   []tls.CurveID
	Tickets  *Tickets // nil: no resumption
	Now      func() time.Time
}

// Server makes handshakes with clients. It is safe for concurrent use.
type Server struct {
	o      ServerOptions
	config *tls.Config
	epoch  int64
	mu     sync.Mutex // epoch
}

// NewServer makes a server. Without a certificate, ErrNoServerCert.
func NewServer(o ServerOptions) (*Server, error) {
	if len(o.Certificates) == 0 {
		return nil, ErrNoServerCert
	}
	if o.Roots == nil {
		o.Roots = x509.NewCertPool()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, config: &tls.Config{
		MinVersion:             o.Versions.Min,
		MaxVersion:             o.Versions.Max,
		CipherSuites:           o.Suites,
		CurvePreferences:       o.Curves,
		SessionTicketsDisabled: o.Tickets == nil,
		Time:                   o.Now,
	}}
	if o.AskCert {
		// Whether a client needs one is said in SMTP, where it can be explained.
		s.config.ClientAuth = tls.RequestClientCert
	}
	s.refresh()
	return s, nil
}

// refresh puts the ticket keys of this hour into use.
func (s *Server) refresh() {
	if s.o.Tickets == nil {
		return
	}
	epoch, keys := s.o.Tickets.Keys(s.o.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch != s.epoch {
		s.epoch = epoch
		s.config.SetSessionTicketKeys(keys)
	}
}

// Connection is what a handshake with a client gives.
type Connection struct {
	net.Conn
	Facts Facts
	SNI   string            // the name asked for, when there was a certificate for it
	Own   *x509.Certificate // the certificate that was shown; nil when not known (resumed)
}

// CloseNotify tells the client that nothing more follows, so that it can tell an
// end in order from a connection that was cut (RFC 8446 §6.1). It takes at most 5
// seconds. The connection below stays open.
func (c *Connection) CloseNotify() error {
	t, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	return t.CloseWrite()
}

// Handshake makes a handshake with the client at the other end of nc, which ctx
// bounds in time. Whether the client's certificate leads to a CA is in
// Facts.Peer; that it does not is no error. After an error nc is of no use.
func (s *Server) Handshake(ctx context.Context, nc net.Conn) (*Connection, error) {
	s.refresh()
	c := &Connection{}
	config := s.config.Clone()
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := s.choose(hello, c)
		if err == nil {
			c.Own = cert.Leaf
		}
		return cert, err
	}
	t := tls.Server(nc, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	c.Conn, c.Facts.State = t, t.ConnectionState()
	c.Facts.Peer = s.peer(c.Facts.State.PeerCertificates)
	return c, nil
}

// choose takes the certificate that the client can use best: one for the name it
// asks for, else the first that fits what it knows.
func (s *Server) choose(hello *tls.ClientHelloInfo, c *Connection) (*tls.Certificate, error) {
	certs := s.o.Certificates
	if s.o.SNI != nil && hello.ServerName != "" {
		named, err := s.o.SNI(hello.ServerName)
		if err != nil {
			return nil, err
		}
		if len(named) > 0 {
			certs, c.SNI = named, hello.ServerName
		}
	}
	anyName := *hello
	anyName.ServerName = "" // a mail server shows what it has, whatever the name
	for i := range certs {
		if anyName.SupportsCertificate(&certs[i]) == nil {
			return &certs[i], nil
		}
	}
	return &certs[0], nil
}

// peer is what a client's certificate proves. At this side nothing is expected of
// it: Matched stays false, and access control compares names and fingerprints.
func (s *Server) peer(chain []*x509.Certificate) tlspolicy.Peer {
	p := tlspolicy.Peer{Present: len(chain) > 0}
	err := verifyChain(chain, s.o.Roots, x509.ExtKeyUsageClientAuth, s.o.Now())
	if p.Trusted = err == nil; !p.Trusted {
		p.Why = err.Error()
	}
	return p
}

// Reason is why a handshake failed, for the log: in Postfix's words where the peer
// did not speak of TLS.
func Reason(err error) string {
	var op *net.OpError
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "lost connection"
	case errors.As(err, &op) && errors.As(op.Err, &errno):
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return err.Error()
}
