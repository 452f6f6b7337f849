package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sealpost/lib/instance"
)

const (
	// stopTries seconds are given to the system to stop, then force is used.
	stopTries = 5
	// lookEvery is how often the lock is looked at meanwhile.
	lookEvery = 20 * time.Millisecond
)

const (
	alreadyRunning = "the Postfix mail system is already running"
	notRunning     = "the Postfix mail system is not running"
)

func (c *control) master() string { return filepath.Join(c.settings.DaemonDir, "master") }

// prepare is what start and start-fg have in common.
func (c *control) prepare() bool {
	if _, ok := c.running(); ok {
		c.fatal(alreadyRunning)
		return false
	}
	if !c.checkFatal() {
		return false
	}
	c.recover(false)
	return true
}

// recover tidies up the queue, as postsuper(1) does with -p -s. A failure is not a reason to
// leave the mail system down.
func (c *control) recover(live bool) {
	if err := instance.Recover(c.cfg, c.settings, time.Now(), live, c.log); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") { // one for each queue
			c.log.Warnf("looking for leftovers in the queue: %s", line)
		}
	}
}

func (c *control) start() int {
	if !c.prepare() {
		return 1
	}
	c.log.Infof("starting the Postfix mail system")
	args := []string{"-w"}
	if c.debug {
		args = append(args, "-D")
	}
	return c.runCommand(c.master(), args...)
}

// startForeground becomes master: whoever started us watches that process.
func (c *control) startForeground() int {
	if !c.prepare() {
		return 1
	}
	c.log.Infof("starting the Postfix mail system")
	args := []string{c.master(), "-s", "-d"}
	if os.Getpid() == 1 {
		args = []string{c.master(), "-i"}
	}
	err := syscall.Exec(c.master(), args, c.environment())
	return c.fatal("start %s: %v", c.master(), err)
}

// runCommand runs a program and returns its exit status.
func (c *control) runCommand(path string, args ...string) int {
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.environment(), c.stdout, c.stderr
	return c.wait(cmd)
}

// wait runs a command to its end and returns its exit status.
func (c *control) wait(cmd *exec.Cmd) int {
	err := cmd.Run()
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	return c.fatal("%s: %v", cmd.Path, err)
}

// target is the process id of the running master, or 0 after saying why not.
func (c *control) target() int {
	pid, ok := c.running()
	if !ok {
		c.fatal(notRunning)
		return 0
	}
	if pid == 0 {
		c.fatal("%s is locked, but holds no process id; try again", c.settings.PidFile())
	}
	return pid
}

func (c *control) signal(pid int, sig syscall.Signal) bool {
	if err := syscall.Kill(pid, sig); err != nil {
		c.fatal("signal %d to process %d: %v", sig, pid, err)
		return false
	}
	return true
}

func (c *control) stop() int {
	pid := c.target()
	if pid == 0 {
		return 1
	}
	c.log.Infof("stopping the Postfix mail system")
	if !c.signal(pid, syscall.SIGTERM) {
		return 1
	}
	for range stopTries {
		if c.gone(time.Second) {
			return 0
		}
		c.log.Infof("waiting for the Postfix mail system to terminate")
	}
	c.log.Warnf("stopping the Postfix mail system with force")
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return c.fatal("signal 9 to process group %d: %v", pid, err)
	}
	if !c.gone(time.Second) {
		return c.fatal("process %d holds %s still", pid, c.settings.PidFile())
	}
	return 0
}

// gone waits until master's lock is free.
func (c *control) gone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; {
		if _, ok := c.running(); !ok {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(lookEvery)
	}
}

func (c *control) abort() int {
	pid := c.target()
	if pid == 0 {
		return 1
	}
	c.log.Infof("aborting the Postfix mail system")
	if !c.signal(pid, syscall.SIGTERM) {
		return 1
	}
	return 0
}

// drain ends master alone: its workers finish what they have begun.
func (c *control) drain() int {
	pid := c.target()
	if pid == 0 {
		return 1
	}
	c.log.Infof("stopping the Postfix mail system")
	if !c.signal(pid, syscall.SIGKILL) {
		return 1
	}
	return 0
}

func (c *control) reload() int {
	pid := c.target()
	if pid == 0 {
		return 1
	}
	if cred := c.masterUser(); cred != nil {
		return c.runAs(cred, "reload")
	}
	// A configuration with mistakes is refused here, where somebody reads it.
	if !c.checkFatal() {
		return 1
	}
	c.log.Infof("refreshing the Postfix mail system")
	if !c.signal(pid, syscall.SIGHUP) {
		return 1
	}
	c.recover(true)
	return 0
}

// masterUser is the user of a system that runs without root's privileges, when
// root asks: the queue is looked at with the rights and in the view of that user.
// It is nil otherwise.
func (c *control) masterUser() *syscall.Credential {
	st, err := os.Stat(c.settings.PidFile())
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid == 0 {
		return nil
	}
	return &syscall.Credential{Uid: sys.Uid, Gid: sys.Gid}
}

// runAs runs this command as another user.
func (c *control) runAs(cred *syscall.Credential, verb string) int {
	cmd := exec.Command("/proc/self/exe", "-c", c.dir, verb)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.environment(), c.stdout, c.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	return c.wait(cmd)
}

func (c *control) flush() int {
	if c.target() == 0 {
		return 1
	}
	return c.runCommand(filepath.Join(c.settings.CommandDir, "postqueue"), "-f")
}
