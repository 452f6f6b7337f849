// Package record reads and writes the typed records that make up queue files,
// maildrop files and the streams between daemons (spec: protocols.md §4.4).
//
//	record = type length payload
//	type   = 1 byte, not 0
//	length = 1 to 4 bytes, 7 bits each, least significant group first,
//	         high bit = another length byte follows
//
// The reader here is for streams: it takes records as they come. Package queue
// follows pointer records in files.
package record

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Type is the first byte of a record (protocols.md §4.5).
type Type byte

const (
	Size        Type = 'C' // sizes, counts and options; first record of a queue file
	Time        Type = 'T' // arrival time "sec usec"
	CreateTime  Type = 'c' // pseudo record: attribute create_time
	FullName    Type = 'F' // full name of a local sender
	Inspector   Type = 'I' // not used
	Filter      Type = 'L' // envelope: content filter transport:nexthop
	From        Type = 'S' // envelope sender, internal form
	Done        Type = 'D' // recipient, delivered (was Rcpt)
	Rcpt        Type = 'R' // recipient, internal form
	OrigRcpt    Type = 'O' // recipient before aliasing
	CancelRcpt  Type = '/' // recipient deleted by a milter
	WarnTime    Type = 'W' // time of the delay notice
	Attr        Type = 'A' // name=value
	Killed      Type = 'K' // neutralised in place (was WarnTime or Attr)
	Redirect    Type = '>' // redirect address
	Flags       Type = 'f' // client to cleanup: HOLD, DISCARD
	Delay       Type = 'd' // client to cleanup, not used
	VERP        Type = 'V' // VERP delimiters
	Message     Type = 'M' // start of the content
	Cont        Type = 'L' // content: text, line goes on in the next record
	Norm        Type = 'N' // content: text that ends a line
	Pad         Type = 'w' // padding, skipped
	Extracted   Type = 'X' // start of the records extracted from the content
	ReturnRcpt  Type = 'r' // Return-Receipt-To
	ErrorsTo    Type = 'e' // Errors-To
	Priority    Type = 'P' // precedence
	Pointer     Type = 'p' // next record is at this file offset; 0: goes on here
	DSNRet      Type = '<' // pseudo record: attribute ret_flags
	DSNEnvID    Type = 'i' // pseudo record: attribute envelope_id
	DSNOrigRcpt Type = 'o' // pseudo record: attribute dsn_orig_rcpt
	DSNNotify   Type = 'n' // pseudo record: attribute notify_flags
	Milters     Type = 'm' // client to cleanup: milter count
	End         Type = 'E' // end of the file
)

// Types that a reader accepts in each segment; the first ends it (protocols.md §4.5).
const (
	EnvelopeTypes  = "MCTcFILSDRO/WVA>K<ion"
	ContentTypes   = "XLNw"
	ExtractedTypes = "EDRO/PreAFIL>Kon"

	// PostdropEnvelope, PostdropContent and PostdropExtracted are what an
	// unprivileged submitter may send (protocols.md §4.8).
	PostdropEnvelope  = "MCFSRVAin"
	PostdropContent   = "XLN"
	PostdropExtracted = "EAR"
)

// MaxLength is the largest payload that the framing can express: 28 bits.
const MaxLength = 1<<28 - 1

var (
	// ErrFraming: a record that no writer produces; the stream cannot be read on.
	ErrFraming = errors.New("malformed record")
	// ErrTooLong: a payload above the reader's limit.
	ErrTooLong = errors.New("record exceeds the length limit")
)

// Append appends one record to b. A payload above MaxLength is a programming
// error and panics.
func Append[T string | []byte](b []byte, t Type, payload T) []byte {
	n := len(payload)
	if n > MaxLength {
		panic("record: payload of " + strconv.Itoa(n) + " bytes")
	}
	b = append(b, byte(t))
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	b = append(b, byte(n))
	return append(b, payload...)
}

