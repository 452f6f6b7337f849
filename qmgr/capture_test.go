package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/rewrite"
	"sealpost/lib/sendopts"
	"sealpost/test/capture"
)

const connCache = mailproto.DeliverConnLoad | mailproto.DeliverConnStore

// TestRequestsMatchRecordings feeds recorded queue files to the manager, whose
// delivery requests Postfix's qmgr was recorded to make, and compares the bytes.
func TestRequestsMatchRecordings(t *testing.T) {
	compared := 0
	for _, f := range capture.Messages(t) {
		for _, conn := range recordedRequests(t, f.ID) {
			want := conn.req
			if !allPending(t, f, want) {
				continue
			}
			compared++
			t.Run(f.Name+" "+conn.Name(), func(t *testing.T) {
				inBubble(t, func(s *system) { s.compareRequest(f, conn) })
			})
		}
	}
	if compared < 4 {
		t.Errorf("only %d recorded requests belong to recorded files", compared)
	}
}

type recordedRequest struct {
	capture.Conn
	transport string
	req       *mailproto.DeliveryRequest
}

func recordedRequests(t *testing.T, id string) []recordedRequest {
	var all []recordedRequest
	for _, c := range capture.Conns(t, "*-from-qmgr") {
		if !bytes.HasPrefix(c.Client, []byte("flags\x00")) {
			continue
		}
		req := decodeRequest(t, c.Client)
		if req.QueueID == id {
			transport, _, _ := strings.Cut(c.File, "-from-")
			all = append(all, recordedRequest{c, transport, req})
		}
	}
	return all
}

func decodeRequest(t *testing.T, b []byte) *mailproto.DeliveryRequest {
	req, err := mailproto.ReadDeliveryRequest(attr.NewDecoder(bufio.NewReader(bytes.NewReader(b)), attr.Strict))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func encodeRequest(r *mailproto.DeliveryRequest) []byte {
	var e attr.Encoder
	r.Append(&e)
	return e.Bytes()
}

// allPending reports whether every recipient of a request was not done yet when
// the file was copied.
func allPending(t *testing.T, f capture.File, r *mailproto.DeliveryRequest) bool {
	return !slices.ContainsFunc(r.Recipients, func(rc mailproto.Recipient) bool {
		return rc.Offset >= int64(len(f.Data)) || f.Data[rc.Offset] != 'R'
	})
}

// compareRequest has one recorded file delivered. What depends on other mail and
// on the moment is taken from the recording: the time of entry into the active
// queue and the connection cache flags.
func (s *system) compareRequest(f capture.File, want recordedRequest) {
	s.agent(want.transport, s.deliverAll)
	s.resolve = func(_, rcpt string) (rewrite.Resolved, error) {
		if slices.ContainsFunc(want.req.Recipients, func(r mailproto.Recipient) bool { return r.Addr == rcpt }) {
			return rewrite.Resolved{Transport: want.transport, Nexthop: want.req.Nexthop, Recipient: rcpt}, nil
		}
		return rewrite.Resolved{Transport: "smtp", Nexthop: "elsewhere", Recipient: rcpt}, nil
	}
	mode := f.Mode
	if !strings.HasPrefix(want.req.Nexthop, "4.7.0 ") {
		mode &^= 0o010
	}
	s.putBytes("incoming", f.ID, os.FileMode(0o700|mode), time.Now(), f.Data)
	s.start()
	for _, got := range s.requests {
		if got.Nexthop == want.req.Nexthop {
			got.Stats.ActiveArrival = want.req.Stats.ActiveArrival
			got.Flags = got.Flags&^connCache | want.req.Flags&connCache
			if g, w := encodeRequest(got), want.Client; !bytes.Equal(g, w) {
				s.Errorf("request\n%q\nrecorded\n%q", g, w)
			}
			return
		}
	}
	s.Errorf("no request for %s; there were %v", want.req.Nexthop, s.asked())
}

// TestRequestsCanBeRemade makes a queue file for each recorded request and has it
// delivered: the requests must agree in everything but places and times.
func TestRequestsCanBeRemade(t *testing.T) {
	n := 0
	for _, c := range capture.Conns(t, "*-from-qmgr") {
		if !bytes.HasPrefix(c.Client, []byte("flags\x00")) {
			continue
		}
		n++
		t.Run(c.Name(), func(t *testing.T) {
			inBubble(t, func(s *system) { s.remake(c, decodeRequest(t, c.Client)) })
		})
	}
	if n < 30 {
		t.Errorf("only %d recorded requests", n)
	}
}

func (s *system) remake(c capture.Conn, want *mailproto.DeliveryRequest) {
	m := mail{sender: want.Sender, full: slices.Clone(want.Recipients), opts: int(want.SendOpts &^ sendopts.SMTPUTF8Recipient)}
	slices.Reverse(m.full) // the order in the file does not matter
	if owner, rest, ok := strings.Cut(want.Sender, "+"); ok && strings.HasPrefix(want.Sender, "owner+") {
		_, domain, _ := strings.Cut(rest, "@")
		m.sender, m.verp = owner+"@"+domain, "+="
	}
	l := want.Client
	for name, value := range map[string]string{
		"encoding": want.Encoding, "envelope_id": want.EnvelopeID, "log_client_name": l.LogName,
		"log_client_address": l.LogAddr, "log_client_port": l.LogPort, "log_protocol_name": l.LogProto,
		"log_helo_name": l.LogHelo, "log_ident": l.LogIdent,
	} {
		m.attrs = append(m.attrs, name+"="+value)
	}
	if want.Ret != 0 {
		m.attrs = append(m.attrs, fmt.Sprintf("ret_flags=%d", want.Ret))
	}
	if trace := want.Flags & mailproto.DeliverTraceMask; trace != 0 {
		m.attrs = append(m.attrs, fmt.Sprintf("trace_flags=%d", trace))
	}
	transport, _, _ := strings.Cut(c.File, "-from-")
	s.agent(transport, s.deliverAll)
	s.resolve = func(_, rcpt string) (rewrite.Resolved, error) {
		return rewrite.Resolved{Transport: transport, Nexthop: want.Nexthop, Recipient: rcpt}, nil
	}
	s.put("incoming", want.QueueID, m)
	s.start()
	if len(s.requests) != 1 {
		s.Fatalf("%d requests, want 1: %v", len(s.requests), s.asked())
	}
	got := s.requests[0]
	got.DataOffset, got.DataSize, got.Stats = want.DataOffset, want.DataSize, want.Stats
	got.Flags = got.Flags&^connCache | want.Flags&connCache
	for i := range min(len(got.Recipients), len(want.Recipients)) {
		got.Recipients[i].Offset = want.Recipients[i].Offset
	}
	if g := encodeRequest(got); !bytes.Equal(g, c.Client) {
		s.Errorf("request\n%q\nrecorded\n%q", g, c.Client)
	}
}

// TestBounceRequestsMatchRecordings makes the situations in which Postfix's qmgr
// was recorded to ask the bounce services for something.
func TestBounceRequestsMatchRecordings(t *testing.T) {
	for _, c := range capture.Conns(t, "bounce-from-qmgr", "defer-from-qmgr", "trace-from-qmgr") {
		want, err := mailproto.ReadBounceRequest(attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Client)), attr.Strict))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(c.Name(), func(t *testing.T) {
			inBubble(t, func(s *system) { s.compareBounce(c, want) })
		})
	}
}

