// # NAME
//
// postlog - log a line to the mail log
//
// # SYNOPSIS
//
//	postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text...]
//
// # DESCRIPTION
//
// The postlog command writes lines to the mail log in the form that the mail
// system itself uses, for shell scripts and the like.
//
// The words of the command line, joined by blanks, are one line. Without words
// each line of standard input is one, cut at 2000 bytes.
//
// Lines go where main.cf says: to postlogd(8) when maillog_file is set, else to
// syslog. While postlogd does not run, a user who may write maillog_file does so
// directly. When standard error is a terminal, lines are shown there, too.
//
// # OPTIONS
//
//   - -c config_dir: the directory of main.cf, instead of MAIL_CONFIG or the
//     default.
//   - -i: ignored; lines always have the process id.
//   - -p priority (info): info, warn, warning, err, error, crit, fatal or panic.
//     After a line of crit, fatal or panic the command waits a second.
//   - -t tag: what the line begins with; by default syslog_name and "postlog".
//   - -v: log verbosely; more of them, more so.
//
// # CONFIGURATION PARAMETERS
//
//   - maillog_file (empty): the log file that postlogd writes.
//   - maillog_file_permissions (0600): permissions of a new log file.
//   - maillog_format (text): text or json.
//   - postlog_service_name (postlog): the service of postlogd in master.cf.
//   - syslog_facility (mail): the facility of lines that go to syslog.
//   - syslog_name (postfix): first half of the default tag.
//
// # DIAGNOSTICS
//
// The exit status is 0, or 1 after an error in options, in main.cf, or of
// standard input.
//
// # SECURITY
//
// The command may be installed setgid, so that any user can reach postlogd's
// socket. It then ignores MAIL_CONFIG and -c, unless root runs it or main.cf
// in the default directory lists the other one in alternate_config_directories
// or multi_instance_directories. Text is made printable.
//
// # SEE ALSO
//
// postlogd(8), log daemon; postconf(5), configuration parameters; syslogd(8),
// system logging
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
)

// options are the command line.
type options struct {
	configDir string
	severity  maillog.Severity
	tag       string
	verbose   int
	text      []string
}

// severities are the words of -p.
var severities = map[string]maillog.Severity{
	"info": maillog.Info, "warn": maillog.Warning, "warning": maillog.Warning,
	"error": maillog.Error, "err": maillog.Error,
	"fatal": maillog.Fatal, "crit": maillog.Fatal, "panic": maillog.Panic,
}

func parse(args []string) (*options, error) {
	o := &options{}
	var err error
	o.text, err = getopt.Parse(args, "c:ip:t:v", func(letter byte, v string) error {
		switch letter {
		case 'c':
			o.configDir = v
		case 'p':
			sev, ok := severities[v]
			if !ok {
				return fmt.Errorf("bad priority %q: must be info, warn, error, fatal or panic", v)
			}
			o.severity = sev
		case 't':
			o.tag = v
		case 'v':
			o.verbose++
		}
		return nil
	})
	return o, err
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(o, os.Stdin)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "postlog: fatal: %v\n", err)
		os.Exit(1)
	}
	if o.severity >= maillog.Fatal {
		time.Sleep(time.Second)
	}
}

func run(o *options, stdin io.Reader) error {
	dir, err := config.SetgidDir(o.configDir)
	if err != nil {
		return err
	}
	cfg, err := config.LoadUnchecked(dir)
	if err != nil {
		return err
	}
	lo := service.LogOptions{Program: "postlog", Verbose: o.verbose, Tag: o.tag, Direct: true}
	if terminal(2) {
		lo.Stderr = os.Stderr
	}
	log, err := service.OpenLog(cfg, lo)
	if err != nil {
		return err
	}
	defer log.Flush()
	if len(o.text) > 0 {
		log.Text(o.severity, strings.Join(o.text, " "))
		return nil
	}
	return logLines(log, o.severity, stdin)
}

// logLines logs each line of r, cut at maillog.MaxText bytes.
func logLines(log *maillog.Logger, sev maillog.Severity, r io.Reader) error {
	in := bufio.NewReaderSize(r, maillog.MaxText+1)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 || err == nil {
			log.Text(sev, strings.TrimSuffix(string(line), "\n"))
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line
			_, err = in.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
}

func terminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}
