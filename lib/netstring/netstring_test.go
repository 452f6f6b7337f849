package netstring

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		in, out string
		err     error
	}{
		{"5:hello,", "hello", nil}, {"0:,", "", nil}, {"10:0123456789,", "0123456789", nil},
		{"", "", io.EOF}, {"5", "", io.ErrUnexpectedEOF}, {"5:hel", "", io.ErrUnexpectedEOF}, {"5:hello", "", io.ErrUnexpectedEOF},
		{"5:hello;", "", ErrForm}, {":,", "", ErrForm}, {"05:hello,", "", ErrForm}, {"-1:,", "", ErrForm}, {"x", "", ErrForm},
		{"11:01234567890,", "", ErrSize}, {"99999999999999999999:", "", ErrSize},
	} {
		out, err := Read(bufio.NewReader(strings.NewReader(tt.in)), 10)
		if out != tt.out || !errors.Is(err, tt.err) {
			t.Errorf("%q: %q, %v", tt.in, out, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("5:hello,")
	f.Add("0:,x")
	f.Fuzz(func(t *testing.T, in string) {
		out, err := Read(bufio.NewReader(strings.NewReader(in)), 1000)
		if again := string(Append(nil, out)); err == nil && !strings.HasPrefix(in, again) {
			t.Errorf("%q was read as %q", in, again)
		}
	})
}
