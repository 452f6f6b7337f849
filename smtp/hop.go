package main

import (
	"context"
	"errors"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/hop"
	"sealpost/lib/maillog"
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
}

// status is the tls= field: one slot for the TLS level (requiretls.md §7.1).
type status struct{ tls tlspolicy.Slot }

func (st status) String() string { return st.tls.String() }

// policies gives the TLS policy for a host; *tlspolicy.Source.
type policies interface {
	Lookup(ctx context.Context, site tlspolicy.Site) (*tlspolicy.Policy, error)
}

// site is the destination and the host as the policy is asked for them.
func (w *walk) site(dest route.Destination, h route.Host) tlspolicy.Site {
	site := hop.Site(dest, h, w.set.myHostname)
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

// decide is what can be said before a connection is made. A failure means that the
// host is passed over.
func (w *walk) decide(ctx context.Context, dest route.Destination, h route.Host) (*hostPlan, *smtpclient.Failure) {
	p := &hostPlan{dest: dest, Hop: hop.Hop{Host: h, Engine: w.engine, Log: w.log, MayRetry: w.mayRetryPlain()}}
	w.status = status{tls: tlspolicy.Unknown()}
	policy, err := w.tls.Lookup(ctx, w.site(dest, h))
	if err != nil {
		var perr *tlspolicy.Error
		if !errors.As(err, &perr) {
			perr = &tlspolicy.Error{Status: dsn.Status{Code: "4.3.0", Reason: err.Error()}}
		}
		w.warn(perr.Warnings)
		return p, w.passOver(p, perr.Status, perr.Error())
	}
	w.warn(policy.Warnings)
	p.Policy = policy
	if policy.Reason != "" {
		w.log.Verbosef("%s: TLS level %s for %s: %s", w.req.QueueID, policy.Level, h.NameAddr(), policy.Reason)
	}
	verdict := p.Start()
	w.status.tls = p.Slot
	if verdict.Action == tlspolicy.Skip {
		return p, w.passOver(p, verdict.Status, verdict.Status.Reason)
	}
	return p, nil
}

// passOver is a host that no connection is made to. The warning tells the
// administrator, whose configuration is the reason.
func (w *walk) passOver(p *hostPlan, st dsn.Status, why string) *smtpclient.Failure {
	where := p.dest.Plain + "/" + p.Host.Name
	if p.Host.Unix != "" {
		where = w.set.myHostname + "/" + p.Host.Unix
	}
	w.log.Warnf("TLS policy lookup for %s: %s", where, why)
	return &smtpclient.Failure{Scope: smtpclient.Site, Throttle: st.Code[0] == dsn.CodeSoft4, Status: st}
}

// open takes a new connection to the point where mail may be offered. again: the
// handshake failed, and this host may be tried once more without TLS.
func (w *walk) open(ctx context.Context, s *session, p *hostPlan) (f *smtpclient.Failure, again bool) {
	p.OnHello = func(s *smtpclient.Session) { w.logDiscarded(s) }
	p.OnFailure = func(err error) { w.logHandshake(s.Host, err) }
	p.OnSecured = func(facts tlsconn.Facts) { w.logSecured(s, p.Policy, facts) }
	p.OnInject = func(n int) {
		w.log.Warnf("%s: dropped %d bytes that came in the clear after the reply to STARTTLS", s.Host.Relay(), n)
	}
	s.tls, f, again = p.Open(ctx, s.Session)
	w.status.tls = p.Slot
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
	if s.key != p.Policy.Key() || !p.Fits(s.Session, s.tls) {
		return false
	}
	w.status.tls = p.Slot
	return true
}

// guard is the last check before MAIL FROM. Whatever came before, no message
// leaves over a connection that does not satisfy its policy; that this could be
// is an error of this program.
func (p *hostPlan) guard(s *session) {
	if !hop.Satisfied(p.Policy, s.Session, s.tls) {
		panic("smtp: TLS level " + p.Policy.Level.String() + " is not satisfied by the connection to " + s.Host.Relay())
	}
}
