package main

import (
	"strings"

	"sealpost/lib/header"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/mime"
	"sealpost/lib/record"
	"sealpost/lib/table"
)

// check is one of the tables that see lines of messages (header_checks(5)).
type check struct {
	param string
	class string // for the log: header or body
	maps  *table.Maps
}

// checks are the tables for the headers of the message, its MIME headers, the headers of
// attached messages, and all other lines.
type checks struct {
	header, mime, nested, body check
	any, inBody                bool // there is something to look for at all, and after the header
}

func newChecks(open func(param string) *table.Maps) checks {
	of := func(param, class string) check { return check{param, class, open(param)} }
	c := checks{header: of("header_checks", "header"), mime: of("mime_header_checks", "header"),
		nested: of("nested_header_checks", "header"), body: of("body_checks", "body")}
	c.inBody = !c.mime.maps.Empty() || !c.nested.maps.Empty() || !c.body.maps.Empty()
	c.any = c.inBody || !c.header.maps.Empty()
	return c
}

func (c *checks) tables() []*table.Maps {
	return []*table.Maps{c.header.maps, c.mime.maps, c.nested.maps, c.body.maps}
}

// checked is what the checks have come to for one message.
type checked struct {
	scan     *mime.Scanner // nil: nobody looks at the body
	segment  int           // of the body text below
	seenText int           // bytes of body text of this segment that were looked at
	filter   string        // FILTER
	redirect string        // REDIRECT
}

// checking reports whether the message is still looked at.
func (m *message) checking() bool {
	return m.flags&mailproto.CleanupFilter != 0 && m.status == 0 && m.flags&mailproto.CleanupDiscard == 0
}

// checkHeader holds a header of the message against its table and returns what it is to
// be, nil for nothing. name is the length of its name.
func (m *message) checkHeader(text []byte, name int) []byte {
	if !m.checking() || !m.w.checks.any {
		return text
	}
	c := &m.w.checks.header
	if mime.IsHeader(text[:name]) {
		c = &m.w.checks.mime
	}
	text = m.check(c, text)
	if text != nil && m.scanner() != nil {
		m.scan.Observe(text)
	}
	return text
}

// scanner is what takes the body apart, where a table is there for that.
func (m *message) scanner() *mime.Scanner {
	if m.scan == nil && m.w.checks.inBody {
		s := &m.w.set
		m.scan = mime.New(mime.Limits{Header: s.HeaderSize, Nesting: s.MIMENesting, Boundary: s.MIMEBoundary}, (*bodySink)(m))
		m.scan.Plain = s.PlainInput
	}
	return m.scan
}

// scanBody takes a line of the body, or a piece of one.
func (m *message) scanBody(text []byte, more bool) {
	_ = m.scan.Line(text, more) // the sink has no errors
}

// scanBlank is the empty line after the header, which tables see too.
func (m *message) scanBlank() { _ = (*bodySink)(m).Body(nil, false) }

func (m *message) endScan() { _ = m.scan.End() }

// bodySink takes the parts of a body. Its errors are always nil: what fails is noted in
// the message.
type bodySink message

// Header implements mime.Sink.
func (b *bodySink) Header(kind mime.Kind, text []byte) error {
	m := (*message)(b)
	if m.checking() {
		c := &m.w.checks.mime
		if kind == mime.Nested {
			c = &m.w.checks.nested
		}
		if text = m.check(c, text); text == nil {
			return nil
		}
	}
	m.outHeader(text)
	return nil
}

// Body implements mime.Sink. Of each part body_checks_size_limit bytes are looked at.
func (b *bodySink) Body(text []byte, more bool) error {
	m := (*message)(b)
	t := record.Norm
	if more {
		t = record.Cont
	}
	if m.scan.Segment != m.segment {
		m.segment, m.seenText = m.scan.Segment, 0
	}
	if m.checking() && m.seenText < m.w.set.BodyChecksSize {
		m.seenText += len(text) + 1
		out := m.check(&m.w.checks.body, text)
		if out == nil {
			return nil
		}
		text = out
	}
	m.outLine(t, text)
	return nil
}

// check asks a table about a header or a line and does what it says. It returns what is
// to be written in its place; nil: nothing.
func (m *message) check(c *check, text []byte) []byte {
	if text == nil {
		text = []byte{}
	}
	if c.maps.Empty() || len(text) == 0 {
		return text
	}
	value, found, err := c.maps.Lookup(m.ctx, string(text))
	if err != nil {
		m.log.Warnf("%s: %v -- message not accepted, try again later", m.id, err)
		m.status |= mailproto.CleanupDefer
		m.reason = "4.3.0 Temporary lookup error"
		return text
	}
	if !found {
		return text
	}
	word, arg, _ := strings.Cut(value, " ")
	if i := strings.IndexByte(word, '\t'); i >= 0 {
		word, arg = value[:i], value[i+1:]
	}
	return m.act(c, text, value, strings.ToUpper(word), strings.TrimSpace(arg))
}

