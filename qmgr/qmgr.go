package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/rewrite"
	"sealpost/lib/service"
	"sealpost/qmgr/schedule"
)

const (
	// retryService defers what it is given, with the reason in its nexthop.
	retryService = "retry"

	// loaders is the number of messages that are read at a time.
	loaders = 4

	// connectAhead bounds the connections to a transport on which no agent has
	// spoken yet. An agent that is full does not accept, so this is what keeps
	// qmgr from choosing entries that nobody can deliver yet (§2.6 item 1).
	connectAhead = 4

	// deferrers is the number of requests at a time to log mail as deferred without
	// the retry service.
	deferrers = 4

	// suspended precedes the reason in the status of mail whose destination or
	// transport is suspended.
	suspended = "delivery temporarily suspended: "
)

// world is what qmgr asks of the rest of the system; tests have doubles.
type world struct {
	now     func() time.Time
	resolve func(ctx context.Context, sender, rcpt string) (rewrite.Resolved, error)
	dial    func(ctx context.Context, path string) (net.Conn, error)
	bounce  func(ctx context.Context, path string, r *mailproto.BounceRequest) error
	tokens  func(n int) // flow control: n messages left the incoming queue
	dog     *service.Watchdog
}

// qmgr is the queue manager. Everything that the scheduler knows is under mu;
// files, agents and other daemons are dealt with outside it.
type qmgr struct {
	set        *settings
	transports func(name string) transportSettings
	world      world
	queue      *queue.Queue
	log        *maillog.Logger

	incoming, deferred scanner
	loads              chan *message
	deferring          chan struct{} // a place for each of deferrers
	wake               chan struct{} // the next timer is due earlier
	tasks              sync.WaitGroup

	mu       sync.Mutex
	room     sync.Cond // a place in the active queue became free, or stopped is set
	sched    *schedule.Scheduler
	params   map[string]transportSettings
	active   int      // messages in the active queue
	wanted   int      // scans that wait for room for new mail
	probes   int      // address probes in the active queue
	stranded []string // messages that could not be moved out of the active queue
	stopped  bool     // the process leaves
	armed    time.Time
	clogWarn map[string]time.Time
	clogSeen time.Time // when warnClogged last looked
	conns    map[*agentConn]struct{}
	ctx      context.Context
}

func newQmgr(s *settings, transports func(string) transportSettings, w world, q *queue.Queue, log *maillog.Logger) *qmgr {
	m := &qmgr{
		set: s, transports: transports, world: w, queue: q, log: log,
		loads:     make(chan *message, loaders),
		wake:      make(chan struct{}, 1),
		deferring: make(chan struct{}, deferrers),
		params:    make(map[string]transportSettings),
		clogWarn:  make(map[string]time.Time),
		conns:     make(map[*agentConn]struct{}),
		ctx:       context.Background(),
	}
	m.incoming.init(queue.Incoming)
	m.deferred.init(queue.Deferred)
	m.room.L = &m.mu
	m.sched = schedule.New(func(name string) schedule.Limits { return m.transport(name).limits })
	return m
}

// transport is the parameters of a transport, read once. The caller holds mu.
func (m *qmgr) transport(name string) transportSettings {
	t, ok := m.params[name]
	if !ok {
		t = m.transports(name)
		m.params[name] = t
	}
	return t
}

// run works until ctx is done. What is in the active queue goes back to the
// incoming queue first: an earlier qmgr may have left anything there.
func (m *qmgr) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.ctx = ctx
	since := m.world.now().Add(-stampLag) // what comes in from here on is new mail
	// The tokens keep the rate of new mail to that of mail taken up. They begin
	// with a full measure: an empty queue is no reason to hold up the first mail,
	// and neither is one that takes its time.
	m.world.tokens(m.set.ProcessLimit)
	if err := m.requeueActive(since.Add(-stampLag)); err != nil {
		return err
	}
	for range loaders {
		m.tasks.Go(func() {
			for msg := range m.loads {
				m.load(msg)
			}
		})
	}
	var scans sync.WaitGroup
	scans.Go(func() { m.scanLoop(ctx, &m.incoming, since) })
	scans.Go(func() { m.scanLoop(ctx, &m.deferred, since) })
	m.incoming.request(scanFlags{})
	m.deferred.request(scanFlags{})
	m.timerLoop(ctx)

	m.mu.Lock()
	m.stopped = true
	m.room.Broadcast()
	for c := range m.conns {
		c.conn.SetDeadline(time.Unix(1, 0))
	}
	m.mu.Unlock()
	scans.Wait()
	close(m.loads)
	m.tasks.Wait()
	return nil
}

// spawn runs fn in a goroutine that run waits for. The caller holds mu.
func (m *qmgr) spawn(fn func()) {
	if !m.stopped {
		m.tasks.Go(fn)
	}
}

