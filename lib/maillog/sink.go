package maillog

import (
	"errors"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A sink takes lines without newline. tag is the place where the tag begins: what
// is before it (time, host) is left out by sinks that have their own; 0 for a
// JSON line. The line is the caller's again when write returns.
type sink interface {
	write(sev Severity, line []byte, tag int)
	flush()
}

func newSink(o Options, c *core) sink {
	if o.Writer != nil {
		return &writerSink{w: o.Writer}
	}
	sys := newSyslog(o, c)
	if o.Postlog == "" {
		return sys
	}
	p := &postlogSink{path: o.Postlog, core: c, next: sys, patience: maxWait}
	if o.Direct != "" {
		mode := o.DirectMode
		if mode == 0 {
			mode = 0o600
		}
		p.next = &fileSink{path: o.Direct, mode: mode}
		// Master is one of these: while it waits for postlogd it starts nobody,
		// and perhaps it is postlogd that must be started.
		p.patience = 0
	}
	p.mu.Lock()
	p.open()
	p.mu.Unlock()
	return p
}

// writerSink writes to any io.Writer.
type writerSink struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

func (s *writerSink) write(_ Severity, line []byte, _ int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = append(append(s.buf[:0], line...), '\n')
	s.w.Write(s.buf) //nolint:errcheck // there is nowhere to report it
}

func (s *writerSink) flush() {}

// fallback takes lines that postlogd did not take.
type fallback interface {
	take(sev Severity, line []byte, tag int) bool
}

// fileSink appends to the log file. It opens it for each line: it stands in for
// postlogd for a few lines while the system starts or stops.
type fileSink struct {
	path string
	mode os.FileMode
}

func (s *fileSink) take(_ Severity, line []byte, _ int) bool {
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	f, err := os.OpenFile(s.path, flags, s.mode)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Write(append(line[:len(line):len(line)], '\n'))
	return err == nil
}

// maxWait is how long one line may wait for postlogd, in a program that has
// nowhere else to put it.
const maxWait = time.Second

// postlogSink sends each line as one datagram (§2.13).
type postlogSink struct {
	core     *core
	next     fallback
	patience time.Duration // how long a line may wait

	fd   atomic.Int32 // descriptor plus one; 0: not connected
	lost atomic.Int64
	// downUntil is the time (Unix nanoseconds) before which postlogd is not tried.
	downUntil atomic.Int64

	mu     sync.Mutex // slow path: one sender at a time opens, waits, reports
	path   string
	opened int // descriptors opened; they are never closed but by dup3 over them
}

func (s *postlogSink) write(sev Severity, line []byte, tag int) {
	if fd := s.fd.Load(); fd > 0 {
		if _, err := unix.Write(int(fd-1), line); err == nil {
			return
		}
	}
	s.slow(sev, line, tag)
}

// slow is what happens when the datagram was not taken at once.
func (s *postlogSink) slow(sev Severity, line []byte, tag int) {
	if time.Now().UnixNano() < s.downUntil.Load() {
		s.pass(sev, line, tag)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().UnixNano() < s.downUntil.Load() {
		s.pass(sev, line, tag)
		return
	}
	deadline := time.Now().Add(s.patience)
	for tries := 0; ; tries++ {
		fd := s.fd.Load()
		if fd == 0 {
			if !s.open() {
				break
			}
			fd = s.fd.Load()
		}
		_, err := unix.Write(int(fd-1), line)
		if err == nil {
			s.report()
			return
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			if s.wait(int(fd-1), time.Until(deadline)) {
				continue
			}
			break
		}
		if errors.Is(err, unix.EMSGSIZE) { // the line's fault, not postlogd's
			s.pass(sev, line, tag)
			return
		}
		// Not connected any more: the socket was replaced. Once more with a new one.
		s.fd.Store(0)
		if tries > 0 {
			break
		}
	}
	s.downUntil.Store(time.Now().Add(retryAfter).UnixNano())
	s.pass(sev, line, tag)
}

// wait waits until the socket may be written.
func (s *postlogSink) wait(fd int, d time.Duration) bool {
	if d <= 0 {
		return false
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, int(d/time.Millisecond)+1)
	return n > 0 || errors.Is(err, unix.EINTR)
}

func (s *postlogSink) pass(sev Severity, line []byte, tag int) {
	if s.next == nil || !s.next.take(sev, line, tag) {
		s.lost.Add(1)
	}
}

// report says how many lines were lost, when postlogd takes lines again.
func (s *postlogSink) report() {
	n := s.lost.Load()
	if n == 0 {
		return
	}
	l := Logger{core: s.core}
	b, _ := l.head(nil, Warning)
	b = strconv.AppendInt(b, n, 10)
	b = append(b, " log lines were lost while "...)
	b = append(b, s.path...)
	b = append(b, " could not be written"...)
	if _, err := unix.Write(int(s.fd.Load()-1), b); err == nil {
		s.lost.Add(-n)
	}
}

// open connects a new socket. The caller holds mu.
func (s *postlogSink) open() bool {
	fd, err := dialDatagram(s.path)
	if err != nil {
		return false
	}
	// A sender without the lock may still use the old descriptor's number: the
	// number stays, with the new socket behind it.
	if s.opened > 0 {
		if err := unix.Dup3(fd, s.opened-1, unix.O_CLOEXEC); err != nil {
			unix.Close(fd)
			return false
		}
		unix.Close(fd)
		fd = s.opened - 1
	}
	s.opened = fd + 1
	s.fd.Store(int32(fd + 1))
	return true
}

func (s *postlogSink) relativeTo(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.path) > len(dir) && s.path[:len(dir)] == dir && s.path[len(dir)] == '/' {
		s.path = s.path[len(dir)+1:]
	}
}

// flush gives a postlogd that was down one more chance to hear of lost lines.
func (s *postlogSink) flush() {
	if s.lost.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd.Load() > 0 || s.open() {
		s.report()
	}
}
