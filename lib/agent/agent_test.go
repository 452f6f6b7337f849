package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/config"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/service"
	"sealpost/test/capture"
)

// fakeReporter keeps what the services would have got.
type fakeReporter struct {
	calls                 []string
	requests              []*mailproto.BounceRequest
	updates               []mailproto.VerifyUpdate
	failBounce, failTrace bool
}

var errDown = errors.New("service is down")

func (f *fakeReporter) add(name string, r *mailproto.BounceRequest, fail bool) error {
	if fail {
		return errDown
	}
	f.calls = append(f.calls, name+":"+r.DSN.Action)
	f.requests = append(f.requests, r)
	return nil
}

func (f *fakeReporter) bounce(_ context.Context, r *mailproto.BounceRequest) error {
	return f.add("bounce", r, f.failBounce)
}

func (f *fakeReporter) deferred(_ context.Context, r *mailproto.BounceRequest) error {
	return f.add("defer", r, false)
}

func (f *fakeReporter) trace(_ context.Context, r *mailproto.BounceRequest) error {
	return f.add("trace", r, f.failTrace)
}

func (f *fakeReporter) verify(_ context.Context, v mailproto.VerifyUpdate) error {
	f.calls = append(f.calls, "verify")
	f.updates = append(f.updates, v)
	return nil
}

// fixture is a queue with one message in active and an agent's frame on it.
type fixture struct {
	frame *frame
	rep   *fakeReporter
	log   *bytes.Buffer
	path  string
	req   *mailproto.DeliveryRequest
}

func newFixture(t *testing.T, values map[string]string) *fixture {
	t.Helper()
	dir := t.TempDir()
	q := queue.New(dir, queue.Settings{})
	if err := os.Mkdir(dir+"/active", 0o700); err != nil {
		t.Fatal(err)
	}
	content := record.Append(nil, record.Rcpt, "r@b.example")
	path := q.Path(queue.Active, "12345ABC")
	if err := os.WriteFile(path, content, 0o700); err != nil {
		t.Fatal(err)
	}
	if values == nil {
		values = map[string]string{}
	}
	values["myhostname"] = "mx.b.example"
	cfg, err := config.FromMap(values)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	f := &fixture{rep: &fakeReporter{}, log: &log, path: path}
	now := time.Date(2026, 11, 22, 20, 18, 3, 0, time.UTC)
	f.frame = &frame{
		env: &service.Env{Config: cfg, Queue: q, ServiceName: "virtual", Log: maillog.New(maillog.Options{Writer: &log})},
		now: func() time.Time { return now },
	}
	if err := cfg.Decode(&f.frame.set); err != nil {
		t.Fatal(err)
	}
	f.frame.report = f.rep
	f.req = &mailproto.DeliveryRequest{
		Flags: mailproto.DeliverSuccess | mailproto.DeliverBounce, QueueName: "active", QueueID: "12345ABC",
		Stats:      mailproto.MsgStats{IncomingArrival: now, ActiveArrival: now},
		Recipients: []mailproto.Recipient{{Addr: "r@b.example", OrigAddr: "o@b.example", Offset: 0}},
	}
	return f
}

