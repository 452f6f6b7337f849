package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealpost/test/harness"
)

// queuedMessage is what postqueue -j says of a message.
type queuedMessage struct {
	Queue      string `json:"queue_name"`
	ID         string `json:"queue_id"`
	Sender     string `json:"sender"`
	RequireTLS bool   `json:"requiretls"`
	Forced     bool   `json:"forced_expire"`
	Recipients []struct {
		Reason string `json:"delay_reason"`
	} `json:"recipients"`
}

// bench is a system whose next hop is a sink, and the messages in its queue.
type bench struct {
	*harness.Instance
	t    *testing.T
	sink *tlsSink
	ids  map[string]string // queue id by number
}

// newBench starts a system in which every message waits.
func newBench(ctx context.Context, t *testing.T, params map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, sink: startTLSSink(t), ids: make(map[string]string)}
	b.sink.setShut(true)
	for name, value := range b.sink.relay() {
		params[name] = value
	}
	for _, name := range []string{"minimal_backoff_time", "maximal_backoff_time", "queue_run_delay", "transport_retry_time"} {
		params[name] = "1000s" // nothing happens by itself
	}
	b.Instance = harness.Prepare(t, harness.Options{Name: "bench", Domain: "a.test", Users: []string{"alice"}, Params: params})
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// submit leaves a message in the deferred queue. Those with an odd number ask for
// REQUIRETLS.
func (b *bench) submit(ctx context.Context, n int) {
	b.t.Helper()
	id := fmt.Sprintf("m%d", n)
	args := []string{"-f", "alice@a.test", "bob@b.test"}
	if asksForTLS(id) {
		args = append([]string{"-O", "requiretls=yes"}, args...)
	}
	mark := b.Log.Mark()
	if _, err := b.Command(ctx, strings.NewReader("Subject: "+id+"\nX-Number: "+id+"\n\nsecret of "+id+"\n"), "sendmail", args...); err != nil {
		b.t.Fatal(err)
	}
	m, err := b.Log.Wait(ctx, mark, `(?:smtp|error)\[\d+\]: (\w+): to=<bob@b\.test>.* status=deferred`)
	if err != nil {
		b.t.Fatal(err)
	}
	b.ids[id] = m[1]
}

// asksForTLS tells of a number whether the message was sent with REQUIRETLS.
func asksForTLS(id string) bool { return strings.ContainsAny(id[len(id)-1:], "13579") }

// listing is the queue by queue id.
func (b *bench) listing(ctx context.Context) map[string]queuedMessage {
	b.t.Helper()
	out, err := b.Command(ctx, nil, "postqueue", "-j")
	if err != nil {
		b.t.Fatal(err)
	}
	all := make(map[string]queuedMessage)
	for line := range strings.Lines(out) {
		var m queuedMessage
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			b.t.Fatalf("%q: %v", line, err)
		}
		all[m.ID] = m
	}
	return all
}

// in checks in which queue the message with a number is; "" is nowhere.
func (b *bench) in(ctx context.Context, number, queue string) {
	b.t.Helper()
	m := b.listing(ctx)[b.ids[number]]
	if m.Queue != queue || m.RequireTLS != (queue != "" && asksForTLS(number)) {
		b.t.Errorf("%s is in %q, REQUIRETLS %t, want it in %q", number, m.Queue, m.RequireTLS, queue)
	}
}

// super runs postsuper and checks what it says, %N standing for the queue id of mN.
func (b *bench) super(ctx context.Context, args, want string) {
	b.t.Helper()
	ids := regexp.MustCompile(`%\d+`)
	fill := func(text string) string {
		return ids.ReplaceAllStringFunc(text, func(n string) string { return b.ids["m"+n[1:]] })
	}
	out, err := b.Command(ctx, nil, "postsuper", strings.Fields(fill(args))...)
	said := strings.ReplaceAll(strings.TrimSpace(out), "\n", "|")
	if err != nil || said != fill(strings.ReplaceAll(want, "^", "postsuper: ")) {
		b.t.Errorf("postsuper %s: %v, said %q, want %q", args, err, said, want)
	}
}

