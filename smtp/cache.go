package main

import (
	"slices"
	"sync"
	"time"
)

// Bounds on idle connections. One destination cannot fill the cache, and a
// connection more costs no more than a new one later.
const (
	maxIdlePerLabel = 100
	maxIdle         = 1000
)

// cache keeps connections between transactions (the role of scache(8)): by the
// destination a message is for, so that not even a lookup is made, and by the
// endpoint, so that destinations that share a server share its connections.
//
// The label of a destination or endpoint holds everything that a message must
// have in common with the one before; what the connection itself has shown is
// checked against the message each time (Facts).
type cache struct {
	limit time.Duration // how long a connection may idle
	now   func() time.Time

	mu    sync.Mutex
	byKey map[string][]*session // each session under both labels, oldest first
	count int
	timer *time.Timer
}

func newCache(limit time.Duration, now func() time.Time) *cache {
	return &cache{limit: limit, now: now, byKey: make(map[string][]*session)}
}

// put keeps an idle session. What does not fit is the caller's to close.
func (c *cache) put(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit <= 0 || c.count >= maxIdle || len(c.byKey[s.destLabel]) >= maxIdlePerLabel ||
		len(c.byKey[s.endpLabel]) >= maxIdlePerLabel {
		return false
	}
	s.idleSince = c.now()
	c.byKey[s.destLabel] = append(c.byKey[s.destLabel], s)
	c.byKey[s.endpLabel] = append(c.byKey[s.endpLabel], s)
	c.count++
	if c.timer == nil {
		c.timer = time.AfterFunc(c.limit, c.sweep)
	}
	return true
}

// take gives the connection that was used last under a label, of those that fit:
// the longer the others idle, the sooner they can go. A connection that died
// meanwhile is closed here.
func (c *cache) take(label string, fits func(*session) bool) *session {
	c.mu.Lock()
	list := slices.Clone(c.byKey[label])
	c.mu.Unlock()
	for _, s := range slices.Backward(list) {
		if c.now().Sub(s.idleSince) < c.limit && !s.Pending() {
			if fits(s) && c.claim(label, s) {
				return s
			}
			continue
		}
		if c.claim(label, s) {
			s.Close()
		}
	}
	return nil
}

// claim takes an idle session out of the cache; false when another one did.
func (c *cache) claim(label string, s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.byKey[label], s) {
		return false
	}
	c.remove(s)
	return true
}

// remove takes a session out of both lists. The mutex is held.
func (c *cache) remove(s *session) {
	for _, label := range [...]string{s.destLabel, s.endpLabel} {
		list := c.byKey[label]
		for i, other := range list {
			if other == s {
				copy(list[i:], list[i+1:])
				list[len(list)-1] = nil
				list = list[:len(list)-1]
				break
			}
		}
		if len(list) == 0 {
			delete(c.byKey, label)
		} else {
			c.byKey[label] = list
		}
	}
	c.count--
}

// sweep ends sessions that idle too long. It is the one janitor: it runs while
// there is something to do. QUIT is sent without waiting.
func (c *cache) sweep() {
	var old []*session
	c.mu.Lock()
	now := c.now()
	next := c.limit
	for _, list := range c.byKey {
		for _, s := range list {
			idle := now.Sub(s.idleSince)
			if idle < c.limit {
				next = min(next, c.limit-idle)
			} else if s.destLabel == s.endpLabel || sameList(c.byKey[s.destLabel], list) {
				old = append(old, s) // once, not for both labels
			}
		}
	}
	for _, s := range old {
		c.remove(s)
	}
	if c.count > 0 {
		c.timer.Reset(max(next, time.Millisecond))
	} else {
		c.timer = nil
	}
	c.mu.Unlock()
	for _, s := range old {
		s.Farewell()
	}
}

func sameList(a, b []*session) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

// close ends all idle sessions.
func (c *cache) close() {
	c.mu.Lock()
	var all []*session
	for _, list := range c.byKey {
		all = append(all, list...)
	}
	c.byKey = make(map[string][]*session)
	c.count = 0
	c.mu.Unlock()
	for _, s := range all {
		s.Close() // twice for two labels, which is harmless
	}
}
