package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/mailclient"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
)

// What becomes of messages, in the words of the log.
const (
	requeued = "requeued"
	removed  = "removed"
	expired  = "expired"
	held     = "placed on hold"
	released = "released from hold"
)

// summaries are the lines at the end, in their order.
var summaries = []struct{ action, text string }{
	{requeued, "Requeued"},
	{removed, "Deleted"},
	{expired, "Force-expired"},
	{held, "Placed on hold"},
	{released, "Released from hold"},
}

// action is what an option does with a message that was found in one of the queues.
type action struct {
	queues []string
	does   []string // what the summary counts
	do     func(c *command, m *found) error
}

var actions = map[byte]action{
	'd': {[]string{queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, []string{removed}, (*command).remove},
	'e': {[]string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, []string{expired}, (*command).expire},
	'f': {[]string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, []string{expired, released}, (*command).expireAndRelease},
	'h': {[]string{queue.Incoming, queue.Active, queue.Deferred}, []string{held}, func(c *command, m *found) error { return c.move(m, queue.Hold, held) }},
	'H': {[]string{queue.Hold}, []string{released}, func(c *command, m *found) error { return c.move(m, queue.Deferred, released) }},
	'r': {[]string{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}, []string{requeued}, (*command).requeue},
}

// rounds is how often messages are looked for: they may be moving between queues.
const rounds = 2

// command is one run on messages.
type command struct {
	q      *queue.Queue
	queues []string // empty: all
	in     io.Reader
	now    func() time.Time
	say    func(func(*maillog.Logger))

	done   map[string]int
	wanted []string // what summaries are wanted of
	quiet  bool     // ALL: the messages are not named
}

// found is a complete message in a queue.
type found struct {
	queue, id, path string
	file            *os.File
}

func (c *command) run(tasks []task) error {
	c.done = make(map[string]int)
	var errs []error
	for _, t := range tasks {
		a := actions[t.letter]
		c.wanted = append(c.wanted, a.does...)
		errs = append(errs, c.task(a, t.id))
	}
	return errors.Join(errs...)
}

// summary is how often each thing was done that was asked for.
func (c *command) summary() []maillog.QueueSummary {
	var all []maillog.QueueSummary
	for _, s := range summaries {
		if slices.Contains(c.wanted, s.action) {
			all = append(all, maillog.QueueSummary{Action: s.text, Messages: c.done[s.action]})
		}
	}
	return all
}

func (c *command) warnf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.say(func(l *maillog.Logger) { l.Text(maillog.Warning, text) })
}

// task does one option.
func (c *command) task(a action, id string) error {
	if len(c.queues) > 0 {
		a.queues = slices.DeleteFunc(slices.Clone(a.queues), func(name string) bool { return !slices.Contains(c.queues, name) })
	}
	c.quiet = id == "ALL"
	switch id {
	case "ALL":
		return c.all(a)
	case "-":
		return c.fromInput(a)
	}
	return c.one(a, id)
}

func (c *command) fromInput(a action) error {
	var errs []error
	s := bufio.NewScanner(c.in)
	for s.Scan() {
		errs = append(errs, c.one(a, s.Text()))
	}
	if err := s.Err(); err != nil {
		errs = append(errs, fmt.Errorf("standard input: %w", err))
	}
	return errors.Join(errs...)
}

// one does it to the message with an id.
func (c *command) one(a action, id string) error {
	if !queue.ValidID(id) {
		c.warnf("invalid mail queue id: %s", id)
		return nil
	}
	var odd error
	for range rounds {
		for _, name := range a.queues {
			f, err := c.q.Open(name, id, os.O_RDONLY)
			ok, err := c.try(a, &found{name, id, c.q.Path(name, id), f}, err)
			switch {
			case errors.Is(err, queue.ErrNotReady):
				odd = err
			case err != nil:
				return err
			case ok:
				return nil
			}
		}
	}
	if odd != nil {
		c.warnf("%v", odd)
	}
	return nil
}

