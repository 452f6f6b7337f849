package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"sealpost/lib/ehlo"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

// contentState is where in the content the next line stands.
type contentState uint8

const (
	contentStart   contentState = iota // only our own header lines came
	contentMailbox                     // within a mailbox separator that is too long for one record
	contentText
)

// mailboxLine is the header that a mailbox separator ("From sender date") in
// front of the header becomes.
const mailboxLine = "X-Mailbox-Line: "

// finisher ends a message.
type finisher interface {
	Finish(ctx context.Context) (mailproto.CleanupReply, error)
}

// data is DATA.
func (s *session) data(ctx context.Context, arg string) (outcome, error) {
	t := s.txn
	switch {
	case t != nil && t.chunks != nil:
		s.fail("503 5.5.1 Error: DATA after BDAT")
		return refused, nil
	case t == nil:
		s.fail("503 5.5.1 Error: need RCPT command")
		return refused, nil
	case t.rcpts == 0:
		s.fail("554 5.5.1 Error: no valid recipients")
		return refused, nil
	case arg != "":
		s.fail("501 5.5.4 Syntax: DATA")
		return refused, nil
	}
	if no := s.openContent(ctx); no != nil {
		return no(), nil
	}
	s.reply("354 End data with <CR><LF>.<CR><LF>")
	s.startRequest(s.p.MinDataRate)
	end := s.p.bareLF.end()
	if s.exempt {
		end = bareLFNo.end()
	}
	r := s.conn.Data(end, s.p.LineLimit)
	t.reading = true
	for {
		text, more, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return refused, err
		}
		s.contentLine(text, more)
	}
	t.reading = false
	s.startRequest(0)
	s.noteBareLF(r.BareLF)
	return s.endOfMessage(ctx, ""), nil
}

// openContent asks whether the content may come and makes ready for it. What it
// returns, when the answer is no, says so to the client.
func (s *session) openContent(ctx context.Context) (no func() outcome) {
	if r := s.checkData(ctx); r.refused() {
		return func() outcome {
			s.refuse(r)
			return refused
		}
	}
	if p := s.txn.proxy; p != nil {
		err := p.begin(s.srv.spoolDir)
		s.startRequest(s.p.MinDataRate)
		if err != nil {
			return func() outcome { return s.proxyFailed(err) }
		}
	}
	s.beginContent()
	return nil
}

// noteBareLF remembers a bare LF in the content and what it means.
func (s *session) noteBareLF(seen bool) {
	if !seen {
		return
	}
	s.bareLF = true
	if s.p.bareLF == bareLFReject && !s.exempt {
		s.txn.status |= mailproto.CleanupBareLF
	}
}

// contentLine passes a line, or a piece of one, on to cleanup.
func (s *session) contentLine(text []byte, more bool) {
	t := s.txn
	n := int64(len(text))
	if !more {
		n += 2
	}
	if limit := s.p.MessageLimit; limit > 0 && t.size+n > limit {
		t.status |= mailproto.CleanupSize
	}
	t.size += n
	if t.status != 0 {
		return
	}
	if t.lines != contentText {
		text = t.firstLines(text, more)
	}
	if more {
		t.content.Record(record.Cont, text)
	} else {
		t.content.Record(record.Norm, text)
	}
}

// firstLines treats lines at the start of the content, up to the first one that
// is not a mailbox separator. It returns what to pass on.
func (t *transaction) firstLines(text []byte, more bool) []byte {
	if t.lines == contentMailbox {
		if !more {
			t.lines = contentStart
		}
		return text
	}
	if bytes.HasPrefix(bytes.TrimLeft(text, ">"), []byte("From ")) {
		if more {
			t.lines = contentMailbox
		}
		return append([]byte(mailboxLine), text...)
	}
	t.lines = contentText
	if len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r') {
		// It must not continue our own header, as it is or with a blank for the CR.
		t.content.RecordString(record.Norm, "")
	}
	return text
}

