package maillog

import "strconv"

// Connect is the start of an SMTP session (§7.2). Client is "NAME[ADDR]".
type Connect struct{ Client string }

// Name implements Event.
func (e *Connect) Name() string { return "connect" }

// AppendText implements Event.
func (e *Connect) AppendText(b []byte) []byte {
	b = append(b, "connect from "...)
	return append(b, e.Client...)
}

// Fields implements Event.
func (e *Connect) Fields() []Field { return []Field{{"client", e.Client}} }

// QueueClient says which client a queue id belongs to (§7.2).
type QueueClient struct {
	QueueID, Client string
	// SASL facts; empty: not authenticated.
	SASLMethod, SASLUsername, SASLSender string
	// OrigQueueID and OrigClient are what XFORWARD said; empty: nothing.
	OrigQueueID, OrigClient string
	// RequireTLS: the sender asked for REQUIRETLS (decision 9).
	RequireTLS bool
}

// Name implements Event.
func (e *QueueClient) Name() string { return "client" }

// AppendText implements Event.
func (e *QueueClient) AppendText(b []byte) []byte {
	b = append(b, e.QueueID...)
	b = append(b, ": client="...)
	b = append(b, e.Client...)
	b = appendItem(b, ", sasl_method=", e.SASLMethod)
	b = appendItem(b, ", sasl_username=", e.SASLUsername)
	b = appendItem(b, ", sasl_sender=", e.SASLSender)
	b = appendItem(b, ", orig_queue_id=", e.OrigQueueID)
	b = appendItem(b, ", orig_client=", e.OrigClient)
	if e.RequireTLS {
		b = append(b, ", requiretls=yes"...)
	}
	return b
}

// Fields implements Event.
func (e *QueueClient) Fields() []Field {
	f := []Field{{"queue_id", e.QueueID}, {"client", e.Client}}
	if e.SASLMethod != "" {
		f = append(f, Field{"sasl_method", e.SASLMethod}, Field{"sasl_username", e.SASLUsername})
	}
	if e.OrigQueueID != "" {
		f = append(f, Field{"orig_queue_id", e.OrigQueueID})
	}
	if e.OrigClient != "" {
		f = append(f, Field{"orig_client", e.OrigClient})
	}
	if e.RequireTLS {
		f = append(f, Field{"requiretls", true})
	}
	return f
}

func appendItem(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, name...)
	return append(b, value...)
}

// CommandCount is how often a command was used in a session and how often it
// was accepted.
type CommandCount struct {
	Name      string
	OK, Total int
}

// Disconnect is the end of an SMTP session with its statistics (§7.2).
type Disconnect struct {
	Client   string
	Commands []CommandCount // those that were used, in table order
	Notes    string         // "bare_lf" or empty
}

// Name implements Event.
func (e *Disconnect) Name() string { return "disconnect" }

// AppendText implements Event.
func (e *Disconnect) AppendText(b []byte) []byte {
	b = append(b, "disconnect from "...)
	b = append(b, e.Client...)
	var sum CommandCount
	for _, c := range e.Commands {
		b = append(b, ' ')
		b = append(b, c.Name...)
		b = appendCount(b, c)
		sum.OK += c.OK
		sum.Total += c.Total
	}
	b = append(b, " commands"...)
	if sum.Total == 0 {
		b = append(b, "=0/0"...)
	} else {
		b = appendCount(b, sum)
	}
	return appendItem(b, " notes=", e.Notes)
}

func appendCount(b []byte, c CommandCount) []byte {
	b = append(b, '=')
	b = strconv.AppendInt(b, int64(c.OK), 10)
	if c.OK != c.Total {
		b = append(b, '/')
		b = strconv.AppendInt(b, int64(c.Total), 10)
	}
	return b
}

// Fields implements Event.
func (e *Disconnect) Fields() []Field {
	f := []Field{{"client", e.Client}}
	for _, c := range e.Commands {
		f = append(f, Field{c.Name, c.OK}, Field{c.Name + "_total", c.Total})
	}
	if e.Notes != "" {
		f = append(f, Field{"notes", e.Notes})
	}
	return f
}

// Reject is a request that smtpd refused, or another action of access control
// on it (§7.2, §6.4):
//
//	QID: reject: RCPT from CLIENT: 554 5.7.1 text; from=<S> to=<R> proto=P helo=<H>
type Reject struct {
	QueueID string // empty: NOQUEUE
	Action  string // reject, reject_warning, milter-reject, hold, ...
	Where   string // CONNECT, HELO, MAIL, RCPT, DATA, END-OF-MESSAGE, ...
	Client  string
	Text    string // the reply
	// From and To are in external form and count only when known.
	HasFrom, HasTo bool
	From, To       string
	Proto, Helo    string
	SASLUsername   string
}

