package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/dns"
	"sealpost/lib/mailproto"
)

// Status of the flush service (protocols.md §2.11).
const (
	flushOK   = 0
	flushDeny = 4
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
	case status == flushOK:
		s.reply("250 Queuing started")
		return accepted
	case status == flushDeny:
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
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if t, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(t); err != nil {
			return 0, err
		}
	}
	in := attr.NewDecoder(bufio.NewReader(conn), attr.Lenient)
	if _, err := mailproto.ReadGreeting(in, mailproto.ProtoFlush); err != nil {
		return 0, fmt.Errorf("service %s: %w", path, err)
	}
	var e attr.Encoder
	e.Str("request", "send_site")
	e.Str("site", site)
	e.End()
	if _, err := conn.Write(e.Bytes()); err != nil {
		return 0, err
	}
	reply, err := mailproto.ReadStatusReply(in)
	if err != nil {
		return 0, fmt.Errorf("service %s: %w", path, err)
	}
	return reply.Status, nil
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
