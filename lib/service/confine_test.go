package service

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// whoami tells each client who it runs as and what it sees.
func whoami(_ context.Context, s *Session) {
	groups, _ := os.Getgroups()
	_, inside := os.Stat("main.cf")
	_, outside := os.Stat("/etc")
	fmt.Fprintf(s.Conn, "%d %d %v main.cf %v /etc %v\n", syscall.Geteuid(), syscall.Getegid(), groups, inside == nil, outside == nil)
}

// TestConfine: master starts workers as root; -u and -c take its rights away.
func TestConfine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: only root can drop privileges")
	}
	nobody, err := lookupCredentials("nobody")
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	groups := strings.ReplaceAll(fmt.Sprint(nobody.groups), ",", "")
	for _, tt := range []struct{ args, want string }{
		{"-t unix -z -u", fmt.Sprintf("%d %d %s main.cf true /etc true", nobody.uid, nobody.gid, groups)},
		{"-t unix -z -u -c", fmt.Sprintf("%d %d %s main.cf true /etc false", nobody.uid, nobody.gid, groups)},
	} {
		t.Run(tt.args, func(t *testing.T) {
			m := newMaster(t, "unix")
			m.config("mail_owner = nobody\n")
			if err := os.Chown(m.dir+"/private", nobody.uid, nobody.gid); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(m.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(m.dir+"/public", nobody.uid, nobody.gid); err != nil {
				t.Fatal(err)
			}
			c := m.start("whoami", true, 0, strings.Fields(tt.args)...)
			c.ready()
			if got := m.dial().read(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			c.reload()
			c.exit()
		})
	}
	t.Run("the accept lock is in a directory of root's", func(t *testing.T) {
		m := newMaster(t, "unix")
		m.config("mail_owner = nobody\n")
		for _, d := range []string{"/private", "/public"} {
			if err := os.Chown(m.dir+d, nobody.uid, nobody.gid); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(m.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		c := m.start("whoami", false, 0, "-t", "unix", "-n", "svc", "-u")
		c.ready()
		if _, err := os.Stat(m.dir + "/pid/unix.svc"); err != nil {
			t.Error(err)
		}
		c.reload()
		c.exit()
	})
	t.Run("a mail_owner that is root", func(t *testing.T) {
		if _, err := lookupCredentials("root"); err == nil {
			t.Error("accepted")
		}
	})
}

// TestStandAlone: with -S standard input and output are the connection.
func TestStandAlone(t *testing.T) {
	m := newMaster(t, "unix")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"-S", "-S -v"} {
		cmd := exec.Command(exe)
		cmd.Args = append([]string{"echo"}, strings.Fields(args)...)
		cmd.Env = append(os.Environ(), envDaemon+"=echo", "MAIL_CONFIG="+m.dir)
		cmd.Stdin = strings.NewReader("one\ntwo\n")
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		if want := fmt.Sprintf("%d one\n%d two\n", pid, pid); string(out) != want {
			t.Errorf("%s: %q, want %q", args, out, want)
		}
		m.log.wait("postfix/echo[1]: connect")
		if got, want := errs.String() != "", args != "-S"; got != want {
			t.Errorf("%s: standard error %q", args, errs.String())
		}
	}
}
