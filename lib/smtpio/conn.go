package smtpio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Conn is one SMTP connection. One goroutine uses it; only Interrupt and Close
// may be called from others.
//
// Output is buffered. It is sent by Flush, and before every read that has to ask
// the network, so that replies to pipelined commands leave in one write.
type Conn struct {
	nc   net.Conn
	base net.Conn        // the first nc: what Interrupt may touch from another goroutine
	raw  syscall.RawConn // nil when nc is not a socket
	// tryRead is rawRead as a function value, made once.
	tryRead func(fd uintptr) bool

	in         *[bufferSize]byte // nil while nothing is buffered
	start, end int               // what is buffered: in[start:end]
	parked     []byte            // an unfinished line, when in is nil
	readN      int               // result of rawRead
	readErr    error

	out []byte

	timeout  time.Duration // limit of one read or write; 0: none
	deadline time.Time     // limit of the request; zero: none
	rate     int           // bytes that earn one more second of deadline

	interruptible bool
	interrupted   atomic.Bool
}

// NewConn returns a Conn on nc, without any time limit.
func NewConn(nc net.Conn) *Conn {
	c := &Conn{base: nc}
	c.use(nc)
	return c
}

func (c *Conn) use(nc net.Conn) {
	c.nc, c.raw = nc, nil
	s, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		c.raw = raw
		if c.tryRead == nil {
			c.tryRead = c.rawRead
		}
	}
}

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Replace continues on nc, which is secured where the old connection was not
// (STARTTLS). What the peer sent in the clear before is dropped: it must not be
// taken for something said under protection. The number of these bytes is returned.
func (c *Conn) Replace(nc net.Conn) (discarded int) {
	discarded = c.end - c.start + len(c.parked)
	c.start, c.end, c.parked = 0, 0, nil
	c.release()
	c.use(nc)
	return discarded
}

// SetTimeout limits every single read and write from now on; 0 means no limit.
func (c *Conn) SetTimeout(d time.Duration) { c.timeout = d }

// SetDeadline limits all reads and writes from now on together, until the next
// call; the zero time means no such limit. With minRate above 0 every minRate
// bytes that come in put the deadline off by one second, at most to the end of
// the time limit from now.
func (c *Conn) SetDeadline(t time.Time, minRate int) { c.deadline, c.rate = t, minRate }

// SetInterruptible says whether Interrupt may end a wait for input.
func (c *Conn) SetInterruptible(on bool) { c.interruptible = on }

// Interrupt makes a read that is interruptible, now or later, fail with
// ErrInterrupted instead of waiting. It may be called from any goroutine.
func (c *Conn) Interrupt() {
	c.interrupted.Store(true)
	// A failure means that the connection is closed: the reader sees that itself.
	// The base's deadlines are those of what Replace put on top of it.
	_ = c.base.SetReadDeadline(time.Unix(1, 0))
}

// Buffered is the number of bytes that were received and not yet read.
func (c *Conn) Buffered() int { return c.end - c.start + len(c.parked) }

// Close drops what was not flushed and closes the connection.
func (c *Conn) Close() error { return c.nc.Close() }

// Release returns the buffers; the Conn is not used afterwards.
func (c *Conn) Release() {
	c.start, c.end, c.parked, c.out = 0, 0, nil, nil
	c.release()
}

func (c *Conn) release() {
	if c.in != nil && c.start == c.end {
		buffers.Put(c.in)
		c.in, c.start, c.end = nil, 0, 0
	}
}

// ReadLine reads the next line of at most limit bytes without its ending; limit
// is at most 16 KiB.
func (c *Conn) ReadLine(limit int) (Line, error) {
	limit = min(limit, bufferSize/2)
	seen := 0 // bytes after start known to hold no LF
	for {
		if c.end > c.start {
			b := c.in[c.start:c.end]
			if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
				n := seen + i
				c.start += n + 1
				line := splitEnding(b[:n])
				if len(line.Text) > limit {
					return Line{}, ErrLineTooLong
				}
				return line, nil
			}
			seen = len(b)
			if seen > limit+1 { // one for the CR of the ending
				return Line{}, c.dropLine()
			}
		} else {
			c.release()
		}
		if err := c.fill(); err != nil {
			return Line{}, c.cutOff(err)
		}
	}
}

