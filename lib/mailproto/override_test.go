package mailproto

import (
	"strings"
	"testing"
)

func TestOverrides(t *testing.T) {
	const all = CleanupExternal | CleanupBounce | CleanupReqTLS
	cases := map[string]struct {
		off     CleanupFlags
		unknown bool
		bad     string
	}{
		"":                            {},
		"no_address_mappings":         {off: CleanupMap | CleanupBCC},
		"no_header_body_checks":       {off: CleanupFilter},
		"no_milters":                  {off: CleanupMilter},
		"no_unknown_recipient_checks": {unknown: true},
		"no_header_body_checks no_milters no_unknown_recipient_checks": {off: CleanupFilter | CleanupMilter, unknown: true},
		"no_foo":                       {bad: `"no_foo"`},
		"no_milters no_content_filter": {bad: `"no_content_filter"`},
		"NO_MILTERS":                   {bad: `"NO_MILTERS"`},
	}
	for words, c := range cases {
		o, err := ParseOverrides(strings.Fields(words))
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s: error %v, want %s", words, err, c.bad)
			}
			continue
		}
		if got := o.Apply(all); err != nil || got != all&^c.off || o.NoUnknownRecipientChecks != c.unknown {
			t.Errorf("%s: %v, %+v, %v", words, got, o, err)
		}
	}
}
