package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/maillog"
)

const (
	// stopGrace is how long a worker may take to leave after SIGTERM, and
	// killGrace how long whoever is left then has. "sealpost stop" uses force
	// after 5 s.
	stopGrace = 3 * time.Second
	killGrace = time.Second
	// loggerLook is how often the log daemon's socket is looked at meanwhile.
	loggerLook = 10 * time.Millisecond
)

// terminate stops everything. The log daemon goes last: it has to write what the
// others say.
func (m *master) terminate(sig syscall.Signal) {
	if m.stopping {
		return
	}
	m.stopping = true
	m.log.Log(maillog.Info, maillog.MasterTerminating{Signal: int(sig)})
	for _, s := range m.services {
		s.wake.stop()
		s.watch()
	}
	m.signalWorkers(unix.SIGTERM)
	m.after(stopGrace, func() {
		if n := m.workers(); n > 0 {
			m.log.Warnf("%d processes did not leave within %s of SIGTERM and are killed", n, stopGrace)
			m.signalWorkers(unix.SIGKILL)
		}
	})
	m.after(stopGrace+killGrace, func() { m.quit(0) })
	m.stopProgress()
}

// stopProgress is called when something ended while everything is being stopped.
func (m *master) stopProgress() {
	switch {
	case m.workers() == 0 && m.loggerBusy():
		m.after(loggerLook, m.stopProgress)
	case len(m.children) == 0:
		m.signalGroup()
		m.quit(0)
	case m.workers() == 0 && !m.lastOnes:
		m.lastOnes = true
		m.signalGroup()
		m.after(killGrace, func() { m.quit(0) })
	}
}

// loggerBusy tells whether lines wait for a log daemon, and starts one for them
// where a reload or a crash has just ended the last one.
func (m *master) loggerBusy() bool {
	for _, s := range m.services {
		if !s.isLogger() || s.waiting != nil || m.lastOnes {
			continue
		}
		for _, c := range s.children {
			if c.uses == 0 {
				return true // still starting: a signal would end it too early
			}
		}
		for _, fd := range s.fds {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(p, 0); n == 0 || err != nil {
				continue
			}
			if len(s.children)+len(s.old) == 0 {
				s.start()
			}
			return true
		}
	}
	return false
}

// signalGroup reaches also what the children started (§3.6).
func (m *master) signalGroup() {
	if unix.Getpgrp() == os.Getpid() {
		_ = unix.Kill(-os.Getpid(), unix.SIGTERM)
		return
	}
	for pid := range m.children {
		_ = unix.Kill(pid, unix.SIGTERM)
	}
}

// workers counts the children that are not the log daemon.
func (m *master) workers() int {
	n := 0
	for _, c := range m.children {
		if !c.svc.isLogger() {
			n++
		}
	}
	return n
}

func (m *master) signalWorkers(sig syscall.Signal) {
	for pid, c := range m.children {
		if !c.svc.isLogger() {
			_ = unix.Kill(pid, sig)
		}
	}
}

func (s *svc) isLogger() bool { return s.conf.Type == "unix-dgram" }

// quit ends the loop.
func (m *master) quit(status int) {
	select {
	case m.exit <- status:
	default: // it is ending already
	}
}

// fatal is for what leaves master unable to supervise.
func (m *master) fatal(err error) { m.log.Fatalf("%v", err) }

// startDebugger runs debugger_command on master itself (-D).
func (m *master) startDebugger() {
	if m.debugger == "" {
		m.log.Warnf("option -D needs a debugger_command in main.cf")
		return
	}
	env := append(os.Environ(), "process_name=master", "process_id="+strconv.Itoa(os.Getpid()))
	_, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", m.debugger}, &syscall.ProcAttr{
		Env: env, Files: []uintptr{uintptr(m.devNull), uintptr(m.devNull), uintptr(m.devNull)}})
	if err != nil {
		m.log.Warnf("%v", fmt.Errorf("start debugger_command: %w", err))
	}
}
