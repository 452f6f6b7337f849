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

// flowLooks is how often Wait looks for a token during the delay.
const flowLooks = 20

// Wait takes a token; when there is none it waits for one, but not longer than
// delay (in_flow_delay); 0 turns flow control off. It reports whether it took a
// token: a message that does not reach the incoming queue gives it back.
func (f *Flow) Wait(ctx context.Context, delay time.Duration) (took bool) {
	if delay <= 0 {
		return false
	}
	if f.TakeToken() {
		return true
	}
	// The pipe is shared by many processes, and one byte would wake up everybody
	// who waits for it in the kernel: looking from time to time costs less.
	t := time.NewTicker(max(delay/flowLooks, time.Millisecond))
	defer t.Stop()
	for end := time.Now().Add(delay); time.Now().Before(end); {
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
		if f.TakeToken() {
			return true
		}
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
