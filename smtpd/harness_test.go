package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/dns"
	"sealpost/lib/mailclient"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/rewrite"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// fakeCleanup keeps the messages that sessions hand over.
type fakeCleanup struct {
	mu       sync.Mutex
	opened   int
	done     []*fakeMessage
	canceled []*fakeMessage
	answer   mailproto.CleanupReply
	refuse   error
}

// fakeMessage is the record stream of one message.
type fakeMessage struct {
	owner  *fakeCleanup
	id     string
	flags  mailproto.CleanupFlags
	stream []byte
	rcpts  []string
	sender string
	lines  []byte // content
}

func (f *fakeCleanup) open(_ context.Context, flags mailproto.CleanupFlags) (queueWriter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.opened++
	return &fakeMessage{owner: f, id: fmt.Sprintf("4A5299A%04X", f.opened), flags: flags}, nil
}

// post is mailclient.PostMail: it writes the envelope and the first lines.
func (f *fakeCleanup) post(ctx context.Context, p mailclient.Post) (queueWriter, error) {
	m, err := f.open(ctx, p.Flags)
	if err != nil {
		return nil, err
	}
	m.RecordString(record.From, p.Sender)
	m.RecordString(record.Rcpt, p.Recipient)
	m.RecordString(record.Norm, "Received: by "+p.MyHostname+" ("+p.MailName+")")
	return m, nil
}

func (m *fakeMessage) QueueID() string { return m.id }

func (m *fakeMessage) Record(t record.Type, payload []byte) {
	m.stream = record.Append(m.stream, t, payload)
	switch t {
	case record.Rcpt:
		m.rcpts = append(m.rcpts, string(payload))
	case record.From:
		m.sender = string(payload)
	case record.Norm:
		m.lines = append(append(m.lines, payload...), '\n')
	case record.Cont:
		m.lines = append(m.lines, payload...)
	}
}

func (m *fakeMessage) RecordString(t record.Type, s string) { m.Record(t, []byte(s)) }

func (m *fakeMessage) Attr(name, value string) { m.stream = record.AppendAttr(m.stream, name, value) }

func (m *fakeMessage) Err() error { return nil }

func (m *fakeMessage) Finish(context.Context) (mailproto.CleanupReply, error) {
	m.Record(record.End, nil)
	m.owner.mu.Lock()
	defer m.owner.mu.Unlock()
	m.owner.done = append(m.owner.done, m)
	return m.owner.answer, nil
}

func (m *fakeMessage) Cancel() {
	m.owner.mu.Lock()
	defer m.owner.mu.Unlock()
	m.owner.canceled = append(m.owner.canceled, m)
}

// body is the content after our own Received: header.
func (m *fakeMessage) body() string {
	lines := strings.SplitAfter(string(m.lines), "\n")
	i := 1
	for i < len(lines) && strings.HasPrefix(lines[i], "\t") {
		i++
	}
	return strings.Join(lines[i:], "")
}

// fakeDNS is a resolver on maps.
type fakeDNS struct {
	mx    map[string][]dns.MX
	addrs map[string][]netip.Addr
	ptr   map[netip.Addr][]string
	fail  map[string]error
}

func (f *fakeDNS) MX(_ context.Context, domain string) ([]dns.MX, dns.Result, error) {
	if err := f.fail[domain]; err != nil {
		return nil, dns.Result{}, err
	}
	if mx, ok := f.mx[domain]; ok {
		return mx, dns.Result{}, nil
	}
	if _, ok := f.addrs[domain]; ok {
		return nil, dns.Result{}, dns.ErrNoData
	}
	return nil, dns.Result{}, dns.ErrNotFound
}

func (f *fakeDNS) Addrs(_ context.Context, host string, _, _ bool) ([]netip.Addr, dns.Result, error) {
	if err := f.fail[host]; err != nil {
		return nil, dns.Result{}, err
	}
	if a, ok := f.addrs[host]; ok {
		return a, dns.Result{}, nil
	}
	return nil, dns.Result{}, dns.ErrNotFound
}

func (f *fakeDNS) PTR(_ context.Context, addr netip.Addr) ([]string, dns.Result, error) {
	if err := f.fail[addr.String()]; err != nil {
		return nil, dns.Result{}, err
	}
	if names, ok := f.ptr[addr]; ok {
		return names, dns.Result{}, nil
	}
	return nil, dns.Result{}, dns.ErrNotFound
}

