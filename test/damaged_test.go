package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"

	"sealpost/lib/queue"
	"sealpost/test/harness"
)

// damage makes a record of a message's content one that cannot be there: what is
// before it can be read, the envelope is sound.
func damage(t *testing.T, data []byte, line string) []byte {
	t.Helper()
	at := bytes.Index(data, []byte(line))
	if at < 2 || data[at-2] != 'N' {
		t.Fatalf("no record %q in %q", line, data)
	}
	data = bytes.Clone(data)
	data[at-2] = 'Q'
	return data
}

// damageQueued damages the content of a deferred message in place, as a disk does it.
func (b *bench) damageQueued(number string) (id string) {
	b.t.Helper()
	id = b.ids[number]
	path := queueOf(b.Instance).Path(queue.Deferred, id)
	data, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(damage(b.t, data, "secret of "+number)); err != nil {
		b.t.Fatal(err)
	}
	return id
}

// wantSaved waits until messages are in the corrupt queue and nothing else is queued,
// and looks for what the log says about them.
func (b *bench) wantSaved(ctx context.Context, mark int, ids ...string) {
	b.t.Helper()
	for _, id := range ids {
		for _, line := range []string{
			`(smtp|virtual)\[\d+\]: warning: ` + id + `: corrupted queue file: active/` + id,
			`qmgr\[\d+\]: warning: saving corrupt file "` + id + `" from queue "active" to queue "corrupt"`,
		} {
			if _, err := b.Log.Wait(ctx, mark, line); err != nil {
				b.t.Error(err)
			}
		}
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		n := b.Queue()
		return len(n) == 1 && n["corrupt"] == len(ids), nil
	}); err != nil {
		b.t.Errorf("in the queue: %v", b.Queue())
	}
	for _, id := range ids {
		if st, err := os.Stat(queueOf(b.Instance).Path(queue.Corrupt, id)); err != nil || st.Mode().Perm() != queue.ModeCorrupt {
			b.t.Errorf("%s: %v, %v", id, st, err)
		}
	}
}

// TestDamagedMessageIsSaved: a queue file whose content goes bad is found when it is
// delivered, over the network or into a mailbox. It is not delivered in part, not
// tried for ever and not lost: it is in the corrupt queue, the log says so, and other
// mail goes on.
func TestDamagedMessageIsSaved(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	b := newBench(ctx, t, map[string]string{"virtual_mailbox_maps": "inline:{ { alice@a.test = alice/ }, { user@a.test = user/ } }"})
	for n := 1; n <= 5; n++ {
		b.submit(ctx, n)
	}
	broken := []string{b.damageQueued("m2"), b.damageQueued("m3")}
	mark := b.Log.Mark()
	b.arrive(ctx, map[string]int{"m1": 1, "m4": 1, "m5": 1})

	// The same on the way to a mailbox.
	for n := 6; n <= 7; n++ {
		data := bytes.ReplaceAll(numbered(queue.Incoming, fmt.Sprintf("m%d", n)), []byte("user@b.test"), []byte("user@a.test"))
		if n == 6 {
			data = damage(t, data, "body of m6")
		}
		id, err := store(ctx, queueOf(b.Instance), queue.Incoming, data)
		if err != nil {
			t.Fatal(err)
		}
		if n == 6 {
			broken = append(broken, id)
		}
	}
	if _, err := b.Command(ctx, nil, "postqueue", "-f"); err != nil {
		t.Fatal(err)
	}
	mail, err := b.WaitMail(ctx, "user", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, b.Instance, "user"); len(mail) != 1 || got["m7"] != 1 {
		t.Errorf("the mailbox has %v", got)
	}
	b.wantSaved(ctx, mark, broken...)
	if n := b.Log.Count(`transport error|throttl`); n > 0 {
		t.Errorf("%d lines about agents that are blamed for it", n)
	}
}

// TestMarkedMessageIsFound: the mark of a delivery agent is not lost when qmgr dies
// before it acts on it, whatever queue the message is in then.
func TestMarkedMessageIsFound(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	mta := harness.Prepare(t, harness.Options{Name: "marked"})
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := mta.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	q := queueOf(mta)
	for _, name := range []string{queue.Incoming, queue.Active, queue.Deferred} {
		id, err := store(ctx, q, name, numbered(name, "m1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(q.Path(name, id), queue.ModeCorrupt); err != nil {
			t.Fatal(err)
		}
	}
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		n := mta.Queue()
		return len(n) == 1 && n["corrupt"] == 3, nil
	}); err != nil {
		t.Errorf("in the queue: %v", mta.Queue())
	}
}
