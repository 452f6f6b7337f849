package main

import (
	"bytes"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/header"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/rewrite"
	"sealpost/lib/sendopts"
)

// flushHeader examines the collected header and writes it.
func (m *message) flushHeader() {
	text := m.header
	if len(text) == 0 {
		return
	}
	if m.cut {
		// A line end near the limit is a better place to cut.
		if i := bytes.LastIndexByte(text, '\n'); i > len(text)-len(text)/10 {
			text = text[:i]
		}
		m.cut = false
	}
	name, value, ok := header.Line(text)
	if !ok { // the limit fell into the name
		m.outHeader(text)
		m.header = m.header[:0]
		return
	}
	if value != name+1 { // "Subject : x"
		n := copy(text[name:], text[value-1:])
		text = text[:name+n]
	}
	if text = m.checkHeader(text, name); text == nil {
		m.header = m.header[:0]
		return
	}
	if name, value, ok = header.Line(text); !ok {
		m.outHeader(text)
		m.header = m.header[:0]
		return
	}
	known := header.Find(text[:name])
	if !isASCII(text) {
		m.foundUTF8(sendopts.SMTPUTF8Header)
	}
	drop := m.isDropped(text[:name])
	if known != nil {
		text = m.examine(known, text, value, drop)
	}
	if !drop {
		m.outHeader(text)
	}
	m.header = m.header[:0]
}

func (m *message) isDropped(name []byte) bool {
	if len(m.w.dropped) == 0 || len(name) > 255 {
		return false
	}
	var lower [255]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	return m.w.dropped[string(lower[:len(name)])]
}

// examine notes what a known header says and returns it as it is to be written.
func (m *message) examine(known *header.Known, text []byte, value int, drop bool) []byte {
	if known.ID != header.Other {
		m.seen |= 1 << known.ID
	}
	if known.Flags&header.Resent != 0 {
		m.resent = true
	}
	switch known.ID {
	case header.MessageID:
		if id := string(header.Value(text[value:])); m.messageID == "" {
			m.messageID = oneLine(id)
			m.logID(m.messageID, false)
		}
	case header.ResentMessageID:
		m.logID(oneLine(string(header.Value(text[value:]))), true)
	case header.Received:
		if m.hops++; m.hops == m.w.set.HopCount {
			m.log.Warnf("%s: message rejected: hopcount exceeded", m.id)
			m.status |= mailproto.CleanupHops
		}
	case header.TLSRequired:
		if m.w.set.TLSRequired {
			if strings.EqualFold(string(header.Value(text[value:])), "no") {
				m.options |= sendopts.RequireTLSHeader
			} else {
				m.log.Warnf("%s: ignoring malformed header: '%.100s'", m.id, text)
			}
		}
	case header.RequireTLSESMTP:
		m.requireTLS(text, value)
	}
	if known.Flags&header.Addresses != 0 && !drop {
		return m.completeHeader(known, text, value)
	}
	return text
}

// requireTLS takes the request from the header (requiretls.md §3.2); "no" is
// what a sender without the wish may write.
func (m *message) requireTLS(text []byte, value int) {
	if !m.w.set.RequireTLS || !m.w.set.RequireTLSHeader {
		return
	}
	switch v := string(header.Value(text[value:])); {
	case strings.EqualFold(v, "yes"):
		m.options |= sendopts.RequireTLSESMTP
		m.reqtlsSeen = true
	case !strings.EqualFold(v, "no"):
		m.log.Warnf("%s: ignoring malformed header: '%.100s'", m.id, text)
	}
}

func oneLine(s string) string {
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\n", " ")
}

func (m *message) logID(id string, resent bool) {
	if m.status != 0 || m.flags&mailproto.CleanupDiscard != 0 {
		return // nobody will ask for it
	}
	m.log.Log(maillog.Info, &maillog.MessageID{QueueID: m.id, ID: id, Resent: resent})
}

