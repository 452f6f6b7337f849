package service

import (
	"context"
	"net"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/queue"
)

// Kind of a service (DESIGN §3, What maxproc means).
type Kind int

const (
	// SingleSession: maxproc is the greatest number of sessions at a time.
	SingleSession Kind = iota
	// MultiClient: one process, sessions not limited (qmgr, pickup, postlogd).
	MultiClient
)

// Spec describes a daemon.
type Spec struct {
	Program string // "smtpd"
	Kind    Kind
	// NeedSingle: master.cf must say maxproc 1; NeedUnlimited: 0; NeedPrivilege:
	// the service must be privileged. Otherwise the start is fatal (§3.2).
	NeedSingle, NeedUnlimited, NeedPrivilege bool
	// TakesArgs: the words of the master.cf command field after the options are the
	// daemon's own (Env.Args). Otherwise they are fatal.
	TakesArgs bool
	// Init opens what the worker needs (tables, certificates), before privileges
	// are dropped and before the first byte is read. An error is fatal.
	Init func(env *Env) (*Worker, error)
}

// Worker is what Init returns. Exactly one of Conn, Trigger, Datagram is set
// per kind of socket; a worker with several uses (flush) sets Conn.
type Worker struct {
	// Conn serves one session; the frame closes c afterwards. ctx is cancelled
	// when the process must leave at once. It must not hold the connection when
	// idle after Drain (see Session.Drain).
	Conn func(ctx context.Context, s *Session)
	// Trigger gets the request bytes of one trigger (§2.2), NUL removed.
	Trigger func(ctx context.Context, codes []byte)
	// Datagram gets one datagram (postlogd). b is valid until it returns.
	Datagram func(b []byte)
	// Quiet, when not nil, is called when no further datagram is waiting, or after
	// a bounded number of them: the time to write what was collected.
	Quiet func()
	// Run, when not nil, runs beside the sessions until ctx is done (qmgr's loop).
	// When it returns earlier the worker leaves; an error is fatal.
	Run func(ctx context.Context) error
	// Files are watched: when one is replaced the worker drains and leaves
	// ("table … has changed -- restarting").
	Files []string
	// Close is called last.
	Close func()
}

// Env is what the frame gives a daemon.
type Env struct {
	Config      *config.Config // with stress empty
	Stress      *config.Config // with stress=yes
	Log         *maillog.Logger
	Queue       *queue.Queue
	ServiceName string // master.cf service name: "smtp", "127.0.0.1:2525", "bounce", "retry"
	Program     string
	Verbose     int
	StandAlone  bool // -S: stdin/stdout is the connection

	Transport string   // inet, unix, fifo, pass, unix-dgram; empty with -S
	Args      []string // with Spec.TakesArgs
	Flow      *Flow    // flow control between cleanup and qmgr; nil without master
	Counters  *Counters
	Tally     *Tally // numbers that are limited over this worker and its predecessor
	// Drain is closed when the worker is asked to leave; see Session.Drain.
	Drain <-chan struct{}

	// Restart asks the worker to leave as after a change of a watched file; master
	// starts a successor, with the rights that this worker had at its start. The
	// frame sets it before the first session.
	Restart func()

	// MaxSessions is the greatest number of sessions at a time, 0 for no limit.
	MaxSessions int
	// DrainTimeout is how long sessions may go on after Drain; 0 is 60 seconds.
	DrainTimeout time.Duration

	drain   chan struct{}
	leaving chan reason // buffered, size 1
}

// prepare makes what the frame adds to an Env.
func (e *Env) prepare() {
	if e.drain != nil {
		return
	}
	e.drain = make(chan struct{})
	e.leaving = make(chan reason, 1)
	e.Drain = e.drain
	e.Restart = func() {
		select {
		case e.leaving <- reasonOwn:
		default: // it is leaving
		}
	}
	if e.Counters == nil {
		e.Counters = NewCounters()
	}
	if e.Tally == nil {
		e.Tally = NewTally()
	}
}

// Session is one connection.
type Session struct {
	Conn   net.Conn
	Number uint64          // unique in the worker
	Log    *maillog.Logger // shows Number
	Config *config.Config  // Env.Config or Env.Stress as of now
	Stress bool
	// Drain is closed when the worker is asked to leave: a session without a
	// transaction ends at its next boundary (smtpd: 421 4.3.2).
	Drain <-chan struct{}
	// Addresses passed by postscreen (pass service), else empty.
	ClientAddr, ClientPort, ServerAddr, ServerPort string
}

// Draining reports whether Drain is closed.
func (s *Session) Draining() bool {
	select {
	case <-s.Drain:
		return true
	default:
		return false
	}
}

// socketName is the name of a service's lock file and control socket.
func socketName(transport, service string) string {
	return transport + "." + strings.ReplaceAll(service, "/", "_")
}
