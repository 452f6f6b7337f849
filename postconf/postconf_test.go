package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
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
			return strings.Replace(s, "foo=1", "foo = bar baz", 1)
		}, ""},
		{"a new parameter goes to the end", []string{"-e", "mynetworks=10.0.0.0/8", "always_bcc="}, func(s string) string {
			return s + "\nmynetworks = 10.0.0.0/8\nalways_bcc = \n"
		}, ""},
		{"the last of two values counts", []string{"foo=2", "foo=3"}, func(s string) string {
			return strings.Replace(s, "foo=1", "foo = 3", 1)
		}, "postconf: warning: ignoring earlier request: 'foo = 2'\n"},
		{"all lines of a parameter, comments stay", []string{"relay_domains=new"}, func(s string) string {
			s = strings.Replace(s, "relay_domains = x,\n   # inner\n\n\t  y\n", "relay_domains = new\n   # inner\n\n", 1)
			return strings.Replace(s, "relay_domains = z", "relay_domains = new", 1)
		}, "postconf: warning: DIR/main.cf: multiple entries for \"relay_domains\"\n"},
		{"a value may look like a comment", []string{"foo=# y"}, func(s string) string {
			return strings.Replace(s, "foo=1", "foo = # y", 1)
		}, ""},
		{"lines are taken out", []string{"-X", "relay_domains", "foo"}, func(s string) string {
			s = strings.Replace(s, "relay_domains = x,\n   # inner\n\n\t  y\nfoo=1\n", "   # inner\n\n", 1)
			return strings.Replace(s, "relay_domains = z\n", "", 1)
		}, "postconf: warning: DIR/main.cf: multiple entries for \"relay_domains\"\n"},
		{"lines are commented out", []string{"-#", "relay_domains"}, func(s string) string {
			s = strings.Replace(s, "relay_domains = x,\n   # inner\n\n\t  y\n", "#relay_domains = x,\n   # inner\n\n#\t  y\n", 1)
			return strings.Replace(s, "relay_domains = z", "#relay_domains = z", 1)
		}, "postconf: warning: DIR/main.cf: multiple entries for \"relay_domains\"\n"},
		{"nothing to take out", []string{"-X", "mynetworks"}, func(s string) string { return s }, ""},
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
