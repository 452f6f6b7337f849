package main

import (
	"bufio"
	"bytes"

	"sealpost/lib/header"
	"sealpost/lib/record"
)

// contentRecord takes one record of the header or the body.
func (m *message) contentRecord(t record.Type, payload []byte) {
	switch t {
	case record.Norm, record.Cont:
	case record.Extracted:
		m.endContent()
		return
	default:
		m.bad("message rejected: unexpected record type %d in message content", t)
		return
	}
	m.strip(payload)
	switch {
	case m.stage == stageHeader:
		m.headerRecord(t, payload)
	case m.scan != nil:
		m.scanBody(payload, t == record.Cont)
	default:
		m.outLine(t, payload)
	}
}

// strip replaces stray line ends inside a line by blanks: what follows must
// never become a line of its own on the way out (security-cases §2.B).
func (m *message) strip(payload []byte) {
	if !m.w.set.ReplaceStray {
		return
	}
	if bytes.IndexByte(payload, '\r') < 0 && bytes.IndexByte(payload, '\n') < 0 {
		return
	}
	for i, c := range payload {
		if c == '\r' || c == '\n' {
			payload[i] = ' '
		}
	}
}

// outLine writes a line in pieces of line_length_limit.
func (m *message) outLine(t record.Type, payload []byte) {
	for limit := m.w.set.LineLength; len(payload) > limit; payload = payload[limit:] {
		m.out(record.Cont, payload[:limit])
	}
	m.out(t, payload)
}

// copyBody passes on the body records that were read already, all in one
// piece: for most messages this is the whole body.
func (m *message) copyBody(in *bufio.Reader) {
	buf, err := in.Peek(in.Buffered())
	if err != nil {
		return
	}
	end := 0
	for {
		n, head := bodyRecordLen(buf[end:], m.w.set.LineLength)
		if n == 0 {
			break
		}
		m.strip(buf[end+head : end+n])
		end += n
	}
	if end == 0 {
		return
	}
	m.write(buf[:end])
	in.Discard(end)
}

// bodyRecordLen is the length of the body record that b begins with, and of
// its type and length bytes; 0 when it is another record, not complete in b, or
// longer than limit.
func bodyRecordLen(b []byte, limit int) (n, head int) {
	if len(b) < 2 || b[0] != byte(record.Norm) && b[0] != byte(record.Cont) {
		return 0, 0
	}
	size, head := int(b[1]), 2
	if size >= 0x80 {
		if len(b) < 3 || b[2] == 0 || b[2] >= 0x80 { // over 16 KB, or not minimal
			return 0, 0
		}
		size, head = size&0x7f|int(b[2])<<7, 3
	}
	if size > limit || head+size > len(b) {
		return 0, 0
	}
	return head + size, head
}

// headerRecord collects the lines of one header after the other.
func (m *message) headerRecord(t record.Type, payload []byte) {
	if m.partial {
		m.partial = t == record.Cont
		m.collect(payload)
		return
	}
	switch {
	case len(m.header) > 0 && header.IsContinuation(payload):
		m.collect([]byte{'\n'})
		m.collect(payload)
		m.partial = t == record.Cont
		return
	case len(payload) > 0:
		if _, _, ok := header.Line(payload); ok {
			m.flushHeader()
			m.collect(payload)
			m.partial = t == record.Cont
			return
		}
	}
	m.endHeader()
	m.stage = stageBody
	empty := len(payload) == 0 && t != record.Cont
	if m.scan != nil {
		m.scan.EndHeader(empty)
		m.scanBlank()
	} else {
		m.out(record.Norm, nil)
	}
	switch {
	case empty:
	case m.scan != nil:
		m.scanBody(payload, t == record.Cont)
	default:
		m.outLine(t, payload)
	}
}

// collect adds text to the header up to header_size_limit.
func (m *message) collect(text []byte) {
	if room := m.w.set.HeaderSize - len(m.header); len(text) > room {
		text = text[:max(room, 0)]
		m.cut = true
	}
	m.header = append(m.header, text...)
}

// endContent is reached at the X record.
func (m *message) endContent() {
	if m.stage == stageHeader {
		m.endHeader()
	} else if m.scan != nil {
		m.endScan()
	}
	m.closing = true
	m.contentSize = m.offset() - m.dataOffset
	m.out(record.Extracted, nil)
	m.stage = stageExtracted
}