func (f *fixture) run(t *testing.T, deliver DeliverFunc) mailproto.DeliveryReply {
	t.Helper()
	f.frame.deliver = deliver
	reply, err := f.frame.handle(context.Background(), &service.Session{Log: f.frame.env.Log}, f.req)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestOutcomes(t *testing.T) {
	const (
		probe    = mailproto.DeliverUserVerify
		mtaProbe = mailproto.DeliverMTAVerify
		recorded = mailproto.DeliverRecord
	)
	cases := map[string]struct {
		outcome string // sent, bounced, deferred
		flags   mailproto.DeliveryFlags
		notify  dsn.Notify
		config  map[string]string
		fail    string
		calls   []string
		word    string
		code    string
		done    bool // D is in the queue file
		retry   bool
	}{
		"sent":                        {outcome: "sent", word: "sent", code: "2.0.0", done: true},
		"sent, report wanted":         {outcome: "sent", notify: dsn.NotifySuccess, calls: []string{"trace:delivered"}, word: "sent", code: "2.0.0", done: true},
		"sent, failure report wanted": {outcome: "sent", notify: dsn.NotifyFailure, word: "sent", code: "2.0.0", done: true},
		"sent, recorded":              {outcome: "sent", flags: recorded, calls: []string{"trace:delivered"}, word: "sent", code: "2.0.0", done: true},
		"sent, trace is down":         {outcome: "sent", flags: recorded, fail: "trace", calls: []string{"defer:delayed"}, word: "deferred", code: "4.0.0", retry: true},
		"sent, probe of sendmail -bv": {outcome: "sent", flags: probe, calls: []string{"trace:deliverable"}, word: "deliverable", code: "2.0.0", done: true},
		"sent, probe of verify":       {outcome: "sent", flags: mtaProbe, calls: []string{"verify"}, word: "deliverable", code: "2.0.0", done: true},
		"bounced":                     {outcome: "bounced", calls: []string{"bounce:failed"}, word: "bounced", code: "5.1.1", done: true},
		"bounced, never notify":       {outcome: "bounced", notify: dsn.NotifyNever, calls: []string{"bounce:failed"}, word: "bounced", code: "5.1.1", done: true},
		"bounced, recorded":           {outcome: "bounced", flags: recorded, calls: []string{"bounce:failed", "trace:failed"}, word: "bounced", code: "5.1.1", done: true},
		"bounced, bounce is down":     {outcome: "bounced", fail: "bounce", calls: []string{"defer:delayed"}, word: "deferred", code: "4.3.0", retry: true},
		"bounced, soft_bounce":        {outcome: "bounced", config: map[string]string{"soft_bounce": "yes"}, calls: []string{"defer:delayed"}, word: "SOFTBOUNCE", code: "4.1.1", retry: true},
		"bounced, probe":              {outcome: "bounced", flags: probe, calls: []string{"trace:undeliverable"}, word: "undeliverable", code: "5.1.1", done: true},
		"bounced, probe of verify":    {outcome: "bounced", flags: mtaProbe, calls: []string{"verify"}, word: "undeliverable", code: "5.1.1", done: true},
		"deferred":                    {outcome: "deferred", calls: []string{"defer:delayed"}, word: "deferred", code: "4.4.1", retry: true},
		"deferred, recorded":          {outcome: "deferred", flags: recorded, calls: []string{"defer:delayed", "trace:delayed"}, word: "deferred", code: "4.4.1", retry: true},
		"deferred, probe":             {outcome: "deferred", flags: probe, calls: []string{"trace:undeliverable"}, word: "undeliverable", code: "4.4.1"},
		"no outcome":                  {outcome: "none", calls: []string{"defer:delayed"}, word: "deferred", code: "4.3.0", retry: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.config)
			f.req.Flags |= c.flags
			f.req.Recipients[0].Notify = c.notify
			f.rep.failBounce, f.rep.failTrace = c.fail == "bounce", c.fail == "trace"
			reply := f.run(t, func(ctx context.Context, d *Delivery) {
				o := Outcome{Recipient: &d.Req.Recipients[0], Relay: "virtual", Stats: d.Req.Stats}
				switch c.outcome {
				case "sent":
					o.Status = dsn.Status{Code: "2.0.0", Reason: "delivered to maildir"}
					d.Sent(ctx, o)
				case "bounced":
					o.Status = dsn.Status{Code: "5.1.1", Reason: "unknown user"}
					d.Bounced(ctx, o)
				case "deferred":
					o.Status = dsn.Status{Code: "4.4.1", Reason: "connection refused"}
					d.Deferred(ctx, o)
				}
			})
			if !slices.Equal(f.rep.calls, c.calls) {
				t.Errorf("services called: %v, want %v", f.rep.calls, c.calls)
			}
			want := "dsn=" + c.code + ", status=" + c.word + " ("
			if !strings.Contains(f.log.String(), want) {
				t.Errorf("log %q lacks %q", f.log.String(), want)
			}
			b, _ := os.ReadFile(f.path)
			if done := b[0] == 'D'; done != c.done {
				t.Errorf("marked done: %v, want %v", done, c.done)
			}
			if reply.Retry != c.retry {
				t.Errorf("retry %v, want %v", reply.Retry, c.retry)
			}
		})
	}
}

