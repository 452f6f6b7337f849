// Package mime7 converts a message with 8-bit parts for a server without 8BITMIME
// (RFC 6152 §3): body parts with Content-Transfer-Encoding 8bit or binary become
// quoted-printable (RFC 2045 §6.7), and multiparts and messages that held such
// parts say 7bit. Everything else passes unchanged, byte for byte: header lines,
// parts of another encoding, parts that claim to be 7bit and are not.
//
// The message is converted while it passes, with memory for a few lines: the
// encoding of a part is known at the end of its header. Limits: 100 nested
// multiparts, boundaries of 2048 bytes, 8 KB of a Content- header; what is above
// them passes unconverted.
package mime7

import (
	"bytes"
	"strings"

	"sealpost/lib/mime"
)

const (
	maxNesting  = 100
	maxBoundary = 2048
	maxHeader   = 8 << 10
)

// Source gives lines without line end; with more the line goes on.
type Source interface {
	Next() (text []byte, more bool, err error)
}

type state int

const (
	inHeader state = iota
	inBody
	inEncoded // body to convert
)

// Converter is a Source of the converted message.
type Converter struct {
	src   Source
	state state
	parts []part // multiparts that are open, the innermost last

	head     header // of the part that is read
	wasMore  bool   // the line before was a piece: this one continues it
	dropping bool   // a header that is replaced
	keeping  bool   // a header whose text is needed

	queue []line // to be given out before more is read
	first int
	col   int    // column of the encoded line
	space []byte // white space at the end of an encoded line, not yet written
	out   []byte
}

type part struct{ boundary []byte }

type line struct {
	text []byte
	more bool
}

// header is what matters in the header of a part.
type header struct {
	text     []byte // a Content- header so far
	encoding string // lower case; empty: none
	ctype    string
	boundary string
}

// New returns a converter of a whole message.
func New(src Source) *Converter { return &Converter{src: src} }

// Next implements Source.
func (c *Converter) Next() (text []byte, more bool, err error) {
	for c.first == len(c.queue) {
		c.queue, c.first = c.queue[:0], 0
		text, more, err := c.src.Next()
		if err != nil {
			// The end of the message also ends a header without body.
			if c.state == inHeader && c.flushHeader() {
				continue
			}
			return nil, false, err
		}
		if pass := c.take(text, more); pass {
			return text, more, nil
		}
	}
	l := c.queue[c.first]
	c.first++
	return l.text, l.more, nil
}

// Release gives the buffers of the source back.
func (c *Converter) Release() {
	if r, ok := c.src.(interface{ Release() }); ok {
		r.Release()
	}
}

func (c *Converter) emit(text string) { c.queue = append(c.queue, line{text: []byte(text)}) }

// take handles one piece of input. pass: it goes out as it is.
func (c *Converter) take(text []byte, more bool) (pass bool) {
	continued := c.wasMore
	c.wasMore = more
	if !continued {
		if n, closing := c.delimiter(text); n >= 0 {
			return c.boundaryLine(n, closing, text)
		}
	}
	switch c.state {
	case inHeader:
		return c.headerLine(text, continued)
	case inEncoded:
		c.encode(text, more)
		return false
	}
	return true
}

// delimiter finds the open multipart whose boundary a line is; -1: none.
func (c *Converter) delimiter(text []byte) (n int, closing bool) {
	if len(c.parts) == 0 || len(text) < 3 || text[0] != '-' || text[1] != '-' {
		return -1, false
	}
	rest := bytes.TrimRight(text[2:], " \t\r")
	for i := len(c.parts) - 1; i >= 0; i-- {
		b := c.parts[i].boundary
		if bytes.Equal(rest, b) {
			return i, false
		}
		if len(rest) == len(b)+2 && bytes.HasPrefix(rest, b) && string(rest[len(b):]) == "--" {
			return i, true
		}
	}
	return -1, false
}

// boundaryLine ends what is open inside multipart n.
func (c *Converter) boundaryLine(n int, closing bool, text []byte) bool {
	ended := c.state == inHeader && c.flushHeader()
	c.parts = c.parts[:n+1]
	c.state, c.head, c.dropping, c.keeping = inHeader, header{}, false, false
	if closing {
		c.parts = c.parts[:n]
		c.state = inBody
	}
	if ended {
		c.queue = append(c.queue, line{text: bytes.Clone(text)})
		return false
	}
	return true
}

