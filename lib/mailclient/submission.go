package mailclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

// Submission is the way of a local user's message into the queue: the submit
// socket, or the command postdrop where nobody answers there (protocols.md
// §2.20). It is for one goroutine. Every Submission ends with Finish, Verdict or
// Cancel.
type Submission struct {
	w     *bufio.Writer
	in    *attr.Decoder
	id    string
	err   error
	close func() error
	conn  net.Conn // nil with postdrop
}

// submitTimeout bounds the wait for the submit service to answer a connection,
// and for its verdict.
const (
	submitTimeout  = 10 * time.Second
	verdictTimeout = time.Hour
)

// ErrUnavailable: there is no way into the queue: nobody answers on the submit
// socket, and postdrop does not work.
var ErrUnavailable = errors.New("no answer on the submit socket")

// OpenSubmission connects to the submit socket, whose name is relative to the
// working directory, the queue directory; or it runs postdrop with the
// configuration in configDir.
func OpenSubmission(ctx context.Context, postdrop, configDir string) (*Submission, error) {
	d := net.Dialer{Timeout: submitTimeout}
	conn, err := d.DialContext(ctx, "unix", mailproto.PathSubmit)
	if err != nil {
		return runPostdrop(postdrop, configDir)
	}
	s := &Submission{w: bufio.NewWriter(conn), conn: conn, close: conn.Close}
	if err := conn.SetReadDeadline(time.Now().Add(submitTimeout)); err != nil {
		conn.Close()
		return nil, err
	}
	if err := s.greeting(conn); err != nil {
		conn.Close()
		return runPostdrop(postdrop, configDir)
	}
	return s, nil
}

func runPostdrop(path, configDir string) (*Submission, error) {
	cmd := exec.Command(path, "-r")
	cmd.Env = []string{"MAIL_CONFIG=" + configDir, "LANG=C", "PATH=/usr/bin:/bin", "TZ=" + os.Getenv("TZ")}
	cmd.Stderr = os.Stderr
	w, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w, and %w", ErrUnavailable, err)
	}
	s := &Submission{w: bufio.NewWriter(w), close: func() error {
		w.Close() // postdrop drops a message whose end it did not see
		return cmd.Wait()
	}}
	if err := s.greeting(r); err != nil {
		if status := s.close(); status != nil {
			err = status // it has said why on standard error
		}
		return nil, fmt.Errorf("%w, and %s failed: %w", ErrUnavailable, path, err)
	}
	return s, nil
}

func (s *Submission) greeting(r io.Reader) error {
	s.in = attr.NewDecoder(bufio.NewReader(r), attr.Strict)
	g, err := mailproto.ReadGreeting(s.in, mailproto.ProtoPostdrop)
	s.id = g.QueueID
	return err
}

// QueueID is the id of the file in maildrop; empty on the submit socket, where
// there is none yet.
func (s *Submission) QueueID() string { return s.id }

// Record adds a record. A write error is kept and reported at the end.
func (s *Submission) Record(t record.Type, payload []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(record.Append(s.w.AvailableBuffer(), t, payload))
	}
}

// RecordString is Record for a string.
func (s *Submission) RecordString(t record.Type, text string) { s.Record(t, []byte(text)) }

// Attr adds a named attribute record.
func (s *Submission) Attr(name, value string) { s.RecordString(record.Attr, name+"="+value) }

// Write adds records that the caller has encoded.
func (s *Submission) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	var n int
	n, s.err = s.w.Write(p)
	return n, s.err
}

// Err is the first write error.
func (s *Submission) Err() error { return s.err }

// Finish sends the end record and waits for the verdict.
func (s *Submission) Finish(ctx context.Context) (mailproto.CleanupReply, error) {
	s.RecordString(record.End, "")
	return s.Verdict(ctx)
}

// Verdict sends what is left, the end record included, and waits for the answer.
// No answer is not a success: what became of the message is not known.
func (s *Submission) Verdict(context.Context) (mailproto.CleanupReply, error) {
	failed := mailproto.CleanupReply{Status: mailproto.CleanupWrite}
	if s.err == nil {
		s.err = s.w.Flush()
	}
	if s.conn != nil {
		if err := s.conn.SetReadDeadline(time.Now().Add(verdictTimeout)); err != nil && s.err == nil {
			s.err = err
		}
	}
	// After a write error there may be an answer that says why the reader left.
	reply, err := mailproto.ReadCleanupReply(s.in)
	_ = s.close() // the verdict was in the reply
	switch {
	case err == nil:
		return reply, nil
	case s.err != nil:
		return failed, s.err
	}
	return failed, fmt.Errorf("no answer: %w", err)
}

// Cancel drops the message: without its end it is not complete.
func (s *Submission) Cancel() { _ = s.close() }