// TestRequestsMatchTheRecordings replays what the recorded virtual daemon found
// and compares the requests to bounce and trace with those it sent, to the byte.
func TestRequestsMatchTheRecordings(t *testing.T) {
	requests := map[string]*mailproto.DeliveryRequest{}
	for _, c := range capture.Conns(t, "*-from-qmgr") {
		if !bytes.Contains(c.Server, []byte(mailproto.ProtoDelivery)) {
			continue
		}
		req, err := mailproto.ReadDeliveryRequest(attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Client)), attr.Strict))
		if err != nil {
			continue // connected ahead of time and never used
		}
		for _, r := range req.Recipients {
			requests[req.QueueID+" "+r.Addr] = req
		}
	}
	compared := 0
	for _, c := range capture.Conns(t, "bounce-from-virtual", "bounce-from-error", "trace-from-virtual", "trace-from-error") {
		want, err := mailproto.ReadBounceRequest(attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Client)), attr.Strict))
		if err != nil {
			t.Fatalf("%s: %v", c.Name(), err)
		}
		req := requests[want.QueueID+" "+want.Recipient.Addr]
		if req == nil {
			continue // its delivery request was not kept
		}
		compared++
		f := newFixture(t, nil)
		d := f.frame.newDelivery(nil, req, nil)
		i := slices.IndexFunc(req.Recipients, func(r mailproto.Recipient) bool { return r.Addr == want.Recipient.Addr })
		service, _, _ := strings.Cut(c.File, "-")
		relay := "none"
		reason, prefixed := strings.CutPrefix(want.DSN.Reason, "delivery via virtual: ")
		if prefixed {
			relay = "virtual"
		}
		o := Outcome{Recipient: &req.Recipients[i], Relay: relay, Status: want.DSN}
		o.Status.Reason = reason
		var got *mailproto.BounceRequest
		if service == "trace" {
			if !d.trace(context.Background(), o) {
				t.Fatal("trace failed")
			}
			got = f.rep.requests[0]
		} else {
			got = d.appendRequest(o)
		}
		var e attr.Encoder
		got.Append(&e)
		if !bytes.Equal(e.Bytes(), c.Client) {
			t.Errorf("%s:\n got %q\nwant %q", c.Name(), e.Bytes(), c.Client)
		}
	}
	if compared < 8 {
		t.Errorf("only %d requests were compared", compared)
	}
}

// TestSessionOnASocket drives one request as qmgr does, and one connection that
// closes without a request.
func TestSessionOnASocket(t *testing.T) {
	f := newFixture(t, nil)
	f.frame.deliver = func(ctx context.Context, d *Delivery) {
		d.HopStatus(dsn.Status{Code: "4.4.1", Reason: "connect to x: refused"})
		d.Deferred(ctx, Outcome{Recipient: &d.Req.Recipients[0], Relay: "none", Status: dsn.Status{Code: "4.4.1", Reason: "connect to x: refused"}})
	}
	for _, send := range []bool{true, false} {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.frame.serve(context.Background(), &service.Session{Conn: ours, Log: f.frame.env.Log})
			ours.Close()
		}()
		d := attr.NewDecoder(bufio.NewReader(theirs), attr.Strict)
		if _, err := mailproto.ReadGreeting(d, mailproto.ProtoDelivery); err != nil {
			t.Fatal(err)
		}
		if send {
			var e attr.Encoder
			f.req.Append(&e)
			go theirs.Write(e.Bytes())
			reply, err := mailproto.ReadDeliveryReply(d)
			if err != nil {
				t.Fatal(err)
			}
			if !reply.Retry || reply.DSN.Code != "4.4.1" || reply.DSN.Action != "" {
				t.Errorf("reply %+v", reply)
			}
		}
		theirs.Close()
		<-done
	}
	if got := strings.Count(f.log.String(), "warning"); got != 0 {
		t.Errorf("warnings in the log:\n%s", f.log)
	}
}

