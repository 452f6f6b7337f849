package test

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sealpost/conf"
	"sealpost/lib/config"
	"sealpost/test/harness"
)

// checkout is a copy of the source tree for "make install". Its programs are small
// files with the names of the real ones; only postconf is real, because it is run.
type checkout struct {
	t   *testing.T
	dir string
}

func newCheckout(t *testing.T) checkout {
	t.Helper()
	bin, err := harness.Programs()
	if err != nil {
		t.Fatal(err)
	}
	c := checkout{t, t.TempDir()}
	tops, err := filepath.Glob("../*")
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range tops {
		abs, err := filepath.Abs(top)
		if err == nil && filepath.Base(top) != "bin" {
			err = os.Symlink(abs, c.path(filepath.Base(top)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(c.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	programs, err := os.ReadDir(bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		to := c.path("bin/" + p.Name())
		switch {
		case p.Type() == fs.ModeSymlink:
			text, _ := os.Readlink(filepath.Join(bin, p.Name()))
			err = os.Symlink(text, to)
		case p.Name() == "postconf":
			var program []byte
			if program, err = os.ReadFile(filepath.Join(bin, p.Name())); err == nil {
				err = os.WriteFile(to, program, 0o755)
			}
		case p.Type().IsRegular():
			err = os.WriteFile(to, []byte("program "+p.Name()), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c checkout) path(name string) string { return filepath.Join(c.dir, name) }

// make runs make and returns what it says.
func (c checkout) make(args ...string) (string, error) {
	cmd := exec.Command("make", args...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c checkout) must(args ...string) string {
	c.t.Helper()
	out, err := c.make(args...)
	if err != nil {
		c.t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// listing is what is below a directory: for each file its mode in octal digits or
// the text of the link.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		if e.Type() == fs.ModeSymlink {
			text, err := os.Readlink(path)
			list[name] = "-> " + text
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		mode := uint64(st.Mode().Perm())
		if st.Mode()&fs.ModeSetgid != 0 {
			mode |= 0o2000
		}
		list[name] = strconv.FormatUint(mode, 8)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func ownGroup(t *testing.T) string {
	t.Helper()
	g, err := user.LookupGroupId(strconv.Itoa(os.Getgid()))
	if err != nil {
		t.Fatal(err)
	}
	return g.Name
}

// installedPrograms are all programs of an installed system. A new program wants a
// line here, and a thought about its place.
var installedPrograms = map[string]string{
	"/usr/bin/mailq": "-> ../sbin/sendmail", "/usr/bin/newaliases": "-> ../sbin/sendmail", "/usr/lib/sendmail": "-> ../sbin/sendmail",
	"/usr/sbin/postalias": "-> postmap", "/usr/sbin/postcat": "755", "/usr/sbin/postconf": "755", "/usr/sbin/postdrop": "2755",
	"/usr/sbin/postfix": "-> sealpost", "/usr/sbin/postlog": "755", "/usr/sbin/postmap": "755", "/usr/sbin/postqueue": "2755",
	"/usr/sbin/postsuper": "755", "/usr/sbin/posttls-finger": "755", "/usr/sbin/sealpost": "755", "/usr/sbin/sendmail": "755",
	"/usr/libexec/sealpost/bounce": "755", "/usr/libexec/sealpost/cleanup": "755", "/usr/libexec/sealpost/discard": "-> error",
	"/usr/libexec/sealpost/error": "755", "/usr/libexec/sealpost/lmtp": "-> smtp", "/usr/libexec/sealpost/master": "755",
	"/usr/libexec/sealpost/pickup": "755", "/usr/libexec/sealpost/pipe": "755", "/usr/libexec/sealpost/postlogd": "755",
	"/usr/libexec/sealpost/proxymap": "755", "/usr/libexec/sealpost/qmgr": "755", "/usr/libexec/sealpost/showq": "755",
	"/usr/libexec/sealpost/smtp": "755", "/usr/libexec/sealpost/smtpd": "755", "/usr/libexec/sealpost/virtual": "755",
}

// TestInstall: everything is where the compiled-in defaults look for it, nothing
// else is installed, and no link leads nowhere.
func TestInstall(t *testing.T) {
	c, dest := newCheckout(t), t.TempDir()
	c.must("install", "DESTDIR="+dest, "setgid_group="+ownGroup(t))
	want := map[string]string{
		"/etc/sealpost/main.cf": "644", "/etc/sealpost/master.cf": "644", "/etc/systemd/system/sealpost.service": "644",
	}
	for name, mode := range installedPrograms {
		want[name] = mode
	}
	documents, _ := filepath.Glob("../docs/*.md")
	for _, path := range append(documents, "LICENSE", "CHANGELOG.md", "main.cf", "master.cf") {
		want["/usr/share/doc/sealpost/"+filepath.Base(path)] = "644"
	}
	pages, _ := filepath.Glob("../docs/man/*")
	for _, path := range pages {
		name := "/usr/share/man/man" + filepath.Ext(path)[1:] + "/" + filepath.Base(path)
		want[name] = "644"
		if text, err := os.Readlink(path); err == nil {
			want[name] = "-> " + text
		}
	}
	if len(documents) < 5 || len(pages) < 50 {
		t.Fatalf("%d guides, %d manual pages", len(documents), len(pages))
	}
	got := listing(t, dest)
	for name, mode := range want {
		if got[name] != mode {
			t.Errorf("%s: %q, want %q", name, got[name], mode)
		}
		if _, err := os.Stat(dest + name); err != nil {
			t.Error(err)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is installed", name)
		}
	}
	for param, program := range map[string]string{"daemon_directory": "master", "command_directory": "sendmail"} {
		p, ok := config.Lookup(param)
		if !ok || got[filepath.Join(p.Default, program)] != "755" {
			t.Errorf("%s is not in the default of %s", program, param)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(dest, config.DefaultDir, "master.cf")); string(text) != conf.MasterCF {
		t.Error("master.cf is not the packaged one")
	}
	unitPrograms(t, dest)
}

// unitPrograms: what the unit starts is there.
func unitPrograms(t *testing.T, dest string) {
	t.Helper()
	unit, err := os.ReadFile(dest + "/etc/systemd/system/sealpost.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^Exec\w+=(\S+)`).FindAllStringSubmatch(string(unit), -1)
	if len(lines) < 3 {
		t.Errorf("%d programs in the unit", len(lines))
	}
	for _, m := range lines {
		if _, err := os.Stat(dest + m[1]); err != nil {
			t.Error(err)
		}
	}
}

// TestInstallWithoutTheGroup: who makes a package need not have it.
func TestInstallWithoutTheGroup(t *testing.T) {
	c, dest := newCheckout(t), t.TempDir()
	out := c.must("install", "DESTDIR="+dest)
	got := listing(t, dest)
	for _, name := range []string{"postdrop", "postqueue"} {
		if got["/usr/sbin/"+name] != "755" || !strings.Contains(out, dest+"/usr/sbin/"+name+" must get: chgrp sealdrop, then chmod 2755") {
			t.Errorf("%s has mode %s; said:\n%s", name, got["/usr/sbin/"+name], out)
		}
	}
	if text, _ := os.ReadFile(dest + "/etc/sealpost/main.cf"); string(text) != conf.MainCF {
		t.Error("main.cf is not the packaged one")
	}
}

// TestUpgrade: an installation over another replaces programs and keeps what an
// administrator wrote; taking the system away keeps that, too.
func TestUpgrade(t *testing.T) {
	c, dest := newCheckout(t), t.TempDir()
	c.must("install", "DESTDIR="+dest)
	mine := map[string]string{"/etc/sealpost/main.cf": "myhostname = mx.test\n", "/etc/sealpost/master.cf": "# mine\n", "/etc/sealpost/transport": "x y\n"}
	for name, text := range mine {
		if err := os.WriteFile(dest+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(c.path("bin/qmgr"), []byte("a later release"), 0o755); err != nil {
		t.Fatal(err)
	}
	kept := func() {
		t.Helper()
		for name, text := range mine {
			if got, _ := os.ReadFile(dest + name); string(got) != text {
				t.Errorf("%s is now %q", name, got)
			}
		}
	}
	c.must("install", "DESTDIR="+dest)
	kept()
	if got, _ := os.ReadFile(dest + "/usr/libexec/sealpost/qmgr"); string(got) != "a later release" {
		t.Errorf("qmgr is still %q", got)
	}
	c.must("uninstall", "DESTDIR="+dest)
	kept()
	left := listing(t, dest)
	for name := range mine {
		delete(left, name)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInstallElsewhere: other places are known to the new configuration and to the unit.
func TestInstallElsewhere(t *testing.T) {
	c, dest := newCheckout(t), t.TempDir()
	c.must("install", "DESTDIR="+dest, "prefix=/opt/mail", "bindir=/usr/local/bin", "mail_owner=mailer")
	got := listing(t, dest)
	for name, want := range map[string]string{
		"/opt/mail/sbin/sendmail": "755", "/opt/mail/libexec/sealpost/master": "755", "/usr/local/bin/mailq": "-> ../../../opt/mail/sbin/sendmail",
		"/opt/mail/share/man/man8/master.8": "644", "/opt/mail/lib/sendmail": "-> ../sbin/sendmail",
	} {
		if _, err := os.Stat(dest + name); err != nil || got[name] != want {
			t.Errorf("%s: %q, want %q; %v", name, got[name], want, err)
		}
	}
	unitPrograms(t, dest)
	cf, err := config.Load(filepath.Join(dest, "etc/sealpost"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"command_directory": "/opt/mail/sbin", "daemon_directory": "/opt/mail/libexec/sealpost", "mail_owner": "mailer", "setgid_group": "sealdrop"} {
		if got := cf.Str(name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

// TestInstallRefuses: nothing is installed over another mail system, or from a
// checkout that was not built.
func TestInstallRefuses(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("what an ordinary user may not do is tested, too; run \"make test\", which steps down from root")
	}
	tests := []struct {
		name    string
		prepare func(c checkout, dest string) error
		args    []string
		want    string
	}{
		{"another mail system", func(_ checkout, dest string) error {
			if err := os.MkdirAll(dest+"/usr/sbin", 0o755); err != nil {
				return err
			}
			return os.WriteFile(dest+"/usr/sbin/sendmail", nil, 0o755)
		}, nil, "/usr/sbin/sendmail belongs to another mail system: remove that first"},
		{"not built", func(c checkout, _ string) error { return os.Remove(c.path("bin/smtpd")) }, nil, `there is no bin/smtpd: run "make build" first`},
		{"no root", func(checkout, string) error { return nil }, []string{"DESTDIR="}, "only root can install the system; set DESTDIR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, dest := newCheckout(t), t.TempDir()
			if err := tt.prepare(c, dest); err != nil {
				t.Fatal(err)
			}
			before := listing(t, dest)
			out, err := c.make(append([]string{"install", "DESTDIR=" + dest}, tt.args...)...)
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v: %s", err, out)
			}
			if after := listing(t, dest); len(after) != len(before) {
				t.Errorf("installed nevertheless: %v", slices.Sorted(maps.Keys(after)))
			}
		})
	}
}
