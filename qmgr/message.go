package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/qmgr/schedule"
)

// message is one message in the active queue.
type message struct {
	id            string
	from          string      // queue it came from
	mode          os.FileMode // of the file when it was found
	flush         bool        // deferred transports are used as well
	activeArrival time.Time

	env     *queue.Message
	forced  bool      // the administrator made it expire
	tried   bool      // its recipients are in the defer log already
	probe   bool      // counted in qmgr.probes
	excess  bool      // a probe that was one too many when it came
	lastRun time.Time // when recipients were read

	sched schedule.Message

	// Under qmgr.mu:
	undelivered bool // something remains to be tried again
	pending     int  // work outside the scheduler that keeps the message here
	refilling   bool // the next recipients are being read
	failed      bool // something about it could not be done: it must not leave the queue
}

// lockedFor is how long a message that is still being delivered is left alone.
const lockedFor = 60 * time.Second

// load reads a message that was moved to the active queue, and schedules it.
func (m *qmgr) load(msg *message) {
	locked, err := m.open(msg)
	switch {
	case locked:
		m.log.Log(maillog.Info, &maillog.StillDelivering{QueueID: msg.id})
		m.putBack(msg, queue.Incoming, lockedFor)
		m.leave()
		return
	case errors.Is(err, fs.ErrNotExist):
		m.leave() // deleted by the administrator
		return
	case errors.Is(err, queue.ErrCorrupt):
		m.log.Warnf("%s: %v", msg.id, err)
		m.saveCorrupt(msg.id, queue.Active)
		m.leave()
		return
	case err != nil:
		m.log.Warnf("cannot read message %s: %v", msg.id, err)
		m.putBack(msg, queue.Deferred, m.set.MinimalBackoff)
		m.leave()
		return
	}
	if m.begin(msg) {
		// Not here: a notification may take its time, and other mail waits.
		m.mu.Lock()
		m.spawn(func() { m.settle(msg) })
		m.mu.Unlock()
	}
}

// begin logs a message that was read and schedules its first recipients. It
// reports that nothing is to be delivered.
func (m *qmgr) begin(msg *message) (done bool) {
	env := msg.env
	n := len(env.Recipients)
	if env.More() {
		n = max(n, env.Size.Rcpts)
	}
	m.log.Log(maillog.Info, &maillog.QueueActive{
		QueueID: msg.id, Sender: m.external(env.Sender), Size: env.Size.ContentSize, Rcpts: n,
	})
	msg.sched.Enqueued = msg.activeArrival
	msg.sched.OneRecipient = len(env.VERP) == 2 && env.Sender != ""
	msg.sched.Data = msg
	msg.lastRun = msg.activeArrival
	if env.More() {
		msg.sched.Unread = max(env.Size.Rcpts-len(env.Recipients), 1)
	}
	m.mu.Lock()
	if env.TraceFlags&mailproto.DeliverMTAVerify != 0 {
		msg.probe = true
		m.probes++
		msg.excess = m.set.ProbeLimit > 0 && m.probes > m.set.ProbeLimit
	}
	m.mu.Unlock()
	if msg.forced && m.hasLog(m.set.DeferService, msg.id) {
		// It was tried; the defer log says what the sender must know.
		msg.undelivered, msg.tried = true, true
		return true
	}
	return m.assign(msg, env.Recipients)
}

// open reads the envelope of the file under an exclusive lock, and does what
// marks the beginning of an attempt: the unthrottle bit goes, and so does the
// log of the attempt before.
func (m *qmgr) open(msg *message) (locked bool, err error) {
	defer m.world.dog.Begin("reading message ", msg.id)()
	path := m.queue.Path(queue.Active, msg.id)
	f, err := openFile(path)
	if err != nil {
		return false, err
	}
	defer f.close()
	if err := unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return true, nil
		}
		return false, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	if msg.env, err = queue.ReadMessage(f, m.firstBatch()); err != nil {
		return false, err
	}
	msg.forced = msg.mode&queue.ModeExpire != 0
	if msg.mode&queue.ModeUnthrottle != 0 {
		mode := uint32(msg.mode &^ queue.ModeUnthrottle)
		if err := unix.Fchmod(f.fd, mode); err != nil {
			return false, &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	if !msg.forced || !m.hasLog(m.set.DeferService, msg.id) {
		if err := m.queue.Remove(m.set.DeferService, msg.id); err != nil {
			// Old lines in a log, or something odd in its place, do not hold up mail.
			m.log.Warnf("%s: cannot remove the log of an earlier attempt: %v", msg.id, err)
		}
	}
	return false, nil
}

// putBack moves a message out of the active queue for a while.
func (m *qmgr) putBack(msg *message, to string, delay time.Duration) {
	until := m.world.now().Add(delay)
	if err := m.postpone(msg.id, queue.Active, to, until); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warnf("cannot move message %s from active to %s: %v", msg.id, to, err)
		m.strand(msg.id)
		return
	}
	if to == queue.Incoming {
		m.incoming.postpone(until.Add(-timeSlack))
		m.poke()
	}
}

// saveCorrupt puts a file that cannot be read where the administrator can look at
// it. It is marked afterwards: nobody looks for the mark in other queues.
func (m *qmgr) saveCorrupt(id, from string) {
	m.log.Warnf("saving corrupt file %q from queue %q to queue %q", id, from, queue.Corrupt)
	if err := m.queue.Rename(id, from, queue.Corrupt); err != nil {
		m.log.Warnf("cannot move %s to the corrupt queue: %v", id, err)
		return
	}
	if err := os.Chmod(m.queue.Path(queue.Corrupt, id), queue.ModeCorrupt); err != nil {
		m.log.Warnf("cannot mark %s as corrupt: %v", id, err)
	}
}

// hasLog reports whether a service has a status log with something in it for the
// message. An empty one is removed.
func (m *qmgr) hasLog(service, id string) bool {
	var st unix.Stat_t
	path := m.queue.Path(service, id)
	for {
		err := unix.Stat(path, &st)
		if err == unix.EINTR {
			continue
		}
		if err == unix.ENOENT {
			return false
		}
		if err != nil {
			m.log.Warnf("cannot look at %s: %v", path, err)
			return true // ask the service, which will see for itself
		}
		break
	}
	if st.Size == 0 {
		if err := m.queue.Remove(service, id); err != nil {
			m.log.Warnf("cannot remove empty log: %v", err)
		}
		return false
	}
	return true
}

// firstBatch is how many recipients of a new message are read.
func (m *qmgr) firstBatch() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.set.RecipientLimit-m.sched.Recipients(), m.set.RecipientMinimum, 1)
}

// file is a queue file that is read in large pieces: a small message costs one
// read. A descriptor instead of os.File saves the calls and memory that only files
// which can be polled are worth.
type file struct{ fd int }

func openFile(path string) (file, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err == nil {
			return file{fd}, nil
		}
		if err != unix.EINTR {
			return file{}, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

func (f file) close() { unix.Close(f.fd) }

// ReadAt implements io.ReaderAt. A regular file gives less than was asked for
// only at its end.
func (f file) ReadAt(b []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(f.fd, b, off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, os.NewSyscallError("pread", err)
		case n < len(b):
			return n, io.EOF
		}
		return n, nil
	}
}
