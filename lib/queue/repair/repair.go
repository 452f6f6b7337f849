// Package repair tidies up the queue on disk (spec: protocols.md §4.10,
// security-cases.md §1.2): what crashes left there, and names and places of files
// that do not fit after a restore or a change of parameters. postsuper(1) and the
// start of the mail system use it. It is safe beside running daemons.
//
// # Names
//
// A file whose name must name another inode number is renamed in two steps: first
// to its new name with "#FIX" behind it, which no daemon looks at, then, when no
// other file has the wrong name any more, to the new name. So two files that have
// each other's names find their own, and a crash in between is mended by the next
// run. The logs in bounce, defer and trace go along, before their message.
package repair

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

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
	hashDepth = 32
	// fixing is behind the name of a file that is being renamed.
	fixing = "#FIX"
)

// messageQueues hold messages, logQueues the recipient logs of messages.
var (
	messageQueues = []string{queue.Deferred, queue.Hold, queue.Incoming, queue.Active, queue.Maildrop, queue.Corrupt}
	logQueues     = []string{queue.Bounce, queue.Defer, queue.Trace}
)

// Queues are all that can be repaired.
func Queues() []string {
	return []string{queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred, queue.Hold,
		queue.Bounce, queue.Defer, queue.Trace, queue.Flush}
}

// Job is what is to be done.
type Job struct {
	// Queues to look at; nil: all.
	Queues []string
	// Structure: names and places.
	Structure bool
	// Redundant: a long id must name its inode number as well.
	Redundant bool
	// Purge: what is left over.
	Purge bool
	// Live: daemons are running. Messages in the active queue and in maildrop keep
	// their names then, by which qmgr and pickup know them.
	Live bool
	// Now is the time by which files are old.
	Now time.Time
	// Report takes what was done and what is odd.
	Report func(maillog.Severity, string)
}

// maxRounds bounds how often the queue is gone through again because a file was
// renamed. Two are enough unless names change meanwhile.
const maxRounds = 4

// Run does the job on the queue in dir. It returns how many messages have a new
// name, also with an error, which joins all that could not be done.
func Run(dir string, s queue.Settings, job Job) (renamed int, err error) {
	if dir != "" {
		dir = filepath.Clean(dir)
	}
	r := &run{Job: job, dir: dir, q: queue.New(dir, s)}
	if r.Queues == nil {
		r.Queues = Queues()
	}
	for range maxRounds {
		r.changed, r.errs = false, nil
		for _, name := range r.Queues {
			r.walk(name)
		}
		if !r.changed {
			break
		}
		r.quiet = true // what is odd was said in the first round
	}
	return r.renamed, errors.Join(r.errs...)
}

// run is one run of a job.
type run struct {
	Job
	dir     string
	q       *queue.Queue
	ids     map[string]bool // names of all messages when an orphan was met first
	changed bool            // a name was changed: look again
	quiet   bool
	renamed int
	errs    []error
}

func (r *run) infof(format string, args ...any) { r.Report(maillog.Info, fmt.Sprintf(format, args...)) }

func (r *run) warnf(format string, args ...any) {
	if !r.quiet {
		r.Report(maillog.Warning, fmt.Sprintf(format, args...))
	}
}

// fail keeps an error; a file that is gone meanwhile is none.
func (r *run) fail(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errs = append(r.errs, err)
	}
}

// walk looks at each file of a queue and of its hash directories.
func (r *run) walk(name string) {
	depth := hashDepth
	if name == queue.Maildrop {
		depth = 0 // other users may make directories there
	}
	r.visit(name, filepath.Join(r.dir, name), 0, depth)
}

func (r *run) visit(name, dir string, level, deepest int) {
	d, err := os.Open(dir)
	if err != nil {
		r.fail(err)
		return
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.IsDir() {
				r.subdirectory(name, path, level+1, deepest)
				continue
			}
			if st, err := e.Info(); err == nil {
				r.fail(r.file(name, path, st))
			}
		}
		if err != nil {
			if err != io.EOF {
				r.fail(err)
			}
			return
		}
	}
}

// subdirectory is a hash directory, or one that is no longer needed.
func (r *run) subdirectory(name, path string, level, deepest int) {
	hash := len(filepath.Base(path)) == 1 && level <= deepest
	if hash {
		r.visit(name, path, level, deepest)
	}
	if !r.Structure || hash && level <= r.q.HashDepth(name) {
		return
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.warnf("remove subdirectory %s: %v", r.short(path), errors.Unwrap(err))
	}
}

// file is one file.
func (r *run) file(name, path string, st fs.FileInfo) error {
	if !st.Mode().IsRegular() {
		// Nothing of ours; in maildrop anybody can leave such a thing.
		if err := os.Remove(path); err != nil {
			return err
		}
		r.infof("removed %s: it is not a regular file", r.short(path))
		return nil
	}
	switch name {
	case queue.Bounce, queue.Defer, queue.Trace:
		return r.recipientLog(name, path, st)
	case queue.Flush:
		return r.rehash(name, path, filepath.Base(path))
	}
	return r.message(name, path, st)
}

