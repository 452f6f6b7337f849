package main

import (
	"errors"
	"strings"
	"testing"

	"sealpost/lib/command"
)

func TestAttributes(t *testing.T) {
	words := strings.Split("flags=DR|flags=h|user=vmail:mail|null_sender=|size=1000|eol=\\r\\n|chroot=/c|directory=/d|argv=/bin/x|a b|user=no", "|")
	a, err := parseAttributes(words)
	if err != nil {
		t.Fatal(err)
	}
	want := attributes{
		argv: a.argv, command: "/bin/x", user: "vmail", group: "mail", chroot: "/c", dir: "/d", eol: "\r\n", sizeLimit: 1000,
		flags: flags{deliveredTo: true, returnPath: true, foldHost: true},
	}
	if len(a.argv) != 3 {
		t.Errorf("argv %+v", a.argv)
	}
	a.argv, want.argv = nil, nil
	if got := *a; got.flags != want.flags || got.command != want.command || got.user != want.user || got.group != want.group ||
		got.chroot != want.chroot || got.dir != want.dir || got.eol != want.eol || got.sizeLimit != want.sizeLimit || got.nullSender != "" {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestBadAttributes(t *testing.T) {
	for words, want := range map[string]string{
		"user=u":                         "missing argv=",
		"argv=/bin/x":                    "missing user=",
		"user=u|argv=|/bin/x":            "names no command",
		"foo=bar|user=u|argv=/bin/x":     "unknown attribute name: foo=bar",
		"foo|user=u|argv=/bin/x":         `unknown attribute "foo"`,
		"flags=Z|user=u|argv=/bin/x":     "unknown flag 'Z'",
		"size=0|user=u|argv=/bin/x":      "bad value size=0",
		"size=1k|user=u|argv=/bin/x":     "bad value size=1k",
		"user=u|argv=/bin/x|${nosuch}":   `unknown macro name: "nosuch"`,
		"user=u|argv=/bin/x|${user?{x}}": "unknown macro name",
		"user=u|argv=/bin/x|a$":          "empty macro name",
		"user=u|argv=/bin/x|${user":      "truncated macro reference",
	} {
		if _, err := parseAttributes(strings.Split(words, "|")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", words, err, want)
		}
	}
}

func TestEscapesOfEOL(t *testing.T) {
	for in, want := range map[string]string{
		`\r\n`: "\r\n", `\a\b\f\v\t`: "\a\b\f\v\t", `\101\0\0123`: "A\x00\n3", `\\n`: `\n`, `\x`: "x", `a\`: `a\`, "": "",
	} {
		if got := unescape(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

var errUnknown = errors.New("unknown")

// people are the accounts of the tests.
var people = accounts{
	user: func(name string) (command.ID, error) {
		id, ok := map[string]command.ID{
			"root": {UID: 0, GID: 0}, "postfix": {UID: 101, GID: 106}, "vmail": {UID: 5000, GID: 5001}, "wheel": {UID: 7, GID: 0},
		}[name]
		if !ok {
			return id, errUnknown
		}
		return id, nil
	},
	group: func(name string) (int, error) {
		gid, ok := map[string]int{"root": 0, "postfix": 106, "mail": 8}[name]
		if !ok {
			return 0, errUnknown
		}
		return gid, nil
	},
}

func TestWhoTheCommandRunsAs(t *testing.T) {
	root, vmail := command.ID{}, command.ID{UID: 5000, GID: 5001}
	cases := map[string]struct {
		user, group, owner string
		self               command.ID
		want               *command.ID
		text               string
	}{
		"a user":                     {user: "vmail", self: root, want: &vmail},
		"a user and a group":         {user: "vmail", group: "mail", self: root, want: &command.ID{UID: 5000, GID: 8}},
		"root":                       {user: "root", self: root, text: "root privileges"},
		"a user in root's group":     {user: "wheel", self: root, text: "privileged group id 0"},
		"root's group":               {user: "vmail", group: "root", self: root, text: "privileged group id 0"},
		"another group than root's":  {user: "wheel", group: "mail", self: root, want: &command.ID{UID: 7, GID: 8}},
		"the owner":                  {user: "postfix", self: root, text: "mail system owner postfix"},
		"the owner's group":          {user: "vmail", group: "postfix", self: root, text: "mail system owner postfix group id 106"},
		"unknown user":               {user: "who", self: root, text: "user=who: unknown"},
		"unknown group":              {user: "vmail", group: "who", self: root, text: "user=vmail:who: unknown"},
		"unknown owner":              {user: "vmail", owner: "who", self: root, text: "mail_owner: unknown"},
		"without root, the same":     {user: "vmail", self: vmail},
		"without root, the owner":    {user: "vmail", owner: "vmail", self: vmail},
		"without root, another":      {user: "postfix", self: vmail, text: "is not the user who runs the mail system"},
		"without root, other group":  {user: "vmail", group: "mail", self: vmail, text: "is not the user who runs the mail system"},
		"without root, root is none": {user: "root", self: vmail, text: "root privileges"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.owner == "" {
				c.owner = "postfix"
			}
			a := attributes{user: c.user, group: c.group}
			id, err := a.credentials(people, c.owner, c.self)
			switch {
			case c.text != "":
				if err == nil || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, want %q", err, c.text)
				}
			case err != nil:
				t.Error(err)
			case (id == nil) != (c.want == nil) || id != nil && *id != *c.want:
				t.Errorf("%+v, want %+v", id, c.want)
			}
		})
	}
}

func TestAccountsOfTheSystem(t *testing.T) {
	id, err := system.user("root")
	if err != nil || id != (command.ID{}) {
		t.Errorf("root: %+v, %v", id, err)
	}
	if _, err := system.user("no-such-user-here"); err == nil {
		t.Error("a user that is not there")
	}
	if _, err := system.group("no-such-group-here"); err == nil {
		t.Error("a group that is not there")
	}
}
