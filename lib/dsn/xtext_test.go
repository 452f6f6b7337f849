package dsn

import "testing"

func TestAppendXtext(t *testing.T) {
	for in, want := range map[string]string{"": "", "a@b.c": "a@b.c", "a+b=c": "a+2Bb+3Dc", "a b\n": "a+20b+0A", "é\x7f": "+C3+A9+7F", "~!": "~!"} {
		if got := string(AppendXtext(nil, in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDecodeXtext(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		ok       bool
	}{
		{"", "", true}, {"a@b", "a@b", true}, {"a+2Bb+3dc", "a+b=c", true}, {"+C3+A9", "\u00e9", true}, {"a=b", "a=b", true},
		{"+", "", false}, {"a+2", "", false}, {"+2G", "", false}, {"+G2", "", false}, {"++2B", "", false},
	} {
		if got, ok := DecodeXtext(tc.in); got != tc.want || ok != tc.ok {
			t.Errorf("%q: %q, %v", tc.in, got, ok)
		}
	}
}

func FuzzXtext(f *testing.F) {
	f.Add("a+b=\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := DecodeXtext(string(AppendXtext(nil, s))); got != s || !ok {
			t.Errorf("%q comes back as %q", s, got)
		}
		_, _ = DecodeXtext(s)
	})
}
