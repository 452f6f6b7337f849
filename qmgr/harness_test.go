package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/rewrite"
	"sealpost/qmgr/schedule"
)

// system is a queue directory with a manager and doubles of everything around
// it. It runs in a synctest bubble: time is virtual, and passes only when nothing
// is left to do.
type system struct {
	*testing.T
	dir   string
	queue *queue.Queue
	set   *settings
	m     *qmgr
	trans map[string]transportSettings

	mu       sync.Mutex
	agents   map[string]agent // by transport; absent: no such service
	requests []*mailproto.DeliveryRequest
	services []string // "bounce flush ID" and so on
	bounces  []*mailproto.BounceRequest
	refuse   map[string]bool // bounce services that fail
	tokens   int
	resolve  func(sender, rcpt string) (rewrite.Resolved, error)

	stop func()
}

// agent answers one delivery request.
type agent func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply

var errNoService = errors.New("no such file or directory")

func testSettings() *settings {
	return &settings{
		MinimalBackoff: 300 * time.Second, MaximalBackoff: 4000 * time.Second, QueueRunDelay: 300 * time.Second,
		TransportRetryTime: 60 * time.Second, QueueLifetime: 120 * time.Hour, BounceLifetime: 120 * time.Hour,
		ActiveLimit: 20000, RecipientLimit: 20000, RecipientMinimum: 10, ProbeLimit: 5000, ProcessLimit: 100,
		DoubleBounceSender: "double-bounce", SMTPUTF8: true,
		BounceService: "bounce", DeferService: "defer", TraceService: "trace", ErrorService: "error",
		IPCTimeout: time.Minute, DaemonTimeout: 18000 * time.Second, ClogWarnTime: 300 * time.Second,
		AddressFormat: "external", DelayDecimals: 2,
	}
}

func testTransport() transportSettings {
	one, _ := schedule.ParseFeedback("1")
	return transportSettings{
		limits: schedule.Limits{
			InitialConcurrency: 5, Concurrency: 20, Recipients: 50, Positive: one, Negative: one, FailedCohorts: 1,
			SlotCost: 5, SlotDiscount: 50, SlotLoan: 3, MinSlots: 3, Deliveries: 100,
			Backoff: 300 * time.Second, RetryTime: 60 * time.Second,
		},
		recipients: 20000, extra: 1000, refill: 100, refillDelay: 5 * time.Second,
	}
}

// inBubble runs a test with a system that is set up but not started.
func inBubble(t *testing.T, fn func(s *system)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, dir)
		fn(s)
		if s.stop != nil {
			s.stop()
		}
	})
}