// TestAdministratorWorksOnTheQueue: what postsuper does to messages of a running
// system, and that each keeps its sender's request for REQUIRETLS, whatever is done
// to it.
func TestAdministratorWorksOnTheQueue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	b := newBench(ctx, t, map[string]string{})
	for n := 1; n <= 12; n++ {
		b.submit(ctx, n)
	}
	before := b.ids["m3"]

	b.super(ctx, "-h %1 -h %2 -h %7", "^%1: placed on hold|^%2: placed on hold|^%7: placed on hold|^Placed on hold: 3 messages")
	b.in(ctx, "m1", "hold")
	b.super(ctx, "-H %1 -H %2", "^%1: released from hold|^%2: released from hold|^Released from hold: 2 messages")
	b.in(ctx, "m1", "deferred")
	b.super(ctx, "-d %5 -d %6", "^%5: removed|^%6: removed|^Deleted: 2 messages")
	b.in(ctx, "m5", "")
	if m := b.Log.Count(`postfix/postsuper\[\d+\]: ` + b.ids["m5"] + `: removed$`); m != 1 {
		t.Errorf("%d log lines about the message that was deleted", m)
	}

	// Requeued mail is new mail of its old sender, with the old request.
	for n := 3; n <= 4; n++ {
		mark, id := b.Log.Mark(), fmt.Sprintf("m%d", n)
		b.super(ctx, fmt.Sprintf("-r %%%d", n), fmt.Sprintf("^%%%d: requeued|^Requeued: 1 message", n))
		m, err := b.Log.Wait(ctx, mark, `pickup\[\d+\]: (\w+): uid=\d+ from=<alice@a\.test> orig_id=`+b.ids[id]+`$`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Log.Wait(ctx, mark, `(?:smtp|error)\[\d+\]: `+m[1]+`: to=<bob@b\.test>.* status=deferred`); err != nil {
			t.Fatal(err)
		}
		b.ids[id] = m[1]
		b.in(ctx, id, "deferred")
	}
	if b.ids["m3"] == before {
		t.Error("a requeued message has its old queue id")
	}

	// Expiry: of a deferred message, of one on hold, which waits for its release.
	b.super(ctx, "-e %8 -e %7 -e %9", "^%8: expired|^%7: expired|^%9: expired|^Force-expired: 3 messages")
	if m := b.listing(ctx)[b.ids["m9"]]; !m.Forced {
		t.Errorf("expired, and listed as %+v", m)
	}
	b.super(ctx, "-h %10 -h %11", "^%10: placed on hold|^%11: placed on hold|^Placed on hold: 2 messages")

	// All of it outlives the system.
	if err := b.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	b.super(ctx, "-h %12", "^%12: placed on hold|^Placed on hold: 1 message")
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for id, queue := range map[string]string{"m7": "hold", "m10": "hold", "m11": "hold", "m12": "hold"} {
		b.in(ctx, id, queue)
	}
	b.super(ctx, "-f %7 -H %11", "^%7: released from hold|^%11: released from hold|^Force-expired: 0 messages|^Released from hold: 2 messages")
	b.arrive(ctx, map[string]int{"m1": 1, "m2": 1, "m3": 1, "m4": 1, "m11": 1})
	b.returned(ctx, "m7", "m8", "m9")
	if err := harness.Poll(ctx, func() (bool, error) {
		q := b.Queue()
		return len(q) == 1 && q["hold"] == 2, nil
	}); err != nil {
		t.Errorf("left in the queue: %v: %v", b.Queue(), err)
	}
	b.super(ctx, "-d ALL hold", "^Deleted: 2 messages")
	b.super(ctx, "-d nosuch -h ALL", "^Deleted: 0 messages|^Placed on hold: 0 messages")
}

// arrive opens the sink, flushes the queue and waits for what comes.
func (b *bench) arrive(ctx context.Context, want map[string]int) {
	b.t.Helper()
	b.sink.setShut(false)
	if _, err := b.Command(ctx, nil, "postqueue", "-f"); err != nil {
		b.t.Fatal(err)
	}
	err := harness.Poll(ctx, func() (bool, error) { return len(b.sink.numbers()) >= len(want), nil })
	if got := b.sink.numbers(); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("the next hop got %v, want %v (%v)", got, want, err)
	}
	b.sink.checkRequests(b.t, asksForTLS)
}

// returned waits for the notifications about messages. The text of one that asked
// for REQUIRETLS is not in them.
func (b *bench) returned(ctx context.Context, numbers ...string) {
	b.t.Helper()
	mail, err := b.WaitMail(ctx, "alice", len(numbers))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, id := range numbers {
		found := false
		for _, m := range mail {
			if !strings.Contains(m, "\nX-Number: "+id+"\n") {
				continue
			}
			found = true
			if strings.Contains(m, "\nsecret of "+id+"\n") == asksForTLS(id) || !strings.Contains(m, "421 4.3.2 shut") {
				b.t.Errorf("the notification about %s is\n%s", id, m)
			}
		}
		if !found {
			b.t.Errorf("no notification about %s in %d messages", id, len(mail))
		}
	}
}

