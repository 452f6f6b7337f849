package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/record"
	"sealpost/test/capture"
)

// tree is a queue directory in a temporary place.
func tree(tb testing.TB, s Settings) *Queue {
	tb.Helper()
	dir := tb.TempDir()
	for _, name := range []string{Maildrop, Incoming, Active, Deferred, Hold, Corrupt, Bounce, Defer, Trace} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	return New(dir, s)
}

func hashed(depth int) Settings {
	return Settings{HashNames: []string{Incoming, Deferred, Defer}, HashDepth: depth}
}

func create(tb testing.TB, q *Queue, queue string, data string) *File {
	tb.Helper()
	f, err := q.Create(queue)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.WriteString(data); err != nil {
		tb.Fatal(err)
	}
	return f
}

func TestIDs(t *testing.T) {
	at := time.Unix(1795378912, 383811000)
	for _, c := range []struct {
		name  string
		inode uint64
		long  bool
		want  string
	}{
		{"short", 0x9C06A1, false, "5DB439C06A1"},
		{"short, small inode", 1, false, "5DB431"},
		{"long", 10225313, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := makeID(at, c.inode, c.long)
			if c.long {
				// The digits' values, not their look, are what §4.2 fixes.
				if got := fromBase(id[:6], 52); got != uint64(at.Unix()) {
					t.Errorf("%s: seconds %d", id, got)
				}
				if got := fromBase(id[6:10], 52); got != 383811 || id[10] != 'z' {
					t.Errorf("%s: microseconds %d", id, got)
				}
			} else if id != c.want {
				t.Errorf("got %s, want %s", id, c.want)
			}
			if inode, ok := IDInode(id); !ok || inode != c.inode {
				t.Errorf("%s: inode %d %v", id, inode, ok)
			}
			if !ValidID(id) {
				t.Errorf("%s is not valid", id)
			}
		})
	}
}

func fromBase(s string, base uint64) (v uint64) {
	for _, c := range []byte(s) {
		v = base*v + uint64(strings.IndexByte(digits, c))
	}
	return v
}

func TestPath(t *testing.T) {
	long := makeID(time.Unix(1795378912, 0x01234*1000), 77, true)
	for _, c := range []struct {
		name      string
		s         Settings
		queue, id string
		want      string
	}{
		{"not hashed", hashed(1), Hold, "AB12C4F", "hold/AB12C4F"},
		{"short id", hashed(1), Deferred, "AB12C4F", "deferred/A/AB12C4F"},
		{"two levels", hashed(2), Defer, "AB12C4F", "defer/A/B/AB12C4F"},
		{"shorter than the depth", hashed(3), Defer, "ab", "defer/a/b/_/ab"},
		{"long id", hashed(1), Deferred, long, "deferred/0/" + long},
		{"long id, three levels", hashed(3), Deferred, long, "deferred/0/1/2/" + long},
		{"depth 0", hashed(0), Deferred, "AB12C4F", "deferred/AB12C4F"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := New("", c.s).Path(c.queue, c.id); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	// Where Postfix put its files.
	q := New("", Settings{HashNames: []string{Deferred, Defer}, HashDepth: 1})
	for _, f := range capture.QueueFiles(t, "*") {
		if f.Queue == Flush || f.Queue == "pid" {
			continue
		}
		if got := q.Path(f.Queue, f.ID); got != f.Path {
			t.Errorf("got %s, recorded %s", got, f.Path)
		}
	}
}

func TestNamesFromPeers(t *testing.T) {
	for name, want := range map[string][2]bool{
		"AB12": {true, true}, "a_b": {true, false}, "": {false, false}, "a/b": {false, false}, "..": {false, false},
		"a\x00": {false, false}, "é": {false, false}, strings.Repeat("a", 101): {true, false},
		strings.Repeat("a", 256): {false, false},
	} {
		if ValidID(name) != want[0] || ValidName(name) != want[1] {
			t.Errorf("%.20q: id %v, name %v", name, ValidID(name), ValidName(name))
		}
	}
	q := tree(t, hashed(1))
	_, errOpen := q.Open("active", "../x", os.O_RDONLY)
	_, errCreate := q.Create("../x")
	for _, err := range []error{
		errOpen, errCreate, q.Remove("hold/..", "A"), q.Rename("A/B", Hold, Active), q.Rename("A", Hold, "/x"),
		q.AppendStatus(t.Context(), "a/b", "A", StatusRecord{}, true), q.Scan("..", nil),
	} {
		if !errors.Is(err, ErrName) {
			t.Errorf("got %v", err)
		}
	}
}

func TestCreateCommit(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings Settings
		queue    string
		size     int
	}{
		{"small", hashed(0), Incoming, 1000},
		{"hashed", hashed(2), Incoming, 1000},
		{"long id", Settings{LongIDs: true, HashNames: []string{Incoming}, HashDepth: 1}, Incoming, 1},
		{"empty", hashed(0), Incoming, 0},
		{"at the buffer's limit", hashed(0), Incoming, bufferLimit},
		{"above the buffer's limit", hashed(0), Incoming, 5*bufferLimit + 17},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := tree(t, c.settings)
			before := time.Now().Truncate(time.Microsecond)
			f, err := q.Create(c.queue)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, c.size)
			for i := range want {
				want[i] = byte(i * 7)
			}
			for b := want; len(b) > 0; {
				n := min(len(b), 1999)
				if _, err := f.Write(b[:n]); err != nil {
					t.Fatal(err)
				}
				b = b[n:]
			}
			if st, err := os.Stat(f.Path()); err != nil || st.Mode().Perm() != ModeWriting {
				t.Errorf("while writing: %v, %v", st, err)
			}
			if f.Arrival().Before(before) || f.Arrival().Nanosecond()%1000 != 0 || f.Size() != int64(c.size) {
				t.Errorf("arrival %v, size %d", f.Arrival(), f.Size())
			}
			if err := f.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := f.Abort(); err != nil {
				t.Errorf("Abort after Commit: %v", err)
			}
			st, err := os.Stat(q.Path(c.queue, f.ID()))
			if err != nil || st.Mode().Perm() != ModeReady {
				t.Fatalf("%v, %v", st, err)
			}
			var sys unix.Stat_t
			unix.Stat(f.Path(), &sys)
			if inode, ok := IDInode(f.ID()); !ok || inode != sys.Ino {
				t.Errorf("id %s names inode %d, not %d", f.ID(), inode, sys.Ino)
			}
			got, err := os.ReadFile(f.Path())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("content differs: %d bytes, %v", len(got), err)
			}
			if _, err := f.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("Write after Commit: %v", err)
			}
		})
	}
}

