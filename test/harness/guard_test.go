package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// envStart makes this test program start an instance in a directory, say so, and
// wait to be killed.
const envStart = "HARNESS_TEST_START"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envStart); dir != "" {
		os.Exit(startAndHang(dir))
	}
	os.Exit(m.Run())
}

func startAndHang(dir string) int {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	i, err := New(Options{Name: "left", Dir: dir, Bin: os.Getenv("SEALPOST_BIN")})
	if err == nil {
		err = i.Start(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("started")
	<-ctx.Done()
	return 1
}

// TestKilledTestLeavesNothingRunning: whoever started an instance may be killed,
// and the instance stops.
func TestKilledTestLeavesNothingRunning(t *testing.T) {
	i := Prepare(t, Options{Name: "left"}) // for its lock file; never started here
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	starter := exec.Command(self)
	starter.Env = append(os.Environ(), envStart+"="+i.Dir, "SEALPOST_BIN="+i.Bin)
	starter.Stderr = os.Stderr
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "started\n" {
		t.Fatalf("%q %v", line, err)
	}
	if i.MasterPID() == 0 {
		t.Fatal("the instance does not run")
	}
	if err := starter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = starter.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if err := Poll(ctx, func() (bool, error) { return i.MasterPID() == 0, nil }); err != nil {
		t.Error("the instance runs on")
	}
}

// TestWatchmanSparesOthers: a lock file may name a process that has nothing to do
// with the instance.
func TestWatchmanSparesOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pid"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("/bin/sh", "-c", "read x")
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	lock := fmt.Sprintf("%32d\n", other.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, "pid", "master.pid"), []byte(lock), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", watchman)
	cmd.Stdin = strings.NewReader("/nonexistent\n" + dir + "\n")
	cmd.WaitDelay = time.Minute
	if out, err := cmd.CombinedOutput(); len(out) > 0 {
		t.Errorf("%s %v", out, err)
	}
	in.Close() // it ends by itself, unless it was killed
	err = other.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("process %s was killed: %v", strconv.Itoa(other.Process.Pid), err)
	}
}
