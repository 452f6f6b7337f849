// Package schedule decides what the queue manager delivers next: a state
// machine over values, without input or output, without a clock of its own
// (every method that depends on time takes it) and without locks.
//
// The terms are those of Postfix's SCHEDULER_README:
//
//	transport  what is delivered by the agents of one master.cf service
//	queue      what goes to one destination over one transport; it has a
//	           concurrency window that grows with successful deliveries and
//	           shrinks with failed ones
//	job        one message within one transport
//	entry      recipients of one message that go out in one delivery request
//
// Jobs of a transport stand in a list, oldest message first. The next entry is
// taken from the first job that has one for a queue with room in its window;
// queues without room are not looked at. A job with many entries earns a
// delivery slot with each Limits.SlotCost entries that are delivered; another
// job that needs no more slots than were earned goes in front of it (Preemption
// below). So a message to one recipient does not wait behind 50,000, and the
// delivery time of the large one grows at most by SlotCost/(SlotCost-1).
//
// A queue whose deliveries fail to connect is suspended for Limits.Backoff, a
// transport whose agents do not answer for Limits.RetryTime; their entries are
// given back to the caller, who defers them.
package schedule

import (
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
)

// Limits are the parameters of one transport; the comments name them without
// the prefix "default_".
type Limits struct {
	InitialConcurrency int           // initial_destination_concurrency
	Concurrency        int           // destination_concurrency_limit, 0: no limit
	Recipients         int           // destination_recipient_limit, 0: no limit
	Positive, Negative Feedback      // destination_concurrency_*_feedback
	FailedCohorts      float64       // destination_concurrency_failed_cohort_limit, 0: never dead
	RateDelay          time.Duration // destination_rate_delay
	TransportRateDelay time.Duration // transport_rate_delay
	SlotCost           int           // delivery_slot_cost, 0: no preemption
	SlotDiscount       int           // delivery_slot_discount, percent
	SlotLoan           int           // delivery_slot_loan
	MinSlots           int           // minimum_delivery_slots
	Deliveries         int           // simultaneous deliveries over the transport, 0: no limit
	Backoff            time.Duration // minimal_backoff_time: how long a destination stays suspended
	RetryTime          time.Duration // transport_retry_time: how long a transport stays suspended
}

// idleTime is how long a destination without mail is remembered, with its window:
// long enough to notice a steady flow of single messages.
const idleTime = 5 * time.Second

// Scheduler is the state of all transports. It is not safe for concurrent use.
type Scheduler struct {
	limits     func(transport string) Limits
	transports map[string]*Transport
	timers     timers
	picks      uint64
	recipients int
}

// New returns a scheduler that asks limits once for each transport it meets.
func New(limits func(transport string) Limits) *Scheduler {
	return &Scheduler{limits: limits, transports: make(map[string]*Transport)}
}

// Recipients is the number of recipients in memory.
func (s *Scheduler) Recipients() int { return s.recipients }

// Transport finds or makes a transport.
func (s *Scheduler) Transport(name string) *Transport {
	t := s.transports[name]
	if t == nil {
		t = &Transport{Name: name, Limits: s.limits(name), queues: make(map[string]*Queue)}
		if t.Limits.RateDelay > 0 {
			t.Limits.Concurrency, t.Limits.InitialConcurrency = 1, 1
		}
		t.Limits.InitialConcurrency = max(t.Limits.InitialConcurrency, 1)
		if c := t.Limits.Concurrency; c > 0 {
			t.Limits.InitialConcurrency = min(t.Limits.InitialConcurrency, c)
		}
		s.transports[name] = t
	}
	return t
}

// Transports calls fn for each transport.
func (s *Scheduler) Transports(fn func(*Transport)) {
	for _, t := range s.transports {
		fn(t)
	}
}

// Queue finds or makes the queue of a transport that key names; nexthop is what
// its delivery requests say.
func (s *Scheduler) Queue(t *Transport, key, nexthop string) *Queue {
	q := t.queues[key]
	if q == nil {
		q = &Queue{Transport: t, Nexthop: nexthop, key: key, window: t.Limits.InitialConcurrency, openIndex: -1}
		t.queues[key] = q
	}
	return q
}

// Assign adds recipients of a message to a queue, as entries of at most
// Limits.Recipients each.
func (s *Scheduler) Assign(m *Message, q *Queue, rcpts []mailproto.Recipient) {
	if len(rcpts) == 0 {
		return
	}
	job := m.job(q.Transport)
	p := job.peer(q)
	limit := q.Transport.Limits.Recipients
	if m.OneRecipient {
		limit = 1
	}
	m.recipients += len(rcpts)
	s.recipients += len(rcpts)
	for len(rcpts) > 0 {
		n := len(rcpts)
		if limit > 0 {
			n = min(n, limit)
		}
		p.push(&Entry{Message: m, Queue: q, Recipients: rcpts[:n:n], peer: p})
		rcpts = rcpts[n:]
	}
	q.Transport.list(job)
	q.enlist(p)
	q.refresh()
}

// Pick takes the next entry of a transport, nil when nothing can be delivered
// now. The caller owes a Finish for it.
func (s *Scheduler) Pick(t *Transport, now time.Time) *Entry {
	if !t.Ready() {
		return nil
	}
	first := t.open[0].peers[0].job
	if c := t.candidate(first, now); c != nil {
		t.moveBefore(c, first)
	}
	q := t.open[0]
	p := q.peers[0]
	e := p.pop()
	s.picks++
	p.lastPick = s.picks
	p.job.selected++
	q.delist(p)
	q.busy++
	t.busy++
	if p.job.todo == 0 {
		t.unlist(p.job)
	}
	q.refresh()
	e.Backlog = q.todo > 0 || !q.lastDone.IsZero() && now.Sub(q.lastDone) < idleTime
	return e
}