func TestWriteAtAndReadAt(t *testing.T) {
	// Overwrite and read at every place around the border between what is on
	// disk and what is in memory.
	for _, flushed := range []int{0, 5, 10} {
		for off := range 11 {
			for n := range 6 {
				q := tree(t, hashed(0))
				f, err := q.Create(Incoming)
				if err != nil {
					t.Fatal(err)
				}
				f.WriteString("0123456789"[:flushed])
				f.Flush()
				f.WriteString("0123456789"[flushed:])
				want := []byte("0123456789")
				patch := []byte("abcdef")[:n]
				for i, c := range patch {
					if off+i < len(want) {
						want[off+i] = c
					} else {
						want = append(want, c)
					}
				}
				if k, err := f.WriteAt(patch, int64(off)); k != n || err != nil {
					t.Fatalf("WriteAt: %d, %v", k, err)
				}
				got := make([]byte, len(want))
				if k, err := f.ReadAt(got, 0); k != len(want) || err != nil || !bytes.Equal(got, want) {
					t.Fatalf("flushed %d, %d bytes at %d: %q, want %q (%v)", flushed, n, off, got[:k], want, err)
				}
				if k, err := f.ReadAt(make([]byte, 5), int64(len(want))-2); k != 2 || err != io.EOF {
					t.Errorf("ReadAt the end: %d, %v", k, err)
				}
				if err := f.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if disk, _ := os.ReadFile(f.Path()); !bytes.Equal(disk, want) {
					t.Fatalf("on disk %q, want %q", disk, want)
				}
			}
		}
	}
	f := create(t, tree(t, hashed(0)), Incoming, "abc")
	for _, off := range []int64{-1, 4} {
		if _, err := f.WriteAt([]byte("x"), off); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("offset %d: %v", off, err)
		}
	}
}

func TestSmallMessageIsOneWrite(t *testing.T) {
	q := tree(t, hashed(0))
	sys := &faults{}
	q.fs = sys.fs()
	f, err := q.Create(Incoming)
	if err != nil {
		t.Fatal(err)
	}
	f.Write(AppendSize(nil, SizeRecord{}))
	for range 500 {
		f.Write(record.Append(nil, record.Norm, strings.Repeat("x", 100)))
	}
	f.WriteAt(AppendSize(nil, SizeRecord{ContentSize: 51000, DataOffset: SizeLen}), 0)
	if err := f.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sys.count("write"); got != 1 {
		t.Errorf("%d writes", got)
	}
}

