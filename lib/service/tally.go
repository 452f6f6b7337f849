package service

import (
	"bufio"
	"net"
	"sync"
	"time"

	"sealpost/lib/attr"
)

// Tally are numbers that count over a worker and those that it replaced and that
// still serve their last sessions: what is limited stays limited across a reload. The
// successor hears the numbers of its predecessor on the control socket (ControlCounts)
// before its first session, and every change until the predecessor has left. The
// number under the empty key is that of the sessions.
type Tally struct {
	mu        sync.Mutex
	own       map[string]int
	inherited map[string]int
	followers map[*follower]struct{}
	changed   func() // an inherited number has changed; nil: nobody cares
}

// follower is a successor that hears of changes.
type follower struct {
	dirty map[string]bool
	wake  chan struct{}
}

// NewTally returns numbers that are all 0.
func NewTally() *Tally {
	return &Tally{own: make(map[string]int), inherited: make(map[string]int), followers: make(map[*follower]struct{})}
}

// Add changes a number and returns what it is now over all workers.
func (t *Tally) Add(key string, delta int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	set(t.own, key, t.own[key]+delta)
	t.tell(key)
	return t.own[key] + t.inherited[key]
}

// Len is how many numbers are not 0.
func (t *Tally) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.own) + len(t.inherited)
}

// others is the number without this worker's share.
func (t *Tally) others(key string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inherited[key]
}

func set(m map[string]int, key string, n int) {
	if n > 0 {
		m[key] = n
	} else {
		delete(m, key)
	}
}

// tell wakes the followers. The caller holds mu.
func (t *Tally) tell(key string) {
	for f := range t.followers {
		f.dirty[key] = true
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// inherit takes a number of the predecessor.
func (t *Tally) inherit(key string, n int) {
	t.mu.Lock()
	set(t.inherited, key, n)
	t.tell(key)
	changed := t.changed
	t.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// disinherit forgets the predecessor, who is gone.
func (t *Tally) disinherit() {
	t.mu.Lock()
	for key := range t.inherited {
		delete(t.inherited, key)
		t.tell(key)
	}
	changed := t.changed
	t.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// serve tells a successor all numbers, that of the sessions last, then every change,
// until it or this process goes away.
func (t *Tally) serve(conn net.Conn) {
	f := &follower{dirty: make(map[string]bool), wake: make(chan struct{}, 1)}
	t.mu.Lock()
	for _, m := range []map[string]int{t.own, t.inherited} {
		for key := range m {
			f.dirty[key] = true
		}
	}
	f.dirty[""] = true
	t.followers[f] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.followers, f)
		t.mu.Unlock()
	}()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		conn.SetReadDeadline(time.Time{}) //nolint:errcheck // the read tells
		conn.Read(make([]byte, 1))        //nolint:errcheck // it has nothing to say
	}()
	for {
		conn.SetWriteDeadline(time.Now().Add(controlTimeout)) //nolint:errcheck // the write tells
		if _, err := conn.Write(t.changes(f)); err != nil {
			return
		}
		select {
		case <-f.wake:
		case <-gone:
			return
		}
	}
}

// changes are the numbers that a follower does not know yet.
func (t *Tally) changes(f *follower) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var e attr.Encoder
	_, sessions := f.dirty[""]
	delete(f.dirty, "")
	add := func(key string) {
		e.Str("key", key)
		e.Int("count", t.own[key]+t.inherited[key])
		e.End()
	}
	for key := range f.dirty {
		add(key)
	}
	if sessions {
		add("")
	}
	clear(f.dirty)
	return e.Bytes()
}

// follow hears the predecessor's numbers. It returns when all of them are known;
// changes come later. Nobody to ask is the usual case, and no error.
func (t *Tally) follow(path string) {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return
	}
	conn.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // reads and writes tell
	d := attr.NewDecoder(bufio.NewReader(conn), attr.Lenient)
	d.Const("protocol", ProtoControl)
	var e attr.Encoder
	e.Str("request", ControlCounts)
	e.Int("level", 0)
	e.End()
	if d.End() == nil {
		conn.Write(e.Bytes()) //nolint:errcheck // the read tells
	}
	next := func() (key string, ok bool) {
		key, n := d.Str("key"), d.Int("count")
		if ok = d.End() == nil; ok {
			t.inherit(key, n)
		}
		return key, ok
	}
	for {
		key, ok := next()
		if !ok { // no predecessor that knows this request
			conn.Close()
			t.disinherit()
			return
		}
		if key == "" {
			break
		}
	}
	conn.SetDeadline(time.Time{}) //nolint:errcheck // as above
	go func() {
		defer conn.Close()
		for {
			if _, ok := next(); !ok {
				t.disinherit()
				return
			}
		}
	}()
}
