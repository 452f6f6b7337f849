package service

import (
	"bytes"
	"context"
	"os"
	"time"
)

// Limits of a trigger (§2.2).
const (
	triggerSize    = 1024
	triggerTimeout = 10 * time.Second
)

// trigger reads one trigger. Its sender writes the bytes and the NUL at the end
// in two pieces, so the NUL is not waited for (I1).
func (s *server) trigger(sess *Session) {
	sess.Conn.SetReadDeadline(time.Now().Add(triggerTimeout)) //nolint:errcheck // the read tells
	buf := make([]byte, triggerSize)
	n, err := sess.Conn.Read(buf)
	if n == 0 {
		sess.Log.Verbosef("trigger without request: %v", err)
		return
	}
	// The sender waits for our close, not for what the trigger does.
	sess.Conn.Close()
	s.w.Trigger(s.ctx, bytes.ReplaceAll(buf[:n], []byte{0}, nil))
}

// fifoLoop reads triggers from a FIFO that master holds open for reading and
// writing.
func (s *server) fifoLoop(ctx context.Context, f *os.File) {
	buf := make([]byte, triggerSize)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		if err != nil {
			if !s.isStopped() {
				s.env.Log.Warnf("read trigger: %v", err)
				s.leave(reasonOwn)
			}
			return
		}
		s.w.Trigger(ctx, bytes.ReplaceAll(buf[:n], []byte{0}, nil))
	}
}
