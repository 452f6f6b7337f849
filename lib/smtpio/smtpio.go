// Package smtpio is the input and output of SMTP connections, for both sides:
// lines, message content with dot-stuffing, BDAT chunks, replies, deadlines.
//
// Line endings are decided here and nowhere else: what a reader hands out has
// no line ending, and says which one was there; what a writer sends ends in
// CRLF. A Conn holds no buffer while it waits for its peer, so that an idle
// session costs little more than its goroutine.
//
// Errors: ErrLineTooLong and ErrLineFlood for lines above their limit,
// ErrInterrupted after Interrupt, io.EOF and io.ErrUnexpectedEOF for a peer
// that went away between lines and within one, an error that wraps
// os.ErrDeadlineExceeded for one that is too slow.
//
// RFC 5321 §2.3.8, §4.5.2 and §4.5.3; RFC 3030 §2.
package smtpio

import "errors"

var (
	// ErrLineTooLong: a line above the limit; all of it was read and dropped, the
	// connection is at the start of the next line.
	ErrLineTooLong = errors.New("line exceeds the length limit")
	// ErrLineFlood: a line so long that its end was not looked for; the
	// connection cannot be read on.
	ErrLineFlood = errors.New("line without end")
	// ErrInterrupted: Interrupt ended the wait for a line.
	ErrInterrupted = errors.New("interrupted")
)

const (
	// bufferSize is the size of a read buffer: a 5 KB message comes in one read.
	bufferSize = 32 << 10
	// floodLimit is how much of an over-long line is dropped before ErrLineFlood.
	floodLimit = 24 << 10
	// parkLimit is the longest unfinished line that gives up its buffer while
	// the rest of it is waited for.
	parkLimit = 4 << 10
)

// Line is one line without its ending. Text is valid until the next read.
type Line struct {
	Text   []byte
	BareLF bool // ended by LF without CR
	BareCR bool // has a CR that is not part of the ending
}
