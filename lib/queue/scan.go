package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one file that a scan found.
type Entry struct {
	ID      string
	Path    string // where it was found: not Path(queue, ID) after a change of hash_queue_depth
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
// An error of type OddFiles names what was passed over; fn has then seen
// everything else. Any other error kept the scan from going on.
func (q *Queue) Scan(queue string, fn func(Entry) bool) error {
	return q.ScanMarked(queue, fn, nil)
}

// ScanMarked is Scan that also calls marked for each file that a delivery agent has
// marked as damaged (ModeCorrupt).
func (q *Queue) ScanMarked(queue string, fn func(Entry) bool, marked func(Entry)) error {
	if !ValidName(queue) {
		return fmt.Errorf("%w: queue name %.100q", ErrName, queue)
	}
	s := scan{fn: fn, marked: marked}
	err := s.dir(q.prefix+queue, 0)
	if errors.Is(err, errStop) {
		err = nil
	}
	if err == nil && len(s.odd) > 0 {
		return s.odd
	}
	return errors.Join(append(s.odd, err)...)
}

// OddFiles are directory entries that cannot be messages (not regular files,
// several links) or cannot be looked at: some of them, at most ten.
type OddFiles []error

func (o OddFiles) Error() string {
	text := make([]string, len(o))
	for i, err := range o {
		text[i] = err.Error()
	}
	return strings.Join(text, "; ")
}

func (o OddFiles) Unwrap() []error { return o }

// errStop: fn does not want more.
var errStop = errors.New("stop")

type scan struct {
	fn     func(Entry) bool
	marked func(Entry) // may be nil
	odd    OddFiles
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
		switch {
		case errors.Is(err, errStop):
			return err
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			s.addOdd(err) // the other directories have mail, too
		}
		return nil
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
		s.addOdd(err)
		return nil
	}
	entry := Entry{
		ID:      name,
		Path:    path,
		Mode:    os.FileMode(st.Mode & 0o777),
		Size:    st.Size,
		ModTime: time.Unix(st.Mtim.Unix()),
		UID:     st.Uid,
	}
	if err := ready(path, &st); err != nil {
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1:
			s.addOdd(err)
		case entry.Mode == ModeCorrupt && s.marked != nil:
			s.marked(entry)
		}
		return nil
	}
	ok := s.fn(entry)
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
