package idn

import "testing"

func TestConversions(t *testing.T) {
	tests := []struct{ unicode, ascii string }{
		{"bücher.example", "xn--bcher-kva.example"},
		{"例え.テスト", "xn--r8jz45g.xn--zckzah"},
		{".bücher.example", ".xn--bcher-kva.example"},
		{"plain.example", "plain.example"},
	}
	for _, tt := range tests {
		if got, err := ToASCII(tt.unicode); got != tt.ascii || err != nil {
			t.Errorf("ToASCII(%q) = %q, %v; want %q", tt.unicode, got, err, tt.ascii)
		}
		if got, err := ToUnicode(tt.ascii); got != tt.unicode || err != nil {
			t.Errorf("ToUnicode(%q) = %q, %v; want %q", tt.ascii, got, err, tt.unicode)
		}
	}
}

func TestNamesThatAreInTheFormAlreadyAreLeftAlone(t *testing.T) {
	if got, err := ToASCII("UPPER_case..Example"); got != "UPPER_case..Example" || err != nil {
		t.Errorf("ToASCII = %q, %v", got, err)
	}
	if got, err := ToUnicode("BÜcher"); got != "BÜcher" || err != nil {
		t.Errorf("ToUnicode = %q, %v", got, err)
	}
}

func TestTransitional(t *testing.T) {
	for p, want := range map[Profile]string{{}: "xn--fa-hia.example", {Transitional: true}: "fass.example"} {
		if got, err := p.ToASCII("faß.example"); got != want || err != nil {
			t.Errorf("%+v: %q, %v; want %q", p, got, err, want)
		}
	}
}

func TestBadNames(t *testing.T) {
	if got, err := ToUnicode("xn--a"); err == nil {
		t.Errorf("ToUnicode = %q", got)
	}
	if got, err := ToASCII("\xff\xfe"); err == nil {
		t.Errorf("ToASCII = %q", got)
	}
}
