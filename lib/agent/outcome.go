package agent

import (
	"context"
	"errors"

	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/mailclient"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
)

// Outcome is what happened to one recipient.
type Outcome struct {
	Recipient *mailproto.Recipient
	Relay     string // "none", "virtual", "host[addr]:port"
	Stats     mailproto.MsgStats
	Status    dsn.Status
	TLS       string // tls= field; empty: not logged
	// Relayed is set when the next hop took over the duty to report success
	// (it announced DSN): a NOTIFY=SUCCESS is then not reported by us.
	Relayed bool
}

// reporter writes recipient status to the services that keep it.
type reporter interface {
	bounce(ctx context.Context, r *mailproto.BounceRequest) error
	deferred(ctx context.Context, r *mailproto.BounceRequest) error
	trace(ctx context.Context, r *mailproto.BounceRequest) error
	verify(ctx context.Context, v mailproto.VerifyUpdate) error
}

type socketReporter struct{ set settings }

func (s socketReporter) bounce(ctx context.Context, r *mailproto.BounceRequest) error {
	return mailclient.Bounce(ctx, "private/"+s.set.BounceService, r)
}

func (s socketReporter) deferred(ctx context.Context, r *mailproto.BounceRequest) error {
	return mailclient.Bounce(ctx, "private/"+s.set.DeferService, r)
}

func (s socketReporter) trace(ctx context.Context, r *mailproto.BounceRequest) error {
	return mailclient.Bounce(ctx, "private/"+s.set.TraceService, r)
}

func (s socketReporter) verify(ctx context.Context, v mailproto.VerifyUpdate) error {
	return mailclient.Verify(ctx, "private/"+s.set.VerifyService, v)
}

// Sent records a delivery. Status.Action is relayed, delivered or expanded; an
// empty one means delivered.
func (d *Delivery) Sent(ctx context.Context, o Outcome) {
	d.done[o.Recipient] = true
	d.filter(ctx, &o)
	if o.Status.Action == "" {
		o.Status.Action = dsn.ActionDelivered
	}
	if d.probe(ctx, o, mailproto.VerifyOK) {
		return
	}
	report := d.Req.Flags&mailproto.DeliverRecord != 0 ||
		o.Recipient.Notify&dsn.NotifySuccess != 0 && !o.Relayed
	if report && !d.trace(ctx, o) {
		o.Status.Code = dsn.SetClass(o.Status.Code, '4')
		o.Status.Reason = d.service("trace") + " service failed"
		d.deferred(ctx, o)
		return
	}
	d.log(o, "sent")
	d.markDone(o.Recipient)
}

// Bounced records a permanent failure. With soft_bounce, or when the bounce
// service cannot record it, the recipient is deferred instead.
func (d *Delivery) Bounced(ctx context.Context, o Outcome) {
	d.done[o.Recipient] = true
	if d.filter(ctx, &o); o.Status.Code[0] == '4' && d.frame.filter != nil {
		d.deferred(ctx, o)
		return
	}
	d.bounced(ctx, o)
}

func (d *Delivery) bounced(ctx context.Context, o Outcome) {
	o.Status.Action = dsn.ActionFailed
	if d.probe(ctx, o, mailproto.VerifyBounce) {
		return
	}
	if d.frame.set.SoftBounce {
		o.Status = o.Status.Soft()
		d.deferAs(ctx, o, "SOFTBOUNCE")
		return
	}
	err := d.frame.report.bounce(ctx, d.appendRequest(o))
	if err == nil && d.Req.Flags&mailproto.DeliverRecord != 0 && !d.trace(ctx, o) {
		err = errTrace
	}
	if err != nil {
		d.Log.Warnf("%s: %s service failure: %v", d.Req.QueueID, d.service("bounce"), err)
		o.Status = dsn.Status{Code: "4.3.0", Reason: d.service("bounce") + " or " + d.service("trace") + " service failure"}
		d.deferred(ctx, o)
		return
	}
	d.log(o, "bounced")
	d.markDone(o.Recipient)
}

// Deferred records a temporary failure: the recipient is tried again later.
func (d *Delivery) Deferred(ctx context.Context, o Outcome) {
	d.done[o.Recipient] = true
	o.Status.Code = dsn.SetClass(o.Status.Code, '4')
	if d.filter(ctx, &o); o.Status.Code[0] == '5' {
		d.bounced(ctx, o)
		return
	}
	d.deferred(ctx, o)
}

