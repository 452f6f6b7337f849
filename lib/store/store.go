package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

const (
	magic       = "sealpost"
	trailerSize = int64(len(magic)) + 8 + 4
)

// Store is a table that is open for reading. It is safe for concurrent use.
type Store struct {
	path string
	db   *bbolt.DB

	mu   sync.Mutex
	idle []*bbolt.Cursor // each in a transaction of its own; the file never changes
}

// Open opens NAME.bbolt for reading. The error names the file and wraps
// fs.ErrNotExist or ErrDamaged.
func Open(name string) (*Store, error) {
	path := name + Suffix
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, absent(name, err)
		}
		return nil, err
	}
	defer f.Close()
	size, err := verify(f)
	if err != nil {
		return nil, fmt.Errorf("database %s is %w", path, err)
	}
	db, err := openBolt(f)
	if errors.Is(err, bolterrors.ErrTimeout) {
		db, err = openCopy(f, size)
	}
	if err != nil {
		return nil, fmt.Errorf("database %s is %w (%v)", path, ErrDamaged, err)
	}
	return &Store{path: path, db: db}, nil
}

// absent says more about a table that is not there when another program's is.
func absent(name string, err error) error {
	for _, other := range []string{".db", ".lmdb", ".cdb"} {
		if _, err2 := os.Stat(name + other); err2 == nil {
			return fmt.Errorf("%w; %s%s of Postfix is not read: run postmap %s", err, name, other, name)
		}
	}
	return fmt.Errorf("%w: run postmap %s, or postalias for a file of aliases", err, name)
}

// openBolt maps a file that was verified. bbolt wants a lock of it, which nobody of ours
// holds, since the file was complete before it had its name; ErrTimeout says that
// somebody else does.
func openBolt(f *os.File) (db *bbolt.DB, err error) {
	defer rescue(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return bbolt.Open(f.Name(), 0, &bbolt.Options{ReadOnly: true, Timeout: time.Millisecond, OpenFile: sameFile(f)})
}

// openCopy is openBolt on a copy in memory: any user who can read a file can lock it, and
// that must not keep daemons from reading it.
func openCopy(f *os.File, size int64) (*bbolt.DB, error) {
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	memory := os.NewFile(uintptr(fd), f.Name())
	defer memory.Close()
	if _, err := io.Copy(memory, io.NewSectionReader(f, 0, size)); err != nil {
		return nil, err
	}
	return openBolt(memory)
}

// sameFile has bbolt open the file that f is, whatever has its name by now.
func sameFile(f *os.File) func(string, int, fs.FileMode) (*os.File, error) {
	return func(name string, _ int, _ fs.FileMode) (*os.File, error) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// rescue turns a panic into an error: bbolt panics on pages that make no sense, and so
// does the runtime, when it is asked to, where a mapped file has a hole.
func rescue(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w (%v)", ErrDamaged, r)
	}
}

// table compares for the CRC.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// verify reads a whole file and holds it against its trailer; size is that of the
// database in it.
func verify(f *os.File) (size int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = st.Size() - trailerSize
	if size <= 0 {
		return 0, ErrDamaged
	}
	var trailer [trailerSize]byte
	if _, err := f.ReadAt(trailer[:], size); err != nil {
		return 0, err
	}
	if string(trailer[:len(magic)]) != magic || int64(binary.BigEndian.Uint64(trailer[len(magic):])) != size {
		return 0, ErrDamaged
	}
	sum := crc32.New(castagnoli())
	if _, err := io.CopyBuffer(sum, io.NewSectionReader(f, 0, size), make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	if sum.Sum32() != binary.BigEndian.Uint32(trailer[len(magic)+8:]) {
		return 0, ErrDamaged
	}
	return size, nil
}

// Get is the value of a key.
func (s *Store) Get(key string) (value string, found bool, err error) {
	defer s.name(&err)
	c, err := s.cursor()
	if err != nil {
		return "", false, err
	}
	value, found, err = seek(c, key)
	if err != nil {
		_ = c.Bucket().Tx().Rollback() // a transaction for reading; err says more
		return "", false, err
	}
	s.mu.Lock()
	s.idle = append(s.idle, c)
	s.mu.Unlock()
	return value, found, nil
}

// cursor is one that nobody else uses.
func (s *Store) cursor() (c *bbolt.Cursor, err error) {
	s.mu.Lock()
	if last := len(s.idle) - 1; last >= 0 {
		c, s.idle = s.idle[last], s.idle[:last]
	}
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	defer rescue(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, err
	}
	defer func() {
		if c == nil {
			_ = tx.Rollback()
		}
	}()
	return tx.Bucket(bucket).Cursor(), nil
}

func seek(c *bbolt.Cursor, key string) (value string, found bool, err error) {
	defer rescue(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if k, v := c.Seek(bytesOf(key)); string(k) == key && k != nil {
		return string(v), true, nil
	}
	return "", false, nil
}

// All are the entries in the order of their keys, as bytes. An error ends them.
func (s *Store) All() iter.Seq2[[2]string, error] {
	return func(yield func([2]string, error) bool) {
		if err := s.each(func(k, v []byte) bool { return yield([2]string{string(k), string(v)}, nil) }); err != nil {
			yield([2]string{}, err)
		}
	}
}

var errStop = errors.New("stop")

func (s *Store) each(fn func(k, v []byte) bool) (err error) {
	defer s.name(&err)
	defer rescue(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			if !fn(k, v) {
				return errStop
			}
			return nil
		})
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func (s *Store) name(err *error) {
	if *err != nil {
		*err = fmt.Errorf("database %s is %w", s.path, *err)
	}
}

// Close releases the file. No look-up may be under way.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		_ = c.Bucket().Tx().Rollback() // a transaction for reading has nothing to lose
	}
	s.idle = nil
	return s.db.Close()
}
