package queue

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
)

// ErrCorrupt: the file is not a complete message: it must not be delivered, it
// belongs in the corrupt queue. Errors of the file system (EIO) are not ErrCorrupt.
var ErrCorrupt = errors.New("corrupt queue file")

// Message is the envelope of a queue file as qmgr, showq and bounce need it: the
// records of the envelope and those extracted from the content (§4.5, §4.6).
type Message struct {
	Size       SizeRecord
	DataOffset int64 // of the content (Size.DataOffset)
	DataSize   int64 // content length: Size.ContentLen, or Size.ContentSize if that is 0

	Arrival    time.Time // T record
	CreateTime time.Time // entry into the queue; Arrival when the file does not say

	Sender     string // internal form
	Encoding   string // 7bit, 8bit or empty
	Ret        dsn.Ret
	EnvelopeID string
	SendOpts   sendopts.Options // undefined bits removed
	Client     mailproto.ClientAttrs
	Filter     string // content filter transport:nexthop
	Redirect   string // redirect address
	VERP       string // VERP delimiters, two characters, or empty
	FullName   string
	MessageID  string // as logged by cleanup, with <>

	// WarnTime is when to send a delay notice; zero: never, or sent already.
	// WarnOffset is the file offset of the W record, -1 when there is none.
	WarnTime   time.Time
	WarnOffset int64

	// TraceFlags are probe and record flags; TraceOffset is the file offset of
	// their A record, -1 when there is none.
	TraceFlags  mailproto.DeliveryFlags
	TraceOffset int64

	// Recipients is the current batch: those not done yet, in file order. Offset
	// is that of the R record's type byte.
	Recipients []mailproto.Recipient

	resume    int64 // where the next batch begins; 0: all were read
	extracted bool  // resume is behind the content
}

// ReadMessage reads the envelope of a complete queue file with up to limit
// recipients; limit 0 means all. It returns ErrCorrupt, wrapped, for a file that
// is truncated, malformed or without a necessary record.
//
// When the file says that its recipients are not mixed with other records
// (§4.5, f4), those above the limit are not read; in any case what is not a
// recipient is complete.
func ReadMessage(f io.ReaderAt, limit int) (*Message, error) {
	r := NewReader(f, 0)
	defer r.Release()
	m := &Message{WarnOffset: -1, TraceOffset: -1}
	if err := m.readSize(r); err != nil {
		return nil, err
	}
	p := parser{m: m, r: r, limit: limit}
	if err := p.envelope(m.Size.QmgrFlags&QmgrMixed == 0); err != nil {
		return nil, err
	}
	if err := p.afterContent(); err != nil {
		return nil, err
	}
	switch {
	case m.Arrival.IsZero():
		return nil, fmt.Errorf("%w: no arrival time record", ErrCorrupt)
	case !p.sender:
		return nil, fmt.Errorf("%w: no sender record", ErrCorrupt)
	}
	if m.CreateTime.IsZero() {
		m.CreateTime = m.Arrival
	}
	if m.Client.RewriteContext == "" {
		m.Client.RewriteContext = "local"
	}
	return m, nil
}

// More reports whether the file has recipients after the current batch.
func (m *Message) More() bool { return m.resume != 0 }

// ReadMore replaces Recipients with the next batch of up to limit recipients.
// Recipients marked done since are skipped, so a batch may be empty at the end.
func (m *Message) ReadMore(f io.ReaderAt, limit int) error {
	m.Recipients = nil
	if m.resume == 0 {
		return nil
	}
	r := NewReader(f, m.resume)
	defer r.Release()
	m.resume = 0
	p := parser{m: m, r: r, limit: limit, more: true, group: r.Offset()}
	if m.extracted {
		return p.segment(record.ExtractedTypes, true)
	}
	if err := p.segment(record.EnvelopeTypes, true); err != nil || m.resume != 0 {
		return err
	}
	return p.afterContent()
}

