package mailclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/test/capture"
)

// server answers connections on a socket, one after the other.
func server(t *testing.T, serve func(c net.Conn)) (path string) {
	t.Helper()
	t.Chdir(t.TempDir()) // as in the queue directory: short relative paths
	l, err := net.Listen("unix", "service")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "service"
}

func greet(c net.Conn, g mailproto.Greeting) {
	var e attr.Encoder
	g.Append(&e)
	c.Write(e.Bytes())
}

func reply(c net.Conn, r interface{ Append(*attr.Encoder) }) {
	var e attr.Encoder
	r.Append(&e)
	c.Write(e.Bytes())
}

// TestRecordedRequests replays the service's side of recorded connections and
// compares what we send with what Postfix sent.
func TestRecordedRequests(t *testing.T) {
	for _, conn := range capture.Conns(t, "bounce-from-*", "defer-from-*", "trace-from-*") {
		want := conn.Client
		req := decodeBounce(t, want)
		greeting := bytes.Index(conn.Server, []byte("\x00\x00")) + 2
		got := make(chan []byte, 1)
		path := server(t, func(c net.Conn) {
			c.Write(conn.Server[:greeting])
			b := make([]byte, len(want))
			io.ReadFull(c, b)
			got <- b
			c.Write(conn.Server[greeting:])
		})
		if err := Bounce(t.Context(), path, req); err != nil {
			t.Errorf("%s: %v", conn.Name(), err)
		}
		if b := <-got; !bytes.Equal(b, want) {
			t.Errorf("%s: sent %q, recorded %q", conn.Name(), b, want)
		}
	}
}

func TestFailures(t *testing.T) {
	greeting := mailproto.Greeting{Protocol: mailproto.ProtoBounce}
	for _, c := range []struct {
		name  string
		serve func(c net.Conn)
		want  error
	}{
		{"closes at once", func(net.Conn) {}, io.ErrUnexpectedEOF},
		{"other protocol", func(c net.Conn) { greet(c, mailproto.Greeting{Protocol: "x"}) }, attr.ErrProtocol},
		{"dies after the greeting", func(c net.Conn) { greet(c, greeting) }, nil},
		{"dies before the reply", func(c net.Conn) { greet(c, greeting); c.Read(make([]byte, 4096)) }, io.ErrUnexpectedEOF},
		{"refuses", func(c net.Conn) {
			greet(c, greeting)
			c.Read(make([]byte, 4096))
			reply(c, mailproto.StatusReply{Status: -1})
		}, ErrStatus},
		{"reply of another kind", func(c net.Conn) {
			greet(c, greeting)
			c.Read(make([]byte, 4096))
			c.Write([]byte("x\x000\x00\x00"))
		}, attr.ErrUnexpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := server(t, c.serve)
			err := Bounce(t.Context(), path, &mailproto.BounceRequest{DSN: dsn.Status{Code: "4.0.0"}})
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if errors.Is(err, ErrConnect) {
				t.Errorf("a failed connection: %v", err)
			}
		})
	}
}

