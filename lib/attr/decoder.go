package attr

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
)

// Mode says how a Decoder treats what the receiver did not ask for (§1.3).
type Mode uint8

const (
	// Lenient skips attributes that are not wanted.
	Lenient Mode = iota
	// Strict refuses them (Postfix: ATTR_FLAG_STRICT).
	Strict
)

// A Decoder reads attribute lists from a stream. The wanted attributes are read
// in order with Str, Int and so on, then End checks the list as a whole and
// returns the first error. After an error every read returns the zero value.
//
// A list that did not begin because the peer closed the connection gives io.EOF
// from End, unwrapped; a list that was cut off gives io.ErrUnexpectedEOF.
type Decoder struct {
	r    *bufio.Reader
	mode Mode
	err  error
	some bool // a byte of the list was read
	done bool // the end byte was read
	buf  []byte
}

// NewDecoder returns a decoder of lists from r.
func NewDecoder(r *bufio.Reader, mode Mode) *Decoder {
	return &Decoder{r: r, mode: mode}
}

// SetMode changes the mode for what is read from now on.
func (d *Decoder) SetMode(m Mode) { d.mode = m }

// Err is the first error in the current list.
func (d *Decoder) Err() error { return d.err }

// Str reads a string attribute.
func (d *Decoder) Str(name string) string { return d.value(name) }

// Int reads a 32-bit number; 4294967295 is -1.
func (d *Decoder) Int(name string) int {
	s := d.value(name)
	if d.err != nil {
		return 0
	}
	v, err := parseUint(s, 32)
	if err != nil {
		d.fail(malformed("numerical", name, s))
		return 0
	}
	return int(int32(uint32(v)))
}

// Long reads a 64-bit number.
func (d *Decoder) Long(name string) int64 {
	s := d.value(name)
	if d.err != nil {
		return 0
	}
	v, err := parseUint(s, 64)
	if err != nil {
		d.fail(malformed("numerical", name, s))
		return 0
	}
	return int64(v)
}

// Bool reads 0 or 1.
func (d *Decoder) Bool(name string) bool {
	s := d.value(name)
	if d.err == nil && s != "0" && s != "1" {
		d.fail(malformed("boolean", name, s))
	}
	return s == "1"
}

// Data reads base64.
func (d *Decoder) Data(name string) []byte {
	s := d.value(name)
	if d.err != nil {
		return nil
	}
	v, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		d.fail(malformed("base64", name, s))
	}
	return v
}

// Const reads a string attribute that must have the given value.
func (d *Decoder) Const(name, want string) {
	if got := d.value(name); d.err == nil && got != want {
		d.fail(fmt.Errorf("%w: %s %.100q (expected: %q)", ErrProtocol, name, got, want))
	}
}

// Hash reads the entries between braces. The first of equal keys is kept.
func (d *Decoder) Hash() map[string]string {
	m := make(map[string]string)
	if name := d.name(); d.err != nil || string(name) != "{" {
		if d.err == nil {
			d.fail(fmt.Errorf("%w: %.100q where a hash was expected", ErrUnexpected, name))
		}
		return nil
	}
	for d.err == nil {
		k := d.key()
		if k == "}" || d.err != nil {
			break
		}
		if len(m) >= MaxHash {
			d.fail(fmt.Errorf("%w: over %d entries in a hash", ErrLimit, MaxHash))
			break
		}
		v := d.text(MaxValue)
		if _, dup := m[k]; !dup {
			m[k] = v
		}
	}
	return m
}

// End reads to the end byte and makes the decoder ready for the next list.
func (d *Decoder) End() error {
	for d.err == nil && !d.done {
		name := d.name()
		if d.err != nil || d.done {
			break
		}
		if d.mode == Strict {
			d.fail(fmt.Errorf("%w: %.100q at the end of the list", ErrUnexpected, name))
			break
		}
		d.skip(name)
	}
	err := d.err
	d.err, d.some, d.done = nil, false, false
	return err
}

// More reports whether another list follows in a list of lists: one byte is
// looked at, and consumed when it is the end byte (attr_scan_more0).
func (d *Decoder) More() (bool, error) {
	b, err := d.r.Peek(1)
	if err != nil {
		return false, err
	}
	if b[0] != 0 {
		return true, nil
	}
	_, err = d.r.Discard(1)
	return false, err
}

// MoreItems reports whether the current list has another attribute; the end
// byte, if it is next, is consumed and the list is then at its end.
func (d *Decoder) MoreItems() bool {
	if d.err != nil || d.done {
		return false
	}
	more, err := d.More()
	if err != nil {
		d.fail(eof(err, d.some))
		return false
	}
	d.some = true
	d.done = !more
	return more
}

func (d *Decoder) value(want string) string {
	for d.err == nil {
		if d.done {
			d.fail(fmt.Errorf("%w %q", ErrMissing, want))
			break
		}
		name := d.name()
		switch {
		case d.err != nil:
		case d.done:
		case string(name) == want:
			return d.text(MaxValue)
		case d.mode == Strict:
			d.fail(fmt.Errorf("%w %.100q (expecting: %q)", ErrUnexpected, name, want))
		default:
			d.skip(name)
		}
	}
	return ""
}

func (d *Decoder) skip(name []byte) {
	if string(name) != "{" {
		d.bytes(MaxValue)
		return
	}
	for d.err == nil {
		if k := d.key(); k == "}" {
			return
		}
		d.bytes(MaxValue)
	}
}

// key reads a name within braces, where the end byte has no place.
func (d *Decoder) key() string {
	s := d.text(MaxName)
	if d.err == nil && s == "" {
		d.fail(fmt.Errorf("%w: empty name in a hash", ErrMalformed))
	}
	return s
}

// name reads an attribute name, valid until the next read; the end byte sets
// done and gives an empty one.
func (d *Decoder) name() []byte {
	b := d.bytes(MaxName)
	if d.err == nil && len(b) == 0 {
		d.done = true
	}
	return b
}

func (d *Decoder) text(limit int) string { return string(d.bytes(limit)) }

// bytes reads to the next NUL.
func (d *Decoder) bytes(limit int) []byte {
	if d.err != nil {
		return nil
	}
	d.buf = d.buf[:0]
	for {
		part, err := d.r.ReadSlice(0)
		d.some = d.some || len(part) > 0
		if err == nil && len(d.buf) == 0 {
			if len(part)-1 > limit {
				d.fail(fmt.Errorf("%w: over %d bytes", ErrLimit, limit))
				return nil
			}
			return part[:len(part)-1]
		}
		d.buf = append(d.buf, part...)
		if len(d.buf)-1 > limit {
			d.fail(fmt.Errorf("%w: over %d bytes", ErrLimit, limit))
			return nil
		}
		switch err {
		case nil:
			return d.buf[:len(d.buf)-1]
		case bufio.ErrBufferFull:
		default:
			d.fail(eof(err, d.some))
			return nil
		}
	}
}

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func eof(err error, some bool) error {
	if err == io.EOF && some {
		return io.ErrUnexpectedEOF
	}
	return err
}
