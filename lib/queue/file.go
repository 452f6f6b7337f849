package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bufferLimit is how much of a new file is kept in memory: a message below it
// costs one write.
const bufferLimit = 64 << 10

// smallBuffer is the memory that a file begins with; most messages fit in.
const smallBuffer = 12 << 10

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, smallBuffer)
	return &b
}}

// maxTries bounds the search for a free name (§4.2).
const maxTries = 1000

// Create makes a new file with a new id in a queue (§4.2): mode 0600 until
// Commit. Errors are the file system's (ENOSPC...), wrapped.
func (q *Queue) Create(queue string) (*File, error) {
	if !ValidName(queue) {
		return nil, fmt.Errorf("%w: queue name %.100q", ErrName, queue)
	}
	temp, fd, err := q.createTemp(queue)
	if err != nil {
		return nil, err
	}
	f := &File{q: q, queue: queue, fd: fd, path: temp}
	var st unix.Stat_t
	if err = q.fs.fstat(fd, temp, &st); err == nil {
		err = f.nameIt(st.Ino)
	}
	if err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	f.buf = buffers.Get().(*[]byte)
	return f, nil
}

// createTemp creates QUEUE/USEC.PID. Goroutines that read the same time find
// each other's file in the way and take a later one.
func (q *Queue) createTemp(queue string) (path string, fd int, err error) {
	mode := uint32(ModeWriting)
	if queue == Maildrop {
		mode |= 0o044 // pickup must be able to read it
	}
	now := q.now()
	for try := range maxTries {
		usec := (now.Nanosecond()/1000 + try) % 1e6
		path = q.prefix + queue + "/" + strconv.Itoa(usec) + "." + strconv.Itoa(q.pid)
		fd, err = q.fs.open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return path, fd, err
		}
	}
	return "", -1, fmt.Errorf("create file in %s: %w: %w", queue, ErrTries, err)
}

// nameIt gives the new file its id: a later time when a stranger has the name.
func (f *File) nameIt(inode uint64) error {
	now := f.q.now()
	var err error
	for try := range maxTries {
		t := now.Add(time.Duration(try) * time.Microsecond).Truncate(time.Microsecond)
		id := makeID(t, inode, f.q.long)
		f.madeDir, err = f.q.rename(f.path, f.queue, id)
		switch {
		case err == nil:
			f.id, f.arrival, f.path = id, t, f.q.Path(f.queue, id)
			return nil
		case errors.Is(err, fs.ErrExist), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EPERM):
		default:
			return err
		}
	}
	return fmt.Errorf("rename %s: %w: %w", f.path, ErrTries, err)
}

// File is a queue file being written. What is written is buffered: up to 64 KiB
// reach the disk in one call, and earlier bytes can be changed in memory until
// then. It is for one goroutine.
type File struct {
	q       *Queue
	queue   string
	id      string
	path    string
	arrival time.Time
	madeDir bool // a hash directory was made: its entry must be durable too
	fd      int
	buf     *[]byte // what follows the bytes on disk
	disk    int64   // number of bytes on disk
	done    bool
}

// ID is the queue id, Queue the queue the file is in.
func (f *File) ID() string    { return f.id }
func (f *File) Queue() string { return f.queue }

// Path is the file's name relative to the working directory.
func (f *File) Path() string { return f.path }

// Arrival is the clock reading in the id: the message's arrival time, in
// microseconds.
func (f *File) Arrival() time.Time { return f.arrival }

// Size is the number of bytes written so far.
func (f *File) Size() int64 {
	if f.buf == nil {
		return f.disk
	}
	return f.disk + int64(len(*f.buf))
}

// Write appends b.
func (f *File) Write(b []byte) (int, error) {
	if f.done {
		return 0, fs.ErrClosed
	}
	if len(*f.buf)+len(b) > bufferLimit {
		if err := f.Flush(); err != nil {
			return 0, err
		}
		if len(b) >= bufferLimit {
			if err := f.q.fs.pwrite(f.fd, f.path, b, f.disk); err != nil {
				return 0, err
			}
			f.disk += int64(len(b))
			return len(b), nil
		}
	}
	*f.buf = append(*f.buf, b...)
	return len(b), nil
}

// WriteString appends s.
func (f *File) WriteString(s string) (int, error) {
	if !f.done && len(*f.buf)+len(s) <= bufferLimit {
		*f.buf = append(*f.buf, s...)
		return len(s), nil
	}
	return f.Write([]byte(s))
}

