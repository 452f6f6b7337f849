package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one file that a scan found.
type Entry struct {
	ID      string
	Mode    os.FileMode
	Size    int64
	ModTime time.Time // of the next delivery attempt (§4.3)
	UID     uint32    // owner: in maildrop the submitter
}

// scanPiece is how many names are read from a directory at a time.
const scanPiece = 256

// maxOdd is how many odd files a scan reports.
const maxOdd = 10

// Scan calls fn for each complete file of a queue, subdirectories included,
// until fn returns false. Order is the directory's. Large directories are read
// in pieces; fn may rename or remove what it was given. A file that comes or
// goes meanwhile may be missed.
//
// The error says what kept the scan from going on, or names odd files that were
// passed over (not regular, several links); fn has then seen all others.
func (q *Queue) Scan(queue string, fn func(Entry) bool) error {
	if !ValidName(queue) {
		return fmt.Errorf("%w: queue name %.100q", ErrName, queue)
	}
	s := scan{fn: fn}
	err := s.dir(q.prefix+queue, 0)
	if errors.Is(err, errStop) {
		err = nil
	}
	return errors.Join(append(s.odd, err)...)
}

// errStop: fn does not want more.
var errStop = errors.New("stop")

type scan struct {
	fn  func(Entry) bool
	odd []error
}

// maxDepth bounds the recursion into hash directories.
const maxDepth = 32

func (s *scan) dir(path string, depth int) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.ReadDir(scanPiece)
		for _, e := range names {
			if err := s.name(path, e, depth); err != nil {
				return err
			}
		}
		if err == io.EOF || err == nil && len(names) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *scan) name(dir string, e fs.DirEntry, depth int) error {
	name := e.Name()
	if e.IsDir() {
		if len(name) != 1 || depth >= maxDepth {
			return nil
		}
		err := s.dir(dir+"/"+name, depth+1)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	if !ValidID(name) {
		return nil // a temporary name
	}
	path := dir + "/" + name
	var st unix.Stat_t
	err := retry("lstat", path, func() error { return unix.Lstat(path, &st) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := ready(path, &st); err != nil {
		if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
			s.addOdd(err)
		}
		return nil
	}
	ok := s.fn(Entry{
		ID:      name,
		Mode:    os.FileMode(st.Mode & 0o777),
		Size:    st.Size,
		ModTime: time.Unix(st.Mtim.Unix()),
		UID:     st.Uid,
	})
	if !ok {
		return errStop
	}
	return nil
}

func (s *scan) addOdd(err error) {
	if len(s.odd) < maxOdd {
		s.odd = append(s.odd, err)
	}
}
