package maillog

import "strconv"

// Submission is a local message that pickup passed on (§7.3).
type Submission struct {
	QueueID string
	UID     int
	Sender  string // external form
	OrigID  string // queue id before postsuper requeued it
}

// Name is the event's name in JSON logs.
func (s *Submission) Name() string { return "submission" }

// AppendText appends the text form.
func (s *Submission) AppendText(b []byte) []byte {
	b = append(b, s.QueueID...)
	b = append(b, ": uid="...)
	b = strconv.AppendInt(b, int64(s.UID), 10)
	b = append(b, " from=<"...)
	b = append(b, s.Sender...)
	b = append(b, '>')
	if s.OrigID != "" {
		b = append(b, " orig_id="...)
		b = append(b, s.OrigID...)
	}
	return b
}

// Fields are the values for JSON logs.
func (s *Submission) Fields() []Field {
	f := []Field{{"queue_id", s.QueueID}, {"uid", s.UID}, {"from", s.Sender}}
	if s.OrigID != "" {
		f = append(f, Field{"orig_id", s.OrigID})
	}
	return f
}
