package record

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"sealpost/test/capture"
)

func reader(b []byte, limit int) *Reader {
	return NewReader(bufio.NewReaderSize(bytes.NewReader(b), 16), limit)
}

func TestAppendIsMinimal(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"the specification's example", Append(nil, Norm, "ab"), "N\x02ab"},
		{"empty", Append(nil, Message, ""), "M\x00"},
		{"127", Append(nil, Norm, strings.Repeat("x", 127)), "N\x7f" + strings.Repeat("x", 127)},
		{"128", Append(nil, Norm, strings.Repeat("x", 128)), "N\x80\x01" + strings.Repeat("x", 128)},
		{"300", Append(nil, Norm, strings.Repeat("x", 300)), "N\xac\x02" + strings.Repeat("x", 300)},
		{"attribute", AppendAttr(nil, "encoding", "8bit"), "A\x0dencoding=8bit"},
		{"long attribute", AppendAttr(nil, "a", strings.Repeat("x", 200)), "A\xca\x01a=" + strings.Repeat("x", 200)},
		{"padding of 6 bytes", AppendPad(nil, Pad, 6), "w\x04   0"},
		{"least padding", AppendPad(nil, Pad, 1), "w\x010"},
		{"pointer of 17 bytes", AppendPad(nil, Pointer, 17), "p\x0f              0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if string(c.got) != c.want {
				t.Errorf("got %q, want %q", c.got, c.want)
			}
		})
	}
}

func TestReaderErrors(t *testing.T) {
	for _, c := range []struct {
		name, in string
		limit    int
		want     error
	}{
		{"nothing", "", 0, io.EOF},
		{"type only", "N", 0, io.ErrUnexpectedEOF},
		{"cut in the length", "N\x80", 0, io.ErrUnexpectedEOF},
		{"cut in the payload", "N\x05abcd", 0, io.ErrUnexpectedEOF},
		{"length that is not there", "N\xff\xff\xff\x7f", 0, io.ErrUnexpectedEOF},
		{"type 0", "\x00\x00", 0, ErrFraming},
		{"five length bytes", "N\x80\x80\x80\x80\x01", 0, ErrFraming},
		{"above the limit", "N\x05abcde", 4, ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := reader([]byte(c.in), c.limit).Read(); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestLimitIsInclusive(t *testing.T) {
	if _, p, err := reader([]byte("N\x04abcd"), 4).Read(); err != nil || string(p) != "abcd" {
		t.Errorf("%q, %v", p, err)
	}
}

// TestRecordedFiles reads the recorded files as streams, dead bytes behind
// pointers aside, and writes the same bytes.
func TestRecordedFiles(t *testing.T) {
	for _, f := range append(capture.Messages(t), capture.QueueFiles(t, "maildrop-*")...) {
		if bytes.Contains(f.Data, []byte("p\x0f")) {
			continue // not a stream: package queue reads these
		}
		r := reader(f.Data, 0)
		var out []byte
		for {
			before := r.Offset()
			typ, payload, err := r.Read()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			if r.Offset() != before+int64(HeaderLen(len(payload))+len(payload)) || before != int64(len(out)) {
				t.Fatalf("%s: offset %d after %d", f.Name, r.Offset(), before)
			}
			out = Append(out, typ, payload)
		}
		if !bytes.Equal(out, f.Data) {
			t.Errorf("%s: other bytes", f.Name)
		}
	}
}

func TestReset(t *testing.T) {
	r := reader([]byte("N\x01a"), 0)
	if _, _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	r.Reset(bufio.NewReader(strings.NewReader("L\x01b")), 100)
	if typ, p, err := r.Read(); typ != Cont || string(p) != "b" || err != nil || r.Offset() != 103 {
		t.Errorf("%q %q %v %d", typ, p, err, r.Offset())
	}
}

func TestSplitAttr(t *testing.T) {
	for in, want := range map[string][3]string{
		"a=b": {"a", "b", "ok"}, "a=": {"a", "", "ok"}, "a=b=c": {"a", "b=c", "ok"},
		"": {}, "a": {}, "=b": {"", "b", ""},
	} {
		name, value, ok := SplitAttr(in)
		if name != want[0] || value != want[1] || ok != (want[2] == "ok") {
			t.Errorf("%q: %q %q %v", in, name, value, ok)
		}
	}
}

func TestAttrType(t *testing.T) {
	for name, want := range map[string]Type{
		"dsn_orig_rcpt": 'o', "notify_flags": 'n', "envelope_id": 'i', "ret_flags": '<', "create_time": 'c', "encoding": 0,
	} {
		if got := AttrType(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// FuzzReader: no panic, no more memory than the input is worth, and what was
// read is written back as the same records.
func FuzzReader(f *testing.F) {
	for _, file := range capture.QueueFiles(f, "*") {
		f.Add(file.Data)
	}
	f.Add([]byte("N\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := reader(in, 0)
		var out []byte
		n := 0
		for {
			typ, payload, err := r.Read()
			if err != nil {
				break
			}
			out = Append(out, typ, payload)
			n++
		}
		if len(out) > len(in) {
			t.Errorf("%d bytes from %d", len(out), len(in))
		}
		again := reader(out, 0)
		for i := range n {
			if _, _, err := again.Read(); err != nil {
				t.Fatalf("record %d of %d: %v", i, n, err)
			}
		}
		if _, _, err := again.Read(); err != io.EOF {
			t.Errorf("after the last: %v", err)
		}
	})
}
