package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// server answers requests about the tables that were approved.
type server struct {
	tables  map[string]table.Table
	write   bool
	timeout time.Duration
	service string
	list    string // the parameter that lists further tables
}

func (srv *server) files() []string {
	var files []string
	for _, t := range srv.tables {
		files = append(files, t.Files()...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

func (srv *server) close() {
	for _, t := range srv.tables {
		_ = t.Close() // the process ends
	}
}

// client is one connection.
type client struct {
	*server
	conn net.Conn
	log  *maillog.Logger
	d    *attr.Decoder
	e    attr.Encoder

	// a sequence in progress
	next  func() (table.Entry, error, bool)
	stop  func()
	table string
}

func (srv *server) serve(ctx context.Context, s *service.Session) {
	c := &client{server: srv, conn: s.Conn, log: s.Log}
	c.d = attr.NewDecoder(bufio.NewReader(s.Conn), attr.Strict)
	defer c.endSequence()
	stop := context.AfterFunc(ctx, c.interrupt)
	defer stop()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-s.Drain: // a client that waits for nothing connects to our successor
			c.conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // closed, then
		case <-done:
		}
	}()
	err := c.run(ctx, s.Draining)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !isGone(err) {
		c.log.Warnf("%v", err)
	}
}

func (c *client) interrupt() { c.conn.SetDeadline(time.Unix(1, 0)) }

// isGone: the client closed the connection.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// run greets and answers until the client leaves.
func (c *client) run(ctx context.Context, draining func() bool) error {
	mailproto.Greeting{Protocol: mailproto.ProtoProxymap}.Append(&c.e)
	if err := c.flush(); err != nil {
		return err
	}
	for !draining() && ctx.Err() == nil {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
			return err
		}
		if draining() { // it came before the deadline was set
			return nil
		}
		r, err := mailproto.ReadProxymapRequest(c.d)
		if err != nil {
			return err
		}
		reply, known := c.answer(ctx, r)
		if !known {
			mailproto.StatusReply{Status: int(mailproto.ProxymapBad)}.Append(&c.e)
			_ = c.flush() // the connection ends in any case: what follows cannot be read
			return fmt.Errorf("unrecognized request: %.100q", r.Verb)
		}
		reply.Append(&c.e, r.Verb)
		if err := c.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) flush() error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(c.e.Bytes())
	c.e.Reset()
	return err
}

// answer does what a request asks for; known is false for an unknown verb.
func (c *client) answer(ctx context.Context, r *mailproto.ProxymapRequest) (reply mailproto.ProxymapReply, known bool) {
	var act func(context.Context, *mailproto.ProxymapRequest, table.Table) mailproto.ProxymapReply
	switch r.Verb {
	case mailproto.ProxymapOpen:
		act = c.open
	case mailproto.ProxymapLookup:
		act = c.lookup
	case mailproto.ProxymapUpdate:
		act = c.update
	case mailproto.ProxymapDelete:
		act = c.delete
	case mailproto.ProxymapSequence:
		act = c.sequence
	default:
		return reply, false
	}
	t := c.find(r.Table)
	if t == nil {
		return mailproto.ProxymapReply{Status: mailproto.ProxymapDeny}, true
	}
	reply = act(ctx, r, t)
	if r.Verb != mailproto.ProxymapOpen {
		reply.Flags = r.Flags
	}
	return reply, true
}

// find is the table with that name, or nil for one that is not served.
func (c *client) find(name string) table.Table {
	spec := name
	for strings.HasPrefix(spec, "proxy:") {
		spec = spec[len("proxy:"):]
	}
	if t := c.tables[spec]; t != nil {
		return t
	}
	access := "read-only"
	if c.write {
		access = "read-write"
	}
	c.log.Warnf("request for unapproved table: %.200q", name)
	c.log.Warnf("to approve this table for %s access, list proxy:%.200q in %s", access, spec, c.list)
	return nil
}

func (c *client) open(_ context.Context, r *mailproto.ProxymapRequest, t table.Table) mailproto.ProxymapReply {
	flags := r.InstanceFlags
	if t.Fixed() {
		flags |= mailproto.DictFixed
	} else {
		flags |= mailproto.DictPattern
	}
	if flags&mailproto.DictUTF8Request != 0 {
		flags |= mailproto.DictUTF8Active
	}
	return mailproto.ProxymapReply{Flags: flags}
}

