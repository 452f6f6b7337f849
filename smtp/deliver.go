package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/agent"
	"sealpost/lib/dsn"
	"sealpost/lib/hop"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/reqtls"
	"sealpost/lib/route"
	"sealpost/lib/smtpclient"
	"sealpost/lib/table"
)

// client is the program: everything that outlives a message.
type client struct {
	set    *settings
	route  *route.Config
	syntax route.Syntax
	cache  *cache
	dial   dialer
	tls    policies
	engine hop.Engine
	reqtls *reqtls.Policy
	now    func() time.Time
	flags  deliveryFlags
	// always are the destinations with connection caching without demand.
	always *table.List
	// generic rewrites addresses of the envelope (smtp_generic_maps).
	generic func(ctx context.Context, addr string) (string, error)
	checks  *checks // nil: content is not looked at
	// discardFor is what is passed over of what a host offers.
	discardFor func(ctx context.Context, h route.Host) (discarding, error)
}

// outcomes takes what became of each recipient; *agent.Delivery.
type outcomes interface {
	Sent(context.Context, agent.Outcome)
	Bounced(context.Context, agent.Outcome)
	Deferred(context.Context, agent.Outcome)
	HopStatus(dsn.Status)
	Pass(ctx context.Context, r *mailproto.Recipient, transport, nexthop string)
}

// job is one delivery request.
type job struct {
	req  *mailproto.DeliveryRequest
	log  *maillog.Logger
	out  outcomes
	data func() content
}

// walk is one job on its way over destinations and hosts.
type walk struct {
	*client
	job
	env      envelope
	rcpts    []*rcpt // those without outcome
	tried    map[string]bool
	sessions int                 // that got past EHLO
	last     *smtpclient.Failure // why the remaining recipients remain
	// level is how far a request for REQUIRETLS is enforced for the current destination.
	level reqtls.Level
	// status is the tls= field: what was decided about the last host.
	status status
	// fallback: the current destination is one of smtp_fallback_relay.
	fallback bool
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) }

// deliver tries the destinations of the next hop, then the fallback relays, until
// each recipient has an outcome.
func (c *client) deliver(ctx context.Context, j job) {
	w := &walk{client: c, job: j, tried: make(map[string]bool)}
	if !w.prepare(ctx) {
		return
	}
	list, err := route.ParseList(j.req.Nexthop, c.syntax)
	if err != nil {
		j.log.Warnf("%s: next hop: %v", j.req.QueueID, err)
		w.last = &smtpclient.Failure{Throttle: true, Status: dsn.Status{Code: "4.3.5", Reason: err.Error()}}
		w.leftovers(ctx)
		return
	}
	own := len(list)
	list = append(list, w.fallbacks(list)...)
	for i, dest := range list {
		w.fallback = i >= own
		w.sessions = 0
		stop := w.destination(ctx, dest, i == len(list)-1)
		if len(w.rcpts) == 0 {
			return
		}
		if stop {
			break
		}
	}
	w.leftovers(ctx)
}

// fallbacks are the destinations of smtp_fallback_relay, for TCP destinations only.
func (w *walk) fallbacks(list []route.Destination) []route.Destination {
	if w.set.fallback == "" {
		return nil
	}
	for _, d := range list {
		if d.Unix != "" {
			w.log.Warnf("ignoring %q setting for non-TCP connections", w.set.name("fallback_relay")+" = "+w.set.fallback)
			return nil
		}
	}
	more, err := route.ParseList(w.set.fallback, w.syntax)
	if err != nil {
		w.log.Warnf("%s: %v", w.set.name("fallback_relay"), err)
		return nil
	}
	return more
}

