package smtpio

import "bytes"

// dotFlush is how much content is gathered before it is sent.
const dotFlush = 64 << 10

// minLineLimit keeps a senseless limit from breaking lines into nothing.
const minLineLimit = 16

// DotWriter sends message content after DATA (RFC 5321 §4.5.2): lines end in
// CRLF, a "." at the beginning of a line is doubled, "CRLF . CRLF" ends it and
// appears nowhere else. CR and LF inside a line, which only a damaged or foreign
// queue file has, leave as blanks: no server may take them for a line ending
// (security-cases.md §2.B).
type DotWriter struct {
	c     *Conn
	limit int // longest line without CRLF; 0: no limit
	col   int // bytes of the current line, without the added "."
	open  bool
	// Broken: a line was above the limit and was broken.
	Broken bool
	// Flush sends what was gathered; nil means c.Flush.
	Flush func() error
}

// NewDotWriter writes to c. Lines of more than limit bytes are broken by
// CRLF and a blank (smtp_line_length_limit); 0 means they are not.
func NewDotWriter(c *Conn, limit int) DotWriter {
	if limit > 0 {
		limit = max(limit, minLineLimit)
	}
	return DotWriter{c: c, limit: limit}
}

// Line writes a line, or with more a piece of one that the next call goes on
// with. What is sent stays in memory up to 64 KB.
func (w *DotWriter) Line(text []byte, more bool) error {
	w.c.grow(len(text) + 8)
	b := w.c.AvailableBuffer()
	for {
		if w.col == 0 && len(text) > 0 && text[0] == '.' {
			b = append(b, '.')
		}
		if w.limit == 0 || w.col+len(text) <= w.limit {
			break
		}
		w.Broken = true
		n := cut(text, w.limit-w.col)
		b = append(appendClean(b, text[:n]), '\r', '\n', ' ')
		w.col = 1
		text = text[n:]
	}
	b = appendClean(b, text)
	w.col += len(text)
	w.open = more
	if !more {
		b = append(b, '\r', '\n')
		w.col = 0
	}
	w.c.SetBuffer(b)
	if len(b) < dotFlush {
		return nil
	}
	return w.flush()
}

// Close ends a line that is open and writes the final dot. It does not flush:
// the caller decides about the last moment before the message changes hands.
func (w *DotWriter) Close() error {
	if w.open {
		if err := w.Line(nil, false); err != nil {
			return err
		}
	}
	w.c.WriteString(".\r\n")
	return nil
}

func (w *DotWriter) flush() error {
	if w.Flush != nil {
		return w.Flush()
	}
	return w.c.Flush()
}

// cut is where to break text of which n bytes fit: not inside a UTF-8 character
// if that is possible.
func cut(text []byte, n int) int {
	n = max(n, 0)
	for back := range min(4, n) {
		if text[n-back]&0xc0 != 0x80 {
			return n - back
		}
	}
	return n
}

// appendClean appends text with CR and LF replaced by blanks.
func appendClean(b, text []byte) []byte {
	start := len(b)
	b = append(b, text...)
	added := b[start:]
	if bytes.IndexByte(added, '\r') < 0 && bytes.IndexByte(added, '\n') < 0 {
		return b
	}
	for i, c := range added {
		if c == '\r' || c == '\n' {
			added[i] = ' '
		}
	}
	return b
}
