package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sealpost/lib/maillog"
)

// Limits and times of the frame.
const (
	defaultDrainTimeout = 60 * time.Second
	// leaveGrace is how long sessions may take to notice that they must stop at
	// once, before their connections are closed, and again after that.
	leaveGrace = time.Second
	// lingerTime is how long a draining worker listens to a client that was told to go.
	lingerTime = time.Second
	// acceptPause is the wait after accept failed for want of descriptors or memory.
	acceptPause = 100 * time.Millisecond
	// A worker that met more than maxPanics panics within panicWindow stays: leaving
	// again and again would stop the service.
	maxPanics   = 5
	panicWindow = time.Minute
)

// reason says why a worker leaves.
type reason int

const (
	reasonMaster  reason = iota // master went away or reloaded
	reasonOwn                   // a table changed, a session panicked
	reasonIdle                  // nothing to do (under a foreign master)
	reasonAtOnce                // SIGTERM, or the caller's context ended
	reasonRunDone               // Worker.Run returned
)

// server runs one worker: accepts connections, limits sessions, and leaves.
type server struct {
	env     *Env
	w       *Worker
	kind    Kind
	pass    bool    // connections carry a descriptor (§2.21)
	status  *status // nil: no master
	ours    bool    // the master is ours
	lock    *acceptLock
	stress  *stress
	limit   int
	ctx     context.Context // of sessions
	cancel  context.CancelFunc
	runCtx  context.Context // of Worker.Run
	stopRun context.CancelFunc
	leaving chan reason // buffered; the first entry counts
	runErr  error

	loops     sync.WaitGroup // accept loops
	accepting sync.WaitGroup // accepts whose connection has no session yet
	running   sync.WaitGroup // sessions
	runs      sync.WaitGroup // Worker.Run
	number    atomic.Uint64
	lastBusy  atomic.Int64 // Unix seconds

	mu        sync.Mutex
	room      sync.Cond
	sessions  map[*Session]net.Conn // the connection as accepted
	others    int                   // sessions of the predecessor
	listeners []interface{ Close() error }
	stopped   bool // no more accepts
	panics    []time.Time

	reporting sync.Mutex // one status record at a time, each about now
	complain  limiter    // of warnings about accept
}

func newServer(ctx context.Context, env *Env, w *Worker) *server {
	env.prepare()
	s := &server{
		env: env, w: w, limit: env.MaxSessions, leaving: env.leaving,
		sessions: make(map[*Session]net.Conn), complain: limiter{every: 10 * time.Second},
	}
	s.room.L = &s.mu
	env.Tally.changed = s.othersChanged
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.runCtx, s.stopRun = context.WithCancel(s.ctx)
	s.lastBusy.Store(time.Now().Unix())
	env.Counters.Gauge("sessions", func() int64 { return int64(s.active()) })
	env.Counters.Gauge("sessions_total", func() int64 { return int64(s.number.Load()) })
	return s
}

// leave asks the worker to leave; it returns at once.
func (s *server) leave(r reason) {
	if r != reasonAtOnce {
		select {
		case s.leaving <- r:
		default: // it is leaving
		}
		return
	}
	for { // this one must be heard: it displaces another that waits
		select {
		case s.leaving <- r:
			return
		case <-s.leaving:
		}
	}
}

// full reports that there is no room for a session: this worker's and its
// predecessor's are as many as there may be. The caller holds mu.
func (s *server) full() bool {
	return s.limit > 0 && len(s.sessions)+s.others >= s.limit
}

// othersChanged is called when sessions of the predecessor have ended.
func (s *server) othersChanged() {
	n := s.env.Tally.others("")
	s.mu.Lock()
	wasFull := s.full()
	s.others = n
	isFull := s.full()
	s.room.Broadcast()
	s.mu.Unlock()
	if wasFull != isFull {
		s.reportRoom()
	}
}

func (s *server) active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// addListener starts accepting on a listener that the server then owns.
func (s *server) addListener(ln net.Listener) {
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the socket is master's
	}
	s.own(ln)
	s.loops.Go(func() { s.acceptLoop(ln) })
}

// own makes the server close c when it stops accepting.
func (s *server) own(c interface{ Close() error }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, c)
}

func (s *server) acceptLoop(ln net.Listener) {
	for s.waitRoom() {
		s.lock.acquire()
		err := s.acceptOne(ln)
		if err != nil && !s.acceptError(err) {
			return
		}
	}
}

// acceptOne accepts one connection and starts its session.
func (s *server) acceptOne(ln net.Listener) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		s.lock.release()
		return net.ErrClosed
	}
	s.accepting.Add(1)
	s.mu.Unlock()
	defer s.accepting.Done()
	conn, err := ln.Accept()
	s.lock.release()
	if err == nil {
		s.start(conn)
	}
	return err
}

func (s *server) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// acceptError reports whether accepting goes on after err.
func (s *server) acceptError(err error) bool {
	if errors.Is(err, net.ErrClosed) || s.isStopped() {
		return false
	}
	if errors.Is(err, syscall.ECONNABORTED) {
		return true // the client did not wait
	}
	if s.complain.allow(time.Now()) {
		s.env.Log.Warnf("accept connection: %v", err)
	}
	select {
	case <-time.After(acceptPause):
		return true
	case <-s.ctx.Done():
		return false
	}
}

// waitRoom waits until there is room for a session; false: do not accept.
func (s *server) waitRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.stopped && s.full() {
		s.room.Wait()
	}
	return !s.stopped
}

