package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/service"
)

// recordLimit bounds one record of a client. Clients send lines in pieces of
// line_length_limit.
const recordLimit = 1 << 20

// readSize is the memory for what a client sent: a small message takes two
// reads.
const readSize = 16 << 10

// buffers is the memory of a session, shared by those that follow each other.
type buffers struct {
	in  *bufio.Reader
	out attr.Encoder
	msg message
}

var pool = sync.Pool{New: func() any {
	return &buffers{in: bufio.NewReaderSize(nil, readSize)}
}}

// deadlineReader gives every read the time that a client may be silent.
type deadlineReader struct {
	conn    net.Conn
	timeout time.Duration
}

func (d *deadlineReader) Read(p []byte) (int, error) {
	if d.timeout > 0 {
		if err := d.conn.SetReadDeadline(time.Now().Add(d.timeout)); err != nil {
			return 0, err
		}
	}
	return d.conn.Read(p)
}

// serve takes in one message (protocols.md §2.3).
func (w *worker) serve(ctx context.Context, s *service.Session) {
	token := w.flow.Wait(ctx, w.set.InFlowDelay)
	b := pool.Get().(*buffers)
	defer func() {
		b.in.Reset(nil)
		b.msg.reset()
		pool.Put(b)
	}()
	b.in.Reset(&deadlineReader{s.Conn, w.set.IPCTimeout})
	m := &b.msg
	m.token = token
	m.begin(ctx, w, s)
	defer m.abandon()
	if err := w.greet(s.Conn, b); err != nil {
		s.Log.Verbosef("%s: client left before the greeting: %v", m.id, err)
		return
	}
	req, err := mailproto.ReadCleanupRequest(attr.NewDecoder(b.in, attr.Strict))
	if err != nil {
		if !gone(err) {
			s.Log.Warnf("%s: request of a client: %v", m.id, err)
		}
		return
	}
	m.flags = req.Flags
	m.requested()
	if !m.receive(b.in) {
		return
	}
	m.finish()
	b.out.Reset()
	mailproto.CleanupReply{Status: m.status, Reason: m.reason}.Append(&b.out)
	if err := write(s.Conn, b.out.Bytes(), w.set.IPCTimeout); err != nil {
		// The message is in the queue: the client may send it again.
		s.Log.Warnf("%s: send the reply to a client: %v", m.id, err)
	}
}

func (w *worker) greet(c net.Conn, b *buffers) error {
	b.out.Reset()
	mailproto.Greeting{Protocol: mailproto.ProtoCleanup, QueueID: b.msg.id}.Append(&b.out)
	return write(c, b.out.Bytes(), w.set.IPCTimeout)
}

func write(c net.Conn, p []byte, timeout time.Duration) error {
	if timeout > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
	}
	_, err := c.Write(p)
	return err
}

// gone: the peer closed the connection, which it may at any time.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// receive reads records up to the end record. false means that there is nobody
// to answer to.
func (m *message) receive(in *bufio.Reader) bool {
	m.records.Reset(in, 0)
	for {
		if m.stage == stageBody && m.scan == nil && m.status&mailproto.CleanupIncomplete == 0 {
			m.copyBody(in)
		}
		t, payload, err := m.records.Read()
		switch {
		case err == nil:
		case errors.Is(err, record.ErrFraming), errors.Is(err, record.ErrTooLong):
			m.bad("%v", err)
			return true
		default:
			if !gone(err) {
				m.log.Warnf("%s: read the message of a client: %v", m.id, err)
			}
			return false
		}
		if t == record.Milters && string(payload) != "0" {
			m.log.Warnf("cannot receive milters via service cleanup socket")
			return false
		}
		m.record(t, payload)
		if t == record.End {
			return true
		}
	}
}
