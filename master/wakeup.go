package main

import (
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// triggerHold is how much longer than trigger_timeout the sender of a trigger
// leaves the socket open for a slow reader (protocols.md §2.2).
const triggerHold = 100 * time.Second

// A wakeup sends the trigger 'W' to a service from time to time, as the wakeup
// field of master.cf says. A nil *wakeup does nothing.
type wakeup struct {
	s     *svc
	timer *time.Timer
}

// newWakeup starts the timer of a service, unless it starts with the first
// child ("N?").
func newWakeup(s *svc) *wakeup {
	if s.conf.Wakeup <= 0 {
		return nil
	}
	w := &wakeup{s: s}
	if !s.conf.WakeupIfUsed {
		w.now()
	}
	return w
}

// firstChild starts the timer of a service that is woken only when in use.
func (w *wakeup) firstChild() {
	if w != nil && w.timer == nil {
		w.arm()
	}
}

// now sends the trigger at once and again after the interval.
func (w *wakeup) now() {
	if w == nil {
		return
	}
	if w.s.waiting == nil && !w.s.m.stopping {
		go trigger(w.s.conf.Type, w.s.eps[0], w.s.m.triggerTimeout)
	}
	w.arm()
}

func (w *wakeup) arm() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = w.s.m.after(w.s.conf.Wakeup, w.now)
}

func (w *wakeup) stop() {
	if w != nil && w.timer != nil {
		w.timer.Stop()
	}
}

// trigger wakes a service up. Nobody waits for the outcome: the next one comes
// with the timer. The reader may answer (flush does) or not; what counts is that
// it saw the bytes before the socket is closed.
func trigger(kind string, e endpoint, timeout time.Duration) {
	if kind == "fifo" {
		fd, err := unix.Open(e.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			_, _ = unix.Write(fd, []byte("W"))
			unix.Close(fd)
		}
		return
	}
	network, addr := "unix", e.path
	switch {
	case kind == "unix-dgram":
		return
	case e.path == "":
		network, addr = "tcp", e.addr.String()
	}
	conn, err := net.DialTimeout(network, addr, timeout)
	if err != nil {
		return
	}
	defer conn.Close()
	deadline := time.Now().Add(timeout + triggerHold)
	if conn.SetDeadline(deadline) != nil {
		return
	}
	if _, err := conn.Write([]byte("W\x00")); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn)
}

// stderrLimit is how many lines of a child's standard error are logged: a Go
// program that is about to die may write one for each of its goroutines.
const stderrLimit = 1000

// childFiles are descriptors 0 and up of a child (protocols.md §3.1). What one
// of our workers writes to standard error is the trace of its death: it goes to
// the log. done must be called after the start.
func (m *master) childFiles(s *svc, ours bool) (files []int, done func()) {
	stdout, stderr := m.devNull, m.devNull
	done = func() {}
	switch {
	case m.opts.attached:
		stdout, stderr = 1, 2
	case m.opts.keepStdout:
		stdout = 1
	}
	if ours && stderr == m.devNull {
		var p [2]int
		if unix.Pipe2(p[:], unix.O_CLOEXEC) == nil {
			stderr = p[1]
			_ = unix.SetNonblock(p[0], true)
			go m.logStderr(s.conf.Name, os.NewFile(uintptr(p[0]), "stderr"))
			done = func() { unix.Close(p[1]) }
		}
	}
	files = append(files, m.devNull, stdout, stderr, m.flow[0], m.flow[1], s.statusWrite)
	return append(files, s.fds...), done
}

// logStderr logs what a worker writes to its standard error, line by line, and
// goes on reading when it has seen enough, so that the writer can end.
func (m *master) logStderr(name string, r *os.File) {
	defer r.Close()
	buf := make([]byte, 0, 4096)
	lines := 0
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for {
			line, rest, ok := cutLine(buf, err != nil || len(buf) == cap(buf))
			if !ok {
				break
			}
			if lines++; lines <= stderrLimit && len(line) > 0 {
				m.log.Warnf("service %s: %s", name, strings.ReplaceAll(line, "\t", "    "))
			}
			buf = append(buf[:0], rest...)
		}
		if err != nil {
			return
		}
	}
}

// cutLine takes one line from the front; all means that a rest without line end
// is a line too.
func cutLine(b []byte, all bool) (line string, rest []byte, ok bool) {
	for i, c := range b {
		if c == '\n' {
			return string(b[:i]), b[i+1:], true
		}
	}
	if all && len(b) > 0 {
		return string(b), nil, true
	}
	return "", b, false
}
