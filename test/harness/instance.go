// Package harness runs private instances of the mail system for tests and for
// the demonstration: real programs, a configuration of their own in one
// directory, loopback addresses of their own, no privileges.
//
// An instance starts from the packaged master.cf. Nothing here sleeps for a
// guessed time: whoever waits, waits for something in the log, in a mailbox or
// behind a socket, with a deadline.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sealpost/conf"
	"sealpost/lib/atomicfile"
	"sealpost/lib/instance"
)

// SMTPPort is the port on which instances listen, each on an address of its own:
// so the MX records of a test need no port.
const SMTPPort = 2525

// Options describe an instance.
type Options struct {
	Name string // host name is NAME.test
	Dir  string // everything lives below it; must exist and be empty
	Bin  string // directory of the programs
	// Domain, when not empty, is delivered here by virtual(8): every address in
	// it whose local part is in Users.
	Domain string
	Users  []string
	DNS    string // address:port of the name server; empty: none
	// Params are added to main.cf. They win over what the harness writes.
	Params map[string]string
	// Services are lines for master.cf. A line replaces the packaged line with the
	// same name and type; "-NAME/TYPE" removes one.
	Services []string
}

// An Instance is one mail system.
type Instance struct {
	Options
	ConfigDir, QueueDir, DataDir, MailDir, LogFile string
	IP                                             string // a loopback address
	Log                                            *Log
}

// New writes the configuration of an instance.
func New(o Options) (*Instance, error) {
	i := &Instance{Options: o}
	sub := func(name string) string { return filepath.Join(o.Dir, name) }
	i.ConfigDir, i.QueueDir, i.DataDir, i.MailDir = sub("etc"), sub("queue"), sub("data"), sub("mail")
	i.LogFile = sub("maillog")
	i.Log = &Log{path: i.LogFile}
	for _, dir := range []string{i.ConfigDir, i.MailDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	var err error
	if i.IP, err = Loopback(); err != nil {
		return nil, err
	}
	return i, i.WriteConfig()
}

// Loopback picks an address of 127.0.0.0/8 on which nobody listens. Tests of
// several packages run at the same time; a random address keeps them apart.
func Loopback() (string, error) {
	for range 100 {
		ip := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(SMTPPort)))
		if err == nil {
			return ip, ln.Close()
		}
	}
	return "", errors.New("no free loopback address")
}

// SMTP is the address of the SMTP server.
func (i *Instance) SMTP() string { return net.JoinHostPort(i.IP, strconv.Itoa(SMTPPort)) }

// WriteConfig writes main.cf and master.cf from the options; after a change a
// reload makes it effective.
func (i *Instance) WriteConfig() error {
	if err := atomicfile.Write(filepath.Join(i.ConfigDir, "main.cf"), i.mainCF(), 0o644); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(i.ConfigDir, "master.cf"), i.masterCF(), 0o644)
}

func (i *Instance) mainCF() []byte {
	owner := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		owner = u.Username
	}
	host := i.Name + ".test"
	params := map[string]string{
		"compatibility_level":     "3.11",
		"queue_directory":         i.QueueDir,
		"data_directory":          i.DataDir,
		"daemon_directory":        i.Bin,
		"command_directory":       i.Bin,
		"mail_owner":              owner,
		"maillog_file":            i.LogFile,
		"myhostname":              host,
		"mydestination":           "",
		"mynetworks":              "127.0.0.0/8",
		"inet_interfaces":         i.IP,
		"inet_protocols":          "ipv4",
		"smtp_bind_address":       i.IP,
		"smtp_tcp_port":           strconv.Itoa(SMTPPort),
		"virtual_mailbox_base":    i.MailDir,
		"virtual_uid_maps":        "static:" + strconv.Itoa(os.Getuid()),
		"virtual_gid_maps":        "static:" + strconv.Itoa(os.Getgid()),
		"virtual_minimum_uid":     "1",
		"smtputf8_enable":         "yes",
		"local_recipient_maps":    "",
		"virtual_mailbox_domains": i.Domain,
	}
	if i.Domain != "" {
		var boxes []string
		for _, u := range i.Users {
			boxes = append(boxes, fmt.Sprintf("{ %s@%s = %s/ }", u, i.Domain, u))
		}
		params["virtual_mailbox_maps"] = "inline:{ " + strings.Join(boxes, ", ") + " }"
	}
	if i.DNS != "" {
		params["dns_servers"] = i.DNS
	}
	for name, value := range i.Params {
		params[name] = value
	}
	names := make([]string, 0, len(params))
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "%s = %s\n", name, params[name])
	}
	return b.Bytes()
}

