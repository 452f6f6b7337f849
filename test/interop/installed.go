package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

var installedScenarios = []scenario{
	{"installed as the guide says, root's system: users, postdrop, postqueue, the unit", "useradd", installed},
}

// installed follows docs/installation.md as root, in file systems, a network and
// processes of its own: the machine is not touched. What is only so for root's system
// is tried there: the set-gid commands, and who may do what.
func installed(ctx context.Context, s *stage) error {
	guide, err := os.ReadFile("docs/installation.md")
	if err != nil {
		return err
	}
	script, err := s.write("script", strings.NewReplacer("DIR", s.dir, "USERS\n", block(guide, "users"), "INSTALL\n", block(guide, "install")).Replace(installScript))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-eu", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	cmd.Env = append(os.Environ(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH"))
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if errors.Is(err, syscall.EPERM) || strings.Contains(out.String(), "NO OVERLAY") {
		return fmt.Errorf("namespaces with overlay file systems are %w", errAbsent)
	}
	if err != nil {
		return fmt.Errorf("%w:\n%s", err, lastLines(out.String(), 20))
	}
	var errs []error
	for _, want := range installedSays {
		if !regexp.MustCompile("(?m)" + want).MatchString(out.String()) {
			errs = append(errs, fmt.Errorf("lacks %q", want))
		}
	}
	if len(errs) > 0 {
		errs = append(errs, errors.New(out.String()))
	}
	return errors.Join(errs...)
}

// block is a block of the guide that a comment names.
func block(guide []byte, name string) string {
	m := regexp.MustCompile(`(?m)^<!-- \w+: ` + name + ` -->\n\n((?:    .*\n)+)`).FindSubmatch(guide)
	if m == nil {
		return "echo the guide has no block " + name + "; exit 1\n"
	}
	return strings.ReplaceAll(string(m[1]), "    ", "")
}

// installScript: each "is" line says what a command printed and its exit status.
const installScript = `
mount --make-rprivate / || { echo NO OVERLAY; exit 0; }
mkdir DIR/layers
mount -t tmpfs tmpfs DIR/layers
for d in etc usr var; do
	mkdir DIR/layers/$d DIR/layers/$d.work
	mount -t overlay overlay -o lowerdir=/$d,upperdir=DIR/layers/$d,workdir=DIR/layers/$d.work /$d || { echo NO OVERLAY; exit 0; }
done
mount -t proc proc /proc
ip link set lo up
hostname mx.example.com
is() { status=0; said=$("$@" 2>&1) || status=$?; echo "is $*: [$status] $said"; }
user() { setpriv --reuid=daemon --regid=daemon --clear-groups "$@"; }

# The mail system that was here before.
[ ! -e /usr/sbin/postconf ] || is make -s install
rm -f /usr/sbin/sendmail /usr/sbin/post* /usr/bin/mailq /usr/bin/newaliases /usr/lib/sendmail
! getent group sealdrop >/dev/null || groupdel sealdrop
is make -s install
USERS
INSTALL
is sealpost check
is systemd-analyze verify --man=no /etc/systemd/system/sealpost.service
is sealpost start
is sealpost start
printf 'Subject: up\n\nhello\n' >DIR/message
is user sh -c '/usr/sbin/sendmail -f a@example.com bob@example.com <DIR/message'
is user /usr/sbin/postqueue -f
is user /usr/sbin/sealpost status
is sealpost stop
is sealpost stop
is user sh -c '/usr/sbin/sendmail -f a@example.com down@example.com <DIR/message'
is user sh -c 'MAIL_CONFIG=/tmp /usr/sbin/sendmail -f a@example.com down@example.com <DIR/message'
is postqueue -j
chmod 755 /usr/sbin/postdrop
is sealpost check
is user sh -c '/usr/sbin/sendmail -f a@example.com down@example.com <DIR/message'
is make -s uninstall
is ls /etc/sealpost /usr/libexec
cat /var/log/sealpost.log
`

// installedSays are lines that the script prints.
var installedSays = []string{
	`^is make -s install: \[2\] (.*\n)?install: there is no group sealdrop: create it and the user sealpost first:$`,
	`^is sealpost check: \[0\] (postfix/postfix-script: DNSSEC status .*)?$`,
	`^is systemd-analyze verify --man=no \S+: \[(0|127)\]`,
	`^is sealpost start: \[0\] postfix/postfix-script: starting the Postfix mail system$`,
	`^is sealpost start: \[1\] postfix/postfix-script: fatal: the Postfix mail system is already running$`,
	`^is user sh -c /usr/sbin/sendmail -f a@example.com bob@example.com <.*: \[0\] $`,
	`postfix/pickup\[\d+\]: (\w+): uid=1 from=<a@example.com>$`,
	`^is user /usr/sbin/postqueue -f: \[0\] $`,
	`^is user /usr/sbin/sealpost status: \[1\] postfix/postfix-script: fatal: lock of the mail system: open /var/spool/sealpost/pid/master.pid: permission denied; this is for root`,
	`^is sealpost stop: \[0\] `,
	`^is sealpost stop: \[1\] postfix/postfix-script: fatal: the Postfix mail system is not running$`,
	`^is user sh -c /usr/sbin/sendmail -f a@example.com down@example.com <.*: \[0\] $`,
	`^is user sh -c MAIL_CONFIG=/tmp .*: \[78\] sendmail: fatal: .*/tmp/main.cf`,
	`"queue_name": "maildrop".*"sender": "a@example.com".*"address": "down@example.com"`,
	`^is sealpost check: \[0\] (.*\n)*.*warning: /usr/sbin/postdrop does not run with setgid_group = sealdrop \(it has group \d+, mode 0755\): users cannot submit mail`,
	`^is user sh -c .*: \[69\] postdrop: create a file in /var/spool/sealpost/maildrop: .*permission denied; "sealpost check" tells`,
	`^is make -s uninstall: \[0\] $`,
	`^is ls /etc/sealpost /usr/libexec: \[0\] (.*\n)*main.cf\nmaster.cf\n`,
}
