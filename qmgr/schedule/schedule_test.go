package schedule

import (
	"fmt"
	"testing"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
)

var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// defaults are Postfix's.
func defaults() Limits {
	return Limits{
		InitialConcurrency: 5, Concurrency: 20, Recipients: 50,
		Positive: Feedback{amount: 1}, Negative: Feedback{amount: 1}, FailedCohorts: 1,
		SlotCost: 5, SlotDiscount: 50, SlotLoan: 3, MinSlots: 3,
		Deliveries: 100, Backoff: 300 * time.Second, RetryTime: 60 * time.Second,
	}
}

// bench is a scheduler with one transport and a clock.
type bench struct {
	*testing.T
	s   *Scheduler
	t   *Transport
	now time.Time
}

func newBench(t *testing.T, change func(*Limits)) *bench {
	l := defaults()
	if change != nil {
		change(&l)
	}
	s := New(func(string) Limits { return l })
	return &bench{T: t, s: s, t: s.Transport("smtp"), now: epoch}
}

// message schedules a message with one recipient for each destination.
func (b *bench) message(name string, destinations ...string) *Message {
	m := &Message{Enqueued: b.now, Data: name}
	for _, d := range destinations {
		b.add(m, d, "user@"+d)
	}
	return m
}

func (b *bench) add(m *Message, destination string, addrs ...string) {
	var rcpts []mailproto.Recipient
	for _, a := range addrs {
		rcpts = append(rcpts, mailproto.Recipient{Addr: a})
	}
	b.s.Assign(m, b.s.Queue(b.t, destination, destination), rcpts)
}

func (b *bench) pick() *Entry { return b.s.Pick(b.t, b.now) }

func (b *bench) mustPick() *Entry {
	b.Helper()
	e := b.pick()
	if e == nil {
		b.Fatal("nothing to deliver")
	}
	return e
}

func (b *bench) pass(d time.Duration) {
	b.now = b.now.Add(d)
	b.s.Advance(b.now)
}

func (b *bench) ok(e *Entry) { b.s.Finish(e, Delivered, dsn.Status{}, b.now) }

func (b *bench) fail(e *Entry) []*Entry {
	return b.s.Finish(e, Unreachable, dsn.Status{Code: "4.4.1", Reason: "refused"}, b.now)
}

func many(n int) []string {
	d := make([]string, n)
	for i := range d {
		d[i] = fmt.Sprintf("d%d.example", i)
	}
	return d
}

func addrs(n int) []string {
	a := make([]string, n)
	for i := range a {
		a[i] = fmt.Sprintf("user%05d@one.example", i)
	}
	return a
}

func TestRecipientsOfOneDestinationGoOutTogether(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.Recipients = 50 })
	m := &Message{Enqueued: b.now}
	b.add(m, "one.example", addrs(120)...)
	var sizes []int
	for e := b.pick(); e != nil; e = b.pick() {
		sizes = append(sizes, len(e.Recipients))
	}
	if fmt.Sprint(sizes) != "[50 50 20]" {
		t.Errorf("requests have %v recipients", sizes)
	}
	if m.Recipients() != 120 || b.s.Recipients() != 120 {
		t.Errorf("in memory: %d, %d", m.Recipients(), b.s.Recipients())
	}
}

func TestOneRecipientPerRequestWithVERP(t *testing.T) {
	b := newBench(t, nil)
	m := &Message{Enqueued: b.now, OneRecipient: true}
	b.add(m, "one.example", addrs(3)...)
	for range 3 {
		if e := b.mustPick(); len(e.Recipients) != 1 {
			t.Errorf("%d recipients", len(e.Recipients))
		}
	}
}

func TestOldestMessageFirst(t *testing.T) {
	b := newBench(t, nil)
	for i := range 3 {
		b.message(fmt.Sprint(i), "a.example")
		b.pass(time.Second)
	}
	for i := range 3 {
		if got := b.mustPick().Message.Data; got != fmt.Sprint(i) {
			t.Errorf("pick %d is of message %v", i, got)
		}
	}
}

