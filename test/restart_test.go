package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sealpost/lib/queue"
	"sealpost/lib/queue/repair"
	"sealpost/lib/record"
	"sealpost/test/harness"
)

// number finds the header line that tells the messages of a test apart.
var number = regexp.MustCompile(`(?m)^X-Number: (m\d+)$`)

// numbered is a queue file with a message for user@b.test, in the form that the
// queue asks for.
func numbered(queueName, id string) []byte {
	content := record.Append(nil, record.Norm, "X-Number: "+id)
	content = record.Append(content, record.Norm, "")
	content = record.Append(content, record.Norm, "body of "+id)
	env := record.Append(nil, record.Time, fmt.Sprintf("%d 0", time.Now().Unix()))
	env = record.Append(env, record.From, "sender@a.test")
	env = record.Append(env, record.Rcpt, "user@b.test")
	env = record.Append(env, record.Message, "")
	var b []byte
	if queueName != queue.Maildrop { // submissions have no size record
		b = queue.AppendSize(nil, queue.SizeRecord{
			ContentSize: int64(len(content)), DataOffset: int64(queue.SizeLen + len(env)), Rcpts: 1})
	}
	b = append(append(b, env...), content...)
	b = record.Append(b, record.Extracted, "")
	return record.Append(b, record.End, "")
}

// store puts a file into a queue as a daemon would.
func store(ctx context.Context, q *queue.Queue, name string, data []byte) (id string, err error) {
	f, err := q.Create(name)
	if err != nil {
		return "", err
	}
	mode := queue.ModeReady
	if name == queue.Maildrop {
		mode = queue.ModeMaildrop
	}
	if _, err := f.Write(data); err != nil {
		return "", err
	}
	return f.ID(), f.CommitMode(ctx, mode)
}

// queueOf is the queue of an instance with default settings.
func queueOf(i *harness.Instance) *queue.Queue {
	return queue.New(i.QueueDir, queue.Settings{HashNames: []string{queue.Deferred, queue.Defer}, HashDepth: 1})
}

// numbers counts the messages in a mailbox by their numbers.
func numbers(t *testing.T, i *harness.Instance, user string) map[string]int {
	t.Helper()
	mail, err := i.Mail(user)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, m := range mail {
		n := number.FindStringSubmatch(m)
		if n == nil {
			t.Errorf("a message without its number: %.200q", m)
			continue
		}
		got[n[1]]++
	}
	return got
}

const (
	manyQueued = 10000
	// upWithin is how soon after "sealpost start" a system with that many queued
	// messages must take and deliver a new one.
	upWithin = 2 * time.Second
	// pushIn is how many of the queued messages may be delivered before a new one
	// that comes then: those that were under way already, and some more.
	pushIn = manyQueued / 4
)

// TestStartWithManyQueuedMessages: with 10,000 messages in the queue directories
// the system is up, has begun to deliver them and delivers a new message within
// two seconds, before most of the others; in the end each was delivered once.
func TestStartWithManyQueuedMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: takes a minute; run without -short")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	mta := harness.Start(t, harness.Options{Name: "many", Params: map[string]string{
		"virtual_mailbox_domains": "b.test, c.test",
		"virtual_mailbox_maps":    "inline:{ { user@b.test = user/ }, { fresh@c.test = fresh/ } }",
		"queue_run_delay":         "5s",
	}})
	q := queueOf(mta)
	next := 0
	var times []time.Duration
	for round := range 3 {
		if err := mta.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		left := complete(mta.QueueDir, queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred)
		fill(ctx, t, q, next, manyQueued-left)
		next += manyQueued - left

		mark := mta.Log.Mark()
		begin := time.Now()
		if err := mta.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := mta.Send(ctx, "sender@a.test", []string{"fresh@c.test"}, fmt.Sprintf("X-Number: m%d\n\nnew\n", round)); err != nil {
			t.Fatal(err)
		}
		taken := time.Since(begin)
		if _, err := mta.WaitMail(ctx, "fresh", round+1); err != nil {
			t.Fatal(err)
		}
		d := time.Since(begin)
		times = append(times, d)
		if _, err := mta.Log.Wait(ctx, mark, `to=<user@b.test>.*status=sent`); err != nil {
			t.Errorf("nothing of the queue was delivered meanwhile: %v", err)
		}
		before := beforeNew(mta.Log.Text()[mark:])
		if before > pushIn {
			t.Errorf("%d queued messages were delivered before the new one", before)
		}
		t.Logf("%d messages left from before; a new message was taken after %v, and delivered after %v and %d others", left, taken, d, before)
	}
	slices.Sort(times)
	if median := times[1]; median > upWithin {
		t.Errorf("a new message was delivered after %v in the median of %v", median, times)
	}
	if err := drain(ctx, mta); err != nil {
		t.Fatal(err)
	}
	got := numbers(t, mta, "user")
	if len(got) != next {
		t.Errorf("%d of %d messages were delivered", len(got), next)
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("message %s was delivered %d times", id, n)
		}
	}
	if n := mta.Log.Count(`(fatal|panic): |throttling`); n > 0 {
		t.Errorf("%d complaints in the log", n)
	}
}