// key is the key as the table has it.
func key(r *mailproto.ProxymapRequest, t table.Table) string {
	fold := mailproto.DictFoldMul
	if t.Fixed() {
		fold = mailproto.DictFoldFix
	}
	if r.InstanceFlags&fold != 0 {
		return strings.ToLower(r.Key)
	}
	return r.Key
}

func (c *client) lookup(ctx context.Context, r *mailproto.ProxymapRequest, t table.Table) mailproto.ProxymapReply {
	value, found, err := t.Lookup(ctx, key(r, t))
	switch {
	case err != nil:
		return c.failed(r, err)
	case found && strings.IndexByte(value, 0) >= 0:
		return c.failed(r, table.Fail(r.Table, errNUL))
	case !found:
		return mailproto.ProxymapReply{Status: mailproto.ProxymapNoKey}
	}
	return mailproto.ProxymapReply{Value: value}
}

// errNUL: a value that the protocol cannot carry.
var errNUL = errors.New("the value has a NUL in it")

func (c *client) failed(r *mailproto.ProxymapRequest, err error) mailproto.ProxymapReply {
	c.log.Warnf("%s of %.200q: %v", r.Verb, r.Key, err)
	return mailproto.ProxymapReply{Status: mailproto.ProxymapRetry}
}

// updater is the table if it may and can be changed.
func (c *client) updater(r *mailproto.ProxymapRequest, t table.Table) (table.Updater, mailproto.ProxymapStatus) {
	u, ok := t.(table.Updater)
	switch {
	case !c.write:
		c.log.Warnf("refusing %s request on non-%s service", r.Verb, writeService)
		return nil, mailproto.ProxymapDeny
	case !ok:
		c.log.Warnf("refusing %s request: table %s cannot be changed", r.Verb, t.Name())
		return nil, mailproto.ProxymapBad
	}
	return u, mailproto.ProxymapOK
}

func (c *client) update(ctx context.Context, r *mailproto.ProxymapRequest, t table.Table) mailproto.ProxymapReply {
	u, status := c.updater(r, t)
	if u == nil {
		return mailproto.ProxymapReply{Status: status}
	}
	if err := u.Put(ctx, key(r, t), r.Value); err != nil {
		return c.failed(r, err)
	}
	return mailproto.ProxymapReply{}
}

func (c *client) delete(ctx context.Context, r *mailproto.ProxymapRequest, t table.Table) mailproto.ProxymapReply {
	u, status := c.updater(r, t)
	if u == nil {
		return mailproto.ProxymapReply{Status: status}
	}
	found, err := u.Delete(ctx, key(r, t))
	switch {
	case err != nil:
		return c.failed(r, err)
	case !found:
		return mailproto.ProxymapReply{Status: mailproto.ProxymapNoKey}
	}
	return mailproto.ProxymapReply{}
}

// sequence lists a table, one entry per request; only proxywrite does it.
func (c *client) sequence(ctx context.Context, r *mailproto.ProxymapRequest, t table.Table) mailproto.ProxymapReply {
	l, ok := t.(table.Lister)
	if !c.write || !ok || r.Function != mailproto.SequenceFirst && r.Function != mailproto.SequenceNext {
		c.log.Warnf("refusing %s request for table %s on the %s service", r.Verb, t.Name(), c.service)
		return mailproto.ProxymapReply{Status: mailproto.ProxymapDeny}
	}
	if r.Function == mailproto.SequenceFirst || c.next == nil || c.table != r.Table {
		c.endSequence()
		c.next, c.stop = iter.Pull2(l.All(ctx))
		c.table = r.Table
	}
	entry, err, more := c.next()
	switch {
	case !more:
		c.endSequence()
		return mailproto.ProxymapReply{Status: mailproto.ProxymapNoKey}
	case err != nil:
		c.endSequence()
		return c.failed(r, err)
	}
	return mailproto.ProxymapReply{Key: entry.Key, Value: entry.Value}
}

func (c *client) endSequence() {
	if c.stop != nil {
		c.stop()
	}
	c.next, c.stop, c.table = nil, nil, ""
}
