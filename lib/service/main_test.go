package service

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestWorkerUnderOurMaster(t *testing.T) {
	for _, transport := range []string{"inet", "unix"} {
		t.Run(transport, func(t *testing.T) {
			m := newMaster(t, transport)
			c := m.start("echo", true, 2, "-t", transport, "-n", "svc")
			gen, state := c.record()
			if gen != m.gen || state != StatusTaken {
				t.Fatalf("first record: generation %d state %d", gen, state)
			}
			c.want(StatusAvail)
			one := m.dial()
			if got, want := one.say("hi"), fmt.Sprintf("%d hi", c.cmd.Process.Pid); got != want {
				t.Fatalf("answer %q, want %q", got, want)
			}
			m.log.wait("postfix/echo[1]: connect")
			two := m.dial()
			two.say("hi")
			c.want(StatusTaken)
			two.Close()
			c.want(StatusAvail)
			c.reload()
			if got := one.read(); got != "421" {
				t.Fatalf("while draining: %q", got)
			}
			if code := c.exit(); code != 0 {
				t.Fatalf("exit status %d", code)
			}
		})
	}
}

func TestWorkerStopsAtOnce(t *testing.T) {
	t.Run("SIGTERM", func(t *testing.T) {
		m := newMaster(t, "inet")
		c := m.start("echo", true, 0, "-t", "inet", "-z")
		c.ready()
		one := m.dial()
		one.say("hi")
		c.cmd.Process.Signal(syscall.SIGTERM)
		if code := c.exit(); code != 0 {
			t.Fatalf("exit status %d", code)
		}
	})
	t.Run("reload of a service that runs once", func(t *testing.T) {
		m := newMaster(t, "unix")
		c := m.start("queue", true, 1, "-t", "unix", "-l")
		c.ready()
		one := m.dial()
		io.WriteString(one, "FADI")
		m.log.wait("codes FADI") // without waiting for the NUL
		m.log.wait("running")
		c.reload()
		m.log.wait("stopped")
		if code := c.exit(); code != 0 {
			t.Fatalf("exit status %d", code)
		}
	})
}

