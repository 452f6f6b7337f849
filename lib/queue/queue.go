// Package queue is the mail queue on disk: its directories, file names, modes,
// records and the logs beside it, in Postfix's form (spec: protocols.md §4), so
// that Postfix's postcat, postqueue and postsuper work on our queue and ours on
// theirs.
//
// A message is one file. Its id is made of the time of arrival and the file's
// inode number, so no two files of one file system have the same. While it is
// being written its mode is 0600 and nobody looks at it; mode 0700 says that it
// is complete. Create begins a file, Commit makes it durable: afterwards the
// message survives a power cut (decision 30). Between queues a file moves by
// rename(2).
//
// Reader, Content and ReadMessage read a file; StatusLog and AppendStatus keep
// the logs in bounce, defer and trace.
package queue

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Names of queue directories (§4.1).
const (
	Maildrop = "maildrop"
	Incoming = "incoming"
	Active   = "active"
	Deferred = "deferred"
	Hold     = "hold"
	Corrupt  = "corrupt"
	Bounce   = "bounce"
	Defer    = "defer"
	Trace    = "trace"
	Flush    = "flush"
)

// Mode bits (§4.3).
const (
	ModeReady      os.FileMode = 0o700 // complete
	ModeWriting    os.FileMode = 0o600 // being written
	ModeCorrupt    os.FileMode = 0o400 // to be moved to the corrupt queue
	ModeUnthrottle os.FileMode = 0o040 // ignore throttles once
	ModeExpire     os.FileMode = 0o010 // forced expiry
	ModeMaildrop   os.FileMode = 0o744 // complete, in maildrop
)

var (
	// ErrName: a queue name or id that is not well-formed; the file system was
	// not asked.
	ErrName = errors.New("malformed queue name or id")
	// ErrNotReady: the file is not a complete message: it is being written, is
	// marked corrupt, is not a regular file or has several links.
	ErrNotReady = errors.New("not a complete queue file")
	// ErrTries: no free name was found for a new file.
	ErrTries = errors.New("giving up")
)

// Settings of a queue, from main.cf.
type Settings struct {
	HashNames []string `conf:"hash_queue_names"`
	HashDepth int      `conf:"hash_queue_depth"`
	LongIDs   bool     `conf:"enable_long_queue_ids"`
}

// Queue is a queue directory tree. Daemons run with it as working directory, so
// dir is usually "". Safe for concurrent use.
type Queue struct {
	prefix string // dir and a slash, or empty
	hashed map[string]bool
	depth  int
	long   bool
	pid    int
	now    func() time.Time
	fs     fileSystem
	dirs   DirSyncer
	seed   maphash.Seed
	logs   [64]sync.Mutex // by hash of the id: appends to a status log
}

// New returns the queue in dir; "" is the working directory.
func New(dir string, s Settings) *Queue {
	q := &Queue{
		hashed: make(map[string]bool, len(s.HashNames)),
		depth:  s.HashDepth,
		long:   s.LongIDs,
		pid:    os.Getpid(),
		now:    time.Now,
		fs:     osFS{},
		seed:   maphash.MakeSeed(),
	}
	if dir != "" {
		q.prefix = dir + "/"
	}
	for _, name := range s.HashNames {
		q.hashed[name] = true
	}
	return q
}

// Path is the name of a file, hashed as configured, relative to the working
// directory. queue and id must be valid (ValidName, ValidID).
func (q *Queue) Path(queue, id string) string {
	return q.prefix + queue + "/" + q.hash(queue, id) + id
}

// dir is the directory that holds a file, for fsync.
func (q *Queue) dir(queue, id string) string {
	d := q.prefix + queue + "/" + q.hash(queue, id)
	return d[:len(d)-1]
}

// hash is the part of a path between the queue and the id: empty, or one
// character per level with a slash after each (§4.1).
func (q *Queue) hash(queue, id string) string {
	if q.depth <= 0 || !q.hashed[queue] {
		return ""
	}
	name := hashName(id)
	b := make([]byte, 0, 2*q.depth)
	for i := range q.depth {
		c := byte('_')
		if i < len(name) {
			c = name[i]
		}
		b = append(b, c, '/')
	}
	return string(b)
}

func check(id string, queues ...string) error {
	for _, name := range queues {
		if !ValidName(name) {
			return fmt.Errorf("%w: queue name %.100q", ErrName, name)
		}
	}
	if !ValidID(id) {
		return fmt.Errorf("%w: queue id %.100q", ErrName, id)
	}
	return nil
}

