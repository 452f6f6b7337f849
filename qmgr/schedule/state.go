package schedule

import (
	"container/heap"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
)

// Message is one message in the active queue.
type Message struct {
	Enqueued     time.Time // when it entered the active queue
	Unread       int       // recipients that are still in the queue file, at most
	OneRecipient bool      // each recipient in a request of its own (VERP)
	Data         any       // the caller's

	jobs       []*Job
	recipients int
}

// Recipients is the number of recipients that wait or are being delivered.
func (m *Message) Recipients() int { return m.recipients }

// Front reports whether the message is at the head of a transport's job list.
func (m *Message) Front() bool {
	for _, j := range m.jobs {
		if j.listed && j.transport.head == j {
			return true
		}
	}
	return false
}

// Transport is one of the transports of the message, nil before it has any.
func (m *Message) Transport() *Transport {
	if len(m.jobs) == 0 {
		return nil
	}
	return m.jobs[0].transport
}

func (m *Message) job(t *Transport) *Job {
	for _, j := range m.jobs {
		if j.transport == t {
			return j
		}
	}
	j := &Job{message: m, transport: t}
	m.jobs = append(m.jobs, j)
	return j
}

// Entry is what goes out in one delivery request.
type Entry struct {
	Message    *Message
	Queue      *Queue
	Recipients []mailproto.Recipient
	// Backlog: more mail for the destination waits or went out just now, so that
	// its connection is worth keeping. Set by Pick.
	Backlog bool

	peer *peer
}

// Transport is one delivery service.
type Transport struct {
	Name   string
	Limits Limits
	Reason dsn.Status // why it is suspended

	// Connecting is the caller's count of agents that were asked for and have not
	// been given an entry yet.
	Connecting int

	queues map[string]*Queue
	open   openHeap // queues with mail and room in their window
	busy   int

	head, tail *Job // the job list

	dead        bool
	deadUntil   time.Time
	pausedUntil time.Time

	candidates []*Job // see candidate
	soughtAt   time.Time
	more       bool
}

// Ready reports whether Pick would find an entry, apart from pauses that end
// with time.
func (t *Transport) Ready() bool {
	if t.dead || !t.pausedUntil.IsZero() || len(t.open) == 0 {
		return false
	}
	if t.Limits.TransportRateDelay > 0 && t.busy > 0 {
		return false
	}
	return t.Limits.Deliveries == 0 || t.busy < t.Limits.Deliveries
}

// Deliverable is the number of entries that Pick would find one after the other,
// at most limit.
func (t *Transport) Deliverable(limit int) int {
	if !t.Ready() {
		return 0
	}
	if t.Limits.TransportRateDelay > 0 {
		limit = min(limit, 1)
	}
	if t.Limits.Deliveries > 0 {
		limit = min(limit, t.Limits.Deliveries-t.busy)
	}
	n := 0
	for _, q := range t.open {
		if n += min(q.todo, q.window-q.busy); n >= limit {
			return limit
		}
	}
	return n
}

// Busy is the number of deliveries under way.
func (t *Transport) Busy() int { return t.busy }

// Dead reports whether the transport is suspended.
func (t *Transport) Dead() bool { return t.dead }

// Largest is the queue with the most entries, nil if there is none.
func (t *Transport) Largest() *Queue {
	var largest *Queue
	for _, q := range t.queues {
		if largest == nil || q.todo+q.busy > largest.todo+largest.busy {
			largest = q
		}
	}
	return largest
}

// Queue is one destination of a transport.
type Queue struct {
	Transport *Transport
	Nexthop   string
	Reason    dsn.Status // why it is suspended

	key       string
	window    int // 0: suspended
	busy      int
	todo      int // entries
	peers     peerHeap
	openIndex int // in Transport.open, -1: not there

	success, failure, failCohorts float64

	deadUntil   time.Time
	pausedUntil time.Time
	lastDone    time.Time
	resting     bool // a timer will look whether it can be forgotten
}

// Dead reports whether the destination is suspended.
func (q *Queue) Dead() bool { return q.window == 0 }

// Window is the number of deliveries that may run at a time.
func (q *Queue) Window() int { return q.window }

// Busy is the number of deliveries under way, Todo that of entries that wait.
func (q *Queue) Busy() int { return q.busy }
func (q *Queue) Todo() int { return q.todo }

