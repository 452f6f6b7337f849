package service

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests of Main run this test binary as a daemon: envDaemon names which one.
const envDaemon = "SERVICE_TEST_DAEMON"

func TestMain(m *testing.M) {
	if name := os.Getenv(envDaemon); name != "" {
		os.Args[0] = name
		Main(daemons[name]) // does not return
	}
	os.Exit(m.Run())
}

// daemons are the programs that the tests start.
var daemons = map[string]Spec{
	"echo": {Program: "echo", Init: func(env *Env) (*Worker, error) {
		w := &Worker{Conn: func(ctx context.Context, s *Session) { echo(env, s) }}
		w.Files = []string{filepath.Join(env.Config.Dir(), "table")}
		return w, nil
	}},
	"steady": {Program: "steady", Init: func(env *Env) (*Worker, error) {
		return &Worker{Conn: func(ctx context.Context, s *Session) { steady(env, s) }}, nil
	}},
	"queue": {Program: "queue", Kind: MultiClient, NeedSingle: true, Init: func(env *Env) (*Worker, error) {
		return &Worker{
			Trigger: func(_ context.Context, codes []byte) { env.Log.Infof("codes %s", codes) },
			Run: func(ctx context.Context) error {
				env.Log.Infof("running")
				<-ctx.Done()
				env.Log.Infof("stopped")
				return nil
			},
		}, nil
	}},
	"whoami": {Program: "whoami", Init: func(*Env) (*Worker, error) { return &Worker{Conn: whoami}, nil }},
	"broken": {Program: "broken", Init: func(*Env) (*Worker, error) {
		return nil, errors.New("open table x: no such file")
	}},
}

// echo answers each line with it; "421" when asked to leave; "panic" panics.
func echo(env *Env, s *Session) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		sc := bufio.NewScanner(s.Conn)
		for sc.Scan() {
			lines <- sc.Text()
		}
	}()
	s.Log.Infof("connect")
	for {
		select {
		case line, ok := <-lines:
			switch {
			case !ok:
				return
			case line == "panic":
				go func() {
					for range lines {
					}
				}()
				panic("asked to")
			}
			fmt.Fprintf(s.Conn, "%d %s\n", os.Getpid(), line)
		case <-s.Drain:
			fmt.Fprintf(s.Conn, "421\n")
			go func() {
				for range lines {
				}
			}()
			return
		}
	}
}

// steady answers each line with the number of sessions over all workers. It does not
// leave.
func steady(env *Env, s *Session) {
	env.Tally.Add("k", 1)
	defer env.Tally.Add("k", -1)
	for sc := bufio.NewScanner(s.Conn); sc.Scan(); {
		fmt.Fprintf(s.Conn, "%d %d\n", os.Getpid(), env.Tally.Add("k", 0))
	}
}

// listenOnce serves one connection with a reply.
func listenOnce(t *testing.T, reply string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		io.WriteString(conn, reply)
		conn.Close()
	}()
	return path
}

// master is the part of master that a worker sees.
type master struct {
	t    *testing.T
	dir  string
	ln   *os.File
	addr string
	gen  int
	log  *logSink
}

func newMaster(t *testing.T, transport string) *master {
	t.Helper()
	// The name of a test's own directory may be too long for a socket address.
	dir, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &master{t: t, dir: dir}
	for _, d := range []string{"private", "public", "pid"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.config("")
	m.write("table", "one\n")
	m.log = newLogSink(t, filepath.Join(dir, "public/postlog"))
	if transport == "inet" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		m.addr = ln.Addr().String()
		m.ln, err = ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	} else {
		m.addr = filepath.Join(dir, "private/svc")
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.addr, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		if m.ln, err = ln.File(); err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
	if err := unix.SetNonblock(int(m.ln.Fd()), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.ln.Close() })
	return m
}

