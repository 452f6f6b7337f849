package main

import (
	"strings"
	"testing"
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
`
	page, names, err := Page("x", 8, text)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(names, " ") != "x y" {
		t.Errorf("names %q", names)
	}
	want := `.TH X 8 "" Sealpost
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
.TP
\fBfoo_limit (10)\fR
how many
there may be
.IP \(bu 2
just a point
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
