package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/instance"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
)

const usage = "usage: sealpost [-Dv] [-c config_dir] check|start|start-fg|stop|abort|drain|reload|flush|status|logrotate|verbose SERVICE LEVEL|survey [-j] [LOGFILE...]"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// tolerant are the commands that a running system needs also while main.cf has a mistake,
// which need not concern them.
var tolerant = map[string]bool{"stop": true, "quick-stop": true, "abort": true, "drain": true, "flush": true, "status": true, "verbose": true}

// control is one run of the command.
type control struct {
	dir      string // configuration directory, absolute
	verbose  int
	debug    bool
	args     []string // after the verb
	stdout   io.Writer
	stderr   io.Writer
	cfg      *config.Config
	settings instance.Settings
	log      *maillog.Logger
}

// verbs are the commands of protocols.md §3.6. Each returns the exit status.
var verbs = map[string]struct {
	args int // words after the verb
	do   func(*control) int
}{
	"start":      {0, (*control).start},
	"start-fg":   {0, (*control).startForeground},
	"stop":       {0, (*control).stop},
	"quick-stop": {0, (*control).stop},
	"abort":      {0, (*control).abort},
	"drain":      {0, (*control).drain},
	"reload":     {0, (*control).reload},
	"flush":      {0, (*control).flush},
	"status":     {0, (*control).status},
	"check":      {0, (*control).check},
	"logrotate":  {0, (*control).logrotate},
	"verbose":    {2, (*control).setVerbose},
}

func run(args []string, stdout, stderr io.Writer) int {
	c := &control{stdout: stdout, stderr: stderr}
	dir := ""
	rest, err := getopt.Parse(args, "c:Dv", func(letter byte, value string) error {
		switch letter {
		case 'c':
			dir = value
		case 'D':
			c.debug = true
		case 'v':
			c.verbose++
		}
		return nil
	})
	if err != nil || len(rest) == 0 {
		if err == nil {
			err = fmt.Errorf("a command is missing")
		}
		fmt.Fprintf(stderr, "sealpost: fatal: %v\n%s\n", err, usage)
		return 1
	}
	if rest[0] == "survey" {
		return survey(rest[1:], os.Stdin, stdout, stderr)
	}
	verb, ok := verbs[rest[0]]
	if !ok {
		fmt.Fprintf(stderr, "sealpost: fatal: unknown command: '%s'\n%s\n", rest[0], usage)
		return 1
	}
	if len(rest)-1 != verb.args {
		fmt.Fprintf(stderr, "sealpost: fatal: command '%s' takes %d arguments, not %d\n%s\n", rest[0], verb.args, len(rest)-1, usage)
		return 1
	}
	c.args = rest[1:]
	err = c.load(dir, config.Load)
	if err != nil && tolerant[rest[0]] {
		if c.load(dir, config.LoadUnchecked) == nil {
			fmt.Fprintf(stderr, "sealpost: warning: %v\n", err)
			err = nil
		}
	}
	if err != nil {
		errs := []error{err}
		if c.cfg, err = config.LoadUnchecked(c.dir); err == nil && rest[0] == "check" {
			errs = append(c.cfg.Check(), errs...)
		}
		said := make(map[string]bool)
		for _, err := range errs {
			if !said[err.Error()] {
				said[err.Error()] = true
				fmt.Fprintf(stderr, "sealpost: fatal: %v\n", err)
			}
		}
		if errors.Is(errs[0], os.ErrNotExist) && dir == "" && os.Getenv("MAIL_CONFIG") == "" {
			fmt.Fprintln(stderr, "sealpost: to use another configuration directory, name it with -c or in MAIL_CONFIG")
		}
		return 1
	}
	// Whether the system runs is seen from its lock. "Not running" would be a guess.
	if _, _, err := instance.Running(c.settings.PidFile()); errors.Is(err, os.ErrPermission) && rest[0] != "check" {
		return c.fatal("%v; this is for root, or for the user who started the mail system", err)
	}
	return verb.do(c)
}

// load reads main.cf and opens the log.
func (c *control) load(dir string, read func(string, ...config.Override) (*config.Config, error)) error {
	var err error
	if c.dir, err = filepath.Abs(config.Dir(dir)); err != nil {
		return err
	}
	if c.cfg, err = read(c.dir); err != nil {
		return err
	}
	if c.settings, err = instance.Load(c.cfg); err != nil {
		return err
	}
	// The tag is that of Postfix's script, for the sake of log readers.
	c.log, err = service.OpenLog(c.cfg, service.LogOptions{
		Tag: c.settings.SyslogName + "/postfix-script", Verbose: c.verbose, Stderr: c.stderr, Direct: true})
	return err
}

// environment is what programs that are started from here get: the
// configuration and, as Postfix does, the directories.
func (c *control) environment() []string {
	env := append(os.Environ(), "MAIL_CONFIG="+c.dir, "MAIL_LOGTAG="+c.settings.SyslogName)
	if c.verbose > 0 {
		env = append(env, "MAIL_VERBOSE="+strconv.Itoa(c.verbose))
	}
	if c.debug {
		env = append(env, "MAIL_DEBUG=")
	}
	for _, name := range []string{
		"command_directory", "daemon_directory", "data_directory",
		"queue_directory", "mail_owner", "setgid_group",
	} {
		env = append(env, name+"="+c.cfg.Str(name))
	}
	return env
}

// running tells whether master runs.
func (c *control) running() (pid int, ok bool) {
	pid, ok, err := instance.Running(c.settings.PidFile())
	if err != nil {
		c.log.Errorf("%v", err)
	}
	return pid, ok
}

// fatal says why a command was not done.
func (c *control) fatal(format string, args ...any) int {
	c.log.Text(maillog.Fatal, fmt.Sprintf(format, args...))
	return 1
}
