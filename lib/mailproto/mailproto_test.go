package mailproto

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/test/capture"
)

// stream is one direction of a recorded connection, read with our types and
// written again.
type stream struct {
	r *bufio.Reader
	d *attr.Decoder
	e attr.Encoder
}

func newStream(b []byte) *stream {
	r := bufio.NewReader(bytes.NewReader(b))
	return &stream{r: r, d: attr.NewDecoder(r, attr.Strict)}
}

// again encodes what was read.
func again[T interface{ Append(*attr.Encoder) }](s *stream, v T, err error) error {
	if err == nil {
		v.Append(&s.e)
	}
	return err
}

func (s *stream) greeting(protocol string) error {
	g, err := ReadGreeting(s.d, protocol)
	return again(s, g, err)
}

// pattern of recordings, with readers of both directions.
var protocols = []struct {
	pattern        string
	server, client func(s *stream) error
}{
	{"cleanup-*from-*", cleanupServer, cleanupClient},
	{"bounce-from-*", bounceServer, bounceClient},
	{"defer-from-*", bounceServer, bounceClient},
	{"trace-from-*", bounceServer, bounceClient},
	{"virtual-from-qmgr", agentServer, agentClient},
	{"smtp-from-qmgr", agentServer, agentClient},
	{"relay-from-qmgr", agentServer, agentClient},
	{"local-from-qmgr", agentServer, agentClient},
	{"error-from-qmgr", agentServer, agentClient},
	{"retry-from-qmgr", agentServer, agentClient},
	{"discard-from-qmgr", agentServer, agentClient},
	{"pcat-from-qmgr", agentServer, agentClient},
	{"showq-from-*", showqServer, nil},
	{"flush-from-smtp-relay", flushServer, flushClient},
	{"flush-from-postqueue", flushServer, flushClient},
	{"flush-from-smtpd", flushServer, flushClient},
	{"verify-from-virtual", verifyServer, verifyClient},
	{"verify-from-smtp", verifyServer, verifyClient},
	{"postdrop-from-*", postdropServer, nil},
}

func cleanupServer(s *stream) error {
	if err := s.greeting(ProtoCleanup); err != nil {
		return err
	}
	for _, err := s.r.Peek(1); err != io.EOF; _, err = s.r.Peek(1) {
		reply, err := ReadCleanupReply(s.d)
		if err := again(s, reply, err); err != nil {
			return err
		}
	}
	return nil
}

func cleanupClient(s *stream) error {
	req, err := ReadCleanupRequest(s.d)
	if err := again(s, req, err); err != nil {
		return err
	}
	_, err = s.r.WriteTo(io.Discard) // records are package record's
	return err
}

func bounceServer(s *stream) error {
	if err := s.greeting(ProtoBounce); err != nil {
		return err
	}
	reply, err := ReadStatusReply(s.d)
	return again(s, reply, err)
}

func bounceClient(s *stream) error {
	req, err := ReadBounceRequest(s.d)
	return again(s, req, err)
}

func agentServer(s *stream) error {
	if err := s.greeting(ProtoDelivery); err != nil {
		return err
	}
	reply, err := ReadDeliveryReply(s.d)
	if err == io.EOF {
		return nil // qmgr went away without a request
	}
	return again(s, reply, err)
}

func agentClient(s *stream) error {
	req, err := ReadDeliveryRequest(s.d)
	if err == io.EOF {
		return nil
	}
	return again(s, req, err)
}

func showqServer(s *stream) error {
	if err := s.greeting(ProtoShowq); err != nil {
		return err
	}
	for {
		entry, err := ReadShowqEntry(s.d)
		if err == io.EOF {
			s.e.End()
			return nil
		}
		if err := again(s, entry, err); err != nil {
			return err
		}
	}
}

func flushServer(s *stream) error {
	if err := s.greeting(ProtoFlush); err != nil {
		return err
	}
	reply, err := ReadStatusReply(s.d)
	return again(s, reply, err)
}

func flushClient(s *stream) error {
	req, err := ReadFlushRequest(s.d)
	return again(s, req, err)
}

// Clients of verify keep their connection: several requests on one.
func verifyServer(s *stream) error {
	if err := s.greeting(ProtoVerify); err != nil {
		return err
	}
	for {
		reply, err := ReadStatusReply(s.d)
		if err == io.EOF {
			return nil
		}
		if err := again(s, reply, err); err != nil {
			return err
		}
	}
}

func verifyClient(s *stream) error {
	for {
		req, err := ReadVerifyUpdate(s.d)
		if err == io.EOF {
			return nil
		}
		if err := again(s, req, err); err != nil {
			return err
		}
	}
}