func TestDestinationsOfOneMessageTakeTurns(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.Recipients = 2 })
	m := &Message{Enqueued: b.now}
	b.add(m, "a.example", "1@a", "2@a", "3@a", "4@a", "5@a", "6@a")
	b.add(m, "b.example", "1@b", "2@b", "3@b", "4@b")
	got := ""
	for e := b.pick(); e != nil; e = b.pick() {
		got += e.Queue.Nexthop[:1]
	}
	if got != "ababa" && got != "babaa" {
		t.Errorf("order %s", got)
	}
}

// A message to 50,000 recipients must not hold up one to one recipient, whether
// the large one goes to one destination or to many.
func TestSmallMessageOvertakesLarge(t *testing.T) {
	for name, load := range map[string]func(b *bench, m *Message){
		"many destinations": func(b *bench, m *Message) {
			for _, d := range many(20000) {
				b.add(m, d, "u@"+d)
			}
		},
		"one destination": func(b *bench, m *Message) { b.add(m, "one.example", addrs(20000)...) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(l *Limits) { l.Recipients = 1; l.Concurrency = 0; l.InitialConcurrency = 1000 })
			large := &Message{Enqueued: b.now, Data: "large", Unread: 30000}
			load(b, large)
			var busy []*Entry
			for range 100 {
				busy = append(busy, b.mustPick())
			}
			b.pass(time.Second)
			b.message("small", "one.example")
			for i := 1; ; i++ {
				b.ok(busy[0])
				e := b.mustPick()
				busy = append(busy[1:], e)
				if e.Message.Data == "small" {
					break
				}
				if i > 6 {
					t.Fatal("the small message has waited for six deliveries of the large one")
				}
			}
		})
	}
}

// Whatever arrives, the large message gets on: k/(k-1) of its time at most.
func TestLargeMessageIsNotStarved(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.Recipients = 1; l.Deliveries = 1 })
	b.message("large", many(1000)...)
	large, small := 0, 0
	for large < 1000 {
		b.message("small", "s.example")
		e := b.mustPick()
		if e.Message.Data == "large" {
			large++
		} else {
			small++
		}
		b.ok(e)
		b.pass(10 * time.Millisecond)
	}
	if most := 1000/4 + 10; small > most {
		t.Errorf("%d small messages went ahead of 1000 recipients, want at most %d", small, most)
	}
	if small < 150 {
		t.Errorf("only %d small messages went ahead", small)
	}
}

// Messages to two recipients must not wait forever for those to one.
func TestWaitingCounts(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.Recipients = 1; l.Deliveries = 1 })
	b.message("large", many(2000)...)
	for range 20 {
		b.ok(b.mustPick())
	}
	b.message("two", "x.example", "y.example")
	for i := range 400 {
		b.pass(time.Second)
		b.message("one", "s.example")
		e := b.mustPick()
		b.ok(e)
		if e.Message.Data == "two" {
			return
		}
		_ = i
	}
	t.Error("the message to two recipients was never preferred")
}

func TestNoPreemptionWhenTurnedOff(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.Recipients = 1; l.Deliveries = 1; l.SlotCost = 0 })
	b.message("large", many(200)...)
	b.message("small", "s.example")
	for range 200 {
		e := b.mustPick()
		if e.Message.Data != "large" {
			t.Fatal("overtaken")
		}
		b.ok(e)
	}
}

func TestPositiveFeedback(t *testing.T) {
	for _, c := range []struct {
		feedback string
		after    int // successes
		want     int // window
	}{
		{"1", 5, 10}, {"1", 100, 20}, {"1/2", 4, 7}, {"1 / concurrency", 5, 6},
		{"1 / concurrency", 11, 7}, {"0", 100, 5},
	} {
		b := newBench(t, func(l *Limits) { l.Positive, _ = ParseFeedback(c.feedback); l.Recipients = 1 })
		m := &Message{Enqueued: b.now}
		b.add(m, "a.example", addrs(1000)...)
		var busy []*Entry
		for range c.after {
			for e := b.pick(); e != nil; e = b.pick() {
				busy = append(busy, e)
			}
			b.ok(busy[0])
			busy = busy[1:]
		}
		if got := b.s.Queue(b.t, "a.example", "").Window(); got != c.want {
			t.Errorf("feedback %s, %d successes: window %d, want %d", c.feedback, c.after, got, c.want)
		}
	}
}

