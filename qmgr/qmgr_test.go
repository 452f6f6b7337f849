package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sealpost/lib/mailproto"
)

func TestDeliversAndRemoves(t *testing.T) {
	inBubble(t, func(s *system) {
		s.put("incoming", "A1", mail{sender: "a@b.example", rcpts: []string{"u@x.example", "ok@x.example", "z@y.example"}})
		s.start()
		s.wantIn("A1", "")
		s.wantAsked("x.example: ok@x.example u@x.example", "y.example: z@y.example")
		s.wantServices()
		// A full measure at start, and one for the message that was taken up.
		if want := 100 + 1; s.tokens != want {
			t.Errorf("%d flow control tokens, want %d", s.tokens, want)
		}
	})
}

func TestTriggersStartScans(t *testing.T) {
	for _, c := range []struct {
		codes string
		moved bool // the deferred message, which is not due
	}{{"W", false}, {"I", false}, {"D", false}, {"AD", true}, {"FADI", true}, {"\x00?", false}} {
		inBubble(t, func(s *system) {
			s.start()
			s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
			s.putBytes("deferred", "D1", 0o700, time.Now().Add(time.Hour), mail{sender: "a@b", rcpts: []string{"v@x.example"}}.bytes())
			s.trigger(c.codes)
			if got := s.where("D1") == ""; got != c.moved {
				t.Errorf("%q: deferred message delivered: %v", c.codes, got)
			}
			want := "incoming"
			if strings.ContainsAny(c.codes, "WI") {
				want = ""
			}
			s.wantIn("A1", want)
		})
	}
}

func TestDeferredMailIsTriedWhenDue(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", s.deferAll)
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		s.wantIn("A1", "deferred")
		if d := s.dueIn("A1"); d != 300*time.Second {
			t.Errorf("due in %s, want 300s", d)
		}
		s.forget()
		s.pass(290 * time.Second)
		s.wantAsked()
		s.pass(20 * time.Second)
		s.wantAsked("x.example: u@x.example")
		s.agent("smtp", s.deliverAll)
		s.pass(2000 * time.Second)
		s.wantIn("A1", "")
	})
}

// The defer log is that of the last attempt.
func TestDeferLogBeginsAnew(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", s.deferAll)
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		s.pass(time.Hour)
		b, err := os.ReadFile(s.queue.Path("defer", "A1"))
		if n := strings.Count(string(b), "recipient="); err != nil || n != 1 || len(s.asked()) < 3 {
			t.Errorf("%d records in the log after %d attempts, %v", n, len(s.asked()), err)
		}
	})
}

// An agent marks a file that it cannot read.
func TestFileFoundDamagedByAgent(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			if err := os.Chmod(s.queue.Path("active", r.QueueID), 0o400); err != nil {
				t.Error(err)
			}
			return mailproto.DeliveryReply{Retry: true}
		})
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		s.wantIn("A1", "corrupt")
	})
}

func TestBackoffGrowsWithAge(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		time.Second: 300 * time.Second, 1000 * time.Second: 1000 * time.Second, 24 * time.Hour: 4000 * time.Second,
	} {
		inBubble(t, func(s *system) {
			s.agent("smtp", s.deferAll)
			s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}, created: time.Now().Add(-age)})
			s.start()
			if d := s.dueIn("A1"); d != want {
				t.Errorf("age %s: due in %s, want %s", age, d, want)
			}
		})
	}
}

func TestActiveQueueIsRequeuedAtStart(t *testing.T) {
	inBubble(t, func(s *system) {
		m := mail{sender: "a@b", rcpts: []string{"u@x.example"}}
		s.putBytes("active", "A1", 0o700, time.Now().Add(time.Hour), m.bytes())
		s.put("active", "A2", m)
		s.putBytes("incoming", "A3", 0o600, time.Now(), m.bytes()[:50]) // being written
		release := s.lock("active", "A2")
		s.start()
		s.wantIn("A1", "")
		s.wantIn("A2", "incoming")
		s.wantIn("A3", "incoming")
		release()
		s.pass(58 * time.Second)
		s.wantIn("A2", "incoming")
		s.pass(3 * time.Second)
		s.wantIn("A2", "")
	})
}