// prepare makes the envelope. An address that cannot be said in a command is
// returned; a table that fails defers everything. False: nothing is left to do.
func (w *walk) prepare(ctx context.Context) bool {
	r := w.req
	sender, err := w.external(ctx, r.Sender)
	w.env = envelope{sender: sender, size: r.DataSize, encoding: r.Encoding, id: r.EnvelopeID, ret: r.Ret, opts: r.SendOpts}
	for i := range r.Recipients {
		rc := &rcpt{Recipient: &r.Recipients[i]}
		w.rcpts = append(w.rcpts, rc)
		var rerr error
		if rc.ext, rerr = w.external(ctx, rc.Addr); rerr != nil && err == nil {
			err = rerr
		}
	}
	if err != nil {
		w.log.Warnf("%s: %v", r.QueueID, err)
		w.last = &smtpclient.Failure{Status: dsn.Status{Code: "4.3.0", Reason: "Temporary lookup error"}}
		w.leftovers(ctx)
		return false
	}
	if err := checkArg(w.env.sender); err != nil {
		w.last = &smtpclient.Failure{Status: dsn.Status{Code: "5.1.7", Reason: "bad sender address: " + err.Error()}}
		w.leftovers(ctx)
		return false
	}
	for _, rc := range w.rcpts {
		if err := checkArg(rc.ext); err != nil || rc.ext == "" {
			reason := "bad recipient address"
			if err != nil {
				reason += ": " + err.Error()
			}
			w.settle(ctx, rc, &smtpclient.Failure{Status: dsn.Status{Code: "5.1.3", Reason: reason}}, "none", r.Stats, true)
		}
	}
	w.forget()
	w.env.utf8 = !isASCII(w.env.sender)
	for _, rc := range w.rcpts {
		w.env.utf8 = w.env.utf8 || !isASCII(rc.ext)
	}
	return len(w.rcpts) > 0
}

// external is an address as commands have it.
func (w *walk) external(ctx context.Context, addr string) (string, error) {
	if addr == "" {
		return "", nil
	}
	if w.generic != nil {
		mapped, err := w.generic(ctx, addr)
		if err != nil {
			return "", err
		}
		addr = mapped
	}
	if w.set.quoteEnvelope {
		addr = address.Quote(addr)
	}
	return addr, nil
}

// destination tries the hosts of one destination. stop: no other destination is
// to be tried, because this system is an exchanger of this one.
func (w *walk) destination(ctx context.Context, dest route.Destination, final bool) (stop bool) {
	w.status, w.level = status{}, w.asked(ctx, dest)
	caching := w.caching(ctx, dest)
	if caching.load {
		w.reuseDestination(ctx, dest, caching)
		if len(w.rcpts) == 0 {
			return false
		}
	}
	plan, err := w.route.Hosts(ctx, dest)
	if err != nil {
		var rf *route.Failure
		if !errors.As(err, &rf) {
			rf = &route.Failure{Status: dsn.Status{Code: "4.3.0", Reason: err.Error()}}
		}
		w.warn(rf.Warnings)
		w.log.Verbosef("%s: no hosts for %s: %v", w.req.QueueID, dest.Text, err)
		w.passed(&smtpclient.Failure{Scope: smtpclient.Site, Throttle: true, Status: rf.Status})
		return rf.BestMX
	}
	w.warn(plan.Warnings)
	final = final || plan.BestMX
	hosts := slices.DeleteFunc(slices.Clone(plan.Hosts), func(h route.Host) bool { return w.tried[h.Endpoint()] })
	for i, h := range hosts {
		if !w.sessionsLeft() || ctx.Err() != nil {
			break
		}
		w.host(ctx, dest, h, caching, final && i == len(hosts)-1, final)
		if len(w.rcpts) == 0 {
			return false
		}
	}
	return plan.BestMX
}

func (w *walk) warn(warnings []string) {
	for _, text := range warnings {
		w.log.Warnf("%s", text)
	}
}

func (w *walk) sessionsLeft() bool {
	return w.set.sessionLimit <= 0 || w.sessions < w.set.sessionLimit
}

