package mime

import (
	"fmt"
	"strings"
	"testing"
)

// record writes down what a scanner gives out.
type record struct {
	events []string
	whole  strings.Builder // the message, put together again
}

func (r *record) Header(kind Kind, text []byte) error {
	r.events = append(r.events, fmt.Sprintf("%c %s", "PMN"[kind], strings.ReplaceAll(string(text), "\n", "|")))
	r.whole.Write(text)
	r.whole.WriteByte('\n')
	return nil
}

func (r *record) Body(text []byte, more bool) error {
	r.events = append(r.events, "b "+string(text))
	r.whole.Write(text)
	if !more {
		r.whole.WriteByte('\n')
	}
	return nil
}

var limits = Limits{Header: 1000, Nesting: 3, Boundary: 20}

// scan takes a message apart, in pieces of at most size bytes.
func scan(t testing.TB, message string, plain bool, size int) *record {
	t.Helper()
	r := &record{}
	s := New(limits, r)
	s.Plain = plain
	for line := range strings.Lines(message) {
		line = strings.TrimSuffix(line, "\n")
		for len(line) > size {
			if err := s.Line([]byte(line[:size]), true); err != nil {
				t.Fatal(err)
			}
			line = line[size:]
		}
		if err := s.Line([]byte(line), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestScanner(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		plain         bool
		want          string
	}{
		{"header and body", "A: 1\nB: 2\n  more\n\ntext\nC: no\n", false, "P A: 1\nP B: 2|  more\nb \nb text\nb C: no"},
		{"no body", "A: 1\n", false, "P A: 1"},
		{"no empty line", "A: 1\ntext\n more\n", false, "P A: 1\nb text\nb  more"},
		{"begins folded", " x\nA: 1\n", false, "b  x\nb A: 1"},
		{"parts", "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\nX: 1\n y\n\nin\n--b\n\nin2\n--b--\npost\n--b\nno\n", false,
			"P Content-Type: multipart/mixed; boundary=b\nb \nb pre\nb --b\nM X: 1| y\nb \nb in\nb --b\nb \nb in2\nb --b--\nb post\nb --b\nb no"},
		{"not asked to look", "Content-Type: multipart/mixed; boundary=b\n\n--b\nX: 1\n", true,
			"P Content-Type: multipart/mixed; boundary=b\nb \nb --b\nb X: 1"},
		{"a part that ends in its header", "Content-Type: multipart/x; boundary=\"b c\"\n\n--b c\nX: 1\n--b c--\nz\n", false,
			"P Content-Type: multipart/x; boundary=\"b c\"\nb \nb --b c\nM X: 1\nb --b c--\nb z"},
		{"attached message", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nFrom: x\n y\n\nbody\n--b--\n", false,
			"P Content-Type: multipart/mixed; boundary=b\nb \nb --b\nM Content-Type: message/rfc822\nb \nN From: x| y\nb \nb body\nb --b--"},
		{"an encoded one is text", "Content-Type: message/rfc822\nContent-Transfer-Encoding: BASE64\n\nRnJvbTogeA==\nX: 1\n", false,
			"P Content-Type: message/rfc822\nP Content-Transfer-Encoding: BASE64\nb \nb RnJvbTogeA==\nb X: 1"},
		{"multipart in an attached message", "Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=c\n\n--c\nY: 2\n\nz\n--c--\n", false,
			"P Content-Type: message/rfc822\nb \nN Content-Type: multipart/mixed; boundary=c\nb \nb --c\nM Y: 2\nb \nb z\nb --c--"},
		{"the outer part ends the inner", "Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: multipart/b; boundary=i\n\n--i\nX: 1\n--o\nY: 2\n\n--i\nnot a delimiter\n", false,
			"P Content-Type: multipart/a; boundary=o\nb \nb --o\nM Content-Type: multipart/b; boundary=i\nb \nb --i\nM X: 1\nb --o\nM Y: 2\nb \nb --i\nb not a delimiter"},
		{"a boundary that no strict parser takes", "Content-Type: multipart/mixed; x y; boundary=b d\n\n--b\nX: 1\n", false,
			"P Content-Type: multipart/mixed; x y; boundary=b d\nb \nb --b\nM X: 1"},
		{"long boundary", "Content-Type: multipart/mixed; boundary=12345678901234567890abc\n\n--12345678901234567890xyz\nX: 1\n", false,
			"P Content-Type: multipart/mixed; boundary=12345678901234567890abc\nb \nb --12345678901234567890xyz\nM X: 1"},
	} {
		if got := strings.Join(scan(t, tt.message, tt.plain, 1000).events, "\n"); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	r := scan(t, "A: "+strings.Repeat("x", 600)+"\n "+strings.Repeat("y", 600)+"\nB: 1\n", false, 100)
	if len(r.events) != 2 || len(r.events[0]) != 1000+2 || r.events[1] != "P B: 1" {
		t.Errorf("got %d events, the first of %d bytes", len(r.events), len(r.events[0]))
	}
	var deep strings.Builder
	for i := range 5 {
		fmt.Fprintf(&deep, "Content-Type: multipart/m; boundary=b%d\n\n--b%d\n", i, i)
	}
	rec := &record{}
	s := New(limits, rec)
	for line := range strings.Lines(deep.String()) {
		if err := s.Line([]byte(strings.TrimSuffix(line, "\n")), false); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Exceeded || len(s.parts) != limits.Nesting {
		t.Errorf("%d open, exceeded %v", len(s.parts), s.Exceeded)
	}
}

// FuzzScanner: whatever the message, the parts are the message, and only the primary
// header comes before the first body line.
func FuzzScanner(f *testing.F) {
	f.Add("A: 1\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nX: 1\n\n--b--\n", 7)
	f.Add("\n", 1)
	f.Fuzz(func(t *testing.T, message string, size int) {
		if len(message) > 900 || strings.Contains(message, "\r") {
			return
		}
		if !strings.HasSuffix(message, "\n") {
			message += "\n"
		}
		r := scan(t, message, false, 1+size&0xff)
		if r.whole.String() != message {
			t.Errorf("%q came out as %q", message, r.whole.String())
		}
		body := false
		for _, e := range r.events {
			switch e[0] {
			case 'b':
				body = true
			case 'P':
				if body {
					t.Errorf("%q: %v", message, r.events)
				}
			default:
				if !body {
					t.Errorf("%q: %v", message, r.events)
				}
			}
		}
	})
}
