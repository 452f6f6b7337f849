package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/maillog"
)

// With envRun set this test binary is the daemon.
const envRun = "POSTLOGD_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(envRun) != "" {
		os.Args[0] = "postlogd"
		main()
	}
	os.Exit(m.Run())
}

// daemon is a running postlogd.
type daemon struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	send   int // datagrams for it
	status *os.File
}

// startDaemon starts postlogd with maillog_file in dir, or as conf says. output is
// standard output and standard error; nil or absent: /dev/null.
func startDaemon(t *testing.T, dir, conf string, output ...*os.File) *daemon {
	t.Helper()
	for _, d := range []string{"queue/private", "queue/public", "queue/pid"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf("queue_directory = %s/queue\nmaillog_file = %s/maillog\nmaillog_file_prefixes = %s /dev/stdout\n%s", dir, dir, dir, conf)
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	pair := func(kind int) (ours int, theirs *os.File) {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fds[0], os.NewFile(uintptr(fds[1]), "theirs")
	}
	d := &daemon{t: t, dir: dir}
	status, theirStatus := pair(unix.SOCK_STREAM)
	d.status = os.NewFile(uintptr(status), "status")
	var socket *os.File
	d.send, socket = pair(unix.SOCK_DGRAM)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd = exec.Command(exe)
	d.cmd.Args = []string{"postlogd", "-l", "-n", "postlog", "-t", "unix-dgram"}
	d.cmd.ExtraFiles = []*os.File{null, null, theirStatus, socket}
	d.cmd.Env = append(os.Environ(), envRun+"=1", "MAIL_CONFIG="+dir, "SEALPOST_SESSIONS=1")
	for i, f := range output {
		switch {
		case f == nil:
		case i == 0:
			d.cmd.Stdout = f
		default:
			d.cmd.Stderr = f
		}
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirStatus.Close()
	socket.Close()
	null.Close()
	t.Cleanup(func() {
		d.status.Close()
		unix.Close(d.send)
		d.cmd.Process.Kill() //nolint:errcheck // it has ended, then
		d.cmd.Wait()         //nolint:errcheck // the test waited before
	})
	return d
}

func (d *daemon) line(text string) {
	d.t.Helper()
	if err := unix.Send(d.send, []byte(text), 0); err != nil {
		d.t.Fatal(err)
	}
}

// stop reloads and waits for the end: every line that was taken is written then.
func (d *daemon) stop() {
	d.t.Helper()
	d.status.Close()
	if err := d.cmd.Wait(); err != nil {
		d.t.Fatalf("exit: %v", err)
	}
}

// await waits until the log file has the given content.
func await(t *testing.T, path, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		b, err := os.ReadFile(path)
		if string(b) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %q, %v; want %q", path, b, err, want)
		}
		unix.Poll(nil, 5) //nolint:errcheck // until the next look
	}
}

// captured are the lines of Postfix's own programs.
func captured(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../test/capture/testdata/postlog-datagrams.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "C>S "); ok && !strings.Contains(text, `\x`) {
			out = append(out, text)
		}
	}
	if len(out) < 50 {
		t.Fatalf("only %d lines recorded", len(out))
	}
	return out
}

func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	d := startDaemon(t, dir, "maillog_file_permissions = 0640\n")
	path := filepath.Join(dir, "maillog")
	want := strings.Builder{}
	for _, line := range captured(t) {
		d.line(line)
		want.WriteString(line + "\n")
	}
	d.line("evil\nNov 22 forged\x1b[2J\xff\n")
	want.WriteString("evil?Nov 22 forged?[2J?\n")
	d.line("")
	await(t, path, want.String())
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	d.stop()
}

func TestLogFileIsKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "maillog")
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, dir, "")
	d.line("new")
	await(t, path, "old\nnew\n")
	d.cmd.Process.Signal(unix.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// TestStdout: standard output may be a pipe, a socket or anything.
func TestStdout(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stdout")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d := startDaemon(t, dir, "maillog_file = /dev/stdout\n", out)
	d.line("one")
	d.line("two")
	await(t, path, "one\ntwo\n")
	d.stop()
}

// TestStartFails: what is wrong with the log file is not said to the log file.
func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d := startDaemon(t, dir, "maillog_file = /dev/null/log\n", nil, out)
	if err := d.cmd.Wait(); err == nil {
		t.Error("exit status 0")
	}
	if got := content(t, out.Name()); !strings.Contains(got, `fatal: maillog_file "/dev/null/log" is in none of the directories`) {
		t.Errorf("%q", got)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		file     string
		mode     int
		prefixes string
		root, ok bool
	}{
		{"/var/log/maillog", 0o600, "/var /dev/stdout", true, true},
		{"/dev/stdout", 0o640, "/var /dev/stdout", true, true},
		{"/variable/maillog", 0o600, "/var", true, false},
		{"/var/../etc/passwd", 0o600, "/var", true, false},
		{"var/log/maillog", 0o600, "var", true, false},
		{"/var/log/maillog", 0o666, "/var", true, false},
		{"/var/log/maillog", 0o644, "/var/", true, true},
		{"/home/a/run/log/maillog", 0o600, "/var", true, false},
		{"/home/a/run/log/maillog", 0o600, "/var", false, true},
		{"/home/a/conf/maillog", 0o600, "/var", false, true},
		{"/home/a/maillog", 0o600, "/var", false, false},
		{"/x", 0o600, "", true, false},
	} {
		s := settings{
			File: tt.file, Mode: tt.mode, Prefixes: strings.Fields(tt.prefixes),
			QueueDir: "/home/a/run/queue", ConfigDir: "/home/a/conf",
		}
		if _, err := s.check(tt.root); (err == nil) != tt.ok {
			t.Errorf("%s mode %o, root %v: %v", tt.file, tt.mode, tt.root, err)
		}
	}
}

