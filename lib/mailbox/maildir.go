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
	f, changed, err := createTmp(dir, tmp)
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
	// A Maildir that was made just now must be there after a crash, too.
	for _, path := range append(changed, dir+"/new") {
		if err := d.dirs.Sync(ctx, path); err != nil {
			// The message may be there after a crash or not: it stays in the queue,
			// and the copy that is visible now is taken back.
			os.Remove(name)
			return failure(maildirKind, "sync directory "+path, err)
		}
	}
	return nil
}

// createTmp creates the file, and the Maildir around it when that is missing;
// changed are the directories that got a new directory.
func createTmp(dir, tmp string) (f *os.File, changed []string, err error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	f, err = os.OpenFile(tmp, flags, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, nil, err
	}
	for parent := dir; ; parent = filepath.Dir(parent) {
		changed = append(changed, parent)
		if _, err := os.Stat(parent); err == nil || parent == "/" {
			break
		}
	}
	for _, sub := range [...]string{"tmp", "cur", "new"} {
		if err := os.MkdirAll(dir+"/"+sub, 0o700); err != nil {
			return nil, nil, err
		}
	}
	f, err = os.OpenFile(tmp, flags, 0o600)
	return f, changed, err
}

// moveNew renames without ever replacing a message.
func moveNew(tmp, name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	return os.Link(tmp, name) // the file system has no exclusive rename
}
