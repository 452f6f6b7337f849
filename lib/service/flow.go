package service

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Flow is the flow control between cleanup and qmgr (§3.4): a pipe of tokens
// that master made. Both ends are non-blocking and shared by all daemons, so
// they are used as raw descriptors. A nil Flow has a token for everyone.
type Flow struct{ r, w int }

// TakeToken takes one token; false means that there is none now.
func (f *Flow) TakeToken() bool {
	if f == nil {
		return true
	}
	var b [1]byte
	n, err := unix.Read(f.r, b[:])
	// Anything but "none now" means that there is no pipe: do not hold up mail.
	return n == 1 || err != unix.EAGAIN
}

// Wait takes a token, or waits for delay (in_flow_delay) when there is none; 0
// turns flow control off. It reports whether it took a token: a message that
// does not reach the incoming queue gives it back.
func (f *Flow) Wait(ctx context.Context, delay time.Duration) (took bool) {
	if delay <= 0 {
		return false
	}
	if f.TakeToken() {
		return true
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// PutTokens gives n tokens.
func (f *Flow) PutTokens(n int) {
	if f == nil {
		return
	}
	var b [128]byte
	for n > 0 {
		m, err := unix.Write(f.w, b[:min(n, len(b))])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m <= 0 {
			return // full: there are more tokens than anybody needs
		}
		n -= m
	}
}

// PutTokensUpTo gives n tokens but leaves at most limit in the pipe.
func (f *Flow) PutTokensUpTo(n, limit int) {
	f.PutTokens(min(n, limit-f.Tokens()))
}

// Tokens is the number of tokens in the pipe.
func (f *Flow) Tokens() int {
	if f == nil {
		return 0
	}
	n, err := unix.IoctlGetInt(f.r, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
