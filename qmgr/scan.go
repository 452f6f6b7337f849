package main

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/queue"
)

// scanFlags say how a scan treats what it finds.
type scanFlags struct {
	all   bool // time stamps are ignored
	flush bool // deferred transports are used as well
}

// scanner is the state of the scans of one queue directory. A request that comes
// during a scan starts another one after it.
type scanner struct {
	queue string
	asked chan struct{}

	mu    sync.Mutex
	flags scanFlags // of the next scan
	later time.Time // when the first file that was too young is due; zero: none
}

func (s *scanner) init(name string) {
	s.queue = name
	s.asked = make(chan struct{}, 1)
}

// request asks for a scan.
func (s *scanner) request(f scanFlags) {
	s.mu.Lock()
	s.flags.all = s.flags.all || f.all
	s.flags.flush = s.flags.flush || f.flush
	s.mu.Unlock()
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

// take gives the flags of the scan that begins now.
func (s *scanner) take() scanFlags {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flags
	s.flags = scanFlags{}
	s.later = time.Time{}
	return f
}

// postpone remembers a file that is not due yet.
func (s *scanner) postpone(at time.Time) {
	s.mu.Lock()
	if s.later.IsZero() || at.Before(s.later) {
		s.later = at
	}
	s.mu.Unlock()
}

// due requests a scan when a postponed file has become due, and returns when the
// next one will, but not after limit.
func (s *scanner) due(now, limit time.Time) time.Time {
	s.mu.Lock()
	later := s.later
	if !later.IsZero() && !now.Before(later) {
		s.later = time.Time{}
	}
	s.mu.Unlock()
	switch {
	case later.IsZero():
		return limit
	case !now.Before(later):
		s.request(scanFlags{})
		return limit
	case later.Before(limit):
		return later
	}
	return limit
}

// scanLoop scans a queue whenever somebody asks for it. What came in after since is
// new mail for the first scan; later, what came in after the scan before.
func (m *qmgr) scanLoop(ctx context.Context, s *scanner, since time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.asked:
			m.scan(s, s.take(), since)
			since = m.world.now()
		}
	}
}

// timeSlack is how far in the future a time stamp may be for a file to be due.
const timeSlack = time.Second

// stampLag is how much a file's time stamp may be older than the clock at that
// moment: the kernel takes the time of its last tick.
const stampLag = 10 * time.Millisecond

// tokenBatch is how many flow control tokens are given back at a time.
const tokenBatch = 16

// scan moves what is due to the active queue and hands it to the loaders. It
// reads the directory in pieces and stops in the middle when the active queue is
// full, so neither the number of files nor their order matters. New mail, that from
// since on, does not wait for the end of a long scan.
func (m *qmgr) scan(s *scanner, f scanFlags, since time.Time) {
	run := &scanRun{m: m, s: s, flags: f, fresh: s.queue == queue.Incoming, since: since, begun: time.Now()}
	defer run.putTokens()
	run.watch()
	defer func() { run.end() }()
	err := m.queue.ScanMarked(s.queue, func(e queue.Entry) bool {
		if run.fresh {
			run.newest()
		}
		return run.take(e)
	}, func(e queue.Entry) { m.saveCorrupt(e.ID, s.queue) })
	if err != nil {
		m.log.Warnf("scan of the %s queue: %v", s.queue, err)
	}
	if run.fresh {
		m.poke() // files that are too young have set a new time
	}
}

// scanRun is one scan.
type scanRun struct {
	m      *qmgr
	s      *scanner
	flags  scanFlags
	fresh  bool      // of the incoming queue
	since  time.Time // the time stamp of new mail is not before it
	tokens int       // of flow control, to be given back
	end    func()    // of the step that the watchdog sees

	begun  time.Time
	looked time.Time     // when newest looked last
	cost   time.Duration // how long that took
}

// newestEvery is the least time between two looks for new mail during a scan, and
// newestShare how much more time than a look takes must lie between.
const (
	newestEvery = 100 * time.Millisecond
	newestShare = 10
)

