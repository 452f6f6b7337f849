package main

import (
	"bufio"
	"context"
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

// submission is the way of a message into the queue when a local user runs the
// server (sendmail -bs): the submit socket, or postdrop where nobody answers
// there (protocols.md §2.20).
type submission struct {
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

// openSubmission connects; the working directory is the queue directory.
func openSubmission(ctx context.Context, postdrop, configDir string) (*submission, error) {
	d := net.Dialer{Timeout: submitTimeout}
	conn, err := d.DialContext(ctx, "unix", mailproto.PathSubmit)
	if err != nil {
		return runPostdrop(postdrop, configDir)
	}
	s := &submission{w: bufio.NewWriter(conn), conn: conn, close: conn.Close}
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

func runPostdrop(path, configDir string) (*submission, error) {
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
		return nil, fmt.Errorf("no answer on the submit socket, and %w", err)
	}
	s := &submission{w: bufio.NewWriter(w), close: func() error {
		w.Close() // postdrop drops a message whose end it did not see
		return cmd.Wait()
	}}
	if err := s.greeting(r); err != nil {
		s.Cancel()
		return nil, fmt.Errorf("no answer on the submit socket, and %s failed: %w", path, err)
	}
	return s, nil
}

func (s *submission) greeting(r io.Reader) error {
	s.in = attr.NewDecoder(bufio.NewReader(r), attr.Strict)
	g, err := mailproto.ReadGreeting(s.in, mailproto.ProtoPostdrop)
	s.id = g.QueueID
	return err
}

func (s *submission) QueueID() string { return s.id }

func (s *submission) Record(t record.Type, payload []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(record.Append(s.w.AvailableBuffer(), t, payload))
	}
}

func (s *submission) RecordString(t record.Type, text string) { s.Record(t, []byte(text)) }

func (s *submission) Attr(name, value string) { s.RecordString(record.Attr, name+"="+value) }

func (s *submission) Err() error { return s.err }

// Finish sends the end and waits for the verdict. No verdict is not a success.
func (s *submission) Finish(context.Context) (mailproto.CleanupReply, error) {
	failed := mailproto.CleanupReply{Status: mailproto.CleanupWrite}
	s.RecordString(record.End, "")
	if s.err == nil {
		s.err = s.w.Flush()
	}
	if s.err == nil && s.conn != nil {
		s.err = s.conn.SetReadDeadline(time.Now().Add(verdictTimeout))
	}
	if s.err != nil {
		s.Cancel()
		return failed, s.err
	}
	reply, err := mailproto.ReadCleanupReply(s.in)
	_ = s.close() // the verdict was in the reply
	if err != nil {
		return failed, err
	}
	return reply, nil
}

// Cancel drops the message: without its end it is not complete.
func (s *submission) Cancel() { _ = s.close() }