// endOfMessage completes the message with cleanup and answers the client. The
// transaction is over, whatever the answer. bytes is for the reply to BDAT.
func (s *session) endOfMessage(ctx context.Context, bytes string) outcome {
	t := s.txn
	defer s.reset()
	if t.status == 0 {
		if r := s.checkEndOfData(ctx); r.refused() {
			s.where = "END-OF-MESSAGE"
			s.refuse(r)
			return refused
		}
	}
	switch {
	case t.status != 0:
		return s.refuseMessage("")
	case t.proxy != nil:
		return s.finishProxied(ctx)
	}
	t.queue.RecordString(record.Extracted, "")
	t.sendActions()
	answer, err := t.queue.Finish(ctx)
	id := t.queueID()
	if err != nil {
		s.log.Warnf("%s: cannot complete the message: %v", id, err)
	}
	if answer.Status != 0 {
		t.status = answer.Status
		o := s.refuseMessage(answer.Reason)
		t.queue = nil
		return o
	}
	t.queue = nil
	s.errors, s.junk = 0, 0
	defer s.script.messageTaken()
	if id == "" {
		s.replyf("250 2.0.0 Ok: ", bytes, "queued")
	} else {
		s.replyf("250 2.0.0 Ok: ", bytes, "queued as ", id)
	}
	return accepted
}

// refuseMessage answers a message that is not taken.
func (s *session) refuseMessage(reason string) outcome {
	t := s.txn
	s.where = "END-OF-MESSAGE"
	text := s.statusReply(t.status, reason)
	if t.status&mailproto.CleanupBareLF != 0 {
		s.logReject("bare <LF> received", nil)
	} else if t.proxy != nil {
		s.logProxy("proxy-reject", text)
	}
	s.failFor(statusProblem(t.status), text)
	return refused
}

// statusProblem is the class of what kept a message out of the queue.
func statusProblem(status mailproto.CleanupStatus) problems {
	switch {
	case status&mailproto.CleanupBareLF != 0:
		return problemProtocol
	case status&(mailproto.CleanupBad|mailproto.CleanupProxy) != 0:
		return problemSoftware
	case status&mailproto.CleanupWrite != 0:
		return problemResource
	}
	return problemPolicy
}

// statusReply is the reply to a message that cleanup did not take, in the order
// of protocols.md §2.3.
func (s *session) statusReply(status mailproto.CleanupStatus, reason string) string {
	switch {
	case status&mailproto.CleanupBareLF != 0:
		return itoa(int64(s.p.BareLFCode)) + " 5.5.2 " + s.p.MyHostname + " Error: bare <LF> received"
	case reason != "" && status&(mailproto.CleanupCont|mailproto.CleanupDefer) != 0:
		reason = strings.Map(oneLine, reason)
		if isReply(reason) {
			return reason
		}
		return itoa(int64(status.Detail().Code)) + " " + reason
	}
	for _, bit := range []mailproto.CleanupStatus{mailproto.CleanupDefer, mailproto.CleanupBad, mailproto.CleanupSize,
		mailproto.CleanupHops, mailproto.CleanupCont, mailproto.CleanupWrite, mailproto.CleanupProxy} {
		switch {
		case status&bit == 0:
		case bit == mailproto.CleanupBad:
			return "451 4.3.0 Error: internal error " + itoa(int64(status))
		default:
			return detailReply(bit)
		}
	}
	return detailReply(status)
}

func detailReply(status mailproto.CleanupStatus) string {
	d := status.Detail()
	return itoa(int64(d.Code)) + " " + d.DSN + " Error: " + d.Text
}

func oneLine(r rune) rune {
	if r == '\r' || r == '\n' || r == 0 {
		return ' '
	}
	return r
}

