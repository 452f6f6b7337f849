package smtpio_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sealpost/lib/smtpio"
)

// fed is a Conn whose peer has sent text and closed.
func fed(t testing.TB, text string) *smtpio.Conn {
	ours, theirs := net.Pipe()
	go func() {
		theirs.Write([]byte(text))
		theirs.Close()
	}()
	c := smtpio.NewConn(ours)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestReadReply(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		code     int
		dsn      string
		text     string
		err      error
	}{
		{"one line", "250 2.1.0 Ok\r\n", 250, "2.1.0", "250 2.1.0 Ok", nil},
		{"code alone", "250\r\n", 250, "2.0.0", "250", nil},
		{"LF alone", "250 ok\n", 250, "2.0.0", "250 ok", nil},
		{"lines", "550-5.1.1 one\r\n550 5.1.2 two\r\n", 550, "5.1.2", "550-5.1.1 one 550 5.1.2 two", nil},
		{"last code counts", "250-yes\r\n450 4.2.0 no\r\n", 450, "4.2.0", "250-yes 450 4.2.0 no", nil},
		{"class differs", "450 5.2.0 x\r\n", 450, "4.0.0", "450 5.2.0 x", nil},
		{"code only in enhanced form", "550 5.7.26\r\n", 550, "5.7.26", "550 5.7.26", nil},
		{"no blank after enhanced code", "550 5.7.26:x\r\n", 550, "5.0.0", "550 5.7.26:x", nil},
		{"354", "354 go\r\n", 354, "3.0.0", "354 go", nil},
		{"NUL, ESC, C1, line separator", "250 a\x00b\x1bc\u009bd\u2028e\xff\xfef\r\n", 250, "2.0.0", "250 a?b?c?d?e??f", nil},
		{"UTF-8", "250 gr\u00fc\u00dfe\r\n", 250, "2.0.0", "250 gr\u00fc\u00dfe", nil},
		{"not a code", "hello\r\n", 0, "", "", smtpio.ErrReply},
		{"two digits", "25 ok\r\n", 0, "", "", smtpio.ErrReply},
		{"letter after code", "250x\r\n", 0, "", "", smtpio.ErrReply},
		{"class 1", "150 ok\r\n", 0, "", "", smtpio.ErrReply},
		{"class 6", "650 ok\r\n", 0, "", "", smtpio.ErrReply},
		{"empty line", "\r\n", 0, "", "", smtpio.ErrReply},
		{"garbage inside", "250-a\r\nb\r\n250 c\r\n", 0, "", "", smtpio.ErrReply},
		{"end", "", 0, "", "", io.EOF},
		{"end inside a line", "250 o", 0, "", "", io.ErrUnexpectedEOF},
		{"end inside a reply", "250-a\r\n", 0, "", "", io.EOF},
		{"endless lines", strings.Repeat("250-\r\n", 2000), 0, "", "", smtpio.ErrReply},
		{"many bytes", strings.Repeat("250-"+strings.Repeat("x", 7000)+"\r\n", 20), 0, "", "", smtpio.ErrReply},
		{"long line", "250 " + strings.Repeat("x", 1<<20) + "\r\n", 0, "", "", smtpio.ErrReply},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r smtpio.Reply
			err := fed(t, tc.in).ReadReply(&r, nil)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if err == nil && (r.Code != tc.code || r.DSN() != tc.dsn || r.Text() != tc.text) {
				t.Errorf("%d %s %q", r.Code, r.DSN(), r.Text())
			}
		})
	}
}

func TestReplyLines(t *testing.T) {
	var got []string
	var r smtpio.Reply
	c := fed(t, "250-host\r\n250-SIZE 100\r\n250\r\n354 x\r\n")
	if err := c.ReadReply(&r, func(b []byte) { got = append(got, string(b)) }); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, "|") != "host|SIZE 100|" {
		t.Errorf("%q", got)
	}
	if err := c.ReadReply(&r, nil); err != nil || r.Code != 354 || r.Text() != "354 x" {
		t.Errorf("second reply %q, %v", r.Text(), err)
	}
}

func TestLongReplyKeepsItsLastLine(t *testing.T) {
	var r smtpio.Reply
	if err := fed(t, strings.Repeat("550-"+strings.Repeat("y", 900)+"\r\n", 20)+"550 5.7.1 last\r\n").ReadReply(&r, nil); err != nil {
		t.Fatal(err)
	}
	if r.DSN() != "5.7.1" || !strings.HasSuffix(r.Text(), " 550 5.7.1 last") && !strings.HasSuffix(r.Text(), "550 5.7.1 last") || len(r.Text()) > 9<<10 {
		t.Errorf("%s, %d bytes, ...%q", r.DSN(), len(r.Text()), r.Text()[len(r.Text())-30:])
	}
}

