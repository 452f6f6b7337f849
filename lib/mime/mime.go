// Package mime takes a message apart while it passes, line by line: header lines of the
// message, of its MIME parts and of attached messages, and everything else (RFC 5322,
// RFC 2045, RFC 2046). Put together again, what it gives out is the message, byte for
// byte, but for header lines that are longer than Limits.Header.
//
// It does not judge: a part that does not end, a boundary that never comes, text where a
// header should be are all passed on as what they look like. Memory is bounded by the
// limits.
package mime

import (
	"bytes"
	stdmime "mime"
	"strings"

	"sealpost/lib/header"
)

// Kind says which header a header line is part of.
type Kind int

// The kinds of headers (header_checks(5)).
const (
	Primary   Kind = iota // of the message
	Multipart             // of a part
	Nested                // of an attached message
)

// Limits bound memory.
type Limits struct {
	// Header is the most bytes of one header, folded lines included
	// (header_size_limit). The rest of a longer one is dropped.
	Header int
	// Nesting is the most multiparts within each other (mime_nesting_limit), and
	// Boundary the significant bytes of a boundary (mime_boundary_length_limit).
	// What is above them is not taken apart: its header lines are text.
	Nesting, Boundary int
}

// Sink takes the parts. Bytes are valid during the call only.
type Sink interface {
	// Header is one header with its folded lines, which line feeds separate.
	Header(kind Kind, text []byte) error
	// Body is any other line, or a piece of one: more means that the line goes on.
	// The empty line after a header and the delimiters of parts are such lines.
	Body(text []byte, more bool) error
}

// Scanner takes one message apart.
type Scanner struct {
	limits Limits
	sink   Sink
	// Plain: parts are not looked for (disable_mime_input_processing).
	Plain bool

	body    bool // not in a header
	kind    Kind
	pending []byte // a header that may go on
	has     bool
	cut     bool // pending is as long as it may be
	more    bool // the line before was a piece: this one continues it
	part    partHeader
	parts   [][]byte // boundaries of the multiparts that are open, the innermost last
	// Segment is the number of the part that the last body line is in.
	Segment int
	// Exceeded tells that a multipart was not taken apart because of Limits.Nesting.
	Exceeded bool
}

// partHeader is what matters in the header of a part.
type partHeader struct {
	ctype, boundary string
	encoded         bool // in base64 or quoted-printable
}

// New is a scanner at the start of a message.
func New(l Limits, sink Sink) *Scanner { return &Scanner{limits: l, sink: sink} }

// InBody reports whether the header of the message is over.
func (s *Scanner) InBody() bool { return s.body || s.kind != Primary }

// Observe takes note of a header of the message that the caller has read by itself;
// EndHeader says that there are no more, and whether an empty line ended it. Lines that
// follow are those of the body.
func (s *Scanner) Observe(text []byte) {
	if !s.Plain {
		s.note(text)
	}
}

// EndHeader ends the header of the message, see Observe.
func (s *Scanner) EndHeader(empty bool) { s.endHeader(empty) }

// Line takes the next line without its end, or a piece of one: with more it goes on.
// An error is the sink's.
func (s *Scanner) Line(text []byte, more bool) error {
	continued := s.more
	s.more = more
	if !continued {
		if n, closing := s.delimiter(text); n >= 0 {
			return s.boundary(n, closing, text, more)
		}
	}
	if s.body {
		return s.sink.Body(text, more)
	}
	return s.header(text, continued, more)
}

// End is the end of the message.
func (s *Scanner) End() error { return s.flush() }

