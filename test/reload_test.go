package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/test/harness"
)

const reloads = 50

// TestReloadsDisturbNobody: during load, the configuration is reloaded again and
// again. No connection is refused, reset or closed without 421.
func TestReloadsDisturbNobody(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "reloaded", Domain: "b.test", Users: []string{"user"}})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var stop atomic.Bool
	var sessions, messages, goodbyes atomic.Int64
	var clients sync.WaitGroup
	for c := range 6 {
		clients.Go(func() {
			for n := 0; !stop.Load() && ctx.Err() == nil; n++ {
				sessions.Add(1)
				// Half of the clients keep their sessions, half open one per message.
				limit := 1
				if c%2 == 0 {
					limit = 20
				}
				sent, bye, err := session(mta.SMTP(), limit)
				messages.Add(int64(sent))
				if bye {
					goodbyes.Add(1)
				}
				if err != nil {
					t.Errorf("client %d, session %d: %v", c, n, err)
					return
				}
			}
		})
	}
	for n := range reloads {
		if err := mta.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		// The next reload comes when the clients got something done.
		seen := messages.Load()
		if err := harness.Poll(ctx, func() (bool, error) { return messages.Load() >= seen+20, nil }); err != nil {
			t.Fatalf("after reload %d: %v", n+1, err)
		}
	}
	stop.Store(true)
	clients.Wait()
	if err := drain(ctx, mta); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sessions, %d messages, %d sessions ended with 421", sessions.Load(), messages.Load(), goodbyes.Load())
	if got := len(mta.MailFiles("user")); int64(got) != messages.Load() {
		t.Errorf("%d messages were accepted, %d delivered", messages.Load(), got)
	}
	if n := mta.Log.Count("reload -- version"); n != reloads {
		t.Errorf("%d reloads in the log", n)
	}
}

// session sends up to limit messages. bye says that the server ended the session
// with 421, as it may between two messages.
func session(addr string, limit int) (sent int, bye bool, err error) {
	conn, err := dialSMTP(addr)
	if err != nil {
		if strings.Contains(err.Error(), "421") {
			return 0, true, nil
		}
		return 0, false, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	for range limit {
		for i, cmd := range []string{"MAIL FROM:<s@a.test>\r\n", "RCPT TO:<user@b.test>\r\n", "DATA\r\n", "Subject: x\r\n\r\nx\r\n.\r\n"} {
			code, text := conn.command(cmd)
			if code == 421 && i == 0 {
				return sent, true, nil
			}
			if want := map[int]int{2: 354}[i]; code != 250 && code != want {
				return sent, false, fmt.Errorf("%q answered with %d %s", cmd, code, text)
			}
		}
		sent++
	}
	if code, text := conn.command("QUIT\r\n"); code != 221 && code != 421 {
		return sent, false, fmt.Errorf("QUIT answered with %d %s", code, text)
	}
	return sent, false, nil
}

// TestConnectionsCountAcrossAReload: a client's connections to the SMTP server that
// leaves count for the one that takes over, until they end.
func TestConnectionsCountAcrossAReload(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "counted", Domain: "b.test", Users: []string{"user"}, Params: map[string]string{
		"smtpd_client_connection_count_limit": "2", "smtpd_client_event_limit_exceptions": ""}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	var old []*smtpConn
	for range 2 {
		conn, err := dialSMTP(mta.SMTP())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if code, text := conn.command("MAIL FROM:<s@a.test>\r\n"); code != 250 { // it stays until its end
			t.Fatalf("%d %s", code, text)
		}
		old = append(old, conn)
	}
	before := mta.Workers()["smtpd"]
	if err := mta.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	var refused error
	if err := harness.Poll(ctx, func() (bool, error) {
		conn, err := dialSMTP(mta.SMTP())
		if err == nil {
			conn.Close()
		}
		refused = err
		return len(mta.Workers()["smtpd"]) > len(before), nil // the successor serves
	}); err != nil {
		t.Fatal(err)
	}
	mark := mta.Log.Mark()
	if _, refused = dialSMTP(mta.SMTP()); refused == nil || !strings.Contains(refused.Error(), "421 4.7.0 counted.test Error: too many connections from ") {
		t.Errorf("third connection: %v", refused)
	}
	if _, err := mta.Log.Wait(ctx, mark, `Connection concurrency limit exceeded: 3 from localhost\[127\.0\.0\.1\] for service `); err != nil {
		t.Error(err)
	}
	if code, text := old[0].command("QUIT\r\n"); code != 221 {
		t.Errorf("%d %s", code, text)
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		conn, err := dialSMTP(mta.SMTP())
		if err == nil {
			conn.Close()
		}
		return err == nil, nil
	}); err != nil {
		t.Errorf("after one of them ended: %v", err)
	}
	if code, text := old[1].command("RCPT TO:<user@b.test>\r\n"); code != 250 {
		t.Errorf("the other goes on with %d %s", code, text)
	}
}
