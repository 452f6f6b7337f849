package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/queue/listing"
	"sealpost/test/capture"
)

// newLister makes a queue and puts the given recorded files where Postfix had
// them.
func newLister(t *testing.T, names ...string) *listing.Lister {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(listing.Queues(), queue.Bounce, queue.Defer, queue.Trace) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		f := capture.QueueFile(t, name)
		path := filepath.Join(dir, f.Path)
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(path, os.FileMode(f.Mode)), os.Chtimes(path, f.MTime, f.MTime)); err != nil {
			t.Fatal(err)
		}
	}
	return &listing.Lister{
		Queue:    queue.New(dir, queue.Settings{HashNames: []string{queue.Deferred, queue.Defer}, HashDepth: 1}),
		Settings: listing.Settings{DuplicateLimit: 1000, EmptyRecipient: "MAILER-DAEMON"},
	}
}

// ask runs a server and returns the bytes that it sent.
func ask(t *testing.T, l *listing.Lister, user bool) []byte {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := serve(t.Context(), server, l, user, time.Minute)
		server.Close()
		done <- err
	}()
	b, err := io.ReadAll(client)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return b
}

// entries decodes a listing of Postfix's protocol, by queue id.
func entries(t *testing.T, b []byte, protocol string) map[string]*mailproto.ShowqEntry {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(b))
	d := attr.NewDecoder(r, attr.Strict)
	if _, err := mailproto.ReadGreeting(d, protocol); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*mailproto.ShowqEntry)
	for {
		read := mailproto.ReadShowqEntry
		if protocol == mailproto.ProtoUserShowq {
			read = mailproto.ReadUserShowqEntry
		}
		e, err := read(d)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all[e.QueueID] = e
	}
	if rest, _ := io.ReadAll(r); len(rest) != 0 {
		t.Errorf("after the end: %q", rest)
	}
	return all
}

// TestRecordedMessages lists recorded queue files as Postfix's showq did: the
// attributes are compared with the recorded ones.
func TestRecordedMessages(t *testing.T) {
	recorded := make(map[string]*mailproto.ShowqEntry)
	for _, c := range capture.Conns(t, "showq-from-postqueue") {
		for id, e := range entries(t, c.Server, mailproto.ProtoShowq) {
			recorded[id] = e
		}
	}
	messages := []string{"active", "deferred-one-done", "deferred-virtual-alias", "milter-held-hdr"}
	l := newLister(t, append(messages, "log-bounce", "log-trace", "log-defer", "log-defer-alias")...)
	ours := entries(t, ask(t, l, false), mailproto.ProtoShowq)
	if len(ours) != len(messages) {
		t.Errorf("%d messages", len(ours))
	}
	for _, name := range messages {
		f := capture.QueueFile(t, name)
		want := recorded[f.ID]
		want.QueueName = f.Queue // some were moved before they were copied
		if diff := cmp.Diff(want, ours[f.ID]); diff != "" {
			t.Errorf("%s: (-recorded +ours)\n%s", name, diff)
		}
	}
}

// TestBytesAreTheRecordedOnes compares whole listings: the recorded bytes of one
// message with ours.
func TestBytesAreTheRecordedOnes(t *testing.T) {
	for _, id := range []string{"E23699C06A1", "C01EE9C05E7"} {
		var want attr.Encoder
		mailproto.Greeting{Protocol: mailproto.ProtoShowq}.Append(&want)
		conn := capture.Conns(t, "showq-from-postqueue")[2]
		entries(t, conn.Server, mailproto.ProtoShowq)[id].Append(&want)
		want.End()
		files := map[string][]string{"E23699C06A1": {"active", "log-bounce"}, "C01EE9C05E7": {"milter-held-hdr"}}[id]
		if diff := cmp.Diff(string(want.Bytes()), string(ask(t, newLister(t, files...), false))); diff != "" {
			t.Errorf("%s: (-recorded +ours)\n%s", id, diff)
		}
	}
}

