package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
)

var update = flag.Bool("update", false, "write testdata/letters.golden")

// queueFile is content made of lines; "\\" at the end of one means that the line
// goes on in the next record.
func queueFile(t *testing.T, complete bool, lines ...string) *os.File {
	t.Helper()
	var b []byte
	for _, line := range lines {
		if part, ok := strings.CutSuffix(line, `\`); ok {
			b = record.Append(b, record.Cont, part)
		} else {
			b = record.Append(b, record.Norm, line)
		}
	}
	if complete {
		b = record.Append(b, record.Extracted, "")
	}
	path := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

var content = []string{
	"Received: from x", "\tby y", "From: a@b.example", "Delivered-To: old@b.example", "Subject: x", "",
	"From here", ".", "..two", " From", ">From", `long \`, `From \`, ".end", `no line end\`,
}

func letterOf(t *testing.T, letters, sender string, words ...string) *letter {
	t.Helper()
	a, err := parseAttributes(append([]string{"flags=" + letters, "user=u"}, append(words, "argv=/bin/x")...))
	if err != nil {
		t.Fatal(err)
	}
	req := &mailproto.DeliveryRequest{Sender: sender,
		Recipients: []mailproto.Recipient{{Addr: "R cpt@B.example", OrigAddr: "Alias@B.example"}}}
	return &letter{attributes: a, req: req, file: queueFile(t, true, content...), now: time.Date(2026, 11, 8, 9, 8, 7, 0, time.UTC)}
}

func TestLetters(t *testing.T) {
	var out bytes.Buffer
	for _, c := range []struct {
		flags, sender string
		words         []string
	}{
		{"", "s@a.example", nil}, {"B", "s@a.example", nil}, {"D", "s@a.example", nil}, {"F", "s@a.example", nil}, {"O", "s@a.example", nil},
		{"R", "s@a.example", nil}, {"X", "s@a.example", nil}, {"hqu", "s@a.example", nil}, {".", "s@a.example", nil}, {">", "s@a.example", nil},
		{"BDFORXhqu.>", "s x@A.example", nil}, {"FR", "", nil}, {"FR", "", []string{"null_sender="}}, {"FR", "", []string{"null_sender=no body"}},
		{"FR", "x\nEvil: y@a.example", nil}, {"BR.", "s@a.example", []string{`eol=\r\n`}},
	} {
		l := letterOf(t, c.flags, c.sender, c.words...)
		fmt.Fprintf(&out, "=== flags=%s sender=%q %q\n", c.flags, c.sender, c.words)
		var b bytes.Buffer
		if err := l.copy(&b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if text, ok := strings.CutSuffix(line, "\r\n"); ok {
				line = text + "<CR>\n"
			}
			out.WriteString("|" + line)
		}
	}
	const golden = "testdata/letters.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got:\n%s\nwant %s:\n%s", out.Bytes(), golden, want)
	}
}

func TestAMessageWithoutEndIsAnError(t *testing.T) {
	l := letterOf(t, "", "s@a.example")
	l.file = queueFile(t, false, content...)
	if err := l.copy(&bytes.Buffer{}); !errors.Is(err, queue.ErrCorrupt) {
		t.Errorf("copy: %v", err)
	}
	l.file = queueFile(t, false, "Subject: x")
	if _, err := l.loops(); !errors.Is(err, queue.ErrCorrupt) {
		t.Errorf("look for a loop: %v", err)
	}
}

func TestLoops(t *testing.T) {
	cases := map[string]struct {
		addr  string
		lines []string
		want  bool
	}{
		"not delivered yet":    {"r@b.example", []string{"Subject: x", ""}, false},
		"delivered before":     {"r@b.example", []string{"Subject: x", "Delivered-To: r@b.example", ""}, true},
		"in another case":      {"R@b.Example", []string{"DELIVERED-to:r@B.example ", ""}, true},
		"after a folded one":   {"r@b.example", []string{"X: y", "\tz", "Delivered-To: r@b.example", ""}, true},
		"a folded line is not": {"r@b.example", []string{"X: y", "\tDelivered-To: r@b.example", ""}, false},
		"rest of a long line":  {"r@b.example", []string{`X: y\`, "Delivered-To: r@b.example", ""}, false},
		"to somebody else":     {"r@b.example", []string{"Delivered-To: rr@b.example", ""}, false},
		"in the body":          {"r@b.example", []string{"Subject: x", "", "Delivered-To: r@b.example"}, false},
		"a quoted address":     {"r x@b.example", []string{`Delivered-To: "r x"@b.example`, ""}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := &letter{req: &mailproto.DeliveryRequest{Recipients: []mailproto.Recipient{{Addr: c.addr}}}, file: queueFile(t, true, c.lines...)}
			if got, err := l.loops(); err != nil || got != c.want {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
		})
	}
}