// header takes a line in a header.
func (s *Scanner) header(text []byte, continued, more bool) error {
	switch {
	case continued && s.has:
		s.add(text)
		return nil
	case s.has && len(text) > 0 && (text[0] == ' ' || text[0] == '\t'):
		s.add([]byte{'\n'})
		s.add(text)
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	if _, _, ok := header.Line(text); ok {
		s.has, s.cut, s.pending = true, false, s.pending[:0]
		s.add(text)
		return nil
	}
	// The empty line, or a body without one before it.
	s.endHeader(len(text) == 0)
	return s.sink.Body(text, more)
}

func (s *Scanner) add(text []byte) {
	if room := s.limits.Header - len(s.pending); !s.cut && len(text) > room {
		text, s.cut = text[:max(room, 0)], true
	} else if s.cut {
		return
	}
	s.pending = append(s.pending, text...)
}

// flush gives a header out.
func (s *Scanner) flush() error {
	if !s.has {
		return nil
	}
	s.has = false
	if !s.Plain {
		s.note(s.pending)
	}
	return s.sink.Header(s.kind, s.pending)
}

// endHeader decides how the text after a header is read.
func (s *Scanner) endHeader(empty bool) {
	s.body = true
	s.Segment++
	h := s.part
	s.part = partHeader{}
	switch {
	case s.Plain:
	case strings.HasPrefix(h.ctype, "multipart/"):
		switch b := strings.TrimRight(h.boundary, " \t"); {
		case b == "":
		case len(s.parts) >= s.limits.Nesting:
			s.Exceeded = true
		default:
			s.parts = append(s.parts, []byte(b[:min(len(b), s.limits.Boundary)]))
		}
	case strings.HasPrefix(h.ctype, "message/") && h.ctype != "message/partial" && h.ctype != "message/external-body" && !h.encoded && empty:
		s.body, s.kind = false, Nested
	}
}

// note keeps what a header says about its part. The first of several counts.
func (s *Scanner) note(text []byte) {
	name, value, _ := bytes.Cut(text, []byte{':'})
	switch name = bytes.TrimRight(name, " \t"); {
	case len(name) == len("Content-Type") && strings.EqualFold(string(name), "Content-Type"):
		if s.part.ctype == "" {
			s.part.ctype, s.part.boundary = ContentType(unfold(value))
		}
	case len(name) == len("Content-Transfer-Encoding") && strings.EqualFold(string(name), "Content-Transfer-Encoding"):
		word := strings.ToLower(FirstWord(unfold(value)))
		s.part.encoded = word == "base64" || word == "quoted-printable"
	}
}

// IsHeader reports whether a header of a message is one about MIME, by its name (RFC
// 2045).
func IsHeader(name []byte) bool {
	const content, version = "content-", "mime-version"
	return len(name) > len(content) && strings.EqualFold(string(name[:len(content)]), content) ||
		len(name) == len(version) && strings.EqualFold(string(name), version)
}

func unfold(value []byte) string {
	return strings.TrimSpace(strings.ReplaceAll(string(value), "\n", ""))
}

// ContentType reads the value of a Content-Type header, also one that a strict parser
// refuses. The type is in lower case.
func ContentType(value string) (ctype, boundary string) {
	ctype, params, _ := stdmime.ParseMediaType(value)
	if ctype == "" {
		ctype = strings.ToLower(FirstWord(value))
	}
	if boundary = params["boundary"]; boundary == "" {
		boundary = looseBoundary(value)
	}
	return ctype, boundary
}

// FirstWord is the first word of a value: up to white space, ";" or a comment.
func FirstWord(s string) string {
	if i := strings.IndexAny(s, " \t;("); i >= 0 {
		s = s[:i]
	}
	return s
}

// looseBoundary finds a boundary that a strict parser does not.
func looseBoundary(value string) string {
	const name = "boundary="
	for i := 0; i+len(name) <= len(value); i++ {
		if !strings.EqualFold(value[i:i+len(name)], name) {
			continue
		}
		rest := value[i+len(name):]
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			rest, _, _ = strings.Cut(quoted, `"`)
			return rest
		}
		return FirstWord(rest)
	}
	return ""
}

// delimiter finds the open multipart that a line delimits; -1: none.
func (s *Scanner) delimiter(text []byte) (n int, closing bool) {
	if len(s.parts) == 0 || len(text) < 3 || text[0] != '-' || text[1] != '-' {
		return -1, false
	}
	rest := bytes.TrimRight(text[2:], " \t\r")
	for i := len(s.parts) - 1; i >= 0; i-- {
		b := s.parts[i]
		switch {
		case bytes.Equal(rest, b), len(b) == s.limits.Boundary && bytes.HasPrefix(rest, b):
			return i, false
		case len(rest) == len(b)+2 && bytes.HasPrefix(rest, b) && string(rest[len(b):]) == "--":
			return i, true
		}
	}
	return -1, false
}

// boundary ends what is open inside multipart n.
func (s *Scanner) boundary(n int, closing bool, text []byte, more bool) error {
	if err := s.flush(); err != nil {
		return err
	}
	s.part, s.kind = partHeader{}, Multipart
	s.Segment++
	if closing {
		s.parts, s.body = s.parts[:n], true
	} else {
		s.parts, s.body = s.parts[:n+1], false
	}
	return s.sink.Body(text, more)
}