// isReply reports whether text begins with a reply code 4NN or 5NN and a blank.
func isReply(text string) bool {
	return len(text) > 4 && (text[0] == '4' || text[0] == '5') &&
		isDigit(text[1]) && isDigit(text[2]) && text[3] == ' '
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// bdat is BDAT (RFC 3030). Whatever the answer is, the chunk is read: it must
// never be taken for commands.
func (s *session) bdat(ctx context.Context, arg string) (outcome, error) {
	if s.discard.Has(ehlo.Chunking) {
		s.fail("521 5.5.1 Error: command not implemented")
		return hangup, nil
	}
	size, last, ok := s.chunkSize(arg)
	if !ok {
		return hangup, nil
	}
	t := s.txn
	s.startRequest(s.p.MinDataRate)
	switch {
	case t != nil && t.failed:
		if err := s.conn.Discard(size); err != nil {
			return broken, err
		}
		if last {
			s.reset()
		}
		s.fail("551 5.0.0 Discarded ", itoa(size), " bytes after earlier error")
		return refused, nil
	case t == nil:
		return s.dropChunk(size, "503 5.5.1 Error: need RCPT command")
	case t.rcpts == 0:
		return s.dropChunk(size, "554 5.5.1 Error: no valid recipients")
	case size == 0 && !last:
		s.log.Warnf("%s: null BDAT request from %s", s.queueIDOrNone(), s.client.text)
		s.fail("551 5.7.1 Null BDAT request")
		return refused, nil
	}
	if t.chunks == nil {
		no := s.openContent(ctx)
		t.chunks = s.conn.Chunks(s.p.LineLimit)
		if no != nil {
			t.failed = true
			if err := s.conn.Discard(size); err != nil {
				return broken, err
			}
			o := no()
			if last {
				s.reset()
			}
			return o, nil
		}
	}
	return s.chunk(ctx, size, last)
}

// bdatRefused answers BDAT where no command is taken; the chunk is read as ever.
func (s *session) bdatRefused(arg, reply string) (outcome, error) {
	size, _, ok := s.chunkSize(arg)
	if !ok {
		return hangup, nil
	}
	s.startRequest(s.p.MinDataRate)
	return s.dropChunk(size, reply)
}

// chunkSize parses BDAT's argument. It reports false after the reply to one that
// does not tell where the chunk ends, or says that it is too large to be read.
func (s *session) chunkSize(arg string) (size int64, last, ok bool) {
	size, last, ok = parseBdat(arg)
	if !ok {
		s.log.Warnf("%s: malformed BDAT command syntax from %s: BDAT %s", s.queueIDOrNone(), s.client.text, printable([]byte(arg), 100))
		s.fail("521 5.5.4 Syntax: BDAT count [LAST]")
		return 0, false, false
	}
	if size > s.chunkLimit() {
		s.log.Warnf("%s: BDAT request from %s exceeds message size limit", s.queueIDOrNone(), s.client.text)
		s.fail("552 5.3.4 Chunk exceeds message size limit")
		return 0, false, false
	}
	return size, last, true
}

// dropChunk reads a chunk that belongs to no message.
func (s *session) dropChunk(size int64, reply string) (outcome, error) {
	if err := s.conn.Discard(size); err != nil {
		return broken, err
	}
	s.fail(reply)
	return refused, nil
}

// chunkLimit is the largest chunk that is read at all: one that cannot be part
// of any message is not waited for.
func (s *session) chunkLimit() int64 {
	const most = 1 << 40
	if s.p.MessageLimit <= 0 {
		return most
	}
	return min(most, 8*s.p.MessageLimit+1<<20)
}

// chunk reads one chunk of a message.
func (s *session) chunk(ctx context.Context, size int64, last bool) (outcome, error) {
	t := s.txn
	t.bytes += size
	if limit := s.p.MessageLimit; limit > 0 && t.bytes > limit {
		t.status |= mailproto.CleanupSize
	}
	t.reading = true
	t.chunks.Start(size)
	for {
		text, more, err := t.chunks.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return broken, err
		}
		s.contentLine(text, more)
	}
	if last {
		if text, ok := t.chunks.Rest(); ok {
			s.contentLine(text, false)
		}
	}
	t.reading = false
	s.startRequest(0)
	s.noteBareLF(t.chunks.BareLF)
	if last {
		return s.endOfMessage(ctx, itoa(t.size)+" bytes "), nil
	}
	if t.status == 0 && t.content.Err() != nil {
		t.status |= mailproto.CleanupWrite
	}
	if t.status == 0 {
		s.replyf("250 2.0.0 Ok: ", itoa(size), " bytes")
		return accepted, nil
	}
	t.failed = true
	if t.status&mailproto.CleanupBareLF != 0 {
		where := s.where
		s.where = "BDAT content"
		s.logReject("bare <LF> received", nil)
		s.where = where
	}
	s.failFor(statusProblem(t.status), s.statusReply(t.status, ""))
	return refused, nil
}

func (s *session) queueIDOrNone() string {
	if s.txn == nil || s.txn.queueID() == "" {
		return "NOQUEUE"
	}
	return s.txn.queueID()
}

// parseBdat parses "count [LAST]".
func parseBdat(arg string) (size int64, last, ok bool) {
	count, rest := nextParam(arg)
	word, rest := nextParam(rest)
	if strings.Trim(rest, " \t") != "" || word != "" && !strings.EqualFold(word, "LAST") {
		return 0, false, false
	}
	if count == "" || len(count) > 19 {
		return 0, false, false
	}
	for i := range len(count) {
		if !isDigit(count[i]) {
			return 0, false, false
		}
		d := int64(count[i] - '0')
		if size > (1<<63-1-d)/10 {
			return 0, false, false
		}
		size = size*10 + d
	}
	return size, word != "", true
}
