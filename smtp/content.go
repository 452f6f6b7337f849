package main

import (
	"context"

	"sealpost/lib/address"
	"sealpost/lib/smtpclient"
	"sealpost/smtp/mime7"
)

// deliveryFlags are those of the master.cf argument flags=DORX.
type deliveryFlags struct {
	deliveredTo, originalTo, returnPath bool
	final                               bool
}

// content is the message for one session: with the headers that flags= asks for,
// and converted when the server does not take 8-bit text.
func (w *walk) content(ctx context.Context, s *session) content {
	lines := w.data()
	f := &s.Facts.Features
	if w.checks != nil {
		lines = w.checks.apply(ctx, lines, w.log, w.req.QueueID)
	}
	if w.generic != nil {
		lines = &genericHeader{content: lines, rewrite: func(addr string) (string, error) { return w.generic(ctx, addr) }}
	}
	if w.env.encoding != "7bit" && !f.Has(smtpclient.Ext8BITMIME) && !w.set.noConversion {
		w.log.Verbosef("%s: %s has no 8BITMIME: converting to 7bit", w.req.QueueID, s.Host.NameAddr())
		lines = mime7.New(lines)
	}
	head := w.headers()
	if len(head) == 0 {
		return lines
	}
	return &prefixed{head: head, rest: lines}
}

// headers are the lines that go before the message. Those that name a recipient
// make sense with one recipient per request (transport_destination_recipient_limit).
func (w *walk) headers() []string {
	var head []string
	if w.flags.returnPath {
		head = append(head, "Return-Path: <"+w.env.sender+">")
	}
	if len(w.req.Recipients) > 0 {
		r := &w.req.Recipients[0]
		if w.flags.originalTo && r.OrigAddr != "" {
			head = append(head, "X-Original-To: "+address.Header(r.OrigAddr))
		}
		if w.flags.deliveredTo {
			head = append(head, "Delivered-To: "+address.Header(r.Addr))
		}
	}
	return head
}

// prefixed gives some lines before others.
type prefixed struct {
	head []string
	rest content
}

// Next implements content.
func (p *prefixed) Next() ([]byte, bool, error) {
	if len(p.head) > 0 {
		line := p.head[0]
		p.head = p.head[1:]
		return []byte(line), false, nil
	}
	return p.rest.Next()
}

// Release gives buffers of the lines below back.
func (p *prefixed) Release() { release(p.rest) }

func release(c content) {
	if r, ok := c.(interface{ Release() }); ok {
		r.Release()
	}
}
