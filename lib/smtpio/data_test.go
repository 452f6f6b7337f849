package smtpio

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// record is what a reader handed out.
type record struct {
	text string
	more bool
}

func readData(d *DataReader) (records []record, err error) {
	for {
		text, more, err := d.Next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, record{string(text), more})
	}
}

func joined(records []record) string {
	var b strings.Builder
	for _, r := range records {
		b.WriteString(r.text)
		if !r.more {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// rest is what is left on the connection.
func rest(c *Conn) string {
	var b bytes.Buffer
	for {
		if c.Buffered() > 0 {
			b.Write(c.Peek(c.Buffered()))
			c.start = c.end
			c.release()
			c.parked = nil
		}
		if c.fill() != nil {
			return b.String()
		}
	}
}

func TestDataContent(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		input     string
		want      string // lines end in \n
		bareLF    bool
	}{
		{"empty message", ".\r\n", "", false},
		{"one line", "hello\r\n.\r\n", "hello\n", false},
		{"stuffed dots", "..\r\n.x\r\n...\r\n.\r\n", ".\nx\n..\n", false},
		{"dot within a line", "a.\r\n.\r\n", "a.\n", false},
		{"bare LF ends a line", "a\nb\r\n.\r\n", "a\nb\n", true},
		{"a dot between bare LFs goes", "a\n.\nb\r\n.\r\n", "a\nb\n", true},
		{"a dot after a bare LF goes", "a\n.\r\nb\r\n.\r\n", "a\nb\n", true},
		{"a dot before a bare LF goes", "a\r\n.\nb\r\n.\r\n", "a\nb\n", true},
		{"a dot line after a bare LF makes the next one standard", "a\n.\r\n.\r\n", "a\n", true},
		{"bare CR is text", "a\rb\r\n.\r\n", "a\rb\n", false},
		{"a CR before CR LF is text", "a\r\r\n.\r\n", "a\r\n", false},
		{"dot CR is text", "a\r\n.\r\r\n.\r\n", "a\n\r\n", false},
		{"NUL is text", "a\x00\r\n.\r\n", "a\x00\n", false},
		{"sequence at the start of the content", "\n.\nx\r\n.\r\n", "\nx\n", true},
		{"dot and bare LF at the start of the content", ".\nx\r\n.\r\n", "x\n", true},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			c := NewConn(newPieces(tc.input + "NOOP\r\n"))
			d := c.Data(StandardEnd, 2048)
			got, err := readData(&d)
			if err != nil || joined(got) != tc.want || d.BareLF != tc.bareLF {
				t.Errorf("content %q, bare LF %v, err %v; want %q, %v", joined(got), d.BareLF, err, tc.want, tc.bareLF)
			}
			if r := rest(c); r != "NOOP\r\n" {
				t.Errorf("left on the connection: %q", r)
			}
		})
	}
}

var endings = []string{"\r\n", "\n", "\r", "\r\r\n", "\r\x00\n", "\x00\r\n"}

// TestSmuggling sends each non-standard end of data (security-cases.md §2.A),
// cut in two at every place. There is one message per true CR LF . CR LF.
func TestSmuggling(t *testing.T) {
	const follow = "MAIL FROM:<evil@x.example>\r\nRCPT TO:<a@x.example>\r\nDATA\r\n"
	cells := 0
	for _, before := range endings {
		for _, after := range endings {
			if before == "\r\n" && after == "\r\n" {
				continue
			}
			cells++
			for _, start := range []string{"line1", ""} {
				input := start + before + "." + after + follow + "\r\n.\r\n"
				for cut := range len(input) {
					c := NewConn(newPieces(input[:cut], input[cut:]))
					d := c.Data(StandardEnd, 2048)
					if _, err := readData(&d); err != nil {
						t.Fatalf("%q cut at %d: %v", input, cut, err)
					}
					end := referenceEnd(input)
					if got, want := rest(c), input[end:]; got != want {
						t.Fatalf("%q cut at %d: left %q, want %q", input, cut, got, want)
					}
				}
			}
		}
	}
	if cells != 35 {
		t.Errorf("%d cells, want 35", cells)
	}
}