// Name implements Event.
func (e *Reject) Name() string { return e.Action }

// AppendText implements Event.
func (e *Reject) AppendText(b []byte) []byte {
	b = appendQueueID(b, e.QueueID)
	b = append(b, e.Action...)
	b = append(b, ": "...)
	b = append(b, e.Where...)
	b = append(b, " from "...)
	b = append(b, e.Client...)
	b = append(b, ": "...)
	b = append(b, e.Text...)
	return e.appendRequest(append(b, ';'))
}

// appendRequest appends what the request was about.
func (e *Reject) appendRequest(b []byte) []byte {
	if e.HasFrom {
		b = append(b, " from=<"...)
		b = append(b, e.From...)
		b = append(b, '>')
	}
	if e.HasTo {
		b = append(b, " to=<"...)
		b = append(b, e.To...)
		b = append(b, '>')
	}
	b = appendItem(b, " proto=", e.Proto)
	if e.Helo != "" {
		b = append(b, " helo=<"...)
		b = append(b, e.Helo...)
		b = append(b, '>')
	}
	if e.SASLUsername != "" {
		b = append(b, " sasl_username=<"...)
		b = append(b, e.SASLUsername...)
		b = append(b, '>')
	}
	return b
}

func appendQueueID(b []byte, id string) []byte {
	if id == "" {
		id = "NOQUEUE"
	}
	b = append(b, id...)
	return append(b, ": "...)
}

// Fields implements Event.
func (e *Reject) Fields() []Field {
	f := []Field{{"queue_id", e.QueueID}, {"where", e.Where}, {"client", e.Client}, {"text", e.Text}}
	if e.HasFrom {
		f = append(f, Field{"from", e.From})
	}
	if e.HasTo {
		f = append(f, Field{"to", e.To})
	}
	return append(f, Field{"proto", e.Proto}, Field{"helo", e.Helo})
}

// ProxyResult is what a filter before the queue, or the connection to it, made of a
// message:
//
//	proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok; from=<S> to=<R> proto=P helo=<H>
type ProxyResult struct {
	Action string // proxy-accept, proxy-reject
	Where  string
	Text   string // the reply
	// From and To are in external form; To is the first recipient.
	From, To                  string
	Proto, Helo, SASLUsername string
}

// Name implements Event.
func (e *ProxyResult) Name() string { return e.Action }

// AppendText implements Event.
func (e *ProxyResult) AppendText(b []byte) []byte {
	b = append(b, e.Action...)
	b = append(b, ": "...)
	b = append(b, e.Where...)
	b = append(b, ": "...)
	b = append(b, e.Text...)
	about := Reject{HasFrom: true, From: e.From, HasTo: true, To: e.To, Proto: e.Proto, Helo: e.Helo, SASLUsername: e.SASLUsername}
	return about.appendRequest(append(b, ';'))
}

// Fields implements Event.
func (e *ProxyResult) Fields() []Field {
	return []Field{{"where", e.Where}, {"text", e.Text}, {"from", e.From}, {"to", e.To}, {"proto", e.Proto}, {"helo", e.Helo}}
}

// SessionBroken is an SMTP session that ended without QUIT (§7.2).
type SessionBroken struct {
	Reason string // "lost connection", "timeout", "too many errors"
	Where  string // the last command
	Client string
	// QueueID of the message that the session was about; empty: NOQUEUE.
	QueueID string
	// Bytes is how much of the content came in; negative: not in DATA.
	Bytes int64
}

// Name implements Event.
func (e *SessionBroken) Name() string { return "session_broken" }

// AppendText implements Event.
func (e *SessionBroken) AppendText(b []byte) []byte {
	b = appendQueueID(b, e.QueueID)
	b = append(b, e.Reason...)
	b = append(b, " after "...)
	b = append(b, e.Where...)
	if e.Bytes >= 0 {
		b = append(b, " ("...)
		b = strconv.AppendInt(b, e.Bytes, 10)
		b = append(b, " bytes)"...)
	}
	b = append(b, " from "...)
	return append(b, e.Client...)
}

// Fields implements Event.
func (e *SessionBroken) Fields() []Field {
	f := []Field{{"reason", e.Reason}, {"where", e.Where}, {"client", e.Client}, {"queue_id", e.QueueID}}
	if e.Bytes >= 0 {
		f = append(f, Field{"bytes", e.Bytes})
	}
	return f
}