func TestWindowGrowsOnlyWhenUsed(t *testing.T) {
	b := newBench(t, nil)
	for range 50 {
		b.message("m", "a.example")
		b.ok(b.mustPick())
	}
	if got := b.s.Queue(b.t, "a.example", "").Window(); got > 6 {
		t.Errorf("window %d after deliveries one by one", got)
	}
}

func TestWindowBoundsDeliveries(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.Recipients = 1 })
	m := &Message{Enqueued: b.now}
	b.add(m, "hung.example", addrs(1000)...)
	n := 0
	for b.pick() != nil {
		n++
	}
	if n != 5 {
		t.Errorf("%d deliveries to a destination that does not answer, want 5", n)
	}
	b.message("good", "good.example")
	if e := b.pick(); e == nil || e.Message.Data != "good" {
		t.Error("a good destination waits for a hung one")
	}
}

func TestNegativeFeedback(t *testing.T) {
	for _, c := range []struct {
		feedback string
		cohorts  float64
		failures int
		want     int // window; 0: suspended
	}{
		{"1", 1, 1, 4}, {"1", 1, 3, 2}, {"1", 1, 4, 0},
		{"1 / concurrency", 1, 1, 4}, {"1 / concurrency", 10, 3, 4}, {"1 / concurrency", 10, 6, 3},
		{"1", 0, 50, 1}, {"0", 0, 50, 5},
	} {
		b := newBench(t, func(l *Limits) {
			l.Negative, _ = ParseFeedback(c.feedback)
			l.FailedCohorts = c.cohorts
			l.Recipients = 1
		})
		m := &Message{Enqueued: b.now}
		b.add(m, "a.example", addrs(100)...)
		for range c.failures {
			b.fail(b.mustPick())
		}
		if got := b.s.Queue(b.t, "a.example", "").Window(); got != c.want {
			t.Errorf("feedback %s, %v cohorts, %d failures: window %d, want %d", c.feedback, c.cohorts, c.failures, got, c.want)
		}
	}
}

func TestDeadDestination(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.InitialConcurrency = 1; l.Recipients = 1 })
	m := &Message{Enqueued: b.now, Data: "m"}
	b.add(m, "dead.example", addrs(10)...)
	b.message("good", "good.example")
	e := b.mustPick()
	drained := b.fail(e)
	if len(drained) != 9 || m.Recipients() != 0 {
		t.Fatalf("%d requests given back, %d recipients left", len(drained), m.Recipients())
	}
	q := e.Queue
	if !q.Dead() || q.Reason.Reason != "refused" {
		t.Errorf("not suspended: %+v", q.Reason)
	}
	if e := b.mustPick(); e.Message.Data != "good" {
		t.Error("the good destination is not delivered to")
	}
	b.pass(299 * time.Second)
	if !q.Dead() {
		t.Error("alive too early")
	}
	b.pass(2 * time.Second)
	if q.Dead() {
		t.Error("still suspended after the backoff time")
	}
	b.add(m, "dead.example", "again@dead.example")
	if e := b.mustPick(); e.Queue.Nexthop != "dead.example" {
		t.Error("not tried again")
	}
}

func TestSuccessRevivesDestination(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.InitialConcurrency = 2; l.Recipients = 1 })
	b.message("1", "a.example")
	b.message("2", "a.example")
	e1, e2 := b.mustPick(), b.mustPick()
	b.message("3", "a.example")
	e1.Queue.window = 1
	b.fail(e1)
	if !e1.Queue.Dead() {
		t.Fatal("not suspended")
	}
	b.ok(e2)
	if e1.Queue.Dead() {
		t.Error("still suspended after a success")
	}
}