// AppendAttr appends an attribute record name=value.
func AppendAttr(b []byte, name, value string) []byte {
	n := len(name) + 1 + len(value)
	b = appendHeader(b, Attr, n)
	b = append(b, name...)
	b = append(b, '=')
	return append(b, value...)
}

func appendHeader(b []byte, t Type, n int) []byte {
	b = append(b, byte(t))
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// AppendPad appends a record whose total size is width bytes, at least 3: the
// text "0" right-aligned with blanks (protocols.md §4.4).
func AppendPad(b []byte, t Type, width int) []byte {
	n := max(width-2, 1)
	b = appendHeader(b, t, n)
	for range n - 1 {
		b = append(b, ' ')
	}
	return append(b, '0')
}

// HeaderLen is the number of bytes that precede a payload of n bytes.
func HeaderLen(n int) int {
	h := 2
	for n >= 0x80 {
		h++
		n >>= 7
	}
	return h
}

// A Reader reads records from a stream.
type Reader struct {
	r     *bufio.Reader
	limit int
	buf   []byte
	off   int64
}

// NewReader returns a reader that refuses payloads above limit bytes;
// limit 0 means MaxLength.
func NewReader(r *bufio.Reader, limit int) *Reader {
	if limit <= 0 {
		limit = MaxLength
	}
	return &Reader{r: r, limit: limit}
}

// Reset makes the reader read from r, keeping its buffer and limit, with
// Offset counting from off.
func (r *Reader) Reset(br *bufio.Reader, off int64) { r.r, r.off = br, off }

// Offset is the number of bytes consumed so far: the offset of the next record.
func (r *Reader) Offset() int64 { return r.off }

// Read returns the next record. The payload is valid until the next call.
// io.EOF means the stream ended between records, io.ErrUnexpectedEOF within one.
func (r *Reader) Read() (Type, []byte, error) {
	t, err := r.r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	if t == 0 {
		return 0, nil, fmt.Errorf("%w: type 0", ErrFraming)
	}
	n, used, err := r.length()
	if err != nil {
		return 0, nil, noEOF(err)
	}
	if n > r.limit {
		return 0, nil, fmt.Errorf("%w: type %q, %d bytes, limit %d", ErrTooLong, t, n, r.limit)
	}
	if err := r.fill(n); err != nil {
		return 0, nil, noEOF(err)
	}
	r.off += int64(1 + used + n)
	return Type(t), r.buf, nil
}

func (r *Reader) length() (n, used int, err error) {
	for shift := 0; ; shift += 7 {
		if shift >= 28 {
			return 0, 0, fmt.Errorf("%w: length over 4 bytes", ErrFraming)
		}
		c, err := r.r.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		used++
		n |= int(c&0x7f) << shift
		if c&0x80 == 0 {
			return n, used, nil
		}
	}
}

// chunk bounds what a length that was announced, but not sent, can allocate.
const chunk = 64 << 10

func (r *Reader) fill(n int) error {
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		want := min(n-len(r.buf), chunk)
		have := len(r.buf)
		if cap(r.buf) < have+want {
			grown := make([]byte, have, max(2*cap(r.buf), have+want))
			copy(grown, r.buf)
			r.buf = grown
		}
		r.buf = r.buf[:have+want]
		if _, err := io.ReadFull(r.r, r.buf[have:]); err != nil {
			return err
		}
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// SplitAttr splits the payload of an attribute record; ok is false when there
// is no "=" or no name.
func SplitAttr(payload string) (name, value string, ok bool) {
	for i := range len(payload) {
		if payload[i] == '=' {
			return payload[:i], payload[i+1:], i > 0
		}
	}
	return "", "", false
}

// AttrType maps an attribute name to the pseudo record type that readers treat
// it as, and back (protocols.md §4.5). Other names give 0.
func AttrType(name string) Type {
	switch name {
	case "dsn_orig_rcpt":
		return DSNOrigRcpt
	case "notify_flags":
		return DSNNotify
	case "envelope_id":
		return DSNEnvID
	case "ret_flags":
		return DSNRet
	case "create_time":
		return CreateTime
	}
	return 0
}
