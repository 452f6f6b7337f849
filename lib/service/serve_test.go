package service

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
)

// logBuffer collects log lines.
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

func testEnv(t testing.TB) (*Env, *logBuffer) {
	t.Helper()
	cfg, err := config.FromMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &logBuffer{}
	return &Env{Config: cfg, Log: maillog.New(maillog.Options{Program: "test", Writer: b})}, b
}

// listen returns a listener and a dialler for it.
func listen(t testing.TB) (net.Listener, func() net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return ln, func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// serve runs a server until the test ends.
func (s *server) serveTest(t testing.TB) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.run() }()
	t.Cleanup(func() {
		s.leave(reasonAtOnce)
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestServe(t *testing.T) {
	env, _ := testEnv(t)
	ln, dial := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	closed := false
	w := &Worker{
		Conn: func(ctx context.Context, s *Session) {
			io.Copy(s.Conn, s.Conn) //nolint:errcheck // the test reads
		},
		Close: func() { closed = true },
	}
	done := make(chan error)
	go func() { done <- Serve(ctx, env, w, ln) }()
	c := dial()
	io.WriteString(c, "ping")
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
		t.Fatalf("%q, %v", b, err)
	}
	begin := time.Now()
	cancel()
	if err := <-done; err != nil || !closed {
		t.Fatalf("Serve: %v, closed %v", err, closed)
	}
	if d := time.Since(begin); d > leaveGrace {
		t.Errorf("an idle session held Serve for %v", d)
	}
}

func TestRunErrorEndsTheWorker(t *testing.T) {
	env, _ := testEnv(t)
	broken := errors.New("broken")
	w := &Worker{Run: func(context.Context) error { return broken }}
	if err := Serve(t.Context(), env, w); !errors.Is(err, broken) {
		t.Fatalf("Serve: %v", err)
	}
	env, log := testEnv(t)
	w = &Worker{Run: func(context.Context) error { panic("oops") }}
	if err := Serve(t.Context(), env, w); err == nil {
		t.Fatal("a panic of Run went unnoticed")
	}
	if !strings.Contains(log.String(), "panic: oops at sealpost/lib/service.TestRunErrorEndsTheWorker") {
		t.Fatalf("log: %s", log)
	}
}

// TestSessionLimit: with all places taken a connection waits, TAKEN is sent and
// stress begins; a place that is free again is offered.
func TestSessionLimit(t *testing.T) {
	env, log := testEnv(t)
	stressed, err := env.Config.With(config.Override{Name: "stress", Value: "yes"})
	if err != nil {
		t.Fatal(err)
	}
	env.Stress = stressed
	env.MaxSessions = 2
	type started struct {
		s    *Session
		stop chan struct{}
	}
	sessions := make(chan started)
	w := &Worker{Conn: func(ctx context.Context, s *Session) {
		me := started{s, make(chan struct{})}
		sessions <- me
		<-me.stop
	}}
	s := newServer(t.Context(), env, w)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(fds[0]), "status")
	defer ours.Close()
	defer unix.Close(fds[1])
	s.status = &status{fd: fds[1] + 1, last: -1, generation: 7}
	now := time.Unix(1e9, 0)
	s.stress = newStress(env.Log, "smtp", false)
	s.stress.address = "25"
	s.stress.clock = func() time.Time { return now }
	ln, dial := listen(t)
	s.addListener(ln)
	s.serveTest(t)
	state := func() uint32 {
		var b [StatusLen]byte
		if _, err := io.ReadFull(ours, b[:]); err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint32(b[8:])
	}
	dial()
	one := <-sessions
	dial()
	two := <-sessions
	if got := state(); got != StatusTaken {
		t.Fatalf("status %d when full", got)
	}
	if one.s.Stress || two.s.Stress != s.stress.on() {
		t.Errorf("stress: %v %v", one.s.Stress, two.s.Stress)
	}
	dial()
	select {
	case <-sessions:
		t.Fatal("a third session beside two")
	default:
	}
	close(one.stop)
	three := <-sessions
	if !three.s.Stress || three.s.Config != stressed {
		t.Error("the session after the limit was reached has no stress values")
	}
	close(two.stop)
	close(three.stop)
	for state() != StatusAvail { // AVAIL and TAKEN in between may or may not be seen
	}
	want := `warning: service "smtp" (25) has reached its process limit "2": new clients may experience noticeable delays`
	if got := log.String(); strings.Count(got, want) != 1 || strings.Count(got, "\n") != 3 {
		t.Errorf("log:\n%s", got)
	}
	now = now.Add(stressTime)
	if s.stress.on() {
		t.Error("stress does not end")
	}
}

