package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/test/capture"
)

// masks hide what a clock and an inode made, without changing any length that
// the client's records determine.
var masks = []struct{ re, with string }{
	{`create_time=\d{10}`, "create_time=TTTTTTTTTT"},
	{`<\d{14}\.[0-9A-F]+@mail\.example\.com>`, "<ID>"},
	{`(\n|N\x2b)Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000 \(UTC\)`, "${1}Date: D"},
}

func mask(b []byte) []byte {
	for _, m := range masks {
		b = regexp.MustCompile(m.re).ReplaceAll(b, []byte(m.with))
	}
	return b
}

// TestQueueFilesOfPostfix feeds what Postfix's smtpd sent to cleanup and
// compares our queue file with the one that Postfix's cleanup wrote.
func TestQueueFilesOfPostfix(t *testing.T) {
	t.Setenv("TZ", "UTC")
	conns := map[string]capture.Conn{}
	for _, c := range capture.Conns(t, "cleanup-from-smtpd") {
		id := regexp.MustCompile(`queue_id\x00([0-9A-F]+)\x00`).FindSubmatch(c.Server)
		conns[string(id[1])] = c
	}
	compared := 0
	for _, f := range capture.QueueFiles(t, "*") {
		c, found := conns[f.ID]
		if !found || bytes.Contains(c.Client, []byte("m\x011")) || !bytes.HasPrefix(f.Data, []byte("C_")) {
			continue // no recording, a milter's work, or no message
		}
		t.Run(f.Name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), nil)
			id, reply := h.session(c.Client)
			if reply == nil || reply.Status != 0 {
				t.Fatalf("reply %v", reply)
			}
			queueName := "incoming"
			if bytes.Contains(c.Client, []byte("f\x014")) {
				queueName = "hold"
			}
			file := filepath.Join(h.dir, queueName, id)
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := f.Data
			if bytes.Contains(want, []byte("D\x10bob@")) { // delivered in part
				want = bytes.ReplaceAll(want, []byte("D\x10bob@"), []byte("R\x10bob@"))
			}
			sized := !bytes.Contains(want, []byte("Message-Id: <2026"))
			got, want = mask(got), mask(want)
			if !sized { // the length of a generated Message-Id is that of our queue id
				got, want = got[97:], want[97:]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("queue file differs\n got %q\nwant %q", got, want)
			}
			if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}
			compared++
		})
	}
	if compared < 5 {
		t.Errorf("only %d recordings compared", compared)
	}
}

// TestRepliesOfPostfix sends every recorded stream and expects the recorded
// status, except where the recording used what the test's configuration lacks.
func TestRepliesOfPostfix(t *testing.T) {
	for _, c := range capture.Conns(t, "cleanup-from-*", "cleanup-w-from-*") {
		t.Run(c.Name(), func(t *testing.T) {
			if bytes.Contains(c.Client, []byte("m\x011")) {
				t.Skip("SKIP: the client hands over a milter, which cleanup does not take")
			}
			i := bytes.Index(c.Server, []byte("status\x00"))
			if i < 0 {
				t.Skip("SKIP: the client left before the reply")
			}
			var set map[string]string
			files := 1
			if bytes.Contains(c.Server[i:], []byte("no thanks")) {
				set = map[string]string{"header_checks": "regexp:{{/^Subject:/ REJECT no thanks}}"}
				files = 0 // refused, or sent back
			}
			h := newHouse(t, t.TempDir(), set)
			_, reply := h.session(c.Client)
			if reply == nil {
				t.Fatal("no reply")
			}
			got := string(encode(*reply))
			if want := string(c.Server[i:]); got != want {
				t.Errorf("reply %q, want %q", got, want)
			}
			if n := len(h.files()); n != files {
				t.Errorf("%d files in the queue, want %d", n, files)
			}
		})
	}
}

func encode(r mailproto.CleanupReply) []byte {
	var e attr.Encoder
	r.Append(&e)
	return e.Bytes()
}