func postdropServer(s *stream) error {
	if err := s.greeting(ProtoPostdrop); err != nil {
		return err
	}
	reply, err := ReadCleanupReply(s.d)
	return again(s, reply, err)
}

// TestRecordedStreams decodes every recorded stream with our types and encodes
// it again: the bytes are Postfix's.
func TestRecordedStreams(t *testing.T) {
	for _, p := range protocols {
		for _, c := range capture.Conns(t, p.pattern) {
			if bytes.Contains(c.Server, []byte("dummy\x00")) {
				continue // a milter's connection is handed over (§2.4)
			}
			t.Run(c.Name(), func(t *testing.T) {
				same(t, "server", c.Server, p.server)
				if p.client != nil {
					want := c.Client
					if strings.HasPrefix(p.pattern, "cleanup") {
						want = want[:bytes.Index(want, []byte("\x00\x00"))+2]
					}
					same(t, "client", want, p.client)
				}
			})
		}
	}
}

func same(t *testing.T, side string, want []byte, read func(*stream) error) {
	t.Helper()
	s := newStream(want)
	if err := read(s); err != nil {
		t.Errorf("%s: %v", side, err)
		return
	}
	if rest, _ := io.ReadAll(s.r); len(rest) > 0 {
		t.Errorf("%s: left unread: %q", side, rest)
	}
	if diff := cmp.Diff(string(want), string(s.e.Bytes())); diff != "" {
		t.Errorf("%s: (-recorded +ours)\n%s", side, diff)
	}
}

// TestCutStreams: a peer that dies in the middle is never taken for a whole
// request.
func TestCutStreams(t *testing.T) {
	c := capture.Conns(t, "smtp-from-qmgr")[0]
	for n := range len(c.Client) {
		_, err := ReadDeliveryRequest(newStream(c.Client[:n]).d)
		if err == nil || (n > 0) == (err == io.EOF) {
			t.Fatalf("%d of %d bytes: %v", n, len(c.Client), err)
		}
	}
	b := capture.Conns(t, "bounce-from-smtp")[0]
	for n := range len(b.Client) {
		if _, err := ReadBounceRequest(newStream(b.Client[:n]).d); err == nil {
			t.Fatalf("bounce request: %d of %d bytes", n, len(b.Client))
		}
	}
}

func TestDeliveryRequestLimits(t *testing.T) {
	c := capture.Conns(t, "virtual-from-qmgr")[0]
	for _, n := range []string{"-1", "1048577", "4294967295"} {
		in := strings.Replace(string(c.Client), "recipient_count\x001\x00", "recipient_count\x00"+n+"\x00", 1)
		if _, err := ReadDeliveryRequest(newStream([]byte(in)).d); !errors.Is(err, attr.ErrLimit) {
			t.Errorf("%s recipients: %v", n, err)
		}
	}
	in := strings.Replace(string(c.Client), "time\x00+0", "time\x00AAAA+0", 1)
	if _, err := ReadDeliveryRequest(newStream([]byte(in)).d); !errors.Is(err, ErrStats) {
		t.Errorf("longer statistics: %v", err)
	}
}