func newSystem(t *testing.T, dir string) *system {
	for _, d := range []string{"incoming", "active", "deferred", "corrupt", "bounce", "defer", "trace"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &system{
		T: t, dir: dir, set: testSettings(), trans: map[string]transportSettings{}, refuse: map[string]bool{},
		queue: queue.New(dir, queue.Settings{HashNames: []string{"deferred", "defer"}, HashDepth: 1}),
	}
	s.agents = map[string]agent{"smtp": s.deliverAll, "retry": s.deferAll, "error": s.bounceAll}
	s.resolve = func(_, rcpt string) (rewrite.Resolved, error) {
		_, domain, _ := strings.Cut(rcpt, "@")
		return rewrite.Resolved{Transport: "smtp", Nexthop: domain, Recipient: rcpt, Class: rewrite.Default}, nil
	}
	return s
}

// start makes a manager, as if the process had just begun, and waits until it has
// nothing to do.
func (s *system) start() {
	s.begin(func() {})
	synctest.Wait()
}

// begin starts a manager and calls meanwhile before its first scan.
func (s *system) begin(meanwhile func()) {
	meanwhile = sync.OnceFunc(meanwhile)
	w := world{
		now: time.Now, dial: s.dial, bounce: s.bounce,
		resolve: func(_ context.Context, sender, rcpt string) (rewrite.Resolved, error) { return s.resolve(sender, rcpt) },
		tokens: func(n int) {
			meanwhile()
			s.mu.Lock()
			s.tokens += n
			s.mu.Unlock()
		},
	}
	transports := func(name string) transportSettings {
		if t, ok := s.trans[name]; ok {
			return t
		}
		return testTransport()
	}
	s.m = newQmgr(s.set, transports, w, s.queue, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	m := s.m
	go func() { done <- m.run(ctx) }()
	s.stop = func() {
		s.stop = nil
		cancel()
		if err := <-done; err != nil {
			s.Errorf("run: %v", err)
		}
	}
}

// agent puts an agent behind a transport's socket; nil takes it away.
func (s *system) agent(transport string, a agent) {
	s.mu.Lock()
	s.agents[transport] = a
	s.mu.Unlock()
}

// fail makes the requests to a bounce service fail, or succeed again.
func (s *system) fail(service string, fails bool) {
	s.mu.Lock()
	s.refuse[service] = fails
	s.mu.Unlock()
}

func (s *system) trigger(codes string) {
	s.m.trigger(context.Background(), []byte(codes))
	synctest.Wait()
}

// pass lets virtual time pass.
func (s *system) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *system) dial(ctx context.Context, path string) (net.Conn, error) {
	s.mu.Lock()
	a := s.agents[strings.TrimPrefix(path, "private/")]
	s.mu.Unlock()
	if a == nil {
		return nil, errNoService
	}
	ours, theirs := net.Pipe()
	go s.serve(theirs, a)
	return ours, nil
}

func (s *system) serve(c net.Conn, a agent) {
	defer c.Close()
	var e attr.Encoder
	mailproto.Greeting{Protocol: mailproto.ProtoDelivery}.Append(&e)
	if _, err := c.Write(e.Bytes()); err != nil {
		return
	}
	req, err := mailproto.ReadDeliveryRequest(attr.NewDecoder(bufio.NewReader(c), attr.Strict))
	if err != nil {
		return // closed without a request
	}
	s.mu.Lock()
	s.requests = append(s.requests, req)
	s.mu.Unlock()
	reply := a(req)
	if reply.DSN.Code == "hang up" {
		return
	}
	e.Reset()
	reply.Append(&e)
	c.Write(e.Bytes())
	io.Copy(io.Discard, c)
}

// deliverAll marks all recipients as done, as an agent does that delivered them.
func (s *system) deliverAll(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
	for _, rcpt := range r.Recipients {
		s.mark(r.QueueID, rcpt)
	}
	return mailproto.DeliveryReply{}
}

// deferAll logs all recipients as deferred.
func (s *system) deferAll(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
	s.logStatus("defer", r)
	return mailproto.DeliveryReply{Retry: true}
}

// bounceAll logs all recipients as failed, and marks them.
func (s *system) bounceAll(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
	s.logStatus("bounce", r)
	return s.deliverAll(r)
}

// unreachable is an agent that cannot connect.
func (s *system) unreachable(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
	s.logStatus("defer", r)
	return mailproto.DeliveryReply{Retry: true, DSN: dsn.Status{Code: "4.4.1", Reason: "connect to x: Connection refused"}}
}

func (s *system) hangUp(*mailproto.DeliveryRequest) mailproto.DeliveryReply {
	return mailproto.DeliveryReply{DSN: dsn.Status{Code: "hang up"}}
}

func (s *system) mark(id string, r mailproto.Recipient) {
	f, err := os.OpenFile(s.queue.Path("active", id), os.O_RDWR, 0)
	if err != nil {
		s.Errorf("agent: %v", err)
		return
	}
	defer f.Close()
	if err := queue.MarkDone(f, r.Offset); err != nil {
		s.Errorf("agent: %v", err)
	}
}

func (s *system) logStatus(service string, r *mailproto.DeliveryRequest) {
	path := s.queue.Path(service, r.QueueID)
	os.MkdirAll(filepath.Dir(path), 0o700)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.Error(err)
		return
	}
	defer f.Close()
	for _, rcpt := range r.Recipients {
		fmt.Fprintf(f, "recipient=%s\n\n", rcpt.Addr)
	}
}

func (s *system) bounce(_ context.Context, path string, r *mailproto.BounceRequest) error {
	service := strings.TrimPrefix(path, "private/")
	word := [...]string{"append", "flush", "warn", "verp", "one", "trace"}[r.Command]
	s.mu.Lock()
	s.services = append(s.services, service+" "+word+" "+r.QueueID)
	s.bounces = append(s.bounces, r)
	refused := s.refuse[service]
	s.mu.Unlock()
	if refused {
		return errors.New("request failed: status -1")
	}
	switch r.Command {
	case mailproto.BounceFlush, mailproto.BounceVERP, mailproto.BounceTrace:
		s.queue.Remove(service, r.QueueID)
	case mailproto.BounceAppend:
		s.logStatus(service, &mailproto.DeliveryRequest{QueueID: r.QueueID, Recipients: []mailproto.Recipient{r.Recipient}})
	}
	return nil
}

// mail describes a queue file to be made.
type mail struct {
	sender  string
	rcpts   []string
	verp    string
	created time.Time
	warn    time.Time
	attrs   []string // name=value
	filter  string
	to      string // redirect
	flags   int    // qmgr flags of the size record
	opts    int
	full    []mailproto.Recipient // instead of rcpts
}

