package mailproto

import "fmt"

// Overrides are the parts of the reception of mail that receive_override_options
// leaves out.
type Overrides struct {
	NoAddressMappings        bool // canonical, virtual, masquerade, automatic BCC
	NoHeaderBodyChecks       bool
	NoMilters                bool
	NoUnknownRecipientChecks bool // of the SMTP server
}

// ParseOverrides reads the words of receive_override_options. A word
// that is none of them is an error: what it was meant to leave out would be done.
func ParseOverrides(words []string) (Overrides, error) {
	var o Overrides
	for _, word := range words {
		switch word {
		case "no_address_mappings":
			o.NoAddressMappings = true
		case "no_header_body_checks":
			o.NoHeaderBodyChecks = true
		case "no_milters":
			o.NoMilters = true
		case "no_unknown_recipient_checks":
			o.NoUnknownRecipientChecks = true
		default:
			return o, fmt.Errorf("unknown receive_override_options value %q; there are no_address_mappings, no_header_body_checks, "+
				"no_milters and no_unknown_recipient_checks", word)
		}
	}
	return o, nil
}

// Apply takes off what cleanup is not to do.
func (o Overrides) Apply(f CleanupFlags) CleanupFlags {
	if o.NoAddressMappings {
		f &^= CleanupMap | CleanupBCC
	}
	if o.NoHeaderBodyChecks {
		f &^= CleanupFilter
	}
	if o.NoMilters {
		f &^= CleanupMilter
	}
	return f
}
