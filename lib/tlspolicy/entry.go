package tlspolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/confline"
	"sealpost/lib/dns"
	"sealpost/lib/idn"
	"sealpost/lib/mtasts"
	"sealpost/lib/table"
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

// parseEntry reads the result of a policy table: a level, then name=value
// attributes between white space or commas. An attribute whose value has blanks is
// written {name = value}.
func parseEntry(text string) (entry, error) {
	if len(text) > maxEntry {
		return entry{}, errors.New("the result of the table is too long")
	}
	words := confline.Split(text, confline.Comma)
	if len(words) == 0 {
		return entry{}, fmt.Errorf("invalid empty policy")
	}
	if len(words) > maxAttributes {
		return entry{}, errors.New("the result of the table is too long")
	}
	level, ok := ParseLevel(words[0])
	if !ok {
		return entry{}, fmt.Errorf("invalid security level %q", words[0])
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
			return entry{}, fmt.Errorf("malformed attribute/value pair %q: missing '=' after attribute name", word)
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if err := e.set(name, value); err != nil {
			return entry{}, err
		}
	}
	return e, nil
}

// set takes one attribute. The texts of errors are Postfix's.
func (e *entry) set(name, value string) error {
	if mtasts.Is(name) {
		if e.sts == nil {
			e.sts = new(mtasts.Attributes)
		}
		return e.sts.Set(name, value)
	}
	if value == "" && name != "exclude" && slices.Contains(attributes(), name) {
		return fmt.Errorf("attribute %q has empty value", name)
	}
	badValue := func() error { return fmt.Errorf("attribute %q has bad value: %q", name, value) }
	switch name {
	case "match":
		return e.setMatch(value)
	case "protocols":
		return once(&e.protocols, name, value)
	case "ciphers":
		if !slices.Contains([]string{"export", "low", "medium", "high", "null"}, strings.ToLower(value)) {
			return badValue()
		}
		return once(&e.ciphers, name, strings.ToLower(value))
	case "exclude":
		if e.hasExclude {
			return repeated(name)
		}
		e.exclude, e.hasExclude = value, true
	case "tafile":
		if !e.level.UsesPKIX() {
			return e.notHere(name)
		}
		e.trustAnchors = append(e.trustAnchors, value)
	case "servername":
		if lower := strings.ToLower(value); lower != "hostname" && lower != "nexthop" && !dns.ValidHostname(value) {
			return fmt.Errorf("%q specifies an invalid hostname", name+"="+value)
		}
		return once(&e.serverName, name, value)
	case "connection_reuse", "enable_rpk":
		lower := strings.ToLower(value)
		if lower != "yes" && lower != "no" {
			return badValue()
		}
		if name == "enable_rpk" {
			return once(&e.rpk, name, lower)
		}
		return once(&e.reuse, name, lower)
	default:
		return fmt.Errorf("invalid attribute name: %q", name)
	}
	return nil
}

// attributes are the names that set knows, but for those of STS.
func attributes() []string {
	return []string{"match", "protocols", "ciphers", "exclude", "tafile", "servername", "connection_reuse", "enable_rpk"}
}

func (e *entry) notHere(name string) error {
	return fmt.Errorf("attribute %q invalid at security level %q", name, e.level.String())
}

func repeated(name string) error { return fmt.Errorf("attribute %q is specified multiple times", name) }

func once(field *string, name, value string) error {
	if *field != "" {
		return repeated(name)
	}
	*field = value
	return nil
}

// setMatch adds to the list that a certificate is matched against: fingerprints
// between "|", names and strategies between ":".
func (e *entry) setMatch(value string) error {
	separator := ":"
	switch {
	case e.level == Fingerprint:
		separator = "|"
	case !e.level.UsesPKIX():
		return e.notHere("match")
	}
	for _, word := range strings.Split(value, separator) {
		if word = strings.TrimSpace(word); word != "" {
			e.match = append(e.match, word)
		}
	}
	if len(e.match) == 0 {
		return fmt.Errorf("attribute %q has empty value", "match")
	}
	return nil
}

// keys are the look-ups for a destination in the policy tables, in order. Who writes
// a recipient chooses how its domain is spelled, and must not choose the policy with
// it: what IDNA takes for a dot or a letter is one here too, and a dot at the end is
// none.
func keys(nexthop string, ascii func(string) (string, error)) []table.Key {
	name := plain(nexthop, ascii)
	list := table.PolicyKeys(name, func(key string) []string { return forms(key, ascii) })
	if name != nexthop {
		list = append([]table.Key{{Text: nexthop}}, list...)
	}
	return list
}

// plain is a domain as its owner writes it, with "." between labels only.
func plain(nexthop string, ascii func(string) (string, error)) string {
	if strings.ContainsAny(nexthop, "[]:/") {
		return nexthop
	}
	name := nexthop
	if a, err := ascii(nexthop); err == nil && a != nexthop {
		if u, err := idn.ToUnicode(a); err == nil {
			name = u
		}
	}
	return strings.TrimSuffix(name, ".")
}

// forms are a key, its A-label form and its U-label form where they differ: a table
// may have either, whichever the message has (decision 11). A domain within [ ] or
// before a port is converted alone.
func forms(key string, ascii func(string) (string, error)) []string {
	first, last := 0, len(key)
	if strings.HasPrefix(key, "[") {
		first = 1
	}
	if i := strings.IndexAny(key, "]:"); i >= 0 {
		last = i
	}
	list := []string{key}
	for _, convert := range []func(string) (string, error){ascii, idn.ToUnicode} {
		if name, err := convert(key[first:last]); err == nil && !strings.EqualFold(name, key[first:last]) {
			list = append(list, key[:first]+name+key[last:])
		}
	}
	return list
}
