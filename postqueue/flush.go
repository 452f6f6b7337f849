package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
)

// Codes of triggers, in Postfix's order (§2.2).
const (
	flushCodes    = string(mailproto.TriggerFlushDead) + string(mailproto.TriggerIgnoreTime) + string(mailproto.TriggerScanDeferred) + string(mailproto.TriggerScanIncoming)
	wakeupCodes   = string(mailproto.TriggerWakeup)
	incomingCodes = string(mailproto.TriggerScanIncoming)
)

var errDown = fatalf("Cannot flush mail queue - mail system is down")

// trigger wakes up a daemon.
func (c *command) trigger(path, codes string) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.set.TriggerTimeout)
	defer cancel()
	err := mailclient.Trigger(ctx, path, codes)
	switch {
	case err == nil:
		c.verbosef("sent %q to %s", codes, path)
	case errors.Is(err, fs.ErrPermission):
		return exitf(exNoPerm, "User %s(%d) has no access to %s - only the super-user, or a setgid postqueue command, can flush the mail queue", c.user, c.uid, path)
	default:
		c.warnf("unable to look up %s: %s", path, explain(err))
	}
	return err
}

// flushAll asks for an attempt to deliver everything.
func (c *command) flushAll() error {
	errPickup := c.trigger(mailproto.PathPickup, wakeupCodes)
	err := c.trigger(mailproto.PathQmgr, flushCodes)
	if f := (fatal{}); errors.As(errors.Join(errPickup, err), &f) {
		return f
	}
	if err != nil {
		return errDown
	}
	return nil
}

// flushSite asks for an attempt to deliver what is queued for a site.
func (c *command) flushSite(site string) error {
	status, err := c.flushService(mailproto.FlushRequest{Request: mailproto.FlushSendSite, Site: site})
	switch {
	case errors.Is(err, fs.ErrNotExist) && running():
		return fatalf("Cannot flush mail for %q: there is no flush service (Sealpost has none); \"postqueue -f\" flushes all mail", site)
	case err != nil:
		c.warnf("%v", err)
		return errDown
	case status == mailproto.FlushOK:
		return nil
	case status == mailproto.FlushDeny:
		return fatalf("Flush service is not configured for destination %q", site)
	case status == mailproto.FlushBad:
		return fatalf("Invalid request: %q", site)
	}
	return errDown
}

// flushMessage asks for an attempt to deliver one deferred message. Where no
// flush service runs, who may touch the queue does its work.
func (c *command) flushMessage(id string) error {
	status, err := c.flushService(mailproto.FlushRequest{Request: mailproto.FlushSendFile, QueueID: id})
	switch {
	case err == nil && status == mailproto.FlushOK:
		return nil
	case err == nil && status == mailproto.FlushBad:
		return fatalf("Invalid request: %q", id)
	case err == nil:
		return errDown
	case errors.Is(err, fs.ErrNotExist) && !c.privileged() && running():
		return fatalf("Cannot flush queue ID %s: there is no flush service (Sealpost has none), and without it only the super-user can do that", id)
	case !errors.Is(err, mailclient.ErrConnect) || !c.privileged():
		c.warnf("%v", err)
		return errDown
	}
	c.verbosef("%v; moving the message from here", err)
	if err := c.release(id); err != nil {
		return fatalf("Cannot flush queue ID %s: %w", id, err)
	}
	if c.trigger(mailproto.PathQmgr, incomingCodes) != nil {
		return errDown
	}
	return nil
}

// running tells whether somebody listens at the queue manager's socket: then it is not
// because the mail system is down that another one is absent.
func running() bool {
	conn, err := net.Dial("unix", mailproto.PathQmgr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (c *command) flushService(r mailproto.FlushRequest) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.set.IPCTimeout)
	defer cancel()
	return mailclient.Flush(ctx, mailproto.PathFlush, r)
}

// release makes a deferred message due now, and exempt from the throttling of
// its destination once (§2.11, §4.3). A message that is not deferred is left
// where it is.
func (c *command) release(id string) error {
	f, err := c.q.Open(queue.Deferred, id, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		c.warnf("no deferred message %s", id)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Chmod(st.Mode().Perm() | queue.ModeUnthrottle); err != nil {
		return err
	}
	now := unix.NsecToTimeval(time.Now().UnixNano())
	if err := unix.Futimes(int(f.Fd()), []unix.Timeval{now, now}); err != nil {
		return &fs.PathError{Op: "utimes", Path: f.Name(), Err: err}
	}
	return c.q.Rename(id, queue.Deferred, queue.Incoming)
}
