package service

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"sealpost/lib/maillog"
)

// panicked logs a session's panic with its stack in one line. The worker leaves,
// since its memory may be in disorder, unless panics are frequent: then a
// successor would fare no better (DESIGN §3, Panics).
func (s *server) panicked(sess *Session, value any) {
	sess.Log.Text(maillog.Panic, fmt.Sprintf("session ended: %v at %s", value, stack(4)))
	now := time.Now()
	s.mu.Lock()
	recent := s.panics[:0]
	for _, t := range s.panics {
		if now.Sub(t) < panicWindow {
			recent = append(recent, t)
		}
	}
	s.panics = append(recent, now)
	stay := len(s.panics) > maxPanics
	s.mu.Unlock()
	if stay {
		s.env.Log.Warnf("more than %d sessions panicked within %v: not restarting", maxPanics, panicWindow)
		return
	}
	s.leave(reasonOwn)
}

// stack is the calling stack, innermost first, without the runtime's frames.
func stack(skip int) string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(skip, pcs[:])])
	var b strings.Builder
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			if b.Len() > 0 {
				b.WriteString(" < ")
			}
			file := f.File[strings.LastIndexByte(f.File, '/')+1:]
			fmt.Fprintf(&b, "%s %s:%d", f.Function, file, f.Line)
		}
		if !more {
			return b.String()
		}
	}
}