// WriteAt overwrites bytes written before; it may go on past the end, but not
// begin there.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	if f.done {
		return 0, fs.ErrClosed
	}
	if off < 0 || off > f.Size() {
		return 0, fmt.Errorf("write %s: offset %d in %d bytes: %w", f.path, off, f.Size(), fs.ErrInvalid)
	}
	n := 0
	if off < f.disk {
		head := b[:min(int64(len(b)), f.disk-off)]
		if err := f.q.fs.pwrite(f.fd, f.path, head, off); err != nil {
			return 0, err
		}
		n, b, off = len(head), b[len(head):], f.disk
	}
	k := copy((*f.buf)[off-f.disk:], b)
	m, err := f.Write(b[k:])
	return n + k + m, err
}

// ReadAt reads what was written, buffered or not.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	if f.done {
		return 0, fs.ErrClosed
	}
	n := 0
	for off < f.disk && n < len(b) {
		k, err := unix.Pread(f.fd, b[n:min(int64(len(b)), int64(n)+f.disk-off)], off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, &fs.PathError{Op: "read", Path: f.path, Err: err}
		}
		if k == 0 {
			return n, io.ErrUnexpectedEOF
		}
		n, off = n+k, off+int64(k)
	}
	if tail := off - f.disk; n < len(b) && tail >= 0 && tail <= int64(len(*f.buf)) {
		n += copy(b[n:], (*f.buf)[tail:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Flush hands the buffer to the file system, without fsync.
func (f *File) Flush() error {
	if f.done {
		return fs.ErrClosed
	}
	if len(*f.buf) == 0 {
		return nil
	}
	if err := f.q.fs.pwrite(f.fd, f.path, *f.buf, f.disk); err != nil {
		return err
	}
	f.disk += int64(len(*f.buf))
	*f.buf = (*f.buf)[:0]
	return nil
}

// MoveTo renames the file to another queue before it is committed (hold).
func (f *File) MoveTo(queue string) error {
	if err := check(f.id, queue); err != nil {
		return err
	}
	if f.done {
		return fs.ErrClosed
	}
	if queue == f.queue {
		return nil
	}
	made, err := f.q.rename(f.path, queue, f.id)
	if err != nil {
		return err
	}
	f.madeDir, f.queue, f.path = made, queue, f.q.Path(queue, f.id)
	return nil
}

// Commit makes the message durable: mode, fsync of the file, fsync of its
// directory shared with concurrent commits (decision 30), close. After an error
// the caller must Abort: whether the message survives a crash is not known.
func (f *File) Commit(ctx context.Context) error { return f.CommitMode(ctx, ModeReady) }

// CommitMode is Commit with another final mode (maildrop: ModeMaildrop).
func (f *File) CommitMode(ctx context.Context, mode os.FileMode) error {
	if err := f.Flush(); err != nil {
		return err
	}
	if err := f.q.fs.fchmod(f.fd, f.path, uint32(mode.Perm())); err != nil {
		return err
	}
	// The file and its name become durable side by side: a journal that has to be
	// written for one of them is written for both. The order does not matter, since
	// a name whose content is missing is not a complete message.
	name := f.q.dirs.begin(f.q.dir(f.queue, f.id))
	if err := f.q.fs.fsync(f.fd, f.path); err != nil {
		return err
	}
	if err := f.syncDirs(ctx, name); err != nil {
		return err
	}
	// The message is on disk. Whatever close has to say changes nothing, and an
	// error would make the client send it again.
	_ = f.close()
	return nil
}

// syncDirs makes the file's name durable: its directory, whose fsync has begun,
// and when hash directories were made for it those above too.
func (f *File) syncDirs(ctx context.Context, begun *syncRound) error {
	dir := f.q.dir(f.queue, f.id)
	top := f.q.prefix + f.queue
	err := begun.wait(ctx)
	if errors.Is(err, fs.ErrPermission) {
		// The group of postdrop may put files into maildrop, and may not list it:
		// without a descriptor of the directory only all of its file system can
		// be made durable.
		return f.q.fs.syncfs(f.fd, f.path)
	}
	for {
		if err != nil {
			return err
		}
		if !f.madeDir || len(dir) <= len(top) {
			return nil
		}
		dir = dir[:len(dir)-2]
		err = f.q.dirs.Sync(ctx, dir)
	}
}

func (f *File) close() error {
	if f.done {
		return nil
	}
	f.done = true
	if f.buf != nil {
		if cap(*f.buf) <= 2*bufferLimit {
			*f.buf = (*f.buf)[:0]
			buffers.Put(f.buf)
		}
		f.buf = nil
	}
	return f.q.fs.close(f.fd, f.path)
}

// Abort removes the file. After a successful Commit it does nothing; after a
// failed one it is necessary.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	err := f.q.fs.unlink(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.close())
}
