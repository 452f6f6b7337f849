package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
)

// A printer writes a listing.
type printer interface {
	entry(e *mailproto.ShowqEntry)
	end()
}

// columns is the layout of the mailq form (§2.12).
type columns struct {
	heading     string
	id, size    int // widths
	stamp       int
	senderAfter int // column of sender and recipients
}

func newColumns(longIDs bool) columns {
	if longIDs {
		return columns{"----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n", 17, 8, 19, 47}
	}
	return columns{"-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n", 11, 7, 20, 41}
}

// reasonColumn is where the text of a reason ends, if it is short.
const reasonColumn = 76

// mailq writes the form of mailq(1).
type mailq struct {
	w     *bufio.Writer
	c     columns
	zone  *time.Location
	n     int
	bytes int64
}

func (m *mailq) entry(e *mailproto.ShowqEntry) {
	if m.n == 0 {
		m.w.WriteString(m.c.heading)
	} else {
		m.w.WriteByte('\n')
	}
	m.n++
	m.bytes += e.Size
	id := e.QueueID
	switch e.QueueName {
	case queue.Active:
		id += "*"
	case queue.Hold:
		id += "!"
	}
	if e.ForcedExpire {
		id += "#"
	}
	stamp := time.Unix(e.Time, 0).In(m.zone).Format("Mon Jan _2 15:04:05 2006")
	fmt.Fprintf(m.w, "%-*s %*d %.*s %s\n", m.c.id, id, m.c.size, e.Size, m.c.stamp, stamp, e.Sender)
	last := ""
	for _, r := range e.Recipients {
		if r.Reason != last {
			last = r.Reason
			reason := r.Reason
			if reason == "" {
				reason = "reason unavailable"
			}
			m.w.WriteString(strings.Repeat(" ", max(reasonColumn-len(reason), 0)))
			fmt.Fprintf(m.w, "(%s)\n", reason)
		}
		fmt.Fprintf(m.w, "%*s%s\n", m.c.senderAfter, "", r.Addr)
	}
}

func (m *mailq) end() {
	if m.n == 0 {
		m.w.WriteString("Mail queue is empty\n")
		return
	}
	plural := "s"
	if m.n == 1 {
		plural = ""
	}
	fmt.Fprintf(m.w, "\n-- %d Kbytes in %d Request%s.\n", m.bytes/1024, m.n, plural)
}

// jsonLines writes one object per message. The members' order and the blanks
// between them are Postfix's: people read this with line tools too.
type jsonLines struct {
	w *bufio.Writer
	b []byte
}

func (j *jsonLines) entry(e *mailproto.ShowqEntry) {
	b := append(j.b[:0], '{')
	b = appendMember(b, "queue_name", e.QueueName)
	b = appendMember(append(b, ", "...), "queue_id", e.QueueID)
	b = strconv.AppendInt(append(b, `, "arrival_time": `...), e.Time, 10)
	b = strconv.AppendInt(append(b, `, "message_size": `...), e.Size, 10)
	b = strconv.AppendBool(append(b, `, "forced_expire": `...), e.ForcedExpire)
	if e.RequireTLS {
		b = append(b, `, "requiretls": true`...)
	}
	b = appendMember(append(b, ", "...), "sender", e.Sender)
	b = append(b, `, "recipients": [`...)
	for i, r := range e.Recipients {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendMember(append(b, '{'), "orig_address", r.OrigAddr)
		b = appendMember(append(b, ", "...), "address", r.Addr)
		if r.Reason != "" {
			b = appendMember(append(b, ", "...), reasonMember(r.LogClass), r.Reason)
		}
		b = append(b, '}')
	}
	j.b = append(b, "]}\n"...)
	j.w.Write(j.b)
}

func (j *jsonLines) end() {}

func reasonMember(class string) string {
	switch class {
	case queue.Defer:
		return "delay_reason"
	case queue.Bounce:
		return "bounce_reason"
	}
	return "other_reason"
}

// appendMember appends "name": "value". Text that is not valid UTF-8 does not
// come from showq; it is replaced so that the line stays JSON.
func appendMember(b []byte, name, value string) []byte {
	b = append(append(append(b, '"'), name...), `": "`...)
	for _, c := range value {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ':
			b = append(b, fmt.Sprintf(`\u%04x`, c)...)
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}
