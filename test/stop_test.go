package test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/test/harness"
)

// TestStopRightAfterReloadKeepsTheLog: a reload replaces the log daemon, and a stop
// may come at any moment of that. Every line that was said is written, whoever
// says it, and nobody is left.
func TestStopRightAfterReloadKeepsTheLog(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	mta := harness.Prepare(t, harness.Options{Name: "quick", Domain: "b.test", Users: []string{"user"}})
	for round := range 8 {
		mark := mta.Log.Mark()
		if err := mta.Start(ctx); err != nil {
			t.Fatal(err)
		}
		master := mta.MasterPID()
		if round%2 == 0 { // some workers are there
			if err := mta.Send(ctx, "s@a.test", []string{"user@b.test"}, "Subject: x\n\nx\n"); err != nil {
				t.Fatal(err)
			}
		}
		said := []string{"daemon started -- version", "reload -- version", "terminating on signal 15"}
		for n := range round {
			text := fmt.Sprintf("round %d line %d", round, n)
			if _, err := mta.Command(ctx, strings.NewReader(text+"\n"), "postlog"); err != nil {
				t.Fatal(err)
			}
			said = append(said, text)
			if n == round/2 {
				if err := signalInOrder(master, syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			}
		}
		if round == 0 {
			if err := signalInOrder(master, syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		if err := signalInOrder(master, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		err := harness.Poll(ctx, func() (bool, error) {
			return errors.Is(syscall.Kill(-master, 0), syscall.ESRCH), nil
		})
		if err != nil {
			t.Fatalf("round %d: processes are left: %v", round, err)
		}
		log := mta.Log.Text()[mark:]
		for _, text := range said {
			if n := strings.Count(log, text+"\n") + strings.Count(log, text+" 3.12"); n != 1 {
				t.Errorf("round %d: %q is in the log %d times", round, text, n)
			}
		}
		if t.Failed() {
			t.Fatalf("log of round %d:\n%s", round, log)
		}
	}
}

// signalInOrder sends a signal to the first thread of a process. Two signals to a
// process may be taken by two threads, the second one first; one thread takes
// SIGHUP before SIGTERM.
func signalInOrder(pid int, sig syscall.Signal) error { return unix.Tgkill(pid, pid, sig) }
