// Package mailbox stores a message from the queue in a Maildir or in a mailbox
// file of mbox format.
//
// A path that ends in "/" is a Maildir: the message is written to tmp/, synced,
// moved to new/ under a name that no other delivery can have, and the directory
// is synced before success is reported (decision 31). Any other path is an mbox
// file: it is locked, the message is appended with a "From " line, lines that
// begin with "From " are quoted, the file is synced, and it is cut back to its
// old length when anything fails.
//
// Files are opened without following a symbolic link in the last place, must be
// regular and have one link: a mailbox owner must not be able to point the mail
// system at another file.
//
// Users in this package's terms are numeric: a delivery as another user runs in
// a helper process that has dropped to that user for good (DESIGN §3, Users).
package mailbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"sealpost/lib/queue"
)

// Job says where and how to store one message.
type Job struct {
	Path       string        // ends in "/": Maildir
	Header     string        // lines to put first, each with "\n": Return-Path:, Delivered-To: ...
	Sender     string        // external form, for the "From " line of an mbox file
	Hostname   string        // for Maildir file names
	Now        time.Time     // time of delivery
	SizeLimit  int64         // bytes of the file after delivery; 0: no limit
	Locks      []string      // for an mbox file: fcntl, flock, dotlock
	LockTries  int           // deliver_lock_attempts
	LockDelay  time.Duration // deliver_lock_delay
	DataOffset int64         // of the content in the queue file
}

// IsMaildir reports whether the job delivers to a Maildir.
func (j *Job) IsMaildir() bool { return strings.HasSuffix(j.Path, "/") }

// Error is a delivery that failed. Its text is the reason for the sender and
// the log; Code is an enhanced status code of class 4 or 5.
type Error struct {
	Code string
	Text string
	Err  error
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Err }

// Permanent reports whether the message should be returned.
func (e *Error) Permanent() bool { return e.Code[0] == '5' }

// failure classifies an error: over quota or over the size limit is permanent
// (5.2.2), everything else is worth another try.
func failure(kind, op string, err error) *Error {
	e := &Error{Code: "4.2.0", Text: fmt.Sprintf("%s delivery failed: %s: %v", kind, op, cause(err)), Err: err}
	switch {
	case errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		e.Code = "5.2.2"
	case errors.Is(err, syscall.ENOSPC):
		e.Code = "4.2.2"
	}
	return e
}

// cause drops the path and the call name that package os adds: op has them.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// Deliver stores the message in src as the calling user. The error is an *Error.
func (d *Deliverer) Deliver(ctx context.Context, src *os.File, j *Job) error {
	if strings.IndexByte(j.Path, 0) >= 0 || !strings.HasPrefix(j.Path, "/") {
		return &Error{Code: "4.3.5", Text: fmt.Sprintf("mail system configuration error: bad mailbox path %q", j.Path)}
	}
	if j.IsMaildir() {
		return d.maildir(ctx, src, j)
	}
	return d.mbox(ctx, src, j)
}

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 64<<10) }}

// copyMessage writes the job's header and the content to w, with "\n" line ends.
// quoteFrom protects lines that would look like the start of a message in an
// mbox file. The file stays within limit bytes, or the error is EFBIG.
func copyMessage(w io.Writer, src *os.File, j *Job, quoteFrom bool, limit int64) error {
	bw := writers.Get().(*bufio.Writer)
	bw.Reset(&limitWriter{w: w, left: limit, unlimited: j.SizeLimit == 0})
	defer func() {
		bw.Reset(nil)
		writers.Put(bw)
	}()
	bw.WriteString(j.Header)
	c := queue.NewContent(src, j.DataOffset)
	start := true
	for {
		text, more, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if quoteFrom && start && len(text) >= 5 && string(text[:5]) == "From " {
			bw.WriteByte('>')
		}
		bw.Write(text)
		if !more {
			bw.WriteByte('\n')
		}
		start = !more
	}
	if !start {
		bw.WriteByte('\n')
	}
	if quoteFrom {
		bw.WriteByte('\n')
	}
	return bw.Flush()
}

// limitWriter fails with EFBIG before more than left bytes are written.
type limitWriter struct {
	w         io.Writer
	left      int64
	unlimited bool
}

func (l *limitWriter) Write(b []byte) (int, error) {
	if !l.unlimited && int64(len(b)) > l.left {
		return 0, syscall.EFBIG
	}
	n, err := l.w.Write(b)
	l.left -= int64(n)
	return n, err
}
