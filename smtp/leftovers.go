package main

import (
	"context"
	"strings"

	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/smtpclient"
)

// kept is why a recipient was left for the next host.
type kept struct {
	failure *smtpclient.Failure
	relay   string
	stats   mailproto.MsgStats
	status  status
}

// passed is a host that nothing was said to, or a destination without any: this comes
// after what other hosts said.
func (w *walk) passed(f *smtpclient.Failure) {
	w.last = f
	for _, r := range w.rcpts {
		r.kept = nil
	}
}

// leftovers settles recipients for which no host was left: by the last reason.
// A permanent reason at a relay of ours is our configuration, not the sender's
// fault (requiretls.md §6.8).
func (w *walk) leftovers(ctx context.Context) {
	w.leftByHosts(ctx)
	if len(w.rcpts) == 0 {
		return
	}
	f := w.last
	if f == nil {
		f = &smtpclient.Failure{Scope: smtpclient.Site, Status: dsn.Status{Code: "4.3.0", Reason: "server unavailable or unable to receive mail"}}
		if ctx.Err() != nil {
			f.Status = dsn.Status{Code: "4.3.2", Reason: "delivery was interrupted"}
		}
	}
	if f.Status.Code == "5.4.6" && w.set.bestMXTransport != "" {
		w.pass(ctx)
		return
	}
	if !f.Soft(true) && f.Scope == smtpclient.Site && f.Status.Code != "5.4.6" {
		what := ""
		switch {
		case w.fallback:
			what = w.set.name("fallback_relay")
		case w.set.relayhost != "" && w.req.Nexthop == w.set.relayhost:
			what = "relayhost"
		}
		if what != "" {
			w.log.Warnf("%s configuration problem", what)
			adjusted := *f
			adjusted.Status.Code = "4.3.5"
			f = &adjusted
		}
	}
	w.settleAll(ctx, f, "none", w.req.Stats, true)
}

// leftByHosts settles those of them that a host had last: by what it said, over the
// connection that it was said on. A reason that another host would have been tried for
// is not final when it is this process that ends.
func (w *walk) leftByHosts(ctx context.Context) {
	before := w.status
	for _, r := range w.rcpts {
		k := r.kept
		if k == nil {
			continue
		}
		f := k.failure
		if ctx.Err() != nil && !f.Soft(true) {
			interrupted := *f
			interrupted.Status = dsn.Status{Code: "4.3.2", Reason: "delivery was interrupted (" + f.Status.Reason + ")"}
			f = &interrupted
		}
		w.status = k.status
		w.settle(ctx, r, f, k.relay, k.stats, true)
		w.finishSite(f, true)
	}
	w.status = before
	w.forget()
}

// pass hands the recipients to best_mx_transport: "transport" or
// "transport:nexthop".
func (w *walk) pass(ctx context.Context) {
	transport, nexthop, _ := strings.Cut(w.set.bestMXTransport, ":")
	if nexthop == "" {
		nexthop = w.req.Nexthop
	}
	for _, r := range w.rcpts {
		w.log.Log(maillog.Info, &maillog.Passing{QueueID: w.req.QueueID, To: r.ext, Transport: transport})
		r.done = true
		w.out.Pass(ctx, r.Recipient, transport, nexthop)
	}
	w.forget()
}
