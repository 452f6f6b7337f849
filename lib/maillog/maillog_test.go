package maillog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
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
