package main

import (
	"errors"
	"fmt"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/smtpclient"
	"sealpost/lib/smtpio"
)

// window is how many bytes of pipelined commands are sent before replies are
// read (RFC 2920 §3.1): small enough that neither side's buffers fill up while
// both are writing.
const window = 16 << 10

// rcpt is one recipient on its way through the hosts of a destination.
type rcpt struct {
	*mailproto.Recipient
	ext  string // external form, as the commands have it
	done bool   // has its outcome

	accepted bool                // by the server of this transaction
	sent     bool                // message taken over
	reply    string              // what the server said last, when that was good
	code     string              // its enhanced status code
	fail     *smtpclient.Failure // what the server said last, when that was not

	kept *kept // nil unless a host left it for the next one
}

// content is the message as lines; *queue.Content and converters of it.
type content interface {
	Next() (text []byte, more bool, err error)
}

// transaction is one message offered to one server.
type transaction struct {
	*session
	plan  *hostPlan
	env   *envelope
	rcpts []*rcpt
	probe bool // stop after RCPT TO

	queueID string // for the log
	log     *maillog.Logger
	data    func() content
	origin  *mailproto.ClientAttrs // what XFORWARD says; nil: nothing

	mail    *smtpclient.Failure // reply to MAIL FROM
	dataErr *smtpclient.Failure // reply to DATA
	ready   bool                // 354 was said
	stale   bool                // a reused connection was dead before the server said anything
	replies int
	written int // bytes of content that were flushed
}

// run offers the message. The failure concerns all recipients that have no
// outcome of their own; what became of the others is in rcpts.
func (t *transaction) run() *smtpclient.Failure {
	for _, r := range t.rcpts {
		r.accepted, r.sent, r.fail, r.reply, r.code = false, false, nil, "", ""
	}
	if f := t.check(); f != nil {
		return f
	}
	reused := t.uses > 0
	if t.set.blockEarlyReply && t.Facts.Secured && !reused && t.Pending() {
		return t.unasked()
	}
	t.plan.guard(t.session)
	t.uses++
	if t.dirty && !t.reset() {
		t.stale = reused
		return smtpclient.Broke(t.Host, errors.New("RSET"), "sending RSET probe")
	}
	t.dirty = true
	if f := t.commands(); f != nil {
		t.Broken = t.Broken || f.Broken
		// A server that closes an idle connection, or says 421 to it, has not
		// seen the message: that is not an outcome.
		t.stale = reused && f.Broken && t.replies <= 1
		return f
	}
	if t.mail != nil {
		return t.mail
	}
	if t.probe {
		return nil
	}
	accepted := t.accepted()
	switch {
	case accepted == 0 && t.ready:
		return t.abandon()
	case accepted == 0:
		return nil
	case t.dataErr != nil:
		return t.dataErr
	}
	return t.send()
}

// check holds what is known about the server against what the message needs. It
// is the last step before MAIL FROM.
func (t *transaction) check() *smtpclient.Failure {
	f := &t.Facts.Features
	if t.env.needsUTF8() && !f.Has(smtpclient.ExtSMTPUTF8) {
		return &smtpclient.Failure{Scope: smtpclient.Message, SoftUnlessFinal: true, Status: dsn.Status{Code: "5.6.7",
			Reason: "message requires SMTPUTF8, but no server was found that supports SMTPUTF8. " +
				"The last attempted server was " + t.Host.NameAddr()}}
	}
	if f.MaxSize > 0 && t.env.size > f.MaxSize {
		return &smtpclient.Failure{Scope: smtpclient.Message, Status: dsn.Status{Code: "5.3.4",
			Reason: fmt.Sprintf("message size %d exceeds size limit %d of server %s",
				t.env.size, f.MaxSize, t.Host.NameAddr())}}
	}
	return nil
}

// unasked is a reply inside TLS before the first mail command: an answer to what
// somebody else said there first (CVE-2009-3555; smtp_tls_block_early_mail_reply).
func (t *transaction) unasked() *smtpclient.Failure {
	t.Broken = true
	return &smtpclient.Failure{Scope: smtpclient.Site, Broken: true, Status: dsn.Status{Code: "4.7.0",
		Reason: "host " + t.Host.NameAddr() + " sent a reply before the first mail command"}}
}

func (t *transaction) accepted() int {
	n := 0
	for _, r := range t.rcpts {
		if r.accepted {
			n++
		}
	}
	return n
}

