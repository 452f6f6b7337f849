package tlsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"sealpost/lib/tlspolicy"
)

// maxSessions bounds the sessions that a client remembers for resumption.
const maxSessions = 1024

// Client makes handshakes with servers. It is safe for concurrent use.
type Client struct {
	roots    *x509.CertPool
	certs    []tls.Certificate
	curves   []tls.CurveID
	sessions tls.ClientSessionCache // nil: no resumption
	anchors  anchors
	now      func() time.Time
	warnf    func(format string, args ...any)
	said     sync.Map // problems that warnf was told
}

// ClientOptions are what a Client is made of.
type ClientOptions struct {
	Roots        *x509.CertPool // nil: nobody is trusted
	Certificates []tls.Certificate
	Curves       []tls.CurveID // nil: those of crypto/tls
	Resume       bool          // remember sessions
	Now          func() time.Time
	// Warnf is told, once each, what policies ask for and crypto/tls cannot do
	// (decision 50). nil: nobody is.
	Warnf func(format string, args ...any)
}

// NewClient makes a client.
func NewClient(o ClientOptions) *Client {
	c := &Client{roots: o.Roots, certs: o.Certificates, curves: o.Curves, now: o.Now, warnf: o.Warnf}
	if c.roots == nil {
		c.roots = x509.NewCertPool()
	}
	if c.now == nil {
		c.now = time.Now
	}
	if o.Resume {
		c.sessions = tls.NewLRUClientSessionCache(maxSessions)
	}
	return c
}

// Handshake makes a handshake with the server at the other end of nc, which ctx
// bounds in time, and holds the server's certificate against the policy. host
// names the server in errors. What the certificate lacks is in Facts.Peer and no
// error; the caller decides by it (Policy.Decide). After an error nc is no longer
// usable.
func (c *Client) Handshake(ctx context.Context, nc net.Conn, p *tlspolicy.Policy, host string) (net.Conn, Facts, error) {
	config, problems, err := c.config(p)
	if err != nil {
		return nil, Facts{}, fmt.Errorf("%s: %w", host, err)
	}
	c.warn(host, problems)
	t := tls.Client(nc, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, Facts{}, fmt.Errorf("%s: %w", host, err)
	}
	f := Facts{State: t.ConnectionState()}
	chain := f.State.PeerCertificates
	roots, err := c.trust(p)
	if err == nil {
		err = verifyChain(chain, roots, x509.ExtKeyUsageServerAuth, c.now())
	}
	f.Peer = p.Verify(chain, err, c.now())
	return t, f, nil
}

// warn says what a policy asks for that cannot be done; each sentence once, at
// the first host.
func (c *Client) warn(host string, problems []string) {
	if c.warnf == nil {
		return
	}
	for _, text := range problems {
		if _, again := c.said.LoadOrStore(text, true); !again {
			c.warnf("TLS policy for %s: %s", host, text)
		}
	}
}

// config translates a policy, with what cannot be done of it. Certificates are
// checked after the handshake, so that crypto/tls itself must not.
func (c *Client) config(p *tlspolicy.Policy) (_ *tls.Config, problems []string, err error) {
	versions, problems, err := ParseProtocols(p.Protocols)
	if err != nil {
		return nil, nil, err
	}
	suites, more, err := ParseCiphers(p.Ciphers, p.Exclude)
	if err != nil {
		return nil, nil, err
	}
	problems = append(problems, more...)
	if p.RawKeys {
		problems = append(problems, "enable_rpk: raw public keys are not available; certificates are used")
	}
	config := &tls.Config{
		InsecureSkipVerify: true,
		ServerName:         p.ServerName,
		MinVersion:         versions.Min,
		MaxVersion:         versions.Max,
		CipherSuites:       suites,
		CurvePreferences:   c.curves,
		Certificates:       c.certs,
		Time:               c.now,
	}
	if c.sessions != nil {
		config.ClientSessionCache = prefixed{c.sessions, p.Key()}
	}
	return config, problems, nil
}

// trust gives the CAs that a policy trusts.
func (c *Client) trust(p *tlspolicy.Policy) (*x509.CertPool, error) {
	if len(p.TrustAnchors) == 0 {
		return c.roots, nil
	}
	return c.anchors.load(p.TrustAnchors)
}

var errNoChain = errors.New("the peer has no certificate")

// verifyChain reports why a chain, the leaf first, does not lead to a CA that is
// trusted. Names do not matter here.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 {
		return errNoChain
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

// prefixed keeps sessions of one policy apart from those of others: a session must
// not bring a connection more, or less, than its own policy asked for.
type prefixed struct {
	tls.ClientSessionCache
	prefix string
}

func (p prefixed) Get(key string) (*tls.ClientSessionState, bool) {
	return p.ClientSessionCache.Get(p.prefix + "\x00" + key)
}

func (p prefixed) Put(key string, s *tls.ClientSessionState) {
	p.ClientSessionCache.Put(p.prefix+"\x00"+key, s)
}

// anchors keeps trust anchor files that policies name, as long as they are what
// they were. Nobody knows them at start, so that nobody can watch them.
type anchors struct {
	mu    sync.Mutex
	pools map[string]anchorPool
}

type anchorPool struct {
	pool *x509.CertPool
	seen []os.FileInfo
}

// current reports whether the files did not change. One that is gone is not one
// that was replaced: what was read of it stays in use.
func (p *anchorPool) current(files []string) bool {
	for i, file := range files {
		now, err := os.Stat(file)
		if err != nil {
			continue
		}
		was := p.seen[i]
		if !os.SameFile(was, now) || !was.ModTime().Equal(now.ModTime()) || was.Size() != now.Size() {
			return false
		}
	}
	return true
}

func (a *anchors) load(files []string) (*x509.CertPool, error) {
	key := fmt.Sprintf("%q", files)
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.pools[key]; ok && known.current(files) {
		return known.pool, nil
	}
	fresh := anchorPool{pool: x509.NewCertPool()}
	for _, file := range files {
		seen, err := os.Stat(file)
		if err == nil {
			err = addAnchors(fresh.pool, file)
		}
		if err != nil {
			return nil, fmt.Errorf("trust anchors: %w", err)
		}
		fresh.seen = append(fresh.seen, seen)
	}
	if a.pools == nil {
		a.pools = make(map[string]anchorPool)
	}
	a.pools[key] = fresh
	return fresh.pool, nil
}

// addAnchors adds the certificates of a file as trust anchors, whose dates do not
// matter.
func addAnchors(pool *x509.CertPool, file string) error {
	blocks, err := readBlocks(file)
	if err != nil {
		return err
	}
	found := false
	for _, b := range blocks {
		if !b.isCert() {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		cert.NotBefore, cert.NotAfter = time.Unix(0, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		pool.AddCert(cert)
		found = true
	}
	if !found {
		return fmt.Errorf("%s: %w", file, ErrNoCert)
	}
	return nil
}
