package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/test/selfsigned"
)

// dialogLimit ends a connection that hangs.
const dialogLimit = time.Minute

// handshakes connects l.messages times from l.sessions clients at a time, each
// time with a full handshake, and leaves.
func (s *system) handshakes(l load) error {
	var left atomic.Int64
	left.Store(int64(l.messages))
	errs := make(chan error, l.sessions)
	var wg sync.WaitGroup
	for range l.sessions {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := handshake(fmt.Sprintf("127.0.0.1:%d", s.port)); err != nil {
					errs <- fmt.Errorf("%s: %w", s.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func handshake(addr string) error {
	c, err := net.DialTimeout("tcp", addr, dialogLimit)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(dialogLimit))
	r := bufio.NewReader(c)
	for _, step := range []struct{ say, want string }{
		{"", "220"}, {"EHLO client.example\r\n", "250"}, {"STARTTLS\r\n", "220"},
	} {
		if err := ask(c, r, step.say, step.want); err != nil {
			return err
		}
	}
	// The certificate is not what is measured.
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	return errors.Join(tc.Handshake(), ask(tc, bufio.NewReader(tc), "QUIT\r\n", "221"))
}

// ask says something and wants a reply with this code.
func ask(w io.Writer, r *bufio.Reader, say, want string) error {
	if _, err := io.WriteString(w, say); err != nil {
		return err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("after %q: %w", say, err)
		}
		if !strings.HasPrefix(line, want) {
			return fmt.Errorf("%q was answered %q", say, line)
		}
		if len(line) < 4 || line[3] != '-' {
			return nil
		}
	}
}

// startTLSSink starts a server that takes and forgets messages, after STARTTLS.
func startTLSSink() (port int, stop func(), err error) {
	cert, err := selfsigned.New("sink.example")
	if err != nil {
		return 0, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert.Certificate}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				sink(c, config)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, func() { l.Close() }, nil
}

// sink speaks SMTP with one client until it leaves. Plaintext mail is refused: a
// system that sent it would not be measured but wrong.
func sink(c net.Conn, config *tls.Config) {
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	secure := false
	say := func(text string) { w.WriteString(text + "\r\n") }
	say("220 sink.example ESMTP")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		c.SetDeadline(time.Now().Add(dialogLimit))
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.TrimRight(line, "\r\n"))
		verb, _, _ = strings.Cut(verb, " ")
		switch {
		case verb == "EHLO" && !secure:
			say("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS")
		case verb == "EHLO":
			say("250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME")
		case verb == "STARTTLS" && !secure:
			say("220 ready")
			if w.Flush() != nil {
				return
			}
			c = tls.Server(c, config)
			r, w, secure = bufio.NewReader(c), bufio.NewWriter(c), true
		case !secure && verb != "QUIT":
			say("530 5.7.0 STARTTLS first")
		case verb == "DATA":
			say("354 go on")
			if w.Flush() != nil || skipContent(r) != nil {
				return
			}
			say("250 2.0.0 forgotten")
		case verb == "QUIT":
			say("221 bye")
			w.Flush()
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}

func skipContent(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if string(line) == ".\r\n" {
			return nil
		}
	}
}