func newFile(t *testing.T) (*logFile, *time.Time) {
	t.Helper()
	l, err := openLogFile(filepath.Join(t.TempDir(), "log"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	l.log = maillog.New(maillog.Options{Program: "postlogd", Writer: l})
	now := time.Unix(1e9, 0)
	l.now = func() time.Time { return now }
	return l, &now
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRotation(t *testing.T) {
	l, now := newFile(t)
	put := func(s string) { l.add([]byte(s)); l.flush() }
	put("one")
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		t.Fatal(err)
	}
	put("two") // within a second of the last look
	*now = now.Add(checkInterval)
	put("three")
	if got := content(t, l.path+".1"); got != "one\ntwo\n" {
		t.Errorf("old file: %q", got)
	}
	if got := content(t, l.path); got != "three\n" {
		t.Errorf("new file: %q", got)
	}
	os.Remove(l.path)
	l.reopen()
	put("four")
	if got := content(t, l.path); got != "four\n" {
		t.Errorf("after reopen: %q", got)
	}
	// Where it may not be opened, the successor is asked for and nothing is lost.
	lost := 0
	l.lost = func() { lost++ }
	os.Rename(l.path, l.path+".2")
	if err := os.Mkdir(l.path, 0o700); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(checkInterval)
	put("five")
	if got := content(t, l.path+".2"); lost != 1 || got != "four\nfive\n" {
		t.Errorf("lost %d, old file %q", lost, got)
	}
}

func TestBatches(t *testing.T) {
	l, _ := newFile(t)
	line := strings.Repeat("x", 1023)
	for range batchSize / 1024 {
		l.add([]byte(line))
	}
	if n := len(content(t, l.path)); n != batchSize {
		t.Errorf("%d bytes written, want a full batch", n)
	}
	l.add([]byte("last"))
	if n := len(content(t, l.path)); n != batchSize {
		t.Error("a single line did not wait for flush")
	}
	l.flush()
	if !strings.HasSuffix(content(t, l.path), "x\nlast\n") {
		t.Error("flush wrote nothing")
	}
	l.add(bytes.Repeat([]byte("y"), 2*maxLine))
	l.flush()
	if got := content(t, l.path); !strings.HasSuffix(got, "last\n"+strings.Repeat("y", maxLine)+"\n") {
		t.Error("a long line was not cut")
	}
}

// TestFailedWrites: lines that could not be written are counted and reported.
func TestFailedWrites(t *testing.T) {
	l, _ := newFile(t)
	good := l.f
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	l.checked = l.now() // not looked at again in this second
	l.f = full
	l.add([]byte("one"))
	l.add([]byte("two"))
	l.flush()
	if !errors.Is(l.failure, unix.ENOSPC) {
		t.Fatalf("failure %v", l.failure)
	}
	l.f = good
	l.add([]byte("three"))
	l.flush()
	if got := content(t, l.path); !strings.HasPrefix(got, "three\n") ||
		!strings.HasSuffix(got, fmt.Sprintf(": warning: 2 log lines could not be written to %s\n", l.path)) {
		t.Errorf("%q", got)
	}
}

// FuzzAdd: whatever arrives, each datagram is at most one line of printable text.
func FuzzAdd(f *testing.F) {
	f.Add([]byte("Nov 22 20:18:45 mail postfix/master[16267]: daemon started"))
	f.Add([]byte("a\nb\x00"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &logFile{}
		l.append(bytes.Clone(b))
		n := bytes.Count(l.buf, []byte("\n"))
		if n != l.lines || n > 1 || len(l.buf) > maxLine+1 {
			t.Fatalf("%q: %q", b, l.buf)
		}
		if n == 1 && l.buf[len(l.buf)-1] != '\n' {
			t.Fatalf("%q: %q", b, l.buf)
		}
	})
}

func BenchmarkLines(b *testing.B) {
	l, err := openLogFile(filepath.Join(b.TempDir(), "log"), 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer l.close()
	line := []byte("Nov 22 20:18:46 mail postfix/virtual[16275]: 001559C045E: to=<bob@virt.example>, relay=virtual, delay=43, dsn=2.0.0, status=sent (delivered to maildir)")
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		l.add(line)
	}
}
