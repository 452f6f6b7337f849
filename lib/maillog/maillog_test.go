package maillog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"sealpost/lib/mailproto"
)

// at is the time of all lines in these tests.
var at = time.Date(2026, time.November, 2, 19, 22, 53, 0, time.UTC)

func testLogger(o Options) (*Logger, *bytes.Buffer) {
	b := &bytes.Buffer{}
	o.Writer = b
	o.Hostname = "mail.example.com"
	if o.Program == "" {
		o.Program = "smtpd"
	}
	o.Clock = func() time.Time { return at }
	l := New(o)
	l.core.pid = 5192
	return l, b
}

// note is an event for tests.
type note struct{ text, peer string }

func (n *note) Name() string               { return "note" }
func (n *note) AppendText(b []byte) []byte { return append(b, n.text...) }
func (n *note) Fields() []Field {
	return []Field{{"peer", n.peer}, {"count", 3}, {"names", []string{"a\n", "b"}}}
}

func TestTextForm(t *testing.T) {
	const head = "Nov 02 19:22:53 mail postfix/smtpd[5192]: "
	for _, tt := range []struct {
		name string
		log  func(l *Logger)
		want string
	}{
		{"info", func(l *Logger) { l.Infof("connect from %s", "x[1.2.3.4]") }, head + "connect from x[1.2.3.4]\n"},
		{"warning", func(l *Logger) { l.Warnf("a") }, head + "warning: a\n"},
		{"error", func(l *Logger) { l.Errorf("a") }, head + "error: a\n"},
		{"event", func(l *Logger) { l.Log(Info, &note{text: "n"}) }, head + "n\n"},
		{"warning event", func(l *Logger) { l.Log(Warning, &note{text: "n"}) }, head + "warning: n\n"},
		{"text is not a format", func(l *Logger) { l.Text(Info, "100%s") }, head + "100%s\n"},
		{"session", func(l *Logger) { l.Session(17).Infof("a") }, "Nov 02 19:22:53 mail postfix/smtpd[17]: a\n"},
		{"quiet", func(l *Logger) { l.Verbosef("a") }, ""},
		{"verbose", func(l *Logger) { l.SetVerbosity(1); l.Verbosef("a") }, head + "a\n"},
		{"verbose for one peer", func(l *Logger) { l.WithVerbose(2).Verbosef("a"); l.Verbosef("b") }, head + "a\n"},
		{"no line breaks", func(l *Logger) { l.Infof("a\r\nb\x00\x1b]0;x\x07") }, head + "a??b??]0;x?\n"},
		{"event made printable", func(l *Logger) { l.Log(Info, &note{text: "a\nb"}) }, head + "a?b\n"},
		{"cut", func(l *Logger) { l.Infof("%s", strings.Repeat("x", 2100)) }, head + strings.Repeat("x", 2000) + "\n"},
		{"cut between characters", func(l *Logger) { l.Infof("%s", "x"+strings.Repeat("é", 1100)) },
			head + "x" + strings.Repeat("é", 999) + "\n"},
		{"cut event", func(l *Logger) { l.Log(Error, &note{text: strings.Repeat("y", 5000)}) },
			head + "error: " + strings.Repeat("y", 2000) + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, b := testLogger(Options{})
			tt.log(l)
			if got := b.String(); got != tt.want {
				t.Errorf("got  %.120q\nwant %.120q", got, tt.want)
			}
		})
	}
}

func TestTags(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{SyslogName: "postfix/relay", Program: "smtp"}, "postfix/relay/smtp[5192]: a\n"},
		{Options{Tag: "foo/bar"}, "foo/bar[5192]: a\n"},
	} {
		l, b := testLogger(tt.o)
		l.Infof("a")
		if !strings.HasSuffix(b.String(), " "+tt.want) {
			t.Errorf("%+v: %q", tt.o, b.String())
		}
	}
}

func TestNilLoggerDiscards(t *testing.T) {
	var l *Logger
	l.Session(1).WithVerbose(2).Infof("a")
	l.Log(Warning, &note{})
	l.Verbosef("a")
	l.SetVerbosity(1)
	l.Flush()
	if l.Verbosity() != 0 || Discard() != nil {
		t.Error("a nil logger has a verbosity")
	}
}

func TestStderrCopy(t *testing.T) {
	var e bytes.Buffer
	l, b := testLogger(Options{Program: "postqueue", Stderr: &e})
	l.Warnf("a\nb")
	l.Infof("c")
	l.Log(Info, &note{text: "d"})
	if got := e.String(); got != "postqueue: warning: a?b\npostqueue: c\npostqueue: d\n" {
		t.Errorf("stderr %q", got)
	}
	if strings.Count(b.String(), "\n") != 3 {
		t.Errorf("log %q", b.String())
	}
}

