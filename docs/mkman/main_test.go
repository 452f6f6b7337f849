package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealpost/lib/config"
)

func TestPage(t *testing.T) {
	const text = `Command x does things.

# NAME

x, y - does things

# DESCRIPTION

A word-with-dash and a \ backslash.
.dots begin no request

	literal  text

# CONFIGURATION PARAMETERS

  - foo_limit (10): how many
    there may be
  - just a point
  - a_name_that_fills_its_line (yes),
    another_name (a: b):
    both
  - no colon:at the end of a word

In this order:

 1. Received: headers are counted
 2. and so on
`
	page, names, err := Page("x", 8, text)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(names, " ") != "x y" {
		t.Errorf("names %q", names)
	}
	want := `.TH X 8 "" Sealpost
.nh
.ad l
.SH "NAME"
.PP
x, y \- does things
.SH "DESCRIPTION"
.PP
A word\-with\-dash and a \e backslash.
\&.dots begin no request
.PP
.RS 4
.nf
literal  text
.fi
.RE
.SH "CONFIGURATION PARAMETERS"
.TP 7
\fBfoo_limit (10)\fR
how many
there may be
.IP \(bu 2
just a point
.TP 7
\fBa_name_that_fills_its_line (yes), another_name (a: b)\fR
both
.IP \(bu 2
no colon:at the end of a word
.PP
In this order:
.IP 1. 4
Received: headers are counted
.IP 2. 4
and so on
`
	if string(page) != want {
		t.Errorf("got:\n%s\nwant:\n%s", page, want)
	}
}

func TestPageWithoutNameIsRefused(t *testing.T) {
	for _, text := range []string{"Command x.", "# NAME\n\nx does things\n", "# NAME\n\nx/y - things\n"} {
		if _, _, err := Page("x", 1, text); err == nil {
			t.Errorf("accepted %q", text)
		}
	}
}

// TestParametersPage: what the system acts on is in the page, each with its default
// and its text in the right place.
func TestParametersPage(t *testing.T) {
	page, names, err := Page("postconf", 5, parameters())
	if err != nil || strings.Join(names, " ") != "postconf main.cf" {
		t.Fatal(names, err)
	}
	for _, want := range []string{
		".TP 7\n\\fBmessage_size_limit (10240000)\\fR\n",
		".TP 7\n\\fBmyhostname (found out at run time)\\fR\n",
		".TP 7\n\\fBrelayhost (empty)\\fR\n",
		"{yes}:{no}})\\fR\n",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("lacks %q", want)
		}
	}
	for _, p := range config.Params() {
		name := `\fB` + escape(p.Name) + " ("
		if has := strings.Contains(string(page), "\n"+name); has != (p.Status != config.Known) {
			t.Errorf("%s is in the page: %t", p.Name, has)
		}
		_, entry, _ := strings.Cut(string(page), "\n"+name)
		entry, _, _ = strings.Cut(entry, "\n.TP")
		if own := strings.Contains(entry, "Sealpost's own."); own != (p.Status == config.Own) {
			t.Errorf("%s is marked as our own: %t", p.Name, own)
		}
	}
	if !strings.Contains(string(page), "\n\\fBTRANSPORT_destination_concurrency_limit (") {
		t.Error("no parameter of a transport is in the page")
	}
	if strings.Contains(string(page), "smtpd_milters (") {
		t.Error("a parameter without effect is in the page")
	}
}

// elsewhere are pages that ours refer to and that others bring: the system, and daemons of
// Postfix that Sealpost has none of.
var elsewhere = map[string]bool{
	"syslogd(8)": true, "getent(1)": true, "systemd(1)": true, "getopt(3)": true, "local(8)": true, "flush(8)": true,
	"trivial-rewrite(8)": true, "anvil(8)": true, "scache(8)": true, "tlsmgr(8)": true, "postscreen(8)": true, "postlock(1)": true,
}

// TestReferences: a page that a page of ours refers to is there.
func TestReferences(t *testing.T) {
	pages, err := filepath.Glob("../man/*.[158]")
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	reference := regexp.MustCompile(`([a-z][a-z0-9_.-]*)\(([1-9])\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reference.FindAllStringSubmatch(strings.ReplaceAll(string(text), `\-`, "-"), -1) {
			if _, err := os.Stat("../man/" + m[1] + "." + m[2]); err != nil && !elsewhere[m[0]] {
				t.Errorf("%s refers to %s, which is not there", filepath.Base(page), m[0])
			}
		}
	}
}
