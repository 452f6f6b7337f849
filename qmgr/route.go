package main

import (
	"slices"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/rewrite"
	"sealpost/qmgr/schedule"
)

// target is where one recipient goes.
type target struct {
	transport, nexthop string
	rcpt               mailproto.Recipient
	discard            bool // nobody gets it; it is done
}

// assign finds out where recipients go and schedules them. It reports that
// nothing is left to be delivered: then the caller owes a settle.
func (m *qmgr) assign(msg *message, rcpts []mailproto.Recipient) (done bool) {
	targets := make([]target, 0, len(rcpts))
	for _, r := range rcpts {
		t := m.route(msg, r)
		if t.discard {
			m.discard(msg, r)
			continue
		}
		targets = append(targets, t)
		if msg.env.Redirect != "" {
			break // the whole message goes to one address, once
		}
	}
	slices.SortStableFunc(targets, compareTargets)

	m.mu.Lock()
	defer m.mu.Unlock()
	for len(targets) > 0 {
		n := 1
		for n < len(targets) && m.together(&targets[0], &targets[n]) {
			n++
		}
		group := make([]mailproto.Recipient, n)
		for i := range group {
			group[i] = targets[i].rcpt
		}
		m.schedule(msg, targets[0].transport, targets[0].nexthop, group)
		targets = targets[n:]
	}
	msg.refilling = false
	m.rearm()
	return m.finished(msg)
}

// compareTargets puts what goes out together side by side, and recipients in the
// order in which requests have them: by address.
func compareTargets(a, b target) int {
	if c := strings.Compare(a.transport, b.transport); c != 0 {
		return c
	}
	if c := strings.Compare(a.nexthop, b.nexthop); c != 0 {
		return c
	}
	return strings.Compare(a.rcpt.Addr, b.rcpt.Addr)
}

// together reports whether two recipients go to the same destination; the limits
// of the transport say whether that means a domain or one recipient. The caller
// holds mu.
func (m *qmgr) together(a, b *target) bool {
	if a.transport != b.transport || !strings.EqualFold(a.nexthop, b.nexthop) {
		return false
	}
	return m.transport(a.transport).limits.Recipients != 1 ||
		m.destination(a.transport, a.nexthop, a.rcpt.Addr) == m.destination(b.transport, b.nexthop, b.rcpt.Addr)
}

// destination is the name of the scheduler's queue. Where recipients go one by
// one, each mailbox is a destination of its own; the address extension does not
// make another mailbox.
func (m *qmgr) destination(transport, nexthop, rcpt string) string {
	if m.transport(transport).limits.Recipients != 1 {
		return strings.ToLower(nexthop)
	}
	local, domain := address.Split(rcpt)
	if m.set.RecipientDelimiter != "" {
		local, _ = address.SplitExtension(local, m.set.RecipientDelimiter)
	}
	return strings.ToLower(local + "@" + domain + "\x00" + nexthop)
}

// schedule gives recipients of one destination to the scheduler, or to the retry
// service when the destination or its transport is suspended. The caller holds mu.
func (m *qmgr) schedule(msg *message, transport, nexthop string, rcpts []mailproto.Recipient) {
	t := m.sched.Transport(transport)
	q := m.sched.Queue(t, m.destination(transport, nexthop, rcpts[0].Addr), nexthop)
	if msg.mode&queue.ModeUnthrottle != 0 {
		m.sched.Revive(q)
	}
	switch {
	case t.Dead():
		m.retry(msg, transport, nexthop, t.Reason, rcpts)
		return
	case q.Dead():
		m.retry(msg, transport, nexthop, q.Reason, rcpts)
		return
	}
	m.sched.Assign(&msg.sched, q, rcpts)
	m.kick(t)
}

// retry hands recipients to the retry service, so that they are logged and
// deferred with the reason. Mail for a retry service that is suspended itself is
// deferred here. The caller holds mu.
func (m *qmgr) retry(msg *message, transport, nexthop string, why dsn.Status, rcpts []mailproto.Recipient) {
	text := suspendedText(why)
	if transport == retryService {
		text = nexthop
	}
	t := m.sched.Transport(retryService)
	if transport != retryService && !t.Dead() {
		m.schedule(msg, retryService, text, rcpts)
		return
	}
	msg.pending++
	m.spawn(func() { m.deferDirectly(msg, status(text), rcpts) })
}