// all does it to every message.
func (c *command) all(a action) error {
	var errs []error
	for round := range rounds {
		for _, name := range a.queues {
			err := c.q.Scan(name, func(e queue.Entry) bool {
				f, err := c.q.OpenEntry(name, e, os.O_RDONLY)
				if _, err := c.try(a, &found{name, e.ID, e.Path, f}, err); err != nil && !errors.Is(err, queue.ErrNotReady) {
					errs = append(errs, err)
				}
				return len(errs) < maxErrors
			})
			var odd queue.OddFiles
			switch {
			case errors.As(err, &odd):
				if round == 0 {
					c.warnf("scan of the %s queue: %v", name, err)
				}
			case err != nil:
				errs = append(errs, err)
			}
			if len(errs) > 0 {
				return errors.Join(errs...)
			}
		}
	}
	return nil
}

// maxErrors is when there is no use in trying the next message.
const maxErrors = 10

// try does it to the message, if it could be opened. What goes away meanwhile is not
// there; ErrNotReady: it is no complete message.
func (c *command) try(a action, m *found, err error) (bool, error) {
	if err == nil {
		defer m.file.Close()
		err = a.do(c, m)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// did counts an action and names the message.
func (c *command) did(m *found, what string) {
	c.done[what]++
	if !c.quiet {
		c.say(func(l *maillog.Logger) { l.Log(maillog.Info, &maillog.QueueAction{QueueID: m.id, Action: what}) })
	}
}

// remove deletes a message, then its logs: a message without logs would be delivered
// to those who are done with.
func (c *command) remove(m *found) error {
	if err := os.Remove(m.path); err != nil {
		return err
	}
	c.say(func(l *maillog.Logger) { l.Verbosef("removed file %s", m.path) })
	c.did(m, removed)
	if m.queue == queue.Maildrop {
		return nil // it has none; those of that name are another's
	}
	return errors.Join(c.q.Remove(queue.Bounce, m.id), c.q.Remove(queue.Defer, m.id), c.q.Remove(queue.Trace, m.id))
}

// move renames a message into another queue.
func (c *command) move(m *found, to, what string) error {
	if err := c.q.Move(m.path, to, m.id, ""); err != nil {
		return err
	}
	c.say(func(l *maillog.Logger) { l.Verbosef("renamed file %s as %s", m.path, c.q.Path(to, m.id)) })
	c.did(m, what)
	return nil
}

// requeue hands a message to pickup, which takes the file's time for that of its
// arrival in maildrop.
func (c *command) requeue(m *found) error {
	now := unix.NsecToTimeval(c.now().UnixNano())
	if err := unix.Futimes(int(m.file.Fd()), []unix.Timeval{now, now}); err != nil {
		return &fs.PathError{Op: "utimes", Path: m.file.Name(), Err: err}
	}
	return c.move(m, queue.Maildrop, requeued)
}

// expire marks a message, once.
func (c *command) expire(m *found) error {
	st, err := m.file.Stat()
	if err != nil || st.Mode()&queue.ModeExpire != 0 {
		return err
	}
	if err := m.file.Chmod(st.Mode().Perm() | queue.ModeExpire); err != nil {
		return err
	}
	c.did(m, expired)
	return nil
}

func (c *command) expireAndRelease(m *found) error {
	if err := c.expire(m); err != nil || m.queue != queue.Hold {
		return err
	}
	return c.move(m, queue.Deferred, released)
}

// wakePickup spares requeued mail the wait for pickup's next look. A system that is
// down takes it when it starts.
func (c *command) wakePickup(queueDir string, cfg *config.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Time("trigger_timeout"))
	defer cancel()
	if os.Chdir(queueDir) == nil { // socket paths are relative: absolute ones may be too long
		_ = mailclient.Trigger(ctx, mailproto.PathPickup, string(mailproto.TriggerWakeup))
	}
}