// A server that sends byte after byte stays under the time limit of the whole.
func TestTricklingReplyEnds(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		for {
			if _, err := theirs.Write([]byte("2")); err != nil {
				return
			}
		}
	}()
	c := smtpio.NewConn(ours)
	c.SetTimeout(time.Hour)
	c.SetDeadline(time.Now().Add(20*time.Millisecond), 0)
	var r smtpio.Reply
	err := c.ReadReply(&r, nil)
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, smtpio.ErrReply) {
		t.Error(err)
	}
	theirs.Close()
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n550 5.1.1 b\r\n", "553-\r\n553\n\ndispatcher: x\r\n", "\x00", "250-\xff\n250 \u2028\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r smtpio.Reply
		err := fed(t, string(in)).ReadReply(&r, nil)
		text := r.Text()
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || 0x80 <= c && c < 0xa0 }) || !utf8.ValidString(text) {
			t.Fatalf("text %q", text)
		}
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 || r.DSN()[0] != byte('0'+r.Class()) {
			t.Fatalf("code %d, %s", r.Code, r.DSN())
		}
	})
}

// strict checks the wire form byte by byte: CRLF pairs only, the final dot
// exactly once and at the end, lines within the limit.
func strict(wire []byte, limit int) error {
	if bytes.Count(wire, []byte("\r")) != bytes.Count(wire, []byte("\r\n")) || bytes.Count(wire, []byte("\n")) != bytes.Count(wire, []byte("\r\n")) {
		return errors.New("bare CR or LF")
	}
	end := bytes.Index(append([]byte("\r\n"), wire...), []byte("\r\n.\r\n"))
	if end != len(wire)-3 {
		return errors.New("final dot not at the end alone")
	}
	for _, line := range bytes.Split(wire, []byte("\r\n")) {
		n := len(line)
		if n > 0 && line[0] == '.' {
			n--
		}
		if limit > 0 && n > limit {
			return errors.New("line too long")
		}
	}
	return nil
}

// written is what the peer gets from a DotWriter.
func written(t testing.TB, limit int, pieces ...string) []byte {
	ours, theirs := net.Pipe()
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(theirs)
		got <- b
	}()
	c := smtpio.NewConn(ours)
	w := smtpio.NewDotWriter(c, limit)
	for _, p := range pieces {
		text, more := strings.CutSuffix(p, "+")
		if err := w.Line([]byte(text), more); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	return <-got
}

func TestDotWriter(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tc := range []struct {
		name   string
		limit  int
		pieces []string // "+" at the end: the line goes on
		want   string
	}{
		{"empty", 998, nil, ".\r\n"},
		{"lines", 998, []string{"a", "", "b"}, "a\r\n\r\nb\r\n.\r\n"},
		{"dots", 998, []string{".", "..", ".x", "x."}, "..\r\n...\r\n..x\r\nx.\r\n.\r\n"},
		{"no end of the last line", 998, []string{"a+"}, "a\r\n.\r\n"},
		{"pieces", 998, []string{"a+", ".+", ".b"}, "a..b\r\n.\r\n"},
		{"piece that begins with a dot", 998, []string{".+", "."}, "...\r\n.\r\n"},
		{"bare CR and LF", 998, []string{"a\rb\nc\r", "\n.", "\r.\r", ".\r"}, "a b c \r\n .\r\n . \r\n.. \r\n.\r\n"},
		{"at the limit", 16, []string{x(16)}, x(16) + "\r\n.\r\n"},
		{"above the limit", 16, []string{x(17)}, x(16) + "\r\n x\r\n.\r\n"},
		{"dot at the cut", 16, []string{x(16) + "."}, x(16) + "\r\n .\r\n.\r\n"},
		{"dot at the cut of pieces", 16, []string{x(16) + "+", ".+", "y"}, x(16) + "\r\n .y\r\n.\r\n"},
		{"several cuts", 16, []string{x(40)}, x(16) + "\r\n " + x(15) + "\r\n " + x(9) + "\r\n.\r\n"},
		{"not inside a character", 16, []string{x(15) + "\u00fc"}, x(15) + "\r\n \u00fc\r\n.\r\n"},
		{"no limit", 0, []string{x(3000)}, x(3000) + "\r\n.\r\n"},
		{"limit of nothing", 1, []string{x(20)}, x(16) + "\r\n " + x(4) + "\r\n.\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := written(t, tc.limit, tc.pieces...)
			if string(got) != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if err := strict(got, max(tc.limit, 0)*boolInt(tc.limit != 1)); err != nil {
				t.Errorf("%v: %q", err, got)
			}
		})
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func FuzzDotWriter(f *testing.F) {
	f.Add([]byte("a\r\n.\r\nb"), uint16(5), uint16(20))
	f.Add([]byte("\n.\r\n.\r.\n\x00.\r\r\n..\n"), uint16(1), uint16(16))
	f.Fuzz(func(t *testing.T, text []byte, cut, limit uint16) {
		cutAt := max(int(cut), 1)
		var pieces []string
		for len(text) > cutAt {
			pieces = append(pieces, string(text[:cutAt])+"+")
			text = text[cutAt:]
		}
		pieces = append(pieces, strings.TrimRight(string(text), "+"))
		n := int(limit%2000) + 16
		if err := strict(written(t, n, pieces...), n); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkReadReply(b *testing.B) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		reply := bytes.Repeat([]byte("250 2.1.0 Ok\r\n"), 100)
		for {
			if _, err := theirs.Write(reply); err != nil {
				return
			}
		}
	}()
	c := smtpio.NewConn(ours)
	var r smtpio.Reply
	b.ReportAllocs()
	for b.Loop() {
		if err := c.ReadReply(&r, nil); err != nil {
			b.Fatal(err)
		}
	}
	theirs.Close()
}
