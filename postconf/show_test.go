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

// What depends on how the programs were built.
func TestListsOfTheBuild(t *testing.T) {
	dir := t.TempDir() // nothing of it is read
	types, stderr, status := postconf(dir, "-m")
	list := strings.Split(strings.TrimSuffix(types, "\n"), "\n")
	if !slices.IsSorted(list) || !slices.Contains(list, "static") || !slices.Contains(list, "texthash") || stderr != "" || status != 0 {
		t.Errorf("-m: %q, %q, %d", types, stderr, status)
	}
	compiled, _, status := postconf(dir, "-T", "compile-version")
	if !strings.HasPrefix(compiled, "Go crypto/tls 1.") || strings.Count(compiled, "\n") != 1 || status != 0 {
		t.Errorf("compile-version: %q, %d", compiled, status)
	}
	if running, _, _ := postconf(dir, "-T", "run-version"); running != compiled {
		t.Errorf("run-version: %q", running)
	}
}

// A file of templates replaces that of main.cf, and "" the one with the built-in texts.
func TestTemplateFiles(t *testing.T) {
	dir := t.TempDir()
	own, other := filepath.Join(dir, "own.cf"), filepath.Join(dir, "other.cf")
	write(t, own, "failure_template = <<EOF\nSubject: own $myhostname\n\nown text of $myhostname\nEOF\n")
	write(t, other, "failure_template = <<EOF\nSubject: other\n\nother text $delay_warning_time_minutes\nEOF\n")
	write(t, filepath.Join(dir, "main.cf"), "myhostname = mx.example\ndelay_warning_time = 2h\nbounce_template_file = "+own+"\n")
	for _, tt := range []struct{ args, want, not string }{
		{"-t", "Subject: own $myhostname\nPostmaster-Subject: Postmaster Copy: Undelivered Mail\n\nown text of $myhostname\nEOF\n\ndelay_template = <<EOF\n", ""},
		{"-b", "expanded_failure_text = <<EOF\nown text of mx.example\nEOF\n\nexpanded_delay_text = <<EOF\n", "Subject:"},
		{"-b|" + other, "expanded_failure_text = <<EOF\nother text 120\nEOF\n", "own text"},
		{"-t|", "failure_template = <<EOF\nCharset: utf-8\n", "own text"},
	} {
		stdout, stderr, status := postconf(dir, strings.Split(tt.args, "|")...)
		if !strings.Contains(stdout, tt.want) || tt.not != "" && strings.Contains(stdout, tt.not) || stderr != "" || status != 0 {
			t.Errorf("postconf %s: status %d, %s\n%s", tt.args, status, stderr, stdout)
		}
	}
	if _, stderr, status := postconf(dir, "-t", filepath.Join(dir, "nosuch")); status != 1 || !strings.Contains(stderr, "DIR/nosuch: no such file") {
		t.Errorf("no file: %d, %s", status, stderr)
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
