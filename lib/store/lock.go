package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/filelock"
)

// errPlanted is a file of somebody else in the place of the lock file.
var errPlanted = errors.New("is somebody else's file; remove it")

// Waits for another writer.
const (
	firstWait = time.Millisecond
	maxWait   = 50 * time.Millisecond
)

// lockWriters waits until no other program writes the table whose lock file path is. The
// file is there while somebody writes; only its owner can open it, so that nobody else
// can lock it.
func lockWriters(ctx context.Context, path string) (unlock func(), err error) {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		f, err := openLock(path)
		if err != nil {
			return nil, err
		}
		err = filelock.TryLock(f, filelock.Exclusive)
		switch {
		case err == nil && named(f, path):
			return func() { os.Remove(path); f.Close() }, nil
		case err == nil: // the writer before has removed it
			f.Close()
			continue
		}
		f.Close()
		if !errors.Is(err, filelock.ErrLocked) {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		}
	}
}

// openLock opens the lock file or makes it. What another user put there, and links, are
// removed first.
func openLock(path string) (*os.File, error) {
	for range 10 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err == nil && mine(f) {
			return f, nil
		}
		if err == nil {
			f.Close()
		} else if errors.Is(err, fs.ErrNotExist) {
			return nil, err // the directory
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s %w", path, errPlanted)
}

// mine reports whether a file is what openLock makes: of this user, for nobody else, and
// under one name, or none any more.
func mine(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	// Asking for an identity that cannot be tells the present one: this process's, or that
	// of the source's owner (postmap without -o).
	uid, err := unix.SetfsuidRetUid(-1)
	return ok && err == nil && sys.Nlink <= 1 && int(sys.Uid) == uid
}

// named reports whether the file is still what the path means.
func named(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
