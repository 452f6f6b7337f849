package service

import (
	"sync/atomic"
	"time"
)

// limiter lets something happen at most once in a while.
type limiter struct {
	every time.Duration
	last  atomic.Int64 // Unix nanoseconds
}

// allow reports whether it may happen now.
func (l *limiter) allow(now time.Time) bool {
	last := l.last.Load()
	if last != 0 && now.UnixNano()-last < int64(l.every) {
		return false
	}
	return l.last.CompareAndSwap(last, now.UnixNano())
}
