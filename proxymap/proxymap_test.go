package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/service"
	"sealpost/lib/table"
	"sealpost/test/capture"
)

// fakeTable has rows, and can be changed and listed.
type fakeTable struct {
	name string
	rows map[string]string
	err  error
	wild bool // not Fixed
}

func (f *fakeTable) Lookup(_ context.Context, key string) (string, bool, error) {
	value, found := f.rows[key]
	return value, found, f.err
}
func (f *fakeTable) Name() string    { return f.name }
func (f *fakeTable) Fixed() bool     { return !f.wild }
func (f *fakeTable) Files() []string { return nil }
func (f *fakeTable) Close() error    { return nil }

func (f *fakeTable) Put(_ context.Context, key, value string) error {
	f.rows[key] = value
	return f.err
}

func (f *fakeTable) Delete(_ context.Context, key string) (bool, error) {
	_, found := f.rows[key]
	delete(f.rows, key)
	return found, f.err
}

func (f *fakeTable) All(context.Context) iter.Seq2[table.Entry, error] {
	return func(yield func(table.Entry, error) bool) {
		keys := make([]string, 0, len(f.rows))
		for k := range f.rows {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !yield(table.Entry{Key: k, Value: f.rows[k]}, nil) {
				return
			}
		}
	}
}

func testServer(tables ...*fakeTable) *server {
	srv := &server{tables: make(map[string]table.Table), timeout: time.Minute, service: readService, list: "proxy_read_maps"}
	for _, t := range tables {
		srv.tables[t.name] = t
	}
	return srv
}

// converse sends what a client sends and returns all that the server says, and
// its log.
func converse(t *testing.T, srv *server, client []byte) (said []byte, log string) {
	t.Helper()
	conn := &scripted{Reader: bytes.NewReader(client)}
	var lines bytes.Buffer
	srv.serve(t.Context(), &service.Session{Conn: conn, Drain: make(chan struct{}),
		Log: maillog.New(maillog.Options{Program: "proxymap", Writer: &lines})})
	return conn.out.Bytes(), lines.String()
}

// TestRecordedConversations: what Postfix's proxymap said to its clients, we say.
func TestRecordedConversations(t *testing.T) {
	for _, c := range capture.Conns(t, "proxymap-from-*") {
		t.Run(c.Name(), func(t *testing.T) {
			said, log := converse(t, testServer(recordedTables(t, c)...), c.Client)
			if !bytes.Equal(said, c.Server) {
				t.Errorf("we say\n%q\nPostfix says\n%q", said, c.Server)
			}
			if log != "" {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// recordedTables are tables that know what the recorded answers say.
func recordedTables(t *testing.T, c capture.Conn) []*fakeTable {
	t.Helper()
	requests := attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Client)), attr.Strict)
	replies := attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Server)), attr.Strict)
	if _, err := mailproto.ReadGreeting(replies, mailproto.ProtoProxymap); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*fakeTable)
	var all []*fakeTable
	for {
		q, err := mailproto.ReadProxymapRequest(requests)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		a, err := mailproto.ReadProxymapReply(replies, q.Verb)
		if err != nil {
			t.Fatal(err)
		}
		f := byName[q.Table]
		if f == nil {
			f = &fakeTable{name: q.Table, rows: make(map[string]string)}
			byName[q.Table] = f
			all = append(all, f)
		}
		if q.Verb == mailproto.ProxymapLookup && a.Status == mailproto.ProxymapOK {
			f.rows[strings.ToLower(q.Key)] = a.Value
		}
	}
}

func request(r mailproto.ProxymapRequest) []byte {
	var e attr.Encoder
	r.Append(&e)
	return e.Bytes()
}

// ask sends one request and returns its reply and the log.
func ask(t *testing.T, srv *server, r mailproto.ProxymapRequest) (mailproto.ProxymapReply, string) {
	t.Helper()
	said, log := converse(t, srv, request(r))
	d := attr.NewDecoder(bufio.NewReader(bytes.NewReader(said)), attr.Strict)
	if _, err := mailproto.ReadGreeting(d, mailproto.ProtoProxymap); err != nil {
		t.Fatal(err)
	}
	reply, err := mailproto.ReadProxymapReply(d, r.Verb)
	if err != nil {
		t.Fatal(err)
	}
	return reply, log
}

