package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
)

const (
	// stressTime is how long a service of foreign processes stays in stress,
	// and how often its process limit is reported (§3.5).
	stressTime = 1000 * time.Second
	// A worker that ends sooner than quickLife after its start, quickDeaths times
	// in a row, is replaced only after quickPause: whatever is wrong with it must
	// not eat the machine.
	quickLife   = time.Second
	quickDeaths = 5
	quickPause  = 250 * time.Millisecond
	// killedStarts is how many processes in a row may be killed (signal 9)
	// before they said that they are ready, until that counts as a bad start. The
	// daemon is not at fault: an administrator or the kernel may kill anything at
	// any time. With the pauses above these are four seconds at least.
	killedStarts = 20
	// guardRetry is how often master looks whether a worker that outlived an
	// earlier master has left.
	guardRetry = 20 * time.Millisecond
)

// A child is one process.
type child struct {
	pid     int
	gen     uint32
	svc     *svc
	path    string
	avail   bool // as last reported; a new child counts as available
	uses    int  // changes from taken to available
	old     bool // belongs to a status channel that was closed by a reload
	started time.Time
}

// A svc is one line of master.cf at work. All its methods run on master's loop.
type svc struct {
	m    *master
	conf config.Service
	eps  []endpoint
	fds  []int // listening sockets, one per endpoint

	statusRead  int // master's end of the status channel
	statusWrite int // the children's end

	children map[int]*child // those of the current channel
	old      map[int]*child // those that were told to leave
	ours     bool           // as of the last look at the program

	waiting     *time.Timer // throttled or pausing until it fires
	successor   bool        // start the next one as soon as the old one is gone
	stressUntil time.Time
	limitSaid   time.Time
	killed      int // deaths by signal 9 before the first AVAIL, in a row
	quick       int // short lives in a row

	wake *wakeup
}

func (s *svc) key() string { return s.conf.Type + "\x00" + s.conf.Name }

// open binds the sockets of a service.
func (s *svc) open() error {
	backlog := max(s.conf.MaxProc, s.m.settings.DefaultLimit, minBacklog)
	for _, e := range s.eps {
		fd, err := listen(s.conf, e, backlog, s.m.ids)
		if err != nil {
			s.closeSockets()
			return err
		}
		s.fds = append(s.fds, fd)
		if err := s.m.poll.add(fd, false, s.readable); err != nil {
			s.closeSockets()
			return err
		}
	}
	return s.openStatus()
}

func (s *svc) closeSockets() {
	for _, fd := range s.fds {
		s.m.poll.remove(fd)
		unix.Close(fd)
	}
	s.fds = nil
}

// openStatus makes the channel through which the children of the service
// report. Master keeps both ends: it must not see an end of file while no child
// runs.
func (s *svc) openStatus() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("status channel of service %s: %w", s.conf.Name, err)
	}
	s.statusRead, s.statusWrite = pair[0], pair[1]
	if err := s.m.poll.add(s.statusRead, true, s.statusReadable); err != nil {
		s.closeStatus()
		return err
	}
	return nil
}

// closeStatus makes every child of the channel see the end of file that means
// "finish and leave".
func (s *svc) closeStatus() {
	s.m.poll.remove(s.statusRead)
	unix.Close(s.statusRead)
	unix.Close(s.statusWrite)
	s.statusRead, s.statusWrite = -1, -1
}

// wanted tells whether another process should be started for the next client.
func (s *svc) wanted() bool {
	if s.waiting != nil || s.m.stopping || s.fds == nil {
		return false
	}
	total := len(s.children) + len(s.old)
	if s.conf.MaxProc == 1 {
		return total == 0
	}
	if s.ours {
		return len(s.children) == 0
	}
	return s.available() == 0 && (s.conf.MaxProc == 0 || total < s.conf.MaxProc)
}

func (s *svc) available() int {
	n := 0
	for _, c := range s.children {
		if c.avail {
			n++
		}
	}
	return n
}

// watch arms the sockets when the next client needs a new process.
func (s *svc) watch() {
	armed := s.wanted()
	for _, fd := range s.fds {
		s.m.poll.arm(fd, armed)
	}
	if !armed {
		s.reportLimit()
	}
}

func (s *svc) readable() {
	if s.wanted() {
		s.start()
	}
	s.watch()
}

