package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/service"
	"sealpost/test/capture"
)

// fakeCleanup takes messages and answers with status.
type fakeCleanup struct {
	mu     sync.Mutex // id and status
	id     string
	status mailproto.CleanupStatus
	got    chan []byte // each complete message, flags included
}

func (f *fakeCleanup) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.one(c)
		c.Close()
	}
}

// answers sets what the next messages are told; an empty id stays as it is.
func (f *fakeCleanup) answers(id string, status mailproto.CleanupStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status = status; id != "" {
		f.id = id
	}
}

func (f *fakeCleanup) one(c net.Conn) {
	var e attr.Encoder
	f.mu.Lock()
	id, status := f.id, f.status
	f.mu.Unlock()
	mailproto.Greeting{Protocol: mailproto.ProtoCleanup, QueueID: id}.Append(&e)
	c.Write(e.Bytes())
	var all bytes.Buffer
	br := bufio.NewReader(c)
	tee := &teeReader{br, &all}
	d := bufio.NewReaderSize(tee, 16)
	if _, err := mailproto.ReadCleanupRequest(attr.NewDecoder(d, attr.Strict)); err != nil {
		return
	}
	r := record.NewReader(d, 0)
	for {
		t, _, err := r.Read()
		if err != nil {
			return
		}
		if t == record.End {
			break
		}
	}
	f.got <- all.Bytes()
	e.Reset()
	mailproto.CleanupReply{Status: status}.Append(&e)
	c.Write(e.Bytes())
}

type teeReader struct {
	r *bufio.Reader
	w *bytes.Buffer
}

func (t *teeReader) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.w.Write(b[:n])
	return n, err
}

// fixture is a queue directory with a fake cleanup, and a picker in it.
type fixture struct {
	p       *picker
	cleanup *fakeCleanup
	log     *bytes.Buffer
	dir     string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "pk") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Chdir(dir)
	for _, d := range []string{"maildrop", "public"} {
		os.Mkdir(d, 0o700)
	}
	l, err := net.Listen("unix", "public/cleanup")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{cleanup: &fakeCleanup{id: "12345ABC", got: make(chan []byte, 10)}, log: &bytes.Buffer{}, dir: dir}
	done := make(chan struct{})
	go func() { defer close(done); f.cleanup.serve(l) }()
	t.Cleanup(func() { l.Close(); <-done })
	c, err := config.FromMap(map[string]string{"myhostname": "mail.example.com", "mail_name": "Postfix"})
	if err != nil {
		t.Fatal(err)
	}
	f.p, err = newPicker(c, maillog.New(maillog.Options{Writer: f.log}), queue.New("", queue.Settings{}))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var (
	ridLine = regexp.MustCompile(`from userid (\d+)\)`)
	idLine  = regexp.MustCompile(`\tid (\w+); (.*)`)
)

