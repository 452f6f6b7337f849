package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/instance"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
	"sealpost/lib/tlsconn"
)

// lockPatience covers somebody who just asks whether master runs.
const lockPatience = 500 * time.Millisecond

// params are the parameters that master reads besides those of the instance.
type params struct {
	Throttle        time.Duration `conf:"service_throttle_time"`
	TriggerTimeout  time.Duration `conf:"trigger_timeout"`
	ImportEnv       []string      `conf:"import_environment"`
	Disable         string        `conf:"master_service_disable"`
	DebuggerCommand string        `conf:"debugger_command"`
}

// master is the process. All fields belong to the loop, except log.
type master struct {
	opts     options
	settings instance.Settings
	ids      instance.IDs
	net      netSettings
	log      *maillog.Logger
	locks    []*os.File // held until the end

	throttle       time.Duration
	triggerTimeout time.Duration
	debugger       string
	childEnv       []string
	progs          *programs

	poll       *poller
	events     chan func()
	flow       [2]int
	devNull    int
	generation uint32
	tickets    map[string]tlsconn.Secret // by service name

	services []*svc // in the order of master.cf
	children map[int]*child
	stopping bool // no process is started any more
	lastOnes bool // only the log daemon is left and was told to leave
	exit     chan int
}

// newMaster reads the configuration, goes to the queue directory and takes the
// locks.
func newMaster(opts options) (*master, error) {
	m := &master{
		opts: opts, events: make(chan func(), 16), exit: make(chan int, 1),
		children: make(map[int]*child),
		tickets:  make(map[string]tlsconn.Secret),
	}
	cfg, err := config.Load(opts.configDir)
	if err != nil {
		return nil, err
	}
	if m.settings, err = instance.Load(cfg); err != nil {
		return nil, err
	}
	if m.log, err = service.OpenLog(cfg, service.LogOptions{
		Program: "master", Verbose: opts.verbose, Direct: true}); err != nil {
		return nil, err
	}
	if m.ids, err = instance.LookupIDs(m.settings); err != nil {
		return m, err
	}
	if err := instance.Create(m.settings, m.ids); err != nil {
		return m, err
	}
	if err := os.Chdir(m.settings.QueueDir); err != nil {
		return m, err
	}
	m.log.Chrooted(m.settings.QueueDir)
	if err := m.lock(); err != nil {
		return m, err
	}
	if err := m.openShared(); err != nil {
		return m, err
	}
	list, err := m.read(cfg)
	if err != nil {
		return m, err
	}
	m.net = list.net
	m.apply(cfg, list.params)
	for _, n := range list.services {
		s := m.newService(n)
		if err := s.open(); err != nil {
			return m, err
		}
		m.services = append(m.services, s)
	}
	return m, nil
}

// lock takes both locks. The second one belongs to mail_owner, as everything in
// the data directory.
func (m *master) lock() error {
	for _, path := range []string{m.settings.PidFile(), m.settings.DataLock()} {
		f, err := instance.LockWait(path, os.Getpid(), lockPatience)
		if err != nil {
			return err
		}
		m.locks = append(m.locks, f)
		if path == m.settings.DataLock() && m.ids.UID >= 0 {
			if err := f.Chown(m.ids.UID, m.ids.GID); err != nil {
				return err
			}
		}
	}
	return nil
}

// openShared makes what all children share.
func (m *master) openShared() error {
	var err error
	if m.devNull, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if err := unix.Pipe2(m.flow[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	m.poll, err = newPoller()
	return err
}

// plan is one reading of main.cf and master.cf.
type plan struct {
	services []planned
	net      netSettings
	params   params
}

type planned struct {
	conf config.Service
	eps  []endpoint
}

// read reads master.cf and works out where each service listens.
func (m *master) read(cfg *config.Config) (*plan, error) {
	p := &plan{}
	if err := cfg.Decode(&p.net); err != nil {
		return nil, err
	}
	if err := cfg.Decode(&p.params); err != nil {
		return nil, err
	}
	path := filepath.Join(m.opts.configDir, "master.cf")
	lines, err := config.LoadMaster(path, cfg)
	if err != nil {
		return nil, err
	}
	if m.net.Interfaces != nil {
		p.net = m.net // listening addresses change with a restart only
	}
	for _, line := range lines {
		if disabled(config.SplitList(p.params.Disable), line) {
			continue
		}
		if m.skipAbsent(line) {
			continue
		}
		eps, err := endpoints(line, p.net)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, line.Line, err)
		}
		p.services = append(p.services, planned{line, eps})
	}
	return p, nil
}

