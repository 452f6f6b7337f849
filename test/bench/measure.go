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
	"time"

	"golang.org/x/sys/unix"
)

// result is what one run showed.
type result struct {
	rate   float64 // messages per second, from the first connection to the empty queue
	cpu    float64 // seconds of all daemons per message
	memory float64 // bytes
}

const (
	startLimit = 30 * time.Second
	runLimit   = 5 * time.Minute
	stopLimit  = 20 * time.Second
)

func measure(s *system, l load) (result, error) {
	sinkPort, stopSink, err := l.startSink()
	if err != nil {
		return result{}, err
	}
	defer stopSink()
	if err := s.setup(sinkPort, l); err != nil {
		return result{}, err
	}
	defer os.RemoveAll(s.dir)
	daemon, err := s.launch()
	if err != nil {
		return result{}, err
	}
	r, err := s.run(l)
	stopErr := s.halt(daemon, &r, l)
	return r, errors.Join(err, stopErr)
}

// startSink starts what takes and forgets the messages: smtp-sink, or for TLS a
// server of ours.
func (l load) startSink() (port int, stop func(), err error) {
	if l.tls {
		return startTLSSink()
	}
	if port, err = freePort(); err != nil {
		return 0, nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := command("smtp-sink", "-u", "postfix", addr, "1000")
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	return port, func() {
		cmd.Process.Kill()
		cmd.Wait()
	}, waitPort(addr)
}

func waitPort(addr string) error {
	end := time.Now().Add(startLimit)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing listens on %s: %w", addr, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// launch starts the system and warms it up with one message.
func (s *system) launch() (*exec.Cmd, error) {
	cmd := command(s.start[0], s.start[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := waitPort(fmt.Sprintf("127.0.0.1:%d", s.port)); err != nil {
		return nil, err
	}
	if err := s.send(load{sessions: 1, size: 1000, messages: 1}); err != nil {
		return nil, err
	}
	return cmd, s.drained(time.Now().Add(startLimit))
}

func (s *system) send(l load) error {
	cmd := command("smtp-source",
		"-s", strconv.Itoa(l.sessions), "-m", strconv.Itoa(l.messages), "-l", strconv.Itoa(l.size),
		"-f", "sender@bench.example", "-t", "rcpt@elsewhere.example", fmt.Sprintf("127.0.0.1:%d", s.port))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("smtp-source: %w: %s", err, out)
	}
	return nil
}

func (s *system) drained(end time.Time) error {
	for !s.empty() {
		if time.Now().After(end) {
			return fmt.Errorf("%s: the queue does not drain", s.name)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func (s *system) run(l load) (result, error) {
	start := time.Now()
	send := s.send
	if l.handshakes {
		send = s.handshakes
	}
	if err := send(l); err != nil {
		return result{}, err
	}
	if err := s.drained(start.Add(runLimit)); err != nil {
		return result{}, err
	}
	r := result{rate: float64(l.messages) / time.Since(start).Seconds()}
	pgid, err := s.masterPID()
	if err != nil {
		return result{}, err
	}
	r.memory = memory(pgid)
	return r, nil
}

func (s *system) masterPID() (int, error) {
	b, err := os.ReadFile(filepath.Join(s.queue, "pid", "master.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// halt stops the system, collects every process of it and adds up their CPU time.
func (s *system) halt(daemon *exec.Cmd, r *result, l load) error {
	before := childTime()
	stop := command(s.stop[0], s.stop[1:]...)
	out, err := stop.CombinedOutput()
	if err != nil {
		return fmt.Errorf("stop %s: %w: %s", s.name, err, out)
	}
	end := time.Now().Add(stopLimit)
	for {
		// smtp-sink is still running: everything else that ends is the system's.
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.ECHILD || pid == 0 && !s.alive() {
			break
		}
		if pid <= 0 {
			if time.Now().After(end) {
				return fmt.Errorf("%s: processes remain after stop", s.name)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	r.cpu = (childTime() - before).Seconds() / float64(l.messages)
	return nil
}

// alive reports whether a process still has its working directory in the queue.
func (s *system) alive() bool {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if dir, err := os.Readlink(link); err == nil && strings.HasPrefix(dir, s.queue) {
			return true
		}
	}
	return false
}

// childTime is the CPU time of all children that have ended and were waited for.
func childTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
