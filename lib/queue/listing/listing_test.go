package listing

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/test/capture"
)

func newLister(tb testing.TB) (*Lister, string) {
	tb.Helper()
	dir := tb.TempDir()
	for _, name := range append(Queues(), queue.Bounce, queue.Defer) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	return &Lister{Queue: queue.New(dir, queue.Settings{}), Settings: Settings{DuplicateLimit: 10, EmptyRecipient: "MAILER-DAEMON"}}, dir
}

func TestQueuesComeInOrder(t *testing.T) {
	l, dir := newLister(t)
	f := capture.QueueFile(t, "plain")
	want := Queues()
	for i := range want { // made in the reverse order
		name := want[len(want)-1-i]
		if err := os.WriteFile(filepath.Join(dir, name, f.ID), f.Data, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := l.List(t.Context(), func(e *mailproto.ShowqEntry) error {
		got = append(got, e.QueueName)
		// In maildrop the size is the file's: the record there is not to be trusted.
		size := int64(340)
		if e.QueueName == queue.Maildrop {
			size = int64(len(f.Data))
		}
		if e.Size != size {
			t.Errorf("%s: size %d", e.QueueName, e.Size)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestListStops(t *testing.T) {
	l, dir := newLister(t)
	for _, name := range []string{"A1", "A2", "A3"} {
		if err := os.WriteFile(filepath.Join(dir, queue.Hold, name), capture.QueueFile(t, "plain").Data, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	stop, n := errors.New("stop"), 0
	if err := l.List(t.Context(), func(*mailproto.ShowqEntry) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.List(ctx, func(*mailproto.ShowqEntry) error { t.Error("listed"); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestMissingQueueDirectory(t *testing.T) {
	l, dir := newLister(t)
	if err := os.Remove(filepath.Join(dir, queue.Active)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, queue.Hold, "A1"), capture.QueueFile(t, "plain").Data, 0o700); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := l.List(t.Context(), func(*mailproto.ShowqEntry) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestASizeThatLeadsInCircles(t *testing.T) {
	l, dir := newLister(t)
	b := queue.AppendSize(nil, queue.SizeRecord{ContentSize: 1, DataOffset: queue.SizeLen - 1})
	b = record.Append(b, record.From, "a@b")
	b = record.Append(b, record.Message, "") // leads back to the sender
	if err := os.WriteFile(filepath.Join(dir, queue.Hold, "A1"), b, 0o700); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := l.List(t.Context(), func(*mailproto.ShowqEntry) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
}

// FuzzEntry lists a file of any content, as a user may put it into maildrop: it
// ends, and shows only text that is fit for a terminal.
func FuzzEntry(f *testing.F) {
	for _, file := range capture.QueueFiles(f, "*") {
		f.Add(file.Data)
	}
	l, dir := newLister(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, name := range []string{queue.Maildrop, queue.Hold} {
			if err := os.WriteFile(filepath.Join(dir, name, "A1"), in, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := l.List(t.Context(), func(e *mailproto.ShowqEntry) error {
			texts := []string{e.Sender}
			for _, r := range e.Recipients {
				texts = append(texts, r.Addr, r.OrigAddr)
			}
			for _, s := range texts {
				for _, c := range s {
					if c < ' ' || c == 0x7f {
						t.Errorf("control character in %q", s)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
