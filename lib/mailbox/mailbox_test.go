package mailbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/record"
)

// TestMain lets the test binary be the helper process that Users starts.
func TestMain(m *testing.M) {
	RunHelper()
	os.Exit(m.Run())
}

// message makes a queue file that has only content.
func message(t testing.TB, lines ...string) *os.File {
	t.Helper()
	var b []byte
	for _, l := range lines {
		b = record.Append(b, record.Norm, l)
	}
	b = record.Append(b, record.Extracted, "")
	b = record.Append(b, record.End, "")
	f, err := os.CreateTemp(t.TempDir(), "msg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	return f
}

func job(path string) *Job {
	return &Job{
		Path: path, Header: "Return-Path: <s@a.example>\nDelivered-To: r@b.example\n",
		Sender: "s@a.example", Hostname: "mx.b.example", Now: time.Date(2026, 11, 22, 20, 18, 3, 5000, time.UTC),
		Locks: []string{"fcntl", "dotlock"}, LockTries: 2,
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMaildirIsMadeAndHoldsTheMessage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "Maildir")
	src := message(t, "Subject: x", "", "From here", ".", "end")
	var d Deliverer
	if err := d.Deliver(context.Background(), src, job(dir+"/")); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(dir + "/new/*")
	if len(files) != 1 {
		t.Fatalf("files in new: %v", files)
	}
	want := "Return-Path: <s@a.example>\nDelivered-To: r@b.example\nSubject: x\n\nFrom here\n.\nend\n"
	if got := read(t, files[0]); got != want {
		t.Errorf("message:\n%q\nwant\n%q", got, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(files[0], &st); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("1795378683.V%xI%xM5.mx.b.example", st.Dev, st.Ino)
	if filepath.Base(files[0]) != name {
		t.Errorf("name %q, want %q", filepath.Base(files[0]), name)
	}
	if st.Mode&0o777 != 0o600 {
		t.Errorf("mode %o", st.Mode&0o777)
	}
	if rest, _ := filepath.Glob(dir + "/tmp/*"); len(rest) != 0 {
		t.Errorf("left in tmp: %v", rest)
	}
}

// TestMaildirIsCompleteBeforeTmpIsThere: a delivery that finds tmp relies on new.
func TestMaildirIsCompleteBeforeTmpIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Maildir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere/at/all", dir+"/new"); err != nil {
		t.Fatal(err)
	}
	var d Deliverer
	if err := d.Deliver(context.Background(), message(t, "x"), job(dir+"/")); err == nil {
		t.Error("delivered into nothing")
	}
	if _, err := os.Lstat(dir + "/tmp"); err == nil {
		t.Error("tmp was made although new cannot be")
	}
}

func TestMaildirFailuresLeaveNothing(t *testing.T) {
	base := t.TempDir()
	full := filepath.Join(base, "full")
	cases := map[string]struct {
		prepare func() string
		limit   int64
		code    string
	}{
		"over the size limit": {func() string { return full + "/" }, 40, "5.2.2"},
		"a file where the directory should be": {func() string {
			p := filepath.Join(base, "file")
			os.WriteFile(p, nil, 0o600)
			return p + "/"
		}, 0, "4.2.0"},
		"tmp is a dangling link": {func() string {
			p := filepath.Join(base, "link")
			os.MkdirAll(p, 0o700)
			os.Symlink(base+"/nowhere/at/all", p+"/tmp")
			return p + "/"
		}, 0, "4.2.0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			j := job(c.prepare())
			j.SizeLimit = c.limit
			var d Deliverer
			err := d.Deliver(context.Background(), message(t, "x", "y"), j)
			var me *Error
			if !errors.As(err, &me) || me.Code != c.code {
				t.Fatalf("error %v, want code %s", err, c.code)
			}
			if files, _ := filepath.Glob(j.Path + "*/*"); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}

func TestMboxFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	var d Deliverer
	for range 2 {
		if err := d.Deliver(context.Background(), message(t, "Subject: x", "", "From here", ">From there", "last"), job(path)); err != nil {
			t.Fatal(err)
		}
	}
	one := "From s@a.example  Sun Nov 22 20:18:03 2026\nReturn-Path: <s@a.example>\nDelivered-To: r@b.example\n" +
		"Subject: x\n\n>From here\n>From there\nlast\n\n"
	if got := read(t, path); got != one+one {
		t.Errorf("mailbox:\n%q\nwant twice\n%q", got, one)
	}
	if _, err := os.Stat(path + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lock file is still there: %v", err)
	}
}

func TestMboxFailureRestoresTheOldLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	old := "From a  Sun Nov 22 20:18:03 2026\nold\n\n"
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	j := job(path)
	j.SizeLimit = 200
	long := strings.Repeat("x", 100_000) // more than the write buffer: part of it reaches the file
	j2 := *j
	j2.SizeLimit = 90_000
	var d Deliverer
	for _, j := range []*Job{j, &j2} {
		err := d.Deliver(context.Background(), message(t, long[:1000], long), j)
		var me *Error
		if !errors.As(err, &me) || me.Code != "5.2.2" || !me.Permanent() {
			t.Fatalf("error %v, want 5.2.2", err)
		}
		if got := read(t, path); got != old {
			t.Fatalf("mailbox has %d bytes, want the old %d", len(got), len(old))
		}
	}
}

func TestMboxRefusesWhatIsNotAMailbox(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	os.WriteFile(target, []byte("precious\n"), 0o600)
	link := filepath.Join(dir, "link")
	os.Symlink(target, link)
	hard := filepath.Join(dir, "hard")
	os.Link(target, hard)
	fifo := filepath.Join(dir, "fifo")
	unix.Mkfifo(fifo, 0o600)
	var d Deliverer
	for _, path := range []string{link, hard, fifo, dir} {
		err := d.Deliver(context.Background(), message(t, "x"), job(path))
		var me *Error
		if !errors.As(err, &me) || me.Permanent() {
			t.Errorf("%s: error %v, want a temporary one", filepath.Base(path), err)
		}
	}
	if got := read(t, target); got != "precious\n" {
		t.Errorf("target was changed: %q", got)
	}
}

func TestMboxTakesConcurrentDeliveries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	src := message(t, "Subject: x", "", "body")
	var d Deliverer
	var wg sync.WaitGroup
	const n = 30
	for range n {
		wg.Go(func() {
			if err := d.Deliver(context.Background(), src, job(path)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := read(t, path)
	one := len(got) / n
	for i := range n {
		if got[i*one:(i+1)*one] != got[:one] {
			t.Fatalf("message %d is interleaved with another", i)
		}
	}
	if len(d.paths) != 0 {
		t.Errorf("%d path locks are kept", len(d.paths))
	}
}

func TestMboxLockedByAnotherProgramIsTemporary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	os.WriteFile(path, nil, 0o600)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk); err != nil {
		t.Fatal(err)
	}
	var d Deliverer
	err = d.Deliver(context.Background(), message(t, "x"), job(path))
	var me *Error
	if !errors.As(err, &me) || me.Permanent() || !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("error %v, want EAGAIN", err)
	}
}

func TestDotLockOfALiveProgramIsRespectedAndAStaleOneRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	os.WriteFile(path+".lock", nil, 0o600)
	j := job(path)
	os.Chtimes(path+".lock", j.Now, j.Now)
	var d Deliverer
	if err := d.Deliver(context.Background(), message(t, "x"), j); err == nil {
		t.Fatal("delivered in spite of the lock")
	}
	old := j.Now.Add(-2 * staleLock)
	os.Chtimes(path+".lock", old, old)
	if err := d.Deliver(context.Background(), message(t, "x"), j); err != nil {
		t.Fatalf("stale lock: %v", err)
	}
}