// TestRequestOfALateQmgr: what a qmgr asked for that is gone is left to its
// successor, which may have asked for it already.
func TestRequestOfALateQmgr(t *testing.T) {
	for _, late := range []bool{false, true} {
		f := newFixture(t, nil)
		delivered := false
		f.frame.deliver = func(ctx context.Context, d *Delivery) {
			delivered = true
			d.Deferred(ctx, Outcome{Recipient: &d.Req.Recipients[0], Relay: "none", Status: dsn.Status{Code: "4.4.1", Reason: "x"}})
		}
		ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		qmgr, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer qmgr.Close()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if late {
			qmgr.Close()
		}
		_, err = f.frame.handle(t.Context(), &service.Session{Conn: conn, Log: f.frame.env.Log}, f.req)
		if errors.Is(err, errOrphan) != late || delivered == late {
			t.Errorf("qmgr gone: %v; delivered %v, error %v", late, delivered, err)
		}
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	for name, change := range map[string]func(r *mailproto.DeliveryRequest){
		"queue id with a path":   func(r *mailproto.DeliveryRequest) { r.QueueID = "../../etc/passwd" },
		"queue name with a path": func(r *mailproto.DeliveryRequest) { r.QueueName = "../active" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			change(f.req)
			f.frame.deliver = func(context.Context, *Delivery) { t.Error("delivered") }
			if _, err := f.frame.handle(context.Background(), &service.Session{}, f.req); err == nil {
				t.Error("no error")
			}
		})
	}
}

// TestMessageThatIsNotThere: what the administrator took away, or another delivery
// marked as damaged, is not the fault of the agent: it answers, and qmgr does not
// suspend the transport.
func TestMessageThatIsNotThere(t *testing.T) {
	for name, away := range map[string]func(path string) error{
		"removed": os.Remove,
		"damaged": func(path string) error { return os.Chmod(path, queue.ModeCorrupt) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			if err := away(f.path); err != nil {
				t.Fatal(err)
			}
			reply := f.run(t, func(context.Context, *Delivery) { t.Error("delivered") })
			if !reply.Retry || reply.DSN.Reason != "" {
				t.Errorf("reply %+v", reply)
			}
			if !strings.Contains(f.log.String(), "warning: 12345ABC: not delivered: open active: ") {
				t.Errorf("log %q", f.log)
			}
		})
	}
}

// TestDamagedContentIsMarked: when a message that cannot be read was not delivered,
// and only then.
func TestDamagedContentIsMarked(t *testing.T) {
	sound := record.Append(record.Append(nil, record.Norm, "x"), record.Extracted, "")
	for _, c := range []struct {
		name    string
		content []byte
		read    bool
		code    string
		marked  bool
	}{
		{"sound", sound, true, "4.4.2", false},
		{"damaged", []byte("garbage"), true, "4.3.0", true},
		{"cut off", sound[:3], true, "4.3.0", true},
		{"damaged, not reached", []byte("garbage"), false, "4.4.1", false},
		{"damaged, delivered", []byte("garbage"), true, "2.0.0", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			head := record.Append(nil, record.Rcpt, "r@b.example")
			f.req.DataOffset = int64(len(head))
			if err := os.WriteFile(f.path, append(head, c.content...), 0o700); err != nil {
				t.Fatal(err)
			}
			f.run(t, func(ctx context.Context, d *Delivery) {
				if c.read {
					d.Content().Release()
				}
				o := Outcome{Recipient: &d.Req.Recipients[0], Relay: "none", Status: dsn.Status{Code: c.code, Reason: "x"}}
				if c.code[0] == '2' {
					d.Sent(ctx, o)
				} else {
					d.Deferred(ctx, o)
				}
			})
			st, err := os.Stat(f.path)
			if err != nil || (st.Mode().Perm() == queue.ModeCorrupt) != c.marked {
				t.Errorf("mode %v, %v; marked should be %t", st.Mode(), err, c.marked)
			}
			if said := strings.Contains(f.log.String(), "12345ABC: corrupted queue file: "); said != c.marked {
				t.Errorf("log %q", f.log)
			}
		})
	}
}
