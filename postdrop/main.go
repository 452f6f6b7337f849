/*
Command postdrop puts a message into the maildrop directory.

# NAME

postdrop - mail posting utility

# SYNOPSIS

	postdrop [-rv] [-c config_dir]

# DESCRIPTION

The postdrop command reads a message in record form from standard input and
makes a file of it in the maildrop directory, from where pickup(8) takes it. It is
the way of submission while the mail system is down: sendmail(1) runs it when the
submit socket does not answer. For that it may be installed setgid to the group
of setgid_group; while the system runs nothing needs it.

Options:

  - -c config_dir: the directory of main.cf.
  - -r: talk with sendmail(1) in attribute lists on standard output. This is what
    the command always does; the option is accepted for compatibility.
  - -v: accepted for compatibility.

# SECURITY

Installed setgid, the command takes from an ordinary user, with -c or in
MAIL_CONFIG, only a directory that main.cf in the default one lists in
alternate_config_directories or multi_instance_directories.

The command trusts neither its input nor its environment. Record types and
attributes that a submitter must not use end the submission or are dropped with
a warning. Input that ends early leaves no file.

# DIAGNOSTICS

The exit status is 0 when the message is in the maildrop directory, 1 for a
message that cannot be taken, and 75 for a problem that may pass.

# ENVIRONMENT

  - MAIL_CONFIG: directory with main.cf, like -c. All other variables are dropped.

# CONFIGURATION PARAMETERS

  - alternate_config_directories (empty), multi_instance_directories (empty):
    directories for -c of a command with setgid rights.
  - authorized_submit_users (static:anyone): users who may submit mail.
  - line_length_limit (2048): longest record, in bytes.
  - message_size_limit (10240000): greatest size of the file, in bytes.
  - queue_directory: where maildrop is.

# SEE ALSO

sendmail(1), pickup(8), postconf(5)
*/
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/submit"
	"sealpost/lib/table"
)

// Exit statuses of sysexits.h.
const (
	exUsage    = 64
	exTempfail = 75
)

type settings struct {
	QueueDir    string `conf:"queue_directory"`
	SizeLimit   int64  `conf:"message_size_limit"`
	LineLimit   int    `conf:"line_length_limit"`
	SubmitUsers string `conf:"authorized_submit_users"`
	Queue       queue.Settings
}

func main() {
	dir, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "postdrop: fatal: %v\n", err)
		os.Exit(exUsage)
	}
	reply, err := run(dir)
	if err != nil {
		fmt.Fprintf(os.Stderr, "postdrop: %v\n", err)
	}
	var e attr.Encoder
	reply.Append(&e)
	os.Stdout.Write(e.Bytes()) // a caller that is gone has the exit status
	os.Exit(exitStatus(reply))
}

// parse reads the command line.
func parse(args []string) (dir string, err error) {
	rest, err := getopt.Parse(args, "c:rv", func(letter byte, value string) error {
		if letter == 'c' {
			dir = value
		}
		return nil
	})
	if err == nil && len(rest) > 0 {
		err = errors.New("usage: postdrop [-c config_dir] [-rv]")
	}
	return dir, err
}

func exitStatus(r mailproto.CleanupReply) int {
	switch {
	case r.Status == mailproto.CleanupOK:
		return 0
	case r.Status&(mailproto.CleanupWrite|mailproto.CleanupDefer) != 0:
		return exTempfail
	}
	return 1
}

// run takes one message. What it returns as an error is also in the reply.
func run(dir string) (mailproto.CleanupReply, error) {
	later := func(err error) (mailproto.CleanupReply, error) {
		return mailproto.CleanupReply{Status: mailproto.CleanupWrite, Reason: err.Error()}, err
	}
	dir, err := config.SetgidDir(dir)
	if err != nil {
		return mailproto.CleanupReply{Status: mailproto.CleanupNoPerm, Reason: err.Error()}, err
	}
	os.Clearenv() // nothing else in it is for us
	c, err := config.LoadUnchecked(dir)
	if err != nil {
		return later(err)
	}
	var set settings
	if err := errors.Join(c.Decode(&set), c.Decode(&set.Queue)); err != nil {
		return later(err)
	}
	if reply, err := authorize(set); err != nil {
		return reply, err
	}
	if err := os.Chdir(set.QueueDir); err != nil {
		return later(err)
	}
	unix.Umask(0o022)
	q := queue.New("", set.Queue)
	f, err := q.Create(queue.Maildrop)
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w; \"sealpost check\" tells whether this command runs with setgid_group, as it must", err)
	}
	if err != nil {
		return later(fmt.Errorf("create a file in %s/%s: %w", set.QueueDir, queue.Maildrop, err))
	}
	stop := removeOnSignal(f)
	defer stop()
	reply, err := receive(set, f)
	if err != nil {
		f.Abort()
		return reply, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// Without pickup the message waits for its next start.
	mailclient.Trigger(ctx, mailproto.PathPickup, string(rune(mailproto.TriggerWakeup))) //nolint:errcheck
	return reply, nil
}

