package queue

import (
	"fmt"
	"strconv"
	"strings"

	"sealpost/lib/record"
)

// Bits of SizeRecord.QmgrFlags (§4.5).
const (
	// QmgrMixed: among the recipient records there are others, so that the whole
	// file must be read before the first delivery. Setting it is always safe.
	QmgrMixed = 1 << 0
	// QmgrNotifyShift: the NOTIFY values of all recipients, or-ed and shifted.
	QmgrNotifyShift = 1

	qmgrAll = 1<<5 - 1
)

// SizeRecord is the payload of the C record (§4.5).
type SizeRecord struct {
	ContentSize int64 // f1: offset of X minus data offset
	DataOffset  int64 // f2
	Rcpts       int   // f3
	QmgrFlags   int   // f4
	ContentLen  int64 // f5: 0 means f1
	SendOpts    int   // f6
}

const (
	sizeWidth  = 15
	sizeFields = 6
	// SizeLen is the length of the whole record: it is rewritten in place.
	SizeLen = 2 + sizeFields*(sizeWidth+1) - 1
)

// AppendSize appends the 97-byte record.
func AppendSize(b []byte, s SizeRecord) []byte {
	b = append(b, byte(record.Size), SizeLen-2)
	for i, v := range [sizeFields]int64{s.ContentSize, s.DataOffset, int64(s.Rcpts), int64(s.QmgrFlags), s.ContentLen, int64(s.SendOpts)} {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendPadded(b, v)
	}
	return b
}

// appendPadded appends v right-aligned in 15 columns, as in C, W and p records.
func appendPadded(b []byte, v int64) []byte {
	var text [20]byte
	n := strconv.AppendInt(text[:0], v, 10)
	for range sizeWidth - len(n) {
		b = append(b, ' ')
	}
	return append(b, n...)
}

// ParseSize reads the payload of a C record, 3 to 6 fields; the missing ones are
// 0. It checks syntax only: in maildrop all but the last are -1. See Check.
func ParseSize(payload string) (SizeRecord, error) {
	var s SizeRecord
	fields := strings.Fields(payload)
	if len(fields) < 3 || len(fields) > sizeFields {
		return s, fmt.Errorf("%w: invalid size record: %.100q", ErrCorrupt, payload)
	}
	var v [sizeFields]int64
	for i, text := range fields {
		bits := 64
		if i == 2 || i == 3 || i == 5 {
			bits = 32
		}
		var err error
		if v[i], err = strconv.ParseInt(text, 10, bits); err != nil {
			return s, fmt.Errorf("%w: invalid size record: %.100q", ErrCorrupt, payload)
		}
	}
	return SizeRecord{v[0], v[1], int(v[2]), int(v[3]), v[4], int(v[5])}, nil
}

// Check reports what qmgr does not accept: sizes that are not positive, unknown
// flags.
func (s SizeRecord) Check() error {
	if s.ContentSize <= 0 || s.DataOffset <= 0 || s.ContentLen < 0 {
		return fmt.Errorf("%w: invalid size record: %d bytes at %d", ErrCorrupt, s.ContentSize, s.DataOffset)
	}
	if s.QmgrFlags&^qmgrAll != 0 {
		return fmt.Errorf("%w: invalid flags in size record: %d", ErrCorrupt, s.QmgrFlags)
	}
	return nil
}

// Length is the content length that SIZE= and logs show.
func (s SizeRecord) Length() int64 {
	if s.ContentLen > 0 {
		return s.ContentLen
	}
	return s.ContentSize
}
