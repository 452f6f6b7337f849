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

// maxChecked is how much of a header or a line is logged.
const maxChecked = 200

// ContentCheck is what header_checks(5) did about a header or a line (protocols.md §6.4):
//
//	QID: reject: header Subject: x from host[addr]; from=<s> to=<r> proto=ESMTP helo=<h>: text
type ContentCheck struct {
	QueueID string
	Action  string // in lower case
	Class   string // header or body
	Text    string // the header or the line; cut at 200 bytes
	Origin  string // log_message_origin; "" is shown as unknown
	// From and To count only when known.
	HasFrom, HasTo bool
	From, To       string
	Proto, Helo    string
	Why            string // the table's text
}

// Name implements Event.
func (c *ContentCheck) Name() string { return c.Action }

func (c *ContentCheck) origin() string {
	if c.Origin == "" {
		return "unknown"
	}
	return c.Origin
}

func (c *ContentCheck) text() string { return c.Text[:min(len(c.Text), maxChecked)] }

// AppendText implements Event.
func (c *ContentCheck) AppendText(b []byte) []byte {
	for _, part := range []string{c.QueueID, ": ", c.Action, ": ", c.Class, " ", c.text(), " from ", c.origin(), ";"} {
		b = append(b, part...)
	}
	if c.HasFrom {
		b = append(append(append(b, " from=<"...), c.From...), '>')
	}
	if c.HasTo {
		b = append(append(append(b, " to=<"...), c.To...), '>')
	}
	b = appendItem(b, " proto=", c.Proto)
	if c.Helo != "" {
		b = append(append(append(b, " helo=<"...), c.Helo...), '>')
	}
	return appendItem(b, ": ", c.Why)
}

// Fields implements Event.
func (c *ContentCheck) Fields() []Field {
	f := []Field{{"queue_id", c.QueueID}, {"action", c.Action}, {"class", c.Class}, {"text", c.text()}, {"client", c.origin()}}
	if c.HasFrom {
		f = append(f, Field{"from", c.From})
	}
	if c.HasTo {
		f = append(f, Field{"to", c.To})
	}
	return append(f, Field{"proto", c.Proto}, Field{"helo", c.Helo}, Field{"why", c.Why})
}
