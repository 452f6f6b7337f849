package dsn

import "testing"

func TestAppendXtext(t *testing.T) {
	for in, want := range map[string]string{"": "", "a@b.c": "a@b.c", "a+b=c": "a+2Bb+3Dc", "a b\n": "a+20b+0A", "é\x7f": "+C3+A9+7F", "~!": "~!"} {
		if got := string(AppendXtext(nil, in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
