package mailclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

// A small message is sent to cleanup in one write; a longer one in pieces.
const (
	cleanupBuffer = 64 << 10
	smallBuffer   = 12 << 10
)

var recordBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, smallBuffer)
	return &b
}}

// Cleanup is a message on its way into the queue (§2.3). It is for one
// goroutine. Every Cleanup ends with Finish or Cancel.
type Cleanup struct {
	c       *conn
	id      string
	buf     *[]byte
	timeout time.Duration
	sent    int64
	err     error
}

// DialCleanup connects and reads the greeting. ctx is for that only; what
// follows has a time limit for each write, see SetTimeout, and Finish its own.
// The flags go out with the first records.
func DialCleanup(ctx context.Context, path string, flags mailproto.CleanupFlags) (*Cleanup, error) {
	c, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	g, err := c.greeting(mailproto.ProtoCleanup)
	if err != nil {
		c.release()
		return nil, fmt.Errorf("service %s: %w", path, err)
	}
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	m := &Cleanup{c: c, id: g.QueueID, timeout: defaultTimeout, buf: recordBuffers.Get().(*[]byte)}
	mailproto.CleanupRequest{Flags: flags}.Append(&c.b.e)
	*m.buf = append(*m.buf, c.b.e.Bytes()...)
	c.b.e.Reset()
	return m, nil
}

// QueueID is the message's id: the file exists already.
func (c *Cleanup) QueueID() string { return c.id }

// SetTimeout sets the time limit of each write (ipc_timeout).
func (c *Cleanup) SetTimeout(d time.Duration) { c.timeout = d }

// Err is the first write error; records after it are dropped.
func (c *Cleanup) Err() error { return c.err }

// Size is the number of bytes of records, and of the flags before them.
func (c *Cleanup) Size() int64 {
	if c.buf == nil {
		return c.sent
	}
	return c.sent + int64(len(*c.buf))
}

// Record adds a record. A write error is kept and reported by Finish.
func (c *Cleanup) Record(t record.Type, payload []byte) {
	if c.room(len(payload)) {
		*c.buf = record.Append(*c.buf, t, payload)
	}
}

// RecordString is Record for a string.
func (c *Cleanup) RecordString(t record.Type, s string) {
	if c.room(len(s)) {
		*c.buf = record.Append(*c.buf, t, s)
	}
}

// Attr adds a named attribute record.
func (c *Cleanup) Attr(name, value string) {
	if c.room(len(name) + 1 + len(value)) {
		*c.buf = record.AppendAttr(*c.buf, name, value)
	}
}

// room makes room for a payload of n bytes; false after an error.
func (c *Cleanup) room(n int) bool {
	if c.err == nil && c.buf != nil && len(*c.buf) > 0 && len(*c.buf)+record.HeaderLen(n)+n > cleanupBuffer {
		c.Flush()
	}
	return c.err == nil && c.buf != nil
}

// Flush sends what is buffered.
func (c *Cleanup) Flush() error {
	if c.err == nil && c.buf != nil {
		c.c.SetWriteDeadline(time.Now().Add(c.timeout))
		c.flush()
	}
	return c.err
}

func (c *Cleanup) flush() {
	if c.err != nil || len(*c.buf) == 0 {
		return
	}
	_, err := c.c.Write(*c.buf)
	c.sent += int64(len(*c.buf))
	*c.buf = (*c.buf)[:0]
	if err != nil {
		c.err = fmt.Errorf("write to cleanup: %w", cause(err))
	}
}

// Finish sends what is left and the End record, and waits for the answer, also
// when ctx is cancelled meanwhile, but not beyond its deadline. A connection error
// is reported as CleanupWrite with the error: what became of the message is not
// known.
func (c *Cleanup) Finish(ctx context.Context) (mailproto.CleanupReply, error) {
	failed := mailproto.CleanupReply{Status: mailproto.CleanupWrite}
	if c.buf == nil {
		return failed, net.ErrClosed
	}
	defer c.Cancel()
	c.Record(record.End, nil)
	c.c.watch(ctx)
	c.flush()
	// After a write error there may still be an answer that says why: cleanup
	// reads to the end, so there is none that came early.
	if c.err != nil {
		if errors.Is(c.err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			c.err = fmt.Errorf("write to cleanup: %w", ctx.Err())
		}
		return failed, c.err
	}
	// From here on the message is cleanup's: who left now would send it again
	// although it is in the queue. Only the deadline still counts.
	c.c.see(ctx)
	reply, err := mailproto.ReadCleanupReply(c.c.d)
	if err != nil {
		return failed, fmt.Errorf("cleanup: %w", c.c.fix("reply", err))
	}
	return reply, nil
}

// Cancel closes without End: cleanup discards the message. After Finish it does
// nothing.
func (c *Cleanup) Cancel() {
	if c.buf == nil {
		return
	}
	*c.buf = (*c.buf)[:0]
	recordBuffers.Put(c.buf)
	c.buf = nil
	c.c.release()
}

// Post describes a message of our own.
type Post struct {
	Sender, Recipient    string // internal form
	Flags                mailproto.CleanupFlags
	TraceFlags           mailproto.DeliveryFlags
	MyHostname, MailName string
	Now                  time.Time // in the zone that Date: shows
}

// PostMail begins a message of our own (§2.3, Mail injected by other daemons):
// it adds T, log_message_origin, trace_flags, S, R, M and the Received: and Date:
// lines; the caller adds header and body lines as Norm records and Extracted, and
// calls Finish.
func PostMail(ctx context.Context, path string, p Post) (*Cleanup, error) {
	c, err := DialCleanup(ctx, path, p.Flags)
	if err != nil {
		return nil, err
	}
	date := p.Now.Format("Mon, 02 Jan 2006 15:04:05 -0700 (MST)")
	c.RecordString(record.Time, strconv.FormatInt(p.Now.Unix(), 10)+" "+strconv.Itoa(p.Now.Nanosecond()/1000))
	c.Attr("log_message_origin", "local")
	c.Attr("trace_flags", strconv.Itoa(int(p.TraceFlags)))
	c.RecordString(record.From, p.Sender)
	c.RecordString(record.Rcpt, p.Recipient)
	c.RecordString(record.Message, "")
	c.RecordString(record.Norm, "Received: by "+p.MyHostname+" ("+p.MailName+")")
	c.RecordString(record.Norm, "\tid "+c.id+"; "+date)
	c.RecordString(record.Norm, "Date: "+date)
	return c, nil
}
