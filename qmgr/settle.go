package main

import (
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
)

// finished reports whether nothing of the message is being worked on: its
// recipients in memory are all done or deferred. The caller holds mu.
func (m *qmgr) finished(msg *message) bool {
	return msg.sched.Recipients() == 0 && msg.pending == 0 && !msg.refilling
}

// more reports whether recipients are left in the file.
func (msg *message) more() bool { return msg.env.More() && msg.env.Redirect == "" }

// wantsRefill decides whether to read further recipients of a large message while
// others of it are being delivered: when there is room for a useful number of
// them, or it is time anyway. The message at the head of a transport's job list
// may go beyond the limit, so that large messages in front do not starve it. The
// caller holds mu.
func (m *qmgr) wantsRefill(msg *message) bool {
	if msg.refilling || !msg.more() {
		return false
	}
	n := m.batchSize(msg)
	p := m.refillSettings(msg)
	return n >= p.refill || n > 0 && m.world.now().Sub(msg.lastRun) >= p.refillDelay
}

// batchSize is how many more recipients of a message may be read now. The caller
// holds mu.
func (m *qmgr) batchSize(msg *message) int {
	p := m.refillSettings(msg)
	n := min(m.set.RecipientLimit-m.sched.Recipients(), p.recipients-msg.sched.Recipients())
	if msg.sched.Front() {
		n = max(n, p.extra/2-msg.sched.Recipients())
	}
	return max(n, m.set.RecipientMinimum-msg.sched.Recipients(), 0)
}

func (m *qmgr) refillSettings(msg *message) transportSettings {
	if t := msg.sched.Transport(); t != nil {
		return m.transport(t.Name)
	}
	return transportSettings{recipients: m.set.RecipientLimit, extra: 0, refill: 1}
}

// refill reads the next recipients of a message and schedules them. Only one
// goroutine does so for a message.
func (m *qmgr) refill(msg *message) {
	m.mu.Lock()
	if msg.refilling {
		m.mu.Unlock()
		return
	}
	msg.refilling = true
	n := max(m.batchSize(msg), 1)
	m.mu.Unlock()

	err := m.readMore(msg, n)

	m.mu.Lock()
	msg.lastRun = m.world.now()
	unread := 0
	if err == nil && msg.more() {
		unread = max(msg.sched.Unread-len(msg.env.Recipients), 1)
	}
	msg.sched.Unread = unread
	if err != nil {
		msg.undelivered, msg.failed = true, true
	}
	m.mu.Unlock()
	if err != nil {
		m.log.Warnf("%s: cannot read further recipients: %v", msg.id, err)
		msg.env.Recipients = nil
	}
	if m.assign(msg, msg.env.Recipients) {
		m.settle(msg)
	}
}

func (m *qmgr) readMore(msg *message, n int) error {
	defer m.world.dog.Begin("reading more recipients of message ", msg.id)()
	f, err := openFile(m.queue.Path(queue.Active, msg.id))
	if err != nil {
		return err
	}
	defer f.close()
	return msg.env.ReadMore(f, n)
}

// settle does what is due when the recipients in memory are done: the sender is
// told about failed ones, then the next recipients are read, or the message
// leaves the active queue (§4.9). Only one goroutine is here for a message.
func (m *qmgr) settle(msg *message) {
	if m.ctx.Err() != nil {
		return // on disk everything is as it should be
	}
	if m.hasLog(m.set.BounceService, msg.id) {
		if err := m.notify(msg, m.set.BounceService, m.flushCommand(msg), 0); err != nil {
			m.later(msg, err)
		}
	}
	if !msg.failed && !msg.tried && msg.more() {
		m.refill(msg)
		return
	}
	m.report(msg)
	if m.remains(msg) {
		m.expireOrWarn(msg)
	}
	if m.ctx.Err() != nil {
		return // a request may have failed for this reason only
	}
	if m.remains(msg) {
		m.postponeMessage(msg)
	} else {
		m.remove(msg)
	}
	m.mu.Lock()
	if msg.probe {
		m.probes--
	}
	m.mu.Unlock()
	m.leave()
}

func (m *qmgr) remains(msg *message) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return msg.undelivered
}

// later keeps a message because a request about it failed.
func (m *qmgr) later(msg *message, err error) {
	m.log.Warnf("%s: %v", msg.id, err)
	m.mu.Lock()
	msg.undelivered = true
	msg.failed = true
	m.mu.Unlock()
}

// flushCommand turns a status log into notifications: with VERP one for each
// recipient.
func (m *qmgr) flushCommand(msg *message) mailproto.BounceCommand {
	if msg.sched.OneRecipient {
		return mailproto.BounceVERP
	}
	return mailproto.BounceFlush
}

// notify sends one request about the whole message to a bounce service.
func (m *qmgr) notify(msg *message, service string, c mailproto.BounceCommand, f mailproto.BounceFlags) error {
	env := msg.env
	return m.world.bounce(m.ctx, privatePath(service), &mailproto.BounceRequest{
		Command: c, Flags: f, QueueName: queue.Active, QueueID: msg.id,
		Encoding: env.Encoding, SendOpts: env.SendOpts, Sender: env.Sender,
		EnvelopeID: env.EnvelopeID, Ret: env.Ret, VERPDelims: env.VERP,
	})
}

