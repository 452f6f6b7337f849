package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sealpost/lib/config"
)

func TestWarningsOfOldAndReadOnlyNames(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.cf"), "smtpd_use_tls = yes\nlost = 1\nprocess_name = x\nmyorigin = $nosuch\n")
	write(t, filepath.Join(dir, "master.cf"), "smtp inet n - n - - smtpd -o smtpd_enforce_tls=yes\n")
	const (
		always = "postconf: warning: DIR/main.cf: read-only parameter assignment: process_name=x\n" +
			"postconf: warning: DIR/main.cf: undefined parameter: nosuch\n"
		unused     = "postconf: warning: DIR/main.cf: unused parameter: lost=1\n"
		deprecated = "postconf: warning: DIR/main.cf: support for parameter \"smtpd_use_tls\" will be removed; instead, specify \"smtpd_tls_security_level\"\n"
		inMaster   = "postconf: warning: DIR/master.cf: support for parameter \"smtpd_enforce_tls\" will be removed; instead, specify \"smtpd_tls_security_level\"\n"
	)
	for _, tt := range []struct{ args, stderr string }{
		{"myorigin", always + unused + deprecated + inMaster},
		{"-q myorigin", always},
		{"-F smtp/inet/type", always + inMaster},
		{"-d myorigin", ""},
	} {
		if _, stderr, status := postconf(dir, strings.Fields(tt.args)...); stderr != tt.stderr || status != 0 {
			t.Errorf("postconf %s: status %d, said\n%s\nwant\n%s", tt.args, status, stderr, tt.stderr)
		}
	}
}

// What the services of a broken master.cf are is an error; main.cf can be shown
// all the same.
func TestBrokenMasterFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.cf"), "myorigin = a\n")
	write(t, filepath.Join(dir, "master.cf"), "ok unix - - n - - smtp\n\nsmtp inet n -\n")
	const want = "DIR/master.cf: line 3: bad field count: 4 fields, 8 are needed (service type private unpriv chroot wakeup maxproc command)\n"
	if stdout, stderr, status := postconf(dir, "-n", "myorigin"); stdout != "myorigin = a\n" || stderr != "postconf: warning: "+want || status != 0 {
		t.Errorf("-n: %q, %q, %d", stdout, stderr, status)
	}
	if stdout, stderr, status := postconf(dir, "-M"); stdout != "" || stderr != "postconf: fatal: "+want || status != 1 {
		t.Errorf("-M: %q, %q, %d", stdout, stderr, status)
	}
}

// FuzzFormatEntry: what -M prints of a service is read as the same service, and
// printed the same, folded or not.
func FuzzFormatEntry(f *testing.F) {
	for _, seed := range []string{"a unix - - - - - b", "s inet n - - - - c -v {x y} -o p=1 -o{p=2} -o { p = 3 4 } {{a}} { { } }", "a b c d e f g h { i = j }", "{a} {b c} d e f g h i"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		first, err := config.ParseEntry(line)
		if err != nil || strings.ContainsAny(line, "\r\n") || len(parseFile(line).entries()) != 1 || skipped(first.Fields[0]) {
			return
		}
		flat := formatEntry(&first, false)
		for _, fold := range []bool{false, true} {
			text := formatEntry(&first, fold)
			entries := parseFile(text).entries()
			if len(entries) != 1 {
				t.Fatalf("%q is shown as %d entries: %q", line, len(entries), text)
			}
			second, err := config.ParseEntry(entries[0])
			if err != nil || second.Fields != first.Fields || !slices.Equal(second.Overrides(), first.Overrides()) {
				t.Fatalf("%q is shown as %q, which is %+v, %v", line, text, second, err)
			}
			if again := formatEntry(&second, false); again != flat {
				t.Errorf("%q is shown as %q, then as %q", line, flat, again)
			}
		}
	})
}