func TestUniqueIDsUnderLoad(t *testing.T) {
	for _, long := range []bool{false, true} {
		q := tree(t, Settings{LongIDs: long})
		frozen := time.Unix(1795378912, 383811000)
		q.now = func() time.Time { return frozen } // the worst clock
		var mu sync.Mutex
		seen := make(map[string]bool)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 20 {
					f, err := q.Create(Incoming)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if seen[f.ID()] {
						t.Errorf("%s twice", f.ID())
					}
					seen[f.ID()] = true
					mu.Unlock()
					if err := f.Commit(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		n := 0
		if err := q.Scan(Incoming, func(Entry) bool { n++; return true }); err != nil || n != 320 {
			t.Errorf("%d files, %v", n, err)
		}
	}
}

func TestANameInUseIsNotReplaced(t *testing.T) {
	q := tree(t, hashed(0))
	at := time.Unix(1795378912, 383811000)
	q.now = func() time.Time { return at }
	f := create(t, q, Incoming, "new")
	var st unix.Stat_t
	unix.Stat(f.Path(), &st)
	// Restored from a backup: a complete message under the name of another inode.
	if err := os.WriteFile(q.Path(Hold, f.ID()), []byte("old"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.MoveTo(Hold); !errors.Is(err, fs.ErrExist) {
		t.Errorf("MoveTo: %v", err)
	}
	if err := f.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.Rename(f.ID(), Incoming, Hold); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Rename: %v", err)
	}
	if b, _ := os.ReadFile(q.Path(Hold, f.ID())); string(b) != "old" {
		t.Errorf("the other message is now %q", b)
	}
}

func TestMoveRenameRemoveOpen(t *testing.T) {
	q := tree(t, hashed(2))
	f := create(t, q, Incoming, "x")
	if err := f.MoveTo(Hold); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := f.ID()
	if err := q.Rename(id, Hold, Deferred); err != nil {
		t.Fatal(err)
	}
	if err := q.Rename(id, Hold, Deferred); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Rename: %v", err)
	}
	file, err := q.Open(Deferred, id, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	for range 2 {
		if err := q.Remove(Deferred, id); err != nil {
			t.Error(err)
		}
	}
	if _, err := q.Open(Deferred, id, os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open after Remove: %v", err)
	}
}

func TestOnlyCompleteFilesAreSeen(t *testing.T) {
	q := tree(t, hashed(1))
	dir := filepath.Join(q.prefix, Hold)
	write := func(name string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, mode)
	}
	write("GOOD", 0o700)
	write("EXPIRE", 0o710)
	write("WRITING", 0o600)
	write("CORRUPT", 0o400)
	write("123.456", 0o700)
	write("LINKED", 0o700)
	os.Mkdir(filepath.Join(dir, "D"), 0o700)
	os.Mkdir(filepath.Join(dir, "DD"), 0o700)
	write("D/DEEP", 0o700)
	write("DD/HIDDEN", 0o700)
	if err := errors.Join(
		os.Link(filepath.Join(dir, "LINKED"), filepath.Join(q.prefix, "other")),
		os.Symlink("GOOD", filepath.Join(dir, "SYMLINK")),
		unix.Mkfifo(filepath.Join(dir, "FIFO"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := q.Scan(Hold, func(e Entry) bool { got = append(got, e.ID); return true })
	slices.Sort(got)
	if want := []string{"DEEP", "EXPIRE", "GOOD"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, odd := range []string{"LINKED: not a complete queue file: uid ", "file has 2 links", "SYMLINK", "FIFO", "not a regular file"} {
		if err == nil || !strings.Contains(err.Error(), odd) {
			t.Errorf("error does not mention %q: %v", odd, err)
		}
	}
	for _, id := range []string{"WRITING", "CORRUPT", "LINKED", "SYMLINK"} {
		if f, err := q.Open(Hold, id, os.O_RDWR); !errors.Is(err, ErrNotReady) {
			t.Errorf("Open %s: %v, %v", id, f, err)
		}
	}
	if err := unix.Mkfifo(q.Path(Maildrop, "FIFO"), 0o700); err != nil {
		t.Fatal(err)
	}
	if f, err := q.Open(Maildrop, "FIFO", os.O_RDONLY); !errors.Is(err, ErrNotReady) {
		t.Errorf("Open FIFO: %v, %v", f, err)
	}
	n := 0
	q.Scan(Hold, func(Entry) bool { n++; return false })
	if n != 1 {
		t.Errorf("scan went on after false: %d", n)
	}
	if err := q.Scan("nosuchqueue", func(Entry) bool { return true }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing queue: %v", err)
	}
}

func TestScanLargeQueue(t *testing.T) {
	q := tree(t, hashed(1))
	for i := range 3 * scanPiece {
		path := q.Path(Deferred, fmt.Sprintf("%05X", i))
		os.Mkdir(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]int)
	err := q.Scan(Deferred, func(e Entry) bool {
		seen[e.ID]++
		if err := q.Remove(Deferred, e.ID); err != nil {
			t.Error(err)
		}
		return true
	})
	if err != nil || len(seen) != 3*scanPiece {
		t.Errorf("%d of %d, %v", len(seen), 3*scanPiece, err)
	}
}
