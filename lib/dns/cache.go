package dns

import (
	"sync"
	"time"
)

// maxCached bounds the number of answers kept.
const maxCached = 4096

type question struct {
	name  string // canonical
	qtype uint16
}

type cached struct {
	answer  answer
	expires time.Time
}

// cache keeps answers for their TTL. When it is full, expired answers go, then
// arbitrary ones: a flood of names costs lookups, not memory.
type cache struct {
	mu  sync.Mutex
	all map[question]cached
	now func() time.Time
}

func (c *cache) get(q question) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, ok := c.all[q]
	if !ok || !c.now().Before(entry.expires) {
		return answer{}, false
	}
	return entry.answer, true
}

func (c *cache) put(q question, a answer) {
	if a.ttl <= 0 || a.kind == ErrMalformed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.all) >= maxCached {
		c.shrink(now)
	}
	c.all[q] = cached{answer: a, expires: now.Add(a.ttl)}
}

func (c *cache) shrink(now time.Time) {
	for q, entry := range c.all {
		if !now.Before(entry.expires) {
			delete(c.all, q)
		}
	}
	for q := range c.all {
		if len(c.all) < maxCached*7/8 {
			return
		}
		delete(c.all, q)
	}
}
