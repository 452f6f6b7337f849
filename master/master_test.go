package main

import (
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

func TestWorkerGetsWhatTheContractSays(t *testing.T) {
	w := newWorld(t,
		"one unix - n n - 1 worker -o a=b { x  y }",
		"many unix n - n - 7 worker",
		"user/submit unix n - n - 0 worker")
	w.start()
	tests := []struct {
		service, argv, sessions string
		mode                    os.FileMode
	}{
		{"private/one", "worker -l -n one -t unix -d -o a=b x  y", "1", 0o700},
		{"public/many", "worker -n many -t unix -d -u", "7", 0o710},
		{"user/submit", "worker -z -n user/submit -t unix -d -u", "0", 0o755},
	}
	for i, tt := range tests {
		t.Run(tt.service, func(t *testing.T) {
			c := w.session(tt.service)
			if c.facts["argv"] != tt.argv {
				t.Errorf("argv %q, want %q", c.facts["argv"], tt.argv)
			}
			want := fmt.Sprintf("MAIL_CONFIG=%s MAIL_LOGTAG=postfix TZ=UTC LANG=C POSTLOG_SERVICE=%s POSTLOG_HOSTNAME=mail.test GENERATION=%o SEALPOST_SESSIONS=%s",
				w.dir, w.queue("public/postlog"), i+1, tt.sessions)
			if c.facts["env"] != want {
				t.Errorf("environment\n%s\nwant\n%s", c.facts["env"], want)
			}
			if c.facts["cwd"] != w.queue("")[:len(w.queue(""))] && c.facts["cwd"]+"/" != w.queue("")+"/" {
				t.Errorf("working directory %q", c.facts["cwd"])
			}
			st, err := os.Stat(w.queue(tt.service))
			if err != nil || st.Mode() != os.ModeSocket|0o666 {
				t.Errorf("socket: %v %v", st.Mode(), err)
			}
			if st, err = os.Stat(filepath.Dir(w.queue(tt.service))); err != nil || st.Mode().Perm() != tt.mode {
				t.Errorf("directory: %v %v, want %v", st.Mode(), err, tt.mode)
			}
		})
	}
}

func TestOneWorkerServesAllSessions(t *testing.T) {
	w := newWorld(t, "many unix n - n - 7 worker")
	w.start()
	first := w.session("public/many")
	for range 10 {
		if c := w.session("public/many"); c.pid != first.pid {
			t.Fatalf("a second process %d beside %d", c.pid, first.pid)
		}
	}
}

func TestForeignProgramGetsProcessPerClient(t *testing.T) {
	w := newWorld(t, "many unix n - n - 2 foreign single")
	w.start()
	a, b := w.session("public/many"), w.session("public/many")
	if a.pid == b.pid {
		t.Fatal("both clients have the same process")
	}
	if strings.Contains(a.facts["env"], "SEALPOST_SESSIONS") {
		t.Error("a foreign program got the session variable")
	}
	// A third client waits until one of the two is free again: maxproc is 2.
	got := make(chan *client, 1)
	go func() {
		c, err := w.dial("public/many")
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	a.say(t, "quit")
	c := <-got
	if c == nil {
		return
	}
	defer c.Close()
	if c.pid != a.pid && c.pid != b.pid {
		t.Errorf("a third process %d was started beside %d and %d", c.pid, a.pid, b.pid)
	}
}

func TestKilledWorkerIsReplacedAtOnce(t *testing.T) {
	w := newWorld(t, "many unix n - n - 7 worker")
	w.start()
	pid := w.session("public/many").pid
	for range 8 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.gone(pid)
		start := time.Now()
		next := w.session("public/many")
		if next.pid == pid {
			t.Fatal("a dead process answered")
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("replaced after %v", d)
		}
		w.waitLog(fmt.Sprintf("warning: process .*/worker pid %d killed by signal 9", pid))
		pid = next.pid
	}
	w.noLog("throttling")
}

// TestKilledWhileStarting: somebody who kills daemons as they start does not keep a
// service from coming back for service_throttle_time; a daemon that never gets
// further is not started for ever.
func TestKilledWhileStarting(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t,
		"some unix n - n - 1 worker killed=12,"+filepath.Join(dir, "some"),
		"all unix n - n - 1 worker killed=1000,"+filepath.Join(dir, "all"))
	w.start()
	w.session("public/some")
	if n := w.log().Count("killed by signal 9"); n < 12 {
		t.Errorf("killed %d times, want 12", n)
	}
	w.noLog("throttling")
	conn, err := net.Dial("unix", w.queue("public/all"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.waitLog("bad command startup -- throttling")
	if n := w.log().Count("killed by signal 9"); n != 12+killedStarts {
		t.Errorf("killed %d times when it was throttled, want %d", n-12, killedStarts)
	}
}

func TestBadStartIsThrottled(t *testing.T) {
	w := newWorld(t,
		"bad unix n - n - 0 worker die-at-start",
		"absent unix n - n - 0 nosuchprogram",
		"good unix n - n - 0 worker")
	w.conf["service_throttle_time"] = "1s"
	w.start()
	for _, name := range []string{"bad", "absent"} {
		conn, err := net.Dial("unix", w.queue("public/"+name))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	w.waitLog("warning: process .*/worker pid [0-9]+ exit status 1")
	w.waitLog("warning: .*/worker: bad command startup -- throttling")
	w.waitLog("error: service absent: .*nosuchprogram")
	w.waitLog("warning: .*/nosuchprogram: bad command startup -- throttling")
	w.session("public/good")
	// The client is still there when the time is over: the next try fails as well.
	err := harness.Poll(w.ctx, func() (bool, error) {
		return w.log().Count("worker: bad command startup") >= 2, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := w.log().Count("exit status 1"); n > 3 {
		t.Errorf("%d starts in a row", n)
	}
}

func TestReloadNeverDoublesSingleProcess(t *testing.T) {
	w := newWorld(t, "one unix n - n - 1 worker hang-up-late once="+filepath.Join(t.TempDir(), "note"))
	w.start()
	old := w.session("public/one")
	w.reload()
	got := make(chan *client, 1)
	go func() {
		c, err := w.dial("public/one")
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	w.waitLog("reload -- version")
	select {
	case c := <-got:
		if c != nil && c.pid != old.pid {
			t.Fatal("a second process while the first one still has a session")
		}
	default:
	}
	old.say(t, "quit")
	c := <-got
	if c == nil {
		return
	}
	// Connections that came before the old process heard of the reload are its own.
	for c.pid == old.pid {
		if w.ctx.Err() != nil {
			t.Fatal("the old process still answers")
		}
		c.say(t, "quit")
		c.Close()
		if c, _ = w.dial("public/one"); c == nil {
			t.Fatal("nobody answers")
		}
	}
	defer c.Close()
	note := strings.TrimPrefix(strings.Fields(w.lines[0])[9], "once=")
	if text, err := os.ReadFile(note); err == nil {
		t.Errorf("%s", text)
	}
}

func TestReloadStartsSuccessorBesideOldWorker(t *testing.T) {
	w := newWorld(t, "many unix n - n - 0 worker")
	w.start()
	old := w.session("public/many")
	for range 5 {
		w.reload()
		next := w.successor("public/many", old)
		old.say(t, "quit")
		w.gone(old.pid)
		old = next
	}
	w.noLog("throttling|warning")
}

func TestWorkerThatLeavesByItselfHasASuccessor(t *testing.T) {
	w := newWorld(t, "many unix n - n - 0 worker")
	w.start()
	old := w.session("public/many")
	old.say(t, "leave")
	w.successor("public/many", old)
	old.say(t, "x") // its session goes on
	old.say(t, "quit")
	w.gone(old.pid)
	w.noLog("warning")
}

func TestReloadAddsAndRemovesServices(t *testing.T) {
	w := newWorld(t, "keep unix n - n - 0 worker", "drop unix n - n - 0 worker")
	w.start()
	dropped := w.session("public/drop").pid
	w.lines = []string{"keep unix n - n - 0 worker", "new unix - - n - 0 worker"}
	w.reload() // master says so and then does it
	if err := harness.Poll(w.ctx, func() (bool, error) {
		_, err := os.Lstat(w.queue("private/new"))
		return err == nil, nil
	}); err != nil {
		t.Fatal("the new service has no socket")
	}
	w.session("private/new")
	w.session("public/keep")
	w.gone(dropped)
	if err := harness.Poll(w.ctx, func() (bool, error) {
		_, err := os.Lstat(w.queue("public/drop"))
		return errors.Is(err, os.ErrNotExist), nil
	}); err != nil {
		t.Error("the removed service still has a socket")
	}
	w.noLog("warning")
}

func TestReloadWithMistakeKeepsOldConfiguration(t *testing.T) {
	w := newWorld(t, "many unix n - n - 0 worker")
	w.start()
	pid := w.session("public/many").pid
	w.lines = append(w.lines, "broken line")
	w.reload()
	w.waitLog("error: reload failed, the old configuration stays in effect: .*master.cf: line 2")
	if c := w.session("public/many"); c.pid != pid {
		t.Error("the worker was replaced")
	}
}

func TestNextMasterAfterKill(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	port := freePort(t)
	w := newWorld(t, "one unix n - n - 1 worker once="+note, port+" inet n - n - 0 worker")
	w.start()
	old, oldInet := w.session("public/one"), w.session(port)
	if err := syscall.Kill(w.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-w.exited
	w.exited <- nil
	w.start() // beside the workers of the first
	w.successor(port, oldInet)
	got := make(chan *client, 1)
	go func() {
		c, err := w.dial("public/one")
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	oldInet.say(t, "quit")
	w.gone(oldInet.pid)
	select {
	case <-got:
		t.Error("a second process while the first one still has a session")
	default:
	}
	old.say(t, "quit")
	if c := <-got; c == nil || c.pid == old.pid {
		t.Errorf("no new process: %v", c)
	}
	if text, err := os.ReadFile(note); err == nil {
		t.Errorf("%s", text)
	}
}

func TestStopEndsEverything(t *testing.T) {
	w := newWorld(t, "one unix n - n - 1 worker", "many unix n - n - 0 foreign single")
	w.start()
	pids := []int{w.session("public/one").pid, w.session("public/many").pid}
	w.signal(syscall.SIGTERM)
	if err := <-w.exited; err != nil {
		t.Error(err)
	}
	w.exited <- nil
	w.waitLog("terminating on signal 15")
	for _, pid := range pids {
		w.gone(pid)
	}
}

func TestLocks(t *testing.T) {
	w := newWorld(t, "one unix n - n - 1 worker")
	probe := func() int {
		err := exec.Command(filepath.Join(w.bin, "master"), "-c", w.dir, "-t").Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		return 0
	}
	w.write()
	if probe() != 0 {
		t.Error("-t says that master runs before it was started")
	}
	w.start()
	if probe() != 1 {
		t.Error("-t says that master does not run")
	}
	text, err := os.ReadFile(w.queue("pid/master.pid"))
	if want := fmt.Sprintf("%32d\n", w.cmd.Process.Pid); err != nil || string(text) != want {
		t.Errorf("lock file %q %v, want %q", text, err, want)
	}
	out, err := exec.Command(filepath.Join(w.bin, "master"), "-c", w.dir, "-d").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "master.pid: unable to set exclusive lock: resource temporarily unavailable") {
		t.Errorf("second master: %v %s", err, out)
	}
	w.signal(syscall.SIGTERM)
	if err := <-w.exited; err != nil {
		t.Error(err)
	}
	w.exited <- nil
	if probe() != 0 {
		t.Error("-t says that master runs after it was stopped")
	}
}

func TestBackgroundStartWaitsUntilReady(t *testing.T) {
	w := newWorld(t, "many unix n - n - 0 worker")
	w.write()
	out, err := exec.Command(filepath.Join(w.bin, "master"), "-c", w.dir, "-w", "-e", "600").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(w.queue("pid/master.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := w.session("public/many")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.gone(c.pid)
	w.gone(pid)
	w.lines = []string{"bad line"}
	w.write()
	out, err = exec.Command(filepath.Join(w.bin, "master"), "-c", w.dir, "-w").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "master.cf: line 1") {
		t.Errorf("start with a bad master.cf: %v: %s", err, out)
	}
}

// TestServiceManagerIsTold: the word comes when all services listen, once.
func TestServiceManagerIsTold(t *testing.T) {
	name := fmt.Sprintf("@sealpost-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	w := newWorld(t, "one unix - - n - - worker")
	w.env = []string{"NOTIFY_SOCKET=" + name}
	w.start()
	deadline, _ := w.ctx.Deadline()
	if err := manager.SetReadDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := manager.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	c, err := w.dial("private/one")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.reload()
	w.signal(syscall.SIGTERM)
	<-w.exited
	w.exited <- nil
	own, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := own.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	if n, err := manager.Read(buf); err != nil || string(buf[:n]) != "end" {
		t.Errorf("one word more: %q, %v", buf[:n], err)
	}
}

func TestWakeup(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	w := newWorld(t,
		"woken unix n - n 1000 1 worker woken="+note,
		"lazy unix n - n 1? 1 worker woken="+note+".lazy")
	w.start()
	if err := harness.Poll(w.ctx, func() (bool, error) {
		text, err := os.ReadFile(note)
		return err == nil && string(text) == "W", nil
	}); err != nil {
		t.Fatalf("the service with a wakeup timer was not woken: %v", err)
	}
	if _, err := os.Stat(w.queue("pid/unix.lazy")); err == nil {
		t.Error("the service that is woken only while in use was started")
	}
	w.session("public/lazy") // now it is in use
	if err := harness.Poll(w.ctx, func() (bool, error) {
		_, err := os.Stat(note + ".lazy")
		return err == nil, nil
	}); err != nil {
		t.Errorf("the timer did not start with the first use: %v", err)
	}
}

func TestAbsentPostfixDaemonsAreLeftOut(t *testing.T) {
	w := newWorld(t,
		"rewrite unix - - n - - trivial-rewrite",
		"tlsmgr unix - - n 1000? 1 tlsmgr",
		"many unix n - n - 0 worker")
	w.start()
	w.session("public/many")
	if n := w.log().Count("is not started: .* is not installed"); n != 2 {
		t.Errorf("%d info lines, want 2", n)
	}
	if _, err := os.Lstat(w.queue("private/rewrite")); err == nil {
		t.Error("the socket was made")
	}
}

func TestStatusRecordsThatMakeNoSense(t *testing.T) {
	w := newWorld(t, "many unix n - n - 0 worker noise")
	w.start()
	c := w.session("public/many")
	w.waitLog(fmt.Sprintf("ignoring status update from child pid %d generation 99999", c.pid))
	w.waitLog(fmt.Sprintf("warning: master_status_event: ignoring unknown status: %d allegedly from pid: 77", c.pid))
}

func TestMistakesInMasterCF(t *testing.T) {
	tests := []struct{ name, lines, want string }{
		{"a path as service name", "../a unix - - n - - worker", `line 1: field "service": bad value: "../a"`},
		{"a name that is too long", strings.Repeat("a", 120) + " unix - - n - - worker", "too long"},
		{"an unknown port", "nosuchport inet n - n - - worker", "unknown port"},
		{"a host without port", "[127.0.0.1] inet n - n - - worker", "expected [address]:port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.lines)
			w.write()
			out, err := exec.Command(filepath.Join(w.bin, "master"), "-c", w.dir, "-d").CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v: %s\nwant %q", err, out, tt.want)
			}
		})
	}
}
