package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"sealpost/lib/netstring"
)

// Limits of socketmap and tcp tables (protocols.md §6.5).
const (
	socketTimeout  = 100 * time.Second // connect, and one look-up
	socketIdle     = 10 * time.Second
	socketTTL      = 100 * time.Second
	socketmapQuery = 10_000
	socketmapReply = 100_000
	tcpLine        = 4096
)

// The ways in which a server of look-ups can fail.
var (
	ErrServer = errors.New("the server says")
	ErrAnswer = errors.New("malformed answer")
	ErrQuery  = errors.New("the key is too long")
)

// server is a look-up server with one connection, which is kept for a while.
// Look-ups take turns.
type server struct {
	network, address string
	now              func() time.Time

	mu         sync.Mutex
	conn       net.Conn
	in         *bufio.Reader
	born, used time.Time
}

// ask sends a query and reads the answer. A connection that was kept may be dead:
// then once more, over a new one.
func (s *server) ask(ctx context.Context, query []byte, read func(*bufio.Reader) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	now := s.now()
	if s.conn != nil && (now.Sub(s.used) > socketIdle || now.Sub(s.born) > socketTTL) {
		s.drop()
	}
	for {
		kept := s.conn != nil
		if !kept {
			conn, err := new(net.Dialer).DialContext(ctx, s.network, s.address)
			if err != nil {
				return err
			}
			s.conn, s.in, s.born = conn, bufio.NewReader(conn), now
		}
		err := s.exchange(ctx, query, read)
		if err == nil {
			s.used = s.now()
			return nil
		}
		s.drop()
		if !kept || ctx.Err() != nil || errors.Is(err, ErrAnswer) {
			return err
		}
	}
}

func (s *server) exchange(ctx context.Context, query []byte, read func(*bufio.Reader) error) error {
	deadline, _ := ctx.Deadline()
	if err := s.conn.SetDeadline(deadline); err != nil {
		return err
	}
	conn := s.conn
	// A deadline of the past ends what waits.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := s.conn.Write(query); err != nil {
		return err
	}
	return read(s.in)
}

func (s *server) drop() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

func (s *server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	return nil
}

// socketmap is a table that a server is asked for by name, in netstrings.
type socketmap struct {
	base
	server
	name string
}

// errSocketmap is the form of a socketmap's name.
var errSocketmap = errors.New(`expecting "inet:HOST:PORT:NAME" or "unix:PATH:NAME"`)

func openSocketmap(_ Env, spec, name string) (Table, error) {
	network, rest, _ := strings.Cut(name, ":")
	i := strings.LastIndexByte(rest, ':')
	if i <= 0 || i == len(rest)-1 {
		return nil, errSocketmap
	}
	t := &socketmap{base: base{spec: spec}, name: rest[i+1:]}
	t.address, t.now = rest[:i], time.Now
	switch network {
	case "inet":
		if _, _, err := net.SplitHostPort(t.address); err != nil {
			return nil, fmt.Errorf("%w: %w", errSocketmap, err)
		}
		t.network = "tcp"
	case "unix":
		t.network = "unix"
	default:
		return nil, errSocketmap
	}
	return t, nil
}

func (t *socketmap) Close() error { return t.server.Close() }

func (t *socketmap) Lookup(ctx context.Context, key string) (value string, found bool, err error) {
	query := t.name + " " + fold(key)
	if len(query) > socketmapQuery {
		return "", false, Fail(t.spec, ErrQuery)
	}
	var reply string
	err = t.ask(ctx, netstring.Append(nil, query), func(r *bufio.Reader) error {
		var err error
		if reply, err = netstring.Read(r, socketmapReply); errors.Is(err, netstring.ErrForm) || errors.Is(err, netstring.ErrSize) {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return err
	})
	if err != nil {
		return "", false, Fail(t.spec, err)
	}
	value, found, err = socketmapAnswer(reply)
	if err != nil {
		return "", false, Fail(t.spec, err)
	}
	return value, found, nil
}

// socketmapAnswer reads an answer: a word, a blank, and a value or a reason.
func socketmapAnswer(reply string) (value string, found bool, err error) {
	word, text, _ := strings.Cut(reply, " ")
	switch word {
	case "OK":
		return text, true, nil
	case "NOTFOUND":
		return "", false, nil
	case "TEMP", "TIMEOUT", "PERM":
		return "", false, fmt.Errorf("%w %s: %q", ErrServer, word, text[:min(len(text), 200)])
	}
	return "", false, fmt.Errorf("%w: %q", ErrAnswer, reply[:min(len(reply), 100)])
}

// tcp is a table that a server is asked for in lines.
type tcp struct {
	base
	server
}

func openTCP(_ Env, spec, name string) (Table, error) {
	host, port, err := net.SplitHostPort(name)
	if err != nil || port == "" {
		return nil, errors.New(`expecting "HOST:PORT"`)
	}
	if host == "" {
		name = "localhost:" + port
	}
	t := &tcp{base: base{spec: spec}}
	t.network, t.address, t.now = "tcp", name, time.Now
	return t, nil
}

func (t *tcp) Close() error { return t.server.Close() }

func (t *tcp) Lookup(ctx context.Context, key string) (value string, found bool, err error) {
	query := "get " + percentEncode(fold(key)) + "\n"
	if len(query) > tcpLine {
		return "", false, Fail(t.spec, ErrQuery)
	}
	var line string
	err = t.ask(ctx, []byte(query), func(r *bufio.Reader) error {
		line, err = readLine(r, tcpLine)
		return err
	})
	if err == nil {
		value, found, err = tcpAnswer(line)
	}
	if err != nil {
		return "", false, Fail(t.spec, err)
	}
	return value, found, nil
}

// readLine reads one line without its ending.
func readLine(r *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if c == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if line = append(line, c); len(line) > limit {
			return "", fmt.Errorf("%w: a line of more than %d bytes", ErrAnswer, limit)
		}
	}
}

// tcpAnswer reads an answer: a code, a blank, and encoded text.
func tcpAnswer(line string) (value string, found bool, err error) {
	code, text, blank := strings.Cut(line, " ")
	if text, err = percentDecode(text); err != nil || !blank {
		return "", false, fmt.Errorf("%w: %q", ErrAnswer, line[:min(len(line), 100)])
	}
	switch code {
	case "200":
		return text, true, nil
	case "500":
		return "", false, nil
	case "400":
		return "", false, fmt.Errorf("%w: %q", ErrServer, text[:min(len(text), 200)])
	}
	return "", false, fmt.Errorf("%w: %q", ErrAnswer, line[:min(len(line), 100)])
}

// percentEncode writes what is not printable, blanks and "%" as %XX.
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func percentDecode(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		var c byte
		if i+2 >= len(s) {
			return "", ErrAnswer
		}
		if _, err := fmt.Sscanf(s[i+1:i+3], "%02x", &c); err != nil {
			return "", ErrAnswer
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), nil
}
