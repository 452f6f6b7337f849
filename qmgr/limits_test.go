package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/rewrite"
)

func people(n int, domain string) []string {
	var r []string
	for i := range n {
		r = append(r, fmt.Sprintf("user%05d@%s", i, domain))
	}
	return r
}

// recipientsAsked is everybody that agents were asked to deliver to, sorted.
func (s *system) recipientsAsked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, r := range s.requests {
		for _, rc := range r.Recipients {
			all = append(all, rc.Addr)
		}
	}
	slices.Sort(all)
	return all
}

func TestRecipientsOfLargeMessageComeInBatches(t *testing.T) {
	for _, mixed := range []int{0, queue.QmgrMixed} {
		inBubble(t, func(s *system) {
			s.set.RecipientLimit = 100
			var most atomic.Int64
			s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
				s.m.mu.Lock()
				n := int64(s.m.sched.Recipients())
				s.m.mu.Unlock()
				if n > most.Load() {
					most.Store(n)
				}
				return s.deliverAll(r)
			})
			everybody := people(2500, "x.example")
			s.put("incoming", "A1", mail{sender: "a@b", rcpts: everybody, flags: mixed})
			s.start()
			s.pass(time.Minute)
			s.wantIn("A1", "")
			if got := s.recipientsAsked(); !slices.Equal(got, everybody) {
				t.Errorf("%d recipients were delivered to, want each of 2500 once", len(got))
			}
			// 100, or what the message at the head of the list may have beyond them.
			if m := most.Load(); m > 600 {
				t.Errorf("%d recipients in memory", m)
			}
		})
	}
}

func TestBouncesOfLargeMessage(t *testing.T) {
	inBubble(t, func(s *system) {
		s.set.RecipientLimit = 10
		tr := testTransport()
		tr.extra = 0
		s.trans["smtp"] = tr
		s.agent("smtp", s.bounceAll)
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: people(30, "x.example")})
		s.start()
		s.pass(time.Minute)
		s.wantIn("A1", "")
		if len(s.recipientsAsked()) != 30 || len(s.services) < 3 {
			t.Errorf("%d recipients, notifications %v", len(s.recipientsAsked()), s.services)
		}
	})
}

func TestSmallMessagePassesLargeOne(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			time.Sleep(time.Second)
			return s.deliverAll(r)
		})
		s.put("incoming", "L1", mail{sender: "a@b", rcpts: people(50000, "x.example")})
		s.start()
		s.pass(3 * time.Second)
		s.put("incoming", "S1", mail{sender: "a@b", rcpts: []string{"one@x.example"}})
		s.trigger("W")
		s.pass(3 * time.Second)
		s.wantIn("S1", "")
		s.wantIn("L1", "active")
		s.pass(10 * time.Minute)
		s.wantIn("L1", "")
	})
}

func TestActiveQueueIsBounded(t *testing.T) {
	inBubble(t, func(s *system) {
		s.set.ActiveLimit = 10
		gate := make(chan struct{})
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			<-gate
			return s.deliverAll(r)
		})
		for i := range 100 {
			s.put("deferred", fmt.Sprintf("D%d", i), mail{sender: "a@b", rcpts: []string{fmt.Sprintf("u@d%d.example", i)}})
		}
		s.start()
		if n := s.count("active"); n != 10 {
			t.Errorf("%d messages in the active queue, want 10", n)
		}
		for i := range 8 {
			s.put("incoming", fmt.Sprintf("N%d", i), mail{sender: "a@b", rcpts: []string{fmt.Sprintf("u@new%d.example", i)}})
		}
		s.trigger("W")
		for range 8 {
			gate <- struct{}{}
			s.pass(time.Millisecond)
		}
		if n := s.count("deferred"); n != 90 { // new mail goes before deferred mail
			t.Errorf("%d messages left in the deferred queue, want 90", n)
		}
		close(gate)
		s.pass(time.Second)
		if n := s.count("active") + s.count("deferred") + s.count("incoming"); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
}

func (s *system) count(queueName string) int {
	n := 0
	if err := s.queue.Scan(queueName, func(queue.Entry) bool { n++; return true }); err != nil {
		s.Error(err)
	}
	return n
}

func TestProbesAreBounded(t *testing.T) {
	inBubble(t, func(s *system) {
		s.set.ProbeLimit = 3
		gate := make(chan struct{})
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			<-gate
			return s.deliverAll(r)
		})
		for i := range 6 {
			s.put("incoming", fmt.Sprintf("P%d", i), mail{sender: "a@b", rcpts: []string{"u@x.example"}, attrs: []string{"trace_flags=256"}})
		}
		s.start()
		n := 0
		for _, line := range s.asked() {
			if strings.HasPrefix(line, "4.3.3 ") {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d probes were turned away, want 3", n)
		}
		close(gate)
	})
}

