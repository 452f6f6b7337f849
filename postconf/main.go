// Command postconf shows and changes the configuration of the mail system.
//
// # NAME
//
// postconf - show and change the configuration of the mail system
//
// # SYNOPSIS
//
//	postconf [-dfhHnpvx] [-c config_dir] [-C class,...] [-o name=value] [parameter ...]
//	postconf [-ev] [-c config_dir] parameter=value ...
//	postconf -X [-v] [-c config_dir] parameter ...
//	postconf -# [-v] [-c config_dir] parameter ...
//	postconf -M [-fv] [-c config_dir] [service[/type] ...]
//	postconf -l | -m
//
// # DESCRIPTION
//
// Without an argument postconf shows all parameters of main.cf with their values,
// as "name = value" in the order of their names: those of the table of
// parameters, those that the delivery services of master.cf derive
// (relay_destination_rate_delay), and those that main.cf itself defines and uses.
// With names it shows these. A name that does not exist is warned about.
//
// After the values it warns of settings in main.cf and master.cf that nothing
// uses: most often a misspelt name.
//
// An argument name=value changes main.cf. The new file replaces the old one in
// one step, with its mode and owner; comments, order and all other lines stay as
// they are. When several lines set the parameter, all are changed, with a
// warning. A parameter without a line gets one at the end. A value that the mail
// system would refuse is written as asked, with a warning. Two commands that
// change the file at the same time do it one after the other.
//
// # OPTIONS
//
//   - -#: put a comment sign before the lines that set the parameters.
//   - -c config_dir: the directory of main.cf and master.cf. Without it
//     MAIL_CONFIG, then /etc/sealpost.
//   - -C class: show only parameters of these classes: builtin (those of the
//     table), service (those that master.cf services derive), user (those that
//     main.cf defines), all.
//   - -d: show defaults, not the values of main.cf.
//   - -e: change main.cf. It may be left out before name=value.
//   - -f: fold long lines.
//   - -h: show values without names.
//   - -H: show names without values.
//   - -l: list the methods to lock a mailbox.
//   - -m: list the types of lookup tables.
//   - -M: show the lines of master.cf: all, or those of the given services.
//   - -n: show only what main.cf sets.
//   - -o name=value: show the configuration as if main.cf had this line.
//   - -p: show main.cf; this is the default.
//   - -v: say on standard error what is read and why.
//   - -x: expand $name in values.
//   - -X: take the lines that set the parameters out of main.cf.
//
// # DIAGNOSTICS
//
// Warnings and errors go to standard error. The exit status is 0, or 1 when the
// command was malformed or a file could not be read or replaced. A warning does
// not change it.
//
// # SECURITY
//
// postconf needs no privileges except those to read, and with -e, -X and -# to
// replace, the files.
//
// # CONFIGURATION PARAMETERS
//
//   - config_directory (/etc/sealpost): the directory of main.cf and master.cf.
//
// # SEE ALSO
//
// sealpost(1), master(8)
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/table"
)

const usage = "usage: postconf [-c config_dir] [-C param_class] [-d (parameter defaults)] [-e (edit configuration)] " +
	"[-f (fold lines)] [-h (no names)] [-H (no values)] [-l (lock types)] [-m (map types)] [-M (master.cf)] " +
	"[-n (non-default parameters)] [-o name=value (override parameter value)] [-p (main.cf, default)] [-v (verbose)] " +
	"[-x (expand parameter values)] [-X (exclude)] [-# (comment-out)] [name...]"

// errUsage is a command line that makes no sense.
var errUsage = errors.New(usage)

// command is one run of postconf.
type command struct {
	out      *bufio.Writer
	stderr   io.Writer
	dir      string
	flags    map[byte]bool
	classes  []string
	override []config.Override
	args     []string
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	c := &command{out: bufio.NewWriter(stdout), stderr: stderr, flags: make(map[byte]bool)}
	err := c.parse(args)
	if err == nil {
		err = c.execute()
	}
	if ferr := c.out.Flush(); err == nil && ferr != nil {
		err = fmt.Errorf("write output: %w", ferr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "postconf: fatal: %v\n", err)
		return 1
	}
	return 0
}

