package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/queue"
	"sealpost/lib/queue/listing"
)

// Exit statuses of sysexits.h. Postfix's command knows no others.
const (
	exUnavailable = 69
	exNoPerm      = 77
)

const usage = "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site"

type settings struct {
	QueueDir       string        `conf:"queue_directory"`
	MailOwner      string        `conf:"mail_owner"`
	MailName       string        `conf:"mail_name"`
	MailqUsers     string        `conf:"authorized_mailq_users"`
	FlushUsers     string        `conf:"authorized_flush_users"`
	IPCTimeout     time.Duration `conf:"ipc_timeout"`
	TriggerTimeout time.Duration `conf:"trigger_timeout"`
	Queue          queue.Settings
	Listing        listing.Settings
}

// fatal is an error with the exit status that it means.
type fatal struct {
	status int
	error
}

func fatalf(format string, args ...any) error { return exitf(exUnavailable, format, args...) }

func exitf(status int, format string, args ...any) error {
	return fatal{status, fmt.Errorf(format, args...)}
}

// command is one run of postqueue.
type command struct {
	set     settings
	q       *queue.Queue
	uid     int
	user    string
	out     io.Writer
	errout  io.Writer
	zone    *time.Location
	verbose bool
}

func (c *command) warnf(format string, args ...any) {
	fmt.Fprintf(c.errout, "postqueue: warning: "+format+"\n", args...)
}

func (c *command) verbosef(format string, args ...any) {
	if c.verbose {
		fmt.Fprintf(c.errout, "postqueue: "+format+"\n", args...)
	}
}

func main() {
	os.Exit(report(os.Stderr, run(os.Args[1:])))
}

// report says what went wrong and returns the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(w, "postqueue: fatal: %v\n", err)
	var f fatal
	if errors.As(err, &f) {
		return f.status
	}
	return exUnavailable
}

// options are what the command line asks for.
type options struct {
	mode    byte // f, i, j, p or s
	arg     string
	dir     string
	verbose bool
}

func parseOptions(args []string, errout io.Writer) (options, error) {
	var o options
	rest, err := getopt.Parse(args, "c:fi:jps:v", func(letter byte, value string) error {
		switch letter {
		case 'c':
			o.dir = value
		case 'v':
			o.verbose = true
		default:
			if o.mode != 0 {
				return errUsage
			}
			o.mode, o.arg = letter, value
		}
		return nil
	})
	if err != nil && !errors.Is(err, errUsage) {
		fmt.Fprintf(errout, "postqueue: %v\n", err)
	}
	if err != nil || o.mode == 0 || len(rest) > 0 {
		return o, errUsage
	}
	return o, nil
}

var errUsage = fatalf(usage)

func run(args []string) error {
	o, err := parseOptions(args, os.Stderr)
	if err != nil {
		return err
	}
	dir, err := config.SetgidDir(o.dir)
	if err != nil {
		return err
	}
	conf, err := config.LoadUnchecked(dir)
	if err != nil {
		return err
	}
	c := &command{uid: os.Getuid(), out: os.Stdout, errout: os.Stderr, zone: time.Local, verbose: o.verbose}
	if err := errors.Join(conf.Decode(&c.set), conf.Decode(&c.set.Queue), conf.Decode(&c.set.Listing)); err != nil {
		return err
	}
	// Socket paths are relative: absolute ones may be too long for the system.
	if err := os.Chdir(c.set.QueueDir); err != nil {
		return fmt.Errorf("queue_directory: %w", err)
	}
	c.q = queue.New("", c.set.Queue)
	c.user = strconv.Itoa(c.uid)
	if u, err := user.LookupId(c.user); err == nil {
		c.user = u.Username
	}
	return c.do(o)
}

func (c *command) do(o options) error {
	switch o.mode {
	case 'p', 'j':
		if err := c.authorize("authorized_mailq_users", c.set.MailqUsers, "view the mail queue"); err != nil {
			return err
		}
		return c.list(o.mode == 'j')
	}
	if err := c.authorize("authorized_flush_users", c.set.FlushUsers, "flush the mail queue"); err != nil {
		return err
	}
	switch o.mode {
	case 'i':
		if !queue.ValidID(o.arg) {
			return fatalf("Cannot flush queue ID - invalid name: %q", o.arg)
		}
		return c.flushMessage(o.arg)
	case 's':
		if !validSite(o.arg) {
			return fatalf("Cannot flush mail queue - invalid destination: %q", o.arg)
		}
		return c.flushSite(o.arg)
	}
	return c.flushAll()
}

// validSite takes a domain name or an address literal.
func validSite(site string) bool {
	return site != "" && len(site) <= 255 && !strings.ContainsFunc(site, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' })
}

// privileged reports whether we may work on the queue's files ourselves: as the
// super-user or as their owner.
func (c *command) privileged() bool {
	if c.uid == 0 {
		return true
	}
	var st unix.Stat_t
	return unix.Stat(queue.Incoming, &st) == nil && int(st.Uid) == c.uid
}

// explain is an error's text the way the C library begins it.
func explain(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// absent reports that a service is not there, so that the mail system is down
// or has no such service.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}
