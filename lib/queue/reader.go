package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sealpost/lib/record"
)

// maxPointers bounds how many pointer records a reader follows (§4.5).
const maxPointers = 10000

// window is how much of a file is read at a time.
const window = 64 << 10

var windows = sync.Pool{New: func() any {
	b := make([]byte, window)
	return &b
}}

// Rec is a record with its place in the file.
type Rec struct {
	Type    record.Type
	Payload []byte // valid until the next Read
	Offset  int64  // of the type byte
}

// Reader reads the records of a queue file: it follows pointer records (at most
// 10000), skips padding, and can seek. After the end record it gives io.EOF. It
// reads the file in pieces of 64 KiB, so a small one costs one call.
//
// Errors: io.EOF where the file ends between records, ErrCorrupt for a record
// that is cut off or malformed, the file system's own.
type Reader struct {
	f        io.ReaderAt
	file     *os.File // f, if it is one: read without a second call at its end
	off      int64    // file offset of the next record
	mem      *[]byte  // pooled
	buf      []byte   // bytes of the file at base
	base     int64
	pointers int
	ended    bool
	// Raw: pointer records are not followed (postcat -r).
	Raw bool
}

// NewReader returns a reader that begins at a file offset. Release gives its
// memory back.
func NewReader(f io.ReaderAt, off int64) *Reader {
	r := &Reader{f: f, off: off}
	r.file, _ = f.(*os.File)
	return r
}

// Release returns the reader's buffer for use by others: payloads that were
// returned are no longer valid. The reader may be used again.
func (r *Reader) Release() {
	if r.mem != nil {
		windows.Put(r.mem)
		r.mem = nil
	}
	r.buf = nil
}

// Offset is that of the next record.
func (r *Reader) Offset() int64 { return r.off }

// SeekTo continues at a file offset.
func (r *Reader) SeekTo(off int64) { r.off, r.ended = off, false }

// Read returns the next record.
func (r *Reader) Read() (Rec, error) {
	for {
		if r.ended {
			return Rec{}, io.EOF
		}
		rec, err := r.next()
		if err != nil {
			return Rec{}, err
		}
		switch rec.Type {
		case record.Pad:
		case record.Pointer:
			if r.Raw {
				continue
			}
			if err := r.follow(rec); err != nil {
				return Rec{}, err
			}
		case record.End:
			r.ended = true
			return rec, nil
		default:
			return rec, nil
		}
	}
}

func (r *Reader) follow(rec Rec) error {
	to, err := strconv.ParseInt(strings.TrimSpace(string(rec.Payload)), 10, 64)
	if err != nil || to < 0 {
		return fmt.Errorf("%w: pointer record %.40q at %d", ErrCorrupt, rec.Payload, rec.Offset)
	}
	if to == 0 {
		return nil
	}
	if r.pointers++; r.pointers > maxPointers {
		return fmt.Errorf("%w: over %d pointer records", ErrCorrupt, maxPointers)
	}
	r.off = to
	return nil
}

// next reads one record of any type.
func (r *Reader) next() (Rec, error) {
	// The fast path: the whole record is in memory.
	if i := r.off - r.base; i >= 0 && i < int64(len(r.buf)) {
		if n, head, ok := length(r.buf[i:]); ok && head+n <= len(r.buf)-int(i) {
			return r.take(int(i), head, n)
		}
	}
	if err := r.fill(record.HeaderLen(record.MaxLength)); err != nil {
		return Rec{}, err
	}
	i := int(r.off - r.base)
	if i >= len(r.buf) {
		return Rec{}, io.EOF
	}
	n, head, ok := length(r.buf[i:])
	switch {
	case r.buf[i] == 0:
		return Rec{}, fmt.Errorf("%w: record type 0 at %d", ErrCorrupt, r.off)
	case !ok && len(r.buf)-i >= record.HeaderLen(record.MaxLength):
		return Rec{}, fmt.Errorf("%w: record length over 4 bytes at %d", ErrCorrupt, r.off)
	case !ok:
		return Rec{}, fmt.Errorf("%w: cut off in the record at %d", ErrCorrupt, r.off)
	}
	if err := r.fill(head + n); err != nil {
		return Rec{}, err
	}
	i = int(r.off - r.base)
	if len(r.buf)-i < head+n {
		return Rec{}, fmt.Errorf("%w: cut off in the record at %d", ErrCorrupt, r.off)
	}
	return r.take(i, head, n)
}

