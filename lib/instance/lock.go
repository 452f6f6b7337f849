package instance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ErrLocked means that another process holds the lock: a master is running.
var ErrLocked = errors.New("unable to set exclusive lock")

// lockWidth is the width of the process id in a lock file (§3.6).
const lockWidth = 32

// PidFile is the path of the lock that the running master holds.
func (s Settings) PidFile() string {
	return filepath.Join(s.QueueDir, s.PidDir, "master.pid")
}

// DataLock is the second lock: two queues must not share a data directory.
func (s Settings) DataLock() string {
	return filepath.Join(s.DataDir, "master.lock")
}

// Lock opens and locks a lock file without waiting and writes the process id
// to it. The lock lasts until the file is closed or the process ends. Another
// holder gives ErrLocked.
func Lock(path string, pid int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file %s: %w", path, err)
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("open lock file %s: %w: %w", path, ErrLocked, err)
	}
	text := fmt.Sprintf("%*d\n", lockWidth, pid)
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock file %s: %w", path, err)
	}
	return f, nil
}

// LockWait is Lock for a holder that is about to leave: it asks again until
// the time is over. A master that was killed hands its lock on at once, but a
// master that is being stopped needs the time its workers need.
func LockWait(path string, pid int, limit time.Duration) (*os.File, error) {
	deadline := time.Now().Add(limit)
	for {
		f, err := Lock(path, pid)
		if err == nil || !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return f, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Running tells whether a process holds the lock file, and which process id is
// written in it (0 when it cannot be read). A missing file means no.
func Running(path string) (pid int, running bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("lock of the mail system: %w", err)
	}
	defer f.Close()
	// A shared lock asks without getting in the way of another who asks.
	if flock(f, syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, false, nil
	}
	buf := make([]byte, 2*lockWidth)
	n, _ := f.ReadAt(buf, 0)
	pid, err = strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	if err != nil || pid < 1 {
		// The holder has the lock but has not written its number yet.
		return 0, true, nil
	}
	return pid, true, nil
}

// flock repeats the call when a signal interrupts it.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			return err
		}
	}
}