// start begins a session on an accepted connection. With several listeners the
// limit may have been reached meanwhile: then the connection waits here.
func (s *server) start(conn net.Conn) {
	sess := &Session{Conn: conn, Number: s.number.Add(1), Drain: s.env.drain}
	sess.Log = s.env.Log.Session(sess.Number)
	s.mu.Lock()
	for !s.stopped && s.full() {
		s.room.Wait()
	}
	s.sessions[sess] = conn
	full := s.full()
	s.running.Add(1)
	s.mu.Unlock()
	s.env.Tally.Add("", 1)
	if full {
		s.reportRoom()
		s.stress.reached(s.limit)
	}
	sess.Config, sess.Stress = s.configNow()
	go s.session(sess)
}

// reportRoom tells master whether there is room for a session now. Records are
// sent one at a time, each about the state at its sending, so the last one is true.
func (s *server) reportRoom() {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	s.mu.Lock()
	full := s.full()
	stopped := s.stopped
	s.mu.Unlock()
	switch {
	case stopped:
	case full:
		s.report(StatusTaken)
	default:
		s.report(StatusAvail)
	}
}

// report sends a status record. Without master there is nothing to do any more.
func (s *server) report(state int) {
	if err := s.status.send(state); err != nil {
		s.env.Log.Verbosef("master is gone: %v", err)
		s.leave(reasonMaster)
	}
}

func (s *server) session(sess *Session) {
	defer s.end(sess)
	conn := sess.Conn // the worker may wrap Conn (TLS)
	defer s.hangUp(conn)
	switch {
	case s.pass:
		if !s.receive(sess) {
			return
		}
		passed := sess.Conn
		defer s.hangUp(passed)
		s.w.Conn(s.ctx, sess)
	case s.w.Conn != nil:
		s.w.Conn(s.ctx, sess)
	case s.w.Trigger != nil:
		s.trigger(sess)
	}
}

// hangUp closes a connection. While the worker drains, the client may be about to
// send a command when it is told 421: the connection is then closed for writing
// first, and what still comes is read for a moment, since an unread command would
// turn the close into a reset that destroys the reply on its way.
func (s *server) hangUp(conn net.Conn) {
	defer conn.Close()
	tcp, ok := conn.(*net.TCPConn)
	if !ok || !s.isStopped() || s.ctx.Err() != nil || tcp.CloseWrite() != nil {
		return
	}
	if tcp.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.Copy(io.Discard, tcp) //nolint:errcheck // it ends with an error or with EOF
	}
}

// end is deferred by session: it also meets the session's panic.
func (s *server) end(sess *Session) {
	if p := recover(); p != nil {
		s.panicked(sess, p)
	}
	s.mu.Lock()
	wasFull := s.full()
	delete(s.sessions, sess)
	s.room.Signal()
	s.mu.Unlock()
	s.env.Tally.Add("", -1)
	s.lastBusy.Store(time.Now().Unix())
	if wasFull {
		s.reportRoom()
	}
	s.running.Done()
}

// run does the worker's life until it was asked to leave and has left.
func (s *server) run() error {
	if s.w.Run != nil {
		s.runs.Go(s.runWorker)
	}
	var r reason
	select {
	case r = <-s.leaving:
	case <-s.ctx.Done():
		r = reasonAtOnce
	}
	s.stopAccepting()
	if r == reasonOwn && s.ours {
		s.report(StatusLeaving)
	}
	close(s.env.drain)
	defer s.cancel()
	switch {
	case r == reasonAtOnce:
		s.cancel()
		s.interrupt()
	case s.kind == MultiClient:
		// Its state is the successor's from now on; requests that are being served
		// have a moment to end.
		s.stopRun()
	default:
		s.wait(s.drainTimeout(), &s.running)
		s.stopRun()
	}
	if !s.wait(leaveGrace, &s.running, &s.runs) {
		s.cancel()
		s.closeSessions()
		s.wait(leaveGrace, &s.running, &s.runs)
	}
	return s.runErr
}

func (s *server) drainTimeout() time.Duration {
	if s.env.DrainTimeout > 0 {
		return s.env.DrainTimeout
	}
	return defaultDrainTimeout
}

func (s *server) runWorker() {
	defer func() {
		if p := recover(); p != nil {
			s.env.Log.Text(maillog.Panic, fmt.Sprintf("%v at %s", p, stack(3)))
			s.runErr = fmt.Errorf("panic: %v", p)
		}
		s.leave(reasonRunDone)
	}()
	if err := s.w.Run(s.runCtx); err != nil && s.runCtx.Err() == nil {
		s.runErr = err
	}
}

// stopAccepting closes our descriptors of the listening sockets. The sockets stay
// open in master: what waits in their backlog is the successor's. A connection
// that was accepted is served.
func (s *server) stopAccepting() {
	s.mu.Lock()
	s.stopped = true
	s.room.Broadcast()
	listeners := s.listeners
	s.mu.Unlock()
	// Not under the lock: Close waits for a read in progress, and the reader of
	// datagrams asks under the lock whether it is to stop.
	for _, l := range listeners {
		l.Close()
	}
	s.accepting.Wait()
	if s.lock == nil { // else a loop may be waiting for another process
		s.loops.Wait()
	}
}

// wait waits for groups to end. It reports false after d, or when the worker was
// told meanwhile to leave at once.
func (s *server) wait(d time.Duration, groups ...*sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, g := range groups {
			g.Wait()
		}
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-done:
			return true
		case <-t.C:
			return false
		case r := <-s.leaving:
			if r == reasonAtOnce {
				return false
			}
		}
	}
}

// interrupt ends the reads that sessions wait in.
func (s *server) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.sessions {
		conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // closed, then
	}
}

func (s *server) closeSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.sessions {
		conn.Close()
	}
}
