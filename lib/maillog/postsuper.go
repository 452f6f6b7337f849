package maillog

import "strconv"

// Lines of postsuper(1): protocols.md §4.10.

// QueueAction is what the administrator did with one message.
type QueueAction struct {
	QueueID string
	Action  string // removed, requeued, placed on hold ...
}

// Name implements Event.
func (e *QueueAction) Name() string { return "queue_action" }

// AppendText implements Event.
func (e *QueueAction) AppendText(b []byte) []byte {
	return append(append(append(b, e.QueueID...), ": "...), e.Action...)
}

// Fields implements Event.
func (e *QueueAction) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"action", e.Action}}
}

// QueueSummary is how often something was done.
type QueueSummary struct {
	Action   string // Deleted, Requeued ...
	Messages int
}

// Name implements Event.
func (e *QueueSummary) Name() string { return "queue_summary" }

// AppendText implements Event.
func (e *QueueSummary) AppendText(b []byte) []byte {
	b = append(b, e.Action...)
	b = append(b, ": "...)
	b = strconv.AppendInt(b, int64(e.Messages), 10)
	b = append(b, " message"...)
	if e.Messages != 1 {
		b = append(b, 's')
	}
	return b
}

// Fields implements Event.
func (e *QueueSummary) Fields() []Field {
	return []Field{{"action", e.Action}, {"messages", e.Messages}}
}
