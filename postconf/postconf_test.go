package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const mainText = `# top
myhostname = a.b.example
# about relaying
relay_domains = x,
   # inner

	  y
foo=1
#commented = 1
relay_domains = z
smtpd_x = $foo
myorigin = $foo`

const masterText = `# c
smtp      inet  n       -       y       -       -       smtpd
  -o a=b -o { myorigin = d e }
  -v { x y }
relay     unix  -       -       n       -       -       smtp
verylongservicename    unix  -       -       -       60?     -       cleanup
`

// configDir writes a configuration and returns its directory.
func configDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": mainText, "master.cf": masterText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// postconf runs the command; the directory's name becomes DIR in what it says.
func postconf(dir string, args ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	status = run(append([]string{"-c", dir}, args...), &out, &errs)
	return strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(errs.String(), dir, "DIR"), status
}

func TestShow(t *testing.T) {
	const (
		overriding = "postconf: warning: DIR/main.cf, line 10: overriding earlier entry: relay_domains=x, y\n"
		unused     = "postconf: warning: DIR/main.cf: unused parameter: smtpd_x=$foo\npostconf: warning: DIR/master.cf: unused parameter: a=b\n"
	)
	tests := []struct {
		name           string
		args           string
		stdout, stderr string
		status         int
	}{
		{"names", "relay_domains foo myorigin", "relay_domains = z\nfoo = 1\nmyorigin = $foo\n", overriding + unused, 0},
		{"values", "-h relay_domains foo", "z\n1\n", overriding + unused, 0},
		{"only names", "-H relay_domains", "relay_domains\n", overriding + unused, 0},
		{"expanded", "-x myorigin", "myorigin = 1\n", overriding + unused, 0},
		{"defaults", "-d relay_domains foo", "relay_domains = ${{$compatibility_level} <level {2} ? {$mydestination} : {}}\n", "postconf: warning: foo: unknown parameter\n", 0},
		{"expanded default", "-dx smtpd_junk_command_limit", "smtpd_junk_command_limit = 100\n", "", 0},
		{"empty value", "-d always_bcc", "always_bcc =\n", "", 0},
		{"what is set", "-n", "config_directory = DIR\nfoo = 1\nmyhostname = a.b.example\nmyorigin = $foo\nrelay_domains = z\n", overriding + unused, 0},
		{"set and asked for", "-n mynetworks foo", "foo = 1\n", overriding + unused, 0},
		{"unknown name", "nosuch", "", overriding + "postconf: warning: nosuch: unknown parameter\n" + unused, 0},
		{"override", "-o relay_domains=q -h relay_domains", "q\n", overriding + unused, 0},
		{"user class", "-C user", "foo = 1\n", overriding + unused, 0},
		{"transport parameter", "-d relay_destination_rate_delay nix_destination_rate_delay", "relay_destination_rate_delay = $default_destination_rate_delay\n",
			"postconf: warning: nix_destination_rate_delay: unknown parameter\n", 0},
		{"folded", "-df proxy_write_maps", "proxy_write_maps = $smtp_sasl_auth_cache_name $lmtp_sasl_auth_cache_name\n    $address_verify_map $postscreen_cache_map\n", "", 0},
		{"master.cf", "-M", "smtp       inet  n       -       y       -       -       smtpd -o a=b -o {myorigin=d e} -v {x y}\n" +
			"relay      unix  -       -       n       -       -       smtp\nverylongservicename unix - -     -       60?     -       cleanup\n", "", 0},
		{"one service folded", "-Mf smtp/inet", "smtp       inet  n       -       y       -       -       smtpd\n    -o a=b\n    -o {myorigin=d e}\n    -v {x y}\n", "", 0},
		{"no such service", "-M smtp/unix", "", "postconf: warning: unmatched request: \"smtp/unix\"\n", 0},
		{"contradiction", "-d -n foo", "", "postconf: fatal: specify one of -d -n\n", 1},
		{"edit without argument", "-e", "", "postconf: fatal: -e requires name=value argument\n", 1},
		{"edit without value", "-e bad", "", "postconf: fatal: missing '=' after attribute name: \"bad\"\n", 1},
		{"edit without name", "-e =x", "", "postconf: fatal: missing attribute name: \"=x\"\n", 1},
		{"edit of a comment", "-e #x=y", "", "postconf: fatal: -e, -X, or -# accepts no comment input\n", 1},
		{"unknown class", "-C nosuch", "", "postconf: fatal: unknown parameter class \"nosuch\": use all, builtin, service or user\n", 1},
	}
	dir := configDir(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, status := postconf(dir, strings.Fields(tt.args)...)
			if stdout != tt.stdout || stderr != tt.stderr || status != tt.status {
				t.Errorf("postconf %s\nstdout %q\nwant   %q\nstderr %q\nwant   %q\nstatus %d", tt.args, stdout, tt.stdout, stderr, tt.stderr, status)
			}
		})
	}
}