// Outcome is how a delivery ended, seen from the destination.
type Outcome int

const (
	Delivered     Outcome = iota // the destination was reached, whatever it said about recipients
	Unreachable                  // no connection, no greeting: the destination is unusable
	TransportDead                // the agent did not answer
)

// Finish ends a delivery. It returns entries that cannot be delivered for now,
// taken from their queues: those of the destination or the transport that has
// become suspended. why is kept as the reason of the suspension.
func (s *Scheduler) Finish(e *Entry, o Outcome, why dsn.Status, now time.Time) []*Entry {
	q, t := e.Queue, e.Queue.Transport
	q.busy--
	t.busy--
	s.drop(e)
	var drained []*Entry
	switch o {
	case Delivered:
		q.succeeded(s)
		q.lastDone = now
	case Unreachable:
		if q.failed(s, why, now) {
			drained = s.drain(q, nil)
		}
	case TransportDead:
		drained = s.SuspendTransport(t, why, now)
	}
	if t.Limits.RateDelay > 0 && q.window > 0 {
		q.pausedUntil = now.Add(t.Limits.RateDelay)
		s.timers.add(q.pausedUntil, q, nil)
	}
	if t.Limits.TransportRateDelay > 0 {
		t.pausedUntil = now.Add(t.Limits.TransportRateDelay)
		s.timers.add(t.pausedUntil, nil, t)
	}
	q.refresh()
	s.rest(q, now)
	return drained
}

// drop takes the recipients of an entry that leaves the scheduler off the counts.
func (s *Scheduler) drop(e *Entry) {
	e.Message.recipients -= len(e.Recipients)
	s.recipients -= len(e.Recipients)
}

// SuspendTransport suspends a transport and returns all its waiting entries.
func (s *Scheduler) SuspendTransport(t *Transport, why dsn.Status, now time.Time) []*Entry {
	if !t.dead {
		t.dead, t.Reason = true, why
		t.deadUntil = now.Add(t.Limits.RetryTime)
		s.timers.add(t.deadUntil, nil, t)
	}
	var drained []*Entry
	for _, q := range t.queues {
		drained = s.drain(q, drained)
	}
	return drained
}

// drain takes all waiting entries of a queue.
func (s *Scheduler) drain(q *Queue, to []*Entry) []*Entry {
	for len(q.peers) > 0 {
		p := q.peers[0]
		for p.head < len(p.entries) {
			e := p.pop()
			s.drop(e)
			to = append(to, e)
		}
		q.delist(p)
		if p.job.todo == 0 {
			q.Transport.unlist(p.job)
		}
	}
	q.refresh()
	return to
}

// Revive forgets that a queue and its transport are suspended (the unthrottle
// bit of a queue file).
func (s *Scheduler) Revive(q *Queue) {
	q.Transport.dead = false
	if q.window == 0 {
		q.revive()
	}
	q.refresh()
}

// FlushDead forgets all suspended destinations and transports.
func (s *Scheduler) FlushDead() {
	for _, t := range s.transports {
		t.dead = false
		for _, q := range t.queues {
			if q.window == 0 {
				q.revive()
			}
			q.refresh()
		}
	}
}

// rest notes that a queue may have nothing left to do, to forget it later.
func (s *Scheduler) rest(q *Queue, now time.Time) {
	if q.todo == 0 && q.busy == 0 && !q.resting {
		q.resting = true
		s.timers.add(now.Add(idleTime), q, nil)
	}
}

// Next is when Advance has something to do; ok is false when there is nothing.
func (s *Scheduler) Next() (at time.Time, ok bool) {
	if len(s.timers) == 0 {
		return time.Time{}, false
	}
	return s.timers[0].at, true
}

// Advance ends suspensions and pauses that are over. It returns the transports
// that may have become ready.
func (s *Scheduler) Advance(now time.Time) []*Transport {
	var ready []*Transport
	for len(s.timers) > 0 && !s.timers[0].at.After(now) {
		tm := s.timers.pop()
		t := tm.transport
		if tm.queue != nil {
			t = tm.queue.Transport
			s.expire(tm.queue, now)
		} else if t.dead && !t.deadUntil.After(now) {
			t.dead = false
		}
		if !t.pausedUntil.After(now) {
			t.pausedUntil = time.Time{}
		}
		if t.Ready() && (len(ready) == 0 || ready[len(ready)-1] != t) {
			ready = append(ready, t)
		}
	}
	return ready
}

// expire does what the time has come for in one queue.
func (s *Scheduler) expire(q *Queue, now time.Time) {
	if q.window == 0 && !q.deadUntil.After(now) {
		q.revive()
	}
	if !q.pausedUntil.After(now) {
		q.pausedUntil = time.Time{}
	}
	q.refresh()
	if !q.resting && q.todo == 0 && q.busy == 0 {
		s.rest(q, now)
		return
	}
	if !q.resting {
		return
	}
	if q.todo > 0 || q.busy > 0 {
		q.resting = false
		return
	}
	if q.window == 0 || !q.pausedUntil.IsZero() {
		q.resting = false // the end of the suspension comes here again
		return
	}
	if now.Sub(q.lastDone) < idleTime {
		s.timers.add(q.lastDone.Add(idleTime), q, nil)
		return
	}
	if q.Transport.queues[q.key] == q {
		delete(q.Transport.queues, q.key)
	}
}