func (d *Delivery) deferred(ctx context.Context, o Outcome) {
	o.Status.Code = dsn.SetClass(o.Status.Code, '4')
	if d.probe(ctx, o, mailproto.VerifyDefer) {
		return
	}
	d.deferAs(ctx, o, "deferred")
}

// deferAs logs under the given status word. Failure to record a deferral only
// costs the reason in the queue listing: the recipient stays in the queue.
func (d *Delivery) deferAs(ctx context.Context, o Outcome, word string) {
	d.retry = true
	o.Status.Action = dsn.ActionDelayed
	if err := d.frame.report.deferred(ctx, d.appendRequest(o)); err != nil {
		d.Log.Warnf("%s: %s service failure: %v", d.Req.QueueID, d.service("defer"), err)
	}
	if d.Req.Flags&mailproto.DeliverRecord != 0 {
		d.trace(ctx, o)
	}
	d.log(o, word)
}

// probe handles address probes: nothing is delivered or bounced, the verdict
// goes to verify or into the report of sendmail -bv. It reports whether the
// request is a probe.
func (d *Delivery) probe(ctx context.Context, o Outcome, verdict int) bool {
	word := "undeliverable"
	if verdict == mailproto.VerifyOK {
		word = "deliverable"
	}
	switch {
	case d.Req.Flags&mailproto.DeliverMTAVerify != 0:
		err := d.frame.report.verify(ctx, mailproto.VerifyUpdate{
			Address: o.Recipient.OrigAddr, Status: verdict, Reason: o.Status.Reason})
		if err != nil {
			d.Log.Warnf("%s: verify service failure: %v", d.Req.QueueID, err)
			word += "-but-not-cached"
		}
	case d.Req.Flags&mailproto.DeliverUserVerify != 0:
		o.Status.Action = word
		if !d.trace(ctx, o) {
			d.retry = true
			return true
		}
	default:
		return false
	}
	d.log(o, word)
	if verdict != mailproto.VerifyDefer {
		d.markDone(o.Recipient)
	}
	return true
}

// errTrace: the report of a recorded delivery could not be written.
var errTrace = errors.New("trace service failed")

// trace appends to the report that the sender asked for (§2.7, M8).
func (d *Delivery) trace(ctx context.Context, o Outcome) bool {
	r := d.appendRequest(o)
	if o.Relay != "none" && o.Relay != "" {
		r.DSN.Reason = "delivery via " + o.Relay + ": " + r.DSN.Reason
	}
	if err := d.frame.report.trace(ctx, r); err != nil {
		d.Log.Warnf("%s: %s service failure: %v", d.Req.QueueID, d.service("trace"), err)
		return false
	}
	return true
}

func (d *Delivery) service(name string) string {
	switch name {
	case "bounce":
		return d.frame.set.BounceService
	case "defer":
		return d.frame.set.DeferService
	}
	return d.frame.set.TraceService
}

func (d *Delivery) appendRequest(o Outcome) *mailproto.BounceRequest {
	return &mailproto.BounceRequest{
		Command:   mailproto.BounceAppend,
		Flags:     mailproto.BounceFlags(d.Req.Flags & mailproto.DeliverTraceMask),
		QueueID:   d.Req.QueueID,
		Recipient: *o.Recipient,
		DSN:       o.Status,
	}
}

func (d *Delivery) log(o Outcome, word string) {
	if o.Stats.DeliverDone.IsZero() {
		o.Stats.DeliverDone = d.frame.now()
	}
	orig := ""
	if o.Recipient.OrigAddr != "" && !address.EqualFold(o.Recipient.OrigAddr, o.Recipient.Addr) {
		orig = address.Quote(o.Recipient.OrigAddr)
	}
	d.Log.Log(maillog.Info, &maillog.Delivery{
		QueueID: d.Req.QueueID,
		To:      address.Quote(o.Recipient.Addr),
		OrigTo:  orig,
		Relay:   o.Relay,
		Stats:   o.Stats,
		TLS:     o.TLS,
		DSN:     o.Status.Code,
		Status:  word,
		Reason:  o.Status.Reason,
	})
}
