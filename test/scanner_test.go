package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"sync"
	"testing"
)

// scanner is a content filter that speaks SMTP or LMTP: it shows each message to
// a function, and sends what that returns to where filtered mail goes.
type scanner struct {
	net.Listener
	lmtp bool
	back string
	// scan returns the message to go on, or a reply that refuses it.
	scan func(message string) (changed, refusal string)
	// refuse returns a reply that refuses a recipient after DATA (LMTP).
	refuse func(rcpt string) string

	mu   sync.Mutex
	seen []scanned
}

// scanned is what a filter saw.
type scanned struct {
	from     string
	to       []string
	message  string   // lines end in "\n"
	mail     string   // what followed the sender in MAIL FROM
	xforward []string // commands that say where it came from
}

func startScanner(t *testing.T, back string) *scanner {
	s := &scanner{back: back, scan: func(m string) (string, string) { return m, "" }}
	s.Listener = listen(t, s.serve)
	return s
}

func (s *scanner) port() string { return port(s.Addr().String()) }

// all is what the filter saw so far.
func (s *scanner) all() []scanned {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]scanned(nil), s.seen...)
}

func (s *scanner) serve(c net.Conn) {
	r := textproto.NewReader(bufio.NewReader(c))
	say := func(line string) { fmt.Fprintf(c, "%s\r\n", line) }
	say("220 scanner.test ready")
	var m scanned
	var xforward []string
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "LHLO":
			if s.lmtp != (verb == "LHLO") {
				say("500 wrong protocol")
				continue
			}
			say("250-scanner.test\r\n250-PIPELINING\r\n250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n250 8BITMIME")
		case "XFORWARD":
			xforward = append(xforward, line)
			say("250 ok")
		case "MAIL":
			m = scanned{}
			m.from, m.mail, _ = strings.Cut(strings.TrimPrefix(rest, "FROM:<"), ">")
			say("250 ok")
		case "RCPT":
			to, _, _ := strings.Cut(strings.TrimPrefix(rest, "TO:<"), ">")
			m.to = append(m.to, to)
			say("250 ok")
		case "DATA":
			say("354 go on")
			text, err := io.ReadAll(r.DotReader())
			if err != nil {
				return
			}
			m.message, m.xforward, xforward = string(text), xforward, nil
			for _, reply := range s.take(m) {
				say(reply)
			}
		case "RSET", "NOOP":
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("500 unknown command")
		}
	}
}

// take deals with one message and gives the replies: one, or one for each
// recipient (LMTP).
func (s *scanner) take(m scanned) []string {
	s.mu.Lock()
	s.seen = append(s.seen, m)
	s.mu.Unlock()
	text, refusal := s.scan(m.message)
	if !s.lmtp {
		if refusal == "" {
			refusal = s.forward(m, m.to, text)
		}
		return []string{refusal}
	}
	var replies []string
	for _, to := range m.to {
		reply := refusal
		if reply == "" && s.refuse != nil {
			reply = s.refuse(to)
		}
		if reply == "" {
			reply = s.forward(m, []string{to}, text)
		}
		replies = append(replies, reply)
	}
	return replies
}

// forward speaks plain SMTP, as most filters do, also where TLS is offered.
func (s *scanner) forward(m scanned, to []string, text string) (reply string) {
	err := func() error {
		c, err := smtp.Dial(s.back)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Hello("scanner.test"); err != nil {
			return err
		}
		for _, line := range m.xforward {
			if err := command250(c, line); err != nil {
				return err
			}
		}
		if err := c.Mail(m.from); err != nil {
			return err
		}
		for _, rcpt := range to {
			if err := c.Rcpt(rcpt); err != nil {
				return err
			}
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		fmt.Fprint(w, strings.ReplaceAll(text, "\n", "\r\n"))
		if err := w.Close(); err != nil {
			return err
		}
		return c.Quit()
	}()
	if err != nil {
		return "451 4.3.0 " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return "250 2.0.0 passed on"
}