// route decides where one recipient goes.
func (m *qmgr) route(msg *message, r mailproto.Recipient) target {
	env := msg.env
	if msg.forced {
		return target{transport: retryService, nexthop: "4.7.0 message is administratively expired", rcpt: r}
	}
	if env.Redirect != "" {
		r.Addr = env.Redirect
	}
	if msg.excess {
		return target{transport: retryService, nexthop: "4.3.3 Too many address verification requests", rcpt: r}
	}
	if r.Addr != "" && r.Addr[0] == '-' && !m.set.AllowMinUser {
		// Here, where no table and no filter gets past it: a command may take the
		// address for an option.
		return m.badAddress(r)
	}
	// A probe asks about the address, not about the filter.
	if env.Filter != "" && env.Redirect == "" && env.TraceFlags&(mailproto.DeliverMTAVerify|mailproto.DeliverUserVerify) == 0 {
		return m.deferTransport(msg, m.filterTarget(env.Filter, r))
	}
	end := m.world.dog.Begin("looking up a recipient of message ", msg.id)
	res, err := m.world.resolve(m.ctx, env.Sender, r.Addr)
	end()
	if err != nil {
		m.log.Warnf("%s: cannot resolve <%s>: %v", msg.id, r.Addr, err)
		return target{transport: retryService, nexthop: "4.3.0 address resolver failure", rcpt: r}
	}
	if res.Recipient != "" {
		r.Addr = res.Recipient
	}
	if res.Invalid || r.Addr == "" || !m.set.AllowMinUser && r.Addr[0] == '-' {
		return m.badAddress(r)
	}
	if res.Class == rewrite.Local && m.isDoubleBounce(r.Addr) {
		return target{discard: true, rcpt: r}
	}
	if res.Transport == "" {
		m.log.Warnf("%s: <%s> resolves to no transport", msg.id, r.Addr)
		return target{transport: retryService, nexthop: "4.3.5 mail system configuration error", rcpt: r}
	}
	return m.deferTransport(msg, target{transport: res.Transport, nexthop: res.Nexthop, rcpt: r})
}

func (m *qmgr) badAddress(r mailproto.Recipient) target {
	return target{transport: m.set.ErrorService, nexthop: "5.1.3 bad address syntax", rcpt: r}
}

// filterTarget sends a recipient through a content filter "transport:nexthop".
// Without a next hop it is default_filter_nexthop, the recipient's domain or, where
// the address has none, this host.
func (m *qmgr) filterTarget(filter string, r mailproto.Recipient) target {
	transport, nexthop, _ := strings.Cut(filter, ":")
	if nexthop == "" {
		nexthop = m.set.DefaultFilterNexthop
	}
	if nexthop == "" {
		_, nexthop = address.Split(r.Addr)
	}
	if nexthop == "" {
		nexthop = m.set.Hostname
	}
	return target{transport: transport, nexthop: nexthop, rcpt: r}
}

// deferTransport holds mail for a transport that is used on request only.
func (m *qmgr) deferTransport(msg *message, t target) target {
	if m.set.defers(t.transport) && !msg.flush {
		return target{transport: retryService, nexthop: "4.3.2 deferred transport", rcpt: t.rcpt}
	}
	return t
}

func (m *qmgr) isDoubleBounce(addr string) bool {
	local, _ := address.Split(addr)
	return strings.EqualFold(local, m.set.DoubleBounceSender)
}

// discard ends the way of a notification that cannot be delivered to anyone.
func (m *qmgr) discard(msg *message, r mailproto.Recipient) {
	m.logDelivery(msg, r, maillog.StatusSent, dsn.Status{Code: dsn.Code200, Reason: "undeliverable postmaster notification discarded"})
	if err := m.markDone(msg.id, r.Offset); err != nil {
		m.log.Warnf("%s: cannot mark <%s> as done: %v", msg.id, r.Addr, err)
		m.mu.Lock()
		msg.undelivered, msg.failed = true, true
		m.mu.Unlock()
	}
}

// logDelivery writes a delivery line for a recipient that no agent saw.
func (m *qmgr) logDelivery(msg *message, r mailproto.Recipient, word string, s dsn.Status) {
	d := &maillog.Delivery{
		QueueID: msg.id, To: m.external(r.Addr), Relay: "none", Stats: msg.stats(),
		DSN: s.Code, Status: word, Reason: s.Reason, Now: m.world.now(), Decimals: m.set.DelayDecimals + 1,
	}
	if r.OrigAddr != "" {
		d.OrigTo = m.external(r.OrigAddr)
	}
	m.log.Log(maillog.Info, d)
}

func (msg *message) stats() mailproto.MsgStats {
	return mailproto.MsgStats{IncomingArrival: msg.env.Arrival, ActiveArrival: msg.activeArrival}
}

// deferDirectly logs recipients as deferred without the retry service.
func (m *qmgr) deferDirectly(msg *message, why dsn.Status, rcpts []mailproto.Recipient) {
	m.deferring <- struct{}{}
	defer func() { <-m.deferring }()
	why.Action = dsn.ActionDelayed
	failed := false
	for _, r := range rcpts {
		m.logDelivery(msg, r, maillog.StatusDeferred, why)
		err := m.world.bounce(m.ctx, privatePath(m.set.DeferService), &mailproto.BounceRequest{
			Command: mailproto.BounceAppend, QueueID: msg.id, Recipient: r, DSN: why,
		})
		if err != nil {
			m.log.Warnf("%s: cannot log <%s> as deferred: %v", msg.id, r.Addr, err)
			failed = true
		}
	}
	m.mu.Lock()
	msg.pending--
	msg.undelivered = true
	msg.failed = msg.failed || failed
	done := m.finished(msg)
	m.mu.Unlock()
	if done {
		m.settle(msg)
	}
}

// redirect hands entries that cannot be delivered for now to the retry service.
// The caller holds mu.
func (m *qmgr) redirect(entries []*schedule.Entry, why dsn.Status) {
	for _, e := range entries {
		q := e.Queue
		m.retry(e.Message.Data.(*message), q.Transport.Name, q.Nexthop, why, e.Recipients)
	}
}
