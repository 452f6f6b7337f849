// Package header recognises message headers (RFC 5322 §2.2, §3.6): names, the
// properties that cleanup acts on, and the form of dates. It does not parse
// values; package address takes addresses out of them.
package header

import (
	"strings"
	"time"
)

// Flags say what cleanup does with a header of that name.
type Flags uint16

const (
	Sender    Flags = 1 << iota // addresses of senders
	Recipient                   // addresses of recipients
	Resent                      // one of the Resent- fields
	Dropped                     // dropped when message_drop_headers, at its default, says so
	MIME                        // structure of the body

	// Addresses are the headers whose addresses are completed.
	Addresses = Sender | Recipient
)

// ID names the headers that a program treats in a way of their own.
type ID uint8

const (
	Other ID = iota
	Bcc
	Cc
	DateID
	From
	MessageID
	Received
	ReplyTo
	RequireTLSESMTP // RFC 8689 by header: requiretls.md §3.2
	ResentBcc
	ResentCc
	ResentDate
	ResentFrom
	ResentMessageID
	ResentReplyTo
	ResentSender
	ResentTo
	ReturnPath
	SenderID
	TLSRequired // RFC 8689 §5
	To
	ContentTransferEncoding
	ContentType
)

// Known is a row of the table.
type Known struct {
	Name  string // as Postfix spells it when it writes one
	ID    ID
	Flags Flags
}

// table has the headers that some daemon treats in a way of its own.
var table = [...]Known{
	{"Apparently-To", Other, Recipient},
	{"Bcc", Bcc, Recipient | Dropped},
	{"Cc", Cc, Recipient},
	{"Content-Length", Other, Dropped},
	{"Content-Transfer-Encoding", ContentTransferEncoding, MIME},
	{"Content-Type", ContentType, MIME},
	{"Date", DateID, 0},
	{"Delivered-To", Other, 0},
	{"Disposition-Notification-To", Other, Sender},
	{"Errors-To", Other, Sender},
	{"From", From, Sender},
	{"Mail-Followup-To", Other, Sender},
	{"Message-Id", MessageID, 0},
	{"MIME-Version", Other, MIME},
	{"Received", Received, 0},
	{"Reply-To", ReplyTo, Sender},
	{"Require-TLS-ESMTP", RequireTLSESMTP, 0},
	{"Resent-Bcc", ResentBcc, Recipient | Resent | Dropped},
	{"Resent-Cc", ResentCc, Recipient | Resent},
	{"Resent-Date", ResentDate, Resent},
	{"Resent-From", ResentFrom, Sender | Resent},
	{"Resent-Message-Id", ResentMessageID, Resent},
	{"Resent-Reply-To", ResentReplyTo, Sender | Resent},
	{"Resent-Sender", ResentSender, Sender | Resent},
	{"Resent-To", ResentTo, Recipient | Resent},
	{"Return-Path", ReturnPath, Sender | Dropped},
	{"Return-Receipt-To", Other, Sender},
	{"Sender", SenderID, Sender},
	{"TLS-Required", TLSRequired, 0},
	{"To", To, Recipient},
}

// maxName is the length of the longest name in the table.
const maxName = len("Disposition-Notification-To")

var byName = func() map[string]*Known {
	m := make(map[string]*Known, len(table))
	for i := range table {
		m[strings.ToLower(table[i].Name)] = &table[i]
	}
	return m
}()

// Find returns the row of a header name, in any case, or nil.
func Find(name []byte) *Known {
	if len(name) == 0 || len(name) > maxName {
		return nil
	}
	var lower [maxName]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	return byName[string(lower[:len(name)])]
}

// Line tells whether a line begins a header: a name of printable characters
// other than ":", blanks that older mailers left, and a colon. name is the
// length of the name, value the index after the colon. ok is false otherwise.
func Line(line []byte) (name, value int, ok bool) {
	for name < len(line) && line[name] > ' ' && line[name] != ':' && line[name] != 0x7f {
		name++
	}
	value = name
	for value < len(line) && (line[value] == ' ' || line[value] == '\t') {
		value++
	}
	if name == 0 || value >= len(line) || line[value] != ':' {
		return 0, 0, false
	}
	return name, value + 1, true
}

// IsContinuation: the line belongs to the header before it.
func IsContinuation(line []byte) bool {
	return len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
}

// Value is the header's value without the white space around it; it may have
// line ends inside.
func Value(text []byte) []byte {
	from, to := 0, len(text)
	for from < to && isWhite(text[from]) {
		from++
	}
	for to > from && isWhite(text[to-1]) {
		to--
	}
	return text[from:to]
}

func isWhite(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// Date is the date of Received: and Date: headers: "Sun, 22 Nov 2026 18:40:37 +0000 (UTC)".
func Date(t time.Time) string { return string(AppendDate(nil, t)) }

// AppendDate appends the date of Received: and Date: headers, "Sun, 22 Nov 2026
// 18:40:37 +0000 (UTC)" (protocols.md §2.3).
func AppendDate(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700 (MST)")
}

// AppendID appends the identifier of a message without one: the time in short
// queue ids, which repeat, and the queue id (protocols.md §4.6).
func AppendID(b []byte, queueID, hostname string, t time.Time, longIDs bool) []byte {
	b = append(b, '<')
	if !longIDs {
		b = t.UTC().AppendFormat(b, "20060102150405")
		b = append(b, '.')
	}
	b = append(b, queueID...)
	b = append(b, '@')
	b = append(b, hostname...)
	return append(b, '>')
}