// TestCopiesAreThoseOfTheRecordings: each maildrop file that was recorded gives
// the stream to cleanup that was recorded for it.
func TestCopiesAreThoseOfTheRecordings(t *testing.T) {
	streams := map[string]capture.Conn{}
	for _, c := range capture.Conns(t, "cleanup-from-pickup") {
		streams[firstTime(t, c.Client)] = c
	}
	compared := 0
	for _, file := range capture.QueueFiles(t, "maildrop-*") {
		c, ok := streams[firstTime(t, file.Data)]
		if !ok {
			continue
		}
		compared++
		t.Run(file.Name, func(t *testing.T) {
			f := newFixture(t)
			id := idLine.FindSubmatch(c.Client)
			f.cleanup.answers(string(id[1]), 0)
			date := strings.TrimSuffix(string(id[2][:len("Sun, 22 Nov 2026 20:18:03 +0000 (UTC)")]), "")
			arrival, err := time.Parse("Mon, 02 Jan 2006 15:04:05 -0700 (MST)", date)
			if err != nil {
				t.Fatal(err)
			}
			path := "maildrop/" + file.ID
			if err := os.WriteFile(path, file.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			src, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			s := &submission{p: f.p, log: f.p.log, uid: 1001, arrival: arrival.UTC()}
			if _, err := f.p.deliver(context.Background(), s, src); err != nil {
				t.Fatal(err)
			}
			if got := <-f.cleanup.got; !bytes.Equal(got, c.Client) {
				t.Errorf("stream to cleanup:\n got %q\nwant %q", got, c.Client)
			}
		})
	}
	if compared < 6 {
		t.Errorf("only %d files have a recorded stream", compared)
	}
}

// firstTime finds the message's time record, which names it in both recordings.
func firstTime(t *testing.T, b []byte) string {
	t.Helper()
	m := regexp.MustCompile(`T\x11(\d{10} \d{6})`).FindSubmatch(b)
	if m == nil {
		return ""
	}
	return string(m[1])
}

func submissionFile(lines ...string) []byte {
	b := record.Append(nil, record.Time, "1795372800 123456")
	b = record.Append(b, record.From, "s@a.example")
	b = record.Append(b, record.Rcpt, "r@b.example")
	b = record.Append(b, record.Message, "")
	for _, l := range lines {
		b = record.Append(b, record.Norm, l)
	}
	b = record.Append(b, record.Extracted, "")
	return record.Append(b, record.End, "")
}

func TestScan(t *testing.T) {
	good := submissionFile("Subject: x")
	cases := map[string]struct {
		data   []byte
		mode   os.FileMode
		status mailproto.CleanupStatus
		setup  func(path string)
		gone   bool
		sent   bool
		logs   string
	}{
		"complete":            {data: good, mode: 0o744, gone: true, sent: true, logs: ": uid="},
		"still being written": {data: good, mode: 0o644},
		"bad message":         {data: good, mode: 0o744, status: mailproto.CleanupBad, gone: true, sent: true},
		"cleanup is full":     {data: good, mode: 0o744, status: mailproto.CleanupWrite, sent: true, logs: "trying again later"},
		"cut off":             {data: good[:60], mode: 0o744, gone: true, logs: "not complete"},
		"no sender":           {data: append(record.Append(nil, record.Message, ""), good...), mode: 0o744, gone: true, logs: "no envelope sender"},
		"type 0":              {data: append([]byte{0, 0}, good...), mode: 0o744, gone: true, logs: "malformed record"},
		"foreign record":      {data: append(record.Append(nil, record.Pad, "x"), good...), mode: 0o744, gone: true, logs: "malformed record type"},
		"two links":           {data: good, mode: 0o744, setup: func(p string) { os.Link(p, "other") }, logs: "2 links"},
		"symbolic link":       {data: good, mode: 0o744, setup: func(p string) { os.Rename(p, "other"); os.Symlink(filepath.Join("..", "other"), p) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cleanup.answers("", c.status)
			path := "maildrop/12345DEF"
			os.WriteFile(path, c.data, c.mode)
			os.Chmod(path, c.mode)
			if c.setup != nil {
				c.setup(path)
			}
			f.p.scan(context.Background(), nil)
			if _, err := os.Lstat(path); (err != nil) != c.gone {
				t.Errorf("file is gone: %v, want %v", err != nil, c.gone)
			}
			if sent := len(f.cleanup.got) > 0; sent != c.sent {
				t.Errorf("sent to cleanup: %v, want %v", sent, c.sent)
			}
			if !strings.Contains(f.log.String(), c.logs) {
				t.Errorf("log %q lacks %q", f.log, c.logs)
			}
		})
	}
}

func TestContentCannotContinueOurReceivedHeader(t *testing.T) {
	f := newFixture(t)
	os.WriteFile("maildrop/12345DEF", submissionFile(" by forged.example"), 0o744)
	os.Chmod("maildrop/12345DEF", 0o744)
	f.p.scan(context.Background(), nil)
	got := <-f.cleanup.got
	if !bytes.Contains(got, []byte("N\x00N\x12 by forged.example")) {
		t.Errorf("no empty line before the forged continuation: %q", got)
	}
}

// submitSession runs one session of the submit service on a Unix socket pair.
func submitSession(t *testing.T, f *fixture, stream []byte) (mailproto.CleanupReply, error) {
	t.Helper()
	w, err := newSubmit(f.p, &service.Env{Log: f.p.log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "submit")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", "submit")
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Conn(context.Background(), &service.Session{Conn: server, Log: f.p.log})
		server.Close()
	}()
	defer func() { client.Close(); <-done }()
	d := attr.NewDecoder(bufio.NewReader(client), attr.Strict)
	if _, err := mailproto.ReadGreeting(d, mailproto.ProtoPostdrop); err != nil {
		t.Fatal(err)
	}
	client.Write(stream)
	client.(*net.UnixConn).CloseWrite()
	return mailproto.ReadCleanupReply(d)
}

func TestSubmitService(t *testing.T) {
	good := submissionFile("Subject: x", "", "body")
	evil := record.Append(nil, record.Attr, "sasl_username=root")
	cases := map[string]struct {
		stream []byte
		status mailproto.CleanupStatus // cleanup's
		want   mailproto.CleanupStatus
		sent   bool
	}{
		"accepted":            {stream: good, sent: true},
		"attribute dropped":   {stream: append(evil, good...), sent: true},
		"cleanup's verdict":   {stream: good, status: mailproto.CleanupSize, want: mailproto.CleanupSize, sent: true},
		"cut off":             {stream: good[:len(good)-1], want: mailproto.CleanupBad},
		"nothing":             {want: mailproto.CleanupBad},
		"forbidden type":      {stream: record.Append(nil, record.Filter, "smtp:[127.0.0.1]"), want: mailproto.CleanupBad},
		"forbidden type late": {stream: append(good[:len(good)-2:len(good)-2], record.Append(nil, record.Done, "x")...), want: mailproto.CleanupBad},
		"garbage":             {stream: []byte("\xff\xff\xff\xff\xff\xff\xff\xff"), want: mailproto.CleanupBad},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cleanup.answers("", c.status)
			reply, err := submitSession(t, f, c.stream)
			if err != nil {
				t.Fatal(err)
			}
			if reply.Status != c.want {
				t.Errorf("status %d (%s), want %d", reply.Status, reply.Reason, c.want)
			}
			if sent := len(f.cleanup.got) > 0; sent != c.sent {
				t.Errorf("complete message to cleanup: %v, want %v", sent, c.sent)
			} else if sent {
				got := <-f.cleanup.got
				if bytes.Contains(got, []byte("sasl_username")) {
					t.Errorf("forbidden attribute in %q", got)
				}
				if m := ridLine.FindSubmatch(got); m == nil {
					t.Errorf("no user id in %q", got)
				}
			}
		})
	}
}

func TestSubmissionsPerUserAreLimited(t *testing.T) {
	s := &submitter{active: map[uint32]int{}}
	for range maxPerUser {
		if !s.enter(7) {
			t.Fatal("refused below the limit")
		}
	}
	if s.enter(7) {
		t.Error("accepted above the limit")
	}
	if !s.enter(8) {
		t.Error("another user is refused")
	}
	s.leave(7)
	if !s.enter(7) {
		t.Error("refused after one left")
	}
}
