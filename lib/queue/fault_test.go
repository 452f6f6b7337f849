package queue

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// faultyFS is the operating system, failing when told to.
type faultyFS struct {
	osFS
	mu    sync.Mutex
	calls map[string]int
	fail  map[string]error // by "op" or "op basename"
	hook  func(op string)
}

func (s *faultyFS) call(op, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[op]++
	err := s.fail[op]
	if err == nil {
		err = s.fail[op+" "+filepath.Base(path)]
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

func (s *faultyFS) count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

func (s *faultyFS) open(path string, flag int, mode uint32) (int, error) {
	if err := s.call("open", path); err != nil {
		return -1, err
	}
	return s.osFS.open(path, flag, mode)
}

func (s *faultyFS) fstat(fd int, path string, st *unix.Stat_t) error {
	if err := s.call("fstat", path); err != nil {
		return err
	}
	return s.osFS.fstat(fd, path, st)
}

func (s *faultyFS) pwrite(fd int, path string, b []byte, off int64) error {
	if err := s.call("write", path); err != nil {
		s.osFS.pwrite(fd, path, b[:len(b)/2], off) // a full disk takes a part
		return err
	}
	return s.osFS.pwrite(fd, path, b, off)
}

func (s *faultyFS) fchmod(fd int, path string, mode uint32) error {
	if err := s.call("chmod", path); err != nil {
		return err
	}
	return s.osFS.fchmod(fd, path, mode)
}

func (s *faultyFS) fsync(fd int, path string) error {
	if s.hook != nil {
		s.hook("fsync")
	}
	if err := s.call("fsync", path); err != nil {
		return err
	}
	return s.osFS.fsync(fd, path)
}

func (s *faultyFS) close(fd int, path string) error {
	err := s.osFS.close(fd, path)
	if e := s.call("close", path); e != nil {
		err = e
	}
	return err
}

func (s *faultyFS) rename(from, to string) error {
	if err := s.call("rename", from); err != nil {
		return err
	}
	return s.osFS.rename(from, to)
}

func TestFailuresAreReportedAndLeaveNothing(t *testing.T) {
	for _, c := range []struct {
		op  string
		err error
	}{
		{"open", unix.ENOSPC}, {"open", unix.EACCES}, {"fstat", unix.EIO}, {"rename", unix.EIO},
		{"rename", unix.EISDIR}, // each time: gives up
		{"write", unix.ENOSPC}, {"write", unix.EFBIG}, {"chmod", unix.EIO}, {"fsync", unix.EIO},
		{"fsync " + Incoming, unix.EIO}, {"open " + Incoming, unix.EMFILE},
	} {
		t.Run(c.op+" "+c.err.Error(), func(t *testing.T) {
			q := tree(t, hashed(0))
			sys := &faultyFS{fail: map[string]error{c.op: c.err}}
			q.fs, q.dirs.fs = sys, sys
			err := func() error {
				f, err := q.Create(Incoming)
				if err != nil {
					return err
				}
				_, err = f.WriteString(strings.Repeat("x", 1000))
				if err == nil {
					err = f.Commit(t.Context())
				}
				return errors.Join(err, f.Abort())
			}()
			if !errors.Is(err, c.err) {
				t.Errorf("got %v", err)
			}
			if left, _ := os.ReadDir(q.prefix + Incoming); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWriteFailureBeforeCommit(t *testing.T) {
	q := tree(t, hashed(0))
	f := create(t, q, Incoming, "")
	q.fs = &faultyFS{fail: map[string]error{"write": unix.ENOSPC}}
	var err error
	for n := 0; err == nil && n < 3*bufferLimit; n += 1000 {
		_, err = f.Write(make([]byte, 1000))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
}

func TestCommitEndsWithContext(t *testing.T) {
	q := tree(t, hashed(0))
	release := make(chan struct{})
	q.dirs.fs = &faultyFS{hook: func(string) { <-release }}
	defer close(release)
	f := create(t, q, Incoming, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
}

// TestGroupCommit holds the first fsync until all others wait for theirs: one
// more is enough for them.
func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const callers = 50
		release := make(chan struct{})
		sys := &faultyFS{hook: func(string) { <-release }}
		s := DirSyncer{fs: sys}
		errs := make(chan error, callers+1)
		sync := func() { errs <- s.Sync(t.Context(), dir) }
		go sync()
		synctest.Wait()
		for range callers {
			go sync()
		}
		synctest.Wait()
		close(release)
		for range callers + 1 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := sys.count("fsync"); n != 2 {
			t.Errorf("%d fsyncs", n)
		}
		synctest.Wait()
		if len(s.dirs) != 0 {
			t.Errorf("left: %v", s.dirs)
		}
	})
}

func TestSyncDirErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "x")
	var s DirSyncer
	if err := s.Sync(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := SyncDir(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := SyncDir(t.Context(), t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestHashDirectoriesAreMadeDurable(t *testing.T) {
	q := tree(t, hashed(2))
	sys := &faultyFS{}
	q.dirs.fs = sys
	f := create(t, q, Incoming, "x")
	if err := f.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sys.count("fsync"); n != 3 {
		t.Errorf("%d directories synced, want the two new ones and their parent", n)
	}
	st, err := os.Stat(q.prefix + Incoming + "/" + f.ID()[:1])
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
}
