// Package attr is the framing of the attribute lists that daemons exchange
// over Unix sockets (spec: protocols.md §1).
//
// The usual flavour is a sequence of name<NUL>value<NUL> items that ends with
// one more <NUL>:
//
//	list  = *item NUL
//	item  = name NUL value NUL
//	hash  = "{" NUL *item "}" NUL
//
// There is no length prefix; the receiver knows the names and their order.
// Encoder appends lists to a buffer, Decoder reads them: both keep going after
// an error and report the first one at the end of the list, so that a
// protocol's fields can be read or written one per line.
package attr

import (
	"encoding/base64"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Limits on what a Decoder accepts. Postfix has no limit on values (§1.3); ours
// is well above any value a daemon sends.
const (
	MaxName  = 256
	MaxValue = 1 << 20
	MaxHash  = 1024 // entries in a hash (ATTR_HASH_LIMIT)
)

var (
	// ErrMissing: the list ended before a wanted attribute.
	ErrMissing = errors.New("missing attribute")
	// ErrUnexpected: an attribute that was not wanted, in strict mode.
	ErrUnexpected = errors.New("unexpected attribute")
	// ErrMalformed: a value that does not have the form of its type.
	ErrMalformed = errors.New("malformed value")
	// ErrProtocol: the peer speaks another protocol than expected.
	ErrProtocol = errors.New("unexpected protocol")
	// ErrLimit: a name, a value or a hash above its limit.
	ErrLimit = errors.New("attribute exceeds limit")
)

// An Encoder appends attribute lists to a buffer. The zero value is ready.
type Encoder struct{ buf []byte }

// Bytes is what was encoded since the last Reset.
func (e *Encoder) Bytes() []byte { return e.buf }

// Reset empties the buffer and keeps its memory.
func (e *Encoder) Reset() { e.buf = e.buf[:0] }

// Str appends a string attribute. Bytes after a NUL cannot be sent and are cut
// off: a value from outside must not be able to forge the attributes after it.
func (e *Encoder) Str(name, value string) {
	if i := strings.IndexByte(value, 0); i >= 0 {
		value = value[:i]
	}
	e.name(name)
	e.buf = append(e.buf, value...)
	e.buf = append(e.buf, 0)
}

// Int appends a 32-bit number; -1 is sent as 4294967295.
func (e *Encoder) Int(name string, v int) {
	e.name(name)
	e.buf = strconv.AppendUint(e.buf, uint64(uint32(v)), 10)
	e.buf = append(e.buf, 0)
}

// Long appends a 64-bit number; -1 is sent as 18446744073709551615.
func (e *Encoder) Long(name string, v int64) {
	e.name(name)
	e.buf = strconv.AppendUint(e.buf, uint64(v), 10)
	e.buf = append(e.buf, 0)
}

// Bool appends 0 or 1.
func (e *Encoder) Bool(name string, v bool) {
	if v {
		e.Str(name, "1")
	} else {
		e.Str(name, "0")
	}
}

// Data appends bytes as base64.
func (e *Encoder) Data(name string, v []byte) {
	e.name(name)
	e.buf = base64.StdEncoding.AppendEncode(e.buf, v)
	e.buf = append(e.buf, 0)
}

// Hash appends the entries of m, sorted by key, between braces. Keys that the
// framing cannot express (empty, "}", with a NUL) are left out.
func (e *Encoder) Hash(m map[string]string) {
	e.buf = append(e.buf, '{', 0)
	keys := make([]string, 0, len(m))
	for k := range m {
		if k != "" && k != "}" && strings.IndexByte(k, 0) < 0 {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		e.Str(k, m[k])
	}
	e.buf = append(e.buf, '}', 0)
}

// End ends the list.
func (e *Encoder) End() { e.buf = append(e.buf, 0) }

func (e *Encoder) name(name string) {
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, 0)
}

// parseUint takes what Postfix's number parser takes: digits, or a sign and
// digits with the same bits (§1.3 rule 4).
func parseUint(s string, bits int) (uint64, error) {
	if strings.HasPrefix(s, "-") {
		v, err := strconv.ParseInt(s, 10, bits)
		return uint64(v), err
	}
	v, err := strconv.ParseUint(s, 10, bits)
	return v, err
}

func malformed(kind, name, value string) error {
	if len(value) > 100 {
		value = value[:100]
	}
	return fmt.Errorf("%w: %s data while reading attribute %s: %q", ErrMalformed, kind, name, value)
}
