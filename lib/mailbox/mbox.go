package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/queue"
)

const mboxKind = "mailbox"

// staleLock is the age at which a dot lock of a dead process is removed
// (Postfix: stale_lock_time 500s).
const staleLock = 500 * time.Second

// A Deliverer stores messages as the calling user. It excludes its goroutines
// from each other at one mbox file: the locks of the system, which are polled,
// are for other programs. The zero value is ready.
type Deliverer struct {
	dirs  queue.DirSyncer // concurrent deliveries share an fsync of a directory
	mu    sync.Mutex
	paths map[string]*pathLock
}

type pathLock struct {
	held chan struct{} // capacity 1
	refs int
}

func (d *Deliverer) lock(ctx context.Context, path string) (unlock func(), err error) {
	d.mu.Lock()
	if d.paths == nil {
		d.paths = make(map[string]*pathLock)
	}
	l := d.paths[path]
	if l == nil {
		l = &pathLock{held: make(chan struct{}, 1)}
		d.paths[path] = l
	}
	l.refs++
	d.mu.Unlock()
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; d.forget(path, l) }, nil
	case <-ctx.Done():
		d.forget(path, l)
		return nil, ctx.Err()
	}
}

func (d *Deliverer) forget(path string, l *pathLock) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.refs--; l.refs == 0 {
		delete(d.paths, path)
	}
}

func (d *Deliverer) mbox(ctx context.Context, src *os.File, j *Job) error {
	unlock, err := d.lock(ctx, j.Path)
	if err != nil {
		return failure(mboxKind, "lock "+j.Path, err)
	}
	defer unlock()
	if slices.Contains(j.Locks, "dotlock") {
		release, err := dotLock(ctx, j)
		if err != nil {
			return failure(mboxKind, "create lock file "+j.Path+".lock", err)
		}
		defer release()
	}
	f, created, err := openMbox(j.Path)
	if err != nil {
		return failure(mboxKind, "open mailbox "+j.Path, err)
	}
	defer f.Close()
	if err := lockFile(ctx, f, j); err != nil {
		return failure(mboxKind, "lock mailbox "+j.Path, err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return failure(mboxKind, "seek mailbox "+j.Path, err)
	}
	if err := appendMbox(f, src, j, size); err != nil {
		if terr := f.Truncate(size); terr != nil {
			err = fmt.Errorf("%w (and cannot restore the old length: %v)", err, cause(terr))
		}
		return failure(mboxKind, "write mailbox "+j.Path, err)
	}
	if created {
		if err := d.dirs.Sync(ctx, filepath.Dir(j.Path)); err != nil {
			f.Truncate(size)
			return failure(mboxKind, "sync directory of "+j.Path, err)
		}
	}
	return nil
}

// openMbox opens or creates a mailbox file and refuses what is not one.
func openMbox(path string) (f *os.File, created bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		created = true
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		return nil, false, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		f.Close()
		return nil, false, fmt.Errorf("not a regular file with one link")
	}
	return f, created, nil
}

func appendMbox(f, src *os.File, j *Job, size int64) error {
	sender := j.Sender
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	from := fmt.Sprintf("From %s  %s\n", sender, j.Now.Format(time.ANSIC))
	limit := j.SizeLimit - size - int64(len(from))
	if j.SizeLimit > 0 && limit < 0 {
		return syscall.EFBIG
	}
	if _, err := io.WriteString(f, from); err != nil {
		return err
	}
	if err := copyMessage(f, src, j, true, limit); err != nil {
		return err
	}
	return f.Sync()
}

// lockFile takes the configured kernel locks. Record locks belong to the open
// file, not to the process (F_OFD_SETLK): they exclude other programs' POSIX
// locks and do not vanish when another goroutine closes the same mailbox.
func lockFile(ctx context.Context, f *os.File, j *Job) error {
	return retryLock(ctx, j, func() error {
		if slices.Contains(j.Locks, "flock") {
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
				return err
			}
		}
		if slices.Contains(j.Locks, "fcntl") {
			lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
			return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk)
		}
		return nil
	})
}

func retryLock(ctx context.Context, j *Job, try func() error) error {
	var err error
	for n := range max(j.LockTries, 1) {
		if n > 0 {
			select {
			case <-time.After(j.LockDelay):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err = try()
		if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return err
}

// dotLock makes PATH.lock, the lock that programs on other machines see.
func dotLock(ctx context.Context, j *Job) (release func(), err error) {
	name := j.Path + ".lock"
	err = retryLock(ctx, j, func() error {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0)
		if err == nil {
			return f.Close()
		}
		if st, serr := os.Lstat(name); serr == nil && j.Now.Sub(st.ModTime()) > staleLock {
			os.Remove(name)
		}
		return err
	})
	if errors.Is(err, fs.ErrPermission) && !strings.Contains(strings.Join(j.Locks, " "), "required") {
		// A spool directory that its users cannot write to: the kernel lock has
		// to do, as in Postfix.
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	return func() { os.Remove(name) }, nil
}
