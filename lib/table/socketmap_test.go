package table

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/lib/netstring"
)

// lookupServer answers queries with what answer gives; "" ends the connection.
type lookupServer struct {
	net.Listener
	mu      sync.Mutex
	queries []string
	conns   int
}

func serveLookups(t *testing.T, read func(*bufio.Reader) (string, error), answer func(query string) string) *lookupServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lookupServer{Listener: l}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			done.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					q, err := read(r)
					if err != nil {
						return
					}
					s.mu.Lock()
					s.queries = append(s.queries, q)
					s.mu.Unlock()
					reply := answer(q)
					if reply == "" {
						return
					}
					if _, err := c.Write([]byte(reply)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		done.Wait()
	})
	return s
}

func readNetstring(r *bufio.Reader) (string, error) { return netstring.Read(r, 20000) }

func mustOpen(t *testing.T, spec string) Table {
	t.Helper()
	table, err := TryOpen(Env{}, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func TestSocketmap(t *testing.T) {
	answers := map[string]string{
		"sts good.example":  "OK secure match=mx",
		"sts empty.example": "OK ",
		"sts none.example":  "NOTFOUND ",
		"sts temp.example":  "TEMP come back",
		"sts slow.example":  "TIMEOUT ",
		"sts perm.example":  "PERM broken",
		"sts odd.example":   "HELLO",
		"sts long.example":  "OK " + strings.Repeat("x", 100_001),
	}
	s := serveLookups(t, readNetstring, func(q string) string {
		if q == "sts gone.example" {
			return ""
		}
		if q == "sts junk.example" {
			return "x:y,"
		}
		return string(netstring.Append(nil, answers[q]))
	})
	table := mustOpen(t, "socketmap:inet:"+s.Addr().String()+":sts")
	if table.Fixed() {
		t.Error("a server is asked for parts of keys")
	}
	for _, tt := range []struct {
		key, value string
		found      bool
		err        error
	}{
		{"good.example", "secure match=mx", true, nil},
		{"GOOD.example", "secure match=mx", true, nil},
		{"empty.example", "", true, nil},
		{"none.example", "", false, nil},
		{"temp.example", "", false, ErrServer},
		{"slow.example", "", false, ErrServer},
		{"perm.example", "", false, ErrServer},
		{"odd.example", "", false, ErrAnswer},
		{"long.example", "", false, ErrAnswer},
		{"junk.example", "", false, ErrAnswer},
		{strings.Repeat("x", 10_001), "", false, ErrQuery},
		{"good.example", "secure match=mx", true, nil}, // after all that
	} {
		value, found, err := table.Lookup(context.Background(), tt.key)
		if value != tt.value || found != tt.found || !errors.Is(err, tt.err) {
			t.Errorf("%.40s: %q, %t, %v", tt.key, value, found, err)
		}
		if err != nil && !strings.Contains(err.Error(), "socketmap:inet:") {
			t.Errorf("the error does not name the table: %v", err)
		}
	}
	if _, found, err := table.Lookup(context.Background(), "gone.example"); err == nil || found {
		t.Errorf("a connection that ends: %t, %v", found, err)
	}
}

// A connection is used again, and a new one made when the server closed it.
func TestSocketmapConnections(t *testing.T) {
	var closing atomic.Bool
	s := serveLookups(t, readNetstring, func(q string) string {
		if closing.Swap(false) {
			return ""
		}
		return string(netstring.Append(nil, "OK v"))
	})
	table := mustOpen(t, "socketmap:inet:"+s.Addr().String()+":x")
	now := time.Now()
	table.(*socketmap).now = func() time.Time { return now }
	for i := range 6 {
		if i == 3 {
			closing.Store(true)
		}
		if i == 5 {
			now = now.Add(socketIdle + time.Second)
		}
		if v, _, err := table.Lookup(context.Background(), "k"); v != "v" || err != nil {
			t.Fatalf("look-up %d: %q, %v", i, v, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns != 3 {
		t.Errorf("%d connections, want 3: one, one more after it was closed, one more after it idled", s.conns)
	}
}

func TestSocketmapThatHangs(t *testing.T) {
	block := make(chan struct{})
	s := serveLookups(t, readNetstring, func(string) string { <-block; return "" })
	defer close(block)
	table := mustOpen(t, "socketmap:inet:"+s.Addr().String()+":x")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, found, err := table.Lookup(ctx, "k"); err == nil || found {
		t.Errorf("%t, %v", found, err)
	}
}

func TestSocketmapNames(t *testing.T) {
	for _, spec := range []string{"socketmap:", "socketmap:inet:127.0.0.1:25", "socketmap:inet:127.0.0.1:25:", "socketmap:tcp:127.0.0.1:1:x",
		"socketmap:unix:/x", "tcp:", "tcp:host", "tcp:host:"} {
		if table, err := TryOpen(Env{}, spec); err == nil {
			t.Errorf("%s opens as %s", spec, table.Name())
		}
	}
	table := mustOpen(t, "socketmap:unix:/nonexistent/socket:x")
	if _, found, err := table.Lookup(context.Background(), "k"); err == nil || found {
		t.Errorf("a server that is not there: %t, %v", found, err)
	}
}

func TestTCPTable(t *testing.T) {
	s := serveLookups(t, func(r *bufio.Reader) (string, error) { return readLine(r, 5000) }, func(q string) string {
		switch q {
		case "get a%20b%25":
			return "200 one%20two%0a\n"
		case "get none":
			return "500 not here\r\n"
		case "get fails":
			return "400 try%20later\n"
		case "get odd":
			return "200\n"
		case "get bad":
			return "200 %zz\n"
		}
		return strings.Repeat("x", 5000) + "\n"
	})
	table := mustOpen(t, "tcp:"+s.Addr().String())
	for _, tt := range []struct {
		key, value string
		found      bool
		err        error
	}{
		{"A b%", "one two\n", true, nil}, {"none", "", false, nil}, {"fails", "", false, ErrServer},
		{"odd", "", false, ErrAnswer}, {"bad", "", false, ErrAnswer}, {"long", "", false, ErrAnswer},
		{strings.Repeat("x", 5000), "", false, ErrQuery},
	} {
		value, found, err := table.Lookup(context.Background(), tt.key)
		if value != tt.value || found != tt.found || !errors.Is(err, tt.err) {
			t.Errorf("%.20s: %q, %t, %v", tt.key, value, found, err)
		}
	}
}

func FuzzServerAnswers(f *testing.F) {
	f.Add("OK x", "200 x%20y")
	f.Add("TEMP", "400 no")
	f.Fuzz(func(t *testing.T, netstring, line string) {
		if v, found, err := socketmapAnswer(netstring); (found || v != "") && (err != nil || !strings.HasPrefix(netstring, "OK")) {
			t.Errorf("%q: %q, %t, %v", netstring, v, found, err)
		}
		if v, found, err := tcpAnswer(line); (found || v != "") && (err != nil || !strings.HasPrefix(line, "200 ")) {
			t.Errorf("%q: %q, %t, %v", line, v, found, err)
		}
		if back, err := percentDecode(percentEncode(line)); err != nil || back != line {
			t.Errorf("%q became %q, %v", line, back, err)
		}
	})
}
