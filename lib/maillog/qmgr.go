package maillog

import "strconv"

// Lines of qmgr(8): protocols.md §7.3.

// QueueActive is a message that entered the active queue.
type QueueActive struct {
	QueueID string
	Sender  string // without angle brackets
	Size    int64  // content, bytes
	Rcpts   int    // recipients to be delivered
}

// Name implements Event.
func (e *QueueActive) Name() string { return "queue_active" }

// AppendText implements Event.
func (e *QueueActive) AppendText(b []byte) []byte {
	b = append(b, e.QueueID...)
	b = append(b, ": from=<"...)
	b = append(b, e.Sender...)
	b = append(b, ">, size="...)
	b = strconv.AppendInt(b, e.Size, 10)
	b = append(b, ", nrcpt="...)
	b = strconv.AppendInt(b, int64(e.Rcpts), 10)
	return append(b, " (queue active)"...)
}

// Fields implements Event.
func (e *QueueActive) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"from", e.Sender}, {"size", e.Size}, {"nrcpt", e.Rcpts}}
}

// Removed is a message that left the queue: every recipient was taken care of.
type Removed struct{ QueueID string }

// Name implements Event.
func (e *Removed) Name() string { return "removed" }

// AppendText implements Event.
func (e *Removed) AppendText(b []byte) []byte {
	return append(append(b, e.QueueID...), ": removed"...)
}

// Fields implements Event.
func (e *Removed) Fields() []Field { return []Field{{"queue_id", e.QueueID}} }

// Expired is a message that was too long in the queue, or that the administrator
// made expire.
type Expired struct {
	QueueID string
	Sender  string // without angle brackets
	Forced  bool
}

// Name implements Event.
func (e *Expired) Name() string { return "expired" }

func (e *Expired) status() string {
	if e.Forced {
		return "force-expired"
	}
	return "expired"
}

// AppendText implements Event.
func (e *Expired) AppendText(b []byte) []byte {
	b = append(b, e.QueueID...)
	b = append(b, ": from=<"...)
	b = append(b, e.Sender...)
	b = append(b, ">, status="...)
	b = append(b, e.status()...)
	return append(b, ", returned to sender"...)
}

// Fields implements Event.
func (e *Expired) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"from", e.Sender}, {"status", e.status()}}
}

// StillDelivering is a message that an agent of an earlier qmgr has in its hands.
type StillDelivering struct{ QueueID string }

// Name implements Event.
func (e *StillDelivering) Name() string { return "still_delivering" }

// AppendText implements Event.
func (e *StillDelivering) AppendText(b []byte) []byte {
	return append(append(b, e.QueueID...), ": skipped, still being delivered"...)
}

// Fields implements Event.
func (e *StillDelivering) Fields() []Field { return []Field{{"queue_id", e.QueueID}} }
