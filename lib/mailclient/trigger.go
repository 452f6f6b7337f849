package mailclient

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// triggerTimeout is trigger_timeout's default.
const triggerTimeout = 10 * time.Second

// Trigger writes request codes to a trigger socket, or FIFO, and does not wait
// (§2.2). An absent or dead service is an error the caller may ignore: the
// queue manager looks into the queue from time to time anyway.
func Trigger(ctx context.Context, path string, codes string) error {
	c, err := connect(ctx, path)
	if errors.Is(err, unix.ECONNREFUSED) {
		if st, e := os.Lstat(path); e == nil && st.Mode()&fs.ModeNamedPipe != 0 {
			return triggerFIFO(path, codes)
		}
	}
	if err != nil {
		return err
	}
	return writeTrigger(ctx, c, path, codes)
}

func writeTrigger(ctx context.Context, c net.Conn, path, codes string) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(triggerTimeout)
	}
	c.SetDeadline(deadline)
	// One write with the NUL: a receiver reads once.
	_, err := c.Write(append([]byte(codes), 0))
	if e := c.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("trigger %s: %w", path, err)
	}
	return nil
}

func triggerFIFO(path, codes string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(codes)
	return errors.Join(err, f.Close())
}

// triggerPause is the least time between two triggers of Triggers: under load
// the receiver is busy with the queue anyway and sees what came meanwhile.
const triggerPause = 2 * time.Millisecond

// Triggers coalesces: many calls of Notify make at most one trigger at a time,
// and one more when calls came meanwhile. Safe for concurrent use.
type Triggers struct {
	path, codes string
	send        func(ctx context.Context, path, codes string) error

	mu      sync.Mutex
	running bool
	again   bool
	idle    chan struct{} // closed when nothing is being sent
	err     error
}

// NewTriggers returns triggers with the given codes for one service.
func NewTriggers(path, codes string) *Triggers {
	return &Triggers{path: path, codes: codes, send: Trigger}
}

// Notify makes sure that a trigger is sent that begins after the call. It does
// not wait for it.
func (t *Triggers) Notify() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = true
	if !t.running {
		t.running = true
		t.idle = make(chan struct{})
		go t.run(t.idle)
	}
}

func (t *Triggers) run(idle chan struct{}) {
	defer close(idle)
	for {
		t.mu.Lock()
		if !t.again {
			t.running = false
			t.mu.Unlock()
			return
		}
		t.again = false
		t.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), triggerTimeout)
		err := t.send(ctx, t.path, t.codes)
		cancel()
		t.mu.Lock()
		t.err = err
		t.mu.Unlock()
		time.Sleep(triggerPause)
	}
}

// Wait returns when what was notified has been sent, with the last trigger's
// error.
func (t *Triggers) Wait() error {
	t.mu.Lock()
	idle := t.idle
	t.mu.Unlock()
	if idle != nil {
		<-idle
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
