package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
)

// oldAge is when a message that cannot be picked up is worth a warning.
const oldAge = 24 * time.Hour

// scan feeds every complete file in maildrop to cleanup. It stops at the first
// message that must wait: what made that one wait holds for the others too.
func (p *picker) scan(ctx context.Context, _ []byte) {
	p.scanning.Lock()
	defer p.scanning.Unlock()
	for {
		n, err := 0, error(nil)
		serr := p.queue.Scan(queue.Maildrop, func(e queue.Entry) bool {
			if ctx.Err() != nil {
				return false
			}
			done, perr := p.pickup(ctx, e)
			if done {
				n++
			}
			err = perr
			return err == nil
		})
		if serr != nil {
			p.log.Warnf("scan maildrop directory: %v", serr)
		}
		if odd := (queue.OddFiles)(nil); errors.As(serr, &odd) {
			serr = nil // anybody can leave such files there
		}
		// Files that arrived while the directory was read may have been missed.
		if n == 0 || err != nil || serr != nil {
			return
		}
	}
}

// pickup handles one file; done says that it is gone, err that nothing can be
// picked up for now.
func (p *picker) pickup(ctx context.Context, e queue.Entry) (done bool, err error) {
	path := p.queue.Path(queue.Maildrop, e.ID)
	f, st, err := openMaildrop(path)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			p.log.Warnf("open %s: %v", path, err)
		}
		return false, nil
	}
	defer f.Close()
	mtime := time.Unix(st.Mtim.Sec, st.Mtim.Nsec)
	now := p.now()
	if mtime.After(now) {
		p.log.Warnf("%s: resetting modification time, which is in the future", path)
		mtime = now
		os.Chtimes(path, now, now)
	}
	if age := now.Sub(mtime); age > oldAge {
		p.log.Warnf("%s: message has been queued for %d days", path, int(age/oldAge))
	}
	s := &submission{p: p, log: p.log, uid: int(st.Uid), arrival: mtime}
	if int(st.Uid) == os.Geteuid() && st.Mode&0o004 == 0 {
		s.requeued = e.ID // not postdrop's mode: postsuper put it here
	}
	reply, err := p.deliver(ctx, s, f)
	switch {
	case errors.Is(err, errRecord), errors.Is(err, record.ErrFraming), errors.Is(err, record.ErrTooLong):
		p.log.Warnf("%s: uid=%d: %v; message removed", path, st.Uid, err)
	case truncated(err):
		p.log.Warnf("%s: uid=%d: message file is not complete; message removed", path, st.Uid)
	case errors.Is(err, errNoSender):
		p.log.Warnf("%s: uid=%d: no envelope sender; message removed", path, st.Uid)
	case err != nil:
		p.log.Warnf("%s: cannot submit to cleanup: %v; trying again later", path, err)
		return false, err
	case reply.Status != 0 && reply.Status&(mailproto.CleanupBad|mailproto.CleanupNoRcpt) == 0:
		p.log.Warnf("%s: cleanup: %s; trying again later", path, reply.Status.Detail().Text)
		if reply.Status&(mailproto.CleanupWrite|mailproto.CleanupDefer) != 0 {
			return false, fmt.Errorf("cleanup: %s", reply.Status.Detail().Text)
		}
		return false, nil
	}
	if err := os.Remove(path); err != nil {
		p.log.Warnf("remove %s: %v", path, err)
		return false, err
	}
	return true, nil
}

func (p *picker) deliver(ctx context.Context, s *submission, f *os.File) (mailproto.CleanupReply, error) {
	c, err := mailclient.DialCleanup(ctx, p.cleanupPath(), p.cleanupFlags(s.requeued != ""))
	if err != nil {
		return mailproto.CleanupReply{}, err
	}
	limit := p.set.LineLimit
	if s.requeued != "" {
		limit = 0
		return s.finish(ctx, &fileSource{queue.NewReader(f, 0)}, c)
	}
	return s.finish(ctx, record.NewReader(bufio.NewReaderSize(f, 16<<10), limit), c)
}

// finish copies and cancels the message when that fails.
func (s *submission) finish(ctx context.Context, src source, c *mailclient.Cleanup) (mailproto.CleanupReply, error) {
	reply, err := s.copyTo(ctx, src, c)
	if err != nil {
		c.Cancel()
	}
	return reply, err
}

// fileSource reads a requeued message, which is a queue file with pointers.
type fileSource struct{ r *queue.Reader }

func (f *fileSource) Read() (record.Type, []byte, error) {
	rec, err := f.r.Read()
	return rec.Type, rec.Payload, err
}

// openMaildrop opens a file that another user wrote: no symbolic link, no
// special file, one link.
func openMaildrop(path string) (*os.File, *syscall.Stat_t, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.Mode().IsRegular():
		err = errors.New("not a regular file")
	case st.Nlink != 1:
		err = fmt.Errorf("uid %d: file has %d links", st.Uid, st.Nlink)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}