func TestRequests(t *testing.T) {
	const fold = mailproto.DictFoldFix
	lookup := func(table, key string) mailproto.ProxymapRequest {
		return mailproto.ProxymapRequest{Verb: mailproto.ProxymapLookup, Table: table, InstanceFlags: fold, Flags: 5, Key: key}
	}
	for _, c := range []struct {
		name  string
		write bool
		req   mailproto.ProxymapRequest
		want  mailproto.ProxymapReply
		log   string
	}{
		{"found", false, lookup("fake:t", "k"), mailproto.ProxymapReply{Flags: 5, Value: "v"}, ""},
		{"with proxy: before it", false, lookup("proxy:fake:t", "k"), mailproto.ProxymapReply{Flags: 5, Value: "v"}, ""},
		{"a key is folded", false, lookup("fake:t", "K"), mailproto.ProxymapReply{Flags: 5, Value: "v"}, ""},
		{"not found", false, lookup("fake:t", "x"), mailproto.ProxymapReply{Status: mailproto.ProxymapNoKey, Flags: 5}, ""},
		{"failed", false, lookup("fake:broken", "k"), mailproto.ProxymapReply{Status: mailproto.ProxymapRetry, Flags: 5}, `lookup of "k": no luck`},
		{"a value with NUL is no answer", false, lookup("fake:t", "nul"), mailproto.ProxymapReply{Status: mailproto.ProxymapRetry, Flags: 5}, "NUL"},
		{"not served", false, lookup("texthash:/etc/shadow", "root"), mailproto.ProxymapReply{Status: mailproto.ProxymapDeny}, `request for unapproved table: "texthash:/etc/shadow"`},
		{"update by the wrong service", false, mailproto.ProxymapRequest{Verb: mailproto.ProxymapUpdate, Table: "fake:t", Key: "k", Value: "n"},
			mailproto.ProxymapReply{Status: mailproto.ProxymapDeny}, "refusing update request"},
		{"update", true, mailproto.ProxymapRequest{Verb: mailproto.ProxymapUpdate, Table: "fake:t", Key: "k", Value: "n"}, mailproto.ProxymapReply{}, ""},
		{"delete", true, mailproto.ProxymapRequest{Verb: mailproto.ProxymapDelete, Table: "fake:t", Key: "k"}, mailproto.ProxymapReply{}, ""},
		{"delete what is not there", true, mailproto.ProxymapRequest{Verb: mailproto.ProxymapDelete, Table: "fake:t", Key: "x"},
			mailproto.ProxymapReply{Status: mailproto.ProxymapNoKey}, ""},
		{"first of a sequence", true, mailproto.ProxymapRequest{Verb: mailproto.ProxymapSequence, Table: "fake:t", Function: mailproto.SequenceFirst},
			mailproto.ProxymapReply{Key: "k", Value: "v"}, ""},
		{"open a pattern table", false, mailproto.ProxymapRequest{Verb: mailproto.ProxymapOpen, Table: "fake:wild", InstanceFlags: mailproto.DictUTF8Request},
			mailproto.ProxymapReply{Flags: mailproto.DictUTF8Request | mailproto.DictUTF8Active | mailproto.DictPattern}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := testServer(&fakeTable{name: "fake:t", rows: map[string]string{"k": "v", "nul": "a\x00b"}},
				&fakeTable{name: "fake:broken", err: errors.New("no luck")}, &fakeTable{name: "fake:wild", wild: true})
			srv.write = c.write
			got, log := ask(t, srv, c.req)
			if got != c.want {
				t.Errorf("reply %+v, want %+v", got, c.want)
			}
			if (c.log == "") != (log == "") || !strings.Contains(log, c.log) {
				t.Errorf("log %q, want %q", log, c.log)
			}
		})
	}
}

