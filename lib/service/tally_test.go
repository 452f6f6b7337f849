package service

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLimitsHoldOverBothWorkers: what a worker that leaves still serves counts for its
// successor, until it ends.
func TestLimitsHoldOverBothWorkers(t *testing.T) {
	m := newMaster(t, "inet")
	args := []string{"-t", "inet", "-n", "svc"}
	first := m.start("steady", true, 2, args...)
	first.ready()
	a := m.dial()
	if got, want := a.say("count"), fmt.Sprintf("%d 1", first.cmd.Process.Pid); got != want {
		t.Fatalf("first session: %q, want %q", got, want)
	}
	m.replace(first)
	second := m.start("steady", true, 2, args...)
	second.ready()
	b := m.dial()
	if got, want := b.say("count"), fmt.Sprintf("%d 2", second.cmd.Process.Pid); got != want {
		t.Fatalf("session beside it: %q, want %q", got, want)
	}
	second.want(StatusTaken) // one of its own and one of the other are two

	// And a third one hears of both.
	m.replace(second)
	third := m.start("steady", true, 4, args...)
	third.ready()
	c := m.dial()
	if got, want := c.say("count"), fmt.Sprintf("%d 3", third.cmd.Process.Pid); got != want {
		t.Fatalf("third session: %q, want %q", got, want)
	}
	d := m.dial()
	if got, want := d.say("count"), fmt.Sprintf("%d 4", third.cmd.Process.Pid); got != want {
		t.Fatalf("fourth session: %q, want %q", got, want)
	}
	third.want(StatusTaken)
	a.Close()
	if code := first.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	third.want(StatusAvail)
	second.cmd.Process.Kill() // its sessions end with it
	second.exit()
	for d.say("count") != fmt.Sprintf("%d 2", third.cmd.Process.Pid) {
		time.Sleep(time.Millisecond)
	}
}

// replace tells a worker to leave and waits until it does not accept any more.
func (m *master) replace(c *child) {
	m.t.Helper()
	c.reload()
	path := filepath.Join(m.dir, ControlPath("inet", "svc"))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		w, err := Control(path, ControlStatus, 0)
		if err == nil && w.Draining {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the worker does not leave: %+v, %v", w, err)
		}
	}
}

// TestTallyIsNotFooled: a peer that is no predecessor is none.
func TestTallyIsNotFooled(t *testing.T) {
	for name, reply := range map[string]string{
		"nothing":       "",
		"other program": "protocol\x00" + ProtoControl + "\x00\x00status\x001\x00\x00",
		"cut off":       "protocol\x00" + ProtoControl + "\x00\x00key\x00x\x00count\x005\x00\x00key\x00",
		"negative":      "protocol\x00" + ProtoControl + "\x00\x00key\x00x\x00count\x00-5\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			path := listenOnce(t, reply)
			tally := NewTally()
			tally.follow(path)
			if n := tally.Add("x", 1) + tally.Add("", 1); n != 2 {
				t.Errorf("counts add up to %d", n)
			}
		})
	}
	NewTally().follow(filepath.Join(t.TempDir(), strings.Repeat("x", 20)))
}
