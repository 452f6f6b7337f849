package instance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/queue"
)

const (
	// staleAge is how old a file must be that was never completed (its writer was
	// killed) before it is removed.
	staleAge = 7 * 24 * time.Hour
	// orphanAge is how old a recipient log must be whose message is gone. A worker
	// of an earlier master may still be finishing a message.
	orphanAge = time.Hour
	// hashDepth bounds the walk into hash directories.
	hashDepth = 8
)

// messageQueues hold messages, logQueues hold the recipient logs of messages.
var (
	messageQueues = []string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}
	logQueues     = []string{queue.Bounce, queue.Defer, queue.Trace}
)

// Recover tidies up what crashes and changed parameters left in the queue
// (security-cases.md §1.2): files that were never completed and are older than
// seven days are removed, so are recipient logs without a message, and files
// that are in the wrong hash directory for hash_queue_names and
// hash_queue_depth are moved. It is safe beside running daemons and logs what it
// did.
func Recover(c *config.Config, s Settings, now time.Time, log *maillog.Logger) error {
	ids, err := LookupIDs(s)
	if err != nil {
		return err
	}
	r, err := prepare(c, s, now, log)
	if err != nil {
		return err
	}
	return AsOwner(ids, r.run)
}

func prepare(c *config.Config, s Settings, now time.Time, log *maillog.Logger) (*recovery, error) {
	var qs queue.Settings
	if err := c.Decode(&qs); err != nil {
		return nil, err
	}
	return &recovery{dir: s.QueueDir, q: queue.New(s.QueueDir, qs), now: now, log: log}, nil
}

type recovery struct {
	dir string
	q   *queue.Queue
	now time.Time
	log *maillog.Logger
}

func (r *recovery) run() error {
	var errs []error
	for _, name := range messageQueues {
		errs = append(errs, r.walk(name, hashDepth, r.message))
	}
	// Anybody may put files into maildrop: it is never walked into.
	errs = append(errs, r.walk(queue.Maildrop, 0, r.stale))
	for _, name := range logQueues {
		errs = append(errs, r.walk(name, hashDepth, r.recipientLog))
	}
	return errors.Join(errs...)
}

// walk calls fn for each regular file of a queue directory and of its hash
// directories.
func (r *recovery) walk(name string, depth int, fn func(queue, path string, st fs.FileInfo) error) error {
	var errs []error
	var visit func(dir string, depth int)
	visit = func(dir string, depth int) {
		d, err := os.Open(dir)
		if err != nil {
			errs = append(errs, err)
			return
		}
		defer d.Close()
		for {
			entries, err := d.ReadDir(256)
			for _, e := range entries {
				path := filepath.Join(dir, e.Name())
				if e.IsDir() {
					if depth > 0 && len(e.Name()) == 1 {
						visit(path, depth-1)
					}
					continue
				}
				st, err := e.Info()
				if err != nil || !st.Mode().IsRegular() {
					continue // it went away, or is nothing of ours
				}
				if err := fn(name, path, st); err != nil && !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, err)
				}
			}
			if err != nil {
				if err != io.EOF {
					errs = append(errs, err)
				}
				return
			}
		}
	}
	visit(filepath.Join(r.dir, name), depth)
	return errors.Join(errs...)
}

// message is one file of a message queue.
func (r *recovery) message(name, path string, st fs.FileInfo) error {
	if st.Mode().Perm()&queue.ModeReady != queue.ModeReady {
		return r.stale(name, path, st)
	}
	return r.rehash(name, path)
}

// stale removes a file that nobody will complete any more.
func (r *recovery) stale(name, path string, st fs.FileInfo) error {
	mode := st.Mode().Perm()
	if mode&queue.ModeReady == queue.ModeReady || mode == queue.ModeCorrupt || r.now.Sub(st.ModTime()) < staleAge {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	r.log.Infof("removed %s/%s: it was never completed and is older than 7 days", name, filepath.Base(path))
	return nil
}

// recipientLog is one file that tells what happened to a message's recipients.
func (r *recovery) recipientLog(name, path string, st fs.FileInfo) error {
	id := filepath.Base(path)
	if !queue.ValidID(id) {
		return nil
	}
	if r.now.Sub(st.ModTime()) < orphanAge || r.exists(id) {
		return r.rehash(name, path)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	r.log.Infof("removed %s/%s: its message is gone", name, id)
	return nil
}

// exists looks for the message twice: it may be moving between queues.
func (r *recovery) exists(id string) bool {
	for range 2 {
		for _, name := range []string{queue.Deferred, queue.Hold, queue.Incoming, queue.Active, queue.Corrupt, queue.Maildrop} {
			if _, err := os.Lstat(r.q.Path(name, id)); !errors.Is(err, fs.ErrNotExist) {
				return true
			}
		}
	}
	return false
}

// rehash moves a file to the directory where the daemons look for it.
func (r *recovery) rehash(name, path string) error {
	id := filepath.Base(path)
	if !queue.ValidID(id) {
		return nil
	}
	want := r.q.Path(name, id)
	if want == path {
		return nil
	}
	if _, err := os.Lstat(want); err == nil {
		return fmt.Errorf("%s: cannot be moved to %s: both exist", path, want)
	}
	if err := os.MkdirAll(filepath.Dir(want), 0o700); err != nil {
		return err
	}
	if err := os.Rename(path, want); err != nil {
		return err
	}
	r.log.Infof("moved %s/%s to where hash_queue_names and hash_queue_depth put it", name, id)
	return nil
}
