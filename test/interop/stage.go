package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/harness"
)

// nobody owns the mailboxes.
const nobody = 65534

// stage is where one scenario plays. What it starts ends with it.
type stage struct {
	dir, bin string
	systems  []*system
	closers  []func() error
}

// system is one mail system, ours or Debian's, with the harness's way of looking
// at it.
type system struct {
	*harness.Instance
	start, stop []string  // commands
	mainCF      []byte    // as it was at the start
	master      *exec.Cmd // nil: not running
}

func (s *stage) close() error {
	var errs []error
	for _, m := range s.systems {
		errs = append(errs, m.Stop())
	}
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// owner is the user and the group of a queue: those of Debian's Postfix, where
// it is installed, so that both can use one queue.
func owner() (name, group string) {
	if _, err := user.Lookup("postfix"); err == nil {
		return "postfix", "postdrop"
	}
	return "daemon", "mail"
}

// ours is a Sealpost instance that runs as root, for NAME.test. It is not started.
func (s *stage) ours(name string, params map[string]string, services ...string) (*system, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	ownerName, group := owner()
	o := harness.Options{Name: name, Dir: dir, Bin: s.bin, Domain: name + ".test", Users: users, Services: services,
		Params: map[string]string{
			"mail_owner":                   ownerName,
			"setgid_group":                 group,
			"maillog_file_prefixes":        dir,
			"default_privs":                "nobody",
			"virtual_uid_maps":             "static:" + strconv.Itoa(nobody),
			"virtual_gid_maps":             "static:" + strconv.Itoa(nobody),
			"smtpd_peername_lookup":        "no",
			"smtp_host_lookup":             "dns, native",
			"virtual_alias_maps":           aliases(name),
			"virtual_alias_domains":        "",
			"recipient_delimiter":          "",
			"append_dot_mydomain":          "no",
			"remote_header_rewrite_domain": "",
		}}
	for k, v := range params {
		o.Params[k] = v
	}
	i, err := harness.New(o)
	if err != nil {
		return nil, err
	}
	conf := []string{filepath.Join(s.bin, "sealpost"), "-c", i.ConfigDir}
	m := &system{Instance: i, start: append(conf[:3:3], "start-fg"), stop: append(conf[:3:3], "stop")}
	return m, s.adopt(m)
}

// users have mailboxes in every system.
var users = []string{"alice", "bob", "postmaster"}

// aliases are addresses that exist for smtpd and that virtual(8) refuses: what
// arrives there bounces after it was accepted.
func aliases(name string) string {
	return fmt.Sprintf("inline:{ { late-bounce@%[1]s.test = no-mailbox@%[1]s.test } }", name)
}

func (s *stage) adopt(m *system) error {
	s.systems = append(s.systems, m)
	return os.Chown(m.MailDir, nobody, nobody)
}

// debian is a private instance of Debian's Postfix with the same shape as ours.
// inet_interfaces must name an address that an interface has; the address in
// master.cf need not.
func (s *stage) debian(name string, params map[string]string, services ...string) (*system, error) {
	dir := filepath.Join(s.dir, name)
	sub := func(n string) string { return filepath.Join(dir, n) }
	i := &harness.Instance{
		Options:   harness.Options{Name: name, Dir: dir, Bin: "/usr/sbin", Domain: name + ".test", Users: users},
		ConfigDir: sub("etc"), QueueDir: sub("queue"), DataDir: sub("data"), MailDir: sub("mail"), LogFile: sub("maillog"),
		Log: harness.NewLog(sub("maillog")),
	}
	for _, d := range []string{dir, i.ConfigDir, i.QueueDir, i.DataDir, i.MailDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	var err error
	if i.IP, err = harness.Loopback(); err != nil {
		return nil, err
	}
	ownerName, _ := owner()
	u, err := user.Lookup(ownerName)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(i.DataDir, uid, -1); err != nil {
		return nil, err
	}
	if err := writeDebian(i, params, services); err != nil {
		return nil, err
	}
	conf := []string{"/usr/sbin/postfix", "-c", i.ConfigDir}
	m := &system{Instance: i, start: append(conf[:3:3], "start-fg"), stop: append(conf[:3:3], "stop")}
	return m, s.adopt(m)
}

// debianMaster are the services of Debian's Postfix, none of them chrooted.
const debianMaster = `pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
flush unix n - n 1000? 0 flush
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
`

func writeDebian(i *harness.Instance, params map[string]string, services []string) error {
	var boxes []string
	for _, u := range i.Users {
		boxes = append(boxes, fmt.Sprintf("{ %s@%s = %s/ }", u, i.Domain, u))
	}
	p := map[string]string{
		"compatibility_level": "3.6", "queue_directory": i.QueueDir, "data_directory": i.DataDir,
		"daemon_directory": "/usr/lib/postfix/sbin", "command_directory": "/usr/sbin",
		"mail_owner": "postfix", "setgid_group": "postdrop", "maillog_file": i.LogFile, "maillog_file_prefixes": i.Dir,
		"myhostname": i.Name + ".test", "mydestination": "", "mynetworks": "127.0.0.0/8", "inet_interfaces": "127.0.0.1",
		"inet_protocols": "ipv4", "smtp_bind_address": i.IP, "smtp_host_lookup": "native", "smtp_dns_support_level": "disabled",
		"smtpd_peername_lookup": "no", "alias_maps": "", "alias_database": "", "local_recipient_maps": "",
		"virtual_mailbox_domains": i.Domain, "virtual_mailbox_base": i.MailDir,
		"virtual_mailbox_maps": "inline:{ " + strings.Join(boxes, ", ") + " }",
		"virtual_uid_maps":     "static:" + strconv.Itoa(nobody), "virtual_gid_maps": "static:" + strconv.Itoa(nobody),
		"virtual_minimum_uid": "1", "smtputf8_enable": "yes", "virtual_alias_maps": aliases(i.Name), "virtual_alias_domains": "",
		"smtpd_tls_security_level": "none", "smtp_tls_security_level": "none",
		"append_dot_mydomain": "no", "import_environment": "MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME",
	}
	for k, v := range params {
		p[k] = v
	}
	var text bytes.Buffer
	for k, v := range p {
		fmt.Fprintf(&text, "%s = %s\n", k, v)
	}
	if err := os.WriteFile(filepath.Join(i.ConfigDir, "main.cf"), text.Bytes(), 0o644); err != nil {
		return err
	}
	lines := map[string]string{}
	var order []string
	add := func(line string) {
		words := strings.Fields(line)
		key := words[0] + "/" + words[1]
		if _, ok := lines[key]; !ok {
			order = append(order, key)
		}
		lines[key] = line
	}
	add(i.SMTP() + " inet n - n - - smtpd")
	for line := range strings.Lines(debianMaster) {
		add(strings.TrimSpace(line))
	}
	for _, line := range services {
		add(line)
	}
	text.Reset()
	for _, key := range order {
		fmt.Fprintln(&text, lines[key])
	}
	return os.WriteFile(filepath.Join(i.ConfigDir, "master.cf"), text.Bytes(), 0o644)
}

// Start starts the system in the foreground and waits until its master is up and
// its SMTP server answers.
func (m *system) Start(ctx context.Context) error {
	m.master = command(ctx, m.start...)
	m.master.Cancel = func() error { return m.master.Process.Signal(syscall.SIGTERM) }
	// A process group of its own: an interrupt from the terminal is for us, and we
	// stop it in order.
	m.master.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	outFile := filepath.Join(m.Dir, "start.out")
	out, err := os.Create(outFile)
	if err != nil {
		return err
	}
	defer out.Close()
	m.master.Stdout, m.master.Stderr = out, out
	if m.mainCF, err = os.ReadFile(filepath.Join(m.ConfigDir, "main.cf")); err != nil {
		return err
	}
	mark := m.Log.Mark()
	if err := m.master.Start(); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := m.Log.Wait(short, mark, `daemon started -- version`); err != nil {
		said, _ := os.ReadFile(outFile)
		return fmt.Errorf("%s does not start: %w: %s", m.Name, err, said)
	}
	c, err := m.Dial(short)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", m.Name, err)
	}
	return goodbye(c)
}

// Stop stops the system through its own master. One that does not run is no error.
func (m *system) Stop() error {
	if m.master == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := command(ctx, m.stop...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("stop %s: %w: %s", m.Name, err, out)
	}
	_ = m.master.Wait() // ends by our signal
	m.master = nil
	return err
}

// set changes main.cf and makes that effective.
func (m *system) set(ctx context.Context, settings ...string) error {
	if _, err := m.Command(ctx, nil, "postconf", append([]string{"-e"}, settings...)...); err != nil {
		return err
	}
	if m.master == nil {
		return nil
	}
	return m.reload(ctx)
}

// reset undoes every set since the start.
func (m *system) reset(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(m.ConfigDir, "main.cf"), m.mainCF, 0o644); err != nil {
		return err
	}
	return m.reload(ctx)
}

