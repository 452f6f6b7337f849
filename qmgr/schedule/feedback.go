package schedule

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/dsn"
)

// Feedback is how much one delivery changes a destination's concurrency: a
// number in 0..1, divided by nothing, by the concurrency or by its square root.
type Feedback struct {
	amount float64
	over   divisor
}

type divisor uint8

const (
	byOne divisor = iota
	byConcurrency
	byRoot
)

// ErrFeedback: a feedback setting that is not of a known form or out of range.
var ErrFeedback = errors.New(`want "number", "number / number", "number / concurrency" or "number / sqrt_concurrency", with a value from 0 to 1`)

// ParseFeedback parses the value of a *_feedback parameter.
func ParseFeedback(text string) (Feedback, error) {
	head, tail, divided := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(strings.TrimSpace(head), 64)
	if err != nil {
		return Feedback{}, fmt.Errorf("%q: %w", text, ErrFeedback)
	}
	f := Feedback{amount: n}
	if divided {
		switch tail = strings.TrimSpace(tail); tail {
		case "concurrency":
			f.over = byConcurrency
		case "sqrt_concurrency":
			f.over = byRoot
		default:
			d, err := strconv.ParseFloat(tail, 64)
			if err != nil || d <= 0 {
				return Feedback{}, fmt.Errorf("%q: %w", text, ErrFeedback)
			}
			f.amount /= d
		}
	}
	if !(f.amount >= 0 && f.amount <= 1) {
		return Feedback{}, fmt.Errorf("%q: %w", text, ErrFeedback)
	}
	return f, nil
}

// at is the feedback at concurrency n.
func (f Feedback) at(n int) float64 {
	switch f.over {
	case byConcurrency:
		return f.amount / float64(n)
	case byRoot:
		return f.amount / math.Sqrt(float64(n))
	}
	return f.amount
}

// rounding covers the error of repeated addition of fractions.
const rounding = 1e-6

// succeeded is positive feedback: the concurrency grows by one at the end of
// 1/feedback successes. It does not run far ahead of the deliveries that there
// really are, else negative feedback would take effect too late.
func (q *Queue) succeeded(s *Scheduler) {
	if q.window == 0 {
		q.revive() // it answered after all
		return
	}
	q.failCohorts = 0
	lim := &q.Transport.Limits
	if q.window >= q.busy+1+lim.InitialConcurrency {
		return
	}
	q.success += lim.Positive.at(q.window)
	for q.success+rounding >= 1 {
		q.window++
		q.failure = 0
		q.success--
	}
	if lim.Concurrency > 0 && q.window > lim.Concurrency {
		q.window = lim.Concurrency
	}
}

// failed is negative feedback: the concurrency shrinks by one at the start of
// 1/feedback failures. It reports whether the destination was suspended now.
func (q *Queue) failed(s *Scheduler, why dsn.Status, now time.Time) bool {
	if q.window == 0 {
		return false
	}
	lim := &q.Transport.Limits
	q.failCohorts += 1 / float64(q.window)
	if lim.FailedCohorts > 0 && q.failCohorts+rounding >= lim.FailedCohorts {
		q.window = 0
		q.Reason = why
		q.deadUntil = now.Add(lim.Backoff)
		s.timers.add(q.deadUntil, q, nil)
		return true
	}
	q.failure -= lim.Negative.at(q.window)
	for q.failure+rounding < 0 {
		q.window--
		q.failure++
		q.success = 0
	}
	q.window = max(q.window, 1)
	return false
}

func (q *Queue) revive() {
	q.window = q.Transport.Limits.InitialConcurrency
	q.success, q.failure, q.failCohorts = 0, 0, 0
	q.Reason = dsn.Status{}
}
