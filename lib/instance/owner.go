package instance

import (
	"runtime"

	"golang.org/x/sys/unix"

	"sealpost/lib/maillog"
)

// AsOwner runs fn with the file system identity of mail_owner, on a thread of
// its own. The queue belongs to that user, who must not be able to lead root to
// another file by putting a link in its place at the right moment. Without root
// fn runs as it is.
func AsOwner(ids IDs, fn func() error) error {
	if ids.UID < 0 {
		return fn()
	}
	done := make(chan error)
	go func() {
		// Not unlocked: the thread ends with the goroutine, and its identity too.
		runtime.LockOSThread()
		if _, err := unix.SetfsgidRetGid(ids.GID); err != nil {
			done <- err
			return
		}
		if _, err := unix.SetfsuidRetUid(ids.UID); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// AsOwnerLogging is AsOwner for a function that logs: what it gives to say is done
// with the caller's own identity, which may be the only one that may write the log.
func AsOwnerLogging(ids IDs, log *maillog.Logger, fn func(say func(func(*maillog.Logger))) error) error {
	lines := make(chan func(*maillog.Logger))
	done := make(chan error, 1)
	go func() {
		defer close(lines)
		done <- AsOwner(ids, func() error {
			return fn(func(line func(*maillog.Logger)) { lines <- line })
		})
	}()
	for line := range lines {
		line(log)
	}
	return <-done
}