func (m *Message) readSize(r *Reader) error {
	rec, err := r.Read()
	if err == io.EOF {
		err = fmt.Errorf("%w: empty file", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	if rec.Type != record.Size {
		return fmt.Errorf("%w: record type %q where the size record must be", ErrCorrupt, rec.Type)
	}
	if m.Size, err = ParseSize(string(rec.Payload)); err != nil {
		return err
	}
	if err := m.Size.Check(); err != nil {
		return err
	}
	m.DataOffset, m.DataSize = m.Size.DataOffset, m.Size.Length()
	m.SendOpts = sendopts.Options(m.Size.SendOpts) & sendopts.All
	return nil
}

// parser reads the segments of a file into a message.
type parser struct {
	m      *Message
	r      *Reader
	limit  int
	more   bool // only recipients are wanted
	sender bool // a sender record was seen

	next  mailproto.Recipient // what the records before a recipient say about it
	group int64               // file offset of the first of them
}

// envelope reads the first segment and checks that the content follows it.
func (p *parser) envelope(mayStop bool) error {
	p.group = p.r.Offset()
	if err := p.segment(record.EnvelopeTypes, mayStop); err != nil {
		return err
	}
	if mayStop && p.m.resume != 0 {
		return nil
	}
	if p.r.Offset() != p.m.DataOffset {
		return fmt.Errorf("%w: content at %d, but the size record says %d", ErrCorrupt, p.r.Offset(), p.m.DataOffset)
	}
	return nil
}

// afterContent reads the extracted segment, always to its end: a file without
// end record is not complete.
func (p *parser) afterContent() error {
	at := p.m.DataOffset + p.m.Size.ContentSize
	p.r.SeekTo(at)
	rec, err := p.r.Read()
	if err == io.EOF || err == nil && rec.Type != record.Extracted {
		err = fmt.Errorf("%w: no extracted segment at %d", ErrCorrupt, at)
	}
	if err != nil {
		return err
	}
	had := p.m.resume != 0
	p.group, p.next = p.r.Offset(), mailproto.Recipient{}
	if err := p.segment(record.ExtractedTypes, false); err != nil {
		return err
	}
	p.m.extracted = !had && p.m.resume != 0
	return nil
}

// segment reads records up to the one that types begins with. With mayStop it
// stops at the first recipient above the limit.
func (p *parser) segment(types string, mayStop bool) error {
	for {
		rec, err := p.r.Read()
		if err == io.EOF {
			err = fmt.Errorf("%w: the file ends before record %q", ErrCorrupt, types[0])
		}
		if err != nil {
			return err
		}
		switch {
		case byte(rec.Type) == types[0]:
			return nil
		case strings.IndexByte(types, byte(rec.Type)) < 0:
			return fmt.Errorf("%w: unexpected record type %q at %d", ErrCorrupt, rec.Type, rec.Offset)
		}
		if full := p.recipient(rec); full && mayStop {
			return nil
		}
		if p.more {
			continue
		}
		if err := p.other(rec); err != nil {
			return err
		}
	}
}

// recipient takes the records that make up a recipient. It reports that rec is
// a recipient above the limit.
func (p *parser) recipient(rec Rec) (full bool) {
	t, value := rec.Type, rec.Payload
	if t == record.Attr {
		name, v, _ := cutAttr(rec.Payload)
		switch string(name) {
		case "dsn_orig_rcpt":
			t, value = record.DSNOrigRcpt, v
		case "notify_flags":
			t, value = record.DSNNotify, v
		}
	}
	switch t {
	case record.OrigRcpt:
		p.next.OrigAddr = string(value)
	case record.DSNOrigRcpt:
		p.next.OrigRcpt = string(value)
	case record.DSNNotify:
		if n, err := strconv.Atoi(string(value)); err == nil && dsn.Notify(n).Valid() {
			p.next.Notify = dsn.Notify(n)
		}
	case record.Rcpt:
		if p.limit > 0 && len(p.m.Recipients) >= p.limit {
			if p.m.resume == 0 {
				p.m.resume = p.group
			}
			return true
		}
		p.next.Addr, p.next.Offset = string(value), rec.Offset
		p.m.Recipients = append(p.m.Recipients, p.next)
		fallthrough
	case record.Done, record.CancelRcpt:
		p.next = mailproto.Recipient{}
		p.group = p.r.Offset()
	}
	return false
}

// other takes the records that are about the message.
func (p *parser) other(rec Rec) error {
	m := p.m
	switch rec.Type {
	case record.Time:
		if m.Arrival.IsZero() {
			return parseArrival(rec, &m.Arrival)
		}
	case record.CreateTime:
		m.CreateTime = parseUnix(rec.Payload)
	case record.From:
		if !p.sender {
			p.sender, m.Sender = true, string(rec.Payload)
		}
	case record.FullName:
		m.FullName = string(rec.Payload)
	case record.Filter:
		m.Filter = string(rec.Payload)
	case record.Redirect:
		m.Redirect = string(rec.Payload)
	case record.VERP:
		m.VERP = string(rec.Payload)
	case record.WarnTime:
		m.WarnTime, m.WarnOffset = parseUnix(rec.Payload), rec.Offset
	case record.DSNEnvID:
		m.EnvelopeID = string(rec.Payload)
	case record.DSNRet:
		m.Ret = parseRet(rec.Payload)
	case record.Attr:
		m.attr(rec)
	}
	return nil
}

func (m *Message) attr(rec Rec) {
	name, value, ok := cutAttr(rec.Payload)
	if !ok {
		return
	}
	var dst *string
	switch string(name) {
	case "create_time":
		m.CreateTime = parseUnix(value)
	case "ret_flags":
		m.Ret = parseRet(value)
	case "trace_flags":
		if n, err := strconv.Atoi(string(value)); err == nil {
			m.TraceFlags = mailproto.DeliveryFlags(n) & mailproto.DeliverTraceMask
			m.TraceOffset = rec.Offset
		}
	case "envelope_id":
		dst = &m.EnvelopeID
	case "encoding":
		dst = &m.Encoding
	case "message_id":
		dst = &m.MessageID
	default:
		dst = clientAttr(&m.Client, name)
	}
	if dst != nil {
		*dst = string(value)
	}
}

func clientAttr(c *mailproto.ClientAttrs, name []byte) *string {
	switch string(name) {
	case "log_client_name":
		return &c.LogName
	case "log_client_address":
		return &c.LogAddr
	case "log_client_port":
		return &c.LogPort
	case "log_protocol_name":
		return &c.LogProto
	case "log_helo_name":
		return &c.LogHelo
	case "sasl_method":
		return &c.SASLMethod
	case "sasl_username":
		return &c.SASLUsername
	case "sasl_sender":
		return &c.SASLSender
	case "log_ident":
		return &c.LogIdent
	case "rewrite_context":
		return &c.RewriteContext
	}
	return nil
}

func cutAttr(payload []byte) (name, value []byte, ok bool) {
	for i, c := range payload {
		if c == '=' {
			return payload[:i], payload[i+1:], i > 0
		}
	}
	return nil, nil, false
}

func parseArrival(rec Rec, t *time.Time) error {
	sec, usec, _ := strings.Cut(string(rec.Payload), " ")
	s, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || s <= 0 {
		return fmt.Errorf("%w: invalid time record: %.100q", ErrCorrupt, rec.Payload)
	}
	u, _ := strconv.ParseInt(strings.TrimSpace(usec), 10, 32) // absent in old files
	*t = time.Unix(s, u*1000)
	return nil
}

// parseUnix reads seconds since 1970; what is not a positive number is the zero
// time.
func parseUnix(b []byte) time.Time {
	s, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || s <= 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

func parseRet(b []byte) dsn.Ret {
	n, err := strconv.Atoi(string(b))
	if err != nil || !dsn.Ret(n).Valid() {
		return 0
	}
	return dsn.Ret(n)
}

// MarkDone marks the recipient whose record is at offset as done: D over R.
func MarkDone(f io.WriterAt, offset int64) error { return mark(f, offset, record.Done) }

// MarkKilled neutralises the W or A record at offset: K over its type.
func MarkKilled(f io.WriterAt, offset int64) error { return mark(f, offset, record.Killed) }

func mark(f io.WriterAt, offset int64, t record.Type) error {
	_, err := f.WriteAt([]byte{byte(t)}, offset)
	return err
}

// AppendWarn appends the 17-byte W record: the time of a delay notice.
func AppendWarn(b []byte, t time.Time) []byte {
	b = append(b, byte(record.WarnTime), sizeWidth)
	return appendPadded(b, t.Unix())
}

// MarkWarned records that the delay notice was sent: -1 in the W record at
// offset.
func MarkWarned(f io.WriterAt, offset int64) error {
	b := append([]byte{byte(record.WarnTime), sizeWidth}, make([]byte, 0, sizeWidth)...)
	_, err := f.WriteAt(appendPadded(b, -1), offset)
	return err
}