// newest takes new mail: a backlog does not hold it up. It looks when somebody said
// that there is some, and once in every long scan: what was said before the scan
// began may be about mail that it has not come to yet.
func (r *scanRun) newest() {
	now := time.Now()
	wanted := len(r.s.asked) > 0 || r.looked.IsZero() && now.Sub(r.begun) >= newestEvery
	if !wanted || now.Sub(r.looked) < max(newestEvery, newestShare*r.cost) {
		return
	}
	var taking time.Duration // is no cost of the look
	// What is wrong with the directory is said by the scan itself.
	_ = r.m.queue.Scan(r.s.queue, func(e queue.Entry) bool {
		if e.ModTime.Before(r.since) {
			return true
		}
		found := time.Now()
		defer func() { taking += time.Since(found) }()
		return r.take(e)
	})
	r.looked = time.Now()
	r.cost = r.looked.Sub(now) - taking
}

// watch begins a step for the watchdog: until the next file was found.
func (r *scanRun) watch() { r.end = r.m.world.dog.Begin("the scan of queue ", r.s.queue) }

func (r *scanRun) putTokens() {
	if r.fresh && r.tokens > 0 {
		r.m.world.tokens(r.tokens)
		r.tokens = 0
	}
}

// take takes one file. False: the scan is over, because qmgr is leaving.
func (r *scanRun) take(e queue.Entry) bool {
	m := r.m
	if due := e.ModTime.Add(-timeSlack); !r.flags.all && due.After(m.world.now()) {
		if r.fresh {
			r.s.postpone(due)
		}
		return true
	}
	if r.tokens >= tokenBatch || m.full() {
		r.putTokens()
	}
	r.end()
	entered := m.enter(r.fresh) // for as long as it takes
	r.watch()
	if !entered {
		return false
	}
	if err := m.queue.Rename(e.ID, r.s.queue, queue.Active); err != nil {
		m.leave()
		if !errors.Is(err, fs.ErrNotExist) {
			m.log.Warnf("cannot move message %s from %s to active: %v", e.ID, r.s.queue, err)
		}
		return true
	}
	r.tokens++
	r.end()
	defer r.watch()
	m.loads <- &message{
		id: e.ID, from: r.s.queue, mode: e.Mode, flush: r.flags.flush || e.Mode&queue.ModeUnthrottle != 0,
		activeArrival: m.world.now(),
	}
	return true
}

// requeueActive moves everything in the active queue to the incoming queue, with a
// time stamp in the past, before the first scan. Deliveries that agents have not finished since an
// earlier qmgr hold a lock on their file, which load meets. A file that cannot be
// moved keeps nobody else's mail from being delivered.
func (m *qmgr) requeueActive(due time.Time) error {
	err := m.queue.ScanMarked(queue.Active, func(e queue.Entry) bool {
		m.requeue(e.ID, due)
		return true
	}, func(e queue.Entry) { m.saveCorrupt(e.ID, queue.Active) })
	var odd queue.OddFiles
	if errors.As(err, &odd) {
		m.log.Warnf("scan of the %s queue: %v", queue.Active, err)
		return nil
	}
	return err
}

// requeue moves a message from the active to the incoming queue.
func (m *qmgr) requeue(id string, due time.Time) {
	err := m.postpone(id, queue.Active, queue.Incoming, due)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warnf("cannot move message %s from active to incoming: %v", id, err)
		m.strand(id)
	}
}

// strand remembers a message that is nobody's concern but could not be moved out
// of the active queue, because the file system is full or failing.
func (m *qmgr) strand(id string) {
	m.mu.Lock()
	m.stranded = append(m.stranded, id)
	m.mu.Unlock()
}

// rescue tries again to move what is stranded.
func (m *qmgr) rescue() {
	m.mu.Lock()
	list := m.stranded
	m.stranded = nil
	m.mu.Unlock()
	for _, id := range list {
		m.requeue(id, m.world.now())
	}
	if len(list) > 0 {
		m.incoming.request(scanFlags{})
	}
}

// postpone moves a message to a queue where it waits until the given time.
func (m *qmgr) postpone(id, from, to string, until time.Time) error {
	tv := unix.NsecToTimespec(until.UnixNano())
	err := unix.UtimesNanoAt(unix.AT_FDCWD, m.queue.Path(from, id), []unix.Timespec{tv, tv}, 0)
	if err != nil {
		return &fs.PathError{Op: "utimes", Path: m.queue.Path(from, id), Err: err}
	}
	return m.queue.Rename(id, from, to)
}
