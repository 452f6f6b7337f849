package test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/test/harness"
)

// strictSink is an SMTP server that takes nothing for granted: it knows one line
// ending and one end of data, and notes every byte that a more generous server
// could take for another (security-cases.md §2.B).
type strictSink struct {
	net.Listener
	mu       sync.Mutex
	messages []string // lines end in "\n", stuffed dots removed
	faults   []string
}

// startStrictSink offers the extensions, one EHLO line each.
func startStrictSink(t *testing.T, extensions ...string) *strictSink {
	s := &strictSink{}
	s.Listener = listen(t, func(c net.Conn) { s.serve(c, extensions) })
	return s
}

func (s *strictSink) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 20 {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

func (s *strictSink) serve(c net.Conn, extensions []string) {
	r := bufio.NewReader(c)
	fmt.Fprint(c, "220 sink.test ESMTP\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if n := len(line) - 2; n < 0 || line[n] != '\r' || strings.ContainsAny(line[:n], "\r\n\x00") {
			s.fault("command %q", line)
		}
		switch verb := strings.ToUpper(strings.Fields(line + " ?")[0]); verb {
		case "EHLO":
			for _, e := range append([]string{"sink.test"}, extensions...) {
				fmt.Fprintf(c, "250-%s\r\n", e)
			}
			fmt.Fprint(c, "250 HELP\r\n")
		case "HELO", "RCPT", "RSET", "MAIL":
			if strings.Contains(line, "evil") {
				s.fault("smuggled command %q", line)
			}
			fmt.Fprint(c, "250 2.1.0 Ok\r\n")
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			if !s.content(r) {
				return
			}
			fmt.Fprint(c, "250 2.0.0 Ok\r\n")
		case "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			s.fault("unexpected command %q", line)
			return
		}
	}
}

// content reads bytes until CR LF . CR LF, where the line ending of DATA counts
// as the first two, and judges what came.
func (s *strictSink) content(r *bufio.Reader) bool {
	raw := []byte("\r\n")
	for !bytes.HasSuffix(raw, []byte("\r\n.\r\n")) {
		b, err := r.ReadByte()
		if err != nil {
			return false // an aborted message is no message
		}
		raw = append(raw, b)
	}
	raw = raw[2 : len(raw)-len(".\r\n")]
	var message strings.Builder
	for line := range bytes.Lines(raw) {
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok || bytes.ContainsAny(text, "\r\n") {
			s.fault("bare CR or LF in %.80q", line)
		}
		if bytes.HasPrefix(text, []byte(".")) {
			if text = text[1:]; !bytes.HasPrefix(text, []byte(".")) {
				s.fault("dot not doubled in %.80q", line)
			}
		}
		message.Write(text)
		message.WriteByte('\n')
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, message.String())
	return true
}

// wait waits for n messages and reports every fault so far.
func (s *strictSink) wait(ctx context.Context, t *testing.T, n int) []string {
	t.Helper()
	err := harness.Poll(ctx, func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.messages) >= n, nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || len(s.messages) != n {
		t.Errorf("the sink has %d messages, want %d: %v", len(s.messages), n, err)
	}
	for _, f := range s.faults {
		t.Errorf("on the wire: %s", f)
	}
	return s.messages
}

// wire is a raw SMTP session of a test: bytes out, replies in.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// dialWire connects and reads the greeting.
func dialWire(t *testing.T, addr string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(harness.Patience))
	w := &wire{t, conn, bufio.NewReader(conn)}
	w.want("", "220 ")
	return w
}

// reply is one reply, its lines joined with "|", or "EOF".
func (w *wire) reply() string {
	var lines []string
	for {
		line, err := w.in.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, "EOF"), "|")
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "|")
		}
	}
}

// write sends bytes; a peer that has closed is seen in its replies.
func (w *wire) write(text string) { w.conn.Write([]byte(text)) }

// want sends bytes and checks how the reply begins.
func (w *wire) want(send, reply string) {
	w.t.Helper()
	w.write(send)
	if got := w.reply(); !strings.HasPrefix(got, reply) {
		w.t.Errorf("%.80q: reply %q, want %q", send, got, reply)
	}
}

// ended checks that nothing more comes and the session is over.
func (w *wire) ended() {
	w.t.Helper()
	if got := w.reply(); got != "EOF" {
		w.t.Errorf("the session goes on with %q", got)
	}
}

// envelope opens a transaction.
func (w *wire) envelope(from string, to ...string) {
	w.t.Helper()
	w.want("MAIL FROM:<"+from+">\r\n", "250 ")
	for _, r := range to {
		w.want("RCPT TO:<"+r+">\r\n", "250 ")
	}
}

// data sends the content of a message, whose lines end in LF.
func data(c *smtp.Client, message string) error {
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, strings.ReplaceAll(message, "\n", "\r\n")); err != nil {
		return err
	}
	return w.Close()
}
