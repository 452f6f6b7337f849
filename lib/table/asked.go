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

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
)

// Asked are the types of tables that proxymap holds on behalf of the other
// daemons (decisions 47 and 49): databases, and the users of the system. A
// program that holds such tables itself has them in Env.Types.
func Asked() []string {
	return []string{"ldap", "memcache", "mysql", "pgsql", "redis", "sqlite", "unix"}
}

// Times of a client of proxymap.
const (
	// askTimeout is how long one request may take when the caller's context does not
	// say; the tables themselves have shorter limits.
	askTimeout = 100 * time.Second
	// askIdle is when a connection that is not used is closed (ipc_idle).
	askIdle = 5 * time.Second
	// maxIdleConns is how many connections of one table are kept.
	maxIdleConns = 4
)

// The ways in which proxymap declines.
var (
	ErrRetry  = errors.New("the table fails at the moment; see the log of proxymap")
	ErrDenied = errors.New("proxymap does not serve this table: it is in no parameter of main.cf and master.cf")
	ErrConfig = errors.New("proxymap cannot open the table; see its log")
	ErrReply  = errors.New("unexpected answer from proxymap")
)

// asked is a table that proxymap is asked for.
type asked struct {
	base
	path  string
	flags int

	mu     sync.Mutex
	idle   []*askConn
	closed bool
}

// openAsked opens a table of proxymap's. Nothing is sent before the first look-up.
func openAsked(env Env, spec, _ string) (Table, error) {
	a := &asked{base: base{spec: spec, fixed: true}, path: env.Proxymap}
	if a.path == "" {
		a.path = mailproto.PathProxymap
	}
	a.flags = mailproto.DictLock | mailproto.DictUTF8Request
	if !env.Exact {
		a.flags |= mailproto.DictFoldFix
	}
	return a, nil
}

func (a *asked) Lookup(ctx context.Context, key string) (string, bool, error) {
	if key == "" || strings.IndexByte(key, 0) >= 0 {
		return "", false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	reply, err := a.ask(ctx, key)
	if err != nil {
		return "", false, Fail(a.spec, err)
	}
	return reply.Value, reply.Status == mailproto.ProxymapOK, nil
}

// ask sends a look-up. A connection that was kept may be stale: proxymap was
// restarted. Then the next one is tried, at last a new one.
func (a *asked) ask(ctx context.Context, key string) (mailproto.ProxymapReply, error) {
	for {
		c, kept := a.take()
		if !kept {
			var err error
			if c, err = dialAsk(ctx, a.path, a.spec, a.flags); err != nil {
				return mailproto.ProxymapReply{}, err
			}
		}
		reply, err := c.do(ctx, &mailproto.ProxymapRequest{Verb: mailproto.ProxymapLookup, Table: a.spec,
			InstanceFlags: a.flags, Flags: c.flags, Key: key})
		if err != nil {
			c.Close()
			if kept && ctx.Err() == nil {
				continue
			}
			return reply, err
		}
		a.put(c)
		return reply, statusError(reply.Status)
	}
}

func statusError(s mailproto.ProxymapStatus) error {
	switch s {
	case mailproto.ProxymapOK, mailproto.ProxymapNoKey:
		return nil
	case mailproto.ProxymapRetry:
		return ErrRetry
	case mailproto.ProxymapDeny:
		return ErrDenied
	case mailproto.ProxymapConfig:
		return ErrConfig
	}
	return fmt.Errorf("%w: status %d", ErrReply, s)
}

// take takes the connection that was used last.
func (a *asked) take() (c *askConn, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.idle)
	if n == 0 {
		return nil, false
	}
	c = a.idle[n-1]
	a.idle = a.idle[:n-1]
	c.expiry.Stop()
	return c, true
}

func (a *asked) put(c *askConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.idle) >= maxIdleConns {
		c.Close()
		return
	}
	a.idle = append(a.idle, c)
	c.expiry = time.AfterFunc(askIdle, func() { a.expire(c) })
}

// expire closes a connection that nobody took.
func (a *asked) expire(c *askConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, other := range a.idle {
		if other == c {
			a.idle = append(a.idle[:i], a.idle[i+1:]...)
			c.Close()
			return
		}
	}
}

func (a *asked) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, c := range a.idle {
		c.expiry.Stop()
		c.Close()
	}
	a.idle = nil
	return nil
}

// askConn is a connection to proxymap on which a table was opened.
type askConn struct {
	net.Conn
	d      *attr.Decoder
	e      attr.Encoder
	flags  int // that open answered
	expiry *time.Timer
}

func dialAsk(ctx context.Context, path, spec string, flags int) (*askConn, error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to proxymap: %w", err)
	}
	c := &askConn{Conn: nc, d: attr.NewDecoder(bufio.NewReader(nc), attr.Strict)}
	stop := c.watch(ctx)
	_, err = mailproto.ReadGreeting(c.d, mailproto.ProtoProxymap)
	stop()
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("greeting of proxymap: %w", err)
	}
	reply, err := c.do(ctx, &mailproto.ProxymapRequest{Verb: mailproto.ProxymapOpen, Table: spec, InstanceFlags: flags})
	if err == nil {
		err = statusError(reply.Status)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.flags = reply.Flags
	return c, nil
}

// watch makes the end of ctx end reads and writes until stop is called.
func (c *askConn) watch(ctx context.Context) (stop func() bool) {
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline) //nolint:errcheck // a closed connection says so at the next read
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

func (c *askConn) do(ctx context.Context, r *mailproto.ProxymapRequest) (mailproto.ProxymapReply, error) {
	stop := c.watch(ctx)
	defer stop()
	c.e.Reset()
	r.Append(&c.e)
	if _, err := c.Write(c.e.Bytes()); err != nil {
		return mailproto.ProxymapReply{}, fmt.Errorf("ask proxymap: %w", err)
	}
	reply, err := mailproto.ReadProxymapReply(c.d, r.Verb)
	if err != nil {
		return reply, fmt.Errorf("answer of proxymap: %w", err)
	}
	return reply, nil
}