// TestQueueOfAnotherMachine: after the queue was copied no file has its inode number
// in its name. The start of the system gives it one, and the mail is delivered.
func TestQueueOfAnotherMachine(t *testing.T) {
	for _, long := range []string{"no", "yes"} {
		t.Run("enable_long_queue_ids="+long, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
			defer cancel()
			b := newBench(ctx, t, map[string]string{"enable_long_queue_ids": long})
			for n := 1; n <= 4; n++ {
				b.submit(ctx, n)
			}
			b.super(ctx, "-h %1 -e %4", "^%1: placed on hold|^%4: expired|^Force-expired: 1 message|^Placed on hold: 1 message")
			if err := b.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			copied := b.QueueDir + ".copy"
			// The copy is made first: no inode number is used again.
			if out, err := exec.CommandContext(ctx, "cp", "-a", b.QueueDir, copied).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := os.Rename(b.QueueDir, b.QueueDir+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(copied, b.QueueDir); err != nil {
				t.Fatal(err)
			}
			// And the hash directories are not those of this machine.
			for _, path := range glob(t, b.QueueDir, "deferred/?/*") {
				if err := os.Rename(path, filepath.Join(b.QueueDir, "deferred", filepath.Base(path))); err != nil {
					t.Fatal(err)
				}
			}
			mark := b.Log.Mark()
			out, err := b.Command(ctx, nil, "sealpost", "start")
			if err != nil {
				t.Fatal(err)
			}
			renamed := strings.Contains(out, "Renamed to match inode number: 4 messages") && strings.Contains(out, "warning: QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS")
			if renamed != (long == "no") {
				t.Errorf("sealpost start said %q", out)
			}
			if long == "no" {
				if _, err := b.Log.Wait(ctx, mark, `Renamed to match inode number: 4 messages$`); err != nil {
					t.Error(err)
				}
			}
			out, err = b.Command(ctx, nil, "postsuper", "-H", "ALL")
			if err != nil || !strings.Contains(out, "Released from hold: 1 message\n") {
				t.Errorf("%v: %s", err, out)
			}
			b.arrive(ctx, map[string]int{"m1": 1, "m2": 1, "m3": 1})
			b.returned(ctx, "m4")
			if err := b.WaitEmpty(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v, %v", pattern, paths, err)
	}
	return paths
}

// TestPostsuperIsForTheSuperUser: others may not even ask.
func TestPostsuperIsForTheSuperUser(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mta := harness.Prepare(t, harness.Options{Params: map[string]string{"queue_directory": "/usr"}})
	out, err := mta.Command(ctx, nil, "postsuper", "-d", "ALL")
	if want := "postsuper: fatal: use of this command is reserved for the superuser\n"; err == nil || out != want {
		t.Errorf("%v: said %q, want %q", err, out, want)
	}
}

// TestPostsuperBesideARunningSystem: messages are taken from under the daemons' hands
// again and again while they pass through; each arrives. One that is being received
// is left alone.
func TestPostsuperBesideARunningSystem(t *testing.T) {
	const messages = 150
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mta := harness.Start(t, harness.Options{Name: "busy", Domain: "b.test", Users: []string{"user"}})
	slow, err := dialSMTP(mta.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	for _, cmd := range []string{"MAIL FROM:<sender@a.test>\r\n", "RCPT TO:<user@b.test>\r\n", "DATA\r\n"} {
		slow.command(cmd)
	}
	fmt.Fprint(slow, "X-Number: m0\r\n\r\n"+strings.Repeat("x\r\n", 100_000))
	sent := make(chan error, 1)
	go func() {
		for n := 1; n <= messages; n++ {
			if err := mta.Send(ctx, "sender@a.test", []string{"user@b.test"}, fmt.Sprintf("X-Number: m%d\n\nx\n", n)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	super := func(args ...string) {
		t.Helper()
		if out, err := mta.Command(ctx, nil, "postsuper", args...); err != nil || strings.Contains(out, "warning") {
			t.Errorf("postsuper %v: %v: %s", args, err, out)
		}
	}
	for busy := true; busy; {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatal(err)
			}
			busy = false
		default:
		}
		super("-r", "ALL", "-h", "ALL")
		super("-H", "ALL", "-s", "-p")
		super("-h", "ALL", "-r", "ALL")
	}
	if code, text := slow.command("\r\n.\r\n"); code != 250 {
		t.Errorf("the message that was being received: %d %s", code, text)
	}
	super("-H", "ALL")
	if err := drain(ctx, mta); err != nil {
		t.Fatal(err)
	}
	got := numbers(t, mta, "user")
	for n := 0; n <= messages; n++ {
		if got[fmt.Sprintf("m%d", n)] == 0 {
			t.Errorf("m%d is lost", n)
		}
	}
	twice := 0
	for _, n := range got {
		twice += n - 1
	}
	t.Logf("%d of %d messages arrived, %d more than once; requeued %d times", len(got), messages+1, twice, mta.Log.Count(`pickup\[\d+\]: \w+: uid=\d+ from=.* orig_id=`))
}