// referenceEnd is where the content ends: after the first true CR LF . CR LF;
// DATA's own line ending counts as the first two bytes. -1: it does not end.
func referenceEnd(input string) int {
	i := strings.Index("\r\n"+input, "\r\n.\r\n")
	if i < 0 {
		return -1
	}
	return i + len(".\r\n")
}

func TestAnyEndTakesEveryLoneDot(t *testing.T) {
	for _, in := range []string{"a\n.\n", "a\n.\r\n", "a\r\n.\n", "a\r\n.\r\n", "a\r\n.\r\r\n"} {
		c := NewConn(newPieces(in + "X"))
		d := c.Data(AnyEnd, 2048)
		if got, err := readData(&d); err != nil || joined(got) != "a\n" || rest(c) != "X" {
			t.Errorf("%q: content %q, err %v", in, joined(got), err)
		}
	}
}

func TestDataLongLines(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 15, 16, 17, 24, 25, 1000} {
		for _, ending := range []string{"\r\n", "\n"} {
			line := strings.Repeat("x", n)
			c := NewConn(newPieces(line + ending + "\r\n.\r\n"))
			d := c.Data(StandardEnd, 8)
			got, err := readData(&d)
			if err != nil || joined(got) != line+"\n\n" {
				t.Errorf("%d bytes, %q: %q, err %v", n, ending, joined(got), err)
			}
			for _, r := range got {
				if len(r.text) > 8 || r.more && len(r.text) != 8 {
					t.Errorf("%d bytes: record %q", n, r.text)
				}
			}
		}
	}
}

func TestDotAtThePieceBorderIsText(t *testing.T) {
	in := strings.Repeat("x", 8) + ".\r\n" + strings.Repeat("y", 8) + "..\r\n.\r\n"
	c := NewConn(newPieces(in))
	d := c.Data(StandardEnd, 8)
	if got, err := readData(&d); err != nil || joined(got) != "xxxxxxxx.\nyyyyyyyy..\n" {
		t.Errorf("%q, err %v", joined(got), err)
	}
}

func TestDataCutOff(t *testing.T) {
	for _, in := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r"} {
		d := NewConn(newPieces(in)).Data(StandardEnd, 2048)
		if _, err := readData(&d); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: err %v, want %v", in, err, io.ErrUnexpectedEOF)
		}
	}
}

