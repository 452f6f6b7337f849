package smtpio

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"sealpost/lib/dsn"
)

// Limits on a reply (security-cases.md §2.L). RFC 5321 §4.5.3.1.5 allows 512
// bytes a line; real servers send more.
const (
	MaxReplyLine  = 8 << 10  // bytes of one line; a longer one is ErrReply
	MaxReplyLines = 1000     // lines of one reply
	maxReplyBytes = 64 << 10 // of one reply
	maxReplyText  = 4 << 10  // of a reply that are kept as its text
)

// ErrReply: what a server sent is not a reply of RFC 5321 §4.2, or exceeds a
// limit. The connection cannot be used on: nobody knows where the next reply begins.
var ErrReply = errors.New("malformed reply")

// Reply is what a server answered to one command. It is used again for the next
// one: text must be copied by calling Text.
type Reply struct {
	// Code is that of the last line, 200 to 599. Lines before may have another:
	// the last one counts, as in Postfix.
	Code int
	text []byte
	last int // where the last line begins in text
}

// Class is the first digit of the code.
func (r *Reply) Class() int { return r.Code / 100 }

// Text is the whole reply, codes included, its lines joined by a blank, made
// printable and cut to 4 KB.
func (r *Reply) Text() string { return string(r.text) }

// DSN is the enhanced status code of the last line when its class is that of the
// reply, else class.0.0 (RFC 3463; a reply of class 3 has none and gives 3.0.0).
func (r *Reply) DSN() string {
	class := byte('0' + r.Class())
	if len(r.text) > r.last+4 {
		rest := string(r.text[r.last+4 : min(len(r.text), r.last+4+dsn.CodeSize+1)])
		if n := dsn.CodeLen(rest); n > 0 && rest[0] == class {
			return rest[:n]
		}
	}
	return string(class) + ".0.0"
}

// ReadReply reads one reply into r. When line is not nil it gets the text of each
// line after code and separator, as received and valid during the call.
//
// Time limits are those of the connection; a server that sends lines for ever or
// a line without end gives ErrReply.
func (c *Conn) ReadReply(r *Reply, line func(text []byte)) error {
	r.Code, r.text, r.last = 0, r.text[:0], 0
	for lines, size := 1, 0; ; lines++ {
		l, err := c.ReadLine(MaxReplyLine)
		if errors.Is(err, ErrLineTooLong) || errors.Is(err, ErrLineFlood) {
			return fmt.Errorf("%w: %w", ErrReply, err)
		}
		if err != nil {
			return err
		}
		code, more, ok := splitReply(l.Text)
		if !ok {
			r.add(l.Text)
			return fmt.Errorf("%w: %.100q", ErrReply, l.Text)
		}
		if size += len(l.Text); size > maxReplyBytes || more && lines >= MaxReplyLines {
			return fmt.Errorf("%w: more than %d bytes or %d lines", ErrReply, maxReplyBytes, MaxReplyLines)
		}
		r.add(l.Text)
		if line != nil {
			line(l.Text[min(4, len(l.Text)):])
		}
		if !more {
			r.Code = code
			return nil
		}
	}
}

// splitReply takes the code off a line: three digits, the first one 2 to 5, then
// "-" for a line that is not the last, a blank or nothing.
func splitReply(b []byte) (code int, more, ok bool) {
	if len(b) < 3 || b[0] < '2' || b[0] > '5' || !digit(b[1]) || !digit(b[2]) {
		return 0, false, false
	}
	if len(b) > 3 && b[3] != ' ' && b[3] != '-' {
		return 0, false, false
	}
	return int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0'), len(b) > 3 && b[3] == '-', true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// add keeps a line as text.
func (r *Reply) add(line []byte) {
	if len(r.text) > 0 {
		r.text = append(r.text, ' ')
	}
	// The last line must be kept with its code, whatever came before it.
	if len(r.text) > maxReplyText {
		r.text = r.text[:maxReplyText]
	}
	r.last = len(r.text)
	r.text = AppendPrintable(r.text, line[:min(len(line), maxReplyText)])
}

// AppendPrintable appends text with control characters (C0, DEL, C1, line and
// paragraph separators) and invalid UTF-8 replaced by "?".
func AppendPrintable(b, text []byte) []byte {
	for len(text) > 0 {
		c := text[0]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				c = '?'
			}
			b = append(b, c)
			text = text[1:]
			continue
		}
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n <= 1 || r < 0xa0 || r == 0x2028 || r == 0x2029 {
			b = append(b, '?')
		} else {
			b = append(b, text[:n]...)
		}
		text = text[n:]
	}
	return b
}
