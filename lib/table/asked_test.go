package table

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
)

// fakeProxymap answers look-ups on a socket and counts its connections.
type fakeProxymap struct {
	path   string
	answer func(key string) mailproto.ProxymapReply
	conns  atomic.Int32
	ln     net.Listener
	hangUp atomic.Bool // after each look-up
}

func startProxymap(t *testing.T, answer func(key string) mailproto.ProxymapReply) *fakeProxymap {
	t.Helper()
	f := &fakeProxymap{path: filepath.Join(t.TempDir(), "proxymap"), answer: answer}
	ln, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.ln = ln
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.conns.Add(1)
			go f.serve(c)
		}
	}()
	return f
}

func (f *fakeProxymap) serve(c net.Conn) {
	defer c.Close()
	var e attr.Encoder
	d := attr.NewDecoder(bufio.NewReader(c), attr.Strict)
	mailproto.Greeting{Protocol: mailproto.ProtoProxymap}.Append(&e)
	for {
		if _, err := c.Write(e.Bytes()); err != nil {
			return
		}
		e.Reset()
		r, err := mailproto.ReadProxymapRequest(d)
		if err != nil {
			return
		}
		reply := mailproto.ProxymapReply{Flags: r.InstanceFlags | mailproto.DictFixed}
		if r.Verb == mailproto.ProxymapLookup {
			reply = f.answer(r.Key)
		}
		reply.Append(&e, r.Verb)
		if r.Verb == mailproto.ProxymapLookup && f.hangUp.Load() {
			c.Write(e.Bytes()) //nolint:errcheck // the client tells
			return
		}
	}
}

func statusFor(key string) mailproto.ProxymapReply {
	switch key {
	case "there":
		return mailproto.ProxymapReply{Value: "value"}
	case "down":
		return mailproto.ProxymapReply{Status: mailproto.ProxymapRetry}
	case "bad":
		return mailproto.ProxymapReply{Status: mailproto.ProxymapBad}
	case "denied":
		return mailproto.ProxymapReply{Status: mailproto.ProxymapDeny}
	case "config":
		return mailproto.ProxymapReply{Status: mailproto.ProxymapConfig}
	}
	return mailproto.ProxymapReply{Status: mailproto.ProxymapNoKey}
}

func TestDatabaseTablesAreAskedThroughProxymap(t *testing.T) {
	f := startProxymap(t, statusFor)
	for _, spec := range []string{"pgsql:/etc/x.cf", "proxy:mysql:/etc/x.cf", "unix:passwd.byname", "pipemap:{redis:/x}"} {
		tbl, err := TryOpen(Env{Proxymap: f.path}, spec)
		if err != nil {
			t.Fatal(err)
		}
		defer tbl.Close()
		if value, found, err := tbl.Lookup(t.Context(), "there"); value != "value" || !found || err != nil {
			t.Errorf("%s: %q, %v, %v", spec, value, found, err)
		}
	}
}

func TestAskedOutcomes(t *testing.T) {
	f := startProxymap(t, statusFor)
	tbl := Open(Env{Proxymap: f.path}, "ldap:/etc/x.cf")
	defer tbl.Close()
	for _, c := range []struct {
		key   string
		found bool
		err   error
	}{
		{"there", true, nil}, {"absent", false, nil}, {"", false, nil}, {"a\x00b", false, nil},
		{"down", false, ErrRetry}, {"bad", false, ErrReply}, {"denied", false, ErrDenied}, {"config", false, ErrConfig},
		{"there", true, nil},
	} {
		_, found, err := tbl.Lookup(t.Context(), c.key)
		if found != c.found || !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), "ldap:/etc/x.cf") {
			t.Errorf("%q: %v, %v; want %v, %v", c.key, found, err, c.found, c.err)
		}
	}
	if n := f.conns.Load(); n != 1 {
		t.Errorf("%d connections for all look-ups, want 1", n)
	}
}

func TestAskedSurvivesARestartOfProxymap(t *testing.T) {
	f := startProxymap(t, statusFor)
	f.hangUp.Store(true)
	tbl := Open(Env{Proxymap: f.path}, "ldap:/etc/x.cf")
	defer tbl.Close()
	for range 3 {
		if _, found, err := tbl.Lookup(t.Context(), "there"); !found || err != nil {
			t.Fatalf("%v, %v", found, err)
		}
	}
	f.ln.Close()
	if _, found, err := tbl.Lookup(t.Context(), "there"); err == nil || found {
		t.Errorf("without proxymap: found %v, error %v", found, err)
	}
}

func TestAskedKeepsToTheContext(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	f := startProxymap(t, func(string) mailproto.ProxymapReply { <-block; return mailproto.ProxymapReply{} })
	tbl := Open(Env{Proxymap: f.path}, "ldap:/etc/x.cf")
	defer tbl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, found, err := tbl.Lookup(ctx, "there"); err == nil || found {
		t.Errorf("found %v, error %v; want a timeout", found, err)
	}
}