// beforeNew is how many of the queued messages the log has as delivered before the new
// one.
func beforeNew(log string) int {
	n := 0
	for line := range strings.Lines(log) {
		switch {
		case strings.Contains(line, "to=<fresh@c.test>"):
			return n
		case strings.Contains(line, "to=<user@b.test>"):
			n++
		}
	}
	return n
}

// fill makes n messages with numbers from first on: in a hundred 70 deferred (35
// of them not due), 15 in the incoming queue, 10 in the active one and 5 submitted.
func fill(ctx context.Context, t *testing.T, q *queue.Queue, first, n int) {
	t.Helper()
	work := make(chan int)
	var wg sync.WaitGroup
	for range 64 { // they share the fsyncs of the directories
		wg.Go(func() {
			for i := range work {
				name := queue.Deferred
				switch k := i % 100; {
				case k < 15:
					name = queue.Incoming
				case k < 25:
					name = queue.Active
				case k < 30:
					name = queue.Maildrop
				}
				id, err := store(ctx, q, name, numbered(name, fmt.Sprintf("m%d", first+i)))
				if err == nil && i%2 == 0 && name == queue.Deferred {
					later := time.Now().Add(time.Hour)
					err = os.Chtimes(q.Path(name, id), later, later)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case work <- i:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	close(work)
	wg.Wait()
}

// TestStartWithAnythingInTheQueue: whatever is in the queue directories, nothing
// crashes, damaged messages are saved in the corrupt queue, files that are no
// messages stay where they are, what is not even a file and empty directories go, and
// every sound message is delivered.
func TestStartWithAnythingInTheQueue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mta := harness.Start(t, harness.Options{Name: "odd", Domain: "b.test", Users: []string{"user"}})
	if err := mta.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	g := &garbage{t: t, ctx: ctx, dir: mta.QueueDir, q: queueOf(mta)}
	for _, name := range []string{queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred} {
		g.message(name)
		g.damaged(name)
		g.odd(name)
		g.message(name)
	}
	for _, name := range []string{queue.Hold, queue.Corrupt, queue.Bounce, queue.Defer, queue.Trace, "flush", "saved", "pid", "private", "public"} {
		g.odd(name)
	}
	g.logs()

	mark := mta.Log.Mark()
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := mta.Send(ctx, "sender@a.test", []string{"user@b.test"}, "X-Number: m0\n\nnew\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := mta.WaitMail(ctx, "user", g.sound+1); err != nil {
		t.Errorf("%v; got %v", err, numbers(t, mta, "user"))
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		return len(g.saved()) == len(g.broken), nil
	}); err != nil {
		t.Errorf("corrupt: %v, want %v", g.saved(), g.broken)
	}
	for id, n := range numbers(t, mta, "user") {
		if n != 1 {
			t.Errorf("message %s was delivered %d times", id, n)
		}
	}
	for _, path := range g.stays {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("a file that is no message is gone: %v", err)
		}
	}
	for _, path := range g.goes {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if out, err := mta.Command(ctx, nil, "postqueue", "-p"); err != nil {
		t.Errorf("postqueue -p: %v\n%s", err, out)
	}
	if lines := regexp.MustCompile(`(?m)^.*((fatal|panic): |throttling|killed by signal).*$`).FindAllString(mta.Log.Text()[mark:], -1); lines != nil {
		t.Errorf("complaints:\n%s", strings.Join(lines, "\n"))
	}
}

// garbage puts things into queue directories and remembers what must become of
// them.
type garbage struct {
	t      *testing.T
	ctx    context.Context
	dir    string
	q      *queue.Queue
	sound  int
	broken []string // ids that must get into the corrupt queue
	stays  []string // paths that nobody may touch
	goes   []string // paths that the start of the system removes
	serial int
}

func (g *garbage) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// message is one that must be delivered.
func (g *garbage) message(name string) {
	g.t.Helper()
	g.sound++
	_, err := store(g.ctx, g.q, name, numbered(name, fmt.Sprintf("m%d", g.sound)))
	g.must(err)
}

// damaged are files that say that they are complete, and are not. In maildrop,
// where users put them, they are removed; elsewhere somebody's mail may be in them.
func (g *garbage) damaged(name string) {
	g.t.Helper()
	whole := numbered(name, "m999")
	for _, data := range [][]byte{nil, whole[:1], whole[:len(whole)/2], whole[:len(whole)-2],
		[]byte("garbage\n"), make([]byte, 5000), []byte(strings.Repeat("\xff", 5000))} {
		id, err := store(g.ctx, g.q, name, data)
		g.must(err)
		if name != queue.Maildrop {
			g.broken = append(g.broken, id)
		}
	}
}

// odd are entries that are no messages.
func (g *garbage) odd(name string) {
	g.t.Helper()
	g.serial++
	path := func(base string) string {
		full := filepath.Join(g.dir, name, base)
		g.stays = append(g.stays, full)
		return full
	}
	// What looks like a message is where a message of that name would be.
	id := func(n int) string {
		full := g.q.Path(name, fmt.Sprintf("%05XA%05X", 0x10000+n, 0xfff00+g.serial))
		g.must(os.MkdirAll(filepath.Dir(full), 0o700))
		g.stays = append(g.stays, full)
		return full
	}
	whole := numbered(name, "m998")
	g.must(os.MkdirAll(filepath.Join(g.dir, name), 0o700))
	g.must(os.WriteFile(id(1), whole, 0o600)) // never completed
	special := len(g.stays)
	g.must(os.Mkdir(id(2), 0o700))
	g.must(os.Symlink("/etc/passwd", id(3)))
	g.must(os.Symlink("nowhere", id(4)))
	g.must(syscall.Mkfifo(id(5), 0o700))
	repaired := slices.Contains(repair.Queues(), name)
	if repaired {
		g.stays, g.goes = g.stays[:special], append(g.goes, g.stays[special:]...)
	}
	g.must(os.WriteFile(id(6), whole, 0o700))
	g.must(os.Link(g.stays[len(g.stays)-1], id(7)))
	g.must(os.WriteFile(path("core.4711"), whole, 0o700))
	g.must(os.WriteFile(path("123456.789"), whole, 0o600))
	g.must(os.WriteFile(path("with blank \xff\n"), nil, 0o700))
	g.must(os.WriteFile(path(strings.Repeat("x.", 127)), whole, 0o600))
	g.must(os.MkdirAll(path("lost+found/x"), 0o700))
	g.must(os.Mkdir(path("Z"), 0)) // cannot be read
	if repaired && g.q.HashDepth(name) == 0 {
		g.goes = append(g.goes, g.stays[len(g.stays)-1])
		g.stays = g.stays[:len(g.stays)-1]
	}
	g.t.Cleanup(func() { os.Chmod(filepath.Join(g.dir, name, "Z"), 0o700) })
}

// logs puts odd things where the status of sound messages is kept.
func (g *garbage) logs() {
	g.t.Helper()
	for i, service := range []string{queue.Bounce, queue.Defer, queue.Trace} {
		g.sound++
		id, err := store(g.ctx, g.q, queue.Incoming, numbered(queue.Incoming, fmt.Sprintf("m%d", g.sound)))
		g.must(err)
		path := g.q.Path(service, id)
		g.must(os.MkdirAll(filepath.Dir(path), 0o700))
		if i == 1 {
			g.must(os.Mkdir(path, 0o700))
		} else {
			g.must(os.WriteFile(path, nil, 0o600)) // left by a crash
		}
	}
}

// saved are the files in the corrupt queue that were put there by qmgr.
func (g *garbage) saved() []string {
	var ids []string
	for _, id := range g.broken {
		if st, err := os.Lstat(g.q.Path(queue.Corrupt, id)); err == nil && st.Mode().Perm() == queue.ModeCorrupt {
			ids = append(ids, id)
		}
	}
	return ids
}
