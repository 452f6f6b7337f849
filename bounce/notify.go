package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/sendopts"
)

// notice is the material of one request: the message and what happened to it.
type notice struct {
	req      *mailproto.BounceRequest
	log      *maillog.Logger
	sender   string
	sendOpts sendopts.Options // after the REQUIRETLS rules
	ret      dsn.Ret          // after the REQUIRETLS rules
	redacted bool             // return headers only, whoever the reader is
	rcpts    []queue.StatusRecord
	file     *os.File       // nil: not readable
	msg      *queue.Message // nil: not readable
}

func (n *notice) close() {
	if n.file != nil {
		n.file.Close()
	}
}

// about returns the recipients that are to be reported for an event: those
// without NOTIFY, and those whose NOTIFY names it (RFC 3461 §4.1).
func (n *notice) about(event dsn.Notify) []queue.StatusRecord {
	var out []queue.StatusRecord
	for _, r := range n.rcpts {
		if r.Recipient.Notify == 0 || r.Recipient.Notify&event != 0 {
			out = append(out, r)
		}
	}
	return out
}

// report is one notification to be sent.
type report struct {
	template  *template
	copyOf    bool   // postmaster copy: other subject, no text
	sender    string // envelope sender: empty or double-bounce
	recipient string
	subject   string // for the log: "sender non-delivery notification"
	full      bool   // return the whole message if it may be
	retry     bool   // say until when the message will be tried
	rcpts     []queue.StatusRecord
}

// flush turns a log into a non-delivery notification and removes it. The defer
// service does this when a message expires.
func (b *bouncer) flush(ctx context.Context, n *notice) error {
	rcpts := n.about(dsn.NotifyFailure)
	for i := range rcpts {
		rcpts[i].Status.Action = dsn.ActionFailed
	}
	var err error
	switch {
	case len(rcpts) == 0:
	case n.sender == "":
		err = b.doubleBounce(ctx, n, &b.templates.failure, rcpts, "postmaster non-delivery notification")
	case b.isDoubleBounce(n.sender):
		n.log.Warnf("%s: undeliverable postmaster notification discarded", n.req.QueueID)
	case n.req.Command == mailproto.BounceVERP:
		err = b.verp(ctx, n, rcpts)
	default:
		err = b.toSender(ctx, n, &b.templates.failure, rcpts, n.sender)
	}
	if err != nil {
		return err
	}
	b.postmasterCopy(ctx, n, "bounce", b.set.BounceNotice, &b.templates.failure, rcpts)
	return b.finish(n)
}

// finish marks the reported recipients done when asked to, then removes the log:
// in this order, since a crash in between may repeat a notification but must not
// lose the reason of a recipient that is still to be delivered.
func (b *bouncer) finish(n *notice) error {
	if n.req.Flags&mailproto.BounceDelRcpt != 0 && n.file != nil {
		for _, r := range n.rcpts {
			if r.Recipient.Offset <= 0 {
				continue
			}
			if err := queue.MarkDone(n.file, r.Recipient.Offset); err != nil {
				return err
			}
		}
	}
	return b.queue.Remove(b.service, n.req.QueueID)
}

func (b *bouncer) toSender(ctx context.Context, n *notice, t *template, rcpts []queue.StatusRecord, to string) error {
	return b.send(ctx, n, &report{
		template: t, recipient: to, rcpts: rcpts,
		subject: "sender non-delivery notification",
		full:    n.ret != dsn.RetHdrs,
	})
}

// verp sends each recipient's notification to an address that names the
// recipient: owner@here with the delimiters "+=" and user@there becomes
// owner+user=there@here.
func (b *bouncer) verp(ctx context.Context, n *notice, rcpts []queue.StatusRecord) error {
	for i := range rcpts {
		to := verpSender(n.req.VERPDelims, n.sender, rcpts[i].Recipient.Addr)
		if err := b.toSender(ctx, n, &b.templates.failure, rcpts[i:i+1], to); err != nil {
			return err
		}
	}
	return nil
}

func verpSender(delims, sender, rcpt string) string {
	if len(delims) != 2 {
		return sender
	}
	local, domain := address.Split(sender)
	rlocal, rdomain := address.Split(rcpt)
	out := local + delims[:1] + rlocal
	if rdomain != "" {
		out += delims[1:] + rdomain
	}
	if domain != "" {
		out += "@" + domain
	}
	return out
}

// doubleBounce reports what has no sender to the postmaster, when the
// administrator wants that.
func (b *bouncer) doubleBounce(ctx context.Context, n *notice, t *template, rcpts []queue.StatusRecord, subject string) error {
	if !b.class("2bounce") && !b.class("bounce") {
		n.log.Verbosef("%s: no sender, and notify_classes has neither 2bounce nor bounce: not reported", n.req.QueueID)
		return nil
	}
	return b.send(ctx, n, &report{
		template: t, copyOf: true, sender: b.doubleBounceSender(),
		recipient: b.set.DoubleNotice, subject: subject, rcpts: rcpts, full: !n.redacted,
	})
}

