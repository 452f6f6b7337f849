package service

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/queue"
)

// Settings that the frame itself reads from main.cf.
type settings struct {
	QueueDirectory string        `conf:"queue_directory"`
	MailOwner      string        `conf:"mail_owner"`
	DrainTimeout   time.Duration `conf:"drain_timeout"`
	MaxIdle        time.Duration `conf:"max_idle"`
	ProcessIDDir   string        `conf:"process_id_directory"`
	Queue          queue.Settings
}

// defaultSessions is the session limit under a master that does not tell it.
const defaultSessions = 100

// process is a worker while it starts.
type process struct {
	spec     Spec
	opt      *options
	env      *Env
	set      settings
	ours     bool // EnvSessions was set
	status   *status
	lock     *acceptLock
	worker   *Worker
	watch    *watcher
	stressed *stress
}

// Main runs the daemon and does not return.
func Main(spec Spec) {
	tune()
	log := maillog.New(earlyLog(spec.Program))
	p := &process{spec: spec}
	if err := p.start(log, os.Args[1:]); err != nil {
		p.log(log).Fatalf("%v", err)
	}
	err := p.serve()
	if p.worker.Close != nil {
		p.worker.Close()
	}
	if err != nil {
		p.env.Log.Fatalf("%v", err)
	}
	p.env.Log.Flush()
	os.Exit(0)
}

// log is the best logger there is yet.
func (p *process) log(early *maillog.Logger) *maillog.Logger {
	if p.env != nil && p.env.Log != nil {
		return p.env.Log
	}
	return early
}

// start does everything that comes before the first byte, in the order that
// doc.go gives.
func (p *process) start(log *maillog.Logger, argv []string) error {
	opt, err := parseArgs(p.spec.Program, argv)
	if err != nil {
		return err
	}
	started := time.Now()
	p.opt = opt
	closeOnExec(opt)
	if err := opt.check(&p.spec, isTerminal(0)); err != nil {
		return err
	}
	p.env = &Env{
		ServiceName: opt.name, Program: p.spec.Program, Verbose: opt.verbose, Log: log,
		StandAlone: opt.standAlone, Transport: opt.transport, Args: opt.args,
	}
	p.env.prepare()
	if err := p.environment(); err != nil {
		return err
	}
	if err := p.configure(); err != nil {
		return err
	}
	if err := os.Chdir(p.set.QueueDirectory); err != nil {
		return fmt.Errorf("change to the queue directory: %w", err)
	}
	p.env.Log.Chrooted(p.set.QueueDirectory)
	p.env.Queue = queue.New("", p.set.Queue)
	p.worker, err = p.spec.Init(p.env)
	if err != nil {
		return err
	}
	if err := p.openLock(); err != nil {
		return err
	}
	p.watch = newWatcher(p.worker.Files, started, !p.opt.chroot)
	return p.confine()
}

// openLock opens the accept lock where one is needed. The directory is root's.
func (p *process) openLock() (err error) {
	if p.ours || p.opt.single || p.opt.standAlone {
		return nil
	}
	switch p.opt.transport {
	case "inet", "unix", "pass":
		p.lock, err = openAcceptLock(p.set.ProcessIDDir, p.opt.transport, p.opt.name)
	}
	return err
}

// environment reads what master passes in variables and descriptors.
func (p *process) environment() error {
	if p.opt.standAlone {
		return nil
	}
	limit, ok := os.LookupEnv(EnvSessions)
	p.ours = ok
	p.env.MaxSessions = defaultSessions
	if ok {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 0 {
			return fmt.Errorf("bad %s in the environment: %q", EnvSessions, limit)
		}
		p.env.MaxSessions = n
	}
	if p.spec.Kind == MultiClient {
		p.env.MaxSessions = 0
	}
	p.status = &status{fd: FDStatus + 1, last: -1}
	gen := os.Getenv(EnvGeneration)
	if gen != "" {
		n, err := strconv.ParseUint(gen, 8, 32)
		if err != nil {
			return fmt.Errorf("bad generation: %s", gen)
		}
		p.status.generation = uint32(n)
	}
	p.env.Flow = &Flow{r: FDFlowRead, w: FDFlowWrite}
	return nil
}

// configure reads main.cf and opens the log that it names.
func (p *process) configure() error {
	eligible, always := p.opt.stress()
	overrides := append([]config.Override{
		{Name: "process_name", Value: p.spec.Program},
		{Name: "process_id", Value: strconv.Itoa(os.Getpid())},
		{Name: "service_name", Value: p.opt.name},
	}, p.opt.overrides...)
	cfg, err := config.Load(config.Dir(""), overrides...)
	if err != nil {
		return err
	}
	if err := cfg.Decode(&p.set); err != nil {
		return err
	}
	p.env.Config = cfg
	p.env.Stress = cfg
	if eligible {
		if p.env.Config, err = cfg.With(config.Override{Name: "stress", Value: ""}); err != nil {
			return err
		}
		if p.env.Stress, err = cfg.With(config.Override{Name: "stress", Value: "yes"}); err != nil {
			return err
		}
	}
	p.env.DrainTimeout = p.set.DrainTimeout
	if p.opt.maxIdle != "" {
		c, err := cfg.With(config.Override{Name: "max_idle", Value: p.opt.maxIdle})
		if err != nil {
			return fmt.Errorf("bad -i argument: %w", err)
		}
		p.set.MaxIdle = c.Time("max_idle")
	}
	lo := LogOptions{Program: p.spec.Program, Verbose: p.opt.verbose}
	if p.opt.stderr || p.opt.standAlone && p.opt.verbose > 0 {
		lo.Stderr = os.Stderr
	}
	if p.env.Log, err = OpenLog(cfg, lo); err != nil {
		return err
	}
	if eligible {
		p.stressed = newStress(p.env.Log, p.opt.name, always)
	}
	return nil
}

