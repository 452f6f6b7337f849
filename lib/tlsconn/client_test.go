package tlsconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/lib/certname"
	"sealpost/lib/tlspolicy"
	"sealpost/test/ca"
)

// peerSeen is what a server learned of a client.
type peerSeen struct {
	mu    sync.Mutex
	sni   string
	certs int
	state tls.ConnectionState
}

// serveTLS accepts connections and makes handshakes until the test ends.
func serveTLS(t *testing.T, config *tls.Config) (addr string, seen *peerSeen) {
	t.Helper()
	seen = &peerSeen{}
	config = config.Clone()
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		seen.sni = h.ServerName
		return nil, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer c.Close()
				s := tls.Server(c, config)
				if s.Handshake() != nil {
					return
				}
				seen.mu.Lock()
				seen.state = s.ConnectionState()
				seen.certs = len(seen.state.PeerCertificates)
				seen.mu.Unlock()
				s.Write([]byte("x")) // TLS 1.3: a ticket comes before the first byte
				s.Read(make([]byte, 1))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		done.Wait()
	})
	return l.Addr().String(), seen
}

// shake makes one handshake and waits for a byte of the server.
func shake(t *testing.T, c *Client, addr string, p *tlspolicy.Policy) (Facts, error) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, facts, err := c.Handshake(ctx, nc, p, "mx.example[127.0.0.1]")
	if err != nil {
		return facts, err
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return facts, nil
}

func policy(level tlspolicy.Level, change func(*tlspolicy.Policy)) *tlspolicy.Policy {
	p := &tlspolicy.Policy{Initial: level, Level: level, Protocols: ">=TLSv1", Ciphers: "medium", Matcher: certname.Matcher{},
		Names: []tlspolicy.Name{{Text: "mx.example", Origin: tlspolicy.Explicit, Authentic: true}}}
	if change != nil {
		change(p)
	}
	return p
}

// What a handshake under a policy shows, and what it sends.
func TestClientHandshake(t *testing.T) {
	authority, other := ca.New(t, "CA"), ca.New(t, "Other CA")
	dir := t.TempDir()
	roots, files, err := LoadRoots(authority.WriteCert(t, dir), "", false)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	anchor := other.WriteCert(t, t.TempDir())
	good := authority.Issue(t, ca.Leaf{Names: []string{"mx.example"}})
	client := authority.Issue(t, ca.Leaf{CN: "client"})
	tests := []struct {
		name             string
		cert             tls.Certificate
		policy           *tlspolicy.Policy
		trusted, matched bool
		version          uint16
	}{
		{"right name", good, policy(tlspolicy.Secure, nil), true, true, tls.VersionTLS13},
		{"wrong name", authority.Issue(t, ca.Leaf{Names: []string{"other.example"}}), policy(tlspolicy.Secure, nil), true, false, tls.VersionTLS13},
		{"expired", authority.Issue(t, ca.Leaf{Names: []string{"mx.example"}, Expired: true}), policy(tlspolicy.Secure, nil), false, false, tls.VersionTLS13},
		{"self-signed", authority.Issue(t, ca.Leaf{Names: []string{"mx.example"}, SelfSigned: true}), policy(tlspolicy.Secure, nil), false, false, tls.VersionTLS13},
		{"another CA", other.Issue(t, ca.Leaf{Names: []string{"mx.example"}}), policy(tlspolicy.Verify, nil), false, false, tls.VersionTLS13},
		{"the policy's own CA", other.Issue(t, ca.Leaf{Names: []string{"mx.example"}}),
			policy(tlspolicy.Verify, func(p *tlspolicy.Policy) { p.TrustAnchors = []string{anchor} }), true, true, tls.VersionTLS13},
		{"a CA file that is not there", good, policy(tlspolicy.Verify, func(p *tlspolicy.Policy) { p.TrustAnchors = []string{"/nonexistent"} }), false, false, tls.VersionTLS13},
		{"no match is wanted", good, policy(tlspolicy.May, nil), true, false, tls.VersionTLS13},
		{"an older protocol", good, policy(tlspolicy.Encrypt, func(p *tlspolicy.Policy) { p.Protocols = "<=TLSv1.2" }), true, false, tls.VersionTLS12},
		{"SNI", good, policy(tlspolicy.Encrypt, func(p *tlspolicy.Policy) { p.ServerName = "sni.example" }), true, false, tls.VersionTLS13},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr, seen := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{tt.cert}, ClientAuth: tls.RequestClientCert})
			c := NewClient(ClientOptions{Roots: roots, Certificates: []tls.Certificate{client}})
			facts, err := shake(t, c, addr, tt.policy)
			if err != nil {
				t.Fatal(err)
			}
			if facts.Peer.Trusted != tt.trusted || facts.Peer.Matched != tt.matched || facts.State.Version != tt.version {
				t.Errorf("trusted %t, matched %t, %s", facts.Peer.Trusted, facts.Peer.Matched, facts.Protocol())
			}
			if tt.policy.Level.MatchesCertificate() && !tt.matched && facts.Peer.Why == "" {
				t.Error("nothing says why the certificate does not match")
			}
			seen.mu.Lock()
			defer seen.mu.Unlock()
			if seen.sni != tt.policy.ServerName || seen.certs == 0 {
				t.Errorf("the server saw the name %q and %d certificates", seen.sni, seen.certs)
			}
		})
	}
}

