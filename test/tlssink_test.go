package test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sealpost/test/ca"
)

// tlsSink is a next hop with STARTTLS and REQUIRETLS that remembers how each message
// came. While it is shut it says 421 to everybody.
type tlsSink struct {
	net.Listener
	tls  *tls.Config
	cert tls.Certificate

	// fickle: every tenth message is turned away at first.
	fickle bool

	mu    sync.Mutex
	shut  bool
	mails []arrival            // every MAIL command, answered with 250 or not
	came  map[string][]arrival // messages by number
}

// arrival is how one copy of a message came.
type arrival struct {
	mail string // the MAIL command
	tls  bool
	body string
}

func startTLSSink(t *testing.T) *tlsSink {
	t.Helper()
	s := &tlsSink{came: make(map[string][]arrival)}
	s.cert = ca.New(t, "Sink CA").Issue(t, ca.Leaf{CN: "sink.test", Names: []string{"sink.test"}})
	s.tls = &tls.Config{Certificates: []tls.Certificate{s.cert}}
	s.Listener = listen(t, s.serve)
	return s
}

// relay are the parameters of a system that sends everything to the sink, whose
// certificate it knows.
func (s *tlsSink) relay() map[string]string {
	host, port, _ := net.SplitHostPort(s.Addr().String())
	return map[string]string{
		"relayhost": "[" + host + "]:" + port, "smtp_tls_security_level": "fingerprint",
		"smtp_tls_fingerprint_cert_match": ca.Fingerprint(s.cert.Leaf), "smtp_tls_fingerprint_digest": "sha256",
	}
}

// setShut shuts or opens the sink.
func (s *tlsSink) setShut(shut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = shut
}

// numbers is how often each message came.
func (s *tlsSink) numbers() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[string]int)
	for id, list := range s.came {
		n[id] = len(list)
	}
	return n
}

// numberedSender finds the number of a message in its MAIL command, where a test has
// put it.
var numberedSender = regexp.MustCompile(`^MAIL FROM:<(m\d+)@`)

// checkRequests: each MAIL command came over TLS and says REQUIRETLS if and only if
// the message's sender asked for it. It returns the number of commands.
func (s *tlsSink) checkRequests(t *testing.T, asked func(number string) bool) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	check := func(id string, a arrival) {
		if strings.Contains(a.mail+" ", " REQUIRETLS ") != asked(id) || !a.tls {
			t.Errorf("%s came with %q, TLS %t, want REQUIRETLS %t", id, a.mail, a.tls, asked(id))
		}
	}
	for id, list := range s.came {
		for _, a := range list {
			check(id, a)
		}
	}
	for _, a := range s.mails {
		if m := numberedSender.FindStringSubmatch(a.mail); m != nil {
			check(m[1], a)
		}
	}
	return len(s.mails)
}

func (s *tlsSink) serve(c net.Conn) {
	r, secure, mail := bufio.NewReader(c), false, ""
	s.mu.Lock()
	shut := s.shut
	s.mu.Unlock()
	if shut {
		fmt.Fprint(c, "421 4.3.2 shut\r\n")
		return
	}
	fmt.Fprint(c, "220 sink.test ESMTP\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		reply := "250 2.0.0 Ok"
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
		case "EHLO":
			reply = "250-sink.test\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 STARTTLS"
			if secure {
				reply = "250-sink.test\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 REQUIRETLS"
			}
		case "STARTTLS":
			fmt.Fprint(c, "220 2.0.0 go\r\n")
			conn := tls.Server(c, s.tls)
			if conn.Handshake() != nil {
				return
			}
			c, r, secure = conn, bufio.NewReader(conn), true
			continue
		case "MAIL":
			mail = line
			s.mu.Lock()
			s.mails = append(s.mails, arrival{mail: line, tls: secure})
			if s.fickle && len(s.mails)%10 == 0 {
				reply = "450 4.3.0 later"
			}
			s.mu.Unlock()
		case "DATA":
			fmt.Fprint(c, "354 go\r\n")
			body, ok := dotted(r)
			if !ok {
				return
			}
			s.take(arrival{mail, secure, body})
		case "QUIT":
			fmt.Fprint(c, "221 2.0.0 bye\r\n")
			return
		}
		fmt.Fprintf(c, "%s\r\n", reply)
	}
}

// dotted reads a message, with line ends of one byte; false when it is cut off.
func dotted(r *bufio.Reader) (string, bool) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", false
		}
		if line = strings.TrimRight(line, "\r\n"); line == "." {
			return b.String(), true
		}
		b.WriteString(strings.TrimPrefix(line, ".") + "\n")
	}
}

func (s *tlsSink) take(a arrival) {
	id := "none"
	if m := number.FindStringSubmatch(a.body); m != nil {
		id = m[1]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came[id] = append(s.came[id], a)
}
