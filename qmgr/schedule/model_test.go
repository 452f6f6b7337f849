package schedule

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
)

func TestParseFeedback(t *testing.T) {
	for text, at4 := range map[string]float64{
		"1": 1, "0": 0, "0.25": 0.25, "1/4": 0.25, " 1 / 2 ": 0.5, "1/concurrency": 0.25,
		"0.5 / concurrency": 0.125, "1/sqrt_concurrency": 0.5,
	} {
		if f, err := ParseFeedback(text); err != nil || f.at(4) != at4 {
			t.Errorf("%q: %v, %v; want %v", text, f.at(4), err, at4)
		}
	}
	for _, text := range []string{"", "x", "2", "-1", "1/0", "1/x", "3/2", "1/2/3", "NaN", "1/-2"} {
		if _, err := ParseFeedback(text); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}

// TestNothingIsLost runs random operations and checks that each recipient is
// picked or given back exactly once, and that the heaps agree with the counts.
func TestNothingIsLost(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	b := newBench(t, func(l *Limits) {
		l.Deliveries = 12
		l.Recipients = 3
		l.Backoff = 5 * time.Second
		l.RetryTime = 2 * time.Second
	})
	waiting := map[string]bool{}
	var busy []*Entry
	serial := 0
	drop := func(entries []*Entry) {
		for _, e := range entries {
			for _, rc := range e.Recipients {
				if !waiting[rc.Addr] {
					t.Fatalf("%s given back twice", rc.Addr)
				}
				delete(waiting, rc.Addr)
			}
		}
	}
	for range 20000 {
		switch op := r.IntN(10); {
		case op < 3 && len(waiting) < 400:
			m := &Message{Enqueued: b.now}
			for range 1 + r.IntN(1+r.IntN(40)) {
				q := b.s.Queue(b.t, fmt.Sprint(r.IntN(8)), "")
				if q.Dead() || b.t.Dead() {
					continue
				}
				serial++
				addr := fmt.Sprint(serial)
				waiting[addr] = true
				b.s.Assign(m, q, []mailproto.Recipient{{Addr: addr}})
			}
		case op < 7:
			if e := b.pick(); e != nil {
				drop([]*Entry{e})
				busy = append(busy, e)
			} else if b.t.Deliverable(1) > 0 {
				t.Fatal("deliverable, but nothing picked")
			}
		case len(busy) > 0:
			i := r.IntN(len(busy))
			o := Outcome(0)
			if x := r.IntN(20); x < 6 {
				o = Unreachable
			} else if x == 6 {
				o = TransportDead
			}
			drop(b.s.Finish(busy[i], o, dsn.Status{Reason: "x"}, b.now))
			busy = append(busy[:i], busy[i+1:]...)
		}
		b.pass(time.Duration(r.IntN(50)) * time.Millisecond)
		b.check()
	}
}

// check compares the counts of a transport with what there is.
func (b *bench) check() {
	b.Helper()
	prev := int64(-1 << 62)
	for j := b.t.head; j != nil; j = j.next {
		if j.todo <= 0 || j.label <= prev {
			b.Fatalf("job list: %d entries, label %d after %d", j.todo, j.label, prev)
		}
		prev = j.label
	}
	for _, q := range b.t.queues {
		n := 0
		for i, p := range q.peers {
			n += p.waiting()
			if i > 0 && p.before(q.peers[(i-1)/2]) {
				b.Fatal("peers out of order")
			}
		}
		open := n > 0 && q.busy < q.window && q.pausedUntil.IsZero()
		if n != q.todo || open != (q.openIndex >= 0) {
			b.Fatalf("queue %s: %d entries, counted %d, open %v", q.key, n, q.todo, open)
		}
	}
	for i, q := range b.t.open {
		if i > 0 && q.peers[0].before(b.t.open[(i-1)/2].peers[0]) {
			b.Fatal("open queues out of order")
		}
	}
}
