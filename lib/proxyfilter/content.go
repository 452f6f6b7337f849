package proxyfilter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"sealpost/lib/header"
	"sealpost/lib/smtpio"
)

// RequestHeader carries a request for REQUIRETLS past what does not know that word.
const RequestHeader = "Require-TLS-ESMTP: yes"

// Content is a message on its way to the filter. The first error stays: what is
// written after it goes nowhere.
type Content struct {
	conn    *Conn
	out     smtpio.DotWriter
	request requestScanner
	err     error
}

// Line writes a line without its ending, or with more a piece of one that the next
// call goes on with.
func (w *Content) Line(text []byte, more bool) {
	if w.err != nil {
		return
	}
	add, separate := w.request.before(text, more)
	if add {
		w.line([]byte(RequestHeader), false)
	}
	if separate {
		w.line(nil, false)
	}
	w.line(text, more)
}

func (w *Content) line(text []byte, more bool) {
	if w.err == nil {
		w.err = w.out.Line(text, more)
	}
}

// Err is the error that stopped the content, or nil.
func (w *Content) Err() error { return w.err }

// Finish ends the message and takes the filter's reply to it. An error that is not
// *Refused means that nobody knows whether the filter has the message.
func (w *Content) Finish() (Reply, error) {
	w.end()
	if w.err == nil {
		w.err = w.early(nil)
	}
	if w.err == nil {
		w.err = w.out.Close()
	}
	if w.err == nil {
		w.err = w.conn.flush()
	}
	if w.err != nil {
		return Reply{}, w.stopped()
	}
	w.conn.broken = false
	return w.conn.read(nil)
}

// flush sends content that was gathered.
func (w *Content) flush() error { return w.early(w.conn.flush()) }

// early looks for a reply that came before the final dot, and is no answer to it. It
// says more than err, why sending failed.
func (w *Content) early(err error) error {
	if !w.conn.c.Pending() {
		return err
	}
	reply, rerr := w.conn.read(nil)
	switch class := reply.Class(); {
	case rerr != nil && err == nil:
		return rerr
	case rerr != nil:
		return err
	case class == 4 || class == 5:
		return &Refused{Filter: w.conn.filter.Text, Command: "message content", Reply: reply}
	}
	return fmt.Errorf("%w: %s", errEarly, reply.Log())
}

// errEarly: whatever a filter says before the end of a message, it does not have it.
var errEarly = errors.New("reply before the end of the message")

// stopped is the error that stopped the content, in words for the log.
func (w *Content) stopped() error {
	var refused *Refused
	var broken *fault
	switch {
	case errors.As(w.err, &refused), errors.As(w.err, &broken):
		return w.err
	case errors.Is(w.err, errEarly):
		return fmt.Errorf("proxy %s: %w", w.conn.filter.Text, w.err)
	}
	return w.conn.fault(w.err)
}

// end writes what is missing at the end of the content.
func (w *Content) end() {
	if !w.request.atEnd() {
		return
	}
	if w.request.more {
		w.line(nil, false) // the last line has no ending
	}
	w.line([]byte(RequestHeader), false)
}

// requestScanner looks for the place of the header with the request for REQUIRETLS:
// the end of the message header, which is the first line that neither begins a header
// nor continues one, or the end of the message. Only true starts of lines count, and a
// line counts as it leaves: a CR inside it as a blank.
//
// A header that makes the request already is Require-TLS-ESMTP with the value "yes",
// on one line: what a folded one says, or one that is longer than a piece, is left to
// cleanup(8), and one more header does no harm.
type requestScanner struct {
	on    bool // still in the header, and nothing was added
	any   bool // a header was there
	more  bool // the last piece did not end its line
	maybe bool // the last header makes the request, unless it goes on
	has   bool // an earlier one does
}

// before tells whether the header is to be written before this line, and an empty line
// after it, because this one would continue it.
func (s *requestScanner) before(text []byte, more bool) (add, separate bool) {
	continued := s.more
	s.more = more
	if !s.on || continued {
		return false, false
	}
	text = blanks(text)
	if header.IsContinuation(text) && s.any {
		s.maybe = false
		return false, false
	}
	s.has, s.maybe = s.has || s.maybe, false
	name, value, ok := header.Line(text)
	if !ok {
		s.on = false
		return !s.has, header.IsContinuation(text)
	}
	s.any = true
	known := header.Find(text[:name])
	s.maybe = !more && known != nil && known.ID == header.RequireTLSESMTP &&
		strings.EqualFold(string(header.Value(text[value:])), "yes")
	return false, false
}

// blanks is text with blanks where CR and LF are, as smtpio sends it.
func blanks(text []byte) []byte {
	if !bytes.ContainsAny(text, "\r\n") {
		return text
	}
	text = bytes.ReplaceAll(text, []byte{'\r'}, []byte{' '})
	return bytes.ReplaceAll(text, []byte{'\n'}, []byte{' '})
}

// atEnd tells whether the header is to be written at the end of the message.
func (s *requestScanner) atEnd() bool { return s.on && !s.has && !s.maybe }
