package schedule

import (
	"container/heap"
	"slices"
	"time"
)

// labelGap leaves room for jobs that are moved between others.
const labelGap = 1 << 20

// list puts a job into the job list by the age of its message: at the end,
// unless the message had been read in part before.
func (t *Transport) list(j *Job) {
	if j.listed {
		return
	}
	after := t.tail
	for after != nil && j.message.Enqueued.Before(after.message.Enqueued) {
		after = after.prev
	}
	t.insert(j, after)
	if len(t.candidates) < maxCandidates {
		t.candidates = append(t.candidates, j)
	} else {
		t.more = true
	}
}

// insert links a job behind another one, nil being the head of the list.
func (t *Transport) insert(j, after *Job) {
	j.listed = true
	j.prev = after
	if after == nil {
		j.next, t.head = t.head, j
	} else {
		j.next, after.next = after.next, j
	}
	if j.next == nil {
		t.tail = j
	} else {
		j.next.prev = j
	}
	switch {
	case j.prev == nil && j.next == nil:
		j.label = 0
	case j.next == nil:
		j.label = j.prev.label + labelGap
	case j.prev == nil:
		j.label = j.next.label - labelGap
	default:
		j.label = j.prev.label + (j.next.label-j.prev.label)/2
		if j.label == j.prev.label {
			t.relabel()
		}
	}
}

// relabel spreads the labels; the order, and with it every heap, stays.
func (t *Transport) relabel() {
	label := int64(0)
	for j := t.head; j != nil; j = j.next {
		j.label = label
		label += labelGap
	}
}

// unlist takes a job without waiting entries off the list.
func (t *Transport) unlist(j *Job) {
	if !j.listed {
		return
	}
	if j.prev == nil {
		t.head = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		t.tail = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.prev, j.next, j.listed = nil, nil, false
	if len(t.candidates) > 0 && t.head == nil {
		t.candidates = t.candidates[:0]
	}
}

// moveBefore moves a job in front of another one in the job list. Its queues
// leave the heap of open queues meanwhile: several keys change at once.
func (t *Transport) moveBefore(j, other *Job) {
	t.unlist(j)
	j.eachPeer(func(p *peer) bool {
		if q := p.queue; q.openIndex >= 0 {
			heap.Remove(&t.open, q.openIndex)
		}
		return true
	})
	t.insert(j, other.prev)
	j.eachPeer(func(p *peer) bool {
		heap.Fix(&p.queue.peers, p.index)
		p.queue.refresh()
		return true
	})
}

// maxCandidates bounds the list of jobs that are worth preferring;
// seekInterval is how often the whole job list is searched for better ones.
const (
	maxCandidates = 16
	seekInterval  = time.Second
)

// unreadEntries is how many entries the recipients of a message that are not in
// memory make: at least (few destinations) or at most (one each).
func (j *Job) unreadEntries(most bool) int {
	n := j.message.Unread
	if limit := j.transport.Limits.Recipients; !most && limit > 0 && !j.message.OneRecipient {
		n = (n + limit - 1) / limit
	}
	return n
}

// need is the number of slots it takes to deliver the job.
func (j *Job) need() int { return j.todo + j.unreadEntries(true) }

// score prefers messages that waited long for their size: age by entries.
func (j *Job) score(now time.Time) float64 {
	return (now.Sub(j.message.Enqueued) + time.Second).Seconds() / float64(j.need())
}

// ready reports whether the job has an entry that could go out now.
func (j *Job) ready() bool {
	found := false
	j.eachPeer(func(p *peer) bool {
		found = p.queue.openIndex >= 0
		return !found
	})
	return found
}

// candidate finds a job that may go in front of the current one now, and takes
// the slots it needs from the current one.
//
// The best candidate is sought among all jobs that the current one could pay for
// in the course of its delivery, not only those that it can pay for already;
// otherwise messages of one recipient would always win over those of two. It is
// used when the slots earned so far, with discount and loan, suffice.
func (t *Transport) candidate(current *Job, now time.Time) *Job {
	lim := &t.Limits
	if lim.SlotCost < 1 {
		return nil
	}
	most := (current.selected+current.todo+current.unreadEntries(false))/lim.SlotCost - current.used
	if most <= lim.MinSlots {
		return nil
	}
	c := t.best(current, most, now)
	if c == nil && (t.more || now.Sub(t.soughtAt) >= seekInterval) {
		t.seek(current, most, now)
		c = t.best(current, most, now)
	}
	if c == nil {
		return nil
	}
	need := c.need()
	earned := current.selected/lim.SlotCost - current.used
	if (need*(100-lim.SlotDiscount)+99)/100-lim.SlotLoan > earned {
		return nil
	}
	current.used += need
	return c
}

// best is the candidate with the best score among those found earlier; ones that
// are gone or in front already are dropped.
func (t *Transport) best(current *Job, most int, now time.Time) *Job {
	var best *Job
	top := 0.0
	t.candidates = slices.DeleteFunc(t.candidates, func(j *Job) bool {
		if !j.listed || j.label <= current.label {
			return true
		}
		if j.need() <= most && j.ready() {
			if score := j.score(now); score > top {
				best, top = j, score
			}
		}
		return false
	})
	return best
}

// seek searches the jobs behind the current one for the best candidates.
func (t *Transport) seek(current *Job, most int, now time.Time) {
	t.soughtAt = now
	t.candidates = t.candidates[:0]
	t.more = false
	var scores [maxCandidates]float64
	for j := current.next; j != nil; j = j.next {
		if j.need() > most || !j.ready() {
			continue
		}
		score := j.score(now)
		n := len(t.candidates)
		if n == maxCandidates {
			t.more = true
			if score <= scores[n-1] {
				continue
			}
			n--
			t.candidates = t.candidates[:n]
		}
		i := n
		for i > 0 && scores[i-1] < score {
			i--
		}
		t.candidates = slices.Insert(t.candidates, i, j)
		copy(scores[i+1:], scores[i:n])
		scores[i] = score
	}
}
