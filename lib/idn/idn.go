// Package idn converts domain names between their A-label (xn--) and U-label
// (UTF-8) forms: RFC 5890, UTS 46.
package idn

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Profile says how names are mapped. Transitional is that of
// enable_idna2003_compatibility.
type Profile struct{ Transitional bool }

func (p Profile) idna() *idna.Profile {
	return idna.New(
		idna.MapForLookup(),
		idna.StrictDomainName(false),
		idna.VerifyDNSLength(false),
		idna.Transitional(p.Transitional))
}

// ErrUTF8 is returned for a name that is not UTF-8.
var ErrUTF8 = errors.New("not UTF-8")

// ToASCII is the A-label form of domain. A name of ASCII characters is returned
// as it is, unchecked and in its own case.
func (p Profile) ToASCII(domain string) (string, error) {
	if ASCII(domain) {
		return domain, nil
	}
	if !utf8.ValidString(domain) {
		return "", fmt.Errorf("convert %q to A-labels: %w", domain, ErrUTF8)
	}
	out, err := p.idna().ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("convert %q to A-labels: %w", domain, err)
	}
	return out, nil
}

// ToUnicode is the U-label form of domain. A name that has other than ASCII
// characters is returned as it is.
func (p Profile) ToUnicode(domain string) (string, error) {
	if !ASCII(domain) {
		return domain, nil
	}
	out, err := p.idna().ToUnicode(domain)
	if err != nil {
		return "", fmt.Errorf("convert %q to U-labels: %w", domain, err)
	}
	return out, nil
}

// ToASCII is Profile{}.ToASCII.
func ToASCII(domain string) (string, error) { return Profile{}.ToASCII(domain) }

// ToUnicode is Profile{}.ToUnicode.
func ToUnicode(domain string) (string, error) { return Profile{}.ToUnicode(domain) }

// ASCII reports whether s has ASCII characters only.
func ASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
