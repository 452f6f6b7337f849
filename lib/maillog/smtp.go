package maillog

import "strconv"

// ConnectFailure is a connection that could not be made (§7.5): "connect to
// HOST[ADDR]:PORT: REASON". Reason is the whole text.
type ConnectFailure struct{ QueueID, Reason string }

// Name implements Event.
func (e *ConnectFailure) Name() string { return "connect_failure" }

// AppendText implements Event.
func (e *ConnectFailure) AppendText(b []byte) []byte { return append(b, e.Reason...) }

// Fields implements Event.
func (e *ConnectFailure) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"reason", e.Reason}}
}

// NextHost is an attempt that failed before another host is tried (§7.5): the
// text of what would be the deferral.
type NextHost struct{ QueueID, Reason string }

// Name implements Event.
func (e *NextHost) Name() string { return "next_host" }

// AppendText implements Event.
func (e *NextHost) AppendText(b []byte) []byte {
	b = append(b, e.QueueID...)
	b = append(b, ": "...)
	return append(b, e.Reason...)
}

// Fields implements Event.
func (e *NextHost) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"reason", e.Reason}}
}

// OwnHostname is a server that says it has our name (§7.5): a loop, or two
// systems with one name.
type OwnHostname struct {
	Host     string // NAME[ADDR]
	Hostname string // ours
	Greeting bool   // in its greeting; else in the reply to HELO or EHLO
}

// Name implements Event.
func (e *OwnHostname) Name() string { return "own_hostname" }

// AppendText implements Event.
func (e *OwnHostname) AppendText(b []byte) []byte {
	b = append(b, "host "...)
	b = append(b, e.Host...)
	if e.Greeting {
		b = append(b, " greeted me with my own hostname "...)
	} else {
		b = append(b, " replied to HELO/EHLO with my own hostname "...)
	}
	return append(b, e.Hostname...)
}

// Fields implements Event.
func (e *OwnHostname) Fields() []Field { return []Field{{"host", e.Host}, {"hostname", e.Hostname}} }

// EhloDiscarded is smtp_discard_ehlo_keywords at work.
type EhloDiscarded struct{ QueueID, Host, Keywords string }

// Name implements Event.
func (e *EhloDiscarded) Name() string { return "ehlo_discarded" }

// AppendText implements Event.
func (e *EhloDiscarded) AppendText(b []byte) []byte {
	b = append(b, e.QueueID...)
	b = append(b, ": discarding EHLO keywords: "...)
	return append(b, e.Keywords...)
}

// Fields implements Event.
func (e *EhloDiscarded) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"host", e.Host}, {"keywords", e.Keywords}}
}

// LineBroken is a message with a line above smtp_line_length_limit.
type LineBroken struct {
	QueueID string
	Limit   int // bytes
}

// Name implements Event.
func (e *LineBroken) Name() string { return "line_broken" }

// AppendText implements Event.
func (e *LineBroken) AppendText(b []byte) []byte {
	b = append(b, e.QueueID...)
	b = append(b, ": breaking line > "...)
	b = strconv.AppendInt(b, int64(e.Limit), 10)
	return append(b, " bytes with <CR><LF>SPACE"...)
}

// Fields implements Event.
func (e *LineBroken) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"limit", e.Limit}}
}

// ContentChecked is what smtp_header_checks or their like did about a header or a
// line: "QID: replace: header Subject: x: Subject: y".
type ContentChecked struct {
	QueueID, Action, Class string // class: header or body
	Text                   string // the header or the line; cut at 200 bytes
	Why                    string // the table's text
}

// Name implements Event.
func (e *ContentChecked) Name() string { return e.Action }

func (e *ContentChecked) text() string { return e.Text[:min(len(e.Text), maxChecked)] }

// AppendText implements Event.
func (e *ContentChecked) AppendText(b []byte) []byte {
	for _, part := range []string{e.QueueID, ": ", e.Action, ": ", e.Class, " ", e.text()} {
		b = append(b, part...)
	}
	return appendItem(b, ": ", e.Why)
}

// Fields implements Event.
func (e *ContentChecked) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"action", e.Action}, {"class", e.Class}, {"text", e.text()}, {"why", e.Why}}
}

// Passing is a recipient that another agent takes over (§7.5): "passing <A> to
// transport=T".
type Passing struct{ QueueID, To, Transport string }

// Name implements Event.
func (e *Passing) Name() string { return "passing" }

// AppendText implements Event.
func (e *Passing) AppendText(b []byte) []byte {
	b = append(b, e.QueueID...)
	b = append(b, ": passing <"...)
	b = append(b, e.To...)
	b = append(b, "> to transport="...)
	return append(b, e.Transport...)
}

// Fields implements Event.
func (e *Passing) Fields() []Field {
	return []Field{{"queue_id", e.QueueID}, {"to", e.To}, {"transport", e.Transport}}
}

// StartTLSOffered is a server that could do TLS where none is wanted
// (smtp_tls_note_starttls_offer).
type StartTLSOffered struct{ Host string }

// Name implements Event.
func (e *StartTLSOffered) Name() string { return "starttls_offered" }

// AppendText implements Event.
func (e *StartTLSOffered) AppendText(b []byte) []byte {
	b = append(b, "Host offered STARTTLS: ["...)
	b = append(b, e.Host...)
	return append(b, ']')
}

// Fields implements Event.
func (e *StartTLSOffered) Fields() []Field { return []Field{{"host", e.Host}} }
