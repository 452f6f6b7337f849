package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const maildirKind = "maildir"

func (d *Deliverer) maildir(ctx context.Context, src *os.File, j *Job) error {
	dir := strings.TrimSuffix(j.Path, "/")
	host := strings.NewReplacer("/", "\\057", ":", "\\072").Replace(j.Hostname)
	// Many goroutines deliver in one process: the random part tells them apart.
	tmp := fmt.Sprintf("%s/tmp/%d.P%dR%x.%s", dir, j.Now.Unix(), os.Getpid(), rand.Uint64(), host)
	f, err := d.createTmp(ctx, dir, tmp)
	if err != nil {
		return failure(maildirKind, "create maildir file "+tmp, err)
	}
	defer os.Remove(tmp) // gone already when the move was done
	defer f.Close()
	if err := copyMessage(f, src, j, false, j.SizeLimit); err != nil {
		return failure(maildirKind, "write maildir file "+tmp, err)
	}
	if err := f.Sync(); err != nil {
		return failure(maildirKind, "sync maildir file "+tmp, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return failure(maildirKind, "fstat maildir file "+tmp, err)
	}
	name := fmt.Sprintf("%s/new/%d.V%xI%xM%d.%s", dir, j.Now.Unix(), st.Dev, st.Ino, j.Now.Nanosecond()/1000, host)
	if err := moveNew(tmp, name); err != nil {
		return failure(maildirKind, "move maildir file to "+name, err)
	}
	if err := d.dirs.Sync(ctx, dir+"/new"); err != nil {
		// The message may be there after a crash or not: it stays in the queue,
		// and the copy that is visible now is taken back.
		os.Remove(name)
		return failure(maildirKind, "sync directory "+dir+"/new", err)
	}
	return nil
}

// createTmp creates the file, and the Maildir around it when that is missing.
func (d *Deliverer) createTmp(ctx context.Context, dir, tmp string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	f, err := os.OpenFile(tmp, flags, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := d.makeMaildir(ctx, dir); err != nil {
		return nil, err
	}
	return os.OpenFile(tmp, flags, 0o600)
}

// makeMaildir makes a Maildir, and its name durable. Another delivery may come
// as soon as tmp is there, so everything else is there before.
func (d *Deliverer) makeMaildir(ctx context.Context, dir string) error {
	var changed []string // directories that get a new directory
	for path := dir; ; path = filepath.Dir(path) {
		changed = append(changed, path)
		if _, err := os.Stat(path); err == nil || path == "/" {
			break
		}
	}
	for _, sub := range [...]string{"new", "cur"} {
		if err := os.MkdirAll(dir+"/"+sub, 0o700); err != nil {
			return err
		}
	}
	for _, path := range changed {
		if err := d.dirs.Sync(ctx, path); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir+"/tmp", 0o700)
}

// moveNew renames without ever replacing a message.
func moveNew(tmp, name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	return os.Link(tmp, name) // the file system has no exclusive rename
}