func TestUnknownBounceCommand(t *testing.T) {
	for _, n := range []int{-1, 6, 1000} {
		in := fmt.Sprintf("nrequest\x00%d\x00flags\x000\x00\x00", n)
		if _, err := ReadBounceRequest(newStream([]byte(in)).d); !errors.Is(err, ErrBounceCommand) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestBounceRequestRoundTrip(t *testing.T) {
	full := BounceRequest{
		Flags: BounceClean, QueueName: "active", QueueID: "ABC", Encoding: "8bit", SendOpts: 33,
		Sender: "a@b", EnvelopeID: "e", Ret: dsn.RetHdrs, VERPDelims: "+=",
		Recipient: Recipient{OrigAddr: "o", Addr: "r", Offset: -1, OrigRcpt: "rfc822;o", Notify: dsn.NotifyNever},
		DSN:       dsn.Status{Code: "5.1.1", DiagType: "smtp", DiagText: "550", MTAType: "dns", MTAName: "m", Action: "failed", Reason: "why"},
	}
	for cmd := BounceAppend; cmd <= BounceTrace; cmd++ {
		want := full
		want.Command = cmd
		if cmd == BounceAppend {
			want.QueueName, want.Encoding, want.SendOpts, want.Sender, want.EnvelopeID, want.Ret = "", "", 0, "", "", 0
		}
		if cmd != BounceVERP {
			want.VERPDelims = ""
		}
		if cmd != BounceAppend && cmd != BounceOne {
			want.Recipient, want.DSN = Recipient{}, dsn.Status{}
		}
		in := full
		in.Command = cmd
		var e attr.Encoder
		in.Append(&e)
		got, err := ReadBounceRequest(newStream(e.Bytes()).d)
		if err != nil {
			t.Errorf("%d: %v", cmd, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%d: (-want +got)\n%s", cmd, diff)
		}
	}
}

func TestMsgStats(t *testing.T) {
	at := time.Unix(1795378726, 163404000)
	m := MsgStats{IncomingArrival: at, AgentHandoff: at.Add(time.Second), ReuseCount: 3}
	got, err := ParseMsgStats(m.Bytes())
	if err != nil || !cmp.Equal(m, got) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, n := range []int{0, 87, 89} {
		if _, err := ParseMsgStats(make([]byte, n)); !errors.Is(err, ErrStats) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestShowqUserEntry(t *testing.T) {
	want := &ShowqEntry{QueueName: "hold", QueueID: "A", Time: 1, Size: 2, Sender: "s", RequireTLS: true,
		Recipients: []ShowqRecipient{{Addr: "r", LogClass: "defer", Reason: "why"}}}
	var e attr.Encoder
	want.AppendUser(&e)
	e.End()
	s := newStream(e.Bytes())
	got, err := ReadUserShowqEntry(s.d)
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ReadUserShowqEntry(s.d); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
	if _, err := ReadUserShowqEntry(newStream(nil).d); err != io.ErrUnexpectedEOF {
		t.Errorf("without an end mark: %v", err)
	}
}

func TestVerifyUpdate(t *testing.T) {
	want := VerifyUpdate{Address: "a@b", Status: VerifyBounce, Reason: "no such user"}
	var e attr.Encoder
	want.Append(&e)
	if got, err := ReadVerifyUpdate(newStream(e.Bytes()).d); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestCleanupDetailPrecedence(t *testing.T) {
	for _, c := range []struct {
		status CleanupStatus
		code   int
		text   string
	}{
		{CleanupOK, 250, "Success"},
		{CleanupSize | CleanupWrite, 552, "message file too big"},
		{CleanupDefer | CleanupCont, 451, "service unavailable"},
		{CleanupCont | CleanupHops, 554, "too many hops"},
		{CleanupNoRcpt, 550, "no recipients specified"},
		{CleanupBareLF, 521, "bare <LF> received"},
		{1 << 20, 451, "internal protocol error"},
	} {
		if d := c.status.Detail(); d.Code != c.code || d.Text != c.text {
			t.Errorf("%d: %+v", c.status, d)
		}
	}
	// The numbers travel: they are Postfix's (§2.3).
	if CleanupBad != 1 || CleanupHops != 16 || CleanupNoRcpt != 64 || CleanupNoPerm != 512 || CleanupReqTLS != 1024 || CleanupExternal != 0x72 {
		t.Error("status or flag bits differ from the wire's")
	}
}

func TestCleanupFlagsString(t *testing.T) {
	if got := (CleanupHold | CleanupReqTLS).String(); got != "hold_message requiretls_requested" {
		t.Error(got)
	}
	if got := CleanupFlags(0).String(); got != "none" {
		t.Error(got)
	}
}

// FuzzRequests: no panic, and what was accepted is a fixed point of encoding and
// decoding.
func FuzzRequests(f *testing.F) {
	for _, p := range protocols {
		for _, c := range capture.Conns(f, p.pattern) {
			f.Add(c.Client)
			f.Add(c.Server)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fixed(t, in, ReadDeliveryRequest)
		fixed(t, in, ReadDeliveryReply)
		fixed(t, in, ReadBounceRequest)
		fixed(t, in, ReadCleanupReply)
		fixed(t, in, ReadShowqEntry)
		fixed(t, in, ReadStatusReply)
		fixed(t, in, ReadVerifyUpdate)
		fixed(t, in, ReadFlushRequest)
	})
}

func fixed[T interface{ Append(*attr.Encoder) }](t *testing.T, in []byte, read func(*attr.Decoder) (T, error)) {
	v, err := read(newStream(in).d)
	if err != nil {
		return
	}
	var e attr.Encoder
	v.Append(&e)
	again, err := read(newStream(e.Bytes()).d)
	if err != nil {
		t.Fatalf("%T: own bytes refused: %v\n%q", v, err, e.Bytes())
	}
	if diff := cmp.Diff(v, again); diff != "" {
		t.Errorf("%T: (-first +second)\n%s", v, diff)
	}
}