func TestUnknownRequestEndsTheConnection(t *testing.T) {
	again := request(mailproto.ProxymapRequest{Verb: mailproto.ProxymapOpen, Table: "fake:t"})
	said, log := converse(t, testServer(), append([]byte("request\x00exec\x00table\x00x\x00\x00"), again...))
	if want := "protocol\x00proxymap_protocol\x00\x00status\x003\x00\x00"; string(said) != want {
		t.Errorf("said %q, want %q", said, want)
	}
	if !strings.Contains(log, `unrecognized request: "exec"`) {
		t.Errorf("log %q", log)
	}
}

// TestDrainEndsIdleClients: a client that waits for nothing does not hold up a
// successor.
func TestDrainEndsIdleClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		drain := make(chan struct{})
		go func() {
			defer theirs.Close()
			testServer().serve(t.Context(), &service.Session{Conn: theirs, Drain: drain, Log: maillog.New(maillog.Options{Writer: io.Discard})})
		}()
		if _, err := io.ReadFull(ours, make([]byte, len("protocol\x00proxymap_protocol\x00\x00"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begin := time.Now()
		close(drain)
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begin) > time.Second {
			t.Errorf("the connection ended with %v after %v", err, time.Since(begin))
		}
	})
}

func TestApprovedTables(t *testing.T) {
	main := map[string]string{
		"virtual_alias_maps":           "proxy:pgsql:/etc/a.cf, inline:{ x = y }, mysql:/etc/${which}.cf",
		"which":                        "b",
		"transport_maps":               "pipemap:{ldap:/etc/c.cf, texthash:/etc/d}, proxy:texthash:/etc/proxied",
		"smtpd_recipient_restrictions": "reject_unauth_destination, check_recipient_access { redis:/etc/e.cf, search_order = x }",
		"mynetworks":                   "127.0.0.0/8, !sqlite:/etc/f.cf",
		"local_recipient_maps":         "proxy:unix:passwd.byname",
		"my_own":                       "memcache:cache",
		"sender_canonical_maps":        "debug:pgsql:/etc/g.cf, debug:proxy:mysql:/etc/h.cf",
		"smtp_sasl_password_maps":      "${stress?{pgsql:/etc/stress.cf}}",
		"proxy_write_maps":             "proxy:memcache:/etc/w.cf",
	}
	dir := t.TempDir()
	master := filepath.Join(dir, "master.cf")
	line := "smtp inet n - n - - smtpd\n  -o virtual_alias_maps=mysql:/etc/from-master.cf\n"
	if err := os.WriteFile(master, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.FromMap(main)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		name  string
		write bool
		want  []string
	}{
		{"to read", false, []string{"ldap:/etc/c.cf", "memcache:/etc/w.cf", "memcache:cache", "mysql:/etc/b.cf", "mysql:/etc/from-master.cf", "mysql:/etc/h.cf", "pgsql:/etc/a.cf", "pgsql:/etc/g.cf",
			"pgsql:/etc/stress.cf", "redis:/etc/e.cf", "sqlite:/etc/f.cf", "texthash:/etc/proxied", "unix:passwd.byname"}},
		{"to write", true, []string{"memcache:/etc/w.cf"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			got, err := approved(c, master, k.write)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if !slices.Equal(got, k.want) {
				t.Errorf("got  %q\nwant %q", got, k.want)
			}
		})
	}
}

// FuzzServe: whatever a client sends, the server ends without a panic and serves
// no table that was not approved.
func FuzzServe(f *testing.F) {
	f.Add(request(mailproto.ProxymapRequest{Verb: mailproto.ProxymapLookup, Table: "fake:t", Key: "k"}))
	f.Add([]byte("request\x00sequence\x00table\x00proxy:fake:t\x00instance_flags\x000\x00flags\x000\x00function\x001\x00\x00"))
	f.Fuzz(func(t *testing.T, client []byte) {
		srv := testServer(&fakeTable{name: "fake:t", rows: map[string]string{"k": "v"}})
		said, _ := converse(t, srv, client)
		if !bytes.HasPrefix(said, []byte("protocol\x00proxymap_protocol\x00\x00")) {
			t.Errorf("said %q", said)
		}
	})
}

// scripted is a connection in memory.
type scripted struct {
	net.Conn
	io.Reader
	out bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)       { return s.Reader.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) Close() error                     { return nil }