// Whenever the process ends, what is on disk is all there is: the next one
// delivers to everybody who was not delivered to.
func TestRestartAtAnyPoint(t *testing.T) {
	for stopAfter := range 12 {
		inBubble(t, func(s *system) {
			var served atomic.Int64
			full := make(chan struct{})
			s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
				if served.Add(1) > int64(stopAfter) {
					<-full
					return s.hangUp(r)
				}
				return s.deliverAll(r)
			})
			var want []string
			for i := range 6 {
				rcpts := []string{fmt.Sprintf("u%d@x.example", i), fmt.Sprintf("u%d@y.example", i)}
				want = append(want, rcpts...)
				s.put([]string{"incoming", "active", "deferred"}[i%3], fmt.Sprintf("M%d", i), mail{sender: "a@b", rcpts: rcpts})
			}
			s.start()
			s.stop()
			close(full)
			s.requests = slices.DeleteFunc(s.requests, func(r *mailproto.DeliveryRequest) bool { return !s.done(r) })
			s.agent("smtp", s.deliverAll)
			s.start()
			s.pass(20 * time.Minute)
			slices.Sort(want)
			if got := s.recipientsAsked(); !slices.Equal(got, want) {
				t.Errorf("stopped after %d: delivered to %v, want %v", stopAfter, got, want)
			}
			for i := range 6 {
				s.wantIn(fmt.Sprintf("M%d", i), "")
			}
		})
	}
}

// done reports whether an agent marked the recipients of a request.
func (s *system) done(r *mailproto.DeliveryRequest) bool {
	for _, q := range []string{"active", "incoming", "deferred"} {
		b, err := os.ReadFile(s.queue.Path(q, r.QueueID))
		if err == nil {
			return b[r.Recipients[0].Offset] == 'D'
		}
	}
	return true
}

// TestNewMailDoesNotWaitBehindABacklog: whether it comes before the first scan begins
// or after other new mail that took its time.
func TestNewMailDoesNotWaitBehindABacklog(t *testing.T) {
	const backlog, others, fresh = 4000, 500, 20
	tests := map[string]struct {
		early  bool // before the first scan
		others int  // new messages just before
	}{
		"while the queue manager starts": {early: true},
		"during a scan":                  {},
		"after other new mail":           {others: others},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(s *system) {
				var order []string // of resolving
				s.resolve = func(_, rcpt string) (rewrite.Resolved, error) {
					time.Sleep(time.Millisecond)
					s.mu.Lock()
					order = append(order, rcpt)
					s.mu.Unlock()
					return rewrite.Resolved{Transport: "smtp", Nexthop: "x.example", Recipient: rcpt, Class: rewrite.Default}, nil
				}
				put := func(queueName, rcpt string, n int, stamp time.Time) {
					b := mail{sender: "a@b", rcpts: []string{rcpt}}.bytes()
					for i := range n {
						s.putBytes(queueName, fmt.Sprintf("%X%05X", rcpt[0], i), 0o700, stamp, b)
					}
				}
				put("incoming", "old@x.example", backlog, time.Now().Add(-time.Hour))
				put("active", "active@x.example", backlog/10, time.Now().Add(-time.Hour))
				arrive := func() {
					put("incoming", "new@x.example", fresh, time.Now())
					s.m.trigger(s.Context(), []byte("I"))
				}
				s.begin(func() {
					if tt.early {
						arrive()
					}
				})
				if !tt.early {
					time.Sleep(100 * time.Millisecond)
					put("incoming", "other@x.example", tt.others, time.Now())
					s.m.trigger(s.Context(), []byte("I"))
					time.Sleep(300 * time.Millisecond)
					arrive()
				}
				synctest.Wait()
				s.pass(time.Minute)
				if n := s.count("active") + s.count("incoming"); n != 0 {
					t.Errorf("%d messages left", n)
				}
				last := len(order) - 1
				for last > 0 && order[last] != "new@x.example" {
					last--
				}
				// 4 messages are looked up in a millisecond, and a look is every 100 ms.
				if limit := 4*(100+300+200) + tt.others + fresh; last < fresh-1 || last > limit {
					t.Errorf("the last new message was taken up after %d others, want at most %d of %d", last, limit, len(order))
				}
			})
		})
	}
}

func TestStartWithManyMessagesIsQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 10,000 files")
	}
	inBubble(t, func(s *system) {
		b := mail{sender: "a@b", rcpts: []string{"u@x.example"}}.bytes()
		for i := range 10000 {
			s.putBytes([]string{"active", "deferred"}[i%2], fmt.Sprintf("%05X", i), 0o700, time.Now(), b)
		}
		began := monotonic()
		s.start()
		if took := monotonic() - began; took > 10*time.Second {
			t.Errorf("%s until 10,000 messages were delivered", took)
		}
		if n := s.count("active") + s.count("deferred") + s.count("incoming"); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
}
