// Package mailclient has the clients of the mail system's services: cleanup,
// the bounce services, verify, showq, and triggers (spec: protocols.md §1.5,
// §2). The messages themselves are in package mailproto.
//
// A service is named by the path of its socket, relative to the queue directory
// that daemons have as their working directory: "public/cleanup". Functions make
// one attempt; whether to wait and try again is the caller's decision. A context
// without deadline gives up after ipc_timeout's default.
package mailclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
)

var (
	// ErrConnect: the service cannot be reached: not running, or not for us.
	ErrConnect = errors.New("cannot connect to service")
	// ErrStatus: the service answered that the request was not done.
	ErrStatus = errors.New("request failed")
)

// defaultTimeout is ipc_timeout's default.
const defaultTimeout = 3600 * time.Second

// maxPath is sizeof(sockaddr_un.sun_path).
const maxPath = 108

// conn is a connection to a service with pooled buffers.
type conn struct {
	net.Conn
	ctx  context.Context
	stop func() bool // ends the watch over ctx

	mu   sync.Mutex
	free bool // nobody watches over ctx any more
	b    *codec
	d    *attr.Decoder
}

type codec struct {
	r *bufio.Reader
	e attr.Encoder
}

var codecs = sync.Pool{New: func() any { return &codec{r: bufio.NewReaderSize(nil, 1024)} }}

// connect dials, without reading anything.
func connect(ctx context.Context, path string) (net.Conn, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%w %s: path is over %d bytes; use a shorter queue_directory, or start from within it", ErrConnect, path, maxPath)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrConnect, path, cause(err))
	}
	return c, nil
}

// cause takes the address, which the caller names, out of a dialling error.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// dial connects and watches over ctx until release.
func dial(ctx context.Context, path string) (*conn, error) {
	nc, err := connect(ctx, path)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, b: codecs.Get().(*codec)}
	c.b.r.Reset(nc)
	c.b.e.Reset()
	c.d = attr.NewDecoder(c.b.r, attr.Strict)
	c.watch(ctx)
	return c, nil
}

// watch makes ctx govern reads and writes from now on.
func (c *conn) watch(ctx context.Context) {
	c.see(ctx)
	c.ctx = ctx
	if ctx.Done() != nil {
		c.free = false
		c.stop = context.AfterFunc(ctx, c.interrupt)
	}
}

// interrupt ends what the connection is waiting for.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.free {
		c.SetDeadline(time.Unix(1, 0))
	}
}

// see takes the deadline of ctx over, but not its end.
func (c *conn) see(ctx context.Context) {
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = true // an interrupt that is on its way comes too late
	c.ctx = context.WithoutCancel(ctx)
	c.SetDeadline(deadline)
}

// release closes the connection and gives the buffers back.
func (c *conn) release() {
	if c.b == nil {
		return
	}
	if c.stop != nil {
		c.stop()
	}
	c.Close()
	c.b.r.Reset(nil)
	codecs.Put(c.b)
	c.b, c.d = nil, nil
}

// greeting reads what the service says first.
func (c *conn) greeting(protocol string) (mailproto.Greeting, error) {
	g, err := mailproto.ReadGreeting(c.d, protocol)
	return g, c.fix("greeting", err)
}

// send writes what encode appends.
func (c *conn) send(encode func(e *attr.Encoder)) error {
	encode(&c.b.e)
	_, err := c.Write(c.b.e.Bytes())
	c.b.e.Reset()
	return c.fix("request", err)
}

// fix says what was going on when err happened, and prefers the context's
// reason to the deadline that it became.
func (c *conn) fix(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil:
		err = c.ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded): // a moment before the context knows
		err = context.DeadlineExceeded
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: %w", what, err)
}

// command sends one request and expects status 0.
func command(ctx context.Context, path, protocol string, encode func(e *attr.Encoder)) error {
	status, err := ask(ctx, path, protocol, encode)
	if err == nil && status != 0 {
		err = fmt.Errorf("service %s: %w: status %d", path, ErrStatus, status)
	}
	return err
}

// ask sends one request and returns the status in the reply.
func ask(ctx context.Context, path, protocol string, encode func(e *attr.Encoder)) (int, error) {
	c, err := dial(ctx, path)
	if err != nil {
		return 0, err
	}
	defer c.release()
	_, err = c.greeting(protocol)
	if err == nil {
		err = c.send(encode)
	}
	var reply mailproto.StatusReply
	if err == nil {
		reply, err = mailproto.ReadStatusReply(c.d)
		err = c.fix("reply", err)
	}
	if err != nil {
		return 0, fmt.Errorf("service %s: %w", path, err)
	}
	return reply.Status, nil
}

// Bounce sends one request to a bounce service ("private/bounce", "private/defer",
// "private/trace") and returns an error when it was not done (§2.7).
func Bounce(ctx context.Context, path string, r *mailproto.BounceRequest) error {
	return command(ctx, path, mailproto.ProtoBounce, r.Append)
}

// Verify reports the result of an address probe to a verify service (§2.9).
func Verify(ctx context.Context, path string, v mailproto.VerifyUpdate) error {
	return command(ctx, path, mailproto.ProtoVerify, v.Append)
}

// Flush sends a request to the fast flush service and returns its status, one of
// mailproto.FlushOK and so on (§2.11).
func Flush(ctx context.Context, path string, r mailproto.FlushRequest) (status int, err error) {
	return ask(ctx, path, mailproto.ProtoFlush, r.Append)
}

// Showq is a queue listing in progress.
type Showq struct {
	c    *conn
	read func(*attr.Decoder) (*mailproto.ShowqEntry, error)
}

// DialShowq asks a showq service for a listing. protocol is ProtoShowq, or
// ProtoUserShowq at a user/ socket.
func DialShowq(ctx context.Context, path, protocol string) (*Showq, error) {
	c, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	if _, err := c.greeting(protocol); err != nil {
		c.release()
		return nil, fmt.Errorf("service %s: %w", path, err)
	}
	s := &Showq{c: c, read: mailproto.ReadShowqEntry}
	if protocol == mailproto.ProtoUserShowq {
		s.read = mailproto.ReadUserShowqEntry
	}
	return s, nil
}

// Next returns the next message; io.EOF after the last. An end without the mark
// of the last is io.ErrUnexpectedEOF: the listing is not complete.
func (s *Showq) Next() (*mailproto.ShowqEntry, error) {
	e, err := s.read(s.c.d)
	if err == io.EOF {
		return nil, err
	}
	if err != nil {
		return nil, s.c.fix("queue listing", err)
	}
	return e, nil
}

// Close ends the listing.
func (s *Showq) Close() { s.c.release() }