// start starts one process.
func (s *svc) start() {
	prog, err := s.m.progs.lookup(s.conf.Command)
	if err != nil {
		s.m.log.Errorf("service %s: cannot start its program: %v", s.conf.Name, err)
		s.badStart(prog.path)
		return
	}
	s.ours = prog.ours
	guard := -1
	if prog.ours && s.conf.MaxProc == 1 {
		if guard, err = s.guard(); err != nil {
			s.m.log.Verbosef("service %s: an earlier process is still leaving: %v", s.conf.Name, err)
			s.wait(guardRetry, s.start)
			return
		}
		defer unix.Close(guard)
	}
	s.m.generation++
	r := spawnRequest{
		path: prog.path,
		argv: arguments(s.conf, argOptions{
			attached:    s.m.opts.attached,
			verbose:     s.m.opts.verbose > 0,
			stressAware: s.stressAware(),
			stress:      s.stress(),
			sockets:     len(s.fds),
		}),
		env:     s.m.childEnv,
		gen:     s.m.generation,
		ours:    prog.ours,
		maxproc: s.conf.MaxProc,
		tickets: s.m.ticketSecret(s.conf),
	}
	var done func()
	r.files, done = s.m.childFiles(s, prog.ours)
	if guard >= 0 {
		r.files = append(r.files, guard)
	}
	pid, err := spawn(r)
	done()
	if err != nil {
		s.m.log.Errorf("service %s: %v", s.conf.Name, err)
		s.badStart(prog.path)
		return
	}
	s.m.log.Verbosef("service %s: started %s pid %d generation %d", s.conf.Name, prog.path, pid, r.gen)
	c := &child{pid: pid, gen: r.gen, svc: s, path: prog.path, avail: true, started: time.Now()}
	s.children[pid] = c
	s.m.children[pid] = c
	s.wake.firstChild()
}