// message is one file of a message queue.
func (r *run) message(name, path string, st fs.FileInfo) error {
	if mode := st.Mode().Perm(); mode&queue.ModeReady != queue.ModeReady && mode != queue.ModeCorrupt {
		return r.incomplete(name, path, st)
	}
	if !r.Structure {
		return nil
	}
	id := filepath.Base(path)
	if name, ok := strings.CutSuffix(id, fixing); ok {
		id = name
	}
	sys, _ := st.Sys().(*syscall.Stat_t)
	want, ok := r.q.Repaired(id, sys.Ino, r.Redundant)
	switch {
	case !ok:
		r.warnf("bogus file name: %s", r.short(path))
		return nil
	case sys.Nlink > 1:
		r.warnf("%s: file has %d links", r.short(path), sys.Nlink)
		return nil
	case want != id:
		return r.rename(name, path, id, want)
	case id != filepath.Base(path):
		return r.finish(name, path, id)
	}
	return r.rehash(name, path, id)
}

// incomplete removes a file that nobody will complete any more.
func (r *run) incomplete(name, path string, st fs.FileInfo) error {
	if !r.Purge || r.Now.Sub(st.ModTime()) < staleAge {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	r.infof("removed %s/%s: it was never completed and is older than 7 days", name, filepath.Base(path))
	return nil
}

// rename is the first step to a new name: its logs, then the message.
func (r *run) rename(name, path, id, want string) error {
	if r.Live && (name == queue.Active || name == queue.Maildrop) {
		r.warnf("%s does not match its inode number, but may be in use: run this again when the mail system is stopped", r.short(path))
		return nil
	}
	for _, log := range logQueues {
		if err := r.q.Move(r.q.Path(log, id), log, want, fixing); err != nil {
			r.fail(err)
		}
	}
	if err := r.q.Move(path, name, want, fixing); err != nil {
		return err
	}
	r.changed = true
	return nil
}

// finish is the second step.
func (r *run) finish(name, path, id string) error {
	for _, log := range logQueues {
		r.fail(r.q.Move(r.q.Path(log, id)+fixing, log, id, ""))
	}
	if err := r.q.Move(path, name, id, ""); err != nil {
		if errors.Is(err, fs.ErrExist) {
			r.changed = true // what is in the way may have to go, too
		}
		return err
	}
	r.changed = true
	r.renamed++
	return nil
}

// recipientLog is one file that tells what happened to a message's recipients.
func (r *run) recipientLog(name, path string, st fs.FileInfo) error {
	id, inBetween := strings.CutSuffix(filepath.Base(path), fixing)
	if !queue.ValidID(id) {
		return nil
	}
	if r.Purge && r.Now.Sub(st.ModTime()) >= orphanAge && !r.exists(id) {
		if err := os.Remove(path); err != nil {
			return err
		}
		r.infof("removed %s/%s: its message is gone", name, filepath.Base(path))
		return nil
	}
	if inBetween && r.Structure && !r.pending(id) {
		return r.q.Move(path, name, id, "")
	}
	if inBetween {
		return nil
	}
	return r.rehash(name, path, id)
}

// exists looks for the message: at its place, twice, for it may be moving between
// queues, and in the wrong hash directory.
func (r *run) exists(id string) bool {
	for range 2 {
		for _, name := range messageQueues {
			for _, suffix := range []string{"", fixing} {
				if _, err := os.Lstat(r.q.Path(name, id) + suffix); !errors.Is(err, fs.ErrNotExist) {
					return true
				}
			}
		}
	}
	if r.ids == nil {
		r.ids = make(map[string]bool)
		for _, name := range messageQueues {
			// What cannot be read is said when the queue itself is looked at.
			_ = filepath.WalkDir(filepath.Join(r.dir, name), func(_ string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					r.ids[e.Name()] = true
				}
				return nil
			})
		}
	}
	return r.ids[id]
}

// pending reports that a message waits for its second step, in which its logs go
// first.
func (r *run) pending(id string) bool {
	for _, name := range messageQueues {
		if _, err := os.Lstat(r.q.Path(name, id) + fixing); err == nil {
			return true
		}
	}
	return false
}

// rehash moves a file to the directory where the daemons look for it.
func (r *run) rehash(name, path, id string) error {
	if !r.Structure || !queue.ValidID(id) {
		return nil
	}
	want := r.q.Path(name, id)
	if want == path {
		return nil
	}
	if err := r.q.Move(path, name, id, ""); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: cannot be moved to %s: both exist", path, want)
	} else if err != nil {
		return err
	}
	r.infof("moved %s/%s to where hash_queue_names and hash_queue_depth put it", name, id)
	return nil
}

// short is a path below the queue directory.
func (r *run) short(path string) string {
	if rel, err := filepath.Rel(r.dir, path); err == nil {
		return rel
	}
	return path
}
