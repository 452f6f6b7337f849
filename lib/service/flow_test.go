package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestFlow(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	f := &Flow{r: p[0], w: p[1]}
	if f.TakeToken() {
		t.Error("a token out of nothing")
	}
	f.PutTokens(300)
	if n := f.Tokens(); n != 300 {
		t.Errorf("%d tokens", n)
	}
	f.PutTokensUpTo(10, 305)
	if n := f.Tokens(); n != 305 {
		t.Errorf("%d tokens, limit 305", n)
	}
	f.PutTokensUpTo(10, 100)
	f.PutTokens(1 << 20) // more than a pipe holds
	if !f.TakeToken() {
		t.Error("no token")
	}
	var none *Flow
	if !none.TakeToken() || none.Tokens() != 0 {
		t.Error("without master everybody has a token")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for f.TakeToken() {
	}
	f.Wait(ctx, time.Hour) // returns: the context is done
}

// TestFlowWait: nobody waits longer than for the next token, or for the delay.
func TestFlowWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(p[0])
		defer unix.Close(p[1])
		f := &Flow{r: p[0], w: p[1]}

		begin := time.Now()
		if f.Wait(t.Context(), time.Second) || time.Since(begin) != time.Second {
			t.Errorf("without tokens: waited %v, want the delay", time.Since(begin))
		}
		begin = time.Now()
		time.AfterFunc(120*time.Millisecond, func() { f.PutTokens(1) })
		if !f.Wait(t.Context(), time.Second) || time.Since(begin) != 150*time.Millisecond {
			t.Errorf("a token after 120 ms was taken after %v", time.Since(begin))
		}
		begin = time.Now()
		if f.Wait(t.Context(), 0) || time.Since(begin) != 0 {
			t.Error("flow control that is off takes a token or waits")
		}
	})
}
