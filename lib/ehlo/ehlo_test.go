package ehlo

import "testing"

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		words     []string
		want      string
	}{
		{"nothing", nil, ""},
		{"case does not matter", []string{"dsn", "Chunking"}, "DSN CHUNKING"},
		{"unknown words are left out", []string{"XYZZY", "etrn"}, "ETRN"},
		{"the silent marker is a member", []string{"silent-discard", "requiretls"}, "REQUIRETLS SILENT-DISCARD"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			if got := Parse(tc.words).String(); got != tc.want {
				t.Errorf("Parse(%q) = %q, want %q", tc.words, got, tc.want)
			}
		})
	}
}

func TestHasNeedsAllKeywords(t *testing.T) {
	if s := DSN | ETRN; !s.Has(DSN) || s.Has(DSN|VRFY) {
		t.Errorf("%v.Has is wrong", s)
	}
}

func TestRequireTLSBit(t *testing.T) {
	if RequireTLS != 1<<14 {
		t.Errorf("REQUIRETLS is %#x, want bit 14 (requiretls.md §2.1)", uint32(RequireTLS))
	}
}
