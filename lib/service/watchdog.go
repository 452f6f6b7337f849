package service

import "time"

// Watchdog ends a process in which a step takes so long that something must be
// wrong: master starts another. Goroutines that hang hold up nobody else, so only
// work that everybody waits for is watched. A nil Watchdog watches nothing.
type Watchdog struct {
	limit   time.Duration
	expired func(what string)
}

// NewWatchdog calls expired with the name of the step that took longer than limit.
// 0: nothing is watched.
func NewWatchdog(limit time.Duration, expired func(what string)) *Watchdog {
	if limit <= 0 {
		return nil
	}
	return &Watchdog{limit, expired}
}

// Begin begins a step, which ends when the function that it returns is called. what
// and object, which may be empty, name the step.
func (w *Watchdog) Begin(what, object string) (end func()) {
	if w == nil {
		return func() {}
	}
	t := time.AfterFunc(w.limit, func() { w.expired(what + object) })
	return func() { t.Stop() }
}
