package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/test/harness"
)

const (
	idleEnv         = "SEALPOST_IDLE_CLIENT"
	idleConnections = 10_000
	idleLimit       = 16 << 10 // bytes of smtpd's memory for each
	fdsNeeded       = 12_500   // in each process: smtpd, and the clients
)

// TestIdleConnections: ten thousand clients that said EHLO and nothing more cost
// smtpd little memory, and the next client does not notice them.
func TestIdleConnections(t *testing.T) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Max < fdsNeeded {
		t.Skipf("SKIP: the limit of open files is %d, the test needs %d (ulimit -Hn)", lim.Max, fdsNeeded)
	}
	mta := harness.Prepare(t, harness.Options{Name: "idle", Domain: "b.test", Users: []string{"user"},
		Params: map[string]string{"smtpd_client_connection_count_limit": "0", "smtpd_timeout": "600s"}})
	mta.Services = append(mta.Services, mta.SMTP()+" inet n - n - 12000 smtpd")
	if err := mta.WriteConfig(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	// Warm: what the first sessions allocate is not what each one costs.
	for range 20 {
		if _, _, err := session(mta.SMTP(), 1); err != nil {
			t.Fatal(err)
		}
	}
	pids := mta.Workers()["smtpd"]
	if len(pids) != 1 {
		t.Fatalf("smtpd processes: %v", pids)
	}
	before := resident(t, pids[0])

	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), idleEnv+"="+mta.SMTP())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		cmd.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("client process: %q, %v", line, err)
	}
	each := (resident(t, pids[0]) - before) / idleConnections
	t.Logf("%d idle connections: %d bytes of smtpd each", idleConnections, each)
	if each > idleLimit {
		t.Errorf("an idle connection costs %d bytes, more than %d", each, idleLimit)
	}
	start := time.Now()
	if _, _, err := session(mta.SMTP(), 1); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("a new client waited %v", d)
	}
}

// resident is the resident memory of a process in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// idleClient is the other process: it opens the connections, says EHLO on each,
// and keeps them until its input ends.
func idleClient(addr string) int {
	var conns []*smtpConn
	for i := range idleConnections {
		c, err := dialSMTP(addr)
		if err != nil {
			fmt.Fprintf(os.Stderr, "connection %d: %v\n", i+1, err)
			return 1
		}
		c.SetDeadline(time.Time{})
		conns = append(conns, c)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	for _, c := range conns {
		c.Close()
	}
	return 0
}