// trigger acts on request codes (§2.2). A and F are about the scans that the
// same trigger asks for, so their place among the codes does not matter.
func (m *qmgr) trigger(_ context.Context, codes []byte) {
	var flags scanFlags
	var in, def bool
	for _, c := range codes {
		switch c {
		case mailproto.TriggerWakeup, mailproto.TriggerScanIncoming:
			in = true
		case mailproto.TriggerScanDeferred:
			def = true
		case mailproto.TriggerIgnoreTime:
			flags.all = true
		case mailproto.TriggerFlushDead:
			flags.flush = true
		}
	}
	if flags.flush {
		m.log.Verbosef("forgetting suspended destinations and transports")
		m.mu.Lock()
		m.sched.FlushDead()
		m.sched.Transports(m.kick)
		m.mu.Unlock()
	}
	if in {
		m.incoming.request(flags)
	}
	if def {
		m.deferred.request(flags)
	}
}

// timerLoop ends suspensions and starts the periodic scans.
func (m *qmgr) timerLoop(ctx context.Context) {
	nextDeferred := m.world.now().Add(m.set.QueueRunDelay)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.wake:
		}
		now := m.world.now()
		m.advance(now)
		if !now.Before(nextDeferred) {
			m.rescue()
			m.deferred.request(scanFlags{})
			nextDeferred = now.Add(m.set.QueueRunDelay)
		}
		next := m.incoming.due(now, nextDeferred)
		m.mu.Lock()
		if at, ok := m.sched.Next(); ok && at.Before(next) {
			next = at
		}
		m.armed = next
		m.mu.Unlock()
		timer.Reset(max(next.Sub(now), time.Millisecond))
	}
}

// advance ends what is over in the scheduler.
func (m *qmgr) advance(now time.Time) {
	defer m.world.dog.Begin("the next step of the scheduler", "")() // which others may keep locked
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.sched.Advance(now) {
		m.kick(t)
	}
}

// rearm wakes the timer loop when the scheduler has something to do earlier than
// the loop knows. The caller holds mu.
func (m *qmgr) rearm() {
	if at, ok := m.sched.Next(); ok && at.Before(m.armed) {
		m.poke()
	}
}

func (m *qmgr) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// enter waits for a place in the active queue and takes it; new mail goes before
// deferred mail. false means that the process leaves.
func (m *qmgr) enter(fresh bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fresh {
		m.wanted++
		defer func() {
			m.wanted--
			m.room.Broadcast() // deferred mail may have waited for this one only
		}()
	}
	for !m.stopped && (m.active >= m.set.ActiveLimit || !fresh && m.wanted > 0) {
		m.warnClogged()
		m.room.Wait()
	}
	if m.stopped {
		return false
	}
	m.active++
	return true
}

// leave gives a place in the active queue back.
func (m *qmgr) leave() {
	m.mu.Lock()
	m.active--
	m.room.Broadcast()
	m.mu.Unlock()
}

// full reports whether enter would have to wait.
func (m *qmgr) full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active >= m.set.ActiveLimit
}

// warnClogged names a destination that fills the active queue. The caller holds mu.
func (m *qmgr) warnClogged() {
	if !m.set.HelpfulWarnings || m.set.ClogWarnTime <= 0 {
		return
	}
	now := m.world.now()
	if now.Sub(m.clogSeen) < time.Second {
		return
	}
	m.clogSeen = now
	m.sched.Transports(func(t *schedule.Transport) {
		q := t.Largest()
		if q == nil {
			return
		}
		n := q.Busy() + q.Todo()
		key := t.Name + "\x00" + q.Nexthop
		if n <= m.set.ActiveLimit/5 || now.Sub(m.clogWarn[key]) < m.set.ClogWarnTime {
			return
		}
		if len(m.clogWarn) > 1000 {
			clear(m.clogWarn)
		}
		m.clogWarn[key] = now
		m.log.Warnf("mail for %s is using up %d of %d active queue entries", q.Nexthop, n, m.active)
		m.log.Warnf("this may slow down other mail deliveries; consider a separate %s transport for it", t.Name)
	})
}

// external is an address as it appears in log lines.
func (m *qmgr) external(addr string) string {
	if m.set.AddressFormat == "internal" {
		return addr
	}
	return address.Quote(addr)
}

// privatePath is the socket of an internal service.
func privatePath(service string) string { return "private/" + service }

// status makes a DSN from "4.4.1 text".
func status(text string) dsn.Status {
	code, reason := dsn.SplitCode(dsn.Code400, text)
	return dsn.Status{Code: code, Reason: reason}
}

// suspendedText is the nexthop of a retry request for a suspended destination.
func suspendedText(why dsn.Status) string {
	code := why.Code
	if !dsn.ValidCode(code) || code[0] == dsn.CodeHard5 {
		code = dsn.SetClass(code, dsn.CodeSoft4)
	}
	return code + " " + suspended + oneLine(why.Reason)
}

// oneLine keeps an agent's text from forging anything in a request.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// dialUnix connects to a service. A full backlog is not an error but a reason to
// wait: the service is alive.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil || !isAgain(err) {
			return conn, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
