package sasl

import (
	"fmt"
	"strings"
)

// Options say which mechanisms are good enough (smtpd_sasl_security_options).
type Options struct{ without, with Properties }

var optionNames = []struct {
	name          string
	without, with Properties
}{
	{name: "noanonymous", without: Anonymous},
	{name: "noplaintext", without: Plaintext},
	{name: "nodictionary", without: Dictionary},
	{name: "noactive", without: Active},
	{name: "forward_secrecy", with: ForwardSecrecy},
	{name: "mutual_auth", with: MutualAuth},
}

// ParseOptions reads a list of options.
func ParseOptions(words []string) (Options, error) {
	var o Options
	for _, word := range words {
		known := false
		for _, row := range optionNames {
			if strings.EqualFold(word, row.name) {
				o.without |= row.without
				o.with |= row.with
				known = true
			}
		}
		if !known {
			return Options{}, fmt.Errorf("unknown SASL security option %q; specify one or more of: noanonymous, noplaintext, nodictionary, noactive, forward_secrecy, mutual_auth", word)
		}
	}
	return o, nil
}

// Allows reports whether a mechanism may be used under the options.
func (o Options) Allows(m Mechanism) bool {
	return m.Properties&Private == 0 && m.Properties&o.without == 0 && m.Properties&o.with == o.with
}
