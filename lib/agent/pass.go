package agent

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
)

// Pass hands a recipient to another delivery agent, which takes over everything:
// delivery, logs, the mark in the queue file (§2.6, agent to agent). When it
// cannot be reached, or gives no answer, the recipient is deferred.
func (d *Delivery) Pass(ctx context.Context, r *mailproto.Recipient, transport, nexthop string) {
	d.done[r] = true
	retry, err := d.passOn(ctx, r, "private/"+transport, nexthop)
	if err != nil {
		d.Log.Warnf("%s: pass to transport %s: %v", d.Req.QueueID, transport, err)
		d.Deferred(ctx, Outcome{Recipient: r, Relay: "none", Stats: d.Req.Stats,
			Status: dsn.Status{Code: "4.3.0", Reason: "mail transport unavailable"}})
		return
	}
	d.retry = d.retry || retry
}

// passOn plays the queue manager for one recipient.
func (d *Delivery) passOn(ctx context.Context, r *mailproto.Recipient, path, nexthop string) (retry bool, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	dec := attr.NewDecoder(bufio.NewReader(conn), attr.Strict)
	if _, err := mailproto.ReadGreeting(dec, mailproto.ProtoDelivery); err != nil {
		return false, fmt.Errorf("greeting: %w", err)
	}
	req := *d.Req
	req.Nexthop = nexthop
	req.Recipients = []mailproto.Recipient{*r}
	var e attr.Encoder
	req.Append(&e)
	if _, err := conn.Write(e.Bytes()); err != nil {
		return false, err
	}
	reply, err := mailproto.ReadDeliveryReply(dec)
	if err != nil {
		return false, fmt.Errorf("reply: %w", err)
	}
	return reply.Retry, nil
}
