package dsn

import "testing"

func TestCodes(t *testing.T) {
	for text, want := range map[string]int{
		"5.1.1": 5, "5.1.1 x": 5, "4.123.999": 9, "2.0.0\tx": 5,
		"": 0, "5": 0, "5.1": 0, "5.1.": 0, "3.1.1": 0, "5.1.1x": 0, "5.1234.1": 0, "5.1.1234": 0, "5..1": 0, "x.1.1": 0, "5.1.1.1": 0,
	} {
		if got := CodeLen(text); got != want {
			t.Errorf("CodeLen(%q) = %d, want %d", text, got, want)
		}
		if got := ValidCode(text); got != (want > 0 && want == len(text)) {
			t.Errorf("ValidCode(%q) = %v", text, got)
		}
	}
	for _, c := range []struct{ in, code, rest string }{
		{"5.7.1  denied", "5.7.1", "denied"}, {"denied", "4.0.0", "denied"}, {"5.7.2", "5.7.2", ""}, {"", "4.0.0", ""},
	} {
		if code, rest := SplitCode("4.0.0", c.in); code != c.code || rest != c.rest {
			t.Errorf("SplitCode(%q) = %q, %q", c.in, code, rest)
		}
	}
	for in, want := range map[string]string{"5.1.1": "4.1.1", "": "4.0.0", "9.9.9": "4.0.0"} {
		if got := SetClass(in, '4'); got != want {
			t.Errorf("SetClass(%q) = %q, want %q", in, got, want)
		}
	}
	if s := (Status{Code: "5.1.1", Reason: "x"}).Soft(); s.Code != "4.1.1" || s.Reason != "x" {
		t.Errorf("Soft: %+v", s)
	}
}

func TestMasks(t *testing.T) {
	for n, want := range map[Notify]bool{0: true, 1: true, 2: true, 14: true, 3: false, 16: false, -1: false} {
		if got := n.Valid(); got != want {
			t.Errorf("Notify(%d).Valid() = %v", n, got)
		}
	}
	for r, want := range map[Ret]bool{0: true, 1: true, 2: true, 3: false, -1: false} {
		if got := r.Valid(); got != want {
			t.Errorf("Ret(%d).Valid() = %v", r, got)
		}
	}
}