func TestRelativePathIsAConfigurationError(t *testing.T) {
	var d Deliverer
	for _, path := range []string{"box", "", "/a\x00b"} {
		err := d.Deliver(context.Background(), message(t, "x"), job(path))
		var me *Error
		if !errors.As(err, &me) || me.Code != "4.3.5" {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestUsersDeliverAsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root to change users")
	}
	base := t.TempDir()
	for p := base; p != "/" && p != os.TempDir(); p = filepath.Dir(p) {
		os.Chmod(p, 0o755)
	}
	home := filepath.Join(base, "home")
	os.Mkdir(home, 0o700)
	os.Chown(home, 4711, 4712)
	u := NewUsers()
	defer u.Close()
	u.exe = publicCopy(t, base)
	src := message(t, "Subject: x", "", "body")
	for _, path := range []string{home + "/Maildir/", home + "/mbox"} {
		if err := u.Deliver(context.Background(), ID{4711, 4712}, src, job(path)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	for _, pattern := range []string{home + "/Maildir/new/*", home + "/mbox"} {
		files, _ := filepath.Glob(pattern)
		if len(files) != 1 {
			t.Fatalf("%s: %v", pattern, files)
		}
		var st unix.Stat_t
		unix.Stat(files[0], &st)
		if st.Uid != 4711 || st.Gid != 4712 {
			t.Errorf("%s belongs to %d:%d", files[0], st.Uid, st.Gid)
		}
	}
	private := filepath.Join(base, "private")
	os.Mkdir(private, 0o700)
	err := u.Deliver(context.Background(), ID{4711, 4712}, src, job(private+"/Maildir/"))
	var me *Error
	if !errors.As(err, &me) || me.Permanent() {
		t.Errorf("delivery into root's directory: %v", err)
	}
}

// publicCopy copies the test binary to where other users can run it.
func publicCopy(t *testing.T, dir string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "helper")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func BenchmarkMaildir(b *testing.B) {
	dir := b.TempDir() + "/m/"
	src := message(b, "Subject: x", "", strings.Repeat("x", 900), strings.Repeat("y", 900))
	var d Deliverer
	for b.Loop() {
		if err := d.Deliver(context.Background(), src, job(dir)); err != nil {
			b.Fatal(err)
		}
	}
}
