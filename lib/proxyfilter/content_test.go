package proxyfilter

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"sealpost/lib/header"
	"sealpost/lib/smtpio"
)

// piece is a line, or a part of one.
type piece struct {
	text string
	more bool
}

// wire is what leaves for pieces of content, up to the final dot.
func wire(t testing.TB, request bool, pieces ...piece) string {
	ours, theirs := net.Pipe()
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(theirs)
		got <- b
	}()
	c := &Conn{filter: &Filter{}, c: smtpio.NewConn(ours)}
	w := &Content{conn: c, out: smtpio.NewDotWriter(c.c, 0), request: requestScanner{on: request}}
	w.out.Flush = w.flush
	for _, p := range pieces {
		w.Line([]byte(p.text), p.more)
	}
	w.end()
	if w.err == nil {
		w.err = w.out.Close()
	}
	if w.err == nil {
		w.err = c.flush()
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
	ours.Close()
	return string(<-got)
}

// lines are pieces of whole lines.
func lines(text string) (list []piece) {
	for line := range strings.Lines(text) {
		list = append(list, piece{strings.TrimSuffix(line, "\n"), false})
	}
	return list
}

const added = RequestHeader + "\n"

// TestRequestHeader: requiretls.md §2.5 with decisions 4 and 10.
func TestRequestHeader(t *testing.T) {
	for _, tc := range []struct{ behaviour, content, want string }{
		{"before the empty line", "A: b\n\nbody\n", "A: b\n" + added + "\nbody\n"},
		{"not twice", "Require-TLS-ESMTP: yes\n\nbody\n", "Require-TLS-ESMTP: yes\n\nbody\n"},
		{"in any case, with blanks around", "require-tls-esmtp :\t YES \t\nA: b\n\n", "require-tls-esmtp :\t YES \t\nA: b\n\n"},
		{"last of the header", "A: b\nRequire-TLS-ESMTP: yes\n\nx\n", "A: b\nRequire-TLS-ESMTP: yes\n\nx\n"},
		{"a no stays, and a yes comes after it", "Require-TLS-ESMTP: no\n\nx\n", "Require-TLS-ESMTP: no\n" + added + "\nx\n"},
		{"more than yes", "Require-TLS-ESMTP: yes please\n\nx\n", "Require-TLS-ESMTP: yes please\n" + added + "\nx\n"},
		{"folded before the value", "Require-TLS-ESMTP:\n yes\n\nx\n", "Require-TLS-ESMTP:\n yes\n" + added + "\nx\n"},
		{"folded after the value", "Require-TLS-ESMTP: yes\n or no\n\nx\n", "Require-TLS-ESMTP: yes\n or no\n" + added + "\nx\n"},
		{"another header", "X-Require-TLS-ESMTP: yes\n\nx\n", "X-Require-TLS-ESMTP: yes\n" + added + "\nx\n"},
		{"in the body only", "A: b\n\nRequire-TLS-ESMTP: yes\n", "A: b\n" + added + "\nRequire-TLS-ESMTP: yes\n"},
		{"a body without an empty line", "A: b\nbody\n\nC: d\n", "A: b\n" + added + "body\n\nC: d\n"},
		{"headers only", "A: b\n", "A: b\n" + added},
		{"headers only, one of them is it", "Require-TLS-ESMTP: yes\n", "Require-TLS-ESMTP: yes\n"},
		{"headers only, folded", "A: b\n\tc\n", "A: b\n\tc\n" + added},
		{"nothing", "", added},
		{"no header", "\nbody\n", added + "\nbody\n"},
		{"a body that would continue it", " x\ny\n", added + "\n x\ny\n"},
		{"a CR that becomes a blank", "A: b\n\rfoo\nC: d\n\nx\n", "A: b\n foo\nC: d\n" + added + "\nx\n"},
		{"a CR at the start", "\rfoo\n\nx\n", added + "\n foo\n\nx\n"},
		{"a CR behind the value", "Require-TLS-ESMTP: yes\r\n\nx\n", "Require-TLS-ESMTP: yes \n\nx\n"},
		{"a CR in the name", "Require-TLS-ESMTP\r: yes\n\nx\n", "Require-TLS-ESMTP : yes\n\nx\n"},
		{"a dot ends the header", "A: b\n.\n\nx\n", "A: b\n" + added + "..\n\nx\n"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			got := wire(t, true, lines(tc.content)...)
			if want := strings.ReplaceAll(tc.want, "\n", "\r\n") + ".\r\n"; got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			plain := wire(t, false, lines(tc.content)...)
			if strings.Count(plain, "Require-TLS") != strings.Count(tc.content, "Require-TLS") {
				t.Errorf("without a request: %q", plain)
			}
		})
	}
}

