package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strings"
	"syscall"
	"testing"

	"sealpost/lib/attr"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/mailproto"
	"sealpost/lib/route"
	"sealpost/test/capture"
)

// TestRecordedRequests gives the client the requests that Postfix's queue manager
// sent to Postfix's smtp, in the same circumstances, and compares the replies to
// the byte.
func TestRecordedRequests(t *testing.T) {
	good := serve(t, script{ehlo: piped})
	kinds := make(map[string]int)
	for _, c := range capture.Conns(t, "smtp-from-qmgr", "relay-from-qmgr") {
		r := bufio.NewReader(bytes.NewReader(c.Client))
		req, err := mailproto.ReadDeliveryRequest(attr.NewDecoder(r, attr.Strict))
		if err != nil {
			continue // connected ahead of time and never used
		}
		d := attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Server)), attr.Strict)
		if _, err := mailproto.ReadGreeting(d, mailproto.ProtoDelivery); err != nil {
			t.Fatalf("%s: %v", c.Name(), err)
		}
		recorded, err := mailproto.ReadDeliveryReply(d)
		if err != nil {
			continue // no reply was recorded
		}
		dests, err := route.ParseList(req.Nexthop, route.Syntax{DefaultPort: 25})
		if err != nil {
			t.Fatalf("%s: %v", c.Name(), err)
		}
		f := newFixture(t, "smtp", map[string]string{"smtp_connection_cache_on_demand": "no"}, nil)
		kind := "delivered"
		switch reason := recorded.DSN.Reason; {
		case strings.HasPrefix(reason, "Host or domain name not found"):
			kind = "lookup fails"
			f.route.Resolver = dnstest.Map{Fail: []string{dests[0].Host}}
		case strings.HasPrefix(reason, "connect to"):
			kind = "refused"
		case reason == "" && recorded.Retry:
			continue // one recipient was deferred: nothing of it is in the reply
		}
		kinds[kind]++
		f.dial = func(ctx context.Context, h route.Host) (net.Conn, error) {
			if kind == "refused" {
				return nil, syscall.ECONNREFUSED
			}
			return new(net.Dialer).DialContext(ctx, "tcp", good.addr())
		}
		out := f.run(t, req)
		reply := mailproto.DeliveryReply{Retry: strings.Contains(out.String(), " deferred ")}
		reply.DSN.Code, reply.DSN.Reason = out.hop.Code, out.hop.Reason
		var e attr.Encoder
		mailproto.Greeting{Protocol: mailproto.ProtoDelivery}.Append(&e)
		reply.Append(&e)
		if !bytes.Equal(e.Bytes(), c.Server) {
			t.Errorf("%s (%s):\n got %q\nwant %q", c.Name(), kind, e.Bytes(), c.Server)
		}
	}
	for _, kind := range []string{"delivered", "lookup fails", "refused"} {
		if kinds[kind] == 0 {
			t.Errorf("no recording of a request that is %s", kind)
		}
	}
}

// What our smtp says to bounce and trace is made of the outcome; these are the
// fields that were recorded for the same conversation.
func TestRecordedStatus(t *testing.T) {
	compared := 0
	for _, c := range capture.Conns(t, "bounce-from-smtp", "trace-from-smtp") {
		want, err := mailproto.ReadBounceRequest(attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Client)), attr.Strict))
		if err != nil {
			t.Fatalf("%s: %v", c.Name(), err)
		}
		if want.DSN.DiagText == "" {
			continue // REQUIRETLS
		}
		key := "RCPT"
		if want.DSN.Code[0] == '2' {
			key = "DOT"
		}
		s := serve(t, script{ehlo: piped, on: map[string]string{key: want.DSN.DiagText}})
		f := newFixture(t, "smtp", nil, nil)
		f.dial = func(ctx context.Context, h route.Host) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.addr())
		}
		out := f.run(t, request("["+want.DSN.MTAName+"]:3529", want.Recipient.Addr))
		got := out.full[0].Status
		want.DSN.Reason = strings.TrimPrefix(want.DSN.Reason, "delivery via "+out.full[0].Relay+": ")
		if got.Action == "" {
			got.Action = want.DSN.Action // given by the frame
		}
		if got != want.DSN {
			t.Errorf("%s:\n got %+v\nwant %+v", c.Name(), got, want.DSN)
		}
		compared++
	}
	if compared < 3 {
		t.Errorf("only %d recordings were compared", compared)
	}
}
