// Package dbtest has what the tests of the clients of databases share: a server that
// says what a test makes it say, and tables that ask it.
package dbtest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/lib/table"
)

// Server listens on a loopback port until the test ends.
type Server struct {
	Host, Port string

	mu    sync.Mutex
	conns []net.Conn
	said  []string
	done  sync.WaitGroup
}

// Serve starts a server. talk has one connection, and a goroutine of its own; it ends
// when reading fails.
func Serve(t testing.TB, talk func(s *Server, conn net.Conn)) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{}
	s.Host, s.Port, _ = net.SplitHostPort(ln.Addr().String())
	s.done.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.done.Go(func() {
				defer conn.Close()
				talk(s, conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.Kick()
		s.done.Wait()
	})
	return s
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, s.Port) }

// Kick closes the connections that are there, as a server that is restarted does.
func (s *Server) Kick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

// Conns is how many connections there were.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Note keeps what a client asked for.
func (s *Server) Note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, text)
}

// Asked is what clients asked for since the last call.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return said
}

// Refused is an address on which nothing listens.
func Refused(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Open opens a table KIND:FILE whose file has the text. warned are the warnings.
func Open(t testing.TB, kind string, open table.Opener, text string) (tbl table.Table, warned []string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table.cf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := table.Env{Warnf: func(format string, args ...any) { warned = append(warned, format) }}
	tbl, err = open(env, kind+":"+path, path)
	if err == nil {
		t.Cleanup(func() { tbl.Close() }) //nolint:errcheck // the test is over
	}
	return tbl, warned, err
}

// WantMistake checks that a table with this text is not opened, and that the error names
// the file and begins with want.
func WantMistake(t testing.TB, kind string, open table.Opener, text, want string) {
	t.Helper()
	if _, _, err := Open(t, kind, open, text); err == nil || !strings.Contains(err.Error(), "table.cf: "+want) {
		t.Errorf("%q: %v; want %s", text, err, want)
	}
}

// WantNextHost checks that a host which hangs up in the middle of a question is no
// answer: the next one is asked, and without another the error names the host. open
// opens a table with the value "v" and these hosts.
func WantNextHost(t testing.TB, bad, good *Server, open func(hosts string) table.Table) {
	t.Helper()
	tried := false
	for range 20 { // hosts are tried in random order
		if got := Lookup(t, open(bad.Addr()+" "+good.Addr()), "k"); got != "v" {
			t.Fatal(got)
		}
		if tried = len(bad.Asked()) > 0; tried {
			break
		}
	}
	if !tried {
		t.Error("the host that hangs up was never asked")
	}
	if got := Lookup(t, open(bad.Addr()), "k"); !strings.HasPrefix(got, "error: host "+bad.Addr()) {
		t.Error(got)
	}
}

// MustOpen is Open of a table that is well configured.
func MustOpen(t testing.TB, kind string, open table.Opener, text string) table.Table {
	t.Helper()
	tbl, warned, err := Open(t, kind, open, text)
	if err != nil || len(warned) > 0 {
		t.Fatalf("%v, %q", err, warned)
	}
	return tbl
}

// Lookup is a look-up as a test shows it: the value, "not found", or the error after
// "error: ".
func Lookup(t testing.TB, tbl table.Table, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	value, found, err := tbl.Lookup(ctx, key)
	switch {
	case err != nil && (found || value != ""):
		t.Errorf("%q: %q, %t beside the error %v", key, value, found, err)
	case err != nil && !strings.HasPrefix(err.Error(), "table "+tbl.Name()+": "):
		t.Errorf("%q: the error does not name the table: %v", key, err)
	}
	switch {
	case err != nil:
		return "error: " + strings.TrimPrefix(err.Error(), "table "+tbl.Name()+": ")
	case !found:
		return "not found"
	}
	return value
}

// Keys are keys of which a careless client makes something else than text.
var Keys = []string{
	"bob@example.org", "o'brien@example.org", `a"b@example.org`, `back\slash@example.org`, `\'@example.org`, `''@example.org`, `'; DROP TABLE t; --@example.org`,
	"x' OR 'a'='a@example.org", "%s@example.org", "%u%d%1@example.org", "$1@example.org", "$$@example.org", "?@example.org", "*@example.org",
	"*)(mail=*@example.org", "a)(|(mail=*@example.org", "a,dc=evil@b,dc=evil", "a+b=c@d+e=f", "#x@#y", " x @ y ", "a;b@c;d", "<a>@<b>",
	"a\nb@c\nd", "a\r\nb@c\r\nd", "a\tb@c", "ü@ü.example", "a\x1ab@c", "a--b@c--d", "/*@*/", "a@b@c", "=x@=y",
}