// A protocol or a cipher that the server does not have is an error that names the
// host.
func TestClientHandshakeFails(t *testing.T) {
	cert := ca.New(t, "CA").Issue(t, ca.Leaf{Names: []string{"mx.example"}})
	addr, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	for _, p := range []*tlspolicy.Policy{
		policy(tlspolicy.Encrypt, func(p *tlspolicy.Policy) { p.Protocols = "<=TLSv1.2" }),
		policy(tlspolicy.Encrypt, func(p *tlspolicy.Policy) { p.Protocols = "nonsense" }),
		policy(tlspolicy.Encrypt, func(p *tlspolicy.Policy) { p.Ciphers = "nonsense" }),
	} {
		if facts, err := shake(t, NewClient(ClientOptions{}), addr, p); err == nil || facts.Secure() || !strings.HasPrefix(err.Error(), "mx.example[127.0.0.1]: ") {
			t.Errorf("%s %s: %v", p.Protocols, p.Ciphers, err)
		}
	}
}

// A session is resumed under its own policy only, and its certificate is held
// against the policy again.
func TestClientResumes(t *testing.T) {
	authority := ca.New(t, "CA")
	roots, _, err := LoadRoots(authority.WriteCert(t, t.TempDir()), "", false)
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, ca.Leaf{Names: []string{"mx.example"}})}})
	for _, resume := range []bool{false, true} {
		c := NewClient(ClientOptions{Roots: roots, Resume: resume})
		for i, p := range []*tlspolicy.Policy{policy(tlspolicy.Secure, nil), policy(tlspolicy.Secure, nil), policy(tlspolicy.Verify, nil)} {
			facts, err := shake(t, c, addr, p)
			if err != nil || !facts.Peer.Matched {
				t.Fatalf("%d: %v, %+v", i, err, facts.Peer)
			}
			if want := resume && i == 1; facts.State.DidResume != want {
				t.Errorf("resume %t, handshake %d: resumed %t", resume, i, facts.State.DidResume)
			}
		}
	}
}

// Trust anchors are certificates at any place in a chain; their dates do not matter, and a file
// that was replaced counts at once. One that is gone stays in use.
func TestTrustAnchors(t *testing.T) {
	old, next := ca.NewExpired(t, "Old CA"), ca.New(t, "Next CA")
	anchor := old.WriteCert(t, t.TempDir())
	c := NewClient(ClientOptions{})
	p := policy(tlspolicy.Verify, func(p *tlspolicy.Policy) { p.TrustAnchors = []string{anchor} })
	leaf := ca.Leaf{Names: []string{"mx.example"}}
	oldServer, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{old.Issue(t, leaf)}})
	nextServer, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{next.Issue(t, leaf)}})
	check := func(when string, wantOld, wantNext bool) {
		t.Helper()
		for addr, want := range map[string]bool{oldServer: wantOld, nextServer: wantNext} {
			facts, err := shake(t, c, addr, p)
			if err != nil {
				t.Fatal(err)
			}
			if facts.Peer.Matched != want {
				t.Errorf("%s, old server %t: matched %t (%s)", when, addr == oldServer, facts.Peer.Matched, facts.Peer.Why)
			}
		}
	}
	check("before", true, false)
	if err := os.Rename(next.WriteCert(t, t.TempDir()), anchor); err != nil {
		t.Fatal(err)
	}
	check("after the file was replaced", false, true)
	if err := os.Remove(anchor); err != nil {
		t.Fatal(err)
	}
	check("after the file was removed", false, true)
}

// What a policy asks for and cannot be had is said, once.
func TestPolicyProblemsAreSaid(t *testing.T) {
	cert := ca.New(t, "CA").Issue(t, ca.Leaf{Names: []string{"mx.example"}})
	addr, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}})
	var said []string
	c := NewClient(ClientOptions{Warnf: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }})
	for range 2 {
		if _, err := shake(t, c, addr, policy(tlspolicy.Encrypt, func(p *tlspolicy.Policy) {
			p.RawKeys, p.Ciphers, p.Exclude, p.Protocols = true, "export", "nonsense", "!TLSv1.2"
		})); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`"!TLSv1.2" has a gap below TLSv1.3; versions below the gap are not used`, `cipher grade "export" is not available; medium is used`,
		`excluded cipher "nonsense" is not known; nothing is excluded for it`, "enable_rpk: raw public keys are not available; certificates are used"}
	for i := range want {
		want[i] = "TLS policy for mx.example[127.0.0.1]: " + want[i]
	}
	if !slices.Equal(said, want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}
