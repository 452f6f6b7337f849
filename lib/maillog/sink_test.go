package maillog

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// receiver is a datagram socket that lines arrive at.
type receiver struct {
	t    *testing.T
	conn *net.UnixConn
}

func newReceiver(t *testing.T, path string) *receiver {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &receiver{t, c}
}

func (r *receiver) line() string {
	r.t.Helper()
	r.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 8192)
	n, err := r.conn.Read(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b[:n])
}

func postlogLogger(o Options) *Logger {
	o.Program, o.Hostname = "smtpd", "mail"
	o.Clock = func() time.Time { return at }
	l := New(o)
	l.core.pid = 5192
	return l
}

func TestPostlogSocket(t *testing.T) {
	dir := t.TempDir()
	for len(dir) < 120 { // longer than a socket address
		dir += "/directory"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "s")
	for _, path := range []string{filepath.Join(dir, "postlog"), short} {
		bind := path
		if len(bind) > 107 {
			d, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			bind = fmt.Sprintf("/proc/self/fd/%d/postlog", d.Fd())
		}
		r := newReceiver(t, bind)
		l := postlogLogger(Options{Postlog: path})
		l.Warnf("a")
		if got, want := r.line(), "Nov 02 19:22:53 mail postfix/smtpd[5192]: warning: a"; got != want {
			t.Errorf("got %q", got)
		}
	}
}

// TestPostlogReplaced: a new socket of the same name is found by itself.
func TestPostlogReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postlog")
	r := newReceiver(t, path)
	l := postlogLogger(Options{Postlog: path})
	l.Infof("one")
	r.line()
	r.conn.Close()
	os.Remove(path)
	r = newReceiver(t, path)
	l.Infof("two")
	if got := r.line(); !strings.HasSuffix(got, ": two") {
		t.Errorf("got %q", got)
	}
}

// TestPostlogAbsent: lines go to the file of a program that may write it.
func TestPostlogAbsent(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "postlog"), filepath.Join(dir, "maillog")
	l := postlogLogger(Options{Postlog: path, Direct: file, DirectMode: 0o640})
	l.Infof("one")
	l.Infof("two")
	b, err := os.ReadFile(file)
	if want := "Nov 02 19:22:53 mail postfix/smtpd[5192]: one\nNov 02 19:22:53 mail postfix/smtpd[5192]: two\n"; string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
}

// TestPostlogStuckWithFile: who may write the file does not wait for a postlogd
// that does not read: master would start nobody meanwhile, not even postlogd.
func TestPostlogStuckWithFile(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "postlog"), filepath.Join(dir, "maillog")
	r := newReceiver(t, path)
	l := postlogLogger(Options{Postlog: path, Direct: file})
	const lines = 1000
	begin := time.Now()
	for range lines {
		l.Infof("line")
	}
	if d := time.Since(begin); d >= maxWait {
		t.Errorf("%d lines took %v", lines, d)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("SKIP: the socket's queue takes %d datagrams here: %v", lines, err)
	}
	for range lines - strings.Count(string(b), ": line\n") {
		r.line()
	}
	if l.Lost() != 0 {
		t.Errorf("%d lines lost", l.Lost())
	}
}

// TestPostlogStuck: a postlogd that does not read costs a second once, then lines
// are counted as lost; when it reads again the count is logged.
func TestPostlogStuck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postlog")
	r := newReceiver(t, path)
	l := postlogLogger(Options{Postlog: path})
	l.core.sink.(*postlogSink).next = nil
	begin := time.Now()
	for range 1000 {
		l.Infof("line")
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Fatalf("1000 lines took %v", d)
	}
	if l.Lost() == 0 {
		t.Skip("SKIP: the socket's queue takes 1000 datagrams here")
	}
	lost := l.Lost()
	for range 1000 - lost {
		r.line()
	}
	l.Flush()
	want := fmt.Sprintf("warning: %d log lines were lost while %s could not be written", lost, path)
	if got := r.line(); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if l.Lost() != 0 {
		t.Errorf("%d lines lost after the report", l.Lost())
	}
}

func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r := newReceiver(t, path)
	for _, tt := range []struct {
		name string
		o    Options
		log  func(*Logger)
		want string
	}{
		{"info", Options{}, func(l *Logger) { l.Infof("a") }, "<22>Nov  2 19:22:53 postfix/smtpd[5192]: a"},
		{"warning of a session", Options{}, func(l *Logger) { l.Session(3).Warnf("a") }, "<20>Nov  2 19:22:53 postfix/smtpd[3]: warning: a"},
		{"facility", Options{Facility: "local0"}, func(l *Logger) { l.Errorf("a") }, "<131>Nov  2 19:22:53 postfix/smtpd[5192]: error: a"},
		{"fatal", Options{}, func(l *Logger) { l.Text(Fatal, "a") }, "<18>Nov  2 19:22:53 postfix/smtpd[5192]: fatal: a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := postlogLogger(tt.o)
			l.core.sink.(*syslogSink).path = path
			tt.log(l)
			if got := r.line(); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		l := postlogLogger(Options{Format: FormatJSON})
		l.core.sink.(*syslogSink).path = path
		l.Infof("a")
		if got := r.line(); !strings.HasPrefix(got, `<22>Nov  2 19:22:53 postfix/smtpd[5192]: {"@level":"info"`) {
			t.Errorf("got %q", got)
		}
	})
}

func TestConcurrentLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postlog")
	r := newReceiver(t, path)
	l := postlogLogger(Options{Postlog: path})
	const writers, lines = 8, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			s := l.Session(uint64(w + 1))
			for i := range lines {
				s.Infof("%d", i)
			}
		})
	}
	next := map[string]int{}
	for range writers * lines {
		_, rest, _ := strings.Cut(r.line(), "postfix/smtpd[")
		session, number, _ := strings.Cut(rest, "]: ")
		if want := fmt.Sprint(next[session]); number != want {
			t.Fatalf("session %s: line %q, want %s", session, number, want)
		}
		next[session]++
	}
	wg.Wait()
}