func (m *master) config(extra string) {
	text := "queue_directory = " + m.dir + "\nmaillog_file = " + m.dir + "/log\n" + extra
	if err := os.WriteFile(filepath.Join(m.dir, "main.cf"), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// write replaces a file by renaming, as postmap does.
func (m *master) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

// child is one worker.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	status *os.File
	exited chan struct{}
	err    error
}

// start starts a worker. ours: with EnvSessions set to sessions.
func (m *master) start(daemon string, ours bool, sessions int, args ...string) *child {
	m.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "status")
	defer theirs.Close()
	unix.SetNonblock(fds[0], true)
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	exe, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	m.gen++
	c := &child{t: m.t, status: os.NewFile(uintptr(fds[0]), "status"), exited: make(chan struct{})}
	c.cmd = exec.Command(exe)
	c.cmd.Args = append([]string{daemon}, args...)
	c.cmd.ExtraFiles = []*os.File{r, w, theirs, m.ln}
	c.cmd.Env = append(os.Environ(), envDaemon+"="+daemon, "MAIL_CONFIG="+m.dir,
		"POSTLOG_SERVICE="+filepath.Join(m.dir, "public/postlog"), EnvGeneration+"="+strconv.FormatInt(int64(m.gen), 8))
	if ours {
		c.cmd.Env = append(c.cmd.Env, EnvSessions+"="+strconv.Itoa(sessions))
	}
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	m.t.Cleanup(func() {
		c.status.Close()
		select {
		case <-c.exited:
		default:
			c.cmd.Process.Kill()
			<-c.exited
		}
	})
	return c
}

// record reads one status record.
func (c *child) record() (gen, state int) {
	c.t.Helper()
	c.status.SetReadDeadline(time.Now().Add(10 * time.Second))
	var b [StatusLen]byte
	if _, err := io.ReadFull(c.status, b[:]); err != nil {
		c.t.Fatalf("status record: %v", err)
	}
	if pid := int(binary.NativeEndian.Uint32(b[:])); pid != c.cmd.Process.Pid {
		c.t.Fatalf("status record of %d, want %d", pid, c.cmd.Process.Pid)
	}
	return int(binary.NativeEndian.Uint32(b[4:])), int(binary.NativeEndian.Uint32(b[8:]))
}

// want reads records and compares their states.
func (c *child) want(states ...int) {
	c.t.Helper()
	for _, want := range states {
		if _, got := c.record(); got != want {
			c.t.Fatalf("status record %d, want %d", got, want)
		}
	}
}

func (c *child) ready() { c.t.Helper(); c.want(StatusTaken, StatusAvail) }

// reload closes the status channel, as master does at reload and exit.
func (c *child) reload() { c.status.Close() }

// exit waits for the end and returns the exit status.
func (c *child) exit() int {
	c.t.Helper()
	select {
	case <-c.exited:
	case <-time.After(20 * time.Second):
		c.t.Fatal("worker does not exit")
	}
	return c.cmd.ProcessState.ExitCode()
}

// client is one connection to an echo worker.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (m *master) dial() *client {
	m.t.Helper()
	network := "unix"
	if !strings.HasPrefix(m.addr, "/") {
		network = "tcp"
	}
	conn, err := net.Dial(network, m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{m.t, conn, bufio.NewReader(conn)}
}

// say sends a line and returns the answer without line end; "" when closed.
func (c *client) say(line string) string {
	fmt.Fprintf(c.Conn, "%s\n", line)
	return c.read()
}

func (c *client) read() string {
	s, _ := c.r.ReadString('\n')
	return strings.TrimSuffix(s, "\n")
}

// logSink is a postlogd for tests.
type logSink struct {
	t     *testing.T
	mu    sync.Mutex
	cond  sync.Cond
	lines []string
}

func newLogSink(t *testing.T, path string) *logSink {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &logSink{t: t}
	s.cond.L = &s.mu
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 8192)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.lines = append(s.lines, string(b[:n]))
			s.cond.Broadcast()
			s.mu.Unlock()
		}
	}()
	return s
}

// wait waits for a line that contains text.
func (s *logSink) wait(text string) string {
	s.t.Helper()
	timer := time.AfterFunc(10*time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lines = append(s.lines, "TIMEOUT")
		s.cond.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for seen := 0; ; s.cond.Wait() {
		for ; seen < len(s.lines); seen++ {
			l := s.lines[seen]
			if strings.Contains(l, text) {
				return l
			}
			if l == "TIMEOUT" {
				s.t.Fatalf("no log line with %q in:\n%s", text, strings.Join(s.lines, "\n"))
			}
		}
	}
}
