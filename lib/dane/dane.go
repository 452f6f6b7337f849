// Package dane authenticates mail servers with TLSA records (RFC 6698, RFC 7671,
// RFC 7672). It looks nothing up and connects to nothing.
//
// A record has four fields. Of the certificate usages 0 to 3, SMTP uses two:
//
//	2 DANE-TA  the record names a trust anchor: a certificate, or key, that the
//	           server's chain leads to. Names and dates of the chain are checked.
//	3 DANE-EE  the record names the server's own certificate or key. Names and
//	           dates do not matter (RFC 7672 §3.1.1).
//
// Selector 0 means the whole certificate, 1 its public key; matching type 0 means
// the data itself, 1 its SHA-256, 2 its SHA-512. Any other value, and data that
// cannot be what the fields say, makes a record unusable (Usable says why).
//
// The records of a host are at _port._tcp.BASE. Bases gives the candidates for the
// TLSA base domain (RFC 7672 §2.2.2): where CNAME records lead, if every step was
// authentic, then the name itself.
package dane

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sealpost/lib/dns"
)

// Certificate usages, selectors and matching types that SMTP uses.
const (
	UsageTA, UsageEE                             = 2, 3
	SelectorCert, SelectorKey                    = 0, 1
	MatchingFull, MatchingSHA256, MatchingSHA512 = 0, 1, 2
)

// MaxRecords bounds how many records of one host are looked at.
const MaxRecords = dns.MaxRecords

// Why a record cannot be used.
var (
	ErrUsage    = errors.New("certificate usage is not for SMTP")
	ErrSelector = errors.New("unknown selector")
	ErrMatching = errors.New("unknown or disabled matching type")
	ErrLength   = errors.New("length is not that of the digest")
	ErrData     = errors.New("data is not a certificate or key")
)

// Digests are the matching types 1 and 2 that are enabled, the strongest first
// (tls_dane_digests).
type Digests []uint8

// ParseDigests reads a value of tls_dane_digests: names, each with an optional
// "=number" that must be the registered one.
func ParseDigests(text string) (Digests, error) {
	known := map[string]uint8{"sha256": MatchingSHA256, "sha512": MatchingSHA512}
	var list Digests
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || '\t' <= r && r <= '\r' }) {
		name, number, numbered := strings.Cut(strings.ToLower(word), "=")
		matching, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("%q: want sha512 or sha256", word)
		}
		if numbered && number != strconv.Itoa(int(matching)) {
			return nil, fmt.Errorf("%q: the matching type of %s is %d", word, name, matching)
		}
		if !slices.Contains(list, matching) {
			list = append(list, matching)
		}
	}
	return list, nil
}

// Check says why a record cannot be used; nil when it can.
func (d Digests) Check(r dns.TLSA) error {
	switch {
	case r.Usage != UsageTA && r.Usage != UsageEE:
		return fmt.Errorf("%w: %d", ErrUsage, r.Usage)
	case r.Selector != SelectorCert && r.Selector != SelectorKey:
		return fmt.Errorf("%w: %d", ErrSelector, r.Selector)
	case r.Matching != MatchingFull && !slices.Contains(d, r.Matching):
		return fmt.Errorf("%w: %d", ErrMatching, r.Matching)
	case r.Matching == MatchingSHA256 && len(r.Data) != sha256.Size, r.Matching == MatchingSHA512 && len(r.Data) != sha512.Size:
		return fmt.Errorf("%w: %d bytes", ErrLength, len(r.Data))
	case r.Matching != MatchingFull:
		return nil
	}
	var err error
	if r.Selector == SelectorCert {
		_, err = x509.ParseCertificate(r.Data)
	} else {
		_, err = x509.ParsePKIXPublicKey(r.Data)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	return nil
}

// Unusable is a record with the reason why it cannot be used.
type Unusable struct {
	Record dns.TLSA
	Err    error
}

// Usable splits records. Of records with the same usage and selector that differ
// in their digest, only those with the strongest digest are kept (RFC 7671 §9):
// the weaker ones are in neither list. So are repeated records.
func (d Digests) Usable(records []dns.TLSA) (usable []dns.TLSA, not []Unusable) {
	if len(records) > MaxRecords {
		records = records[:MaxRecords]
	}
	type kind struct{ usage, selector uint8 }
	best := make(map[kind]int)
	for _, r := range records {
		if err := d.Check(r); err != nil {
			not = append(not, Unusable{r, err})
			continue
		}
		usable = append(usable, r)
		if r.Matching == MatchingFull {
			continue
		}
		k := kind{r.Usage, r.Selector}
		rank := slices.Index(d, r.Matching)
		if old, seen := best[k]; !seen || rank < old {
			best[k] = rank
		}
	}
	kept := usable[:0]
	for _, r := range usable {
		weak := r.Matching != MatchingFull && slices.Index(d, r.Matching) != best[kind{r.Usage, r.Selector}]
		if !weak && !slices.ContainsFunc(kept, func(o dns.TLSA) bool { return equal(o, r) }) {
			kept = append(kept, r)
		}
	}
	return kept, not
}

func equal(a, b dns.TLSA) bool {
	return a.Usage == b.Usage && a.Selector == b.Selector && a.Matching == b.Matching && slices.Equal(a.Data, b.Data)
}

// Describe is a record for the log: "3 1 1 0123...".
func Describe(r dns.TLSA) string {
	data := r.Data
	more := ""
	if len(data) > 64 {
		data, more = data[:64], "..."
	}
	return fmt.Sprintf("%d %d %d %X%s", r.Usage, r.Selector, r.Matching, data, more)
}

// Owner is the name of the records of a service.
func Owner(base string, port uint16) string {
	return "_" + strconv.Itoa(int(port)) + "._tcp." + base
}

// Alias is what is known about the CNAME records of a host.
type Alias struct {
	Target string // where all steps together lead; "": there are none
	Secure bool   // all steps were authentic, and the addresses at the end
	// FirstSecure: the first step was, asked for alone. It says that the host's own
	// zone is signed.
	FirstSecure bool
}

// Bases gives the candidates for the base domain, in the order in which to look for
// records (RFC 7672 §2.2.2). None: there is nothing to look up, because the zone of
// the host is not signed. addrSecure is about the addresses of a host that is no alias.
func Bases(host string, a Alias, addrSecure bool) []string {
	switch {
	case a.Target == "" && addrSecure, a.Target != "" && !a.Secure && a.FirstSecure:
		return []string{host}
	case a.Target != "" && a.Secure:
		return []string{a.Target, host}
	}
	return nil
}
