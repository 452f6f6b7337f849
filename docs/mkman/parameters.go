package main

import (
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/config"
)

// parameters is the page of main.cf in the form of a package comment: every
// parameter that the mail system acts on.
func parameters() string {
	var b strings.Builder
	b.WriteString(mainFile)
	list := slices.Clone(config.Params())
	for suffix, fallback := range config.TransportSuffixes() {
		if p, ok := config.Lookup(fallback); ok && p.Status != config.Known {
			list = append(list, &config.Param{Name: "TRANSPORT" + suffix, Default: "$" + fallback, Status: config.Implemented,
				Doc: "The value of " + fallback + " for one transport: its name in master.cf takes the place of TRANSPORT."})
		}
	}
	slices.SortFunc(list, func(a, b *config.Param) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range list {
		if p.Status == config.Known || p.Doc == "" {
			continue
		}
		preset := p.Default
		switch {
		case p.Computed:
			preset = "found out at run time"
		case preset == "":
			preset = "empty"
		}
		text := oneLine(p.Doc)
		if limits := p.Limits(); limits != "" {
			text += " Allowed: " + limits + "."
		}
		if p.Status == config.Own {
			text += " This parameter is Sealpost's own."
		}
		fmt.Fprintf(&b, "  - %s (%s): %s\n", p.Name,
			// The first ": " of an item ends its name.
			strings.ReplaceAll(oneLine(preset), " : ", ":"), text)
	}
	b.WriteString("\n# SEE ALSO\n\npostconf(1), master.cf(5), sealpost(1), master(8)\n")
	return b.String()
}

// mainFile is the begin of that page.
const mainFile = `Configuration parameters.

# NAME

postconf, main.cf - configuration parameters

# DESCRIPTION

The file main.cf holds one "name = value" per logical line. A line that begins
with white space continues the one before. "#" as the first character of a line
that is not blank begins a comment, also between a line and its continuation. Of
two lines with the same name the last one counts. postconf(1) shows and edits the
file; "sealpost check" reports what is wrong, and names that have no effect;
"sealpost reload" makes a change effective.

Times have a unit: s, m, h, d or w; without one the unit is that of the default.
The items of a list are separated by commas or white space; one with white space
in it is written in braces.

The parameters are those of Postfix 3.12. Those that this release does not act on
are not listed here; "postconf -d" lists all. A parameter that is marked as
Sealpost's own is unknown to Postfix.

# EXPRESSIONS

In a value these stand for something else; "$$" is a "$":

  - $name, ${name}, $(name): the value of that parameter, which may be one that
    main.cf itself defines. A name that does not exist has an empty value.
  - ${name?text}, ${name?{text}}: the text, if the value is not empty.
  - ${name:text}, ${name:{text}}: the text, if the value is empty.
  - ${name?{text1}:{text2}}: one or the other text.
  - ${{text1} == {text2} ? {text3}:{text4}}: text3 if the comparison is true, else
    text4; either may be left out. Without both the result is "true" or nothing. The
    comparisons are ==, !=, <, <=, >= and >. Two numbers are compared as
    numbers, other text byte by byte. <=level and the like compare versions, as
    in {3.9} <level {3.10}.
  - ${domain_to_ascii{text}}, ${domain_to_utf8{text}}: a domain name with A-labels or
    in UTF-8. enable_idna2003_compatibility selects the form.

Texts may contain expressions. White space in the braces of a text counts, except
in the argument of a function. Expressions that refer to each other in a circle,
and results longer than 1 MB, are errors. Values that are expanded where they
are used, with names that only that place knows, are left alone here.

# CONFIGURATION PARAMETERS

`

// services is the page of master.cf in the same form.
const services = `The services of the mail system.

# NAME

master.cf - the services of the mail system

# DESCRIPTION

The file master.cf has one service per logical line: eight fields and the
arguments of the command, separated by white space. A line that begins with white
space continues the one before; "#" as the first character of a line begins a
comment. An argument with white space in it is written in braces.

  - service: the name. For type inet [host:]port, an IPv6 address in brackets; else
    the name of a socket. A name that begins with user/ is a socket that any local
    user may open.
  - type: inet, unix, unix-dgram (the log daemon), fifo or pass.
  - private: n for a socket in public/, else it is in private/, which only the mail
    system can enter.
  - unpriv: n when the daemon runs with the privileges of root.
  - chroot: y when the daemon runs in the queue directory. "-" means no.
  - wakeup: the service is told to look for work every so many seconds; with "?"
    after the number only while it is in use. "-" means never.
  - maxproc: the greatest number of sessions at a time; 0 for no limit, "-" for
    default_process_limit. One process serves them all. For qmgr, pickup and
    postlogd 1 says that the service must not run twice; their sessions are not
    limited. A program that is no daemon of this suite gets a process per session.
  - command: a program in daemon_directory, or an absolute path.

Arguments of daemons are -v for verbose logging, and -o name=value, which replaces
the value in main.cf for this service.

"sealpost check" reports what is wrong; "sealpost reload" makes a change effective.

# SEE ALSO

master(8), sealpost(1), postconf(1), postconf(5)
`

// oneLine keeps a text in its list item.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
