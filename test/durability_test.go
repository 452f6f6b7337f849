package test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sealpost/lib/queue"
	"sealpost/test/harness"
)

// durability are the sizes of the kill test; SEALPOST_KILL_SEED repeats a run.
const (
	killMessages = 5000
	killClients  = 8
	kills        = 300
	masterEvery  = 25 // every so many kills the victim is master
	// killedLimit is default_destination_concurrency_limit: what virtual(8) can
	// have in its hands at a time.
	killedLimit = 20
	// replaced is how long the place of a killed worker may be empty. Most of it is
	// the start of a process (20 ms on an idle machine) and the pause after a daemon
	// died young several times in a row (250 ms).
	replaced = time.Second
	// starving is how many threads for each processor want to run when the machine is
	// too busy with something else for a test of times; even then a daemon is replaced
	// within replacedStarving.
	starving         = 10
	replacedStarving = 5 * replaced
)

// TestNoMailIsLostWhenDaemonsAreKilled is the promise of the queue: whatever is
// killed, a message that was answered with 250 is delivered or still in the
// queue, and arrives twice at most when it was being delivered at that moment.
func TestNoMailIsLostWhenDaemonsAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: takes a minute; run without -short")
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEALPOST_KILL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	mta := harness.Start(t, harness.Options{Name: "killed", Domain: "b.test", Users: []string{"user"},
		Params: map[string]string{"queue_run_delay": "2s", "minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "transport_retry_time": "1s"}})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()

	load := &killLoad{mta: mta, messages: killMessages, acked: make(map[string]bool)}
	var clients sync.WaitGroup
	for range killClients {
		clients.Go(func() { load.client(ctx) })
	}
	k := &killer{t: t, mta: mta, load: load, want: kills, rand: rand.New(rand.NewPCG(seed, 0))}
	k.run(ctx)
	clients.Wait()

	k.ensureMaster(ctx)
	if err := drain(ctx, mta); err != nil {
		t.Fatal(err)
	}
	load.verify(t, k)
	k.logGaps()
	if before, _, found := strings.Cut(mta.Log.Text(), "throttling"); found {
		lines := regexp.MustCompile("(?m)^.*postfix/master.*$").FindAllString(before, -1)
		t.Errorf("a killed worker was taken for one that cannot start:\n%s", strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// drain flushes the queue until no complete message is left. A file that a
// killed daemon had not completed is no message and nobody was promised it.
func drain(ctx context.Context, mta *harness.Instance) error {
	return harness.Poll(ctx, func() (bool, error) {
		left := complete(mta.QueueDir, queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred)
		if left > 0 {
			_, _ = mta.Command(ctx, nil, "postqueue", "-f") // qmgr may be between two lives
		}
		return left == 0, nil
	})
}

// complete is the number of complete messages in queues.
func complete(dir string, queues ...string) int {
	n := 0
	for _, q := range queues {
		_ = filepath.WalkDir(filepath.Join(dir, q), func(_ string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			if st, err := e.Info(); err == nil && st.Mode().Perm()&queue.ModeReady == queue.ModeReady {
				n++
			}
			return nil
		})
	}
	return n
}

// killLoad is the clients and what they were promised.
type killLoad struct {
	mta      *harness.Instance
	messages int64 // enough
	next     atomic.Int64
	sent     atomic.Int64

	mu    sync.Mutex
	acked map[string]bool
}

func (l *killLoad) done() bool { return l.sent.Load() >= l.messages }

// client sends messages, each with a number of its own, until enough were
// accepted. A message whose session broke has no promise and is not repeated.
func (l *killLoad) client(ctx context.Context) {
	for ctx.Err() == nil && !l.done() {
		conn := l.dial(ctx)
		if conn == nil {
			return
		}
		for !l.done() {
			id := fmt.Sprintf("m%d", l.next.Add(1))
			if !conn.send("sender@a.test", "user@b.test", "X-Number: "+id+"\r\n\r\nbody of "+id) {
				break
			}
			l.accepted(id)
		}
		conn.Close()
	}
}

// accepted notes a promise.
func (l *killLoad) accepted(id string) {
	l.mu.Lock()
	l.acked[id] = true
	l.mu.Unlock()
	l.sent.Add(1)
}

// dial waits for a server: the listener goes for a moment with its master. It
// returns nil when ctx ends or enough was sent.
func (l *killLoad) dial(ctx context.Context) (conn *smtpConn) {
	_ = harness.Poll(ctx, func() (bool, error) {
		if l.done() {
			return true, nil
		}
		var err error
		conn, err = dialSMTP(l.mta.SMTP())
		return err == nil, nil
	})
	return conn
}

// verify compares the mailbox with the promises.
func (l *killLoad) verify(t *testing.T, k *killer) {
	t.Helper()
	got := numbers(t, l.mta, "user")
	lost, twice := 0, 0
	for id := range l.acked {
		if got[id] == 0 {
			lost++
		}
	}
	for _, n := range got {
		twice += n - 1
	}
	t.Logf("%d messages accepted, %d delivered, %d twice; %d kills (%v), at most %d in flight at them",
		len(l.acked), len(got), twice, k.kills, k.victims, k.inFlight)
	if lost > 0 {
		t.Errorf("%d messages were answered with 250 and are lost", lost)
	}
	if twice > k.inFlight {
		t.Errorf("%d duplicates, but only %d messages were being delivered when something was killed", twice, k.inFlight)
	}
}

// killer kills random daemons while the load runs.
type killer struct {
	t        *testing.T
	mta      *harness.Instance
	load     *killLoad
	want     int // kills
	rand     *rand.Rand
	kills    int
	inFlight int             // messages that may have been in the hands of an agent, added up over the kills
	gaps     []time.Duration // until a killed smtpd or qmgr was replaced
	victims  map[string]int
}

func (k *killer) run(ctx context.Context) {
	k.victims = make(map[string]int)
	for ctx.Err() == nil && (!k.load.done() || k.kills < k.want) {
		// Kills are spread over the messages, not over time.
		due := int64(k.kills) * k.load.messages / int64(k.want)
		if err := harness.Poll(ctx, func() (bool, error) {
			return k.load.sent.Load() >= due || k.load.done(), nil
		}); err != nil {
			return
		}
		if k.kills >= k.want {
			return
		}
		k.kill(ctx)
	}
}

// kill chooses a victim. Workers are chosen by program, so that those with few
// processes are hit as often as the others.
func (k *killer) kill(ctx context.Context) {
	master := k.ensureMaster(ctx)
	if k.kills%masterEvery == masterEvery-1 {
		k.shoot("master", master)
		k.master(ctx, master) // without it the load that the next kill waits for stands still
		return
	}
	workers := k.mta.Workers()
	var names []string
	for name := range workers {
		names = append(names, name)
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	name := names[k.rand.IntN(len(names))]
	pids := workers[name]
	victim := pids[k.rand.IntN(len(pids))]
	k.shoot(name, victim)
	k.awaitReplacement(ctx, name, victim)
}

// awaitReplacement measures how long a service that somebody waits for is
// without a process: smtpd until a new client is greeted, qmgr until it runs.
func (k *killer) awaitReplacement(ctx context.Context, name string, victim int) {
	start := time.Now()
	switch name {
	case "smtpd":
		conn, err := dialSMTP(k.mta.SMTP())
		if err != nil {
			k.t.Errorf("after smtpd was killed: %v", err)
			return
		}
		conn.Close()
	case "qmgr":
		if err := harness.Poll(ctx, func() (bool, error) {
			pids := k.mta.Workers()[name]
			return len(pids) == 1 && pids[0] != victim, nil
		}); err != nil {
			k.t.Errorf("after qmgr was killed: %v", err)
			return
		}
	default:
		return
	}
	gap := time.Since(start)
	k.gaps = append(k.gaps, gap)
	if busy := runnable() / float64(runtime.NumCPU()); gap > replacedStarving || gap > replaced && busy < starving {
		k.t.Errorf("%s was replaced after %v, want %v (threads that want to run: %.1f for each processor)", name, gap, replaced, busy)
	}
}

// runnable is how many threads of the machine want to run.
func runnable() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if words := strings.Fields(string(text)); err == nil && len(words) > 3 {
		running, _, _ := strings.Cut(words[3], "/")
		if n, err := strconv.ParseFloat(running, 64); err == nil {
			return n
		}
	}
	return 0
}

// logGaps tells how long the places of killed daemons were empty.
func (k *killer) logGaps() {
	if len(k.gaps) == 0 {
		return
	}
	slices.Sort(k.gaps)
	k.t.Logf("killed daemons were replaced after %v in the median, 19 of 20 within %v, all within %v",
		k.gaps[len(k.gaps)/2], k.gaps[len(k.gaps)*19/20], k.gaps[len(k.gaps)-1])
}

// shoot kills a process. Only who delivers, or knows what is being delivered,
// can cause a duplicate; a client does not repeat what got no answer.
func (k *killer) shoot(name string, pid int) {
	atRisk := 0
	if name == "virtual" || name == "qmgr" || name == "master" {
		atRisk = min(complete(k.mta.QueueDir, queue.Active), killedLimit)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
		k.kills++
		k.inFlight += atRisk
		k.victims[name]++
	}
}

// ensureMaster starts the system when it does not run.
func (k *killer) ensureMaster(ctx context.Context) int { return k.master(ctx, 0) }

// master waits for a master other than the one that was killed, and starts it.
func (k *killer) master(ctx context.Context, killed int) int {
	k.t.Helper()
	var pid int
	err := harness.Poll(ctx, func() (bool, error) {
		switch pid = k.mta.MasterPID(); pid {
		case 0:
		case killed:
			return false, nil // it has not noticed yet
		default:
			return true, nil
		}
		k.mta.Start(ctx) // fails while the lock of the dead one is not free yet
		return false, nil
	})
	if err != nil {
		k.t.Fatalf("master does not start: %v", err)
	}
	return pid
}

// smtpConn is a client that takes nothing for granted.
type smtpConn struct {
	net.Conn
	r *bufio.Reader
}

// dialSMTP connects and reads the greeting and the answer to EHLO.
func dialSMTP(addr string) (*smtpConn, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	s := &smtpConn{c, bufio.NewReader(c)}
	for _, cmd := range []string{"", "EHLO client.a.test\r\n"} {
		if code, text := s.command(cmd); code != 220 && code != 250 {
			c.Close()
			return nil, fmt.Errorf("%q answered with %d %s", cmd, code, text)
		}
	}
	return s, nil
}

// command sends text and reads one reply; code 0 means the connection broke.
func (s *smtpConn) command(text string) (code int, last string) {
	if text != "" {
		if _, err := s.Write([]byte(text)); err != nil {
			return 0, err.Error()
		}
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return 0, err.Error()
		}
		if len(line) < 4 || line[3] != '-' {
			code, _ = strconv.Atoi(line[:min(3, len(line))])
			return code, strings.TrimSpace(line)
		}
	}
}

// send reports whether the message was answered with 250.
func (s *smtpConn) send(from, to, content string) bool {
	return s.transfer(from+">", to, content)
}

// transfer is send with parameters of MAIL, after the ">" of the sender.
func (s *smtpConn) transfer(from, to, content string) bool {
	s.SetDeadline(time.Now().Add(time.Minute))
	for _, step := range []struct {
		text string
		want int
	}{
		{"MAIL FROM:<" + from + "\r\n", 250},
		{"RCPT TO:<" + to + ">\r\n", 250},
		{"DATA\r\n", 354},
		{content + "\r\n.\r\n", 250},
	} {
		if code, _ := s.command(step.text); code != step.want {
			return false
		}
	}
	return true
}
