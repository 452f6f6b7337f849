package queue

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// DirSyncer makes directory entries durable with as few fsync(2) calls as
// possible: callers that come while one runs share the next. The zero value is
// ready and safe for concurrent use.
type DirSyncer struct {
	mu   sync.Mutex
	dirs map[string]*dirSync
	fs   fileSystem // nil: the operating system's
}

// dirSync is a directory with an fsync in progress.
type dirSync struct {
	next *syncRound // collects those whose entries came too late for the current one
}

type syncRound struct {
	path string
	done chan struct{}
	err  error
}

// Sync returns when an fsync of the directory that began after the call has
// ended. When ctx is done first the outcome is not known.
func (s *DirSyncer) Sync(ctx context.Context, path string) error {
	return s.begin(path).wait(ctx)
}

// begin asks for an fsync of the directory that begins from now on.
func (s *DirSyncer) begin(path string) *syncRound {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dirs[path]
	if d == nil {
		if s.dirs == nil {
			s.dirs = make(map[string]*dirSync)
		}
		d = &dirSync{}
		s.dirs[path] = d
		go s.run(path, d)
	}
	if d.next == nil {
		d.next = &syncRound{path: path, done: make(chan struct{})}
	}
	return d.next
}

// wait waits for the end of the round.
func (r *syncRound) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("fsync %s: %w", r.path, ctx.Err())
	}
}

// run works until nobody waits.
func (s *DirSyncer) run(path string, d *dirSync) {
	for {
		s.mu.Lock()
		round := d.next
		d.next = nil
		if round == nil {
			delete(s.dirs, path)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		round.err = s.fsync(path)
		close(round.done)
	}
}

func (s *DirSyncer) fsync(path string) error {
	var sys fileSystem = osFS{}
	if s.fs != nil {
		sys = s.fs
	}
	return syncDir(sys, path)
}

func syncDir(sys fileSystem, path string) error {
	fd, err := sys.open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = sys.fsync(fd, path)
	if e := sys.close(fd, path); err == nil {
		err = e
	}
	return err
}

// SyncDir fsyncs a directory once, for this caller alone; a DirSyncer shares the
// work among many.
func SyncDir(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fsync %s: %w", path, err)
	}
	return syncDir(osFS{}, path)
}

// SyncDir makes the entries of a directory durable, shared with concurrent
// callers and commits.
func (q *Queue) SyncDir(ctx context.Context, path string) error { return q.dirs.Sync(ctx, path) }