func TestEntries(t *testing.T) {
	for _, c := range []struct {
		file string
		user bool
		want mailproto.ShowqEntry
	}{
		{"maildrop-plain", false, mailproto.ShowqEntry{QueueName: "maildrop", QueueID: "35B289C044E", Time: 1795378683, Size: 147, Sender: "alice",
			Recipients: []mailproto.ShowqRecipient{{Addr: "bob@virt.example"}}}},
		{"maildrop-requiretls-dsn", true, mailproto.ShowqEntry{RequireTLS: true}},
		{"requiretls", true, mailproto.ShowqEntry{RequireTLS: true}},
		{"requiretls", false, mailproto.ShowqEntry{}},
		{"plain", true, mailproto.ShowqEntry{}},
		{"longline-nullsender", false, mailproto.ShowqEntry{Sender: "MAILER-DAEMON"}},
		{"deferred-force-expired", false, mailproto.ShowqEntry{ForcedExpire: true}},
	} {
		t.Run(c.file, func(t *testing.T) {
			l := newLister(t, c.file)
			protocol := mailproto.ProtoShowq
			if c.user {
				protocol = mailproto.ProtoUserShowq
			}
			got := entries(t, ask(t, l, c.user), protocol)[capture.QueueFile(t, c.file).ID]
			if got == nil {
				t.Fatal("not listed")
			}
			if got.RequireTLS != c.want.RequireTLS || got.ForcedExpire != c.want.ForcedExpire ||
				c.want.Sender != "" && got.Sender != c.want.Sender {
				t.Errorf("got %+v", got)
			}
			if c.want.QueueName != "" {
				if diff := cmp.Diff(&c.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestDuplicateFilter(t *testing.T) {
	for limit, want := range map[int]int{0: 4, 1: 3, 1000: 3} {
		l := newLister(t, "active", "log-bounce")
		l.Settings.DuplicateLimit = limit
		id := capture.QueueFile(t, "active").ID
		// A recipient that bounced, and one that is deferred, again in the other log.
		log := capture.QueueFile(t, "log-bounce").Data
		first := log[:len(log)/2]
		if err := os.WriteFile(l.Queue.Path(queue.Bounce, id), append(first, log...), 0o600); err != nil {
			t.Fatal(err)
		}
		got := entries(t, ask(t, l, false), mailproto.ProtoShowq)[id]
		if len(got.Recipients) != want {
			t.Errorf("limit %d: %+v", limit, got.Recipients)
		}
	}
}

func TestDamagedFilesDoNotStopTheListing(t *testing.T) {
	l := newLister(t, "plain", "requiretls", "dsn")
	plain, cut := capture.QueueFile(t, "plain"), capture.QueueFile(t, "dsn")
	os.Truncate(l.Queue.Path(plain.Queue, plain.ID), 100) // before the sender
	os.Truncate(l.Queue.Path(cut.Queue, cut.ID), 900)     // in the content
	var got []string
	for id := range entries(t, ask(t, l, false), mailproto.ProtoShowq) {
		got = append(got, id)
	}
	sort.Strings(got)
	want := []string{capture.QueueFile(t, "requiretls").ID, cut.ID}
	sort.Strings(want)
	if !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEmptyQueue(t *testing.T) {
	if got := string(ask(t, newLister(t), false)); got != "protocol\x00mail_queue_list_protocol\x00\x00\x00" {
		t.Errorf("got %q", got)
	}
}

func TestClientThatDoesNotRead(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := serve(ctx, server, newLister(t, "plain"), false, time.Hour)
		done <- err
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	// A limit of no time at all: the deadline has passed before the first write.
	if _, err := serve(t.Context(), server, newLister(t, "plain"), false, -time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("timeout: %v", err)
	}
}

func TestUserSockets(t *testing.T) {
	for service, want := range map[string]bool{"showq": false, "user/showq": true} {
		if isUserSocket(service) != want {
			t.Errorf("%s: %v", service, !want)
		}
	}
}