// skipAbsent leaves out a line that is there for Postfix's own daemons only.
func (m *master) skipAbsent(line config.Service) bool {
	if !absorbed[filepath.Base(line.Command)] {
		return false
	}
	path := line.Command
	if !filepath.IsAbs(path) {
		path = filepath.Join(m.settings.DaemonDir, path)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return false
	}
	m.log.Infof("service %s is not started: %s is not installed, and only daemons of Postfix need it", line.Name, path)
	return true
}

// disabled applies master_service_disable: name/type, or type alone, "!" in
// front makes an exception; the first match decides.
func disabled(list []string, line config.Service) bool {
	for _, item := range list {
		pattern, not := strings.CutPrefix(item, "!")
		if strings.EqualFold(pattern, line.Type) || pattern == line.Name+"/"+line.Type || pattern == "static:all" {
			return !not
		}
	}
	return false
}

// apply takes the parameters over.
func (m *master) apply(cfg *config.Config, p params) {
	m.throttle, m.triggerTimeout, m.debugger = p.Throttle, p.TriggerTimeout, p.DebuggerCommand
	m.progs = &programs{daemonDir: m.settings.DaemonDir, known: make(map[string]knownProgram)}
	own := map[string]string{
		"MAIL_CONFIG": m.opts.configDir,
		"MAIL_LOGTAG": m.settings.SyslogName,
	}
	if m.settings.MaillogFile != "" {
		own["POSTLOG_SERVICE"] = filepath.Join(m.settings.QueueDir, "public", m.settings.PostlogName)
		own["POSTLOG_HOSTNAME"] = m.settings.MyHostname
	}
	m.childEnv = reduceEnv(p.ImportEnv, func(name string) (string, bool) {
		if v, ok := own[name]; ok {
			return v, true
		}
		return os.LookupEnv(name)
	})
}

func (m *master) newService(p planned) *svc {
	return &svc{
		m: m, conf: p.conf, eps: p.eps, statusRead: -1, statusWrite: -1,
		children: make(map[int]*child), old: make(map[int]*child),
	}
}

// after runs fn on the loop when the time is over.
func (m *master) after(d time.Duration, fn func()) *time.Timer {
	return time.AfterFunc(d, func() { m.events <- fn })
}

// run is the loop. It returns the exit status.
func (m *master) run() int {
	sig := make(chan os.Signal, 16)
	signal.Notify(sig, unix.SIGCHLD, unix.SIGHUP, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT)
	m.log.Log(maillog.Info, maillog.MasterState{
		What: "daemon started", Version: m.settings.MailVersion, ConfigDir: m.opts.configDir})
	for _, s := range m.services {
		s.wake = newWakeup(s)
		s.watch()
	}
	if m.opts.exitAfter > 0 {
		m.after(m.opts.exitAfter, func() {
			m.log.Infof("master exit time has arrived")
			m.quit(0)
		})
	}
	if m.opts.debug {
		m.startDebugger()
	}
	if err := notifyManager(); err != nil {
		m.log.Warnf("%v", err)
	}
	m.opts.ready()
	for {
		select {
		case status := <-m.exit:
			return status
		case fn := <-m.events:
			fn()
		case tokens := <-m.poll.ready:
			m.poll.dispatch(tokens)
		case <-m.poll.stopped:
			m.fatal(errors.New("epoll failed"))
		case s := <-sig:
			m.signalled(s.(syscall.Signal))
		}
	}
}

func (m *master) signalled(s syscall.Signal) {
	switch s {
	case unix.SIGCHLD:
		m.reap()
	case unix.SIGHUP:
		m.reload()
	default:
		m.terminate(s)
	}
}

// reap collects every child that ended.
func (m *master) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
		if c := m.children[pid]; c != nil {
			delete(m.children, pid)
			c.svc.exited(c, ws)
		}
	}
	if m.stopping {
		m.stopProgress()
	}
}
