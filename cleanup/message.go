package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/dsn"
	"sealpost/lib/header"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/rewrite"
	"sealpost/lib/sendopts"
	"sealpost/lib/service"
)

// stage is where a message's records are: each has its handler.
type stage int

const (
	stageEnvelope stage = iota
	stageHeader
	stageBody
	stageExtracted
)

// message is one message on its way from a client into a queue file.
type message struct {
	w       *worker
	ctx     context.Context
	log     *maillog.Logger
	records *record.Reader
	scratch []byte

	file   *queue.File
	id     string
	status mailproto.CleanupStatus
	reason string // detail for the client
	flags  mailproto.CleanupFlags
	stage  stage
	token  bool // of flow control, taken for this message

	envelope
	content
	recipients
}

// envelope is what the envelope records said.
type envelope struct {
	sender           string
	fullName         string
	haveSender       bool
	haveTime         bool
	haveWarn         bool
	haveVERP         bool
	attrs            int
	options          sendopts.Options
	context          rewrite.Context
	encoding         string
	origin           string // log_message_origin
	protocol, helo   string // log_protocol_name, log_helo_name
	firstRcpt        string // as the client said it
	envelopeID       string
	ret              dsn.Ret
	extractedStarted bool // cleanup's own attributes were written
	ended            bool // the end record was written
	mixed            bool // f4 bit 1: a record that is not a recipient's came after the first one
}

// content is the state of the header and the sizes.
type content struct {
	header      []byte // the header being collected, lines joined by "\n"
	partial     bool   // the last content record did not end its line
	cut         bool   // the header above is longer than header_size_limit
	seen        uint64 // header.ID bits
	resent      bool
	messageID   string
	hops        int
	reqtlsSeen  bool // Require-TLS-ESMTP: yes
	closing     bool // the content is complete: what follows must get into the file
	dataOffset  int64
	contentSize int64
	checked
}

func (m *message) reset() {
	records, scratch, hdr := m.records, m.scratch[:0], m.header[:0]
	*m = message{records: records, scratch: scratch}
	m.header = hdr
}

// begin makes the queue file. Without one the client's records are drained and
// the answer is a write error, as when the disk is full.
func (m *message) begin(ctx context.Context, w *worker, s *service.Session) {
	m.w, m.ctx, m.log = w, ctx, s.Log
	m.context = rewrite.LocalContext
	if m.records == nil {
		m.records = record.NewReader(nil, recordLimit)
	}
	f, err := w.queue.Create(queue.Incoming)
	if err != nil {
		m.id = "NOQUEUE"
		m.status |= mailproto.CleanupWrite
		m.log.Warnf("create a queue file: %v", err)
		m.returnToken()
		return
	}
	m.file, m.id = f, f.ID()
	m.scratch = queue.AppendSize(m.scratch[:0], queue.SizeRecord{})
	m.write(m.scratch)
	if !w.set.LongIDs { // a short id may have been another message's
		for _, name := range [...]string{queue.Defer, queue.Bounce, queue.Trace} {
			if err := w.queue.Remove(name, m.id); err != nil {
				m.log.Warnf("%s: remove a stale log: %v", m.id, err)
			}
		}
	}
}

// requested notes what the client's flags say about delivery.
func (m *message) requested() {
	if m.flags&mailproto.CleanupSMTPUTF8 != 0 {
		m.options |= sendopts.SMTPUTF8Requested
	}
	if m.flags&mailproto.CleanupReqTLS != 0 {
		m.options |= sendopts.RequireTLSESMTP
	}
	m.log.Verbosef("%s: flags: %s", m.id, m.flags)
}

// abandon removes a file that did not get into the queue.
func (m *message) abandon() {
	if m.file == nil {
		return
	}
	m.remove(maillog.RemovedCanceled)
}

func (m *message) remove(why string) {
	if err := m.file.Abort(); err != nil {
		m.log.Warnf("%s: remove queue file: %v", m.id, err)
	}
	m.file = nil
	m.returnToken()
	m.log.Log(maillog.Info, &maillog.Unqueued{QueueID: m.id, Why: why})
}

// returnToken gives the flow control token back: qmgr will not, since it does not
// see the message.
func (m *message) returnToken() {
	if m.token {
		m.w.flow.PutTokens(1)
		m.token = false
	}
}

// record hands one record to the handler of the stage. After an error that
// makes the message incomplete the rest is drained.
func (m *message) record(t record.Type, payload []byte) {
	if t == record.Pointer || t == record.Pad {
		m.bad("record type %d not allowed - discarding this message", t)
	}
	if m.status&^mailproto.CleanupSize&mailproto.CleanupIncomplete != 0 {
		return
	}
	switch m.stage {
	case stageEnvelope:
		m.envelopeRecord(t, payload)
	case stageHeader, stageBody:
		m.contentRecord(t, payload)
	case stageExtracted:
		m.extractedRecord(t, payload)
	}
}

// bad refuses the message because of the client.
func (m *message) bad(format string, args ...any) {
	m.log.Warnf("%s: %s", m.id, fmt.Sprintf(format, args...))
	m.status |= mailproto.CleanupBad
}

// out appends a record to the queue file.
func (m *message) out(t record.Type, payload []byte) {
	m.scratch = record.Append(m.scratch[:0], t, payload)
	m.write(m.scratch)
}

func (m *message) outString(t record.Type, payload string) {
	m.scratch = record.Append(m.scratch[:0], t, payload)
	m.write(m.scratch)
}

func (m *message) outAttr(name, value string) {
	m.scratch = record.AppendAttr(m.scratch[:0], name, value)
	m.write(m.scratch)
}

// write appends to the queue file. The first error is logged; what follows is
// not written.
func (m *message) write(b []byte) {
	if m.file == nil || m.status&mailproto.CleanupWrite != 0 {
		return
	}
	if limit := m.w.set.MessageSize; limit > 0 && m.file.Size()+int64(len(b)) > limit {
		if m.status&mailproto.CleanupSize == 0 {
			m.log.Warnf("%s: queue file size limit exceeded", m.id)
			m.status |= mailproto.CleanupSize
		}
		// The end of the file is written all the same: bounce reads it. A client
		// that goes on without end is another matter.
		if !m.closing {
			return
		}
		if m.file.Size() > 2*limit {
			m.status |= mailproto.CleanupWrite
			return
		}
	}
	if _, err := m.file.Write(b); err != nil {
		m.writeError("write", err)
	}
}

func (m *message) writeError(what string, err error) {
	if errors.Is(err, unix.EFBIG) {
		m.log.Warnf("%s: queue file size limit exceeded", m.id)
		m.status |= mailproto.CleanupSize | mailproto.CleanupWrite
		return
	}
	m.log.Warnf("%s: %s queue file: %v", m.id, what, err)
	m.status |= mailproto.CleanupWrite
}

func (m *message) offset() int64 {
	if m.file == nil {
		return 0
	}
	return m.file.Size()
}

// arrival is the time in the queue id.
func (m *message) arrival() time.Time {
	if m.file == nil {
		return m.w.now()
	}
	return m.file.Arrival()
}

func (m *message) sawHeader(id header.ID) bool { return m.seen&(1<<id) != 0 }