func (r *Reader) take(i, head, n int) (Rec, error) {
	rec := Rec{Type: record.Type(r.buf[i]), Payload: r.buf[i+head : i+head+n : i+head+n], Offset: r.off}
	if rec.Type == 0 {
		return Rec{}, fmt.Errorf("%w: record type 0 at %d", ErrCorrupt, r.off)
	}
	r.off += int64(head + n)
	return rec, nil
}

// length decodes the length of the record that b begins with: n bytes after a
// header of head bytes. ok is false when b is too short, or the header too long.
func length(b []byte) (n, head int, ok bool) {
	for i := 1; i < len(b) && i <= 4; i++ {
		n |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i]&0x80 == 0 {
			return n, i + 1, true
		}
	}
	return 0, 0, false
}

// fill makes the buffer begin at or before r.off and hold at least want bytes
// from there, fewer only at the end of the file.
func (r *Reader) fill(want int) error {
	if i := r.off - r.base; i >= 0 && i <= int64(len(r.buf)) && len(r.buf)-int(i) >= want {
		return nil
	}
	if r.mem == nil {
		r.mem = windows.Get().(*[]byte)
	}
	// Memory grows with what the file has, not with what a record claims.
	dst := (*r.mem)[:0]
	if i := r.off - r.base; i >= 0 && i < int64(len(r.buf)) {
		dst = append(dst, r.buf[i:]...)
	}
	r.base = r.off
	r.buf = dst
	for len(r.buf) < want {
		have := len(r.buf)
		space := cap(dst) - have
		if space == 0 {
			grown := make([]byte, have, 2*cap(dst))
			copy(grown, r.buf)
			dst, r.buf, space = grown, grown, cap(grown)-have
		}
		n, err := r.pread(r.buf[have:have+space], r.base+int64(have))
		r.buf = r.buf[:have+n]
		if err == io.EOF || err == nil && n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) pread(b []byte, off int64) (int, error) {
	if r.file == nil {
		n, err := r.f.ReadAt(b, off)
		if err == io.EOF && n > 0 {
			err = nil
		}
		return n, err
	}
	for {
		n, err := unix.Pread(int(r.file.Fd()), b, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "read", Path: r.file.Name(), Err: err}
		}
		return n, nil
	}
}

// Content reads the content region of a queue file as message lines.
type Content struct{ r Reader }

// NewContent returns a reader of the content that begins at dataOffset.
func NewContent(f io.ReaderAt, dataOffset int64) *Content {
	c := &Content{r: Reader{f: f, off: dataOffset}}
	c.r.file, _ = f.(*os.File)
	return c
}

// Next gives each line without line end; long lines come in pieces (more is
// true: the line goes on). text is valid until the next call; nothing is copied.
// After the last line it returns io.EOF; a file whose content does not end as it
// should gives ErrCorrupt: what was read then is not the whole message.
func (c *Content) Next() (text []byte, more bool, err error) {
	rec, err := c.r.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: no end of the content", ErrCorrupt)
		}
		return nil, false, err
	}
	switch rec.Type {
	case record.Norm:
		return rec.Payload, false, nil
	case record.Cont:
		return rec.Payload, true, nil
	case record.Extracted:
		c.r.off = rec.Offset // again io.EOF
		return nil, false, io.EOF
	}
	return nil, false, fmt.Errorf("%w: record type %q in the content at %d", ErrCorrupt, rec.Type, rec.Offset)
}

// Offset is the file offset of the next record.
func (c *Content) Offset() int64 { return c.r.off }

// Release returns the buffer for use by others.
func (c *Content) Release() { c.r.Release() }

// CheckContent reads the content that begins at dataOffset to its end: ErrCorrupt
// when it does not have one.
func CheckContent(f io.ReaderAt, dataOffset int64) error {
	c := NewContent(f, dataOffset)
	defer c.Release()
	for {
		if _, _, err := c.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
