package policyclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a policy server: what it says to each request, "close" to hang up first.
type fake struct {
	addr string

	mu       sync.Mutex
	conns    int
	requests []string
}

func serve(t testing.TB, answers ...string) *fake {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: "inet:" + ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); f.talk(c, answers) })
		}
	})
	t.Cleanup(func() { ln.Close() })
	return f
}

func (f *fake) talk(c net.Conn, answers []string) {
	f.mu.Lock()
	f.conns++
	f.mu.Unlock()
	in := bufio.NewReader(c)
	for {
		var request strings.Builder
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\n" {
				break
			}
			request.WriteString(line)
		}
		f.mu.Lock()
		answer := answers[min(len(f.requests), len(answers)-1)]
		f.requests = append(f.requests, request.String())
		f.mu.Unlock()
		if answer == "close" {
			return
		}
		fmt.Fprint(c, answer)
	}
}

func (f *fake) first() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[0]
}

func (f *fake) accepted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns
}

var quick = Options{Timeout: 2 * time.Second, MaxIdle: time.Minute, MaxTTL: time.Minute, Tries: 2, RetryDelay: time.Millisecond}

func ask(t *testing.T, f *fake, o Options, times int) (s *Service, actions []string, err error) {
	t.Helper()
	s, err = New(f.addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for range times {
		action, err := s.Ask(context.Background(), []Attr{{"request", "smtpd_access_policy"}, {"sender", "a\nb\x00"}, {"empty", ""}})
		if err != nil {
			return s, actions, err
		}
		actions = append(actions, action)
	}
	return s, actions, nil
}

func TestAsk(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []string
		want    string
		err     error
	}{
		{"answer", []string{"action=DUNNO\n\n"}, "DUNNO", nil},
		{"blanks and other attributes", []string{"x=y\naction = REJECT go away \n\n"}, "REJECT go away", nil},
		{"CR LF", []string{"action=OK\r\n\r\n"}, "OK", nil},
		{"hangs up once", []string{"close", "action=OK\n\n"}, "OK", nil},
		{"hangs up always", []string{"close"}, "", io.EOF},
		{"no action", []string{"x=y\n\n"}, "", ErrReply},
		{"empty action", []string{"action=\n\n"}, "", ErrReply},
		{"garbage", []string{"hello\n\n"}, "", ErrReply},
		{"no end", []string{"action=" + strings.Repeat("x", 10000)}, "", ErrReply},
		{"many lines", []string{strings.Repeat("x=y\n", 200)}, "", ErrReply},
	} {
		f := serve(t, tt.answers...)
		_, got, err := ask(t, f, quick, 1)
		if !errors.Is(err, tt.err) || tt.err == nil && got[0] != tt.want {
			t.Errorf("%s: got %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if want := "request=smtpd_access_policy\nsender=a?b?\nempty=\n"; f.first() != want {
			t.Errorf("%s: request %q", tt.name, f.first())
		}
	}
}

func TestConnectionsAreKept(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     func(o *Options)
		conns int
	}{
		{"kept", func(*Options) {}, 1},
		{"two requests each", func(o *Options) { o.RequestLimit = 2 }, 2},
		{"too old", func(o *Options) { o.MaxTTL = 0 }, 4},
		{"idle for too long", func(o *Options) { o.MaxIdle = 0 }, 4},
	} {
		o := quick
		tt.o(&o)
		f := serve(t, "action=OK\n\n")
		if _, _, err := ask(t, f, o, 4); err != nil {
			t.Fatal(err)
		}
		if n := f.accepted(); n != tt.conns {
			t.Errorf("%s: %d connections, want %d", tt.name, n, tt.conns)
		}
	}
}

// TestServerThatHangs: the time limit holds for each try.
func TestServerThatHangs(t *testing.T) {
	f := serve(t, "")
	o := quick
	o.Timeout = 50 * time.Millisecond
	begin := time.Now()
	_, _, err := ask(t, f, o, 1)
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("error %v", err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestEndpoints(t *testing.T) {
	for _, bad := range []string{"", "inet:", "inet:host", "unix:", "/path", "tcp:h:1"} {
		if _, err := New(bad, quick); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzReply: an action that is returned has no line end and is not empty.
func FuzzReply(f *testing.F) {
	f.Add("action=DUNNO\n\n")
	f.Add("a=b\naction = x\r\n\r\n")
	f.Add("\n")
	f.Fuzz(func(t *testing.T, text string) {
		action, err := readReply(bufio.NewReaderSize(strings.NewReader(text), maxLine))
		if err == nil && (strings.TrimSpace(action) == "" || strings.Contains(action, "\n")) {
			t.Errorf("%q: %q", text, action)
		}
	})
}
