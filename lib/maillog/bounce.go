package maillog

// Notification is a delivery status notification that bounce made (§7.4).
type Notification struct {
	QueueID string // of the message it is about
	Kind    string // "sender non-delivery notification" etc.
	NewID   string // queue id of the notification
}

// Name is the event's name in JSON logs.
func (n *Notification) Name() string { return "notification" }

// AppendText appends the text form.
func (n *Notification) AppendText(b []byte) []byte {
	b = append(b, n.QueueID...)
	b = append(b, ": "...)
	b = append(b, n.Kind...)
	b = append(b, ": "...)
	return append(b, n.NewID...)
}

// Fields are the values for JSON logs.
func (n *Notification) Fields() []Field {
	return []Field{{"queue_id", n.QueueID}, {"kind", n.Kind}, {"notification_id", n.NewID}}
}