// serve accepts until the worker leaves.
func (p *process) serve() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := newServer(ctx, p.env, p.worker)
	s.kind, s.ours, s.status, s.stress = p.spec.Kind, p.ours, p.status, p.stressed
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if !p.opt.standAlone {
		// A terminal's signals reach the whole process group; master decides what
		// they mean. Caught, not ignored: commands that a worker runs would inherit that.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP)
	}
	go func() {
		<-signals
		s.leave(reasonAtOnce)
	}()
	if p.opt.standAlone {
		return p.serveStdin(s)
	}
	s.report(StatusTaken)
	if p.ours && p.spec.Kind == SingleSession {
		p.env.Tally.follow(ControlPath(p.opt.transport, p.opt.name))
	}
	if err := p.listen(s); err != nil {
		return err
	}
	stop := p.background(ctx, s)
	defer stop()
	s.reportRoom()
	go func() {
		p.status.waitEOF()
		s.leave(reasonMaster)
	}()
	return s.run()
}

// background starts what runs beside the sessions: the control socket, the
// watch over files, the idle limit. The returned function ends them.
func (p *process) background(ctx context.Context, s *server) (stop func()) {
	ctl := p.openControl(s)
	ctx, cancel := context.WithCancel(ctx)
	go p.watch.run(ctx, watchInterval, func(path string) {
		p.env.Log.Infof("table %s has changed -- restarting", path)
		s.leave(reasonOwn)
	})
	if !p.ours && p.spec.Kind == SingleSession && p.set.MaxIdle > 0 {
		go s.idle(ctx, p.set.MaxIdle)
	}
	return func() {
		cancel()
		ctl.close()
	}
}

// idle makes a worker under a foreign master leave after max_idle without
// sessions, as that master's configuration asks. Under ours a worker stays: an
// idle one costs little, and the next client need not wait for a start.
func (s *server) idle(ctx context.Context, limit time.Duration) {
	t := time.NewTicker(max(limit/4, time.Second))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if s.active() == 0 && now.Sub(time.Unix(s.lastBusy.Load(), 0)) >= limit {
				s.leave(reasonIdle)
				return
			}
		}
	}
}

// listen takes over the listening descriptors.
func (p *process) listen(s *server) error {
	s.lock = p.lock
	s.pass = p.opt.transport == "pass"
	for i := range p.opt.sockets {
		// Non-blocking before os.File looks: then the runtime waits for it, and
		// closing it ends a read.
		if err := unix.SetNonblock(FDListen+i, true); err != nil {
			return fmt.Errorf("descriptor %d: %w", FDListen+i, err)
		}
		f := os.NewFile(uintptr(FDListen+i), "listen "+p.opt.transport)
		if f == nil {
			return fmt.Errorf("descriptor %d is not open", FDListen+i)
		}
		if err := p.listenOn(s, f); err != nil {
			return fmt.Errorf("descriptor %d: %w", FDListen+i, err)
		}
	}
	return nil
}

func (p *process) listenOn(s *server, f *os.File) error {
	switch p.opt.transport {
	case "unix-dgram":
		if p.worker.Datagram == nil {
			return errors.New("this program does not serve datagrams")
		}
		s.own(f)
		s.accepting.Go(func() { s.datagramLoop(f) })
		return nil
	case "fifo":
		if p.worker.Trigger == nil {
			return errors.New("this program does not serve triggers")
		}
		s.own(f)
		s.loops.Go(func() { s.fifoLoop(s.ctx, f) })
		return nil
	}
	ln, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return err
	}
	if p.stressed != nil {
		p.stressed.address = numericAddress(p.opt.name, ln.Addr())
	}
	s.addListener(ln)
	return nil
}

// numericAddress is the service's address as in master.cf with the port in numbers.
func numericAddress(service string, a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return service
	}
	port := strconv.Itoa(tcp.Port)
	if i := strings.LastIndexByte(service, ':'); i >= 0 {
		return service[:i+1] + port
	}
	return port
}

// closeOnExec marks what master passed, so that commands run by agents do not
// inherit it: the flow control pipe, the status channel, the listening sockets,
// the lock that a service of one process holds while it lives. What master itself
// was given by whoever started it is none of a command's business either.
func closeOnExec(o *options) {
	if o.standAlone {
		return
	}
	if unix.CloseRange(FDFlowRead, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := FDFlowRead; fd <= FDListen+o.sockets; fd++ { // Linux before 5.11
		unix.CloseOnExec(fd)
	}
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// serveStdin serves the one connection that standard input and output are.
func (p *process) serveStdin(s *server) error {
	conn, err := stdinConn()
	if err != nil {
		return err
	}
	go func() {
		s.runs.Wait()
		s.start(conn)
		s.running.Wait()
		s.leave(reasonMaster)
	}()
	return s.run()
}