func TestConnectErrors(t *testing.T) {
	path := server(t, func(net.Conn) {})
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"absent": fs.ErrNotExist, "file": unix.ECONNREFUSED, "dir/" + strings.Repeat("x", 120): nil,
	} {
		err := Bounce(t.Context(), path, &mailproto.BounceRequest{})
		if !errors.Is(err, ErrConnect) || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Bounce(ctx, path, &mailproto.BounceRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestContextEndsAWait(t *testing.T) {
	for _, deadline := range []bool{false, true} {
		waiting, release := make(chan struct{}, 1), make(chan struct{})
		path := server(t, func(c net.Conn) {
			greet(c, mailproto.Greeting{Protocol: mailproto.ProtoBounce})
			waiting <- struct{}{}
			<-release
		})
		ctx, cancel := context.WithCancel(t.Context())
		want := context.Canceled
		if deadline {
			ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
			want = context.DeadlineExceeded
		} else {
			go func() { <-waiting; cancel() }()
		}
		if err := Bounce(ctx, path, &mailproto.BounceRequest{}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		cancel()
		close(release)
	}
}

// cleanupServer plays the service's side and hands over what came.
func cleanupServer(t *testing.T, answer func(c net.Conn)) (path string, got <-chan string) {
	ch := make(chan string, 1)
	return server(t, func(c net.Conn) {
		greet(c, mailproto.Greeting{Protocol: mailproto.ProtoCleanup, QueueID: "2887F9C04F7"})
		var all bytes.Buffer
		for !bytes.HasSuffix(all.Bytes(), []byte("E\x00")) {
			if _, err := io.CopyN(&all, c, 1); err != nil {
				break
			}
		}
		ch <- all.String()
		answer(c)
	}), ch
}

// TestFinishedMessageIsWaitedFor: a client that is told to leave after the end
// record learns what became of the message, or it would send it a second time.
func TestFinishedMessageIsWaitedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path, _ := cleanupServer(t, func(c net.Conn) {
		cancel()
		reply(c, mailproto.CleanupReply{})
	})
	c, err := DialCleanup(ctx, path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Finish(ctx); err != nil || r.Status != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestCleanup(t *testing.T) {
	path, got := cleanupServer(t, func(c net.Conn) {
		reply(c, mailproto.CleanupReply{Status: mailproto.CleanupSize, Reason: "too big"})
	})
	c, err := DialCleanup(t.Context(), path, mailproto.CleanupExternal)
	if err != nil {
		t.Fatal(err)
	}
	if c.QueueID() != "2887F9C04F7" {
		t.Errorf("queue id %q", c.QueueID())
	}
	c.RecordString(record.From, "a@b")
	c.Attr("encoding", "8bit")
	if want := int64(len("flags\x00114\x00\x00S\x03a@bA\x0dencoding=8bit")); c.Size() != want {
		t.Errorf("size %d, want %d", c.Size(), want)
	}
	r, err := c.Finish(t.Context())
	if err != nil || r.Status != mailproto.CleanupSize || r.Reason != "too big" {
		t.Errorf("got %+v, %v", r, err)
	}
	if got := <-got; got != "flags\x00114\x00\x00S\x03a@bA\x0dencoding=8bitE\x00" {
		t.Errorf("sent %q", got)
	}
	c.Cancel() // after Finish: nothing
	if r, err := c.Finish(t.Context()); err == nil || r.Status != mailproto.CleanupWrite {
		t.Errorf("second Finish: %+v, %v", r, err)
	}
	c.RecordString(record.From, "too late")
}

func TestLargeMessagesArriveWhole(t *testing.T) {
	path, got := cleanupServer(t, func(c net.Conn) { reply(c, mailproto.CleanupReply{}) })
	c, err := DialCleanup(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("flags\x000\x00\x00")
	for i := range 3000 {
		line := fmt.Sprintf("%05d %s", i, strings.Repeat("x", i%100))
		c.RecordString(record.Norm, line)
		want = record.Append(want, record.Norm, line)
	}
	huge := bytes.Repeat([]byte("y"), 3*cleanupBuffer)
	c.Record(record.Norm, huge)
	want = record.Append(want, record.Norm, huge)
	want = record.Append(want, record.End, "")
	if r, err := c.Finish(t.Context()); err != nil || r.Status != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if b := <-got; b != string(want) {
		t.Errorf("%d bytes arrived, %d sent", len(b), len(want))
	}
}

// TestSmallMessageIsOneWrite: the flags, all records and the end in one piece.
func TestSmallMessageIsOneWrite(t *testing.T) {
	client, peer := net.Pipe() // a write ends when it was read
	defer peer.Close()
	c := &Cleanup{c: &conn{Conn: client, b: new(codec)}, buf: new([]byte), timeout: time.Minute}
	for range 100 {
		c.RecordString(record.Norm, strings.Repeat("x", 70))
	}
	done := make(chan error, 1)
	go func() { done <- c.Flush() }()
	b := make([]byte, 1<<20)
	if n, err := peer.Read(b); n != 100*72 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCleanupDies(t *testing.T) {
	path := server(t, func(c net.Conn) {
		greet(c, mailproto.Greeting{Protocol: mailproto.ProtoCleanup, QueueID: "A"})
	})
	c, err := DialCleanup(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c.Record(record.Norm, make([]byte, 50000))
	}
	r, err := c.Finish(t.Context())
	if err == nil || r.Status != mailproto.CleanupWrite {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestCancelEndsBeforeTheEndRecord(t *testing.T) {
	path, got := cleanupServer(t, func(net.Conn) {})
	c, err := DialCleanup(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.RecordString(record.From, "a@b")
	c.Cancel()
	c.Cancel()
	if b := <-got; strings.Contains(b, "E\x00") {
		t.Errorf("arrived: %q", b)
	}
}

// TestPostMail compares the begin of a notification with the recorded one.
func TestPostMail(t *testing.T) {
	conn := capture.Conns(t, "cleanup-from-bounce")[0]
	path, got := cleanupServer(t, func(c net.Conn) { reply(c, mailproto.CleanupReply{}) })
	c, err := PostMail(t.Context(), path, Post{
		Recipient: "owner+nosuch=virt.example@example.com", Flags: mailproto.CleanupInternal,
		MyHostname: "mail.example.com", MailName: "Postfix", Now: time.Unix(1795378726, 163404000).UTC(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Finish(t.Context()); err != nil {
		t.Error(err)
	}
	sent := strings.TrimSuffix(<-got, "E\x00")
	if !strings.HasPrefix(string(conn.Client), sent) || !strings.HasSuffix(sent, "Date: Sun, 22 Nov 2026 20:18:46 +0000 (UTC)") {
		t.Errorf("sent %q\nrecorded %q", sent, conn.Client[:len(sent)])
	}
}

func TestShowq(t *testing.T) {
	conn := capture.Conns(t, "showq-from-postqueue")[2]
	for _, cut := range []int{0, 1, len(conn.Server) / 2} {
		path := server(t, func(c net.Conn) { c.Write(conn.Server[:len(conn.Server)-cut]) })
		s, err := DialShowq(t.Context(), path, mailproto.ProtoShowq)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			_, err = s.Next()
			if err != nil {
				break
			}
			n++
		}
		s.Close()
		if (err == io.EOF) != (cut == 0) || cut > 0 && !errors.Is(err, io.ErrUnexpectedEOF) || n < 2 {
			t.Errorf("%d bytes missing: %d messages, %v", cut, n, err)
		}
	}
}

func TestTrigger(t *testing.T) {
	got := make(chan string, 1)
	path := server(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	if err := Trigger(t.Context(), path, "FADI"); err != nil {
		t.Fatal(err)
	}
	if b := <-got; b != "FADI\x00" {
		t.Errorf("got %q", b)
	}
	if err := Trigger(t.Context(), "absent", "W"); !errors.Is(err, ErrConnect) {
		t.Errorf("absent: %v", err)
	}
}

func TestTriggerFIFO(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := unix.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Trigger(t.Context(), "fifo", "W"); !errors.Is(err, unix.ENXIO) {
		t.Errorf("nobody listens: %v", err)
	}
	f, err := os.OpenFile("fifo", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Trigger(t.Context(), "fifo", "W"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := f.Read(b); err != nil || string(b[:n]) != "W" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// TestTriggersCoalesce: what is notified during a trigger is one more.
func TestTriggersCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sent := 0
		failure := errors.New("absent")
		tr := NewTriggers("public/qmgr", "W")
		tr.send = func(_ context.Context, path, codes string) error {
			if path != "public/qmgr" || codes != "W" {
				t.Errorf("%s %s", path, codes)
			}
			<-release
			sent++
			return failure
		}
		if err := tr.Wait(); err != nil {
			t.Errorf("before the first: %v", err)
		}
		tr.Notify()
		synctest.Wait() // the first is on its way
		for range 100 {
			tr.Notify()
		}
		close(release)
		if err := tr.Wait(); err != failure {
			t.Error(err)
		}
		if sent != 2 {
			t.Errorf("%d triggers", sent)
		}
		tr.Notify()
		tr.Wait()
		if sent != 3 {
			t.Errorf("%d triggers after a pause", sent)
		}
	})
}

func decodeBounce(t *testing.T, b []byte) *mailproto.BounceRequest {
	t.Helper()
	r, err := mailproto.ReadBounceRequest(attr.NewDecoder(bufio.NewReader(bytes.NewReader(b)), attr.Strict))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
