package main

import (
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestForkSlack(t *testing.T) {
	const file = "/proc/self/timerslack_ns"
	if _, err := os.Stat(file); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mine := func() int {
		ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	before := mine()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pid, err := forkSlack("/bin/cat", []string{"cat", file}, &syscall.ProcAttr{Files: []uintptr{0, w.Fd(), 2}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || ws.ExitStatus() != 0 {
		t.Fatalf("the child: %v, status %v", err, ws)
	}
	if got := strings.TrimSpace(string(out)); got != "5000000" {
		t.Errorf("the child's timer slack is %s ns, want 5000000", got)
	}
	if after := mine(); after != before {
		t.Errorf("our own is now %d ns, was %d", after, before)
	}
}
