package queue

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// A Fault decides for one file system operation whether it fails: op is open,
// fstat, write, chmod, fsync, syncfs, close, rename, remove or mkdir, path the file or
// directory. nil lets it happen.
type Fault func(op, path string) error

// NewFaulty is New for a queue on a file system that fails on purpose: tests of
// the daemons ask with it that nothing is lost and nothing is left behind. A
// write that fails has written the first half, as on a full disk; a close that
// fails has closed.
func NewFaulty(dir string, s Settings, fault Fault) *Queue {
	q := New(dir, s)
	q.fs = faultyFS{fault: fault}
	q.dirs.fs = q.fs
	return q
}

type faultyFS struct {
	osFS
	fault Fault
}

func (s faultyFS) fails(op, path string) error {
	if err := s.fault(op, path); err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

func (s faultyFS) open(path string, flag int, mode uint32) (int, error) {
	if err := s.fails("open", path); err != nil {
		return -1, err
	}
	return s.osFS.open(path, flag, mode)
}

func (s faultyFS) fstat(fd int, path string, st *unix.Stat_t) error {
	if err := s.fails("fstat", path); err != nil {
		return err
	}
	return s.osFS.fstat(fd, path, st)
}

func (s faultyFS) pwrite(fd int, path string, b []byte, off int64) error {
	if err := s.fails("write", path); err != nil {
		_ = s.osFS.pwrite(fd, path, b[:len(b)/2], off)
		return err
	}
	return s.osFS.pwrite(fd, path, b, off)
}

func (s faultyFS) fchmod(fd int, path string, mode uint32) error {
	if err := s.fails("chmod", path); err != nil {
		return err
	}
	return s.osFS.fchmod(fd, path, mode)
}

func (s faultyFS) fsync(fd int, path string) error {
	if err := s.fails("fsync", path); err != nil {
		return err
	}
	return s.osFS.fsync(fd, path)
}

func (s faultyFS) syncfs(fd int, path string) error {
	if err := s.fails("syncfs", path); err != nil {
		return err
	}
	return s.osFS.syncfs(fd, path)
}

func (s faultyFS) close(fd int, path string) error {
	err := s.osFS.close(fd, path)
	if e := s.fails("close", path); e != nil {
		return e
	}
	return err
}

func (s faultyFS) rename(from, to string) error {
	if err := s.fails("rename", from); err != nil {
		return err
	}
	return s.osFS.rename(from, to)
}

func (s faultyFS) unlink(path string) error {
	if err := s.fails("remove", path); err != nil {
		return err
	}
	return s.osFS.unlink(path)
}

func (s faultyFS) mkdir(path string, mode uint32) error {
	if err := s.fails("mkdir", path); err != nil {
		return err
	}
	return s.osFS.mkdir(path, mode)
}
