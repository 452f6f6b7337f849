package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"sealpost/lib/address"
	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/sendopts"
	"sealpost/qmgr/schedule"
)

// Why a transport is suspended (§2.6 item 6).
var (
	transportUnavailable = dsn.Status{Code: "4.3.0", Reason: "mail transport unavailable"}
	transportBroken      = dsn.Status{Code: "4.3.0", Reason: "unknown mail transport error"}
)

// kick starts as many connections to a transport as there are entries to deliver,
// at most connectAhead on which no agent has spoken yet. The caller holds mu.
func (m *qmgr) kick(t *schedule.Transport) {
	if m.stopped || !t.Ready() {
		return
	}
	for want := t.Deliverable(connectAhead); t.Connecting < want; {
		t.Connecting++
		m.spawn(func() { m.deliver(t) })
	}
}

// deliver makes one delivery: it connects, waits for an agent to speak, and only
// then chooses what to deliver.
func (m *qmgr) deliver(t *schedule.Transport) {
	c, err := m.connect(t.Name)
	m.mu.Lock()
	t.Connecting--
	if err != nil {
		m.unavailable(t, err)
		m.mu.Unlock()
		return
	}
	e := m.sched.Pick(t, m.world.now())
	m.kick(t)
	m.mu.Unlock()
	if e == nil {
		m.hangUp(c)
		return
	}
	reply, err := m.request(c, e)
	m.hangUp(c)
	if err != nil {
		m.broken(e, err)
		return
	}
	m.delivered(e, reply)
}

// unavailable suspends a transport whose agents cannot be reached. The caller
// holds mu.
func (m *qmgr) unavailable(t *schedule.Transport, err error) {
	if m.ctx.Err() != nil {
		return
	}
	if t.Dead() {
		return
	}
	m.log.Warnf("connect to transport private/%s: %v", t.Name, plain(err))
	m.redirect(m.sched.SuspendTransport(t, transportUnavailable, m.world.now()), transportUnavailable)
	m.rearm()
}

// delivered ends a delivery that an agent has reported on.
func (m *qmgr) delivered(e *schedule.Entry, reply mailproto.DeliveryReply) {
	msg := e.Message.Data.(*message)
	t := e.Queue.Transport
	outcome := schedule.Delivered
	if reply.Retry && reply.DSN.Reason != "" && t.Name != retryService {
		outcome = schedule.Unreachable
	}
	m.mu.Lock()
	msg.undelivered = msg.undelivered || reply.Retry
	suspendedEntries := m.sched.Finish(e, outcome, reply.DSN, m.world.now())
	m.redirect(suspendedEntries, reply.DSN)
	m.kick(t)
	m.rearm()
	done := m.finished(msg)
	refill := !done && m.wantsRefill(msg)
	m.mu.Unlock()
	if outcome == schedule.Unreachable {
		m.log.Verbosef("%s: %s via %s is unreachable: %s; %d more requests for it are deferred",
			msg.id, e.Queue.Nexthop, t.Name, reply.DSN.Reason, len(suspendedEntries))
	}
	switch {
	case done:
		m.settle(msg)
	case refill:
		m.refill(msg)
	}
}

// broken ends a delivery whose agent went away or did not make sense. The agent
// may have dealt with some of the recipients: those are marked in the file.
func (m *qmgr) broken(e *schedule.Entry, err error) {
	if m.ctx.Err() != nil {
		return
	}
	msg := e.Message.Data.(*message)
	t := e.Queue.Transport
	if errors.Is(err, os.ErrDeadlineExceeded) {
		m.log.Warnf("timeout receiving delivery status from transport: %s", t.Name)
	} else {
		m.log.Warnf("%s: private/%s socket: %v", msg.id, t.Name, plain(err))
	}
	m.mu.Lock()
	msg.undelivered = true
	msg.pending++
	m.redirect(m.sched.Finish(e, schedule.TransportDead, transportBroken, m.world.now()), transportBroken)
	m.rearm()
	m.mu.Unlock()

	rest := m.notDone(msg.id, e.Recipients)

	m.mu.Lock()
	if len(rest) > 0 {
		m.retry(msg, t.Name, e.Queue.Nexthop, transportBroken, rest)
	}
	msg.pending--
	done := m.finished(msg)
	m.mu.Unlock()
	if done {
		m.settle(msg)
	}
}

// notDone is those of the recipients that are not marked as done.
func (m *qmgr) notDone(id string, rcpts []mailproto.Recipient) []mailproto.Recipient {
	f, err := openFile(m.queue.Path(queue.Active, id))
	if err != nil {
		return rcpts
	}
	defer f.close()
	return slices.DeleteFunc(slices.Clone(rcpts), func(r mailproto.Recipient) bool {
		var b [1]byte
		if r.Offset < 0 {
			return false
		}
		n, err := unix.Pread(f.fd, b[:], r.Offset)
		return err == nil && n == 1 && b[0] == 'D'
	})
}

// agentConn is a connection to a delivery agent, with its buffers.
type agentConn struct {
	conn net.Conn
	r    *bufio.Reader
	dec  *attr.Decoder
	enc  attr.Encoder
}

var agentConns = sync.Pool{New: func() any {
	c := &agentConn{r: bufio.NewReaderSize(nil, 512)}
	c.dec = attr.NewDecoder(c.r, attr.Strict)
	return c
}}