func TestCorruptFilesAreSaved(t *testing.T) {
	inBubble(t, func(s *system) {
		whole := mail{sender: "a@b", rcpts: []string{"u@x.example"}}.bytes()
		for i, n := range []int{0, 10, 97, 150, len(whole) - 1} {
			s.putBytes("incoming", fmt.Sprintf("C%d", i), 0o700, time.Now(), whole[:n])
		}
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		for i := range 5 {
			id := fmt.Sprintf("C%d", i)
			s.wantIn(id, "corrupt")
			if fi, err := os.Stat(s.queue.Path("corrupt", id)); err != nil || fi.Mode().Perm() != 0o400 {
				t.Errorf("%s: mode %v, %v", id, fi.Mode(), err)
			}
		}
		s.wantIn("A1", "")
		s.wantAsked("x.example: u@x.example")
	})
}

func TestBounceLogMakesNotification(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", s.bounceAll)
		s.put("incoming", "A1", mail{sender: "a@b.example", rcpts: []string{"u@x.example"}})
		s.start()
		s.wantServices("bounce flush A1")
		s.wantIn("A1", "")
	})
}

func TestFailedNotificationKeepsMessage(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", s.bounceAll)
		s.fail("bounce", true)
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		s.wantIn("A1", "deferred")
		s.fail("bounce", false)
		s.forget()
		s.pass(700 * time.Second)
		// Nobody is left to deliver to: only the notification is made up for.
		s.wantAsked()
		s.wantServices("bounce flush A1")
		s.wantIn("A1", "")
	})
}

func TestEmptyLogIsRemoved(t *testing.T) {
	inBubble(t, func(s *system) {
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		path := s.queue.Path("bounce", "A1")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.start()
		s.wantServices()
		if _, err := os.Stat(path); err == nil {
			t.Error("the empty bounce log is left")
		}
	})
}

func TestExpiry(t *testing.T) {
	for name, c := range map[string]struct {
		sender  string
		age     time.Duration
		expired bool
	}{
		"young":         {"a@b", 119 * time.Hour, false},
		"old":           {"a@b", 121 * time.Hour, true},
		"notification":  {"", 49 * time.Hour, true},
		"double bounce": {"double-bounce@b", 49 * time.Hour, true},
		"young bounce":  {"", 47 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(s *system) {
				s.set.BounceLifetime = 48 * time.Hour
				s.agent("smtp", s.deferAll)
				s.put("deferred", "A1", mail{sender: c.sender, rcpts: []string{"u@x.example"}, created: time.Now().Add(-c.age)})
				s.start()
				if c.expired {
					s.wantServices("defer flush A1")
					s.wantIn("A1", "")
					if f := s.bounces[0].Flags; f != mailproto.BounceDelRcpt {
						t.Errorf("flags %d", f)
					}
				} else {
					s.wantServices()
					s.wantIn("A1", "deferred")
				}
			})
		})
	}
}

// A message must not vanish because nobody logged why it could not be delivered.
func TestExpiryNeedsDeferLog(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", func(*mailproto.DeliveryRequest) mailproto.DeliveryReply { return mailproto.DeliveryReply{Retry: true} })
		s.put("deferred", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}, created: time.Now().Add(-1000 * time.Hour)})
		s.start()
		s.wantServices()
		s.wantIn("A1", "deferred")
	})
}

