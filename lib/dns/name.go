package dns

import (
	"net/netip"
	"strings"
)

// Limits of RFC 1035 §2.3.4, on names without trailing dot.
const (
	maxName  = 253
	maxLabel = 63
)

// ValidHostname reports whether name can be the name of a host or domain: letters,
// digits, "-" and "_" in labels of 1 to 63 bytes, at most 253 bytes, no label that
// begins or ends with "-", not made of digits and dots alone. One trailing dot is
// allowed. NUL, "@", blanks and 8-bit bytes are not part of a name.
func ValidHostname(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName {
		return false
	}
	label, numeric := 0, true
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '.' {
			if label == 0 || label > maxLabel || name[i-1] == '-' {
				return false
			}
			label = 0
			continue
		}
		c := name[i]
		switch {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
			numeric = false
		case c == '-' && label > 0:
			numeric = false
		default:
			return false
		}
		label++
	}
	return !numeric
}

// Literal parses name when it is an address and not a name.
func Literal(name string) (netip.Addr, bool) {
	if name == "" || (name[0] < '0' || name[0] > '9') && !strings.Contains(name, ":") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(name)
	return addr, err == nil
}

// canonical is the key of a name: lower case, with trailing dot.
func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, ".")) + "."
}

func trimDot(name string) string { return strings.TrimSuffix(name, ".") }
