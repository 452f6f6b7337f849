package table

import (
	"strings"
	"testing"
)

// Entries without blank between them were one entry that no key matches: a table of
// what to refuse refused nothing.
func TestInlineEntriesNeedBlanks(t *testing.T) {
	for _, spec := range []string{"inline:{{a=b}{c=d}}", "inline:{ {a=b}x }", "inline:{ {a=b }"} {
		_, _, err := Open(Env{Warnf: t.Logf}, spec).Lookup(t.Context(), "a")
		if err == nil || !strings.Contains(err.Error(), "inline:") {
			t.Errorf("%s: %v", spec, err)
		}
	}
}