// guard takes the lock that a service of one process holds while it lives. The
// child inherits it, so a process that outlives a killed master keeps the next
// master from starting a second one beside it.
func (s *svc) guard() (int, error) {
	name := strings.ReplaceAll(s.conf.Name, "/", "_")
	path := filepath.Join(s.m.settings.PidDir, s.conf.Type+"."+name)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// wait keeps the service from being started until the time is over.
func (s *svc) wait(d time.Duration, then func()) {
	if s.waiting != nil {
		s.waiting.Stop()
	}
	var t *time.Timer
	t = s.m.after(d, func() {
		if s.waiting != t {
			return
		}
		s.waiting = nil
		if s.wanted() && then != nil {
			then()
		}
		s.watch()
	})
	s.waiting = t
	s.watch()
}

func (s *svc) badStart(path string) {
	s.m.log.Log(maillog.Warning, maillog.BadStartup{Path: path})
	s.wait(s.m.throttle, nil)
}

// unthrottle ends a pause early (reload).
func (s *svc) unthrottle() {
	if s.waiting != nil {
		s.waiting.Stop()
		s.waiting = nil
	}
	s.killed, s.quick = 0, 0
}

// statusReadable reads what the children report.
func (s *svc) statusReadable() {
	s.readStatus()
	if s.statusRead >= 0 {
		s.m.poll.arm(s.statusRead, true)
	}
	s.watch()
}

// readStatus takes all records that wait, without waiting for one.
func (s *svc) readStatus() {
	if s.statusRead < 0 {
		return
	}
	var rec [service.StatusLen]byte
	for {
		n, _, err := unix.Recvfrom(s.statusRead, rec[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		pid := int(int32(binary.NativeEndian.Uint32(rec[0:])))
		if n != len(rec) {
			s.m.log.Warnf("service %s(%s): child (pid %d) sent partial status update (%d bytes)",
				s.conf.Command, s.conf.Name, pid, n)
			continue
		}
		s.report(pid, binary.NativeEndian.Uint32(rec[4:]), int32(binary.NativeEndian.Uint32(rec[8:])))
	}
}

// report is one status record.
func (s *svc) report(pid int, gen uint32, status int32) {
	c := s.children[pid]
	switch {
	case c == nil:
	case c.gen != gen:
		s.m.log.Infof("ignoring status update from child pid %d generation %d", pid, gen)
	case status == service.StatusTaken:
		c.avail = false
	case status == service.StatusAvail:
		if !c.avail {
			c.uses++
			s.killed = 0
		}
		c.avail = true
	case status == service.StatusLeaving && s.ours:
		s.leaving(c)
	default:
		s.m.log.Warnf("master_status_event: ignoring unknown status: %d allegedly from pid: %d", pid, status)
	}
}

// leaving is a worker of ours that stopped accepting for a reason of its own: the
// next one starts beside it, or after it where only one may run.
func (s *svc) leaving(c *child) {
	c.old = true
	delete(s.children, c.pid)
	s.old[c.pid] = c
	if s.wanted() {
		s.start()
		return
	}
	s.successor = true
}

// exited is called when a child was reaped.
func (s *svc) exited(c *child, ws syscall.WaitStatus) {
	s.readStatus() // its last words may still be in the channel
	delete(s.children, c.pid)
	delete(s.old, c.pid)
	switch {
	case ws.Signaled():
		// Master's own SIGTERM is no news: when it stops, or when the service is gone.
		if !s.m.stopping && (s.fds != nil || ws.Signal() != syscall.SIGTERM) {
			s.m.log.Log(maillog.Warning, maillog.ChildExit{Path: c.path, PID: c.pid, Signal: int(ws.Signal())})
		}
	case ws.ExitStatus() != 0:
		s.m.log.Log(maillog.Warning, maillog.ChildExit{Path: c.path, PID: c.pid, Status: ws.ExitStatus()})
	}
	if s.m.stopping || s.fds == nil {
		return
	}
	if !c.old {
		s.ended(c, ws)
	}
	if s.successor && s.wanted() {
		s.successor = false
		s.start()
	}
	s.watch()
}

// ended decides when a service whose process ended by itself is started again.
func (s *svc) ended(c *child, ws syscall.WaitStatus) {
	clean := ws.Exited() && ws.ExitStatus() == 0
	killed := ws.Signaled() && ws.Signal() == syscall.SIGKILL
	if killed && c.uses == 0 {
		s.killed++
	}
	if !clean && c.uses == 0 && (!killed || s.killed >= killedStarts) {
		s.badStart(c.path)
		return
	}
	if time.Since(c.started) < quickLife {
		s.quick++
	} else {
		s.quick = 0
	}
	then := s.restartSoon
	if clean {
		then = nil // it had nothing to do
	}
	if s.quick >= quickDeaths {
		s.wait(quickPause, then)
	} else if then != nil {
		then()
	}
}

// restartSoon replaces a process that has work of its own, besides what comes
// through its sockets; others come back with the next client.
func (s *svc) restartSoon() {
	if s.conf.Wakeup > 0 && s.wanted() {
		s.start()
		s.wake.now()
	}
}

// stressAware services can be reached by more clients than they can serve.
func (s *svc) stressAware() bool {
	if s.conf.MaxProc == 1 || s.conf.MaxProc == 0 {
		return false
	}
	return s.conf.Type == "pass" || s.conf.Type == "inet" && !onlyLoopback(s.eps)
}

func (s *svc) stress() string {
	if time.Now().Before(s.stressUntil) {
		return "yes"
	}
	return ""
}

// reportLimit says that a service of foreign processes has none left, and
// restarts it with stress=yes. Our own workers know this themselves.
func (s *svc) reportLimit() {
	full := !s.ours && s.stressAware() && len(s.children)+len(s.old) >= s.conf.MaxProc && s.available() == 0
	if !full || s.waiting != nil || time.Since(s.limitSaid) < stressTime {
		return
	}
	s.limitSaid = time.Now()
	s.m.log.Log(maillog.Warning, maillog.ProcessLimit{
		Service: s.conf.Name, Command: s.conf.Command, Limit: s.conf.MaxProc})
	s.m.log.Warnf("to avoid this condition, increase the process count in master.cf or reduce the service time per client")
	s.m.log.Warnf("see https://www.postfix.org/STRESS_README.html for examples of stress-adapting configuration settings")
	s.stressUntil = s.limitSaid.Add(stressTime)
	s.renewStatus()
}

// renewStatus gives the service a new status channel: the children of the old
// one leave when they are done.
func (s *svc) renewStatus() {
	s.readStatus()
	s.closeStatus()
	for pid, c := range s.children {
		c.old = true
		s.old[pid] = c
		delete(s.children, pid)
	}
	if err := s.openStatus(); err != nil {
		s.m.fatal(err)
	}
}