// Rename moves a complete file between queues, making directories as needed. A
// file of that name in the destination is not replaced.
func (q *Queue) Rename(id, from, to string) error {
	if err := check(id, from, to); err != nil {
		return err
	}
	if from == to {
		return nil
	}
	_, err := q.rename(q.Path(from, id), to, id)
	return err
}

// rename moves the file at path into a queue; made reports that directories had
// to be made for it.
func (q *Queue) rename(path, to, id string) (made bool, err error) {
	err = q.fs.rename(path, q.Path(to, id))
	if !errors.Is(err, fs.ErrNotExist) || q.hash(to, id) == "" {
		return false, err
	}
	if err := q.mkdirs(to, id); err != nil {
		return false, err
	}
	return true, q.fs.rename(path, q.Path(to, id))
}

// Move moves the file at path, which need not be where Path puts it, to the place
// of id in a queue plus suffix, making directories as needed. A file that is there
// is not replaced (fs.ErrExist).
func (q *Queue) Move(path, queue, id, suffix string) error {
	if err := check(id, queue); err != nil {
		return err
	}
	to := q.Path(queue, id) + suffix
	err := q.fs.rename(path, to)
	if !errors.Is(err, fs.ErrNotExist) || q.hash(queue, id) == "" {
		return err
	}
	if _, e := os.Lstat(path); e != nil {
		return err
	}
	if err := q.mkdirs(queue, id); err != nil {
		return err
	}
	return q.fs.rename(path, to)
}

// HashDepth is the number of levels of hash directories that a queue has.
func (q *Queue) HashDepth(queue string) int {
	if !q.hashed[queue] {
		return 0
	}
	return max(q.depth, 0)
}

// mkdirs makes the hash directories of a file, mode 0700. The queue's own
// directory must exist.
func (q *Queue) mkdirs(queue, id string) error {
	path := q.prefix + queue
	hash := q.hash(queue, id)
	for i := 0; i < len(hash); i += 2 {
		path += "/" + hash[i:i+1]
		if err := q.fs.mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Remove unlinks a file; a missing file is not an error.
func (q *Queue) Remove(queue, id string) error {
	if err := check(id, queue); err != nil {
		return err
	}
	if err := q.fs.unlink(q.Path(queue, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Open opens a complete message: a regular file with one name and the mode that
// says so, else ErrNotReady. flag is os.O_RDONLY or os.O_RDWR; delivery agents
// need the latter to mark recipients done.
func (q *Queue) Open(queue, id string, flag int) (*os.File, error) {
	if err := check(id, queue); err != nil {
		return nil, err
	}
	return q.open(queue, q.Path(queue, id), flag)
}

// OpenEntry is Open for a message that a scan of the queue found.
func (q *Queue) OpenEntry(queue string, e Entry, flag int) (*os.File, error) {
	return q.open(queue, e.Path, flag)
}

func (q *Queue) open(queue, path string, flag int) (*os.File, error) {
	flag |= unix.O_NOFOLLOW
	if queue == Maildrop { // a user may have put a FIFO there
		flag |= unix.O_NONBLOCK
	}
	fd, err := q.fs.open(path, flag, 0)
	if err != nil {
		var st unix.Stat_t
		switch {
		case errors.Is(err, unix.ELOOP):
			err = fmt.Errorf("%s: %w: symbolic link", path, ErrNotReady)
		case errors.Is(err, unix.EACCES) && unix.Lstat(path, &st) == nil:
			// Without root, the mode that says "not complete" also keeps us out.
			if not := ready(path, &st); not != nil {
				err = not
			}
		}
		return nil, err
	}
	var st unix.Stat_t
	if err = q.fs.fstat(fd, path, &st); err == nil {
		err = ready(path, &st)
	}
	if err == nil && queue == Maildrop {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		q.fs.close(fd, path)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ready reports why a file is not a complete message (§4.3).
func ready(path string, st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s: %w: uid %d: not a regular file", path, ErrNotReady, st.Uid)
	case st.Mode&unix.S_IRWXU != unix.S_IRWXU:
		return fmt.Errorf("%s: %w: mode %#o", path, ErrNotReady, st.Mode&0o7777)
	case st.Nlink > 1:
		return fmt.Errorf("%s: %w: uid %d: file has %d links", path, ErrNotReady, st.Uid, st.Nlink)
	}
	return nil
}