// completeHeader completes the addresses in a header. Comments, names and
// white space stay as they are.
func (m *message) completeHeader(known *header.Known, text []byte, value int) []byte {
	mapped := m.flags&mailproto.CleanupMap != 0 && m.w.mapping.headers
	completed := m.context == rewrite.LocalContext || m.w.set.RemoteDomain != ""
	if !completed {
		return text
	}
	class := classHeaderRecipient
	if known.Flags&header.Sender != 0 {
		class = classHeaderSender
	}
	out, changed := address.RewriteList(string(text[value:]), m.w.set.HeaderTokens, func(addr string) string {
		full := m.w.rewrite.Rewrite(m.context, addr)
		if mapped {
			full = address.Quote(m.mapAddress(address.Unquote(full), class))
		}
		if full == `""` {
			return addr
		}
		return full
	})
	if !changed {
		return text
	}
	return append(append(make([]byte, 0, value+len(out)), text[:value]...), out...)
}

// outHeader writes a header, one record for each line.
func (m *message) outHeader(text []byte) {
	if len(text) == 0 {
		return
	}
	first := true
	for {
		line, rest, more := bytes.Cut(text, []byte{'\n'})
		if !first && !header.IsContinuation(line) {
			line = append([]byte{'\t'}, line...)
		}
		m.outLine(record.Norm, line)
		if !more {
			return
		}
		text, first = rest, false
	}
}

// endHeader writes what is missing at the end of the header (protocols.md §0.2
// I9, requiretls.md §3.3).
func (m *message) endHeader() {
	m.flushHeader()
	if m.context == rewrite.LocalContext || m.w.set.AlwaysAddHeaders {
		m.addMissing()
	}
	if m.w.set.Undisclosed != "" && !m.sawHeader(header.To) && !m.sawHeader(header.Cc) &&
		!m.sawHeader(header.ResentTo) && !m.sawHeader(header.ResentCc) {
		m.outHeader([]byte(m.w.set.Undisclosed))
	}
	if m.w.set.RequireTLS && m.w.set.RequireTLSHeader && !m.reqtlsSeen &&
		m.options.Has(sendopts.RequireTLSESMTP) {
		m.outHeader([]byte("Require-TLS-ESMTP: yes"))
	}
	if !m.sawHeader(header.MessageID) && m.messageID == "" {
		m.logID("<>", false)
	}
}

// addMissing adds Message-Id, Date and From, or their Resent- forms when the
// message has any Resent- header.
func (m *message) addMissing() {
	prefix, id, date, from := "", header.MessageID, header.DateID, header.From
	if m.resent {
		prefix, id, date, from = "Resent-", header.ResentMessageID, header.ResentDate, header.ResentFrom
	}
	now := m.arrival()
	line := make([]byte, 0, 128)
	if !m.sawHeader(id) {
		line = append(append(line, prefix...), "Message-Id: "...)
		at := len(line)
		line = header.AppendID(line, m.id, m.w.set.MyHostname, now, m.w.set.LongIDs)
		if !m.resent {
			m.messageID = string(line[at:])
		}
		m.logID(string(line[at:]), m.resent)
		m.outHeader(line)
	}
	if !m.sawHeader(date) {
		line = append(append(line[:0], prefix...), "Date: "...)
		m.outHeader(header.AppendDate(line, now))
	}
	if !m.sawHeader(from) {
		line = append(append(line[:0], prefix...), "From: "...)
		m.outHeader(m.appendFrom(line))
	}
}

// appendFrom appends the sender in the form of header_from_format.
func (m *message) appendFrom(b []byte) []byte {
	switch {
	case m.sender == "":
		return append(b, "MAILER-DAEMON"...)
	case m.fullName == "":
		return address.AppendQuoted(b, m.sender)
	case m.w.set.FromFormat == "obsolete":
		b = address.AppendQuoted(b, m.sender)
		return append(appendComment(append(b, " ("...), m.fullName), ')')
	}
	b = appendPhrase(b, m.fullName)
	b = append(b, " <"...)
	return append(address.AppendQuoted(b, m.sender), '>')
}

// appendPhrase appends a name as an RFC 5322 phrase: words, or a quoted string.
func appendPhrase(b []byte, name string) []byte {
	if !strings.ContainsAny(name, "()<>@,;:\\\".[]\r\n\t") {
		return append(b, name...)
	}
	b = append(b, '"')
	for i := range len(name) {
		switch c := name[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\r', '\n', '\t':
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func appendComment(b []byte, name string) []byte {
	for i := range len(name) {
		switch c := name[i]; c {
		case '(', ')', '\\':
			b = append(b, '\\', c)
		case '\r', '\n':
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return b
}
