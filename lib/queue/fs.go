package queue

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// fileSystem is what the queue asks of the operating system; a test's version
// fails on purpose. Descriptors instead of os.File save the calls and memory
// that only files which can be polled are worth.
type fileSystem interface {
	open(path string, flag int, mode uint32) (fd int, err error)
	fstat(fd int, path string, st *unix.Stat_t) error
	pwrite(fd int, path string, b []byte, off int64) error
	fchmod(fd int, path string, mode uint32) error
	fsync(fd int, path string) error
	syncfs(fd int, path string) error
	close(fd int, path string) error
	rename(from, to string) error
	unlink(path string) error
	mkdir(path string, mode uint32) error
}

type osFS struct{}

func (osFS) open(path string, flag int, mode uint32) (fd int, err error) {
	err = retry("open", path, func() (err error) {
		fd, err = unix.Open(path, flag|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

func (osFS) fstat(fd int, path string, st *unix.Stat_t) error {
	return retry("fstat", path, func() error { return unix.Fstat(fd, st) })
}

func (osFS) pwrite(fd int, path string, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if err != nil && err != unix.EINTR {
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
		if n > 0 {
			b, off = b[n:], off+int64(n)
		}
	}
	return nil
}

func (osFS) fchmod(fd int, path string, mode uint32) error {
	return retry("chmod", path, func() error { return unix.Fchmod(fd, mode) })
}

func (osFS) fsync(fd int, path string) error {
	return retry("fsync", path, func() error { return unix.Fsync(fd) })
}

// syncfs makes the whole file system durable.
func (osFS) syncfs(fd int, path string) error {
	return retry("syncfs", path, func() error { return unix.Syncfs(fd) })
}

// close is not repeated after EINTR: Linux has closed the descriptor then.
func (osFS) close(fd int, path string) error {
	if err := unix.Close(fd); err != nil && err != unix.EINTR {
		return &fs.PathError{Op: "close", Path: path, Err: err}
	}
	return nil
}

// rename does not replace: a file whose name does not fit its inode number, after
// a restore, may hold mail. File systems without that option just rename.
func (osFS) rename(from, to string) error {
	err := retry("rename", from, func() error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return retry("rename", from, func() error { return unix.Rename(from, to) })
	}
	return err
}

func (osFS) unlink(path string) error {
	return retry("remove", path, func() error { return unix.Unlink(path) })
}

func (osFS) mkdir(path string, mode uint32) error {
	return retry("mkdir", path, func() error { return unix.Mkdir(path, mode) })
}

func retry(op, path string, call func() error) error {
	for {
		err := call()
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
}
