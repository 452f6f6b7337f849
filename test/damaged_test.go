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
	broken := map[string]bool{b.ids["m2"]: true, b.ids["m3"]: true}
	for _, id := range []string{"m2", "m3"} {
		path := queueOf(b.Instance).Path(queue.Deferred, b.ids[id])
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// In place, as a disk does it.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(damage(t, data, "secret of "+id)); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	mark := b.Log.Mark()
	b.arrive(ctx, map[string]int{"m1": 1, "m4": 1, "m5": 1})

	// The same on the way to a mailbox.
	q := queueOf(b.Instance)
	for n := 6; n <= 7; n++ {
		data := bytes.ReplaceAll(numbered(queue.Incoming, fmt.Sprintf("m%d", n)), []byte("user@b.test"), []byte("user@a.test"))
		if n == 6 {
			data = damage(t, data, fmt.Sprintf("body of m%d", n))
		}
		id, err := store(ctx, q, queue.Incoming, data)
		if err != nil {
			t.Fatal(err)
		}
		broken[id] = n == 6
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
	for id, bad := range broken {
		if !bad {
			continue
		}
		if _, err := b.Log.Wait(ctx, mark, `(smtp|virtual)\[\d+\]: warning: `+id+`: corrupted queue file: active/`+id); err != nil {
			t.Error(err)
		}
		if _, err := b.Log.Wait(ctx, mark, `qmgr\[\d+\]: warning: saving corrupt file "`+id+`" from queue "active" to queue "corrupt"`); err != nil {
			t.Error(err)
		}
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		n := b.Queue()
		return len(n) == 1 && n["corrupt"] == 3, nil
	}); err != nil {
		t.Errorf("in the queue: %v", b.Queue())
	}
	for id, bad := range broken {
		if st, err := os.Stat(q.Path(queue.Corrupt, id)); bad && (err != nil || st.Mode().Perm() != queue.ModeCorrupt) {
			t.Errorf("%s: %v, %v", id, st, err)
		}
	}
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