func FuzzDataReader(f *testing.F) {
	for _, b := range endings {
		for _, a := range endings {
			f.Add([]byte("line1"+b+"."+a+"x\r\n.\r\nrest"), 3, 16)
		}
	}
	f.Add([]byte(".\r\n"), 0, 1)
	f.Fuzz(func(t *testing.T, in []byte, cut, limit int) {
		cut = max(0, min(cut, len(in)))
		limit = 1 + max(0, limit)%64
		c := NewConn(newPieces(string(in[:cut]), string(in[cut:])))
		d := c.Data(StandardEnd, limit)
		got, err := readData(&d)
		end := referenceEnd(string(in))
		if end < 0 {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("no end in %q, err %v", in, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if r := rest(c); r != string(in[end:]) {
			t.Fatalf("%q: left %q, want %q", in, r, in[end:])
		}
		for _, r := range got {
			if len(r.text) > limit || strings.Contains(r.text, "\n") {
				t.Fatalf("record %q with limit %d", r.text, limit)
			}
		}
		if want := referenceContent(string(in[:end])); joined(got) != want {
			t.Fatalf("%q: content %q, want %q", in, joined(got), want)
		}
	})
}

// referenceContent is the content of a whole message, line by line.
func referenceContent(in string) string {
	var b strings.Builder
	for in != "" {
		line, after, _ := strings.Cut(in, "\n")
		in = after
		line = strings.TrimSuffix(line, "\r")
		if line == "." {
			continue
		}
		b.WriteString(strings.TrimPrefix(line, "."))
		b.WriteByte('\n')
	}
	return b.String()
}

func readChunks(r *ChunkReader, sizes []int) (records []record, err error) {
	for _, n := range sizes {
		r.Start(int64(n))
		for {
			text, more, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return records, err
			}
			records = append(records, record{string(text), more})
		}
	}
	if text, ok := r.Rest(); ok {
		records = append(records, record{string(text), false})
	}
	return records, nil
}

func TestChunks(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		chunks    []string
		want      string
	}{
		{"one chunk", []string{"a\r\nb\r\n"}, "a\nb\n"},
		{"no line ending at the end", []string{"a\r\nb"}, "a\nb\n"},
		{"CR LF over two chunks", []string{"a\r", "\nb\r\n"}, "a\nb\n"},
		{"a line over three chunks", []string{"a", "b", "c\r\n"}, "abc\n"},
		{"dots are text", []string{"\r\n.\r\n..\r\n"}, "\n.\n..\n"},
		{"bare LF and bare CR", []string{"a\nb\rc"}, "a\nb\rc\n"},
		{"a long line", []string{strings.Repeat("x", 20), strings.Repeat("y", 7) + "\r\n"}, strings.Repeat("x", 20) + strings.Repeat("y", 7) + "\n"},
		{"nothing", []string{""}, ""},
		{"a CR at the end", []string{"a\r"}, "a\r\n"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			var sizes []int
			for _, s := range tc.chunks {
				sizes = append(sizes, len(s))
			}
			in := strings.Join(tc.chunks, "")
			for cut := range len(in) + 1 {
				c := NewConn(newPieces(in[:cut], in[cut:]+"NOOP"))
				got, err := readChunks(c.Chunks(8), sizes)
				if err != nil || joined(got) != tc.want {
					t.Errorf("cut %d: %q, err %v, want %q", cut, joined(got), err, tc.want)
				}
				if r := rest(c); r != "NOOP" {
					t.Errorf("cut %d: left %q", cut, r)
				}
			}
		})
	}
}

func TestOneByteChunksStaySmall(t *testing.T) {
	const n = 100_000
	c := NewConn(newPieces(strings.Repeat("x", n)))
	r := c.Chunks(2048)
	total := 0
	for range n {
		r.Start(1)
		for {
			text, _, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			total += len(text)
		}
	}
	kept, _ := r.Rest()
	if total+len(kept) != n || cap(r.kept) > 8192 || cap(r.out) > 8192 {
		t.Errorf("%d of %d bytes, buffers %d and %d", total+len(kept), n, cap(r.kept), cap(r.out))
	}
}

func FuzzChunkReader(f *testing.F) {
	f.Add([]byte("a\r\nb\r\n"), 3, 1, 8)
	f.Add([]byte("\r\n.\r\n\r"), 1, 2, 1)
	f.Fuzz(func(t *testing.T, in []byte, step, cut, limit int) {
		step = 1 + max(0, step)%32
		limit = 1 + max(0, limit)%32
		cut = max(0, min(cut, len(in)))
		c := NewConn(newPieces(string(in[:cut]), string(in[cut:])))
		var sizes []int
		for left := len(in); left > 0; left -= step {
			sizes = append(sizes, min(step, left))
		}
		got, err := readChunks(c.Chunks(limit), sizes)
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		text := string(in)
		for text != "" {
			line, after, ended := strings.Cut(text, "\n")
			if text = after; ended {
				line = strings.TrimSuffix(line, "\r")
			}
			want.WriteString(line + "\n")
		}
		if joined(got) != want.String() {
			t.Fatalf("%q in chunks of %d, limit %d: %q, want %q", in, step, limit, joined(got), want.String())
		}
		for _, r := range got {
			if len(r.text) > limit+1 {
				t.Fatalf("record of %d bytes with limit %d", len(r.text), limit)
			}
		}
	})
}

func BenchmarkDataReader(b *testing.B) {
	msg := strings.Repeat(strings.Repeat("x", 68)+"\r\n", 75) + ".\r\n"
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	p := newPieces()
	c := NewConn(p)
	for b.Loop() {
		p.in = append(p.in[:0], []byte(msg))
		d := c.Data(StandardEnd, 2048)
		for {
			if _, _, err := d.Next(); err != nil {
				break
			}
		}
	}
}