// reload returns when the SMTP servers of the old configuration are gone: they may
// say 421 to a client that comes while they leave.
func (m *system) reload(ctx context.Context) error {
	mark, old := m.Log.Mark(), m.Workers()["smtpd"]
	if _, err := m.Command(ctx, nil, "postfix", "reload"); err != nil {
		return err
	}
	if _, err := m.Log.Wait(ctx, mark, `reload -- version`); err != nil {
		return err
	}
	return harness.Poll(ctx, func() (bool, error) {
		now := m.Workers()["smtpd"]
		return !slices.ContainsFunc(old, func(pid int) bool { return slices.Contains(now, pid) }), nil
	})
}

// names starts a name server in which every system is the mail host of its domain.
func (s *stage) names(systems ...*system) (addr string, err error) {
	var zone strings.Builder
	for _, m := range systems {
		fmt.Fprintf(&zone, "%s. MX 10 mx.%[1]s.\nmx.%[1]s. A %s\n", m.Domain, m.IP)
	}
	n, err := dnstest.Start(dnstest.Config{Zone: zone.String()})
	if err != nil {
		return "", err
	}
	s.closers = append(s.closers, func() error { n.Close(); return nil })
	return n.Addr(), nil
}

// command is a program in a plain environment.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TZ=UTC", "HOME=/nonexistent"}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a program; what it says is part of an error.
func run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := command(ctx, args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// envelope is what a client says beside MAIL, RCPT and DATA.
type envelope struct {
	from, to           string
	mailArgs, rcptArgs string // with leading blank
}

// send speaks SMTP to a system; a refusal is an error with the reply.
func (m *system) send(ctx context.Context, e envelope, content string) error {
	c, err := m.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, cmd := range []string{
		"MAIL FROM:<" + e.from + ">" + e.mailArgs,
		"RCPT TO:<" + e.to + ">" + e.rcptArgs,
	} {
		if err := say(c, 250, cmd); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, strings.ReplaceAll(content, "\n", "\r\n")); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return goodbye(c)
}

func say(c *smtp.Client, code int, text string) error {
	id, err := c.Text.Cmd("%s", text)
	if err != nil {
		return err
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	if _, _, err := c.Text.ReadResponse(code); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}

// body is what follows the header of a delivered message.
func body(message string) string {
	_, b, _ := strings.Cut(message, "\n\n")
	return b
}

// header is one header of a delivered message, folded lines joined by a newline
// and their blanks; empty if there is none.
func header(message, name string) string {
	head, _, _ := strings.Cut(message, "\n\n")
	var value strings.Builder
	in := false
	for line := range strings.SplitSeq(head, "\n") {
		switch {
		case in && line != "" && (line[0] == ' ' || line[0] == '\t'):
			value.WriteString("\n" + line)
			continue
		case in:
			return value.String()
		}
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			in = true
			value.WriteString(strings.TrimPrefix(v, " "))
		}
	}
	return value.String()
}

// contains tells what a text lacks.
func contains(what, text string, parts ...string) error {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return fmt.Errorf("%s has no %q:\n%s", what, p, text)
		}
	}
	return nil
}

// same compares two texts.
func same(what, got, want string) error {
	if got == want {
		return nil
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	from := max(0, at-40)
	return fmt.Errorf("%s differs at byte %d (%d bytes, want %d):\n got ...%q\nwant ...%q", what, at, len(got), len(want),
		got[from:min(len(got), at+80)], want[from:min(len(want), at+80)])
}

// goodbye ends a session. A server that is being replaced may say 421 instead of
// 221; the message is its own by then.
func goodbye(c *smtp.Client) error {
	err := c.Quit()
	var reply *textproto.Error
	if errors.As(err, &reply) && reply.Code == 421 {
		return nil
	}
	return err
}
