package tlspolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/confline"
	"sealpost/lib/dns"
	"sealpost/lib/mtasts"
)

// Limits on one table entry.
const (
	maxEntry      = 100_000 // bytes: what a socketmap reply may have
	maxAttributes = 500
)

// entry is a parsed result of a policy table: a level and the attributes that
// override parameters. Fields that were not given are empty.
type entry struct {
	level        Level
	match        []string
	protocols    string
	ciphers      string
	exclude      string
	hasExclude   bool // "exclude=" with nothing behind it excludes nothing
	trustAnchors []string
	serverName   string
	reuse, rpk   string // "", "yes", "no"
	sts          *mtasts.Attributes
	ignored      []string // attributes at level none, which has none
}

var (
	errLevel      = errors.New("invalid security level")
	errAttribute  = errors.New("invalid attribute")
	errAtLevel    = errors.New("attribute is invalid at this security level")
	errEmptyValue = errors.New("attribute has no value")
	errRepeated   = errors.New("attribute is specified multiple times")
	errValue      = errors.New("attribute has an invalid value")
	errTooLong    = errors.New("result of the table is too long")
)

// parseEntry reads the result of a policy table: a level, then name=value
// attributes between white space or commas. An attribute whose value has blanks is
// written {name = value}.
func parseEntry(text string) (entry, error) {
	if len(text) > maxEntry {
		return entry{}, errTooLong
	}
	words := confline.Split(text, confline.Comma)
	if len(words) == 0 {
		return entry{}, fmt.Errorf("%w: %q", errLevel, text)
	}
	if len(words) > maxAttributes {
		return entry{}, errTooLong
	}
	level, ok := ParseLevel(words[0])
	if !ok {
		return entry{}, fmt.Errorf("%w: %q", errLevel, words[0])
	}
	e := entry{level: level}
	for _, word := range words[1:] {
		if level == None {
			e.ignored = append(e.ignored, word)
			continue
		}
		if inner, braced := confline.Unbrace(word); braced {
			word = inner
		}
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return entry{}, fmt.Errorf("%w: %q: want name=value", errAttribute, word)
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if err := e.set(name, value); err != nil {
			return entry{}, err
		}
	}
	return e, nil
}

// set takes one attribute.
func (e *entry) set(name, value string) error {
	wrong := func(err error) error { return fmt.Errorf("%w: %s=%s", err, name, value) }
	if mtasts.Is(name) {
		if e.sts == nil {
			e.sts = new(mtasts.Attributes)
		}
		return e.sts.Set(name, value)
	}
	if value == "" && name != "exclude" {
		return wrong(errEmptyValue)
	}
	switch name {
	case "match":
		return e.setMatch(value, wrong)
	case "protocols":
		return once(&e.protocols, value, wrong)
	case "ciphers":
		if !slices.Contains([]string{"export", "low", "medium", "high", "null"}, strings.ToLower(value)) {
			return wrong(errValue)
		}
		return once(&e.ciphers, strings.ToLower(value), wrong)
	case "exclude":
		if e.hasExclude {
			return wrong(errRepeated)
		}
		e.exclude, e.hasExclude = value, true
	case "tafile":
		if !e.level.UsesPKIX() {
			return wrong(errAtLevel)
		}
		e.trustAnchors = append(e.trustAnchors, value)
	case "servername":
		if lower := strings.ToLower(value); lower != "hostname" && lower != "nexthop" && !dns.ValidHostname(value) {
			return wrong(errValue)
		}
		return once(&e.serverName, value, wrong)
	case "connection_reuse", "enable_rpk":
		lower := strings.ToLower(value)
		if lower != "yes" && lower != "no" {
			return wrong(errValue)
		}
		if name == "enable_rpk" {
			return once(&e.rpk, lower, wrong)
		}
		return once(&e.reuse, lower, wrong)
	default:
		return wrong(errAttribute)
	}
	return nil
}

func once(field *string, value string, wrong func(error) error) error {
	if *field != "" {
		return wrong(errRepeated)
	}
	*field = value
	return nil
}

// setMatch adds to the list that a certificate is matched against: fingerprints
// between "|", names and strategies between ":".
func (e *entry) setMatch(value string, wrong func(error) error) error {
	separator := ":"
	switch {
	case e.level == Fingerprint:
		separator = "|"
	case !e.level.UsesPKIX():
		return wrong(errAtLevel)
	}
	for _, word := range strings.Split(value, separator) {
		if word = strings.TrimSpace(word); word != "" {
			e.match = append(e.match, word)
		}
	}
	if len(e.match) == 0 {
		return wrong(errEmptyValue)
	}
	return nil
}

// keys are the look-ups for a destination in the policy tables, in order: as
// written and in A-labels (decision 11); for a bare name then its parents.
func keys(nexthop string, ascii func(string) (string, error)) (full, parents []string) {
	full = forms(nexthop, ascii)
	if strings.ContainsAny(nexthop, "[]:/") || nexthop == "" {
		return full, nil
	}
	for rest := nexthop[1:]; ; {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 || dot == len(rest)-1 {
			return full, parents
		}
		parents = append(parents, forms(rest[dot:], ascii)...)
		rest = rest[dot+1:]
	}
}

// forms are a key and its A-label form where that differs. A domain within [ ] or
// before a port is converted alone.
func forms(key string, ascii func(string) (string, error)) []string {
	first, last := 0, len(key)
	if strings.HasPrefix(key, "[") {
		first = 1
	}
	if i := strings.IndexAny(key, "]:"); i >= 0 {
		last = i
	}
	if name, err := ascii(key[first:last]); err == nil && name != key[first:last] {
		return []string{key, key[:first] + name + key[last:]}
	}
	return []string{key}
}
