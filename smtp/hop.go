package main

import (
	"context"
	"errors"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/hop"
	"sealpost/lib/maillog"
	"sealpost/lib/reqtls"
	"sealpost/lib/route"
	"sealpost/lib/sendopts"
	"sealpost/lib/smtpclient"
	"sealpost/lib/tlsconn"
	"sealpost/lib/tlspolicy"
)

// hostPlan is what is decided about one host.
type hostPlan struct {
	hop.Hop
	dest route.Destination
	idle bool // asked for an idle connection to the host
}

// status is the tls= field: a slot for the TLS level and one for the request
// (requiretls.md §7.1).
type status struct{ tls, request tlspolicy.Slot }

func (st status) String() string { return reqtls.Field(st.tls, st.request) }

func statusOf(v reqtls.Verdict) status { return status{v.Slot, v.Request} }

// asked is how far the sender's request for REQUIRETLS is enforced for a
// destination. It is decided once for each, before any lookup.
func (w *walk) asked(ctx context.Context, dest route.Destination) reqtls.Level {
	if !w.set.requireTLS || !w.req.SendOpts.Has(sendopts.RequireTLSESMTP) {
		return reqtls.Disable
	}
	name := dest.Host
	if dest.Unix != "" {
		name = w.set.myHostname
	}
	level := w.reqtls.Level(ctx, name)
	w.log.Verbosef("%s: REQUIRETLS was requested; level for %s: %s", w.req.QueueID, name, level)
	return level
}

// policies gives the TLS policy for a host; *tlspolicy.Source.
type policies interface {
	Lookup(ctx context.Context, site tlspolicy.Site) (*tlspolicy.Policy, error)
}

// site is the destination and the host as the policy is asked for them.
func (w *walk) site(dest route.Destination, h route.Host) tlspolicy.Site {
	site := tlspolicy.SiteOf(dest, h, w.set.myHostname)
	site.TLSRequiredNo = w.tlsRequiredNo()
	return site
}

// tlsRequiredNo: the message would rather arrive than be protected, and nobody
// asked for the contrary (RFC 8689 §5; requiretls.md §6.5).
func (w *walk) tlsRequiredNo() bool {
	o := w.req.SendOpts
	return w.set.tlsRequired && o.Has(sendopts.RequireTLSHeader) &&
		!(w.set.requireTLS && o.Has(sendopts.RequireTLSESMTP))
}

// decide is what can be said before a connection is made, or before an idle one is
// used. A failure means that the host is passed over.
func (w *walk) decide(ctx context.Context, dest route.Destination, h route.Host, idle bool) (*hostPlan, *smtpclient.Failure) {
	p := &hostPlan{dest: dest, idle: idle, Hop: hop.Hop{Host: h, Engine: w.engine, Log: w.log, MayRetry: w.mayRetryPlain(),
		Level: w.level, Nexthop: dest.Host}}
	p.OnNote = func(text string) { w.log.Infof("%s: %s", w.req.QueueID, text) }
	w.status = status{tlspolicy.Unknown(), reqtls.Undecided(w.level)}
	policy, err := w.tls.Lookup(ctx, w.site(dest, h))
	if err != nil {
		var perr *tlspolicy.Error
		if !errors.As(err, &perr) {
			perr = &tlspolicy.Error{Status: dsn.Status{Code: "4.3.0", Reason: err.Error()}}
		}
		w.warn(perr.Warnings)
		return p, w.passOver(p, perr.Status, perr.Error(), true)
	}
	w.warn(policy.Warnings)
	p.Policy = policy
	if policy.Reason != "" {
		w.log.Verbosef("%s: TLS level %s for %s: %s", w.req.QueueID, policy.Level, h.NameAddr(), policy.Reason)
	}
	verdict := p.Start()
	w.status = statusOf(verdict)
	if verdict.Action == tlspolicy.Skip {
		return p, w.passOver(p, verdict.Status, verdict.Status.Reason, verdict.Throttle)
	}
	return p, nil
}

// passOver is a host that no connection is made to. The warning tells the
// administrator, whose configuration is the reason.
func (w *walk) passOver(p *hostPlan, st dsn.Status, why string, throttle bool) *smtpclient.Failure {
	what, from, to := "lookup", p.dest.Plain, p.Host.Name
	if p.idle {
		what = "lookup error"
	}
	if p.Host.Unix != "" {
		what, from, to = "lookup error", w.set.myHostname, p.Host.Unix
	}
	w.log.Warnf("TLS policy %s for %s/%s: %s", what, from, to, why)
	return &smtpclient.Failure{Scope: smtpclient.Site, Throttle: throttle, Status: st}
}

// open takes a new connection to the point where mail may be offered. again: TLS
// failed, and this host may be tried once more without it.
func (w *walk) open(ctx context.Context, s *session, p *hostPlan) (f *smtpclient.Failure, again bool) {
	p.OnHello = func(*smtpclient.Session) { w.logDiscarded(s) }
	p.OnFailure = func(err error) { w.logHandshake(s.Host, err) }
	p.OnSecured = func(facts tlsconn.Facts) { w.logSecured(s, p.Policy, facts) }
	p.OnInject = func(n int) {
		w.log.Warnf("%s: dropped %d bytes that came in the clear after the reply to STARTTLS", s.Host.Relay(), n)
	}
	s.tls, f, again = p.Open(ctx, s.Session)
	w.status = statusOf(p.Verdict)
	if f == nil && w.set.noteOffer && p.Policy.Level == tlspolicy.None && s.Facts.OfferedTLS {
		w.log.Log(maillog.Info, &maillog.StartTLSOffered{Host: s.Host.Name})
	}
	return f, again
}

// mayRetryPlain: the message has waited long enough for a better day, or is a
// probe (requiretls.md §6.4 e).
func (w *walk) mayRetryPlain() bool {
	st := &w.req.Stats
	waited := time.Duration(0)
	if !st.ActiveArrival.IsZero() && !st.IncomingArrival.IsZero() {
		waited = st.ActiveArrival.Sub(st.IncomingArrival)
	}
	return waited >= w.set.minBackoff || w.isProbe()
}

// fits reports whether a connection that was made before, for whatever message,
// may carry this one (decision 5).
func (w *walk) fits(s *session, p *hostPlan) bool {
	if s.Facts.Secured && !p.Policy.Reuse || s.key != p.Policy.Key() || !p.Fits(s.Session, s.tls) {
		return false
	}
	w.status = statusOf(p.Verdict)
	return true
}

// guard is the last check before MAIL FROM. Whatever came before, no message
// leaves over a connection that does not satisfy its TLS policy and its sender's
// request; that this could be is an error of this program.
func (p *hostPlan) guard(s *session) {
	if !p.Permits(s.Session, s.tls) {
		panic("smtp: TLS level " + p.Policy.Level.String() + ", REQUIRETLS level " + p.Level.String() +
			": not satisfied by the connection to " + s.Host.Relay())
	}
}
