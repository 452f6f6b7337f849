package test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/test/harness"
)

// TestBadDestinationsDoNotSlowAGoodOne: mail for a server that accepts and says
// nothing, for one that says a byte and then nothing, and for one that is not
// there, all of it ahead in the queue, does not hold up mail for a good one.
func TestBadDestinationsDoNotSlowAGoodOne(t *testing.T) {
	const perDestination = 100
	hung := listen(t, func(c net.Conn) { c.Read(make([]byte, 1)) })
	slow := listen(t, func(c net.Conn) {
		// One byte of a greeting; the next is due in a minute, which never comes here.
		c.Write([]byte("2"))
		c.Read(make([]byte, 1))
	})
	var delivered atomic.Int64
	good := listen(t, func(c net.Conn) { sink(c, &delivered) })
	dead := listen(t, func(net.Conn) {})
	dead.Close()

	mta := harness.Start(t, harness.Options{Name: "isolated", Params: map[string]string{
		"transport_maps": fmt.Sprintf("inline:{ { hung.test = smtp:%s }, { slow.test = smtp:%s }, { dead.test = smtp:%s }, { good.test = smtp:%s } }",
			nexthop(hung), nexthop(slow), nexthop(dead), nexthop(good)),
		"relay_domains": "hung.test, slow.test, dead.test, good.test",
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := dialSMTP(mta.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, domain := range []string{"hung", "slow", "dead", "good"} {
		for n := range perDestination {
			if !conn.send("s@a.test", fmt.Sprintf("u%d@%s.test", n, domain), "Subject: x\r\n\r\nx") {
				t.Fatalf("message %d for %s was not accepted", n, domain)
			}
		}
	}
	err = harness.Poll(ctx, func() (bool, error) { return delivered.Load() == perDestination, nil })
	if err != nil {
		t.Fatalf("%d of %d messages reached the good destination: %v", delivered.Load(), perDestination, err)
	}
	// The others are still being tried, or wait: none was lost, none returned.
	if n := mta.Log.Count("status=bounced"); n > 0 {
		t.Errorf("%d messages were returned", n)
	}
	left := mta.Queue()
	if n := left["incoming"] + left["active"] + left["deferred"]; n != 3*perDestination {
		t.Errorf("%d messages are queued (%v), want %d", n, left, 3*perDestination)
	}
}

// TestManyRecipientsDoNotDelayAMessageToOne: a message to thousands, to a slow
// destination, lets a later message to one pass.
func TestManyRecipientsDoNotDelayAMessageToOne(t *testing.T) {
	const many = 2000
	var delivered atomic.Int64
	release := make(chan struct{})
	good := listen(t, func(c net.Conn) {
		<-release
		sink(c, &delivered)
	})
	t.Cleanup(func() {
		select {
		case <-release:
		default:
			close(release)
		}
	})
	var quick atomic.Int64
	other := listen(t, func(c net.Conn) { sink(c, &quick) })
	mta := harness.Start(t, harness.Options{Name: "fair", Params: map[string]string{
		"transport_maps":          fmt.Sprintf("inline:{ { many.test = smtp:%s }, { one.test = smtp:%s } }", nexthop(good), nexthop(other)),
		"relay_domains":           "many.test, one.test",
		"smtpd_recipient_limit":   "5000",
		"default_recipient_limit": "5000",
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := dialSMTP(mta.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.command("MAIL FROM:<s@a.test>\r\n")
	for n := range many {
		if code, text := conn.command(fmt.Sprintf("RCPT TO:<u%d@many.test>\r\n", n)); code != 250 {
			t.Fatalf("recipient %d: %d %s", n, code, text)
		}
	}
	conn.command("DATA\r\n")
	if code, text := conn.command("Subject: x\r\n\r\nx\r\n.\r\n"); code != 250 {
		t.Fatalf("%d %s", code, text)
	}
	if !conn.send("s@a.test", "u@one.test", "Subject: x\r\n\r\nx") {
		t.Fatal("the message to one recipient was not accepted")
	}
	if err := harness.Poll(ctx, func() (bool, error) { return quick.Load() == 1, nil }); err != nil {
		t.Fatalf("the message to one recipient waits for the one to %d: %v", many, err)
	}
	close(release)
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Fatal(err)
	}
}

// listen serves connections on a loopback port of its own until the test ends.
func listen(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 10_000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
			go func() {
				serve(c)
				c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		for {
			select {
			case c := <-conns:
				c.Close()
			default:
				return
			}
		}
	})
	return l
}

// nexthop is the address of a listener as a transport table has it.
func nexthop(l net.Listener) string {
	host, port, _ := net.SplitHostPort(l.Addr().String())
	return "[" + host + "]:" + port
}

// sink is the least of an SMTP server: it takes everything and counts messages.
func sink(c net.Conn, delivered *atomic.Int64) {
	r := bufio.NewReader(c)
	fmt.Fprint(c, "220 sink.test ESMTP\r\n")
	data := false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch {
		case data && line == ".\r\n":
			data = false
			delivered.Add(1)
			fmt.Fprint(c, "250 2.0.0 Ok\r\n")
		case data:
		case strings.HasPrefix(line, "EHLO"):
			fmt.Fprint(c, "250-sink.test\r\n250 PIPELINING\r\n")
		case strings.HasPrefix(line, "DATA"):
			data = true
			fmt.Fprint(c, "354 go on\r\n")
		case strings.HasPrefix(line, "QUIT"):
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 2.1.0 Ok\r\n")
		}
	}
}