// host tries one host: over an idle connection when there is one, else over a
// new one. last: no other host is left; lastDest: no other destination is left.
func (w *walk) host(ctx context.Context, dest route.Destination, h route.Host, caching caching, last, lastDest bool) {
	p, f := w.decide(ctx, dest, h, false)
	if f != nil {
		w.passed(f)
		return
	}
	// The session that follows may be the last one allowed.
	final := last || lastDest && w.set.sessionLimit > 0 && w.sessions+1 >= w.set.sessionLimit
	if caching.load && w.reuseHost(ctx, p, caching, final) {
		return
	}
	for again := true; again; {
		s := w.connect(ctx, p, last)
		if s == nil {
			return
		}
		s.destLabel, s.endpLabel, s.key = destLabel(dest), endpLabel(h), p.Policy.Key()
		w.log.Verbosef("%s: connected to %s, extensions %#x, size limit %d", w.req.QueueID, h.Relay(), s.Facts.Features.Ext, s.Facts.Features.MaxSize)
		again = w.attempt(ctx, s, p, caching, final)
	}
	w.sessions++
}

// smtpsPort is where servers begin with TLS (RFC 8314 §3.3).
const smtpsPort = 465

// connect makes a connection on which mail may be offered, or settles recipients
// by what is in the way of it. One on which TLS fails may be followed by one more, in
// the clear.
func (w *walk) connect(ctx context.Context, p *hostPlan, last bool) *session {
	h := p.Host
	if h.Addr.Port() == smtpsPort && !p.Policy.Wrapper {
		w.log.Infof(`SMTPS wrappermode (TCP port 465) requires setting "%s = yes", and "%s = encrypt" (or stronger)`,
			w.set.name("tls_wrappermode"), w.set.name("tls_security_level"))
	}
	discard, err := w.discardFor(ctx, h)
	if err != nil {
		w.passed(w.undecided(h, err))
		return nil
	}
	for {
		nc, err := w.dial(ctx, h)
		if err != nil {
			f := smtpclient.Unreachable(h, err)
			w.log.Log(maillog.Info, &maillog.ConnectFailure{QueueID: w.req.QueueID, Reason: f.Status.Reason})
			w.passed(f)
			return nil
		}
		s := newSession(nc, h, w.set, discard, w.now())
		stop := context.AfterFunc(ctx, func() { nc.Close() })
		f, again := w.open(ctx, s, p)
		stop()
		if f == nil {
			return s
		}
		if again {
			w.retryPlain(s, f)
			continue
		}
		w.log.Verbosef("%s: %s: no session: %s", w.req.QueueID, h.Relay(), f.Status.Reason)
		w.settleAll(ctx, f, h.Relay(), w.stats(s), last)
		s.Quit()
		return nil
	}
}

// retryPlain ends a session on which TLS failed, before another one in the clear.
func (w *walk) retryPlain(s *session, f *smtpclient.Failure) {
	w.log.Infof("%s: %s; trying again without TLS", w.req.QueueID, f.Status.Reason)
	s.Close()
}

// attempt offers the message over a session and settles recipients by the
// answers. again: nothing was decided, because the connection had died while idle,
// or because it was lost inside TLS and the plan now is to go on without.
func (w *walk) attempt(ctx context.Context, s *session, p *hostPlan, caching caching, final bool) (again bool) {
	nc := s.Conn.NetConn()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	stats := w.stats(s)
	t := &transaction{session: s, plan: p, env: &w.env, rcpts: w.rcpts, probe: w.isProbe(), queueID: w.req.QueueID, log: w.log,
		origin: &w.req.Client, data: func() content { return w.content(ctx, s) }}
	f := t.run()
	stop()
	if t.stale {
		w.log.Verbosef("%s: cached connection to %s was dead", w.req.QueueID, s.Host.Relay())
		s.Close()
		return true
	}
	if f != nil && ctx.Err() == nil && s.uses <= 1 && p.LostInside(s.Session, f) {
		w.retryPlain(s, f)
		return true
	}
	if f != nil && ctx.Err() != nil {
		// This process is leaving: the destination did nothing wrong.
		f = &smtpclient.Failure{Scope: smtpclient.Message, Broken: true, Status: dsn.Status{Code: "4.3.2",
			Reason: "delivery was interrupted (" + f.Status.Reason + ")"}}
	}
	relay := s.Host.Relay()
	stats.DeliverDone = w.now()
	for _, r := range w.rcpts {
		switch {
		case r.sent:
			w.sent(ctx, r, s, relay, stats)
		case r.fail != nil:
			w.settle(ctx, r, r.fail, relay, stats, final)
		case f != nil:
			w.settle(ctx, r, f, relay, stats, final)
		default:
			w.settle(ctx, r, &smtpclient.Failure{Status: dsn.Status{Code: "4.3.0", Reason: "no answer for this recipient"}}, relay, stats, final)
		}
	}
	w.finishSite(f, final)
	w.forget()
	w.release(s, p, caching)
	return false
}