// masterCF is the packaged file with the lines of the options, and with the SMTP
// server on an address that needs no privilege.
func (i *Instance) masterCF() []byte {
	lines := append([]string{
		"-smtp/inet",
		// For daemons of Postfix only.
		"-rewrite/unix", "-tlsmgr/unix", "-anvil/unix", "-scache/unix",
		i.SMTP() + " inet n - n - - smtpd",
	}, i.Services...)
	text := conf.MasterCF
	for _, line := range lines {
		name, typ := "", ""
		if rest, ok := strings.CutPrefix(line, "-"); ok {
			if j := strings.LastIndexByte(rest, '/'); j >= 0 {
				name, typ = rest[:j], rest[j+1:]
			}
			line = ""
		} else if words := strings.Fields(line); len(words) > 1 {
			name, typ = words[0], words[1]
		}
		text = withoutService(text, name, typ)
		if line != "" {
			text += line + "\n"
		}
	}
	return []byte(text)
}

// withoutService removes a service and its continuation lines.
func withoutService(text, name, typ string) string {
	var out strings.Builder
	drop := false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 0 && line[0] != ' ' && line[0] != '\t' && line[0] != '#' {
			drop = len(words) > 1 && words[0] == name && words[1] == typ
		}
		if !drop {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Command runs one of the programs for this instance and returns its output. An
// error has the output in its text.
func (i *Instance) Command(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(i.Bin, name), args...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+i.ConfigDir)
	cmd.Stdin = stdin
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Start starts the instance and returns when it is up. It ends with this process
// at the latest.
func (i *Instance) Start(ctx context.Context) error {
	if err := watched(i.QueueDir); err != nil {
		return err
	}
	_, err := i.Command(ctx, nil, "sealpost", "start")
	return err
}

// Stop stops the instance; one that is not running is no error.
func (i *Instance) Stop(ctx context.Context) error {
	if i.MasterPID() == 0 {
		return nil
	}
	_, err := i.Command(ctx, nil, "sealpost", "stop")
	return err
}

// Reload makes a changed configuration effective.
func (i *Instance) Reload(ctx context.Context) error {
	_, err := i.Command(ctx, nil, "sealpost", "reload")
	return err
}

// Reloaded makes a changed configuration effective and returns when the SMTP
// servers of the old one are gone: they say 421 to a client that comes while they
// leave, and net/smtp hides that behind an attempt with HELO.
func (i *Instance) Reloaded(ctx context.Context) error {
	old := i.Workers()["smtpd"]
	if err := i.Reload(ctx); err != nil {
		return err
	}
	return Poll(ctx, func() (bool, error) {
		now := i.Workers()["smtpd"]
		return !slices.ContainsFunc(old, func(pid int) bool { return slices.Contains(now, pid) }), nil
	})
}

// MasterPID is the process id of the running master, or 0.
func (i *Instance) MasterPID() int {
	pid, running, err := instance.Running(filepath.Join(i.QueueDir, "pid", "master.pid"))
	if err != nil || !running {
		return 0
	}
	return pid
}

// Workers are the process ids of master's children by program name.
func (i *Instance) Workers() map[string][]int {
	workers := make(map[string][]int)
	master := i.MasterPID()
	if master == 0 {
		return workers
	}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid ...
		open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		if open < 1 || end < open {
			continue
		}
		after := strings.Fields(string(text[end+1:]))
		if len(after) < 2 || after[0] == "Z" || after[1] != strconv.Itoa(master) {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text[:open])))
		if err == nil {
			name := string(text[open+1 : end])
			workers[name] = append(workers[name], pid)
		}
	}
	return workers
}