// sizeNotifySuccess is the qmgr flag of the size record that says that some
// recipient has NOTIFY=SUCCESS (§4.5).
const sizeNotifySuccess = int(dsn.NotifySuccess) << 1

// report sends the delivery report that the sender asked for, if there is
// something to report. The request for it is then struck out: the next attempt
// makes no second one.
func (m *qmgr) report(msg *message) {
	env := msg.env
	flags := m.traceFlags(msg) & (mailproto.DeliverUserVerify | mailproto.DeliverRecord | mailproto.DeliverDelaySent)
	if flags == 0 && env.Size.QmgrFlags&sizeNotifySuccess == 0 || !m.hasLog(m.set.TraceService, msg.id) {
		return
	}
	if err := m.notify(msg, m.set.TraceService, mailproto.BounceTrace, mailproto.BounceFlags(m.traceFlags(msg))); err != nil {
		m.later(msg, err)
		return
	}
	if env.TraceFlags != 0 && env.TraceOffset >= 0 && m.remains(msg) {
		if err := m.edit(msg.id, func(f fileEdit) error { return queue.MarkKilled(f, env.TraceOffset) }); err != nil {
			m.log.Warnf("%s: cannot strike out the trace request: %v", msg.id, err)
		}
	}
}

// expireOrWarn returns a message that is too old to its sender, or sends the
// notice that it is late.
func (m *qmgr) expireOrWarn(msg *message) {
	env := msg.env
	now := m.world.now()
	if !msg.failed && (msg.forced || !now.Before(env.CreateTime.Add(m.lifetime(env.Sender)))) {
		m.expire(msg)
		return
	}
	if env.WarnTime.IsZero() || env.Sender == "" || now.Before(env.WarnTime) || !m.hasLog(m.set.DeferService, msg.id) {
		return
	}
	if err := m.notify(msg, m.set.DeferService, mailproto.BounceWarn, 0); err != nil {
		m.log.Warnf("%s: %v", msg.id, err)
		return
	}
	if err := m.edit(msg.id, func(f fileEdit) error { return queue.MarkWarned(f, env.WarnOffset) }); err != nil {
		m.log.Warnf("%s: cannot note that the delay notice was sent: %v", msg.id, err)
	}
}

// expire gives up on the recipients in the defer log. Without such a log nobody
// would learn about them, so the message stays.
func (m *qmgr) expire(msg *message) {
	if !m.hasLog(m.set.DeferService, msg.id) {
		m.log.Warnf("%s: too old, but there is no defer log to return: trying again later", msg.id)
		return
	}
	m.log.Log(maillog.Info, &maillog.Expired{QueueID: msg.id, Sender: m.external(msg.env.Sender), Forced: msg.forced})
	if err := m.notify(msg, m.set.DeferService, m.flushCommand(msg), mailproto.BounceDelRcpt); err != nil {
		m.later(msg, err)
		return
	}
	m.mu.Lock()
	msg.undelivered = false
	m.mu.Unlock()
}

// lifetime is how long a message is tried: notifications have a limit of their own.
func (m *qmgr) lifetime(sender string) time.Duration {
	if sender == "" || m.isDoubleBounce(sender) {
		return m.set.BounceLifetime
	}
	return m.set.QueueLifetime
}

// postponeMessage moves a message to the deferred queue, for as long as it has
// been in the queue already, within bounds. One that an agent found damaged goes
// to the corrupt queue.
func (m *qmgr) postponeMessage(msg *message) {
	var st unix.Stat_t
	if err := unix.Stat(m.queue.Path(queue.Active, msg.id), &st); err == nil && st.Mode&unix.S_IRWXU == uint32(queue.ModeCorrupt) {
		m.saveCorrupt(msg.id, queue.Active)
		return
	}
	now := m.world.now()
	delay := m.set.MinimalBackoff
	if !msg.env.CreateTime.IsZero() {
		delay = min(max(now.Sub(msg.env.CreateTime), m.set.MinimalBackoff), m.set.MaximalBackoff)
	}
	m.log.Verbosef("%s: deferred for %s", msg.id, delay)
	m.putBack(msg, queue.Deferred, delay)
}

// remove ends a message: all its recipients were taken care of.
func (m *qmgr) remove(msg *message) {
	path := m.queue.Path(queue.Active, msg.id)
	if err := unix.Unlink(path); err != nil {
		if !errors.Is(err, unix.ENOENT) {
			m.log.Warnf("cannot remove %s: %v", path, err)
			return
		}
		m.log.Warnf("%s: %s disappeared", msg.id, path)
	}
	m.log.Log(maillog.Info, &maillog.Removed{QueueID: msg.id})
}

// fileEdit is a queue file that is written in place.
type fileEdit struct{ fd int }

// WriteAt implements io.WriterAt.
func (f fileEdit) WriteAt(b []byte, off int64) (int, error) {
	for {
		n, err := unix.Pwrite(f.fd, b, off)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// edit opens a message for a change in place.
func (m *qmgr) edit(id string, fn func(fileEdit) error) error {
	path := m.queue.Path(queue.Active, id)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return fn(fileEdit{fd})
}

func (m *qmgr) markDone(id string, offset int64) error {
	if offset < 0 {
		return errors.New("recipient without a place in the queue file")
	}
	return m.edit(id, func(f fileEdit) error { return queue.MarkDone(f, offset) })
}
