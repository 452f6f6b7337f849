package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/test/ca"
	"sealpost/test/harness"
)

// The kill test of requests. SEALPOST_KILL_SEED takes another course than the usual
// one.
const (
	requestKills    = 100
	requestMessages = 2000
	requestClients  = 4
	requestSeed     = 8689
)

// TestNoRequestIsLostWhenDaemonsAreKilled: whatever is killed between the acceptance
// of a message and its delivery, each message that was accepted arrives, and none
// leaves without its sender's request for REQUIRETLS, or with a request that nobody
// made.
func TestNoRequestIsLostWhenDaemonsAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: takes half a minute; run without -short")
	}
	seed := uint64(requestSeed)
	if s := os.Getenv("SEALPOST_KILL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	mta, sink := killedRelay(ctx, t)
	load := &killLoad{mta: mta, messages: requestMessages, acked: make(map[string]bool)}
	var clients sync.WaitGroup
	for range requestClients {
		clients.Go(func() { load.tlsClient(ctx) })
	}
	clients.Go(func() { load.submitter(ctx) })
	k := &killer{t: t, mta: mta, load: load, want: requestKills, rand: rand.New(rand.NewPCG(seed, 0))}
	k.run(ctx)
	clients.Wait()
	k.ensureMaster(ctx)
	if err := drain(ctx, mta); err != nil {
		t.Fatal(err)
	}

	got := sink.numbers()
	lost := 0
	for id := range load.acked {
		if got[id] == 0 {
			lost++
		}
	}
	commands := sink.checkRequests(t, asksForTLS)
	t.Logf("%d messages accepted, %d arrived, %d MAIL commands; %d kills: %v", len(load.acked), len(got), commands, k.kills, k.victims)
	k.logGaps()
	if lost > 0 {
		t.Errorf("%d messages were accepted and are lost", lost)
	}
	if k.kills < requestKills {
		t.Errorf("%d kills, want %d", k.kills, requestKills)
	}
	if n := mta.Log.Count(`REQUIRETLS|requiretls[?:]|panic`); n > 0 {
		t.Errorf("%d log lines about requests that were not met", n)
	}
}

// killedRelay starts a system that takes messages over TLS and relays them to a sink,
// which turns some of them away at first.
func killedRelay(ctx context.Context, t *testing.T) (*harness.Instance, *tlsSink) {
	t.Helper()
	sink := startTLSSink(t)
	sink.fickle = true
	params := map[string]string{"smtpd_tls_security_level": "may", "queue_run_delay": "1s", "minimal_backoff_time": "1s",
		"maximal_backoff_time": "2s", "transport_retry_time": "1s", "smtp_destination_concurrency_failed_cohort_limit": "0"}
	for name, value := range sink.relay() {
		params[name] = value
	}
	mta := harness.Prepare(t, harness.Options{Name: "killedtls", Params: params})
	params["smtpd_tls_chain_files"] = ca.WriteChain(t, filepath.Join(mta.Dir, "chain.pem"), ca.New(t, "Test CA").Issue(t, ca.Leaf{CN: "mx", Names: []string{"mx.test"}}))
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return mta, sink
}

// tlsClient sends messages over TLS until enough were accepted, every other one with
// REQUIRETLS.
func (l *killLoad) tlsClient(ctx context.Context) {
	for ctx.Err() == nil && !l.done() {
		var conn *smtpConn
		if harness.Poll(ctx, func() (done bool, _ error) {
			var err error
			conn, err = dialTLS(l.mta.SMTP(), nil) // the listener goes for a moment with its master
			return err == nil || l.done(), nil
		}) != nil || conn == nil {
			return
		}
		for !l.done() {
			id := fmt.Sprintf("m%d", l.next.Add(1))
			from := id + "@a.test>"
			if asksForTLS(id) {
				from += " REQUIRETLS"
			}
			if !conn.transfer(from, "user@b.test", "X-Number: "+id+"\r\n\r\nbody of "+id) {
				break
			}
			l.accepted(id)
		}
		conn.Close()
	}
}

// submitter sends with sendmail(1), which hands a message to pickup, or leaves it in
// maildrop when there is none.
func (l *killLoad) submitter(ctx context.Context) {
	for ctx.Err() == nil && !l.done() {
		id := fmt.Sprintf("m%d", l.next.Add(1))
		args := []string{"-f", id + "@a.test", "user@b.test"}
		if asksForTLS(id) {
			args = append([]string{"-O", "requiretls=yes"}, args...)
		}
		if _, err := l.mta.Command(ctx, strings.NewReader("X-Number: "+id+"\n\nbody of "+id+"\n"), "sendmail", args...); err == nil {
			l.accepted(id)
		}
	}
}
