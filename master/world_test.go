package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/test/harness"
)

// patience is how long a test waits for anything. The slowest one starts 33 processes,
// which takes 10 seconds under the race detector beside other tests.
const patience = harness.Patience

// world is a private directory with a master in it.
type world struct {
	t      *testing.T
	dir    string
	bin    string
	conf   map[string]string
	lines  []string
	env    []string // more for master
	cmd    *exec.Cmd
	exited chan error
	ctx    context.Context
}

func newWorld(t *testing.T, lines ...string) *world {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("master without privileges is tested; run \"make test\", which steps down from root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	w := &world{t: t, dir: t.TempDir(), lines: lines, conf: map[string]string{}, ctx: ctx}
	w.bin = filepath.Join(w.dir, "bin")
	if err := os.Mkdir(w.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"master", "worker"} {
		if err := os.Symlink(self, filepath.Join(w.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\nexec " + filepath.Join(w.bin, "worker") + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(w.bin, "foreign"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		w.kill()
		if t.Failed() {
			t.Logf("log:\n%s", w.log().Text())
		}
	})
	return w
}

func (w *world) log() *harness.Log { return harness.NewLog(filepath.Join(w.dir, "maillog")) }

func (w *world) waitLog(pattern string) []string {
	w.t.Helper()
	m, err := w.log().Wait(w.ctx, 0, pattern)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) queue(name string) string { return filepath.Join(w.dir, "queue", name) }

func (w *world) write() {
	w.t.Helper()
	conf := map[string]string{
		"compatibility_level": "3.11",
		"queue_directory":     filepath.Join(w.dir, "queue"),
		"data_directory":      filepath.Join(w.dir, "data"),
		"daemon_directory":    w.bin,
		"command_directory":   w.bin,
		"maillog_file":        filepath.Join(w.dir, "maillog"),
		"myhostname":          "mail.test",
		"inet_interfaces":     "127.0.0.1",
	}
	for k, v := range w.conf {
		conf[k] = v
	}
	var text strings.Builder
	for k, v := range conf {
		fmt.Fprintf(&text, "%s = %s\n", k, v)
	}
	w.file("main.cf", text.String())
	w.file("master.cf", strings.Join(w.lines, "\n")+"\n")
}

func (w *world) file(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// start starts master and waits until it says that it runs.
func (w *world) start(args ...string) {
	w.t.Helper()
	w.write()
	mark := w.log().Mark()
	cmd := exec.Command(filepath.Join(w.bin, "master"), append([]string{"-c", w.dir, "-d", "-e", "600"}, args...)...)
	// A file, not a pipe: the workers have it too, and outlive master.
	stderr, err := os.Create(filepath.Join(w.dir, "stderr"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	cmd.Env = append(append(os.Environ(), "SECRET=not for children", "TZ=UTC"), w.env...)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	w.cmd, w.exited = cmd, exited
	if _, err := w.log().Wait(w.ctx, mark, "daemon started -- version"); err != nil {
		text, _ := os.ReadFile(stderr.Name())
		w.t.Fatalf("%v\n%s", err, text)
	}
}

func (w *world) signal(sig syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(sig); err != nil {
		w.t.Fatal(err)
	}
}

// reload waits until master has read its configuration again.
func (w *world) reload() {
	w.t.Helper()
	w.write()
	mark := w.log().Mark()
	w.signal(syscall.SIGHUP)
	if _, err := w.log().Wait(w.ctx, mark, "reload -- version"); err != nil {
		w.t.Fatal(err)
	}
}

// kill ends everything in master's process group.
func (w *world) kill() {
	if w.cmd == nil {
		return
	}
	_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
	<-w.exited
	w.exited <- nil
}

// client is a session with a worker.
type client struct {
	net.Conn
	pid   int
	facts map[string]string
}

func (w *world) dial(service string) (*client, error) {
	network, addr := "unix", w.queue(service)
	if strings.Contains(service, ":") {
		network, addr = "tcp", service
	} else if len(addr) > 100 {
		// A long temporary directory: go through the working directory's name.
		link := filepath.Join(os.TempDir(), "m"+strconv.Itoa(os.Getpid()))
		_ = os.Symlink(w.queue(""), link)
		defer os.Remove(link)
		addr = filepath.Join(link, service)
	}
	conn, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		conn.Close()
		return nil, err
	}
	c := &client{Conn: conn, facts: map[string]string{}}
	for _, f := range strings.Split(strings.TrimSpace(line), "\t") {
		name, value, _ := strings.Cut(f, "=")
		c.facts[name] = value
	}
	c.pid, err = strconv.Atoi(c.facts["pid"])
	return c, err
}

func (w *world) session(service string) *client {
	w.t.Helper()
	c, err := w.dial(service)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// successor is a session with the process after old. A connection may be accepted
// by the old worker just before it leaves; none may fail.
func (w *world) successor(service string, old *client) *client {
	w.t.Helper()
	for {
		c := w.session(service)
		if c.pid != old.pid {
			return c
		}
		c.Close()
	}
}

func (c *client) say(t *testing.T, word string) {
	t.Helper()
	if _, err := fmt.Fprintln(c, word); err != nil {
		t.Fatal(err)
	}
}

// gone waits for the end of a process.
func (w *world) gone(pid int) {
	w.t.Helper()
	err := harness.Poll(w.ctx, func() (bool, error) {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH), nil
	})
	if err != nil {
		w.t.Fatalf("process %d did not end: %v", pid, err)
	}
}

func (w *world) noLog(pattern string) {
	w.t.Helper()
	if n := w.log().Count(pattern); n > 0 {
		w.t.Errorf("%d log lines match %q", n, pattern)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