// headerLine handles a line, or a piece of one, of a header.
func (c *Converter) headerLine(text []byte, continued bool) bool {
	folded := continued || len(text) > 0 && (text[0] == ' ' || text[0] == '\t')
	if folded {
		if c.keeping && len(c.head.text)+len(text) <= maxHeader {
			c.head.text = append(c.head.text, text...)
		}
		return !c.dropping
	}
	c.endOfLine()
	if len(text) == 0 || !isHeader(text) {
		c.flushHeader()
		if len(text) == 0 {
			c.emit("")
			return false
		}
		// A body without an empty line before it.
		if c.state == inEncoded {
			c.encode(text, c.wasMore)
			return false
		}
		c.queue = append(c.queue, line{text: bytes.Clone(text), more: c.wasMore})
		return false
	}
	name, _, _ := bytes.Cut(text, []byte{':'})
	switch strings.ToLower(string(bytes.TrimRight(name, " \t"))) {
	case "content-type":
		c.keeping = true
	case "content-transfer-encoding":
		// Comes back at the end of the header, when the type of the part is known.
		c.keeping, c.dropping = true, true
	default:
		return true
	}
	c.head.text = append(c.head.text[:0], text[:min(len(text), maxHeader)]...)
	return !c.dropping
}

func isHeader(text []byte) bool {
	i := bytes.IndexByte(text, ':')
	if i <= 0 {
		return false
	}
	for _, c := range bytes.TrimRight(text[:i], " \t") {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// endOfLine evaluates the header line that was gathered.
func (c *Converter) endOfLine() {
	if !c.keeping {
		return
	}
	_, value, _ := strings.Cut(string(c.head.text), ":")
	value = strings.TrimSpace(value)
	if c.dropping {
		if c.head.encoding == "" {
			c.head.encoding = strings.ToLower(mime.FirstWord(value))
			if value == "" {
				c.head.encoding = "7bit"
			}
		}
	} else if c.head.ctype == "" {
		c.head.ctype, c.head.boundary = mime.ContentType(value)
	}
	c.keeping, c.dropping = false, false
}

// flushHeader ends a header: it writes the encoding of the part and decides what
// happens to the body. It reports whether it wrote a line.
func (c *Converter) flushHeader() bool {
	c.endOfLine()
	h := c.head
	eight := h.encoding == "8bit" || h.encoding == "binary"
	encoding := h.encoding
	c.state = inBody
	switch {
	case strings.HasPrefix(h.ctype, "multipart/"):
		if eight {
			encoding = "7bit"
		}
		if n := len(h.boundary); n > 0 && n <= maxBoundary && len(c.parts) < maxNesting {
			c.parts = append(c.parts, part{[]byte(strings.TrimRight(h.boundary, " \t"))})
		}
	case h.ctype == "message/rfc822" || h.ctype == "message/global":
		if eight {
			encoding = "7bit"
		}
		c.state = inHeader
	case eight:
		encoding = "quoted-printable"
		c.state, c.col, c.space = inEncoded, 0, c.space[:0]
	}
	next := c.state
	c.head = header{text: h.text[:0]}
	if encoding != "" {
		c.emit("Content-Transfer-Encoding: " + encoding)
	}
	// The header of an enclosed message begins after the empty line.
	c.state = next
	return encoding != ""
}

// maxEncoded is the longest encoded line without CRLF (RFC 2045 §6.7 rule 5).
const maxEncoded = 76

const hexDigits = "0123456789ABCDEF"

// encode writes one line, or a piece of one, as quoted-printable.
func (c *Converter) encode(text []byte, more bool) {
	c.out = c.out[:0]
	for _, b := range text {
		if b == ' ' || b == '\t' {
			c.spaces()
			c.space = append(c.space[:0], b)
			continue
		}
		c.spaces()
		if b < ' ' || b > '~' || b == '=' {
			c.put('=', hexDigits[b>>4], hexDigits[b&15])
		} else {
			c.put(b)
		}
	}
	if !more {
		if len(c.space) > 0 {
			// White space at the end of a line would not survive.
			b := c.space[0]
			c.space = c.space[:0]
			c.put('=', hexDigits[b>>4], hexDigits[b&15])
		}
		c.col = 0
	}
	c.queue = append(c.queue, line{text: bytes.Clone(c.out), more: more})
}

func (c *Converter) spaces() {
	if len(c.space) > 0 {
		b := c.space[0]
		c.space = c.space[:0]
		c.put(b)
	}
}

// put appends one encoded character, after a soft line break where it does not fit.
func (c *Converter) put(chars ...byte) {
	if c.col+len(chars) > maxEncoded-1 {
		c.queue = append(c.queue, line{text: append(bytes.Clone(c.out), '=')})
		c.out, c.col = c.out[:0], 0
	}
	c.out = append(c.out, chars...)
	c.col += len(chars)
}
