package service

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// watchInterval is the time between looks at the open files. A look is one
// system call per file.
const watchInterval = 2 * time.Second

// watcher notices that a file was replaced or changed. It holds a descriptor of
// each file, so that it can look after chroot and as another user.
type watcher struct {
	files []watched
	names bool // the files' names mean the same as at the start: no chroot
}

type watched struct {
	path string
	fd   int // O_PATH; -1: the file did not exist
	st   unix.Stat_t
	late bool // changed after it was read
}

// newWatcher notes what the files are now. Those that changed since the worker
// began to read files count as changed.
func newWatcher(paths []string, started time.Time, names bool) *watcher {
	w := &watcher{names: names}
	for _, p := range paths {
		f := watched{path: p, fd: -1}
		fd, err := unix.Open(p, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil && unix.Fstat(fd, &f.st) == nil {
			f.fd = fd
			mtime := time.Unix(f.st.Mtim.Unix())
			// A time in the future says nothing.
			f.late = mtime.After(started) && mtime.Before(time.Now())
		}
		w.files = append(w.files, f)
	}
	return w
}

// changed is the first file that is not what it was. A file that did not exist
// counts when it appears.
func (w *watcher) changed() (string, bool) {
	for i := range w.files {
		if w.files[i].changed(w.names) {
			return w.files[i].path, true
		}
	}
	return "", false
}

func (f *watched) changed(names bool) bool {
	var st unix.Stat_t
	if f.fd < 0 {
		return names && unix.Stat(f.path, &st) == nil
	}
	if f.late {
		return true
	}
	if unix.Fstat(f.fd, &st) == nil {
		if st.Mtim != f.st.Mtim || st.Size != f.st.Size {
			return true
		}
		if st.Nlink == 0 && !names {
			return true
		}
	}
	// Another file has the name now, or a symbolic link points elsewhere. A name
	// that is gone is not a replacement: a successor would find nothing to open, and
	// what is open here stays in use.
	return names && unix.Stat(f.path, &st) == nil && (st.Ino != f.st.Ino || st.Dev != f.st.Dev)
}

// run looks until a file changed or ctx is done.
func (w *watcher) run(ctx context.Context, every time.Duration, found func(path string)) {
	if len(w.files) == 0 {
		return
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if p, ok := w.changed(); ok {
				found(p)
				return
			}
		}
	}
}
