// Package xforward is the form of the commands XFORWARD and XCLIENT, for both ends.
// With XFORWARD a mail system passes on who a message came from, past a filter, for
// the log of the system behind it; with XCLIENT a trusted client takes another one's
// place:
//
//	command = ("XFORWARD" / "XCLIENT") 1*(SP name "=" xtext)
//
// Names are in any case. A value has 1 to 255 bytes as sent; [UNAVAILABLE] says that
// it is not known. Values of old senders are not in xtext: what cannot be decoded is
// taken as it is (Postfix's XFORWARD_README and XCLIENT_README; protocols.md §5.1).
package xforward

import (
	"errors"
	"strings"
	"unicode/utf8"

	"sealpost/lib/dsn"
)

// Unavailable and TempUnavailable are the values of what is not known, and of a name
// that could not be looked up now.
const (
	Unavailable     = "[UNAVAILABLE]"
	TempUnavailable = "[TEMPUNAVAIL]"
)

var (
	// ErrSyntax: something else than name=value, or nothing behind the "=".
	ErrSyntax = errors.New("attribute=value expected")
	// ErrTooLong: a value of more than 255 bytes.
	ErrTooLong = errors.New("attribute value too long")
)

const (
	maxValue = 255 // bytes of a value as sent
	// maxPayload is what fits into a command of 512 bytes behind its verb and with
	// its line ending.
	maxPayload = 512 - len("250 XFORWARD\r\n")
)

// Attr is one attribute.
type Attr struct {
	Name  string // as sent
	Value string // decoded
}

// Is reports whether the attribute has a name, which is given in upper case.
func (a *Attr) Is(name string) bool { return strings.EqualFold(a.Name, name) }

// Unknown reports whether the value says that it is not known.
func (a *Attr) Unknown() bool { return strings.EqualFold(a.Value, Unavailable) }

// Parse takes the argument of a command apart. Values may have any byte but white
// space as sent, and any byte at all once decoded.
func Parse(arg string) ([]Attr, error) {
	var list []Attr
	for _, word := range strings.FieldsFunc(arg, func(r rune) bool { return r == ' ' || r == '\t' }) {
		name, value, _ := strings.Cut(word, "=")
		switch {
		case value == "":
			return nil, ErrSyntax
		case len(value) > maxValue:
			return nil, ErrTooLong
		}
		if decoded, ok := dsn.DecodeXtext(value); ok {
			value = decoded
		}
		list = append(list, Attr{Name: name, Value: value})
	}
	return list, nil
}

// Neuter is text for a log line and a header, without what means something there:
// control characters, blanks and <>()\";@ become "?".
func Neuter(text string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == utf8.RuneError || strings.ContainsRune(`<>()\";@`, r) {
			return '?'
		}
		return r
	}, text)
}

// Set is a set of attributes of XFORWARD, as a server announces them.
type Set uint8

// The attributes of XFORWARD.
const (
	Name Set = 1 << iota
	Addr
	Port
	Helo
	Ident
	Proto
	Source
)

// Client are the attributes that say who the client was. Where one of them is given,
// the others are not taken from elsewhere.
const Client = Name | Addr | Port | Helo | Proto

var names = [...]string{"NAME", "ADDR", "PORT", "HELO", "IDENT", "PROTO", "SOURCE"}

// ParseSet reads what follows XFORWARD in the reply to EHLO. Names that are not known
// here are passed over.
func ParseSet(params string) Set {
	var s Set
	for _, word := range strings.Fields(params) {
		s |= Find(word)
	}
	return s
}

// Find is the attribute of a name in any case, 0 for none.
func Find(word string) Set {
	for i, name := range names {
		if strings.EqualFold(word, name) {
			return 1 << i
		}
	}
	return 0
}

// Values are what is passed on about a message's origin. Empty and "unknown" mean
// not known.
type Values struct {
	Name, Addr, Port, Helo string // Addr without brackets or prefix
	Ident                  string // queue id
	Proto                  string
	Local                  bool // the message is from this system
}

func (v *Values) get(a Set) string {
	switch a {
	case Name:
		return v.Name
	case Addr:
		if strings.Contains(v.Addr, ":") {
			return "IPv6:" + v.Addr
		}
		return v.Addr
	case Port:
		return v.Port
	case Helo:
		return v.Helo
	case Ident:
		return v.Ident
	case Proto:
		return v.Proto
	case Source:
		if v.Local {
			return "LOCAL"
		}
		return "REMOTE"
	}
	panic("xforward: not one attribute")
}

func known(value string) bool { return value != "" && value != "unknown" }

// Commands are the XFORWARD commands, without line ending, for the attributes of
// order that the server offered. Each holds as many as fit. With all, those that are
// not known are sent, too, as [UNAVAILABLE].
func (v *Values) Commands(offered Set, all bool, order ...Set) []string {
	var list []string
	b := []byte(nil)
	for _, a := range order {
		value := v.get(a)
		if offered&a == 0 || !all && !known(value) {
			continue
		}
		at := len(b)
		b = append(b, ' ')
		b = append(b, a.String()...)
		b = append(b, '=')
		if known(value) {
			b = appendValue(b, value)
		} else {
			b = append(b, Unavailable...)
		}
		if len(b) > maxPayload {
			list = append(list, "XFORWARD"+string(b[:at]))
			b = append(b[:0], b[at:]...)
		}
	}
	if len(b) > 0 {
		list = append(list, "XFORWARD"+string(b))
	}
	return list
}

// String is the name of one attribute.
func (s Set) String() string {
	for i, name := range names {
		if s == 1<<i {
			return name
		}
	}
	panic("xforward: not one attribute")
}

// appendValue appends a value in xtext, as much of it as a server takes: it is for
// its log, and mail must not fail over it.
func appendValue(b []byte, value string) []byte {
	start := len(b)
	b = dsn.AppendXtext(b, value)
	if len(b)-start <= maxValue {
		return b
	}
	end := start + maxValue
	for i := end - 2; i < end; i++ {
		if b[i] == '+' { // do not cut +XX apart
			return b[:i]
		}
	}
	return b[:end]
}