// TestRequestHeaderAndLongLines: only true starts of lines count.
func TestRequestHeaderAndLongLines(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		pieces    []piece
		want      string
	}{
		{"the rest of a long line looks like the header", []piece{{"A: b", true}, {RequestHeader, false}, {"", false}}, "A: b" + RequestHeader + "\r\n" + RequestHeader + "\r\n\r\n.\r\n"},
		{"the rest of a long line looks like the end", []piece{{"A: b", true}, {"", false}, {"C: d", false}}, "A: b\r\nC: d\r\n" + RequestHeader + "\r\n.\r\n"},
		{"the header itself goes on", []piece{{RequestHeader, true}, {" no", false}, {"", false}}, RequestHeader + " no\r\n" + RequestHeader + "\r\n\r\n.\r\n"},
		{"the last line has no end", []piece{{"A: b", true}}, "A: b\r\n" + RequestHeader + "\r\n.\r\n"},
		{"the last line is it and has no end", []piece{{RequestHeader, true}}, RequestHeader + "\r\n" + RequestHeader + "\r\n.\r\n"},
		{"a dot behind a piece is not stuffed", []piece{{"A: b", true}, {".", false}, {"", false}}, "A: b.\r\n" + RequestHeader + "\r\n\r\n.\r\n"},
	} {
		if got := wire(t, true, tc.pieces...); got != tc.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tc.behaviour, got, tc.want)
		}
	}
}

// carries reports whether a header, as cleanup(8) of the system behind the filter takes
// it apart, makes the request: on one line, or folded.
func carries(message []byte) bool {
	var current []byte
	yes := func() bool {
		name, value, ok := header.Line(current)
		if !ok {
			return false
		}
		known := header.Find(current[:name])
		return known != nil && known.ID == header.RequireTLSESMTP && strings.EqualFold(string(header.Value(current[value:])), "yes")
	}
	found := false
	for i, line := range bytes.Split(message, []byte("\r\n")) {
		if header.IsContinuation(line) && i > 0 {
			current = append(append(current, '\n'), line...)
			continue
		}
		found = found || yes()
		if _, _, ok := header.Line(line); !ok {
			return found
		}
		current = bytes.Clone(line)
	}
	return found || yes()
}

// FuzzContent: whatever comes, in whatever pieces: no bare CR or LF leaves, the final
// dot stands at the end alone, a request is carried, and nothing else changes.
func FuzzContent(f *testing.F) {
	for _, s := range []string{"A: b\n\nbody\n", "Require-TLS-ESMTP: yes\n x\n\n", "\r.\r\n.\n", " x", "\r\r: y\n.\n\n.\r", "A\r: b\n:\n"} {
		f.Add([]byte(s), uint8(0), true)
		f.Add([]byte(s), uint8(3), true)
	}
	f.Fuzz(func(t *testing.T, content []byte, cut uint8, request bool) {
		var pieces []piece
		for line := range bytes.Lines(content) {
			text, ended := bytes.CutSuffix(line, []byte("\n"))
			for n := int(cut); n > 0 && len(text) > n; text = text[n:] {
				pieces = append(pieces, piece{string(text[:n]), true})
			}
			pieces = append(pieces, piece{string(text), !ended})
		}
		got := []byte(wire(t, request, pieces...))
		crlf := bytes.Count(got, []byte("\r\n"))
		if bytes.Count(got, []byte("\r")) != crlf || bytes.Count(got, []byte("\n")) != crlf {
			t.Fatalf("bare CR or LF in %q", got)
		}
		if end := bytes.Index(append([]byte("\r\n"), got...), []byte("\r\n.\r\n")); end != len(got)-3 {
			t.Fatalf("the final dot is not at the end alone: %q", got)
		}
		var message []byte
		for line := range bytes.Lines(got[:len(got)-3]) {
			message = append(message, bytes.TrimPrefix(line, []byte("."))...)
		}
		if request && !carries(bytes.TrimSuffix(message, []byte("\r\n"))) {
			t.Fatalf("the request is lost in %q", message)
		}
		clean := bytes.ReplaceAll(content, []byte("\r"), []byte(" "))
		if len(clean) > 0 && clean[len(clean)-1] != '\n' {
			clean = append(clean, '\n')
		}
		clean = bytes.ReplaceAll(clean, []byte("\n"), []byte("\r\n"))
		if !bytes.Equal(message, clean) && !(request && addedTo(clean, message)) {
			t.Fatalf("%q became %q", clean, message)
		}
	})
}

// addedTo reports whether a message is another one with the header added to it, and at
// most an empty line after that.
func addedTo(before, after []byte) bool {
	for _, text := range []string{RequestHeader + "\r\n", RequestHeader + "\r\n\r\n"} {
		for i := range after {
			if bytes.HasPrefix(after[i:], []byte(text)) && bytes.Equal(append(bytes.Clone(after[:i]), after[i+len(text):]...), before) {
				return true
			}
		}
	}
	return false
}
