package service

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// acceptLock is the lock around accept that the processes of one service share
// under a foreign master (§3.4): of several idle processes only one is woken by
// a connection. Within a process its accept loops hold it together. A nil lock
// is no lock: under our master a worker is alone.
type acceptLock struct {
	f     *os.File
	mu    sync.Mutex
	users int
}

// openAcceptLock opens pid/TRANSPORT.NAME below the working directory.
func openAcceptLock(dir, transport, service string) (*acceptLock, error) {
	path := dir + "/" + socketName(transport, service)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file %s: %w", path, err)
	}
	return &acceptLock{f: f}, nil
}

// acquire waits for the lock.
func (l *acceptLock) acquire() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users == 0 {
		for errors.Is(unix.Flock(int(l.f.Fd()), unix.LOCK_EX), unix.EINTR) {
		}
	}
	l.users++
}

func (l *acceptLock) release() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 {
		unix.Flock(int(l.f.Fd()), unix.LOCK_UN) //nolint:errcheck // closing the file unlocks too
	}
}