// postmasterCopy is best effort: the sender was told, and a problem with the
// copy must not make the notification be sent again.
func (b *bouncer) postmasterCopy(ctx context.Context, n *notice, class, to string, t *template, rcpts []queue.StatusRecord) {
	if len(rcpts) == 0 || n.sender == "" || b.isDoubleBounce(n.sender) || !b.class(class) {
		return
	}
	kind := "non-delivery"
	if class == "delay" {
		kind = "delay"
	}
	err := b.send(ctx, n, &report{
		template: t, copyOf: true, sender: b.doubleBounceSender(), recipient: to,
		subject: "postmaster " + kind + " notification", rcpts: rcpts, retry: class == "delay",
	})
	if err != nil {
		n.log.Warnf("%s: postmaster notice failed while bouncing to <%s>: %v", n.req.QueueID, address.Quote(to), err)
	}
}

// warn sends a delay notice and keeps the log.
func (b *bouncer) warn(ctx context.Context, n *notice) error {
	rcpts := n.about(dsn.NotifyDelay)
	switch {
	case len(rcpts) == 0 || b.isDoubleBounce(n.sender):
		return nil
	case n.sender == "":
		return b.doubleBounce(ctx, n, &b.templates.delay, rcpts, "postmaster delay notification")
	}
	err := b.send(ctx, n, &report{
		template: &b.templates.delay, recipient: n.sender, rcpts: rcpts, retry: true,
		subject: "sender delay notification",
	})
	if err != nil {
		return err
	}
	b.postmasterCopy(ctx, n, "delay", b.set.DelayNotice, &b.templates.delay, rcpts)
	return nil
}

// bounceOne reports one recipient without a log file.
func (b *bouncer) bounceOne(ctx context.Context, n *notice) error {
	rcpts := n.about(dsn.NotifyFailure)
	switch {
	case len(rcpts) == 0:
		return nil
	case n.sender == "":
		return b.doubleBounce(ctx, n, &b.templates.failure, rcpts, "postmaster non-delivery notification")
	case b.isDoubleBounce(n.sender):
		n.log.Warnf("%s: undeliverable postmaster notification discarded", n.req.QueueID)
		return nil
	}
	if err := b.toSender(ctx, n, &b.templates.failure, rcpts, n.sender); err != nil {
		return err
	}
	b.postmasterCopy(ctx, n, "bounce", b.set.BounceNotice, &b.templates.failure, rcpts)
	return nil
}

// trace sends the report that the sender asked for and removes the log.
func (b *bouncer) trace(ctx context.Context, n *notice) error {
	t := &b.templates.success
	if mailproto.DeliveryFlags(n.req.Flags)&(mailproto.DeliverUserVerify|mailproto.DeliverRecord) != 0 {
		t = &b.templates.verify
	}
	var err error
	switch {
	case len(n.rcpts) == 0 || b.isDoubleBounce(n.sender):
	case n.sender == "":
		n.log.Infof("%s: not sending trace/success notification for single-bounce message", n.req.QueueID)
	default:
		err = b.send(ctx, n, &report{
			template: t, recipient: n.sender, rcpts: n.rcpts,
			subject: "sender delivery status notification",
		})
	}
	if err != nil {
		return err
	}
	return b.queue.Remove(b.service, n.req.QueueID)
}

func (b *bouncer) class(name string) bool {
	return slices.ContainsFunc(b.set.NotifyClasses, func(c string) bool { return strings.EqualFold(c, name) })
}

func (b *bouncer) doubleBounceSender() string {
	if strings.Contains(b.set.DoubleSender, "@") {
		return b.set.DoubleSender
	}
	return b.set.DoubleSender + "@" + b.set.Hostname
}

func (b *bouncer) isDoubleBounce(sender string) bool {
	return address.EqualFold(sender, b.doubleBounceSender())
}

// send composes a notification, hands it to cleanup and logs it.
func (b *bouncer) send(ctx context.Context, n *notice, r *report) error {
	id, err := b.poster.post(ctx, n, r, func(w *lineWriter, newID string) error {
		n.log.Log(maillog.Info, &maillog.Notification{QueueID: n.req.QueueID, Kind: r.subject, NewID: newID})
		return b.compose(w, n, r)
	})
	if err != nil {
		who := "sender"
		if r.copyOf {
			who = "postmaster"
		}
		return fmt.Errorf("%s notification failed to <%s>: %w", who, address.Quote(r.recipient), err)
	}
	n.log.Verbosef("%s: %s to <%s> is queued as %s", n.req.QueueID, r.subject, address.Quote(r.recipient), id)
	return nil
}

// errCleanup is a notification that cleanup did not take.
var errCleanup = errors.New("notification not accepted by cleanup")
