package main

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"sealpost/lib/dns"
	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
)

// flushTimeout bounds the talk with the flush service.
const flushTimeout = 30 * time.Second

// flushSite asks the flush service to deliver what waits for a site (ETRN).
func (s *session) flushSite(ctx context.Context, site string) outcome {
	status, err := sendSite(ctx, s.srv.flushPath, site)
	switch {
	case err != nil:
		s.log.Warnf("ETRN %s from %s: %v", site, s.client.text, err)
		s.fail("458 Unable to queue messages")
		return refused
	case status == mailproto.FlushOK:
		s.reply("250 Queuing started")
		return accepted
	case status == mailproto.FlushDeny:
		s.log.Warnf("reject: ETRN %.100s... from %s", site, s.client.text)
		s.fail("459 <", site, ">: service unavailable")
		return refused
	}
	s.log.Warnf("bad ETRN %.100s... from %s", site, s.client.text)
	s.fail("458 Unable to queue messages")
	return refused
}

func sendSite(ctx context.Context, path, site string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return mailclient.Flush(ctx, path, mailproto.FlushRequest{Request: mailproto.FlushSendSite, Site: site})
}

// validSite reports whether an ETRN argument is a host name or an address literal.
func validSite(site string) bool {
	if inner, ok := strings.CutPrefix(site, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		_, err := netip.ParseAddr(strings.TrimPrefix(inner, "IPv6:"))
		return ok && err == nil
	}
	return dns.ValidHostname(site)
}