// put makes a queue file.
func (s *system) put(queueName, id string, m mail) {
	s.Helper()
	s.putBytes(queueName, id, 0o700, time.Now(), m.bytes())
}

func (m mail) bytes() []byte {
	if m.created.IsZero() {
		m.created = time.Now()
	}
	b := queue.AppendSize(nil, queue.SizeRecord{})
	b = record.Append(b, record.Time, fmt.Sprintf("%d 0", m.created.Unix()))
	b = record.AppendAttr(b, "create_time", fmt.Sprint(m.created.Unix()))
	b = record.AppendAttr(b, "rewrite_context", "local")
	if m.filter != "" {
		b = record.Append(b, record.Filter, m.filter)
	}
	if m.to != "" {
		b = record.Append(b, record.Redirect, m.to)
	}
	b = record.Append(b, record.From, m.sender)
	for _, a := range m.attrs {
		b = record.Append(b, record.Attr, a)
	}
	if m.verp != "" {
		b = record.Append(b, record.VERP, m.verp)
	}
	if !m.warn.IsZero() {
		b = record.Append(b, record.WarnTime, fmt.Sprintf("%15d", m.warn.Unix()))
	}
	for _, r := range m.rcpts {
		b = record.Append(b, record.OrigRcpt, r)
		b = record.Append(b, record.Rcpt, r)
	}
	for _, r := range m.full {
		if r.Notify != 0 {
			b = record.AppendAttr(b, "notify_flags", fmt.Sprint(int(r.Notify)))
		}
		b = record.AppendAttr(b, "dsn_orig_rcpt", r.OrigRcpt)
		b = record.Append(b, record.OrigRcpt, r.OrigAddr)
		b = record.Append(b, record.Rcpt, r.Addr)
	}
	b = record.Append(b, record.Message, "")
	data := len(b)
	b = record.Append(b, record.Norm, "Subject: test")
	b = record.Append(b, record.Norm, "")
	b = record.Append(b, record.Norm, "Hello")
	end := len(b)
	b = record.Append(b, record.Extracted, "")
	b = record.Append(b, record.End, "")
	copy(b, queue.AppendSize(nil, queue.SizeRecord{
		ContentSize: int64(end - data), DataOffset: int64(data), Rcpts: len(m.rcpts) + len(m.full),
		QmgrFlags: m.flags, ContentLen: int64(end - data), SendOpts: m.opts,
	}))
	return b
}

func (s *system) putBytes(queueName, id string, mode os.FileMode, mtime time.Time, b []byte) {
	s.Helper()
	path := s.queue.Path(queueName, id)
	os.MkdirAll(filepath.Dir(path), 0o700)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		s.Fatal(err)
	}
	if err := os.Chtimes(path, mtime, mtime); err != nil {
		s.Fatal(err)
	}
}

// where says in which queue a message is, and in none with "".
func (s *system) where(id string) string {
	for _, q := range []string{"incoming", "active", "deferred", "corrupt"} {
		if _, err := os.Stat(s.queue.Path(q, id)); err == nil {
			return q
		}
	}
	return ""
}

// wantIn checks where a message is.
func (s *system) wantIn(id, queueName string) {
	s.Helper()
	if got := s.where(id); got != queueName {
		s.Errorf("message %s is in %q, want %q", id, got, queueName)
	}
}

// dueIn is when a message in the deferred queue may be tried again.
func (s *system) dueIn(id string) time.Duration {
	s.Helper()
	fi, err := os.Stat(s.queue.Path("deferred", id))
	if err != nil {
		s.Fatal(err)
	}
	return time.Until(fi.ModTime()).Round(time.Second)
}

// lock holds the lock of an agent that survived an earlier qmgr.
func (s *system) lock(queueName, id string) (release func()) {
	s.Helper()
	f, err := os.Open(s.queue.Path(queueName, id))
	if err != nil {
		s.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		s.Fatal(err)
	}
	return func() { f.Close() }
}

// delivered is what agents were asked for: "transport-less" lines
// "nexthop: rcpt rcpt", sorted.
func (s *system) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, r := range s.requests {
		line := r.Nexthop + ":"
		for _, rcpt := range r.Recipients {
			line += " " + rcpt.Addr
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func (s *system) wantAsked(want ...string) {
	s.Helper()
	if got := s.asked(); !slices.Equal(got, want) {
		s.Errorf("agents were asked for\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func (s *system) wantServices(want ...string) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.services, want) {
		s.Errorf("bounce services were asked for %q, want %q", s.services, want)
	}
}

func (s *system) forget() {
	s.mu.Lock()
	s.requests, s.services, s.bounces = nil, nil, nil
	s.mu.Unlock()
}

// monotonic is a clock that does not stand still in a bubble.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