// splitEnding takes the text before an LF apart.
func splitEnding(b []byte) Line {
	n := len(b)
	if n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
		return Line{Text: b, BareCR: bytes.IndexByte(b, '\r') >= 0}
	}
	return Line{Text: b, BareLF: true, BareCR: bytes.IndexByte(b, '\r') >= 0}
}

// dropLine drops the rest of a line that is too long.
func (c *Conn) dropLine() error {
	for dropped := 0; ; {
		b := c.in[c.start:c.end]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			c.start += i + 1
			return ErrLineTooLong
		}
		dropped += len(b)
		c.start = c.end
		if dropped > floodLimit {
			c.release()
			return ErrLineFlood
		}
		if err := c.fill(); err != nil {
			return c.cutOff(err)
		}
	}
}

// cutOff tells an end within a line from one between lines.
func (c *Conn) cutOff(err error) error {
	if err == io.EOF && c.Buffered() > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Discard reads n bytes and drops them.
func (c *Conn) Discard(n int64) error {
	for n > 0 {
		if c.start == c.end {
			c.release()
			if err := c.fill(); err != nil {
				return err
			}
		}
		take := min(n, int64(c.end-c.start))
		c.start += int(take)
		n -= take
	}
	return nil
}

// fill sends what is to be sent, then appends at least one byte to the buffer.
func (c *Conn) fill() error {
	if err := c.Flush(); err != nil {
		return err
	}
	for {
		limit, err := c.armRead()
		if err != nil {
			return err
		}
		n, err := c.read()
		if n > 0 {
			c.earn(n)
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && c.interrupted.Load() &&
			(limit.IsZero() || time.Now().Before(limit)) {
			continue // the interruption was not for this read, or armRead says so
		}
		return err
	}
}

// armRead sets the deadline of the next read and returns it.
func (c *Conn) armRead() (time.Time, error) {
	limit := c.limit()
	// It fails on a connection that is closed, and then reading says so, or on
	// one that has no deadlines: the standard input of sendmail -bs.
	_ = c.nc.SetReadDeadline(limit)
	// After the deadline is set: Interrupt sets the flag before its deadline, so
	// one of the two is seen.
	if c.interruptible && c.interrupted.Load() {
		return limit, ErrInterrupted
	}
	return limit, nil
}

func (c *Conn) limit() time.Time {
	if c.timeout == 0 {
		return c.deadline
	}
	t := time.Now().Add(c.timeout)
	if !c.deadline.IsZero() && c.deadline.Before(t) {
		return c.deadline
	}
	return t
}

func (c *Conn) earn(n int) {
	if c.rate <= 0 || c.deadline.IsZero() {
		return
	}
	c.deadline = c.deadline.Add(time.Duration(n) * time.Second / time.Duration(c.rate))
	if c.timeout > 0 {
		if most := time.Now().Add(c.timeout); c.deadline.After(most) {
			c.deadline = most
		}
	}
}

// firstRead is how much room an idle connection keeps that is not a socket but
// TLS on one: enough for a command.
const firstRead = 256

// read appends to the buffer. On a socket no buffer is held during the wait; on
// TLS a small one while a command is waited for.
func (c *Conn) read() (int, error) {
	if c.raw == nil && c.interruptible && c.Buffered() == 0 {
		c.release()
		var first [firstRead]byte
		n, err := c.nc.Read(first[:])
		c.parked = append(c.parked[:0], first[:n]...)
		c.unpark()
		return n, err
	}
	if c.raw == nil {
		c.unpark()
		n, err := c.nc.Read(c.in[c.end:])
		c.end += n
		return n, err
	}
	c.readN, c.readErr = 0, nil
	if err := c.raw.Read(c.tryRead); err != nil {
		return 0, err
	}
	return c.readN, c.readErr
}

// rawRead tries to read; false asks the caller to wait until that makes sense.
func (c *Conn) rawRead(fd uintptr) bool {
	c.unpark()
	for {
		n, err := syscall.Read(int(fd), c.in[c.end:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			c.park()
			return false
		case err != nil:
			c.readErr = os.NewSyscallError("read", err)
			return true
		case n == 0:
			c.readErr = io.EOF
			return true
		default:
			c.readN = n
			c.end += n
			return true
		}
	}
}

// park gives the buffer back while the peer is waited for.
func (c *Conn) park() {
	if n := c.end - c.start; n > 0 {
		if n > parkLimit {
			return
		}
		c.parked = bytes.Clone(c.in[c.start:c.end])
		c.start = c.end
	}
	c.release()
}

// unpark makes sure of a buffer with room at its end.
func (c *Conn) unpark() {
	if c.in == nil {
		c.in = buffers.Get().(*[bufferSize]byte)
		c.start, c.end = 0, copy(c.in[:], c.parked)
		c.parked = nil
		return
	}
	if c.start > 0 {
		c.end = copy(c.in[:], c.in[c.start:c.end])
		c.start = 0
	}
}

// Write appends to the output. It does not send and does not fail.
func (c *Conn) Write(b []byte) (int, error) {
	c.room()
	c.out = append(c.out, b...)
	return len(b), nil
}

// WriteString appends to the output.
func (c *Conn) WriteString(s string) {
	c.room()
	c.out = append(c.out, s...)
}

// AvailableBuffer is the output so far, to be appended to and handed to SetBuffer.
func (c *Conn) AvailableBuffer() []byte {
	c.room()
	return c.out
}

// SetBuffer takes what AvailableBuffer gave, with more at its end.
func (c *Conn) SetBuffer(b []byte) { c.out = b }

// Unflushed is the number of bytes that wait to be sent.
func (c *Conn) Unflushed() int { return len(c.out) }

// Replies fit into a small output buffer; message content is gathered in a large
// one. Each kind is used again, so that no output grows step by step.
var (
	outputs = sync.Pool{New: func() any { b := make([]byte, 0, smallOutput); return &b }}
	larges  = sync.Pool{New: func() any { b := make([]byte, 0, largeOutput); return &b }}
)

const (
	smallOutput = 1 << 10
	largeOutput = dotFlush + 8<<10 // a line that overshoots is no reason to grow
)

// putOutput keeps a buffer of one of the two sizes.
func putOutput(b []byte) {
	b = b[:0]
	switch cap(b) {
	case smallOutput:
		outputs.Put(&b)
	case largeOutput:
		larges.Put(&b)
	}
}

// grow makes room for n more bytes of output.
func (c *Conn) grow(n int) {
	c.room()
	if need := len(c.out) + n; need <= cap(c.out) || need > largeOutput {
		return
	}
	b := append((*larges.Get().(*[]byte))[:0], c.out...)
	putOutput(c.out)
	c.out = b
}

func (c *Conn) room() {
	if c.out == nil {
		c.out = (*outputs.Get().(*[]byte))[:0]
	}
}

// Flush sends what was written.
func (c *Conn) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_ = c.nc.SetWriteDeadline(c.limit()) // as in armRead
	_, err := c.nc.Write(c.out)
	putOutput(c.out)
	c.out = nil
	return err
}

// Peek is a look at most n bytes of what is buffered; nothing is read. It is
// valid until the next read.
func (c *Conn) Peek(n int) []byte {
	if c.in == nil {
		return c.parked[:min(n, len(c.parked))]
	}
	return c.in[c.start:min(c.end, c.start+n)]
}