func TestForcedExpiry(t *testing.T) {
	m := mail{sender: "a@b", rcpts: []string{"u@x.example"}}
	inBubble(t, func(s *system) { // tried before: the log says why
		s.putBytes("deferred", "A1", 0o710, time.Now(), m.bytes())
		s.logStatus("defer", &mailproto.DeliveryRequest{QueueID: "A1", Recipients: []mailproto.Recipient{{Addr: "u@x.example"}}})
		s.start()
		s.wantAsked()
		s.wantServices("defer flush A1")
		s.wantIn("A1", "")
	})
	inBubble(t, func(s *system) { // never tried
		s.putBytes("incoming", "A1", 0o710, time.Now(), m.bytes())
		s.start()
		s.wantAsked("4.7.0 message is administratively expired: u@x.example")
		s.wantServices("defer flush A1")
		s.wantIn("A1", "")
	})
}

func TestDelayWarning(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", s.deferAll)
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}, warn: time.Now().Add(500 * time.Second)})
		s.put("incoming", "A2", mail{sender: "", rcpts: []string{"u@x.example"}, warn: time.Now().Add(500 * time.Second)})
		s.start()
		s.wantServices()
		s.pass(700 * time.Second)
		s.wantServices("defer warn A1")
		b, err := os.ReadFile(s.queue.Path("deferred", "A1"))
		if err != nil || !strings.Contains(string(b), "W\x0f             -1") {
			t.Errorf("warning not noted in the file: %v", err)
		}
		s.pass(4 * time.Hour)
		s.wantServices("defer warn A1")
		s.pass(time.Hour) // the log is there still: warn does not remove it
		s.wantIn("A1", "deferred")
	})
}

func TestTraceRequests(t *testing.T) {
	for name, c := range map[string]struct {
		attrs []string
		flags int
		log   bool
		want  []string
	}{
		"sendmail -v":           {[]string{"trace_flags=1024"}, 0, true, []string{"trace trace A1"}},
		"sendmail -bv":          {[]string{"trace_flags=512"}, 0, true, []string{"trace trace A1"}},
		"probe of an MTA":       {[]string{"trace_flags=256"}, 0, true, nil},
		"NOTIFY=SUCCESS":        {nil, 4, true, []string{"trace trace A1"}},
		"relayed, nothing said": {nil, 4, false, nil},
		"nothing asked":         {nil, 8 | 16, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(s *system) {
				s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
					if c.log {
						s.logStatus("trace", r)
					}
					return s.deliverAll(r)
				})
				s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}, attrs: c.attrs, flags: c.flags})
				s.start()
				s.wantServices(c.want...)
				s.wantIn("A1", "")
			})
		})
	}
}

func TestTraceRequestIsMadeOnce(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			if r.Flags&mailproto.DeliverRecord != 0 {
				s.logStatus("trace", r)
			}
			return s.deferAll(r)
		})
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}, attrs: []string{"trace_flags=1024"}})
		s.start()
		s.pass(2 * time.Hour)
		s.wantServices("trace trace A1")
	})
}

func TestDeadDestinationIsSuspended(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			if r.Nexthop == "good.example" {
				return s.deliverAll(r)
			}
			return s.unreachable(r)
		})
		for i := range 20 {
			s.put("incoming", fmt.Sprintf("D%d", i), mail{sender: "a@b", rcpts: []string{"u@dead.example"}})
			s.put("incoming", fmt.Sprintf("G%d", i), mail{sender: "a@b", rcpts: []string{"u@good.example"}})
		}
		s.start()
		tried, suspended, good := 0, 0, 0
		for _, line := range s.asked() {
			switch line {
			case "dead.example: u@dead.example":
				tried++
			case "4.4.1 delivery temporarily suspended: connect to x: Connection refused: u@dead.example":
				suspended++
			case "good.example: u@good.example":
				good++
			default:
				t.Errorf("unexpected %q", line)
			}
		}
		if good != 20 || tried+suspended != 20 || tried > 8 || tried < 4 {
			t.Errorf("%d good, %d tried, %d suspended", good, tried, suspended)
		}
		for i := range 20 {
			s.wantIn(fmt.Sprintf("D%d", i), "deferred")
			s.wantIn(fmt.Sprintf("G%d", i), "")
		}
		s.forget()
		s.put("incoming", "D99", mail{sender: "a@b", rcpts: []string{"u@dead.example"}})
		s.trigger("W")
		s.wantAsked("4.4.1 delivery temporarily suspended: connect to x: Connection refused: u@dead.example")
		s.forget()
		s.agent("smtp", s.deliverAll)
		s.trigger("FAD")
		s.wantIn("D99", "")
	})
}