// connect waits until an agent of the transport has sent its greeting. Agents that
// are all busy let qmgr wait here, up to daemon_timeout.
func (m *qmgr) connect(transport string) (*agentConn, error) {
	conn, err := m.world.dial(m.ctx, privatePath(transport))
	if err != nil {
		return nil, err
	}
	c := agentConns.Get().(*agentConn)
	c.conn = conn
	c.r.Reset(conn)
	conn.SetDeadline(time.Now().Add(m.set.DaemonTimeout))
	if !m.track(c) {
		m.hangUp(c)
		return nil, context.Canceled
	}
	if _, err := mailproto.ReadGreeting(c.dec, mailproto.ProtoDelivery); err != nil {
		m.hangUp(c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("timeout connecting to transport: %w", err)
		}
		return nil, err
	}
	return c, nil
}

// track notes an open connection, to end its reads and writes when the process
// leaves; false means that it is leaving.
func (m *qmgr) track(c *agentConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns[c] = struct{}{}
	return !m.stopped
}

// hangUp closes a connection.
func (m *qmgr) hangUp(c *agentConn) {
	m.mu.Lock()
	delete(m.conns, c)
	m.mu.Unlock()
	c.conn.Close()
	c.conn = nil
	c.r.Reset(nil)
	agentConns.Put(c)
}

// request sends a delivery request and waits for the answer.
func (m *qmgr) request(c *agentConn, e *schedule.Entry) (mailproto.DeliveryReply, error) {
	req := m.deliveryRequest(e)
	c.enc.Reset()
	req.Append(&c.enc)
	now := time.Now()
	c.conn.SetDeadline(now.Add(m.set.DaemonTimeout))
	c.conn.SetWriteDeadline(now.Add(m.set.IPCTimeout))
	if !m.track(c) { // the deadline of a process that leaves was overwritten
		return mailproto.DeliveryReply{}, context.Canceled
	}
	if _, err := c.conn.Write(c.enc.Bytes()); err != nil {
		return mailproto.DeliveryReply{}, err
	}
	reply, err := mailproto.ReadDeliveryReply(c.dec)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return reply, err
}

// deliveryRequest describes an entry to an agent (§2.6).
func (m *qmgr) deliveryRequest(e *schedule.Entry) mailproto.DeliveryRequest {
	msg := e.Message.Data.(*message)
	env := msg.env
	slices.SortStableFunc(e.Recipients, func(a, b mailproto.Recipient) int { return strings.Compare(a.Addr, b.Addr) })
	req := mailproto.DeliveryRequest{
		Flags:      mailproto.DeliverSuccess | mailproto.DeliverBounce | m.traceFlags(msg),
		QueueName:  queue.Active,
		QueueID:    msg.id,
		DataOffset: env.DataOffset,
		DataSize:   env.DataSize,
		Nexthop:    e.Queue.Nexthop,
		Encoding:   env.Encoding,
		SendOpts:   env.SendOpts,
		Sender:     env.Sender,
		EnvelopeID: env.EnvelopeID,
		Ret:        env.Ret,
		Stats:      msg.stats(),
		Client:     env.Client,
		Recipients: e.Recipients,
	}
	if e.Backlog {
		req.Flags |= mailproto.DeliverConnLoad | mailproto.DeliverConnStore
	}
	utf8Rcpt := m.set.SMTPUTF8 && slices.ContainsFunc(e.Recipients, func(r mailproto.Recipient) bool { return needsUTF8(r.Addr) })
	if utf8Rcpt {
		req.SendOpts |= sendopts.SMTPUTF8Recipient
	}
	if msg.sched.OneRecipient {
		req.Sender = verpSender(env.Sender, env.VERP, e.Recipients[0])
		if utf8Rcpt {
			req.SendOpts |= sendopts.SMTPUTF8Sender
		}
	}
	return req
}

// traceFlags are the flags of a message that ask for more than its delivery.
func (m *qmgr) traceFlags(msg *message) mailproto.DeliveryFlags {
	flags := msg.env.TraceFlags
	if m.set.ConfirmDelayCleared && msg.env.WarnOffset >= 0 && msg.env.WarnTime.IsZero() {
		flags |= mailproto.DeliverDelaySent
	}
	return flags & mailproto.DeliverTraceMask
}

func needsUTF8(addr string) bool {
	for i := range len(addr) {
		if addr[i] >= utf8.RuneSelf {
			return utf8.ValidString(addr)
		}
	}
	return false
}

// verpSender is a sender address that names the recipient (variable envelope
// return path): owner@a, user@b and "+=" give owner+user=b@a.
func verpSender(sender, delims string, r mailproto.Recipient) string {
	rcpt := r.OrigAddr
	if rcpt == "" {
		rcpt = r.Addr
	}
	local, domain := address.Split(sender)
	rlocal, rdomain := address.Split(rcpt)
	out := local + delims[:1] + rlocal
	if rdomain != "" {
		out += delims[1:2] + rdomain
	}
	if domain != "" {
		out += "@" + domain
	}
	return out
}

// plain is an error without the noise that Go puts around it.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}

// isAgain reports a socket whose backlog is full.
func isAgain(err error) bool { return errors.Is(err, unix.EAGAIN) }