// removeOnSignal keeps a submission that the user interrupts from leaving a file.
func removeOnSignal(f *queue.File) (stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	done := make(chan struct{})
	go func() {
		select {
		case <-ch:
			f.Abort()
			os.Exit(exTempfail)
		case <-done:
		}
	}()
	return func() { signal.Stop(ch); close(done) }
}

func authorize(set settings) (mailproto.CleanupReply, error) {
	if set.SubmitUsers == "static:anyone" {
		return mailproto.CleanupReply{}, nil
	}
	warn := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "postdrop: warning: "+format+"\n", args...) }
	list, err := table.OpenList(table.Env{Warnf: warn}, "authorized_submit_users", set.SubmitUsers, table.Strings, false)
	if err != nil {
		return mailproto.CleanupReply{Status: mailproto.CleanupDefer, Reason: err.Error()}, err
	}
	name := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	ok, err := list.Match(context.Background(), name)
	if err != nil {
		return mailproto.CleanupReply{Status: mailproto.CleanupDefer, Reason: err.Error()}, err
	}
	if !ok {
		err = fmt.Errorf("user %s(%d) is not allowed to submit mail", name, os.Getuid())
		return mailproto.CleanupReply{Status: mailproto.CleanupNoPerm, Reason: err.Error()}, err
	}
	return mailproto.CleanupReply{}, nil
}

// receive copies the checked stream into the file and completes it.
func receive(set settings, f *queue.File) (mailproto.CleanupReply, error) {
	var e attr.Encoder
	mailproto.Greeting{Protocol: mailproto.ProtoPostdrop, QueueID: f.ID()}.Append(&e)
	if _, err := os.Stdout.Write(e.Bytes()); err != nil {
		return mailproto.CleanupReply{Status: mailproto.CleanupWrite}, err
	}
	bad := func(err error) (mailproto.CleanupReply, error) {
		return mailproto.CleanupReply{Status: mailproto.CleanupBad, Reason: err.Error()}, fmt.Errorf("uid=%d: %w", os.Getuid(), err)
	}
	now := f.Arrival()
	buf := record.Append(nil, record.Time, fmt.Sprintf("%d %d", now.Unix(), now.Nanosecond()/1000))
	r := record.NewReader(bufio.NewReaderSize(os.Stdin, 64<<10), set.LineLimit)
	var check submit.Checker
	size := int64(0)
	for !check.Done() {
		t, payload, err := r.Read()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return bad(fmt.Errorf("message is not complete: %w", err))
		}
		keep, note, err := check.Accept(t, payload)
		if err != nil {
			return bad(err)
		}
		if note != "" {
			fmt.Fprintf(os.Stderr, "postdrop: warning: uid=%d: %s\n", os.Getuid(), note)
		}
		if !keep {
			continue
		}
		buf = record.Append(buf, t, payload)
		if len(buf) >= 32<<10 || check.Done() {
			if size += int64(len(buf)); set.SizeLimit > 0 && size > set.SizeLimit {
				d := mailproto.CleanupSize.Detail()
				return mailproto.CleanupReply{Status: mailproto.CleanupSize, Reason: d.Text},
					fmt.Errorf("uid=%d: message file too big: message_size_limit is %d bytes", os.Getuid(), set.SizeLimit)
			}
			if _, err := f.Write(buf); err != nil {
				return mailproto.CleanupReply{Status: mailproto.CleanupWrite, Reason: err.Error()}, err
			}
			buf = buf[:0]
		}
	}
	if err := f.CommitMode(context.Background(), queue.ModeReady|0o044); err != nil {
		return mailproto.CleanupReply{Status: mailproto.CleanupWrite, Reason: err.Error()}, err
	}
	return mailproto.CleanupReply{}, nil
}