// stats are the request's with what this session adds.
func (w *walk) stats(s *session) mailproto.MsgStats {
	stats := w.req.Stats
	stats.ConnSetupDone = w.now()
	stats.ReuseCount = s.uses
	return stats
}

func (w *walk) isProbe() bool {
	return w.req.Flags&(mailproto.DeliverMTAVerify|mailproto.DeliverUserVerify) != 0
}

// sent records a recipient that the next hop took over.
func (w *walk) sent(ctx context.Context, r *rcpt, s *session, relay string, stats mailproto.MsgStats) {
	r.done = true
	hasDSN := s.Facts.Features.Has(smtpclient.ExtDSN)
	action := dsn.ActionRelayed
	if w.flags.final || w.set.lmtp && w.set.assumeFinal && !hasDSN {
		action = dsn.ActionDelivered
	}
	w.out.Sent(ctx, agent.Outcome{
		Recipient: r.Recipient, Relay: relay, Stats: stats, Relayed: hasDSN, TLS: w.tlsField(),
		Status: dsn.Status{Code: r.code, Action: action, Reason: r.reply,
			DiagType: dsn.DiagSMTP, DiagText: r.reply, MTAType: dsn.MTADNS, MTAName: s.Host.Name},
	})
}

// settle gives a recipient its outcome, or leaves it for the next host; with
// soft_bounce whatever the reason is.
func (w *walk) settle(ctx context.Context, r *rcpt, f *smtpclient.Failure, relay string, stats mailproto.MsgStats, final bool) {
	o := agent.Outcome{Recipient: r.Recipient, Relay: relay, Stats: stats, Status: f.Status, TLS: w.tlsField()}
	switch {
	case !final && (f.Soft(final) || w.set.softBounce):
		if w.last != f {
			w.log.Log(maillog.Info, &maillog.NextHost{QueueID: w.req.QueueID, Reason: f.Status.Reason})
			w.last = f
		}
		r.kept = &kept{f, relay, stats, w.status}
	case f.Soft(final):
		r.done = true
		w.out.Deferred(ctx, o)
	default:
		r.done = true
		w.out.Bounced(ctx, o)
	}
}

func (w *walk) settleAll(ctx context.Context, f *smtpclient.Failure, relay string, stats mailproto.MsgStats, final bool) {
	for _, r := range w.rcpts {
		w.settle(ctx, r, f, relay, stats, final)
	}
	w.finishSite(f, final)
	w.forget()
}

// finishSite tells qmgr about a destination whose last host failed.
func (w *walk) finishSite(f *smtpclient.Failure, final bool) {
	if f != nil && final && f.Scope == smtpclient.Site && f.Throttle && f.Soft(final) {
		w.out.HopStatus(f.Status)
	}
}

// forget drops recipients that have their outcome.
func (w *walk) forget() {
	left := w.rcpts[:0]
	for _, r := range w.rcpts {
		if !r.done {
			left = append(left, r)
		}
	}
	clear(w.rcpts[len(left):])
	w.rcpts = left
}

// name is a parameter's name for this program.
func (set *settings) name(ending string) string {
	if set.lmtp {
		return "lmtp_" + ending
	}
	return "smtp_" + ending
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
