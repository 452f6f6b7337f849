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

// faults counts operations and fails those that it is told to.
type faults struct {
	mu    sync.Mutex
	calls map[string]int
	fail  map[string]error // by "op" or "op basename"
	hook  func(op string)
}

func (s *faults) call(op, path string) error {
	if s.hook != nil && op == "fsync" {
		s.hook(op)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[op]++
	if err := s.fail[op]; err != nil {
		return err
	}
	return s.fail[op+" "+filepath.Base(path)]
}

func (s *faults) count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

func (s *faults) fs() fileSystem { return faultyFS{fault: s.call} }

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
			sys := &faults{fail: map[string]error{c.op: c.err}}
			q.fs, q.dirs.fs = sys.fs(), sys.fs()
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

// TestDirectoryThatCannotBeRead: the group of postdrop may not list maildrop.
func TestDirectoryThatCannotBeRead(t *testing.T) {
	for name, want := range map[string]error{"": nil, "syncfs": unix.EIO} {
		q := tree(t, hashed(0))
		f := create(t, q, Maildrop, "x")
		sys := &faults{fail: map[string]error{"open " + Maildrop: unix.EACCES}}
		if want != nil {
			sys.fail[name] = want
		}
		q.fs, q.dirs.fs = sys.fs(), sys.fs()
		if err := f.CommitMode(t.Context(), ModeReady|0o044); !errors.Is(err, want) {
			t.Errorf("commit: %v, want %v", err, want)
		}
		if n := sys.count("syncfs"); n != 1 {
			t.Errorf("the file system was made durable %d times", n)
		}
		if err := f.Abort(); err != nil {
			t.Error(err)
		}
	}
}

func TestWriteFailureBeforeCommit(t *testing.T) {
	q := tree(t, hashed(0))
	f := create(t, q, Incoming, "")
	q.fs = (&faults{fail: map[string]error{"write": unix.ENOSPC}}).fs()
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
	q.dirs.fs = (&faults{hook: func(string) { <-release }}).fs()
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
		sys := &faults{hook: func(string) { <-release }}
		s := DirSyncer{fs: sys.fs()}
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
	sys := &faults{}
	q.dirs.fs = sys.fs()
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