// refresh puts the queue into its transport's heap of open queues, moves it
// there, or takes it out.
func (q *Queue) refresh() {
	open := q.todo > 0 && q.busy < q.window && q.pausedUntil.IsZero()
	h := &q.Transport.open
	switch {
	case open && q.openIndex < 0:
		heap.Push(h, q)
	case open:
		heap.Fix(h, q.openIndex)
	case q.openIndex >= 0:
		heap.Remove(h, q.openIndex)
	}
}

// enlist counts a peer's new entries and gives it its place in the queue.
func (q *Queue) enlist(p *peer) {
	n := p.waiting() - p.counted
	p.counted += n
	q.todo += n
	p.job.todo += n
	if p.index < 0 {
		heap.Push(&q.peers, p)
	} else {
		heap.Fix(&q.peers, p.index)
	}
}

// delist counts entries that were taken from a peer.
func (q *Queue) delist(p *peer) {
	n := p.counted - p.waiting()
	p.counted -= n
	q.todo -= n
	p.job.todo -= n
	if p.counted == 0 {
		heap.Remove(&q.peers, p.index)
		p.job.forget(p)
	} else {
		heap.Fix(&q.peers, p.index)
	}
}

// Job is one message within one transport.
type Job struct {
	message   *Message
	transport *Transport
	todo      int // entries that wait
	selected  int // entries that were delivered: they earn slots
	used      int // slots that other jobs used

	prev, next *Job
	listed     bool
	label      int64 // grows along the list

	few  []*peer          // peers, while there are few
	many map[*Queue]*peer // peers, once there are many
}

const fewPeers = 8

// peer is what one job has for one queue.
type peer struct {
	job      *Job
	queue    *Queue
	entries  []*Entry
	head     int // entries before it were taken
	counted  int
	index    int // in queue.peers, -1: not there
	lastPick uint64
}

func (j *Job) peer(q *Queue) *peer {
	if j.many != nil {
		p := j.many[q]
		if p == nil {
			p = &peer{job: j, queue: q, index: -1}
			j.many[q] = p
		}
		return p
	}
	for _, p := range j.few {
		if p.queue == q {
			return p
		}
	}
	p := &peer{job: j, queue: q, index: -1}
	if j.few = append(j.few, p); len(j.few) > fewPeers {
		j.many = make(map[*Queue]*peer)
		for _, p := range j.few {
			j.many[p.queue] = p
		}
		j.few = nil
	}
	return p
}

func (j *Job) forget(p *peer) {
	if j.many != nil {
		delete(j.many, p.queue)
		return
	}
	for i, o := range j.few {
		if o == p {
			j.few = append(j.few[:i], j.few[i+1:]...)
			return
		}
	}
}

// eachPeer calls fn until it returns false.
func (j *Job) eachPeer(fn func(*peer) bool) {
	for _, p := range j.few {
		if !fn(p) {
			return
		}
	}
	for _, p := range j.many {
		if !fn(p) {
			return
		}
	}
}

func (p *peer) push(e *Entry) { p.entries = append(p.entries, e) }
func (p *peer) waiting() int  { return len(p.entries) - p.head }
func (p *peer) pop() *Entry {
	e := p.entries[p.head]
	p.entries[p.head] = nil
	p.head++
	return e
}

// before is the order of delivery: the job list, and in turn within a job.
func (p *peer) before(o *peer) bool {
	if p.job != o.job {
		return p.job.label < o.job.label
	}
	return p.lastPick < o.lastPick
}

type peerHeap []*peer

func (h peerHeap) Len() int           { return len(h) }
func (h peerHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h peerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *peerHeap) Push(x any) {
	p := x.(*peer)
	p.index = len(*h)
	*h = append(*h, p)
}
func (h *peerHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	p.index = -1
	return p
}

type openHeap []*Queue

func (h openHeap) Len() int           { return len(h) }
func (h openHeap) Less(i, j int) bool { return h[i].peers[0].before(h[j].peers[0]) }
func (h openHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].openIndex, h[j].openIndex = i, j
}
func (h *openHeap) Push(x any) {
	q := x.(*Queue)
	q.openIndex = len(*h)
	*h = append(*h, q)
}
func (h *openHeap) Pop() any {
	last := len(*h) - 1
	q := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	q.openIndex = -1
	return q
}

// timer is a time at which a queue or a transport wants to be looked at.
type timer struct {
	at        time.Time
	queue     *Queue
	transport *Transport
}

type timers []timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timers) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = timer{}
	*h = (*h)[:last]
	return t
}

func (h *timers) add(at time.Time, q *Queue, t *Transport) {
	heap.Push(h, timer{at: at, queue: q, transport: t})
}
func (h *timers) pop() timer { return heap.Pop(h).(timer) }
