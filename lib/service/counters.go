package service

import (
	"sort"
	"sync"
	"sync/atomic"
)

// Counters is a worker's registry of numbers that only grow, and of numbers that
// are read when asked for. sealpost status and the metrics endpoint read them
// through the control socket. A nil *Counters counts for nobody (tests).
type Counters struct {
	mu     sync.Mutex
	counts map[string]*atomic.Int64
	gauges map[string]func() int64
}

// NewCounters returns an empty registry.
func NewCounters() *Counters {
	return &Counters{counts: map[string]*atomic.Int64{}, gauges: map[string]func() int64{}}
}

// Counter returns the counter of that name, made at its first use. Keep it: the
// registry has a lock.
func (c *Counters) Counter(name string) *atomic.Int64 {
	if c == nil {
		return new(atomic.Int64)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts[name]
	if n == nil {
		n = new(atomic.Int64)
		c.counts[name] = n
	}
	return n
}

// Gauge registers a number that read returns when somebody asks.
func (c *Counters) Gauge(name string, read func() int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gauges[name] = read
}

// Count is one named number.
type Count struct {
	Name  string
	Value int64
}

// Snapshot is all numbers of now, sorted by name.
func (c *Counters) Snapshot() []Count {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	out := make([]Count, 0, len(c.counts)+len(c.gauges))
	for name, n := range c.counts {
		out = append(out, Count{name, n.Load()})
	}
	gauges := make(map[string]func() int64, len(c.gauges))
	for name, read := range c.gauges {
		gauges[name] = read
	}
	c.mu.Unlock()
	for name, read := range gauges {
		out = append(out, Count{name, read()})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
