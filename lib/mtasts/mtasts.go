// Package mtasts has what the mail system knows about SMTP MTA Strict Transport
// Security (RFC 8461) without fetching policies itself: the attributes with which
// a plug-in answers a look-up in smtp_tls_policy_maps, and the patterns for names
// of MX hosts.
//
// The attributes follow the level, the match attribute and the others of the
// table's result:
//
//	policy_type=sts             an STS policy stands behind the answer, or:
//	policy_type=no-policy-found there is none
//	policy_domain=NAME          the domain whose policy it is
//	mx_host_pattern=PATTERN     a name that an MX host may have; repeated
//	{policy_string = TEXT}      one line of the policy, for reports; repeated
//	policy_ttl=TIME             for reports
//	policy_failure=TYPE         why the policy cannot be kept (RFC 8460 §4.3)
//
// A pattern is a host name or "*." before a domain, where "*" stands for exactly
// one label (RFC 8461 §4.1).
package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/dns"
)

// Values of policy_type.
const (
	TypeSTS  = "sts"
	TypeNone = "no-policy-found"
)

// Limits on one answer.
const (
	MaxPatterns = 100
	MaxStrings  = 200
)

var (
	ErrAttribute = errors.New("not an attribute of a policy")
	ErrValue     = errors.New("bad value")
	ErrRepeated  = errors.New("given more than once")
	ErrTooMany   = errors.New("given too often")
)

// failures are the values of policy_failure: result types of RFC 8460 §4.3.
var failures = []string{"dane-required", "dnssec-invalid", "sts-policy-fetch-error", "sts-policy-invalid",
	"sts-webpki-invalid", "tlsa-invalid", "validation-failure"}

// Attributes are what a plug-in tells about the policy behind its answer.
type Attributes struct {
	Type       string
	Domain     string // lower case, without trailing dot
	MXPatterns []string
	Strings    []string
	TTL        string // digits, with an optional unit
	Failure    string
}

// Is reports whether a name is that of an attribute of this package.
func Is(name string) bool {
	return slices.Contains([]string{"policy_type", "policy_domain", "mx_host_pattern", "policy_string", "policy_ttl",
		"policy_failure"}, strings.ToLower(name))
}

// Set takes one attribute. The error says what is wrong with it; then nothing changed.
func (a *Attributes) Set(name, value string) error {
	name = strings.ToLower(name)
	bad := func(err error) error { return fmt.Errorf("attribute %s=%q: %w", name, value, err) }
	switch name {
	case "policy_type":
		value = strings.ToLower(value)
		if value != TypeSTS && value != TypeNone {
			return bad(ErrValue)
		}
		return a.once(&a.Type, value, bad)
	case "policy_domain":
		value = canonical(value)
		if !dns.ValidHostname(value) {
			return bad(ErrValue)
		}
		return a.once(&a.Domain, value, bad)
	case "policy_failure":
		if !slices.Contains(failures, strings.ToLower(value)) {
			return bad(ErrValue)
		}
		return a.once(&a.Failure, strings.ToLower(value), bad)
	case "policy_ttl":
		if digits := strings.TrimRight(value, "smhdw"); len(value)-len(digits) > 1 || digits == "" || len(digits) > 10 || strings.Trim(digits, "0123456789") != "" {
			return bad(ErrValue)
		}
		return a.once(&a.TTL, value, bad)
	case "mx_host_pattern":
		if value = canonical(value); !ValidPattern(value) {
			return bad(ErrValue)
		}
		return appendTo(&a.MXPatterns, value, MaxPatterns, bad)
	case "policy_string":
		return appendTo(&a.Strings, value, MaxStrings, bad)
	}
	return bad(ErrAttribute)
}

func (a *Attributes) once(field *string, value string, bad func(error) error) error {
	if *field != "" {
		return bad(ErrRepeated)
	}
	*field = value
	return nil
}

func appendTo(list *[]string, value string, limit int, bad func(error) error) error {
	if len(*list) >= limit {
		return bad(ErrTooMany)
	}
	*list = append(*list, value)
	return nil
}

// Restricts reports whether the policy limits the names of MX hosts.
func (a *Attributes) Restricts() bool {
	return a != nil && a.Type == TypeSTS && len(a.MXPatterns) > 0
}

// Allows reports whether one of the patterns has a host's name.
func (a *Attributes) Allows(host string) bool {
	return slices.ContainsFunc(a.MXPatterns, func(pattern string) bool { return Match(pattern, host) })
}

// ValidPattern reports whether a pattern can match anything.
func ValidPattern(pattern string) bool {
	return dns.ValidHostname(strings.TrimPrefix(pattern, "*."))
}

// Match compares the name of a host with a pattern, without regard to case.
func Match(pattern, host string) bool {
	pattern, host = canonical(pattern), canonical(host)
	if !ValidPattern(pattern) || !dns.ValidHostname(host) {
		return false
	}
	parent, wild := strings.CutPrefix(pattern, "*.")
	if !wild {
		return pattern == host
	}
	_, rest, ok := strings.Cut(host, ".")
	return ok && rest == parent
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
