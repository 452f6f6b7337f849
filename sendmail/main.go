package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"sealpost/lib/address"
	"sealpost/lib/config"
	"sealpost/lib/mailproto"
	"sealpost/lib/sendopts"
	"sealpost/lib/table"
)

// Exit statuses of sysexits.h.
const (
	exUsage       = 64
	exDataErr     = 65
	exUnavailable = 69
	exSoftware    = 70
	exTempfail    = 75
	exNoPerm      = 77
	exConfig      = 78
)

type settings struct {
	QueueDir   string `conf:"queue_directory"`
	CommandDir string `conf:"command_directory"`
	// AliasDatabase is what newaliases builds.
	AliasDatabase []string `conf:"alias_database"`
	DaemonDir     string   `conf:"daemon_directory"`
	FixEndings    string   `conf:"sendmail_fix_line_endings"`
	VERPDelims    string   `conf:"default_verp_delimiters"`
	VERPFilter    string   `conf:"verp_delimiter_filter"`
	DisableVERP   bool     `conf:"disable_verp_bounces"`
	RequireTLS    bool     `conf:"requiretls_enable"`
	SMTPUTF8      bool     `conf:"smtputf8_enable"`
	SubmitUsers   string   `conf:"authorized_submit_users"`
}

func warnf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "sendmail: warning: "+format+"\n", args...)
}

// fail ends the command. The line names the user, as mail logs of programs that
// keep standard error are read later.
func fail(status int, err error) {
	fmt.Fprintf(os.Stderr, "sendmail: fatal: %v\n", err)
	os.Exit(status)
}

func main() {
	o, err := parseOptions(os.Args)
	if err != nil {
		fail(exUsage, err)
	}
	dir := o.config
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
		dir = filepath.Dir(dir) // -C main.cf
	}
	dir = config.Dir(dir)
	c, err := config.LoadUnchecked(dir)
	if err != nil {
		fail(exConfig, err)
	}
	var set settings
	if err := c.Decode(&set); err != nil {
		fail(exConfig, err)
	}
	if set.CommandDir, err = filepath.Abs(set.CommandDir); err != nil {
		fail(exConfig, err)
	}
	switch o.mode {
	case modeSubmit, modeVerify:
		submitMessage(o, set, dir)
	default:
		run(o, set, dir)
	}
}

// run replaces this process by the command that does what was asked.
func run(o *options, set settings, dir string) {
	program, args := set.CommandDir+"/postqueue", []string{"postqueue"}
	switch o.mode {
	case modeQueue:
		args = append(args, "-p")
	case modeFlush:
		args = append(args, "-f")
	case modeFlushID:
		args = append(args, "-i", o.flushArg)
	case modeFlushSite:
		args = append(args, "-s", o.flushArg)
	case modeDaemon:
		program, args = set.CommandDir+"/sealpost", []string{"sealpost", "start"}
	case modeSMTP:
		program, args = set.DaemonDir+"/smtpd", []string{"smtpd", "-S"}
	case modeAliases:
		names := append(o.aliasFiles, o.recipients...)
		if len(names) == 0 {
			names = set.AliasDatabase
		}
		program, args = set.CommandDir+"/postalias", append([]string{"postalias"}, names...)
	}
	env := append(os.Environ(), "MAIL_CONFIG="+dir)
	err := syscall.Exec(program, args, env)
	fail(exUnavailable, fmt.Errorf("cannot execute %s: %w", program, err))
}