// commands sends MAIL FROM, RCPT TO for each recipient and DATA, in batches when
// the server pipelines, and takes the replies. Step 0 is MAIL, the last is DATA.
func (t *transaction) commands() *smtpclient.Failure {
	f := &t.Facts.Features
	last := len(t.rcpts) + 1
	if t.probe {
		last--
	}
	ahead, failure := t.forward()
	if failure != nil {
		return failure
	}
	for next, reply := 0, 0; reply <= last; {
		b := t.Conn.AvailableBuffer()
		for start := len(b); next <= last && len(b)-start < window; next++ {
			if !f.Has(smtpclient.ExtPipelining) && next > reply {
				break
			}
			switch {
			case next == 0:
				b = appendMail(b, t.env, f, t.plan.Verdict)
			case next <= len(t.rcpts):
				r := t.rcpts[next-1]
				b = appendRcpt(b, r.ext, r.Recipient, f)
			case reply == next && t.accepted() == 0:
				// Not sent yet and of no use.
				t.Conn.SetBuffer(b)
				return nil
			default:
				b = append(b, "DATA\r\n"...)
			}
		}
		t.Conn.SetBuffer(b)
		for ; len(ahead) > 0; ahead = ahead[1:] {
			if f := t.forwarded(ahead[0]); f != nil {
				return f
			}
		}
		for ; reply < next; reply++ {
			if f := t.answer(reply); f != nil {
				return f
			}
		}
		if t.mail != nil {
			return nil
		}
	}
	return nil
}

// answer takes the reply to one step. A failure ends the conversation.
func (t *transaction) answer(step int) *smtpclient.Failure {
	timeout, while := t.set.rcptTimeout, "sending RCPT TO"
	switch {
	case step == 0:
		timeout, while = t.set.mailTimeout, "sending MAIL FROM"
	case step > len(t.rcpts):
		timeout, while = t.set.dataInitTimeout, "sending DATA command"
	}
	t.Limit(timeout)
	if err := t.Read(nil); err != nil {
		t.Broken = true
		if t.mail != nil {
			return t.mail // what it said before it hung up says more
		}
		return smtpclient.Broke(t.Host, err, while)
	}
	t.replies++
	switch {
	case step == 0:
		if t.Reply.Class() != 2 {
			t.mail = smtpclient.Replied(smtpclient.Message, t.Host, &t.Reply, "MAIL FROM")
		}
	case step > len(t.rcpts):
		if t.ready = t.Reply.Class() == 3; !t.ready {
			t.dataErr = smtpclient.Replied(smtpclient.Message, t.Host, &t.Reply, "DATA")
			if t.Reply.Class() == 2 {
				t.dataErr.Status.Reason = "Protocol error: " + t.dataErr.Status.Reason
				t.Broken = true // who knows what it thinks it has
			}
		}
	case t.mail != nil: // the reply only repeats that
	default:
		r := t.rcpts[step-1]
		if r.accepted = t.Reply.Class() == 2; r.accepted {
			if t.probe {
				r.reply, r.code, r.sent = t.Reply.Text(), t.Reply.DSN(), true
			}
			break
		}
		r.fail = smtpclient.Replied(smtpclient.Recipient, t.Host, &t.Reply, "RCPT TO")
		if t.Reply.Code == 421 {
			f := *r.fail
			f.Scope = smtpclient.Message
			r.fail = nil
			return &f
		}
	}
	if t.Reply.Code == 421 {
		t.Broken = true
		switch {
		case t.mail != nil:
			return t.mail
		case t.dataErr != nil:
			return t.dataErr
		}
	}
	return nil
}

// abandon ends a DATA that the server agreed to although it took no recipient.
func (t *transaction) abandon() *smtpclient.Failure {
	t.Conn.WriteString(".\r\n")
	t.Limit(t.set.dataDoneTimeout)
	if err := t.Read(nil); err != nil || t.Reply.Code == 421 {
		t.Broken = true
	}
	return nil
}

// send sends the content and takes the answer to it.
func (t *transaction) send() *smtpclient.Failure {
	if f := t.early(false); f != nil {
		return f
	}
	if f := t.body(); f != nil {
		t.Broken = true
		return f
	}
	const while = "sending end of data -- message may be sent more than once"
	t.Limit(t.set.dataDoneTimeout)
	for _, r := range t.rcpts {
		if !r.accepted {
			continue
		}
		if err := t.Read(nil); err != nil {
			t.Broken = true
			f := smtpclient.Broke(t.Host, err, while)
			f.Lost = false // it may have the message
			return f
		}
		if !t.set.lmtp {
			return t.finish()
		}
		// RFC 2033 §4.2: one reply for each recipient.
		if t.Reply.Class() == 2 {
			r.sent, r.reply, r.code = true, t.Reply.Text(), t.Reply.DSN()
		} else {
			r.fail = smtpclient.Replied(smtpclient.Recipient, t.Host, &t.Reply, "end of DATA")
			t.Broken = t.Broken || t.Reply.Code == 421
		}
	}
	t.dirty = false
	return nil
}