func TestShowAllIsSortedAndComplete(t *testing.T) {
	dir := configDir(t)
	stdout, _, status := postconf(dir)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	last := ""
	for _, line := range lines {
		name, _, _ := strings.Cut(line, " =")
		if name <= last {
			t.Errorf("%s after %s", name, last)
		}
		last = name
	}
	for _, want := range []string{"foo = 1", "mail_version = 3.12-sealpost-0.1.0", "relay_delivery_slot_cost = $default_delivery_slot_cost", "relay_domains = z"} {
		if !strings.Contains("\n"+stdout, "\n"+want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
	if status != 0 || len(lines) < 920 {
		t.Errorf("status %d, %d lines", status, len(lines))
	}
}

func TestMalformedOptionsShowTheUsage(t *testing.T) {
	_, stderr, status := postconf(t.TempDir(), "-q")
	if status != 1 || !strings.HasPrefix(stderr, "postconf: fatal: invalid option -- 'q'; usage: postconf ") {
		t.Errorf("%d %q", status, stderr)
	}
}

func TestMissingMainFileIsFatal(t *testing.T) {
	_, stderr, status := postconf(t.TempDir(), "-n")
	if status != 1 || stderr != "postconf: fatal: open DIR/main.cf: no such file or directory\n" {
		t.Errorf("%d %q", status, stderr)
	}
}

func TestEdit(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		want   func(string) string
		stderr string
	}{
		{"a value is replaced in place", []string{"foo = bar baz"}, func(s string) string {
			return strings.Replace(s, "foo=1", "foo = bar baz", 1) + "\n"
		}, ""},
		{"a new parameter goes to the end", []string{"-e", "mynetworks=10.0.0.0/8", "always_bcc="}, func(s string) string {
			return s + "\nmynetworks = 10.0.0.0/8\nalways_bcc = \n"
		}, ""},
		{"the last of two values counts", []string{"foo=2", "foo=3"}, func(s string) string {
			return strings.Replace(s, "foo=1", "foo = 3", 1) + "\n"
		}, ""},
		{"all lines of a parameter, comments stay", []string{"relay_domains=new"}, func(s string) string {
			s = strings.Replace(s, "relay_domains = x,\n   # inner\n\n\t  y\n", "relay_domains = new\n   # inner\n\n", 1)
			return strings.Replace(s, "relay_domains = z", "relay_domains = new", 1) + "\n"
		}, "postconf: warning: DIR/main.cf: multiple entries for \"relay_domains\"\n"},
		{"a value may look like a comment", []string{"foo=# y"}, func(s string) string {
			return strings.Replace(s, "foo=1", "foo = # y", 1) + "\n"
		}, ""},
		{"lines are taken out", []string{"-X", "relay_domains", "foo"}, func(s string) string {
			s = strings.Replace(s, "relay_domains = x,\n   # inner\n\n\t  y\nfoo=1\n", "   # inner\n\n", 1)
			return strings.Replace(s, "relay_domains = z\n", "", 1) + "\n"
		}, "postconf: warning: DIR/main.cf: multiple entries for \"relay_domains\"\n"},
		{"lines are commented out", []string{"-#", "relay_domains"}, func(s string) string {
			s = strings.Replace(s, "relay_domains = x,\n   # inner\n\n\t  y\n", "#relay_domains = x,\n   # inner\n\n#\t  y\n", 1)
			return strings.Replace(s, "relay_domains = z", "#relay_domains = z", 1) + "\n"
		}, "postconf: warning: DIR/main.cf: multiple entries for \"relay_domains\"\n"},
		{"nothing to take out", []string{"-X", "mynetworks"}, func(s string) string { return s + "\n" }, ""},
		{"a bad value is written and warned of", []string{"smtpd_timeout=soon"}, func(s string) string { return s + "\nsmtpd_timeout = soon\n" },
			"postconf: warning: DIR/main.cf, line 13: parameter smtpd_timeout: bad value \"soon\": a time such as 30s, 5m, 2h, 1d or 1w was expected, allowed: 1s or more\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := configDir(t)
			path := filepath.Join(dir, "main.cf")
			if err := os.Chmod(path, 0o604); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, status := postconf(dir, tt.args...)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if want := tt.want(mainText); string(text) != want || stdout != "" || stderr != tt.stderr || status != 0 {
				t.Errorf("main.cf is\n%s\nwant\n%s\nstderr %q, want %q; status %d", text, want, stderr, tt.stderr, status)
			}
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o604 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}
		})
	}
}

func TestMalformedEditChangesNothing(t *testing.T) {
	dir := configDir(t)
	for _, args := range [][]string{{"-e", "foo=2", "bad"}, {"foo=a\nb"}, {"-X", "foo=1"}, {"-#"}, {"-e", "a b=c"}} {
		if _, _, status := postconf(dir, args...); status != 1 {
			t.Errorf("%q: status %d", args, status)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "main.cf")); err != nil || string(text) != mainText {
		t.Errorf("main.cf changed: %q, %v", text, err)
	}
}

// Each of several edits at a time is in the file in the end.
func TestEditsExcludeEachOther(t *testing.T) {
	dir := configDir(t)
	var wg sync.WaitGroup
	const edits = 20
	for i := range edits {
		wg.Go(func() {
			name := "extra_" + string(rune('a'+i))
			if _, stderr, status := postconf(dir, name+"=1"); status != 0 {
				t.Errorf("%s: %s", name, stderr)
			}
		})
	}
	wg.Wait()
	text, err := os.ReadFile(filepath.Join(dir, "main.cf"))
	if err != nil || strings.Count(string(text), "extra_") != edits {
		t.Errorf("%d of %d edits are there, %v", strings.Count(string(text), "extra_"), edits, err)
	}
}