// testConfig is the base configuration of the tests.
var testConfig = map[string]string{
	"myhostname":                           "mail.example.com",
	"mydomain":                             "example.com",
	"mail_name":                            "Postfix",
	"mydestination":                        "localhost, mail.example.com",
	"mynetworks":                           "127.0.0.1/32",
	"inet_interfaces":                      "127.0.0.1",
	"virtual_mailbox_domains":              "virt.example",
	"virtual_mailbox_maps":                 "inline:{ bob@virt.example=bob }",
	"virtual_alias_domains":                "valias.example",
	"virtual_alias_maps":                   "inline:{ info@valias.example=bob@virt.example }",
	"local_recipient_maps":                 "inline:{ alice=x, bob=x }",
	"relay_domains":                        "relay.example",
	"smtpd_error_sleep_time":               "0",
	"smtpd_peername_lookup":                "yes",
	"smtpd_forbid_bare_newline_exclusions": "",
}

// rig is a server for tests with its doubles.
type rig struct {
	t       testing.TB
	srv     *server
	cleanup *fakeCleanup
	notices *fakeCleanup // mail of our own
	dns     *fakeDNS
	log     *logBuffer
	drain   chan struct{}
	number  uint64
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig makes a server with parameters that differ from testConfig:
// "name=value".
func newRig(t testing.TB, params ...string) *rig {
	t.Helper()
	values := map[string]string{}
	for name, value := range testConfig {
		values[name] = value
	}
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		values[name] = value
	}
	r, err := tryRig(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryRig(t testing.TB, values map[string]string) (*rig, error) {
	t.Helper()
	cfg, err := config.FromMap(values)
	if err != nil {
		return nil, err
	}
	logs := &logBuffer{}
	log := maillog.New(maillog.Options{Program: "smtpd", Writer: logs})
	tenv := table.Env{Warnf: log.Warnf}
	rewriter, err := rewrite.New(cfg, tenv)
	if err != nil {
		return nil, err
	}
	o := &opener{env: tenv, lists: map[string]*table.List{}, maps: map[string]*table.Maps{},
		local: func(d string) bool { ok, _ := rewriter.BareUsers(context.Background(), d); return ok }}
	p, err := newProfile(cfg, o, log.Warnf)
	if err != nil {
		return nil, err
	}
	r := &rig{t: t, cleanup: &fakeCleanup{}, notices: &fakeCleanup{}, log: logs, drain: make(chan struct{}),
		dns: &fakeDNS{mx: map[string][]dns.MX{}, addrs: map[string][]netip.Addr{}, ptr: map[netip.Addr][]string{}, fail: map[string]error{}}}
	r.srv = &server{
		env:    &service.Env{Config: cfg, Stress: cfg, Log: log, ServiceName: "smtp", Program: "smtpd", Tally: service.NewTally()},
		normal: p, stress: p, now: func() time.Time { return time.Unix(1795378728, 319310000).UTC() },
		dns: r.dns, hosts: hostNames{netip.MustParseAddr("127.0.0.1"): "localhost"},
		resolver: rewriter.Resolve, malformed: rewriter.Malformed, openQueue: r.cleanup.open, post: r.notices.post,
		own: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, double: "double-bounce",
		flushPath: t.TempDir() + "/flush", spoolDir: t.TempDir(),
	}
	r.srv.space = diskSpace{now: time.Now, read: func(string) (int64, error) { return 1 << 40, nil }}
	return r, nil
}

// dialog is a client's end of a session.
type dialog struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	done chan struct{}
}

// dial starts a session from a client address on the loopback network.
func (r *rig) dial(from string) *dialog {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	d := net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	client, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	c := &dialog{t: r.t, conn: client, in: bufio.NewReader(client), done: make(chan struct{})}
	r.number++
	session := &service.Session{Conn: server, Number: r.number, Log: r.srv.env.Log.Session(r.number),
		Config: r.srv.env.Config, Drain: r.drain}
	go func() {
		defer close(c.done)
		r.srv.serve(context.Background(), session)
		server.Close()
	}()
	r.t.Cleanup(func() {
		client.Close()
		<-c.done
	})
	client.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// reply reads one reply; lines of a longer one are joined with "|".
func (d *dialog) reply() string {
	d.t.Helper()
	var lines []string
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, "EOF"), "|")
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "|")
		}
	}
}

func (d *dialog) send(text string) {
	d.t.Helper()
	if _, err := d.conn.Write([]byte(text)); err != nil {
		d.t.Logf("send: %v", err)
	}
}

// say sends a command and returns the reply.
func (d *dialog) say(command string) string {
	d.t.Helper()
	d.send(command + "\r\n")
	return d.reply()
}

// want checks pairs of commands and replies.
func (d *dialog) want(pairs ...string) {
	d.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := d.say(pairs[i]); got != pairs[i+1] {
			d.t.Errorf("%.60q: reply %q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

// closed waits for the end of the session.
func (d *dialog) closed() {
	d.t.Helper()
	if got := d.reply(); got != "EOF" {
		d.t.Errorf("the session goes on with %q", got)
	}
	<-d.done
}