func TestFrequentPanicsDoNotStopTheService(t *testing.T) {
	env, log := testEnv(t)
	s := newServer(t.Context(), env, &Worker{})
	sess := &Session{Log: env.Log}
	for i := range maxPanics + 1 {
		s.panicked(sess, "x")
		left := len(s.leaving) == 1
		if want := i < maxPanics; left != want {
			t.Fatalf("after %d panics: leaves %v, want %v", i+1, left, want)
		}
		if left {
			<-s.leaving
		}
	}
	if !strings.Contains(log.String(), "more than 5 sessions panicked") {
		t.Errorf("log: %s", log)
	}
}

func TestTrigger(t *testing.T) {
	env, _ := testEnv(t)
	got := make(chan string, 1)
	s := newServer(t.Context(), env, &Worker{Trigger: func(_ context.Context, b []byte) { got <- string(b) }})
	ln, dial := listen(t)
	s.addListener(ln)
	s.serveTest(t)
	for _, tt := range []struct{ send, want string }{
		{"W", "W"}, {"FADI\x00", "FADI"}, {"\x00", ""}, {strings.Repeat("D", 2000), strings.Repeat("D", triggerSize)},
	} {
		c := dial()
		io.WriteString(c, tt.send)
		if g := <-got; g != tt.want {
			t.Errorf("sent %.10q: %.10q (%d bytes)", tt.send, g, len(g))
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the trigger's connection was not closed")
		}
	}
}

func TestDatagrams(t *testing.T) {
	env, _ := testEnv(t)
	var mu sync.Mutex
	var batch []string
	batches := make(chan []string, 10)
	s := newServer(t.Context(), env, &Worker{
		Datagram: func(b []byte) { mu.Lock(); batch = append(batch, string(b)); mu.Unlock() },
		Quiet:    func() { mu.Lock(); batches <- batch; batch = nil; mu.Unlock() },
	})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	for _, line := range []string{"one", "two", ""} {
		if err := unix.Send(fds[0], []byte(line), 0); err != nil {
			t.Fatal(err)
		}
	}
	f := os.NewFile(uintptr(fds[1]), "log")
	s.own(f)
	s.accepting.Go(func() { s.datagramLoop(f) })
	s.serveTest(t)
	if got := fmt.Sprintf("%q", <-batches); got != `["one" "two" ""]` {
		t.Errorf("first batch %s", got)
	}
	if err := unix.Send(fds[0], []byte("three"), 0); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%q", <-batches); got != `["three"]` {
		t.Errorf("second batch %s", got)
	}
}

// TestDatagramServiceStopsWhileItReceives: the reader is in the middle of a read
// when the service is told to stop.
func TestDatagramServiceStopsWhileItReceives(t *testing.T) {
	env, _ := testEnv(t)
	reading, goOn := make(chan struct{}), make(chan struct{})
	s := newServer(t.Context(), env, &Worker{
		Datagram: func([]byte) {},
		Quiet:    func() { close(reading); <-goOn },
	})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	f := os.NewFile(uintptr(fds[1]), "log")
	s.own(f)
	s.accepting.Go(func() { s.datagramLoop(f) })
	if err := unix.Send(fds[0], []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	<-reading
	stopped := make(chan struct{})
	go func() { s.stopAccepting(); close(stopped) }()
	for !s.stopping() {
		runtime.Gosched()
	}
	close(goOn)
	select {
	case <-stopped:
	case <-time.After(30 * time.Second):
		t.Fatal("the service does not stop")
	}
}

// stopping reports whether stopAccepting has begun.
func (s *server) stopping() bool {
	if !s.mu.TryLock() {
		return true
	}
	defer s.mu.Unlock()
	return s.stopped
}

// TestIdleSessionMemory bounds what the frame itself costs per idle session.
func TestIdleSessionMemory(t *testing.T) {
	env, _ := testEnv(t)
	const n = 400
	var ready sync.WaitGroup
	ready.Add(n)
	w := &Worker{Conn: func(ctx context.Context, s *Session) {
		ready.Done()
		var b [1]byte
		s.Conn.Read(b[:]) //nolint:errcheck // until the end
	}}
	ln, dial := listen(t)
	s := newServer(t.Context(), env, w)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s.addListener(ln)
	s.serveTest(t)
	for range n {
		dial()
	}
	ready.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	use := func(m *runtime.MemStats) uint64 { return m.HeapAlloc + m.StackInuse }
	per := (int64(use(&after)) - int64(use(&before))) / n
	t.Logf("%d bytes per session, both ends", per)
	if per > 8<<10 {
		t.Errorf("%d bytes per idle session, both ends", per)
	}
}

func BenchmarkSession(b *testing.B) {
	env, _ := testEnv(b)
	env.Log = nil
	ln, _ := listen(b)
	path := ln.Addr().String()
	s := newServer(b.Context(), env, &Worker{Conn: func(_ context.Context, s *Session) {
		s.Conn.Write([]byte("hello"))
	}})
	s.addListener(ln)
	s.serveTest(b)
	b.ReportAllocs()
	buf := make([]byte, 8)
	for b.Loop() {
		c, err := net.Dial("unix", path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
