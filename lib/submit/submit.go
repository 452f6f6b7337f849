// Package submit checks the record stream of a local submitter, who may be any
// user of the machine (protocols.md §2.20, §4.8). The same rules hold for the
// socket that any user may open and for the setgid command that stands in for it:
//
//	envelope   records of types C F S R V A i n, ended by M
//	content    records of types L N, ended by X
//	extracted  records of types A R, ended by E
//
// A sender is required, and at least one recipient in the envelope or among the
// extracted records. A client's own time stamp is dropped, and so are attributes
// that a submitter has no business to set. Envelope payloads, those of M, X and E too,
// have no NUL, CR or LF: they must not be able to end a line or a string anywhere later.
package submit

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sealpost/lib/dsn"
	"sealpost/lib/record"
)

// Limits on what one submission may announce.
const (
	// MaxRecord is the longest record taken from a submitter, in bytes
	// (line_length_limit).
	MaxRecord = 2048
	// MaxEnvelope bounds the number of envelope and extracted records.
	MaxEnvelope = 1_000_000
)

var (
	// ErrType: a record type that has no place here. The submission is refused.
	ErrType = errors.New("unexpected record type")
	// ErrPayload: a control character in the envelope.
	ErrPayload = errors.New("NUL, CR or LF in an envelope record")
	// ErrIncomplete: no sender, or no recipient.
	ErrIncomplete = errors.New("incomplete envelope")
	// ErrLimit: more records than anyone needs.
	ErrLimit = errors.New("too many envelope records")
)

type segment int

const (
	envelope segment = iota
	content
	extracted
	done
)

// A Checker checks one submission, record by record. The zero value is ready.
type Checker struct {
	seg     segment
	sender  bool
	rcpt    bool
	records int
}

// Done reports whether the end record was accepted.
func (c *Checker) Done() bool { return c.seg == done }

// Accept decides about the next record: keep it, drop it with a warning for the
// log (note), or refuse the submission.
func (c *Checker) Accept(t record.Type, payload []byte) (keep bool, note string, err error) {
	types := [...]string{record.PostdropEnvelope + "T", record.PostdropContent, record.PostdropExtracted, ""}[c.seg]
	if strings.IndexByte(types, byte(t)) < 0 {
		return false, "", fmt.Errorf("%w: %d", ErrType, t)
	}
	marker := byte(t) == types[0]
	if c.seg == content && !marker {
		return true, "", nil
	}
	if bytes.ContainsAny(payload, "\x00\r\n") {
		return false, "", ErrPayload
	}
	if marker {
		return true, "", c.next()
	}
	if c.records++; c.records > MaxEnvelope {
		return false, "", ErrLimit
	}
	switch t {
	case record.Time: // ours counts
		return false, "", nil
	case record.From:
		c.sender = true
	case record.Rcpt:
		c.rcpt = true
	case record.Attr:
		if !allowed(string(payload)) {
			return false, fmt.Sprintf("ignoring attribute %.100q", payload), nil
		}
	}
	return true, "", nil
}

// next moves to the following segment.
func (c *Checker) next() error {
	c.seg++
	switch {
	case c.seg == content && !c.sender:
		return fmt.Errorf("%w: no sender", ErrIncomplete)
	case c.seg == done && !c.rcpt:
		return fmt.Errorf("%w: no recipient", ErrIncomplete)
	}
	return nil
}

// allowed reports whether a submitter may set an attribute to this value.
func allowed(attr string) bool {
	name, value, ok := record.SplitAttr(attr)
	if !ok {
		return false
	}
	number := func() int {
		n, err := strconv.Atoi(value)
		if err != nil {
			return -1
		}
		return n
	}
	switch name {
	case "trace_flags":
		return value == "512" || value == "1024"
	case "encoding":
		return value == "" || value == "7bit" || value == "8bit"
	case "rewrite_context":
		return value == "local" || value == "remote"
	case "notify_flags":
		n := number()
		return n >= 0 && dsn.Notify(n).Valid()
	case "ret_flags":
		n := number()
		return n >= 0 && dsn.Ret(n).Valid()
	case "envelope_id", "dsn_orig_rcpt", "create_time":
		return value != ""
	}
	return false
}
