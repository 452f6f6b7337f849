package test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/test/ca"
	"sealpost/test/harness"
)

// TestCertificatesAreRotatedUnderLoad: the chain file is replaced several times
// while clients come and go. The new certificate is shown soon, without a reload;
// no client is refused, cut off or handed a broken handshake
// (one without a transaction may be told to come again); a message that began
// with the old worker is delivered by it; and a session of before is resumed.
func TestCertificatesAreRotatedUnderLoad(t *testing.T) {
	mta, chain, authority := tlsSystem(t, "rotate", map[string]string{})
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	slow, err := dialTLS(mta.SMTP(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	for _, cmd := range []string{"MAIL FROM:<a@a.test>\r\n", "RCPT TO:<user@b.test>\r\n"} {
		if code, text := slow.command(cmd); code != 250 {
			t.Fatalf("%q: %s", cmd, text)
		}
	}
	tickets := &tls.Config{InsecureSkipVerify: true, ServerName: "mx.b.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if resumed, err := resumes(mta.SMTP(), tickets); err != nil || resumed {
		t.Fatalf("the first session: resumed %v, %v", resumed, err)
	}

	var served, certs sync.Map
	var sessions atomic.Int64
	failed := make(chan error, 100)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				name, err := visit(mta.SMTP())
				if errors.Is(err, errComeAgain) {
					continue
				}
				if err != nil {
					select {
					case failed <- err:
					default:
					}
					return
				}
				sessions.Add(1)
				n, _ := certs.LoadOrStore(name, new(atomic.Int64))
				if n.(*atomic.Int64).Add(1) == 20 {
					served.Store(name, true)
				}
			}
		})
	}
	// A certificate counts as in use when it was shown twenty times.
	inUse := func(name string) {
		t.Helper()
		err := harness.Poll(ctx, func() (bool, error) { _, ok := served.Load(name); return ok || len(failed) > 0, nil })
		if err != nil {
			t.Fatalf("%s is not shown: %v", name, err)
		}
	}
	inUse("first")
	for _, name := range []string{"second", "third"} {
		temp := filepath.Join(filepath.Dir(chain), name)
		ca.WriteChain(t, temp, authority.Issue(t, ca.Leaf{CN: name, Names: []string{"mx.b.test"}}))
		if err := os.Rename(temp, chain); err != nil {
			t.Fatal(err)
		}
		inUse(name)
	}
	close(stop)
	clients.Wait()
	select {
	case err := <-failed:
		t.Errorf("after %d sessions: %v", sessions.Load(), err)
	default:
		t.Logf("%d sessions over two rotations", sessions.Load())
	}
	if n := mta.Log.Count(`has changed -- restarting`); n < 2 {
		t.Errorf("%d restarts in the log", n)
	}
	if code, text := slow.command("DATA\r\n"); code != 354 {
		t.Fatalf("DATA in a session of before the rotation: %s", text)
	}
	if code, text := slow.command("Subject: x\r\n\r\ny\r\n.\r\n"); code != 250 {
		t.Fatalf("end of data in a session of before the rotation: %s", text)
	}
	if _, err := mta.WaitMail(ctx, "user", 1); err != nil {
		t.Error(err)
	}
	if resumed, err := resumes(mta.SMTP(), tickets); err != nil || !resumed {
		t.Errorf("with a ticket of the first worker: resumed %v, %v", resumed, err)
	}
}

// errComeAgain is the reply of a worker that leaves, to a session without a
// transaction while it drains. The client's next connection is the successor's.
var errComeAgain = errors.New("421 4.3.2")

// visit is one client's session; it returns the common name that it was shown.
func visit(addr string) (name string, err error) {
	c, err := dialTLS(addr, nil)
	if err != nil {
		if strings.Contains(err.Error(), errComeAgain.Error()) {
			err = errComeAgain
		}
		return "", err
	}
	defer c.Close()
	name = c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
	for _, cmd := range []string{"MAIL FROM:<a@a.test>\r\n", "RSET\r\n", "QUIT\r\n"} {
		switch code, text := c.command(cmd); {
		case code == 250 || code == 221:
		case strings.HasPrefix(text, errComeAgain.Error()) && cmd != "RSET\r\n":
			return name, nil
		default:
			return "", fmt.Errorf("%q: %d %s", cmd, code, text)
		}
	}
	return name, nil
}

// resumes reports whether a session was resumed with a ticket of config's cache.
func resumes(addr string, config *tls.Config) (bool, error) {
	c, err := dialTLS(addr, config)
	if err != nil {
		return false, err
	}
	defer c.Close()
	code, text := c.command("NOOP\r\n") // the tickets of TLS 1.3 come with the first reply
	if code != 250 {
		return false, fmt.Errorf("NOOP: %s", text)
	}
	c.command("QUIT\r\n")
	return c.Conn.(*tls.Conn).ConnectionState().DidResume, nil
}
