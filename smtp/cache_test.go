package main

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"sealpost/lib/mailproto"
	"sealpost/lib/route"
)

func anySession(*session) bool { return true }

func cachingRequest(nexthop string) *mailproto.DeliveryRequest {
	r := request(nexthop, "a@b.test")
	r.Flags |= mailproto.DeliverConnLoad | mailproto.DeliverConnStore
	return r
}

func TestConnectionIsUsedAgain(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", nil, nil)
	for i := range 3 {
		out := f.run(t, cachingRequest(s.nexthop()))
		if out.String() != "a@b.test sent 2.0.0 250 2.0.0 queued" || out.full[0].Stats.ReuseCount != i {
			t.Fatalf("message %d: %s, reuse count %d", i, out, out.full[0].Stats.ReuseCount)
		}
	}
	if messages, conns := s.count(); messages != 3 || conns != 1 {
		t.Errorf("%d messages, %d connections", messages, conns)
	}
	if strings.Contains(s.seen(), "RSET") {
		t.Errorf("RSET without need:\n%s", s.seen())
	}
	// Another destination, the same endpoint.
	f.run(t, cachingRequest("["+"127.0.0.1"+"]:"+s.port()+","))
	if _, conns := s.count(); conns != 1 {
		t.Errorf("%d connections", conns)
	}
	// A request without the flags does not take it.
	f.run(t, request(s.nexthop(), "a@b.test"))
	if _, conns := s.count(); conns != 2 {
		t.Errorf("%d connections", conns)
	}
}

func TestReuseLimits(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", map[string]string{"smtp_connection_reuse_count_limit": "1"}, nil)
	for range 4 {
		f.run(t, cachingRequest(s.nexthop()))
	}
	if messages, conns := s.count(); messages != 4 || conns != 2 {
		t.Errorf("%d messages, %d connections; want 2 for each", messages, conns)
	}
	now := time.Now()
	f = newFixture(t, "smtp", nil, nil)
	f.now = func() time.Time { return now }
	f.cache.now = f.now
	f.run(t, cachingRequest(s.nexthop()))
	now = now.Add(301 * time.Second)
	f.cache.limit = time.Hour
	f.run(t, cachingRequest(s.nexthop())) // uses it, and ends it for its age
	if f.cache.take(destLabel(route.Destination{Text: s.nexthop()}), anySession) != nil {
		t.Error("a connection is kept beyond smtp_connection_reuse_time_limit")
	}
}

func TestRSETWhereNeeded(t *testing.T) {
	s := serve(t, script{ehlo: piped, on: map[string]string{"RCPT TO:<a@b.test>": "550 5.1.1 no", "DATA": "554 no"}})
	f := newFixture(t, "smtp", nil, nil)
	f.run(t, cachingRequest(s.nexthop()))
	f.run(t, cachingRequest(s.nexthop()))
	if _, conns := s.count(); conns != 1 || strings.Count(s.seen(), "RSET") != 1 {
		t.Errorf("%d connections, the server saw\n%s", conns, s.seen())
	}
}

// A connection that died while idle is no failure: the message goes over a new one.
func TestStaleConnection(t *testing.T) {
	for _, how := range []string{"closed", "421", "dies at MAIL", "421 at MAIL"} {
		t.Run(how, func(t *testing.T) {
			s := serve(t, script{ehlo: piped, on: map[string]string{}})
			f := newFixture(t, "smtp", nil, nil)
			f.run(t, cachingRequest(s.nexthop()))
			s.mu.Lock()
			c := s.open[0]
			s.mu.Unlock()
			session := f.cache.byKey[destLabel(route.Destination{Text: s.nexthop()})][0]
			switch how {
			case "closed":
				c.Close()
				waitReadable(t, session)
			case "421":
				c.Write([]byte("421 4.4.2 idle too long\r\n"))
				c.(*net.TCPConn).CloseWrite()
				waitReadable(t, session)
			case "dies at MAIL", "421 at MAIL":
				// The peer looks alive until it is spoken to.
				ours, theirs := net.Pipe()
				session.Conn.Close()
				f.cache.remove(session)
				pipe := openPipe(t, ours, theirs, session, how == "421 at MAIL")
				f.cache.put(pipe)
			}
			out := f.run(t, cachingRequest(s.nexthop()))
			if out.String() != "a@b.test sent 2.0.0 250 2.0.0 queued" || out.hop.Reason != "" {
				t.Errorf("%s, destination %q", out, out.hop.Reason)
			}
			if out.full[0].Stats.ReuseCount != 0 {
				t.Errorf("reuse count %d", out.full[0].Stats.ReuseCount)
			}
			if got := f.logged(); got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// openPipe is a session over a pipe whose server hangs up, or says 421, at the
// first command after the handshake.
func openPipe(t *testing.T, ours, theirs net.Conn, like *session, bye bool) *session {
	go func() {
		defer theirs.Close()
		buf := make([]byte, 4096)
		theirs.Write([]byte("220 x\r\n"))
		theirs.Read(buf)
		theirs.Write([]byte("250-x\r\n250 PIPELINING\r\n"))
		theirs.Read(buf)
		if bye {
			theirs.Write([]byte("421 4.4.2 idle too long\r\n"))
		}
	}()
	s := newSession(ours, like.Host, like.set, discarding{}, time.Now())
	if f := s.Greeting(nil); f != nil {
		t.Fatal(f)
	}
	if f := s.Hello(nil); f != nil {
		t.Fatal(f)
	}
	s.destLabel, s.endpLabel, s.uses = like.destLabel, like.endpLabel, 1
	return s
}

func waitReadable(t *testing.T, s *session) {
	for end := time.Now().Add(10 * time.Second); !s.Pending(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the connection is not readable")
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", map[string]string{"smtp_connection_cache_time_limit": "1s"}, nil)
	f.run(t, cachingRequest(s.nexthop()))
	s.waitFor(t, "QUIT")
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	if f.cache.count != 0 || len(f.cache.byKey) != 0 {
		t.Errorf("%d sessions, %d labels", f.cache.count, len(f.cache.byKey))
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Hour, time.Now)
	fits := 0
	for range 3 * maxIdlePerLabel {
		if c.put(&session{destLabel: "d", endpLabel: "e"}) {
			fits++
		}
	}
	if fits != maxIdlePerLabel {
		t.Errorf("%d sessions for one destination", fits)
	}
	for i := range 2 * maxIdle {
		c.put(&session{destLabel: fmt.Sprint("d", i), endpLabel: fmt.Sprint("e", i)})
	}
	if c.count != maxIdle {
		t.Errorf("%d sessions", c.count)
	}
	c.timer.Stop()
}
