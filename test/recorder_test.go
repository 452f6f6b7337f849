package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sealpost/test/harness"
)

// behaviour is what a recorder does as a mail server.
type behaviour struct {
	clear, secret string            // extensions, blank-separated, in the clear and under TLS
	cert          *tls.Certificate  // nil: the handshake fails
	good          bool              // cert is what the client must demand
	on            map[string]string // replies by verb, in place of the usual ones
	lmtp          bool
	wait          chan struct{} // EHLO is answered when this is closed; nil: at once
}

// recorder is a mail server on an address of its own that keeps every byte that the
// client says.
type recorder struct {
	behaviour
	ip   string
	ln   net.Listener
	done chan struct{}

	mu       sync.Mutex
	sessions []*recording
	messages []string
	wg       sync.WaitGroup
}

// recording is one connection.
type recording struct {
	clear, secret bytes.Buffer // what came in the clear, and under TLS
	secured       bool         // the handshake was made
	announced     bool         // REQUIRETLS, under TLS
	conn          net.Conn
}

// newRecorder makes a recorder whose address refuses connections until up.
func newRecorder(t *testing.T, b behaviour) *recorder {
	t.Helper()
	ip, err := harness.Loopback()
	if err != nil {
		t.Fatal(err)
	}
	return &recorder{behaviour: b, ip: ip, done: make(chan struct{})}
}

func (r *recorder) up(t *testing.T) {
	t.Helper()
	var err error
	if r.ln, err = net.Listen("tcp", net.JoinHostPort(r.ip, strconv.Itoa(harness.SMTPPort))); err != nil {
		t.Fatal(err)
	}
	r.wg.Go(func() {
		for {
			c, err := r.ln.Accept()
			if err != nil {
				return
			}
			s := &recording{conn: c}
			r.mu.Lock()
			r.sessions = append(r.sessions, s)
			r.mu.Unlock()
			r.wg.Go(func() { defer c.Close(); r.serve(c, s) })
		}
	})
	t.Cleanup(func() {
		close(r.done)
		r.ln.Close()
		r.mu.Lock()
		for _, s := range r.sessions {
			s.conn.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
}

// tap keeps what is read through it.
type tap struct {
	io.Reader
	mu *sync.Mutex
	to *bytes.Buffer
}

func (t tap) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	t.mu.Lock()
	t.to.Write(b[:n])
	t.mu.Unlock()
	return n, err
}

func (r *recorder) serve(c net.Conn, s *recording) {
	in := bufio.NewReader(tap{c, &r.mu, &s.clear})
	extensions, rcpts := r.behaviour.clear, 0
	fmt.Fprint(c, "220 recorder.test ESMTP\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.Fields(line + " ?")[0])
		reply, scripted := r.on[verb]
		switch {
		case scripted:
			fmt.Fprint(c, reply+"\r\n")
		case verb == "EHLO" && !r.lmtp, verb == "LHLO" && r.lmtp:
			if r.wait != nil {
				select {
				case <-r.wait:
				case <-r.done:
					return
				}
			}
			for _, e := range append([]string{"recorder.test"}, strings.Fields(extensions)...) {
				fmt.Fprintf(c, "250-%s\r\n", e)
			}
			fmt.Fprint(c, "250 HELP\r\n")
		case verb == "STARTTLS":
			fmt.Fprint(c, "220 2.0.0 go\r\n")
			if r.cert == nil {
				return
			}
			t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*r.cert}})
			if t.Handshake() != nil {
				return
			}
			r.mu.Lock()
			s.secured, s.announced = true, strings.Contains(" "+r.secret+" ", " REQUIRETLS ")
			r.mu.Unlock()
			c, in, extensions = t, bufio.NewReader(tap{t, &r.mu, &s.secret}), r.secret
		case verb == "DATA":
			fmt.Fprint(c, "354 go\r\n")
			text, err := content(in)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.messages = append(r.messages, text)
			r.mu.Unlock()
			if !r.lmtp {
				rcpts = 1
			}
			for ; rcpts > 0; rcpts-- {
				fmt.Fprint(c, "250 2.0.0 kept\r\n")
			}
		case verb == "QUIT":
			fmt.Fprint(c, "221 2.0.0 bye\r\n")
			return
		default:
			if verb == "RCPT" {
				rcpts++
			}
			fmt.Fprint(c, "250 2.0.0 ok\r\n")
		}
	}
}

// content reads a message up to its final dot.
func content(in *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return b.String(), err
		}
		b.WriteString(strings.TrimSuffix(line, "\r\n") + "\n")
	}
}

// forget drops what was said so far; the connections stay.
func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		s.clear.Reset()
		s.secret.Reset()
	}
	r.messages = nil
}

// mails are the MAIL commands, with how they came.
func (r *recorder) mails() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, s := range r.sessions {
		for how, b := range map[string]*bytes.Buffer{"clear": &s.clear, "tls": &s.secret} {
			for line := range strings.Lines(b.String()) {
				if strings.HasPrefix(strings.ToUpper(line), "MAIL") {
					out = append(out, how+" "+strings.TrimSpace(line))
				}
			}
		}
	}
	return out
}

// trespasses are connections that do not qualify for a message whose sender asked for
// REQUIRETLS (RFC 8689 §4.2.1), and on which something of it was said all the same.
func (r *recorder) trespasses() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, s := range r.sessions {
		said := strings.ToUpper(s.clear.String())
		if !(s.secured && s.announced && r.good) {
			said += strings.ToUpper(s.secret.String())
		}
		if strings.Contains(said, "MAIL") || strings.Contains(said, "SECRET") {
			out = append(out, fmt.Sprintf("%q", said))
		}
	}
	return out
}

// connections is how many there were.
func (r *recorder) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}