func (s *system) compareBounce(c capture.Conn, want *mailproto.BounceRequest) {
	service, _, _ := strings.Cut(c.File, "-from-")
	m := mail{sender: want.Sender, rcpts: []string{"u@x.example"}, opts: int(want.SendOpts), verp: want.VERPDelims}
	m.attrs = append(m.attrs, "encoding="+want.Encoding, "envelope_id="+want.EnvelopeID)
	if want.Ret != 0 {
		m.attrs = append(m.attrs, "ret_flags="+string(rune('0'+want.Ret)))
	}
	switch {
	case service == "bounce":
		s.agent("smtp", s.bounceAll)
	case want.Command == mailproto.BounceTrace:
		m.flags = int(dsn.NotifySuccess) << 1
		if want.Flags != 0 {
			m.attrs = append(m.attrs, "trace_flags="+map[mailproto.BounceFlags]string{512: "512", 1024: "1024"}[want.Flags])
		}
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			s.logStatus("trace", r)
			return s.deliverAll(r)
		})
	case want.Command == mailproto.BounceWarn:
		m.warn = time.Now()
		s.agent("smtp", s.deferAll)
	default:
		m.created = time.Now().Add(-1000 * time.Hour)
		s.agent("smtp", s.deferAll)
	}
	s.put("incoming", want.QueueID, m)
	s.start()
	if len(s.bounces) != 1 {
		s.Fatalf("requests %v, want one", s.services)
	}
	if !strings.HasPrefix(s.services[0], service+" ") {
		s.Errorf("request to %s, recorded at %s", s.services[0], service)
	}
	var e attr.Encoder
	s.bounces[0].Append(&e)
	if !bytes.Equal(e.Bytes(), c.Client) {
		s.Errorf("request\n%q\nrecorded\n%q", e.Bytes(), c.Client)
	}
}