func TestTableChange(t *testing.T) {
	m := newMaster(t, "inet")
	c := m.start("echo", true, 0, "-t", "inet", "-z")
	c.ready()
	one := m.dial()
	one.say("hi")
	m.write("table", "two\n")
	c.want(StatusLeaving)
	m.log.wait("table " + filepath.Join(m.dir, "table") + " has changed -- restarting")
	if got := one.read(); got != "421" {
		t.Fatalf("while draining: %q", got)
	}
	one.Close()
	if code := c.exit(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
}

func TestPanicEndsTheSession(t *testing.T) {
	m := newMaster(t, "inet")
	c := m.start("echo", true, 0, "-t", "inet", "-z")
	c.ready()
	one, two := m.dial(), m.dial()
	two.say("hi")
	if got := one.say("panic"); got != "" {
		t.Fatalf("answer %q", got)
	}
	line := m.log.wait("panic: session ended: asked to at sealpost/lib/service.echo")
	if !strings.Contains(line, "harness_test.go:") {
		t.Fatalf("no stack in %q", line)
	}
	c.want(StatusLeaving)
	if got := two.read(); got != "421" {
		t.Fatalf("other session: %q", got)
	}
	two.Close()
	if code := c.exit(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
}

func TestForeignMaster(t *testing.T) {
	m := newMaster(t, "unix")
	one := m.start("echo", false, 0, "-t", "unix", "-n", "svc", "-i", "2s")
	one.ready()
	two := m.start("echo", false, 0, "-t", "unix", "-n", "svc")
	two.ready()
	if _, err := os.Stat(filepath.Join(m.dir, "pid/unix.svc")); err != nil {
		t.Fatal(err)
	}
	// Both take connections as they come; each answers.
	for range 20 {
		c := m.dial()
		if got := c.say("x"); !strings.HasSuffix(got, " x") {
			t.Fatalf("answer %q", got)
		}
		c.Close()
	}
	// The first leaves when it was idle for 2 s.
	if code := one.exit(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	if c := m.dial(); c.say("x") != fmt.Sprintf("%d x", two.cmd.Process.Pid) {
		t.Fatal("the second copy does not serve")
	}
	two.reload()
	two.exit()
}

func TestStartFails(t *testing.T) {
	for _, tt := range []struct {
		name, daemon string
		args         []string
		want         string
	}{
		{"init", "broken", []string{"-t", "unix"}, "fatal: open table x: no such file"},
		{"transport", "echo", nil, "fatal: no transport type specified"},
		{"single", "queue", []string{"-t", "unix", "-n", "qmgr"}, "fatal: service qmgr requires a process limit of 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMaster(t, "unix")
			c := m.start(tt.daemon, true, 1, tt.args...)
			m.log.wait(tt.want)
			if code := c.exit(); code != 1 {
				t.Fatalf("exit status %d, want 1", code)
			}
		})
	}
}

func TestControlSocket(t *testing.T) {
	m := newMaster(t, "inet")
	c := m.start("echo", true, 7, "-t", "inet", "-n", "127.0.0.1:25")
	c.ready()
	one := m.dial()
	one.say("hi")
	path := filepath.Join(m.dir, ControlPath("inet", "127.0.0.1:25"))
	st, err := Control(path, ControlVerbose, 2)
	if err != nil {
		t.Fatal(err)
	}
	if st.PID != c.cmd.Process.Pid || st.Program != "echo" || st.Service != "127.0.0.1:25" ||
		st.Sessions != 1 || st.MaxSessions != 7 || st.Verbose != 2 || st.Draining || len(st.Counts) == 0 {
		t.Fatalf("status %+v", st)
	}
	if _, err := Control(path, "explode", 0); err == nil {
		t.Fatal("an unknown request was accepted")
	}
	info, err := os.Stat(filepath.Join(m.dir, ControlDir))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("control directory: %v %v", info.Mode(), err)
	}
	// A successor takes the path over; the old worker leaves it alone.
	c.reload()
	two := m.start("echo", true, 7, "-t", "inet", "-n", "127.0.0.1:25")
	two.ready()
	one.Close()
	c.exit()
	if st, err = Control(path, ControlStatus, 0); err != nil || st.PID != two.cmd.Process.Pid {
		t.Fatalf("after reload: %+v, %v", st, err)
	}
}

// TestReloadUnderLoad replaces the worker again and again while clients come and
// go: every connection is accepted, and ends with an answer or with 421.
func TestReloadUnderLoad(t *testing.T) {
	m := newMaster(t, "inet")
	cur := m.start("echo", true, 0, "-t", "inet", "-z")
	cur.ready()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var served, dismissed atomic.Int64
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !m.visit(&served, &dismissed) {
					return
				}
			}
		})
	}
	for range 10 {
		next := m.start("echo", true, 0, "-t", "inet", "-z")
		cur.reload()
		next.ready()
		cur.exit()
		cur = next
	}
	close(stop)
	clients.Wait()
	if served.Load() == 0 {
		t.Fatal("no session was served")
	}
	t.Logf("%d sessions served, %d told to come back", served.Load(), dismissed.Load())
	cur.reload()
	cur.exit()
}

// visit is one session of ten commands.
func (m *master) visit(served, dismissed *atomic.Int64) bool {
	conn, err := net.Dial("tcp", m.addr)
	if err != nil {
		m.t.Errorf("refused: %v", err)
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 64)
	for range 10 {
		_, werr := io.WriteString(conn, "x\n")
		n, err := conn.Read(b)
		switch got := string(b[:n]); {
		case err != nil:
			m.t.Errorf("connection ended: write %v, read %v", werr, err)
			return false
		case strings.HasSuffix(got, "421\n"):
			dismissed.Add(1)
			return true
		case !strings.HasSuffix(got, " x\n"):
			m.t.Errorf("answer %q", got)
			return false
		}
	}
	served.Add(1)
	return true
}