func TestHungDestinationDoesNotSlowOthers(t *testing.T) {
	inBubble(t, func(s *system) {
		gate := make(chan struct{})
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			if r.Nexthop == "hung.example" {
				<-gate
			}
			return s.deliverAll(r)
		})
		for i := range 50 {
			s.put("incoming", fmt.Sprintf("H%d", i), mail{sender: "a@b", rcpts: []string{"u@hung.example"}})
		}
		s.start()
		for i := range 50 {
			s.put("incoming", fmt.Sprintf("G%d", i), mail{sender: "a@b", rcpts: []string{"u@good.example"}})
		}
		s.trigger("W")
		for i := range 50 {
			s.wantIn(fmt.Sprintf("G%d", i), "")
			s.wantIn(fmt.Sprintf("H%d", i), "active")
		}
		if n := len(s.asked()); n != 55 {
			t.Errorf("%d requests, want 50 and a window of 5", n)
		}
		close(gate)
		s.pass(time.Second)
		s.wantIn("H7", "")
	})
}

func TestUnthrottleBit(t *testing.T) {
	inBubble(t, func(s *system) {
		s.trans["smtp"] = testTransport()
		s.agent("smtp", s.unreachable)
		for i := range 5 {
			s.put("incoming", fmt.Sprintf("A%d", i), mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		}
		s.start()
		s.forget()
		s.agent("smtp", s.deferAll)
		s.putBytes("incoming", "U1", 0o740, time.Now(), mail{sender: "a@b", rcpts: []string{"u@x.example"}}.bytes())
		s.trigger("W")
		s.wantAsked("x.example: u@x.example")
		fi, err := os.Stat(s.queue.Path("deferred", "U1"))
		if err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("the bit is left: %v, %v", fi, err)
		}
	})
}

func TestMissingTransport(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", nil)
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		s.wantAsked("4.3.0 delivery temporarily suspended: mail transport unavailable: u@x.example")
		s.wantIn("A1", "deferred")
		s.agent("smtp", s.deliverAll)
		s.pass(700 * time.Second)
		s.wantIn("A1", "")
	})
}

// Without the retry service qmgr logs itself.
func TestMissingRetryService(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", nil)
		s.agent("retry", nil)
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"u@x.example"}})
		s.start()
		s.wantServices("defer append A1")
		s.wantIn("A1", "deferred")
		if d := s.bounces[0].DSN; d.Code != "4.3.0" || !strings.HasPrefix(d.Reason, "delivery temporarily suspended: ") || d.Action != "delayed" {
			t.Errorf("status %+v", d)
		}
	})
}

// An agent that dies may have delivered to some: those are not deferred again.
func TestBrokenAgent(t *testing.T) {
	inBubble(t, func(s *system) {
		s.agent("smtp", func(r *mailproto.DeliveryRequest) mailproto.DeliveryReply {
			s.mark(r.QueueID, r.Recipients[0])
			return s.hangUp(r)
		})
		s.put("incoming", "A1", mail{sender: "a@b", rcpts: []string{"a@x.example", "b@x.example"}})
		s.start()
		s.wantAsked("4.3.0 delivery temporarily suspended: unknown mail transport error: b@x.example",
			"x.example: a@x.example b@x.example")
		s.wantIn("A1", "deferred")
	})
}
