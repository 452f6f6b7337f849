// Command postconf shows and changes the configuration of the mail system.
//
// # NAME
//
// postconf - show and change the configuration of the mail system
//
// # SYNOPSIS
//
// Parameters of main.cf:
//
//	postconf [-dfhHjnopqvx] [-c config_dir] [-C class,...] [parameter ...]
//	postconf [-epv] [-c config_dir] parameter=value ...
//	postconf -X [-pv] [-c config_dir] parameter ...
//	postconf -# [-pv] [-c config_dir] parameter ...
//
// Services of master.cf:
//
//	postconf -M [-fjoqvx] [-c config_dir] [service[/type] ...]
//	postconf -M [-ev] [-c config_dir] service/type=value ...
//	postconf -MX [-v] [-c config_dir] service/type ...
//	postconf -M# [-v] [-c config_dir] service/type ...
//
// Fields of services:
//
//	postconf -F [-fhHjoqvx] [-c config_dir] [service[/type[/field]] ...]
//	postconf -F [-ev] [-c config_dir] service/type/field=value ...
//
// Parameters of services:
//
//	postconf -P [-fhHjoqvx] [-c config_dir] [service[/type[/parameter]] ...]
//	postconf -P [-ev] [-c config_dir] service/type/parameter=value ...
//	postconf -PX [-v] [-c config_dir] service/type/parameter ...
//
// Other things:
//
//	postconf -b|-t [-v] [-c config_dir] [template_file]
//	postconf -T mode [-v]
//	postconf -a|-A|-l|-m [-v]
//
// # DESCRIPTION
//
// Without an argument postconf shows all parameters of main.cf with their values,
// as "name = value" in the order of their names: those of the table of
// parameters, those that the delivery services of master.cf derive
// (relay_destination_rate_delay), and those that main.cf itself defines and uses.
// With names it shows these. A name that does not exist is warned about. White
// space in a value is shown as one space.
//
// It warns of what is probably a mistake: a line that overrides an earlier one, a
// $name or a restriction class that nothing defines, a setting in main.cf or of a
// service that nothing uses (most often a misspelt name), and a parameter that
// will be removed. A name that main.cf defines may be used by other parameters,
// by services, and as a restriction class; NAME_SUFFIX may be a setting of a
// database table.
//
// In the names of services, types, fields and parameters "*" stands for all, and
// what is left out at the end is "*". The fields are service, type, private,
// unprivileged, chroot, wakeup, process_limit and command; the last includes the
// arguments.
//
// # EDITING
//
// An argument name=value changes main.cf. When several lines set the parameter,
// all are changed, with a warning. A parameter without a line gets one at the
// end. A value that the mail system would refuse is written as asked, with a
// warning.
//
// With -M service/type=value replaces a service by the eight fields and the
// arguments in value, or adds one at the end. With -F one field of services is
// replaced, with -P one "-o parameter=value" of services is replaced or added.
// A value with white space is put in braces. A service that is changed is written
// in postconf's form, each -o on a line of its own; a value that a field cannot
// have changes nothing.
//
// The new file replaces the old one in one step, with its mode and owner; a
// symbolic link is followed. Comments, blank lines, their order and all other
// lines stay as they are, byte for byte. Commands that change a file at the
// same time do it one after the other.
//
// # OPTIONS
//
//   - -#: put a comment sign before the lines that set the parameters, or with -M
//     those of the services.
//   - -a: list the types of SASL plug-ins of the SMTP server. There are none.
//   - -A: list the types of SASL plug-ins of the SMTP client. There are none.
//   - -b: show the texts that notifications begin with, with $name expanded:
//     those of the file, without one those of bounce_template_file, and with "" those
//     that are built in. See bounce(8).
//   - -c config_dir: the directory of main.cf and master.cf. Without it
//     MAIL_CONFIG, then /etc/sealpost.
//   - -C class: show only parameters of these classes: builtin (those of the
//     table), service (those that master.cf services derive), user (those that
//     main.cf defines), all.
//   - -d: show defaults, not the values of main.cf.
//   - -e: change the file. It may be left out before name=value.
//   - -f: fold long lines.
//   - -F: show or change fields of services, as service/type/field.
//   - -h: show values without names.
//   - -H: show names without values.
//   - -j: show each item as a JSON object on a line of its own: {"name": "value"}.
//     The name is the one that an edit takes. With -M the value is the line of the
//     service.
//   - -l: list the methods to lock a mailbox.
//   - -m: list the types of lookup tables.
//   - -M: show or change services.
//   - -n: show only what main.cf sets.
//   - -o name=value: show the configuration as if main.cf had this line.
//   - -p: show main.cf; this is the default.
//   - -P: show or change parameters of services, as service/type/parameter.
//   - -q: do not warn of unused parameters and of those that will be removed.
//   - -t: as -b, with headers and without expanding.
//   - -T mode: show a fact about TLS: compile-version and run-version name Go's
//     crypto/tls, which stands in for a TLS library; public-key-algorithms lists the
//     algorithms of certificates, one per line.
//   - -v: say on standard error what is read and why.
//   - -x: expand $name in values. Parameters of services see those of their
//     service.
//   - -X: take the lines that set the parameters out, or with -M those of the
//     services, or with -P the arguments.
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
// # ENVIRONMENT
//
//   - MAIL_CONFIG: the directory of main.cf and master.cf.
//
// # CONFIGURATION PARAMETERS
//
//   - config_directory (/etc/sealpost): the directory of main.cf and master.cf.
//   - bounce_template_file (empty): the texts of notifications.
//
// # SEE ALSO
//
// postconf(5), master.cf(5), sealpost(1), master(8)
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"sealpost/lib/config"
)

// command is one run of postconf.
type command struct {
	out      *bufio.Writer
	stderr   io.Writer
	dir      string
	mode     mode
	do       action
	flags    map[byte]bool
	classes  []string
	topic    string // of -T
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
	switch {
	case err == errSaid:
		return 1
	case err != nil:
		fmt.Fprintf(stderr, "postconf: fatal: %v\n", err)
		return 1
	}
	return 0
}

func (c *command) execute() error {
	switch c.mode {
	case modeService, modeField, modeParameter:
		if c.do != keep {
			return c.editMaster()
		}
		return c.showMaster()
	case modeMain:
		if c.do != keep {
			return c.editMain()
		}
		return c.show()
	case 'b', 't':
		return c.showTemplates()
	case 'T':
		return c.showTLS()
	}
	c.showTypes()
	return nil
}

func (c *command) file(name string) string { return c.dir + "/" + name }

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
