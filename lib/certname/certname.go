// Package certname compares the names in a certificate with the names that a
// peer is expected to have (RFC 6125 §6.4, RFC 7817 §4). It decides nothing about
// trust.
//
// An expected name is a domain name, or ".domain" for a name with one or more
// labels before the domain. Names in a certificate are the dNSNames of its
// subject alternative name; only when there is none, the common name. A name
// in a certificate may be "*.domain". All names are compared without regard to
// case and without a trailing dot, as A-labels.
package certname

import (
	"crypto/x509"
	"strings"
)

// Limits on the names of one certificate.
const (
	MaxNames = 1000 // alternative names that are looked at
	maxName  = 253
)

// Of gives the names in a certificate in the form in which they are compared.
// Those that are not domain names (empty, with NUL, blanks, 8-bit bytes or a "*"
// anywhere but as the first of three or more labels) are left out.
func Of(cert *x509.Certificate) []string {
	written := cert.DNSNames
	if len(written) == 0 {
		if cert.Subject.CommonName == "" {
			return nil
		}
		written = []string{cert.Subject.CommonName}
	}
	if len(written) > MaxNames {
		written = written[:MaxNames]
	}
	names := make([]string, 0, len(written))
	for _, name := range written {
		if clean, ok := presented(name); ok {
			names = append(names, clean)
		}
	}
	return names
}

// presented is a name of a certificate as it is compared.
func presented(name string) (string, bool) {
	name = canonical(name)
	rest, wild := strings.CutPrefix(name, "*.")
	if !valid(rest) || wild && !strings.Contains(rest, ".") {
		return "", false
	}
	return name, true
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// valid reports whether a lower-case name is made of labels of letters, digits,
// "-" and "_".
func valid(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// Matcher is how "*" is understood.
type Matcher struct {
	// MultiLabel: "*" stands for one or more labels, else for exactly one
	// (tls_wildcard_matches_multiple_labels).
	MultiLabel bool
}

// Match reports whether a name of a certificate is the expected one.
func (m Matcher) Match(expected, name string) bool {
	expected = canonical(expected)
	name, ok := presented(name)
	if !ok {
		return false
	}
	if parent, below := strings.CutPrefix(expected, "."); below {
		// "*.parent" is below parent too: it stands for names there only.
		prefix, ok := strings.CutSuffix(name, "."+parent)
		return ok && prefix != "" && valid(parent)
	}
	if !valid(expected) {
		return false
	}
	rest, wild := strings.CutPrefix(name, "*.")
	if !wild {
		return name == expected
	}
	labels, ok := strings.CutSuffix(expected, "."+rest)
	return ok && (m.MultiLabel || !strings.Contains(labels, "."))
}

// Find gives the first expected name that one of the names has, with that name.
func (m Matcher) Find(expected, names []string) (want, name string, ok bool) {
	for _, want := range expected {
		for _, name := range names {
			if m.Match(want, name) {
				return want, name, true
			}
		}
	}
	return "", "", false
}