func (c *command) parse(args []string) error {
	dir := ""
	rest, err := getopt.Parse(args, "#c:C:defhHlmMno:pvxX", func(letter byte, value string) error {
		switch letter {
		case 'c':
			dir = value
		case 'C':
			for _, class := range config.SplitList(value) {
				if !slices.Contains([]string{"all", "builtin", "service", "user"}, class) {
					return fmt.Errorf("unknown parameter class %q: use all, builtin, service or user", class)
				}
				c.classes = append(c.classes, class)
			}
		case 'o':
			edits, err := parseEdits([]string{value}, assign)
			if err != nil {
				return err
			}
			c.override = append(c.override, config.Override{Name: edits[0].name, Value: edits[0].value})
		default:
			c.flags[letter] = true
		}
		return nil
	})
	if err != nil {
		if strings.Contains(err.Error(), "option") {
			return fmt.Errorf("%w; %w", err, errUsage)
		}
		return err
	}
	c.args = rest
	if rest == nil {
		c.args = []string{}
	}
	c.dir = config.Dir(dir)
	return c.exclude("dn", "hH", "eX#lmM", "elmMd", "elmMn", "X#d", "X#n")
}

// exclude refuses options that contradict each other.
func (c *command) exclude(groups ...string) error {
	for _, group := range groups {
		var seen []string
		for i := range len(group) {
			if c.flags[group[i]] {
				seen = append(seen, "-"+string(group[i]))
			}
		}
		if len(seen) > 1 {
			return fmt.Errorf("specify one of %s", strings.Join(seen, " "))
		}
	}
	return nil
}

func (c *command) execute() error {
	switch {
	case c.flags['l']:
		c.print("dotlock\nfcntl\nflock\n")
		return nil
	case c.flags['m']:
		types := table.Types()
		slices.Sort(types)
		c.print(strings.Join(types, "\n") + "\n")
		return nil
	case c.flags['M']:
		return c.showMaster()
	case c.flags['X']:
		return c.change(remove)
	case c.flags['#']:
		return c.change(comment)
	case c.flags['e'], !c.flags['d'] && !c.flags['n'] && slices.ContainsFunc(c.args, func(a string) bool { return strings.Contains(a, "=") }):
		return c.change(assign)
	}
	return c.show()
}

// change edits main.cf.
func (c *command) change(do action) error {
	if len(c.args) == 0 {
		if do == assign {
			return errors.New("-e requires name=value argument")
		}
		return errors.New("-X or -# requires a parameter name")
	}
	edits, err := parseEdits(c.args, do)
	if err != nil {
		return err
	}
	path := c.file("main.cf")
	c.verbosef("changing %s", path)
	repeated, err := editFile(path, edits)
	if err != nil {
		return err
	}
	for _, name := range repeated {
		c.warnf("%s: multiple entries for %q", path, name)
	}
	if do == assign {
		c.warnBadValues(edits)
	}
	return nil
}

// warnBadValues says which of the values just written the daemons will refuse.
func (c *command) warnBadValues(edits []edit) {
	cfg, err := config.LoadUnchecked(c.dir)
	if err != nil {
		c.warnf("%v", err)
		return
	}
	for _, err := range cfg.Check() {
		var bad *config.ValueError
		if errors.As(err, &bad) && slices.ContainsFunc(edits, func(e edit) bool { return e.name == bad.Name }) {
			c.warnf("%v", err)
		}
	}
}

func (c *command) file(name string) string { return filepath.Join(c.dir, name) }

func (c *command) print(text string) { c.out.WriteString(text) }

func (c *command) warnf(format string, args ...any) {
	c.out.Flush()
	fmt.Fprintf(c.stderr, "postconf: warning: "+format+"\n", args...)
}

func (c *command) verbosef(format string, args ...any) {
	if c.flags['v'] {
		c.out.Flush()
		fmt.Fprintf(c.stderr, "postconf: "+format+"\n", args...)
	}
}
