package main

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/smtpio"
)

// enter counts the connection and returns how many there are now from its client, or
// from its network of smtpd_client_ipv4_prefix_length and its IPv6 twin. The count goes
// on when another worker takes over. It does what anvil(8) does in Postfix.
func (s *session) enter() int {
	if !s.group.IsValid() {
		return 0
	}
	s.counted = s.group.String()
	return s.srv.env.Tally.Add(s.counted, 1)
}

// leave forgets the connection if it entered.
func (s *session) leave() {
	if s.counted != "" {
		s.srv.env.Tally.Add(s.counted, -1)
	}
}

// drains wakes idle sessions when the worker is to leave: one goroutine waits
// for all of them.
type drains struct {
	mu    sync.Mutex
	conns map[<-chan struct{}]map[*smtpio.Conn]struct{}
}

// watch interrupts conn when drain is closed, until stop is called.
func (d *drains) watch(drain <-chan struct{}, conn *smtpio.Conn) (stop func()) {
	if drain == nil {
		return func() {}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		d.conns = map[<-chan struct{}]map[*smtpio.Conn]struct{}{}
	}
	set := d.conns[drain]
	if set == nil {
		set = map[*smtpio.Conn]struct{}{}
		d.conns[drain] = set
		// It lives as long as the worker, whose drain channel it waits for.
		go d.wait(drain)
	}
	set[conn] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(set, conn)
	}
}

func (d *drains) wait(drain <-chan struct{}) {
	<-drain
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.conns[drain] {
		conn.Interrupt()
	}
	delete(d.conns, drain)
}

// diskSpace tells how much room the queue's file system has. The answer is
// asked for once per second at most: it is needed for every message.
type diskSpace struct {
	mu    sync.Mutex
	dir   string
	now   func() time.Time
	read  func(dir string) (int64, error)
	asked time.Time
	bytes int64
	err   error
}

func (d *diskSpace) free() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.now(); d.asked.IsZero() || now.Sub(d.asked) >= time.Second || now.Before(d.asked) {
		d.asked = now
		d.bytes, d.err = d.read(d.dir)
	}
	return d.bytes, d.err
}

// statfs is the room for users without privileges, in bytes.
func statfs(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	free := st.Bavail
	if limit := uint64(1<<62) / uint64(max(st.Bsize, 1)); free > limit {
		free = limit
	}
	return int64(free) * st.Bsize, nil
}
