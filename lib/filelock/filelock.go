// Package filelock takes flock(2) locks. They belong to the open file, not to
// the process: they exclude processes, and goroutines that opened the file by
// themselves. They end when the file is closed (spec: protocols.md §4.3).
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Mode of a lock.
type Mode int

const (
	Shared    Mode = unix.LOCK_SH
	Exclusive Mode = unix.LOCK_EX
)

// ErrLocked: another holds the lock.
var ErrLocked = errors.New("file is locked")

// TryLock takes the lock or returns ErrLocked, wrapped, at once. A lock held
// already through f is converted.
func TryLock(f *os.File, m Mode) error {
	err := flock(f, int(m)|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("lock %s: %w", f.Name(), ErrLocked)
	}
	return wrap("lock", f, err)
}

// Waits between attempts of Lock. A wait in the kernel could not be cancelled.
const (
	firstWait = time.Millisecond
	maxWait   = 50 * time.Millisecond
)

// Lock takes the lock, waiting for others until ctx is done.
func Lock(ctx context.Context, f *os.File, m Mode) error {
	var timer *time.Timer
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := TryLock(f, m)
		if !errors.Is(err, ErrLocked) {
			return err
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		} else {
			timer.Reset(wait)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("lock %s: %w", f.Name(), ctx.Err())
		}
	}
}

// Unlock releases the lock.
func Unlock(f *os.File) error { return wrap("unlock", f, flock(f, unix.LOCK_UN)) }

func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) {
		for {
			lockErr = unix.Flock(int(fd), how)
			if lockErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return lockErr
}

func wrap(op string, f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, f.Name(), err)
}
