// Package policyclient asks policy servers (protocols.md §5.3): a request is lines
// "name=value" and an empty line, the reply is the line "action=TEXT" and an empty line.
//
// Connections are kept and used again. A server that cannot be reached, hangs, says
// something else, or closes the connection is asked once more after a pause; then the
// request has failed.
package policyclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// ErrReply is an answer that is none.
var ErrReply = errors.New("malformed reply")

// Limits on a reply.
const (
	maxLine  = 8 << 10
	maxLines = 100
)

// Options are the settings of one service.
type Options struct {
	Timeout      time.Duration // of one try: connection, request and reply
	MaxIdle      time.Duration // a connection that was not used for this long is closed
	MaxTTL       time.Duration // and one that is older than this
	RequestLimit int           // requests over one connection; 0: no limit
	Tries        int           // at least 1
	RetryDelay   time.Duration // between tries
}

// Service is one policy server. It is safe for concurrent use.
type Service struct {
	Options
	network, addr string

	mu   sync.Mutex
	idle []*conn // the last one was used last
}

// maxIdleConns is how many connections are kept.
const maxIdleConns = 32

// conn is a connection to the server.
type conn struct {
	nc       net.Conn
	in       *bufio.Reader
	began    time.Time
	used     time.Time
	requests int
}

// New is the service at endpoint, "inet:host:port" or "unix:path". Nothing is connected
// yet.
func New(endpoint string, o Options) (*Service, error) {
	s := &Service{Options: o}
	kind, rest, _ := strings.Cut(endpoint, ":")
	switch kind {
	case "unix":
		s.network, s.addr = "unix", rest
	case "inet":
		s.network, s.addr = "tcp", rest
		if _, port, err := net.SplitHostPort(rest); err != nil || port == "" {
			rest = ""
		}
	default:
		rest = ""
	}
	if rest == "" {
		return nil, fmt.Errorf("bad endpoint %q; specify inet:host:port or unix:path", endpoint)
	}
	return s, nil
}

// Attr is one attribute of a request.
type Attr struct{ Name, Value string }

// Ask sends a request and returns the action that the server wants. Line ends and NUL in
// values are sent as "?".
func (s *Service) Ask(ctx context.Context, request []Attr) (action string, err error) {
	text := encode(request)
	for try := 1; ; try++ {
		if action, err = s.try(ctx, text); err == nil || try >= s.Tries || ctx.Err() != nil {
			return action, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(s.RetryDelay):
		}
	}
}

func encode(request []Attr) []byte {
	clean := strings.NewReplacer("\n", "?", "\r", "?", "\x00", "?")
	var b []byte
	for _, a := range request {
		b = append(b, a.Name...)
		b = append(b, '=')
		b = append(b, clean.Replace(a.Value)...)
		b = append(b, '\n')
	}
	return append(b, '\n')
}

// try asks once. A connection that the server closed while it was idle does not count.
func (s *Service) try(ctx context.Context, request []byte) (string, error) {
	for {
		c := s.take()
		reused := c != nil
		if c == nil {
			dial, cancel := context.WithTimeout(ctx, s.Timeout)
			nc, err := (&net.Dialer{}).DialContext(dial, s.network, s.addr)
			cancel()
			if err != nil {
				return "", err
			}
			c = &conn{nc: nc, in: bufio.NewReaderSize(nc, maxLine), began: time.Now()}
		}
		action, err := c.ask(ctx, request, s.Timeout)
		if err == nil {
			s.put(c)
			return action, nil
		}
		c.nc.Close()
		if !reused {
			return "", err
		}
	}
}

// ask sends the request over a connection and reads the reply.
func (c *conn) ask(ctx context.Context, request []byte, timeout time.Duration) (string, error) {
	stop := context.AfterFunc(ctx, func() { c.nc.Close() })
	defer stop()
	c.nc.SetDeadline(time.Now().Add(timeout))
	if _, err := c.nc.Write(request); err != nil {
		return "", err
	}
	return readReply(c.in)
}

// readReply reads lines up to an empty one; of them "action=" counts.
func readReply(in *bufio.Reader) (action string, err error) {
	found := false
	for range maxLines {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				return "", fmt.Errorf("%w: a line of more than %d bytes", ErrReply, maxLine)
			}
			return "", err
		}
		text := strings.TrimSuffix(string(line[:len(line)-1]), "\r")
		switch name, value, ok := strings.Cut(text, "="); {
		case text == "" && found && strings.TrimSpace(action) != "":
			return strings.TrimSpace(action), nil
		case text == "":
			return "", fmt.Errorf("%w: no action", ErrReply)
		case !ok:
			return "", fmt.Errorf("%w: %.100q is not name=value", ErrReply, text)
		case strings.TrimSpace(name) == "action":
			action, found = value, true
		}
	}
	return "", fmt.Errorf("%w: more than %d lines", ErrReply, maxLines)
}

// take is an idle connection that may be used; nil: none.
func (s *Service) take() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.idle) > 0 {
		c := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if now.Sub(c.used) < s.MaxIdle && now.Sub(c.began) < s.MaxTTL {
			return c
		}
		c.nc.Close()
	}
	return nil
}

// put keeps a connection for the next request.
func (s *Service) put(c *conn) {
	c.used = time.Now()
	c.requests++
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.RequestLimit > 0 && c.requests >= s.RequestLimit || len(s.idle) >= maxIdleConns || c.in.Buffered() > 0 {
		c.nc.Close()
		return
	}
	s.idle = append(s.idle, c)
}

// Close closes the idle connections.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		c.nc.Close()
	}
	s.idle = nil
}
