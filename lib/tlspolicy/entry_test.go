package tlspolicy

import (
	"slices"
	"strings"
	"testing"

	"sealpost/lib/idn"
	"sealpost/lib/table"
)

func TestKeys(t *testing.T) {
	tests := []struct{ nexthop, want string }{
		{"a.b.example", "a.b.example .b.example* .example*"},
		{"example", "example"},
		{"[a.example]:25", "[a.example]:25"},
		{"a.example:25", "a.example:25"},
		{"/run/lmtp.sock", "/run/lmtp.sock"},
		{"[2001:db8::1]", "[2001:db8::1]"},
		{"bücher.example", "bücher.example xn--bcher-kva.example .example*"},
		{"[bücher.example]:25", "[bücher.example]:25 [xn--bcher-kva.example]:25"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example bücher.example .example*"},
		// Other ways to write a domain that leads to the same hosts.
		{"a.bank.example.", "a.bank.example. a.bank.example .bank.example* .example*"},
		{"bank.example。", "bank.example。 bank.example .example*"},
		{"a。bank．example", "a。bank．example a.bank.example .bank.example* .example*"},
		{"ba\u00adnk.example", "ba\u00adnk.example bank.example .example*"},
		{"bu\u0308CHER.example", "bu\u0308CHER.example bücher.example xn--bcher-kva.example .example*"},
		{"", ""},
		{"x", "x"},
		{"[", "["},
	}
	for _, tt := range tests {
		if got := strings.Join(table.Texts(keys(tt.nexthop, idn.ToASCII)), " "); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.nexthop, got, tt.want)
		}
	}
}

// What is taken has a level that can be configured, and attributes only where the
// level has a use for them; a result that begins with a known level but has
// anything wrong in it is refused as a whole, never taken in part.
func FuzzParseEntry(f *testing.F) {
	for _, seed := range []string{
		"may", "secure match=a:b tafile=/x", "fingerprint match=aa|bb", "none x", "encrypt {policy_string = a, b} policy_type=sts",
		"secure match=nexthop servername=hostname policy_type=sts policy_domain=a.test policy_ttl=1 mx_host_pattern=*.a.test",
		"verify match=", "dane-only, connection_reuse=yes", "{may}", "may {a={b}", "may exclude=", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseEntry(text)
		if err != nil {
			return
		}
		if e.level == HalfDANE || e.level < None || e.level > Secure {
			t.Fatalf("level %d", e.level)
		}
		if e.level == None && (e.match != nil || e.protocols+e.ciphers+e.serverName != "" || e.sts != nil) {
			t.Fatalf("none with attributes: %+v", e)
		}
		if e.match != nil && !e.level.UsesPKIX() && e.level != Fingerprint || e.trustAnchors != nil && !e.level.UsesPKIX() {
			t.Fatalf("%s with %q, %q", e.level, e.match, e.trustAnchors)
		}
		if slices.Contains(e.match, "") {
			t.Fatal("an empty name to match")
		}
		if again, err := parseEntry(" " + text + " "); err != nil || again.level != e.level {
			t.Fatalf("white space around it matters: %v", err)
		}
	})
}
