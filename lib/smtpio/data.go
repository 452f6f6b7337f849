package smtpio

import (
	"bytes"
	"io"
)

// EndOfData says what ends the content after DATA.
type EndOfData uint8

const (
	// StandardEnd: only CR LF "." CR LF ends the content.
	StandardEnd EndOfData = iota
	// AnyEnd: a line of one dot ends the content whatever ended that line and
	// the one before it. This lets messages be smuggled in; it is here for
	// clients that are named in smtpd_forbid_bare_newline_exclusions.
	AnyEnd
)

// lineStart is where in the content the next byte stands.
type lineStart uint8

const (
	afterCRLF lineStart = iota // at a line's start, after CR LF or at the start of the content
	afterLF                    // at a line's start, after a bare LF
	inLine                     // within a line of which a part was handed out
)

// DataReader reads the content of a message after DATA: it takes lines apart,
// removes dot-stuffing and knows where the content ends (RFC 5321 §4.5.2).
//
// It is a machine of the three states lineStart: whether a dot at a line's start
// is stuffing or the end depends on what ended the line before it and what ends
// this one. With StandardEnd a line of one dot that has a bare LF on either side
// is left out: what one server takes for the end of a message and another for
// text neither separates two messages here nor goes on to the next server.
type DataReader struct {
	c     *Conn
	end   EndOfData
	limit int
	state lineStart
	done  bool
	// BareLF reports that a line ended in a bare LF.
	BareLF bool
}

// Data starts to read a message's content. Lines above limit bytes come in
// pieces; limit is at most 16 KiB and at least 1.
func (c *Conn) Data(end EndOfData, limit int) DataReader {
	return DataReader{c: c, end: end, limit: max(1, min(limit, bufferSize/2))}
}

// Next returns the next line without its ending, or a piece of a longer line,
// with more set. The text is valid until the next call. io.EOF means that all of
// the content was read; a connection that ends before gives io.ErrUnexpectedEOF.
func (d *DataReader) Next() (text []byte, more bool, err error) {
	for !d.done {
		line, more, err := d.c.piece(d.limit)
		if err != nil {
			return nil, false, unexpected(err)
		}
		before := d.state
		d.state = d.after(line, more)
		text = line.Text
		if before == inLine || len(text) == 0 || text[0] != '.' {
			return text, more, nil
		}
		if more || !d.alone(text) {
			return text[1:], more, nil
		}
		d.done = d.end == AnyEnd || before == afterCRLF && d.state == afterCRLF
	}
	return nil, false, io.EOF
}

// after is the state after a line or a piece.
func (d *DataReader) after(line Line, more bool) lineStart {
	switch {
	case more:
		return inLine
	case line.BareLF:
		d.BareLF = true
		return afterLF
	}
	return afterCRLF
}

// alone reports whether a line that begins with a dot is only that. Where any
// ending of a line is good enough, so are several CRs.
func (d *DataReader) alone(text []byte) bool {
	if d.end == AnyEnd {
		text = bytes.TrimRight(text, "\r")
	}
	return len(text) == 1
}

// unexpected makes an end of input an error: the content is not complete.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// piece returns the next line, or limit bytes of a longer one with more set.
func (c *Conn) piece(limit int) (line Line, more bool, err error) {
	seen := 0
	for {
		if c.end > c.start {
			b := c.in[c.start:c.end]
			if i := bytes.IndexByte(b[seen:min(len(b), limit+2)], '\n'); i >= 0 {
				n := seen + i
				end := n
				if n > 0 && b[n-1] == '\r' {
					end--
				}
				if end <= limit {
					c.start += n + 1
					return Line{Text: b[:end], BareLF: end == n}, false, nil
				}
			}
			if seen = len(b); seen >= limit+2 {
				c.start += limit
				return Line{Text: b[:limit]}, true, nil
			}
		} else {
			c.release()
		}
		if err := c.fill(); err != nil {
			return Line{}, false, err
		}
	}
}

// ChunkReader reads message content that comes in BDAT chunks (RFC 3030). Lines
// may go on from one chunk to the next; a line that is not finished yet, at most
// limit bytes of it, is kept between chunks.
type ChunkReader struct {
	c     *Conn
	limit int
	left  int64 // of this chunk
	kept  []byte
	out   []byte // where kept and new text are joined
	// BareLF reports that a line ended in a bare LF.
	BareLF bool
}

// Chunks returns a reader for the chunks of one message.
func (c *Conn) Chunks(limit int) *ChunkReader {
	return &ChunkReader{c: c, limit: max(1, limit)}
}

// Start begins a chunk of size bytes, which is at least 0.
func (r *ChunkReader) Start(size int64) { r.left = size }

// Next returns the next line without its ending, or a piece of a longer line
// with more set. The text is valid until the next call. io.EOF means that the
// chunk was read; the start of an unfinished line is kept for the next chunk.
func (r *ChunkReader) Next() (text []byte, more bool, err error) {
	for r.left > 0 {
		if r.c.start == r.c.end {
			r.c.release()
			if err := r.c.fill(); err != nil {
				return nil, false, unexpected(err)
			}
		}
		b := r.c.in[r.c.start:r.c.end]
		if int64(len(b)) > r.left {
			b = b[:r.left]
		}
		text, more, used := r.take(b)
		r.c.start += used
		r.left -= int64(used)
		if text != nil {
			return text, more, nil
		}
	}
	return nil, false, io.EOF
}

// take takes a line or a piece from the front of b; text is nil when more input
// is needed, and all of b is then kept.
func (r *ChunkReader) take(b []byte) (text []byte, more bool, used int) {
	room := r.limit + 2 - len(r.kept)
	window := b[:min(len(b), room)]
	if i := bytes.IndexByte(window, '\n'); i >= 0 {
		line := r.join(window[:i])
		end := len(line)
		if end > 0 && line[end-1] == '\r' {
			end--
		}
		if end <= r.limit {
			r.BareLF = r.BareLF || end == len(line)
			return line[:end:end], false, i + 1
		}
		r.kept = append(r.kept[:0], line...)
		return r.split(i)
	}
	r.kept = append(r.kept, window...)
	if len(r.kept) >= r.limit+2 {
		return r.split(len(window))
	}
	return nil, false, len(window)
}

// join returns what was kept with b after it and keeps nothing.
func (r *ChunkReader) join(b []byte) []byte {
	if len(r.kept) == 0 {
		return b[:len(b):len(b)]
	}
	r.out = append(append(r.out[:0], r.kept...), b...)
	r.kept = r.kept[:0]
	return r.out
}

// split returns limit bytes of what was kept and keeps the rest.
func (r *ChunkReader) split(used int) ([]byte, bool, int) {
	r.out = append(r.out[:0], r.kept[:r.limit]...)
	r.kept = append(r.kept[:0], r.kept[r.limit:]...)
	return r.out, true, used
}

// Rest returns what the last chunk left without a line ending; ok is false when
// the content ended with one, or is empty.
func (r *ChunkReader) Rest() (text []byte, ok bool) {
	return r.kept, len(r.kept) > 0
}
