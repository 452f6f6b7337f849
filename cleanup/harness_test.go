package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/config"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/service"
)

// base is the configuration of the system that the captures were made on.
var base = map[string]string{
	"myhostname":              "mail.example.com",
	"mydomain":                "example.com",
	"myorigin":                "$myhostname",
	"mydestination":           "$myhostname, localhost.$mydomain, localhost",
	"inet_interfaces":         "loopback-only",
	"inet_protocols":          "ipv4",
	"virtual_alias_domains":   "valias.example",
	"virtual_alias_maps":      "inline:{{info@valias.example=bob@virt.example,eve@refused.example}}",
	"virtual_mailbox_domains": "virt.example",
}

// house is a worker with a queue of its own and doubles for its neighbours.
type house struct {
	tb    testing.TB
	dir   string
	w     *worker
	mu    sync.Mutex
	sent  []mailproto.BounceRequest // requests to bounce services
	paths []string
	fail  error // answer of the bounce services
	wakes int
}

func newHouse(tb testing.TB, dir string, values map[string]string) *house {
	tb.Helper()
	h := &house{tb: tb, dir: dir}
	for _, name := range []string{queue.Incoming, queue.Hold, queue.Defer, queue.Bounce, queue.Trace} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	set := map[string]string{}
	for k, v := range base {
		set[k] = v
	}
	for k, v := range values {
		set[k] = v
	}
	c, err := config.FromMap(set)
	if err != nil {
		tb.Fatal(err)
	}
	h.w, err = newWorker(&service.Env{Config: c, Queue: queue.New(dir, queue.Settings{})})
	if err != nil {
		tb.Fatal(err)
	}
	h.w.trigger = func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.wakes++
	}
	h.w.bounce = func(_ context.Context, path string, r *mailproto.BounceRequest) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sent = append(h.sent, *r)
		h.paths = append(h.paths, path)
		return h.fail
	}
	return h
}

// session sends a client's stream (request list and records) and returns what
// the server said: the greeting, and the reply if there was one.
func (h *house) session(stream []byte) (id string, reply *mailproto.CleanupReply) {
	c := &memConn{in: bytes.NewReader(stream)}
	h.w.serve(context.Background(), &service.Session{Conn: c, Log: h.w.log})
	d := attr.NewDecoder(bufio.NewReader(&c.out), attr.Strict)
	g, err := mailproto.ReadGreeting(d, mailproto.ProtoCleanup)
	if err != nil {
		panic(err)
	}
	r, err := mailproto.ReadCleanupReply(d)
	if err == io.EOF {
		return g.QueueID, nil
	}
	if err != nil {
		panic(err)
	}
	return g.QueueID, &r
}

// memConn is a connection to a client that sent all it has to say.
type memConn struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *memConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *memConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// files are the complete paths of all files in the queue.
func (h *house) files() []string {
	h.tb.Helper()
	list, err := filepath.Glob(filepath.Join(h.dir, "*", "*"))
	if err != nil {
		h.tb.Fatal(err)
	}
	return list
}

// rec is a record of a queue file.
type rec struct {
	t record.Type
	p string
}

func readRecords(tb testing.TB, file string) []rec {
	tb.Helper()
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var list []rec
	r := record.NewReader(bufio.NewReader(f), 0)
	for {
		t, p, err := r.Read()
		if err == io.EOF {
			return list
		}
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, rec{t, string(p)})
	}
}

// stream builds a client's stream of type letters and payloads.
func stream(flags mailproto.CleanupFlags, records ...string) []byte {
	var e attr.Encoder
	mailproto.CleanupRequest{Flags: flags}.Append(&e)
	b := append([]byte(nil), e.Bytes()...)
	for _, r := range records {
		b = record.Append(b, record.Type(r[0]), r[1:])
	}
	return b
}