// finish takes the one reply to the whole message.
func (t *transaction) finish() *smtpclient.Failure {
	t.dirty = false
	if t.Reply.Class() != 2 {
		t.Broken = t.Broken || t.Reply.Code == 421
		return smtpclient.Replied(smtpclient.Message, t.Host, &t.Reply, "end of DATA")
	}
	text, code := t.Reply.Text(), t.Reply.DSN()
	for _, r := range t.rcpts {
		if r.accepted {
			r.sent, r.reply, r.code = true, text, code
		}
	}
	return nil
}

// body sends the content up to and with the final dot. When it fails, the dot
// was not sent and the server has no message.
func (t *transaction) body() *smtpclient.Failure {
	const while = "sending message body"
	w := smtpio.NewDotWriter(t.Conn, t.set.lineLimit)
	defer func() {
		if w.Broken && t.log != nil {
			t.log.Log(maillog.Info, &maillog.LineBroken{QueueID: t.queueID, Limit: t.set.lineLimit})
		}
	}()
	rate := t.set.newRate()
	var answered *smtpclient.Failure
	w.Flush = func() error {
		n := t.Conn.Unflushed()
		rate.before(t.Conn)
		err := t.Conn.Flush()
		rate.after(n)
		t.written += n
		if answered = t.early(true); answered != nil && err == nil {
			err = errEarly
		}
		return err
	}
	lines := t.data()
	if r, ok := lines.(interface{ Release() }); ok {
		defer r.Release()
	}
	for {
		text, more, err := lines.Next()
		if err != nil {
			if isEnd(err) {
				break
			}
			return &smtpclient.Failure{Scope: smtpclient.Message, Broken: true, Status: dsn.Status{Code: "4.3.0",
				Reason: "cannot read the message: " + err.Error()}}
		}
		if err := w.Line(text, more); err != nil {
			if answered != nil {
				return answered
			}
			return smtpclient.Broke(t.Host, err, while)
		}
	}
	if err := w.Close(); err != nil {
		return smtpclient.Broke(t.Host, err, while)
	}
	rate.before(t.Conn)
	if err := t.Conn.Flush(); err != nil {
		if f := t.early(true); f != nil {
			return f
		}
		return smtpclient.Broke(t.Host, err, while)
	}
	return nil
}

var errEarly = errors.New("reply before the end of the message")

// early looks for a reply that came before the end of the message. Whatever it
// says, the server does not have the message: "250" is a lie, a refusal counts
// (security-cases.md §2.L). With ask the kernel is asked, too.
func (t *transaction) early(ask bool) *smtpclient.Failure {
	if t.Conn.Buffered() == 0 && !(ask && t.Pending()) {
		return nil
	}
	t.Broken = true
	t.Limit(t.set.dataDoneTimeout)
	if err := t.Read(nil); err != nil {
		return smtpclient.Broke(t.Host, err, "sending message body")
	}
	if c := t.Reply.Class(); c == 4 || c == 5 {
		f := smtpclient.Replied(smtpclient.Message, t.Host, &t.Reply, "end of DATA")
		f.Broken = true
		return f
	}
	return &smtpclient.Failure{Scope: smtpclient.Site, Broken: true, Status: dsn.Status{Code: "4.5.0",
		Reason: "protocol error: host " + t.Host.NameAddr() + " replied before the end of the message: " + t.Reply.Text()}}
}

// rate is the time limit for content: smtp_data_xfer_timeout for each write, or
// with smtp_per_request_deadline for all of them, to which what was sent adds
// time at smtp_min_data_rate.
type rate struct {
	limit, left time.Duration
	perRequest  bool
	bytesPerSec int
	began       time.Time
}

func (set *settings) newRate() *rate {
	return &rate{limit: set.dataXferTimeout, left: set.dataXferTimeout,
		perRequest: set.perRequest, bytesPerSec: set.minDataRate}
}

func (r *rate) before(c *smtpio.Conn) {
	c.SetTimeout(r.limit)
	r.began = time.Now()
	if r.perRequest {
		c.SetDeadline(r.began.Add(r.left), 0)
	} else {
		c.SetDeadline(time.Time{}, 0)
	}
}

func (r *rate) after(n int) {
	if !r.perRequest {
		return
	}
	r.left -= time.Since(r.began)
	r.left = min(r.left+time.Duration(n)*time.Second/time.Duration(max(r.bytesPerSec, 1)), r.limit)
}
