package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sealpost/lib/record"
	"sealpost/test/capture"
)

func readRecords(r *Reader) (text []string, err error) {
	for {
		rec, err := r.Read()
		if err != nil {
			return text, err
		}
		text = append(text, fmt.Sprintf("%d %c %s", rec.Offset, rec.Type, rec.Payload))
	}
}

func TestReaderFollowsPointers(t *testing.T) {
	got, err := readRecords(NewReader(bytes.NewReader(capture.QueueFile(t, "milter-held-hdr").Data), 163))
	if err != io.EOF {
		t.Fatal(err)
	}
	// The annotations of the recording, pointers and padding left out.
	want := []string{
		"163 A rewrite_context=local", "186 A ret_flags=1", "1391 S newsender@virt.example",
		"222 A log_client_name=localhost",
	}
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Error(diff)
	}
	want = []string{
		"984 N From: sender@remote.example", "1013 N Message-ID: <milter@remote.example>",
		"1298 N X-Change: changed", "1085 N X-Hold: y", "1102 N Date: Sun, 22 Nov 2026 20:19:50 +0000 (UTC)",
		"1256 N X-Milter: added by test", "1164 N ", "1432 N replaced body line", "1452 N second", "1199 X ",
		"1201 A message_id=<milter@remote.example>", "1254 E ",
	}
	if diff := cmp.Diff(want, got[len(got)-len(want):]); diff != "" {
		t.Error(diff)
	}
}

// TestReaderWindows reads records of all sizes, from memory and from a file,
// across the borders of the reader's window.
func TestReaderWindows(t *testing.T) {
	var data []byte
	var want []string
	for i, n := range []int{0, 1, 2047, 2048, 30000, window - 10, 5, window - 3, window, window + 1, 3 * window, 7, 100} {
		payload := strings.Repeat(string(rune('a'+i)), n)
		want = append(want, fmt.Sprintf("%d N %s", len(data), payload))
		data = record.Append(data, record.Norm, payload)
	}
	want = append(want, fmt.Sprintf("%d E ", len(data)))
	data = record.Append(data, record.End, "")
	data = append(data, "behind the end"...)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, src := range map[string]io.ReaderAt{"memory": bytes.NewReader(data), "file": file} {
		r := NewReader(src, 0)
		for range 2 { // a second time after Release and SeekTo
			got, err := readRecords(r)
			if err != io.EOF || !cmp.Equal(got, want) {
				t.Errorf("%s: %d records, %v", name, len(got), err)
			}
			if _, err := r.Read(); err != io.EOF {
				t.Errorf("%s: after the end: %v", name, err)
			}
			r.Release()
			r.SeekTo(0)
		}
	}
}

func TestReaderOnClosedFile(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := NewReader(f, 0).Read(); err == nil || errors.Is(err, ErrCorrupt) || err == io.EOF {
		t.Errorf("got %v", err)
	}
}

func TestContent(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, c := range []struct {
		name, in string
		want     []string
		err      error
	}{
		{"lines", "N\x01aN\x00N\x01bX\x00", []string{"a.", ".", "b."}, io.EOF},
		{"a long line in pieces", "L\x02abL\x02cdN\x01eX\x00", []string{"ab+", "cd+", "e."}, io.EOF},
		{"padding", "N\x01aw\x02 0N\x01bX\x00", []string{"a.", "b."}, io.EOF},
		{"pointer", "p\x0f             19N\x01aX\x00", []string{}, ErrCorrupt},
		{"empty", "X\x00", nil, io.EOF},
		{"long record", string(record.Append(nil, record.Norm, long)) + "X\x00", []string{long + "."}, io.EOF},
		{"no end", "N\x01a", []string{"a."}, ErrCorrupt},
		{"ends with the file's end", "N\x01aE\x00", []string{"a."}, ErrCorrupt},
		{"an envelope record", "N\x01aR\x01b", []string{"a."}, ErrCorrupt},
		{"cut off", "N\x05a", nil, ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := NewContent(strings.NewReader(c.in), 0)
			defer content.Release()
			var got []string
			for range 10 {
				text, more, err := content.Next()
				if err != nil {
					if !errors.Is(err, c.err) {
						t.Errorf("got %v, want %v", err, c.err)
					}
					if _, _, again := content.Next(); c.err == io.EOF && again != io.EOF {
						t.Errorf("second end: %v", again)
					}
					break
				}
				end := "."
				if more {
					end = "+"
				}
				got = append(got, string(text)+end)
			}
			if c.name != "pointer" && !cmp.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSizeRecord(t *testing.T) {
	f := capture.QueueFile(t, "requiretls")
	s, err := ParseSize(string(f.Data[2:SizeLen]))
	if err != nil || s.SendOpts != 32 || s.Check() != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if got := AppendSize(nil, s); !bytes.Equal(got, f.Data[:SizeLen]) {
		t.Errorf("got %q, recorded %q", got, f.Data[:SizeLen])
	}
	for _, c := range []struct {
		in    string
		want  SizeRecord
		valid bool // for qmgr
	}{
		{"100 200 3", SizeRecord{ContentSize: 100, DataOffset: 200, Rcpts: 3}, true},
		{"100 200 3 31 90 63", SizeRecord{100, 200, 3, 31, 90, 63}, true},
		{"100 200 3 32", SizeRecord{ContentSize: 100, DataOffset: 200, Rcpts: 3, QmgrFlags: 32}, false},
		{"-1 -1 -1 -1 -1 33", SizeRecord{-1, -1, -1, -1, -1, 33}, false},
		{"0 200 3", SizeRecord{DataOffset: 200, Rcpts: 3}, false},
		{"100 0 3", SizeRecord{ContentSize: 100, Rcpts: 3}, false},
	} {
		got, err := ParseSize(c.in)
		if err != nil || got != c.want || (got.Check() == nil) != c.valid {
			t.Errorf("%q: %+v, %v, check %v", c.in, got, err, got.Check())
		}
	}
	for _, in := range []string{"", "1 2", "1 2 3 4 5 6 7", "1 2 x", "1 2 99999999999", "1 2 3 4 5 6x", "99999999999999999999 1 1"} {
		if _, err := ParseSize(in); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", in, err)
		}
	}
	if n := (SizeRecord{ContentSize: 10}).Length(); n != 10 {
		t.Errorf("length %d", n)
	}
}

// FuzzMessage: no panic and no endless loop on any bytes; what is accepted has
// recipients within the limit and offsets that point at R records.
func FuzzMessage(f *testing.F) {
	for _, file := range capture.QueueFiles(f, "*") {
		f.Add(file.Data)
	}
	f.Add(build(QmgrMixed, []string{"a", "b", "c"}, []string{"d"}))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		m, err := ReadMessage(r, 2)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("memory does not fail: %v", err)
			}
			return
		}
		for range len(in) {
			if len(m.Recipients) > 2 {
				t.Fatalf("%d recipients", len(m.Recipients))
			}
			for _, rcpt := range m.Recipients {
				if in[rcpt.Offset] != byte(record.Rcpt) {
					t.Errorf("offset %d of %q is no recipient", rcpt.Offset, rcpt.Addr)
				}
			}
			if !m.More() {
				break
			}
			if err := m.ReadMore(r, 2); err != nil {
				break
			}
		}
		c := NewContent(r, m.DataOffset)
		for {
			if _, _, err := c.Next(); err != nil {
				break
			}
		}
	})
}
