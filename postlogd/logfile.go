package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"sealpost/lib/instance"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
)

const (
	// maxLine is the greatest length of a line. Postfix's lines have at most 4096
	// bytes, JSON lines may be longer.
	maxLine = 16 << 10
	// batchSize is how much is collected before it is written although more waits.
	batchSize = 64 << 10
	// checkInterval is the least time between two looks at the file's name.
	checkInterval = time.Second
)

const stdout = "/dev/stdout"

// check is the permissions of a new file, or an error about what main.cf says.
func (s *settings) check(root bool) (os.FileMode, error) {
	mode := os.FileMode(s.Mode)
	if mode != 0o600 && mode != 0o640 && mode != 0o644 {
		return 0, fmt.Errorf("bad value for parameter maillog_file_permissions: %04o: must be 0600, 0640 or 0644", s.Mode)
	}
	return mode, instance.CheckLogFile(s.File, s.Prefixes, s.ConfigDir, s.QueueDir, root)
}

// logFile appends lines to a file, several in one write. It is safe for
// concurrent use.
type logFile struct {
	path     string
	mode     os.FileMode
	log      *maillog.Logger // for lines of postlogd itself; they come back through Write
	watchdog *service.Watchdog
	lost     func() // called when the file cannot be opened again
	now      func() time.Time

	mu      sync.Mutex
	f       *os.File
	st      os.FileInfo
	buf     []byte
	lines   int // in buf
	checked time.Time
	dropped int
	failure error // of the last write; nil when it succeeded
}

// openLogFile opens or creates the file.
func openLogFile(path string, mode os.FileMode) (*logFile, error) {
	l := &logFile{path: path, mode: mode, now: time.Now}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// open opens the file. The caller holds mu, or is the only user.
func (l *logFile) open() error {
	if l.path == stdout {
		// Not by name: standard output may be a socket, or not ours to open.
		l.f = os.Stdout
		return nil
	}
	const flags = os.O_WRONLY | os.O_APPEND
	f, err := os.OpenFile(l.path, flags|os.O_CREATE|os.O_EXCL, l.mode)
	switch {
	case err == nil:
		err = f.Chmod(l.mode) // whatever the umask
	case os.IsExist(err):
		f, err = os.OpenFile(l.path, flags, 0)
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		return fmt.Errorf("open maillog_file: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open maillog_file: %w", err)
	}
	if l.f != nil {
		l.f.Close()
	}
	l.f, l.st = f, st
	return nil
}

// add takes one datagram.
func (l *logFile) add(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(b)
	if len(l.buf) >= batchSize {
		l.write()
	}
}

// append adds a line to the batch.
func (l *logFile) append(b []byte) {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == 0) {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return
	}
	l.buf = append(l.buf, maillog.CleanLine(b, maxLine)...)
	l.buf = append(l.buf, '\n')
	l.lines++
}

// Write takes a line of postlogd's own log.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(append([]byte(nil), b...))
	l.write()
	return len(b), nil
}

// flush writes what was collected.
func (l *logFile) flush() {
	l.mu.Lock()
	l.write()
	report := l.dropped
	failed := l.failure != nil
	if !failed {
		l.dropped = 0
	}
	l.mu.Unlock()
	if report > 0 && !failed {
		l.log.Warnf("%d log lines could not be written to %s", report, l.path)
	}
}

// write writes the batch. The caller holds mu.
func (l *logFile) write() {
	if len(l.buf) == 0 {
		return
	}
	l.check()
	defer l.watchdog.Begin("writing ", l.path)()
	_, err := l.f.Write(l.buf)
	l.failure = err
	if err != nil {
		l.dropped += l.lines
	}
	l.buf, l.lines = l.buf[:0], 0
}

// check opens the file again when its name means another file, or none.
func (l *logFile) check() {
	now := l.now()
	if l.path == stdout || now.Sub(l.checked) < checkInterval {
		return
	}
	l.checked = now
	st, err := os.Stat(l.path)
	if err == nil && os.SameFile(st, l.st) {
		return
	}
	l.renew()
}

// reopen opens the file again at an administrator's request.
func (l *logFile) reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path != stdout {
		l.renew()
	}
}

// renew opens the file again. Lines go on to the old file where that fails, until
// the successor is there.
func (l *logFile) renew() {
	if err := l.open(); err != nil && l.lost != nil {
		l.lost()
	}
}

func (l *logFile) close() {
	l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path != stdout {
		l.f.Close()
	}
}