func TestFatalExits(t *testing.T) {
	status := -1
	l, b := testLogger(Options{Exit: func(n int) { status = n }})
	begin := time.Now()
	l.Fatalf("no %s", "way")
	if status != 1 || !strings.HasSuffix(b.String(), ": fatal: no way\n") {
		t.Errorf("status %d, %q", status, b.String())
	}
	if time.Since(begin) < time.Second {
		t.Error("no pause before the exit")
	}
}

func TestJSON(t *testing.T) {
	l, b := testLogger(Options{Format: FormatJSON})
	l.Session(9).Log(Warning, &note{text: "a \"b\" <c>\n", peer: strings.Repeat("é", 2000)})
	l.Infof("x")
	l.SetVerbosity(1)
	l.Verbosef("why")
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), b)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &m); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"@message": `a "b" <c>?`, "@level": "warn", "@module": "postfix/smtpd", "pid": 5192.0,
		"session": 9.0, "event": "note", "count": 3.0, "peer": strings.Repeat("é", maxJSONString/2),
	} {
		if m[key] != want {
			t.Errorf("%s: %v, want %v", key, m[key], want)
		}
	}
	if fmt.Sprint(m["names"]) != "[a? b]" {
		t.Errorf("names: %v", m["names"])
	}
	for i, want := range []string{`"@level":"info"`, `"@level":"debug"`} {
		if !strings.Contains(lines[i+1], want) || strings.Contains(lines[i+1], "session") {
			t.Errorf("line %d: %s", i+1, lines[i+1])
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":               "",
		"plain text ~":   "plain text ~",
		"tab\tnl\n":      "tab?nl?",
		"\x7f":           "?",
		"björn":          "björn",
		"\xff\xfe":       "??",
		"\xc3":           "?",
		"a\xc3(":         "a?(",
		"\u0085\u009b2J": "????2J",
		"\u2028\u2029":   "??????",
		"\ufffd":         "\ufffd",
		"日本":             "日本",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"a", "\xff", "\u2028", "é\n", "\xf4\x90\x80\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if len(got) != len(s) || !utf8.ValidString(got) {
			t.Fatalf("%q: %q", s, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
			t.Fatalf("%q: control characters in %q", s, got)
		}
		if again := Printable(got); again != got {
			t.Fatalf("%q: %q, again %q", s, got, again)
		}
		line := clean([]byte("head"+s), 4)
		if len(line) > 4+MaxText || !utf8.Valid(line) || bytes.ContainsAny(line, "\n\r\x00") {
			t.Fatalf("%q: %q", s, line)
		}
	})
}

func TestAppendDelay(t *testing.T) {
	for _, tt := range []struct {
		d        time.Duration
		decimals int
		want     string
	}{
		{-time.Second, 2, "0"},
		{0, 2, "0"},
		{4 * time.Millisecond, 2, "0"},
		{5 * time.Millisecond, 2, "0.01"},
		{50 * time.Millisecond, 2, "0.05"},
		{100 * time.Millisecond, 2, "0.1"},
		{123 * time.Millisecond, 2, "0.12"},
		{190 * time.Millisecond, 2, "0.19"},
		{994 * time.Millisecond, 2, "0.99"},
		{996 * time.Millisecond, 2, "1"},
		{1040 * time.Millisecond, 2, "1"},
		{1060 * time.Millisecond, 2, "1.1"},
		{1200 * time.Millisecond, 2, "1.2"},
		{9940 * time.Millisecond, 2, "9.9"},
		{9960 * time.Millisecond, 2, "10"},
		{12499 * time.Millisecond, 2, "12"},
		{12500 * time.Millisecond, 2, "13"},
		{43 * time.Second, 2, "43"},
		{1234 * time.Microsecond, 6, "0.0012"},
		{12 * time.Microsecond, 6, "0.000012"},
		{400 * time.Millisecond, 0, "0"},
		{600 * time.Millisecond, 0, "1"},
		{1600 * time.Millisecond, 0, "2"},
	} {
		if got := string(AppendDelay(nil, tt.d, tt.decimals)); got != tt.want {
			t.Errorf("%v with %d decimals: %s, want %s", tt.d, tt.decimals, got, tt.want)
		}
	}
}

