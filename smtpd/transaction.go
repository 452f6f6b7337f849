package main

import (
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/smtpio"
)

// queueWriter is a message on its way into the queue: *mailclient.Cleanup, or a
// double in tests.
type queueWriter interface {
	QueueID() string
	contentWriter
	Attr(name, value string)
	finisher
	Cancel()
}

// contentWriter takes the content of a message: lines, and pieces of longer ones.
type contentWriter interface {
	Record(t record.Type, payload []byte)
	RecordString(t record.Type, s string)
	Err() error
}

// transaction is what is known between MAIL and the end of the message.
type transaction struct {
	arrival time.Time
	mailParams
	sender string // internal form

	actions actions // of access tables

	queue     queueWriter // nil before the first valid recipient, and with a filter
	proxy     *proxied    // the same, with a filter
	content   contentWriter
	mailLine  string // for the filter: the command
	rcpts     int
	excess    int    // recipients above the limit
	firstRcpt string // internal form

	size    int64 // of the content so far, with line endings as CR LF
	status  mailproto.CleanupStatus
	reading bool // in DATA or BDAT

	// BDAT:
	chunks *smtpio.ChunkReader // nil before the first one
	failed bool                // an earlier chunk was refused; the rest is dropped
	bytes  int64               // announced by the chunks so far
	lines  contentState
}

// mailParams are the parameters of MAIL FROM.
type mailParams struct {
	announced int64 // SIZE=; 0: not given
	body      string
	ret       dsn.Ret
	envID     string // decoded
	utf8      bool
	// authSender is AUTH= of an authenticated client, in xtext; "" for none or <>.
	authSender string
	// requireTLS: the sender asked for REQUIRETLS (RFC 8689 §2).
	requireTLS bool
}

func (t *transaction) queueID() string {
	if t.queue == nil {
		return ""
	}
	return t.queue.QueueID()
}

// cancel ends the message without its end: cleanup drops what it has, and for a
// filter there was none.
func (t *transaction) cancel() {
	if t.queue != nil {
		t.queue.Cancel()
	}
	if t.proxy != nil {
		t.proxy.close()
	}
	t.queue, t.proxy = nil, nil
}

func (t *transaction) countRecipient(to path) {
	if t.rcpts == 0 {
		t.firstRcpt = to.internal
	}
	t.rcpts++
}

// reset ends the transaction, or what was said in preparation of one.
func (s *session) reset() {
	s.forward = forwarded{}
	if s.txn == nil {
		return
	}
	s.txn.cancel()
	s.txn = nil
}
