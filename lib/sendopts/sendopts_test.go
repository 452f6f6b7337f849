package sendopts

import "testing"

// TestNames holds names and values against requiretls.md §4.3.
func TestNames(t *testing.T) {
	for o, want := range map[Options]string{
		0: "none", 1: "smtputf8_requested", 2: "smtputf8_header", 4: "smtputf8_sender",
		8: "smtputf8_recipient", 16: "requiretls_header", 32: "requiretls_esmtp",
		33: "smtputf8_requested requiretls_esmtp", 64: "none",
		63: "smtputf8_requested smtputf8_header smtputf8_sender smtputf8_recipient requiretls_header requiretls_esmtp",
	} {
		if got := o.String(); got != want {
			t.Errorf("%d: %q, want %q", o, got, want)
		}
	}
	if All != 63 || Derived != 30 {
		t.Errorf("All %d, Derived %d; want 63, 30", All, Derived)
	}
	if !Options(33).Has(RequireTLSESMTP) || Options(1).Has(RequireTLSESMTP|SMTPUTF8Requested) {
		t.Error("Has")
	}
}
