package service

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// status is the channel to master (§3.3). The zero value has no master.
type status struct {
	fd         int // descriptor plus one
	generation uint32
	mu         sync.Mutex
	last       int
}

// send writes one record. An error means that master is gone.
func (s *status) send(state int) error {
	if s == nil || s.fd == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == s.last {
		return nil
	}
	s.last = state
	var b [StatusLen]byte
	binary.NativeEndian.PutUint32(b[0:], uint32(os.Getpid()))
	binary.NativeEndian.PutUint32(b[4:], s.generation)
	binary.NativeEndian.PutUint32(b[8:], uint32(state))
	for {
		n, err := unix.Write(s.fd-1, b[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			p := []unix.PollFd{{Fd: int32(s.fd - 1), Events: unix.POLLOUT}}
			unix.Poll(p, -1) //nolint:errcheck // the next write tells
		case err == nil && n != len(b):
			return errors.New("short write of a status record")
		default:
			return err
		}
	}
}

// waitEOF returns when master closed its end. It blocks a thread in poll: the
// descriptor is shared with master's other children, so it must not be made
// non-blocking for the runtime's poller.
func (s *status) waitEOF() {
	p := []unix.PollFd{{Fd: int32(s.fd - 1), Events: unix.POLLIN}}
	for {
		p[0].Revents = 0
		if n, err := unix.Poll(p, -1); n > 0 || (err != nil && !errors.Is(err, unix.EINTR)) {
			return
		}
	}
}
