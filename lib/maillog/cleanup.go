package maillog

// MessageID is the identifier of a message that cleanup took in (§7.3):
//
//	QID: message-id=<...>
//	QID: resent-message-id=<...>
type MessageID struct {
	QueueID string
	ID      string // the header's value; "<>" when there is none
	Resent  bool
}

// Name implements Event.
func (m *MessageID) Name() string { return "message-id" }

// AppendText implements Event.
func (m *MessageID) AppendText(b []byte) []byte {
	b = append(b, m.QueueID...)
	b = append(b, ": "...)
	if m.Resent {
		b = append(b, "resent-"...)
	}
	b = append(b, "message-id="...)
	return append(b, m.ID...)
}

// Fields implements Event.
func (m *MessageID) Fields() []Field {
	key := "message_id"
	if m.Resent {
		key = "resent_message_id"
	}
	return []Field{{"queue_id", m.QueueID}, {key, m.ID}}
}

// Why cleanup removed the file of a message that it did not pass on.
const (
	RemovedCanceled  = "canceled"  // the message was refused, or the client left
	RemovedDiscarded = "discarded" // the message was discarded or returned
)

// Unqueued is the end of a message that did not get into the queue (§7.3):
//
//	QID: removed (canceled)
type Unqueued struct {
	QueueID string
	Why     string // one of the Removed words
}

// Name implements Event.
func (u *Unqueued) Name() string { return "unqueued" }

// AppendText implements Event.
func (u *Unqueued) AppendText(b []byte) []byte {
	b = append(b, u.QueueID...)
	b = append(b, ": removed ("...)
	b = append(b, u.Why...)
	return append(b, ')')
}

// Fields implements Event.
func (u *Unqueued) Fields() []Field {
	return []Field{{"queue_id", u.QueueID}, {"why", u.Why}}
}