func TestFlushForgetsSuspensions(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.InitialConcurrency = 1 })
	b.message("1", "a.example")
	e := b.mustPick()
	b.fail(e)
	b.s.SuspendTransport(b.t, dsn.Status{Reason: "gone"}, b.now)
	b.s.FlushDead()
	if e.Queue.Dead() || b.t.Dead() {
		t.Error("still suspended")
	}
	b.message("2", "a.example")
	b.mustPick()
}

func TestDeadTransport(t *testing.T) {
	b := newBench(t, nil)
	for i := range 5 {
		b.message("m", fmt.Sprintf("d%d.example", i))
	}
	e := b.mustPick()
	drained := b.s.Finish(e, TransportDead, dsn.Status{Reason: "broken"}, b.now)
	if len(drained) != 4 || !b.t.Dead() || b.t.Ready() {
		t.Fatalf("%d given back, dead %v", len(drained), b.t.Dead())
	}
	b.message("later", "d9.example")
	if b.pick() != nil {
		t.Error("a suspended transport delivers")
	}
	b.pass(61 * time.Second)
	b.mustPick()
}

func TestDestinationRateDelay(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.RateDelay = 10 * time.Second; l.Recipients = 2 })
	m := &Message{Enqueued: b.now}
	b.add(m, "a.example", "1@a", "2@a", "3@a", "4@a")
	e := b.mustPick()
	if b.pick() != nil {
		t.Fatal("two deliveries at a time")
	}
	b.ok(e)
	if b.pick() != nil {
		t.Fatal("no delay after a delivery")
	}
	if at, ok := b.s.Next(); !ok || at.Sub(b.now) > 10*time.Second {
		t.Error("no timer for the end of the delay")
	}
	b.message("other", "b.example")
	if e := b.mustPick(); e.Queue.Nexthop != "b.example" {
		t.Error("another destination has to wait too")
	}
	b.pass(10 * time.Second)
	b.mustPick()
}

func TestTransportRateDelay(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.TransportRateDelay = 20 * time.Second })
	b.message("1", "a.example")
	b.message("2", "b.example")
	e := b.mustPick()
	if b.pick() != nil || b.t.Deliverable(4) != 0 {
		t.Fatal("two deliveries at a time")
	}
	b.ok(e)
	b.pass(19 * time.Second)
	if b.pick() != nil {
		t.Fatal("too early")
	}
	b.pass(time.Second)
	b.mustPick()
}

func TestDeliveryLimit(t *testing.T) {
	b := newBench(t, func(l *Limits) { l.Deliveries = 7 })
	b.message("m", many(50)...)
	n := 0
	for b.pick() != nil {
		n++
	}
	if n != 7 || b.t.Deliverable(10) != 0 {
		t.Errorf("%d deliveries, want 7", n)
	}
}

func TestBacklogHint(t *testing.T) {
	b := newBench(t, nil)
	b.message("1", "a.example")
	e := b.mustPick()
	if e.Backlog {
		t.Error("a single message asks to keep the connection")
	}
	b.ok(e)
	b.message("2", "a.example")
	if e := b.mustPick(); !e.Backlog {
		t.Error("mail to the same destination right after another is no backlog")
	}
	b.message("3", "b.example")
	b.message("4", "b.example")
	if e := b.mustPick(); !e.Backlog {
		t.Error("waiting mail is no backlog")
	}
}

func TestIdleDestinationsAreForgotten(t *testing.T) {
	b := newBench(t, nil)
	for i := range 100 {
		b.message("m", fmt.Sprintf("d%d.example", i))
		b.ok(b.mustPick())
		b.pass(100 * time.Millisecond)
	}
	if n := len(b.t.queues); n > 60 {
		t.Errorf("%d destinations remembered", n)
	}
	b.pass(idleTime)
	b.pass(idleTime)
	if n := len(b.t.queues); n != 0 {
		t.Errorf("%d destinations remembered for ever", n)
	}
	if _, ok := b.s.Next(); ok {
		t.Error("a timer is left")
	}
}