func submitMessage(o *options, set settings, dir string) {
	u := currentUser()
	if err := authorize(set, u); err != nil {
		fail(exNoPerm, err)
	}
	if err := checkOptions(o, set); err != nil {
		fail(exUsage, err)
	}
	for _, text := range o.warnings {
		warnf("%s", text)
	}
	sender := u.name
	if o.senderSet {
		sender = oneAddress(o.sender)
	}
	var rcpts []string
	for _, arg := range o.recipients {
		for _, a := range address.ParseList(arg) {
			rcpts = append(rcpts, address.Unquote(a))
		}
	}
	if len(rcpts) == 0 && !o.fromHeader {
		fail(exUsage, usage("recipient addresses must be specified on the command line or via the -t option"))
	}
	fullName := firstOf(o.fullName, os.Getenv("NAME"), u.full)
	// As typed: parsed, a line break is white space, and text behind it another address.
	typed := append([]string{sender, o.sender, fullName, o.envID}, o.recipients...)
	for _, s := range append(typed, rcpts...) {
		if strings.ContainsAny(s, "\x00\r\n") {
			fail(exUsage, usage("line break or NUL in %q", s))
		}
	}
	ch, err := openChannel(set, dir)
	if err != nil {
		fail(exUnavailable, err)
	}
	w := &recordWriter{w: ch}
	if err := o.message(w, fullName, sender, rcpts, os.Stdin, fixEndings(set.FixEndings)); err != nil && w.err == nil {
		if errors.Is(err, errUsage) {
			fail(exUsage, err)
		}
		fail(exDataErr, err)
	}
	// A write error is explained better by the answer that is waiting.
	reply, err := ch.Verdict(context.Background())
	if err != nil {
		fail(exTempfail, err)
	}
	if reply.Status != mailproto.CleanupOK {
		fail(status(reply.Status), fmt.Errorf("%s(%d): %s", u.name, u.uid, firstOf(reply.Reason, reply.Status.Detail().Text)))
	}
}

// status maps a verdict to an exit status.
func status(s mailproto.CleanupStatus) int {
	switch {
	case s&mailproto.CleanupNoPerm != 0:
		return exNoPerm
	case s&(mailproto.CleanupWrite|mailproto.CleanupDefer) != 0:
		return exTempfail
	case s&mailproto.CleanupSize != 0:
		return exUnavailable
	}
	return exDataErr
}

// checkOptions drops what the configuration does not allow, with a warning.
func checkOptions(o *options, set settings) error {
	if o.sendOpts.Has(sendopts.RequireTLSESMTP) && !set.RequireTLS {
		o.warn("Ignoring option '-O requiretls=yes', because the configuration is 'requiretls_enable = no'")
		o.sendOpts &^= sendopts.RequireTLSESMTP
	}
	if o.sendOpts.Has(sendopts.SMTPUTF8Requested) && !set.SMTPUTF8 {
		o.warn("'-O smtputf8=yes' was requested, but the configuration is 'smtputf8_enable = no'")
	}
	if o.verp == "default" {
		o.verp = set.VERPDelims
	}
	if strings.Trim(o.verp, set.VERPFilter) != "" {
		return usage("-XV%s: delimiters must be from %q", o.verp, set.VERPFilter)
	}
	return nil
}

func oneAddress(s string) string {
	if s == "" || s == "<>" {
		return ""
	}
	list := address.ParseList(s)
	if len(list) != 1 {
		fail(exUsage, usage("-f: cannot handle command-line sender: %q", s))
	}
	return address.Unquote(list[0])
}

type account struct {
	uid        int
	name, full string
}

func currentUser() account {
	a := account{uid: os.Getuid(), name: strconv.Itoa(os.Getuid())}
	if u, err := user.LookupId(a.name); err == nil {
		a.name = u.Username
		a.full, _, _ = strings.Cut(u.Name, ",")
		a.full = strings.ReplaceAll(a.full, "&", strings.ToUpper(a.name[:1])+a.name[1:])
	}
	return a
}

func authorize(set settings, u account) error {
	if set.SubmitUsers == "static:anyone" {
		return nil
	}
	list, err := table.OpenList(table.Env{Warnf: warnf}, "authorized_submit_users", set.SubmitUsers, table.Strings, false)
	if err != nil {
		fail(exConfig, err)
	}
	ok, err := list.Match(context.Background(), u.name)
	if err != nil {
		fail(exTempfail, err)
	}
	if !ok {
		return fmt.Errorf("user %s(%d) is not allowed to submit mail", u.name, u.uid)
	}
	return nil
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
