package sasl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of time for the service.
const (
	// answerTimeout is for an answer; Dovecot delays that to a wrong password by some
	// seconds.
	answerTimeout = 30 * time.Second
	// greetTimeout is for a connection and the greetings.
	greetTimeout = 10 * time.Second
	// mechanismsAge is how long a list of mechanisms is good.
	mechanismsAge = 10 * time.Second
)

// Dovecot is a client of Dovecot's authentication service. It is safe for concurrent
// use. Each authentication has a connection of its own: a process of Dovecot that was
// stopped lives on as long as it has connections, with the passwords of its time.
type Dovecot struct {
	network, addr string
	path          string // as configured, for texts
	now           func() time.Time

	mu         sync.Mutex
	mechanisms []Mechanism
	asked      time.Time // when mechanisms was learned
}

// NewDovecot is a client of the service at path (smtpd_sasl_path): "inet:host:port",
// or a Unix socket's path with or without "unix:". Nothing is connected yet.
func NewDovecot(path string) (*Dovecot, error) {
	d := &Dovecot{network: "unix", addr: strings.TrimPrefix(path, "unix:"), path: path, now: time.Now}
	if rest, ok := strings.CutPrefix(path, "inet:"); ok {
		d.network, d.addr = "tcp", rest
		if _, port, err := net.SplitHostPort(rest); err != nil || port == "" {
			return nil, fmt.Errorf("bad address %q; specify inet:host:port, or the path of a Unix socket", path)
		}
	}
	if d.addr == "" {
		return nil, errors.New("empty path; specify inet:host:port, or the path of a Unix socket")
	}
	return d, nil
}

// Mechanisms are those that the service offers. A list is good for ten seconds.
func (d *Dovecot) Mechanisms(ctx context.Context) ([]Mechanism, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.asked.IsZero() && d.now().Sub(d.asked) < mechanismsAge {
		return d.mechanisms, nil
	}
	c, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.nc.Close()
	d.mechanisms, d.asked = c.mechanisms, d.now()
	return d.mechanisms, nil
}

// Begin starts an authentication.
func (d *Dovecot) Begin(ctx context.Context, r *Request) (Exchange, Step, error) {
	c, err := d.connect(ctx)
	if err != nil {
		return nil, Step{}, err
	}
	step, err := c.ask(ctx, request(r))
	if err != nil || step.State != Continue {
		c.nc.Close()
		return nil, step, err
	}
	return &exchange{c}, step, nil
}

// number is that of the one authentication of a connection.
const number = "1"

// request is the AUTH command. The response is the last parameter.
func request(r *Request) []byte {
	fields := []string{"AUTH", number, r.Mechanism, "service=" + r.Service, "nologin"}
	for _, p := range []struct{ name, value string }{
		{"lip", r.LocalAddr}, {"lport", r.LocalPort}, {"rip", r.RemoteAddr}, {"rport", r.RemotePort},
	} {
		if p.value != "" {
			fields = append(fields, p.name+"="+p.value)
		}
	}
	if r.Secured {
		fields = append(fields, "secured")
	}
	if r.ValidCert {
		fields = append(fields, "valid-client-cert")
	}
	if r.HasInitial {
		initial := r.Initial
		if initial == "=" { // RFC 4954 §4: there is one, and it is empty
			initial = ""
		}
		fields = append(fields, "resp="+initial)
	}
	return appendLine(nil, fields...)
}

// conn is one connection to the service, after the greetings.
type conn struct {
	nc         net.Conn
	in         *bufio.Reader
	mechanisms []Mechanism
}

// connect makes a connection and exchanges greetings.
func (d *Dovecot) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, d.network, d.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: connect to Dovecot auth socket '%s': %w", ErrUnavailable, d.path, err)
	}
	c := &conn{nc: nc, in: bufio.NewReaderSize(nc, maxLine)}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if err := c.greet(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("Dovecot auth socket '%s': %w", d.path, err)
	}
	return c, nil
}

// greet exchanges greetings. The service says all of its at once.
func (c *conn) greet() error {
	hello := appendLine(nil, "VERSION", "1", "1")
	hello = appendLine(hello, "CPID", strconv.Itoa(os.Getpid()))
	if _, err := c.nc.Write(hello); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	version := false
	for range 1000 {
		fields, err := c.readLine()
		if err != nil {
			return err
		}
		switch fields[0] {
		case "VERSION":
			if len(fields) < 3 || fields[1] != "1" {
				return fmt.Errorf("%w: version %q is not supported", ErrProtocol, fields[1:])
			}
			version = true
		case "MECH":
			if m, ok := parseMech(fields[1:]); ok {
				c.mechanisms = append(c.mechanisms, m)
			}
		case "DONE":
			if !version {
				return fmt.Errorf("%w: no version in the greeting", ErrProtocol)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: the greeting has no end", ErrProtocol)
}

func (c *conn) readLine() ([]string, error) {
	line, err := c.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrProtocol, maxLine)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return splitLine(string(line[:len(line)-1])), nil
}

// ask sends a line and waits for the answer.
func (c *conn) ask(ctx context.Context, line []byte) (Step, error) {
	stop := context.AfterFunc(ctx, func() { c.nc.Close() })
	defer stop()
	c.nc.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := c.nc.Write(line); err != nil {
		return Step{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for range 1000 {
		fields, err := c.readLine()
		if err != nil {
			return Step{}, err
		}
		id, step, ok, err := parseAnswer(fields)
		if err != nil {
			return Step{}, err
		}
		if ok && id == number {
			return step, nil
		}
		// A command of a later version.
	}
	return Step{}, fmt.Errorf("%w: no answer", ErrProtocol)
}

// exchange is an authentication that waits for a response.
type exchange struct{ conn *conn }

// Respond carries the client's response.
func (e *exchange) Respond(ctx context.Context, response string) (Step, error) {
	step, err := e.conn.ask(ctx, appendLine(nil, "CONT", number, response))
	if err != nil || step.State != Continue {
		e.conn.nc.Close()
	}
	return step, err
}

// Cancel forgets the authentication; the service sees the end of the connection.
func (e *exchange) Cancel() { e.conn.nc.Close() }