// act does what a table's value says.
func (m *message) act(c *check, text []byte, value, word, arg string) []byte {
	switch word {
	case "DUNNO", "OK":
	case "REJECT":
		if arg == "" {
			arg = "message content rejected"
		}
		m.reject(c, text, value, arg)
	case "WARN":
		m.logCheck(c, "warning", text, arg)
	case "INFO":
		m.logCheck(c, "info", text, arg)
	case "PASS":
		m.logCheck(c, "pass", text, arg)
		m.flags &^= mailproto.CleanupFilter
	case "DISCARD":
		m.logCheck(c, "discard", text, arg)
		m.flags |= mailproto.CleanupDiscard
	case "HOLD":
		if m.flags&mailproto.CleanupHold == 0 {
			m.logCheck(c, "hold", text, arg)
			m.flags |= mailproto.CleanupHold
		}
	case "IGNORE":
		return nil
	case "STRIP":
		m.logCheck(c, "strip", text, arg)
		return nil
	case "FILTER":
		m.target(c, text, word, arg, strings.Contains(arg, ":"), "transport:destination", func() { m.filter = arg })
	case "REDIRECT":
		m.target(c, text, word, arg, strings.Contains(arg, "@"), "user@domain", func() { m.redirect = arg })
	case "BCC":
		m.target(c, text, word, arg, strings.Contains(arg, "@"), "user@domain", func() { m.bcc = append(m.bcc, arg) })
	case "PREPEND":
		return m.prepend(c, text, arg)
	case "REPLACE":
		return m.replace(c, text, arg)
	default:
		m.log.Warnf("%s: unknown command in %s map: %.100q", m.id, c.param, value)
	}
	return text
}

// reject refuses the message for good, or with a code of class 4 for now.
func (m *message) reject(c *check, text []byte, value, arg string) {
	switch {
	case !startsWithCode(arg):
		arg = "5.7.1 " + arg
	case arg[0] == '2':
		m.log.Warnf("%s: bad status code in %s map: %.100q -- need 4.x.x or 5.x.x", m.id, c.param, value)
		arg = "4" + arg[1:]
	}
	m.logCheck(c, "reject", text, arg)
	m.reason = arg
	if arg[0] == '4' {
		m.status |= mailproto.CleanupDefer
	} else {
		m.status |= mailproto.CleanupCont
	}
}

// startsWithCode reports whether a text begins with an enhanced status code.
func startsWithCode(text string) bool {
	code, _, _ := strings.Cut(text, " ")
	class, rest, ok := strings.Cut(code, ".")
	subject, detail, ok2 := strings.Cut(rest, ".")
	digits := func(s string) bool { return s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == "" }
	return ok && ok2 && (class == "2" || class == "4" || class == "5") && digits(subject) && digits(detail)
}

// target is an action with an argument of a certain form.
func (m *message) target(c *check, text []byte, word, arg string, good bool, form string, do func()) {
	if !good {
		m.log.Warnf("%s: bad %s target %.100q in %s map -- need %s", m.id, word, arg, c.param, form)
		return
	}
	m.logCheck(c, strings.ToLower(word), text, arg)
	do()
}

func (m *message) prepend(c *check, text []byte, arg string) []byte {
	switch {
	case arg == "":
		m.log.Warnf("%s: PREPEND action without text in %s map", m.id, c.param)
	case c.class == "header" && !isHeader(arg):
		m.log.Warnf("%s: bad PREPEND header text %.100q in %s map -- need \"headername: headervalue\"", m.id, arg, c.param)
	case c.class == "header":
		m.logCheck(c, "prepend", text, arg)
		m.outHeader([]byte(arg))
	default:
		m.logCheck(c, "prepend", text, arg)
		m.outLine(record.Norm, []byte(arg))
	}
	return text
}

func (m *message) replace(c *check, text []byte, arg string) []byte {
	switch {
	case arg == "":
		m.log.Warnf("%s: REPLACE action without text in %s map", m.id, c.param)
	case c.class == "header" && !isHeader(arg):
		m.log.Warnf("%s: bad REPLACE header text %.100q in %s map -- need \"headername: headervalue\"", m.id, arg, c.param)
	default:
		m.logCheck(c, "replace", text, arg)
		return []byte(arg)
	}
	return text
}

func isHeader(text string) bool {
	_, _, ok := header.Line([]byte(text))
	return ok
}

func (m *message) logCheck(c *check, action string, text []byte, why string) {
	ev := &maillog.ContentCheck{QueueID: m.id, Action: action, Class: c.class, Text: string(text), Origin: m.origin,
		HasFrom: m.haveSender, From: m.sender, HasTo: m.firstRcpt != "", To: m.firstRcpt, Proto: m.protocol, Helo: m.helo, Why: why}
	m.log.Log(maillog.Info, ev)
}