func TestDeliveryText(t *testing.T) {
	ms := func(n int) time.Time {
		if n < 0 {
			return time.Time{}
		}
		return at.Add(time.Duration(n) * time.Millisecond)
	}
	stats := func(active, handoff, conn, done, reuse int) mailproto.MsgStats {
		return mailproto.MsgStats{
			IncomingArrival: at, ActiveArrival: ms(active), AgentHandoff: ms(handoff),
			ConnSetupDone: ms(conn), DeliverDone: ms(done), ReuseCount: reuse,
		}
	}
	for _, tt := range []struct {
		name string
		d    Delivery
		want string
	}{
		{"smtp", Delivery{
			QueueID: "99AD89C052C", To: "bob@virt.example", Relay: "127.0.0.2[127.0.0.2]:3527", Stats: stats(80, 220, 230, 230, 1),
			TLS: "may?", DSN: "2.0.0", Status: StatusSent, Reason: "250 2.0.0 Ok: stored as 0007-2",
		}, "99AD89C052C: to=<bob@virt.example>, relay=127.0.0.2[127.0.0.2]:3527, conn_use=2, delay=0.23, " +
			"delays=0.08/0.14/0.01/0, tls=may?, dsn=2.0.0, status=sent (250 2.0.0 Ok: stored as 0007-2)"},
		{"alias", Delivery{
			QueueID: "A", To: "bob@virt.example", OrigTo: "info@valias.example", Relay: "virtual", Stats: stats(40, 60, -1, 70, 0),
			DSN: "2.0.0", Status: StatusSent, Reason: "delivered to maildir",
		}, "A: to=<bob@virt.example>, orig_to=<info@valias.example>, relay=virtual, delay=0.07, delays=0.04/0.02/0/0.01, " +
			"dsn=2.0.0, status=sent (delivered to maildir)"},
		{"same address in other letters", Delivery{
			QueueID: "A", To: "bob@virt.example", OrigTo: "Bob@VIRT.example", Relay: "none", Stats: stats(0, 0, 0, 0, 0),
			DSN: "4.4.1", Status: StatusDeferred, Reason: "x",
		}, "A: to=<bob@virt.example>, relay=none, delay=0, delays=0/0/0/0, dsn=4.4.1, status=deferred (x)"},
		{"by cleanup, before qmgr", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: stats(-1, -1, -1, -1, 0), Now: ms(60),
			DSN: "5.7.1", Status: StatusBounced, Reason: "no thanks",
		}, "A: to=<b>, relay=none, delay=0.06, delays=0.06/0/0/0, dsn=5.7.1, status=bounced (no thanks)"},
		{"by qmgr, before an agent", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: stats(50, -1, -1, -1, 0), Now: ms(80),
			DSN: "4.7.0", Status: StatusDeferred, Reason: "r",
		}, "A: to=<b>, relay=none, delay=0.08, delays=0.05/0.03/0/0, dsn=4.7.0, status=deferred (r)"},
		{"clock set back", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: mailproto.MsgStats{IncomingArrival: at.Add(time.Hour), ActiveArrival: at, DeliverDone: at},
			DSN: "2.0.0", Status: StatusSent, Reason: "r",
		}, "A: to=<b>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (r)"},
		{"six decimals", Delivery{
			QueueID: "A", To: "b", Relay: "none", Stats: stats(1, 1, 1, 1, 0), Decimals: 7,
			DSN: "2.0.0", Status: StatusSent, Reason: "r",
		}, "A: to=<b>, relay=none, delay=0.001, delays=0.001/0/0/0, dsn=2.0.0, status=sent (r)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.d.AppendText(nil)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			for _, f := range tt.d.Fields() {
				if f.Key == "" || f.Value == nil {
					t.Errorf("field %+v", f)
				}
			}
		})
	}
}

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

// TestPostlogStuck: a postlogd that does not read costs a second once, then lines
// are counted as lost; when it reads again the count is logged.
func TestPostlogStuck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postlog")
	r := newReceiver(t, path)
	l := postlogLogger(Options{Postlog: path, Direct: "/nonexistent/log"})
	begin := time.Now()
	for range 1000 {
		l.Infof("line")
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Fatalf("1000 lines took %v", d)
	}
	if l.Lost() == 0 {
		t.Skip("the socket's queue takes 1000 datagrams here")
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

func BenchmarkEventToPostlog(b *testing.B) {
	path := filepath.Join(b.TempDir(), "postlog")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()
	l := New(Options{Program: "smtp", Postlog: path})
	benchmarkDelivery(b, l)
}

func BenchmarkEventText(b *testing.B) {
	benchmarkDelivery(b, New(Options{Program: "smtp", Writer: discard{}}))
}

func BenchmarkEventJSON(b *testing.B) {
	benchmarkDelivery(b, New(Options{Program: "smtp", Writer: discard{}, Format: FormatJSON}))
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func benchmarkDelivery(b *testing.B, l *Logger) {
	now := time.Now()
	d := &Delivery{
		QueueID: "99AD89C052C", To: "bob@virt.example", Relay: "mail.example.com[192.0.2.1]:25",
		Stats: mailproto.MsgStats{IncomingArrival: now, ActiveArrival: now, AgentHandoff: now, DeliverDone: now},
		DSN:   "2.0.0", Status: StatusSent, Reason: "250 2.0.0 Ok: queued as 4XyzAbcDEf",
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Log(Info, d)
	}
}
