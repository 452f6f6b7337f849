// Package postmapcase has runs of postmap and postalias: the golden tests of these
// commands and the comparison with Debian's use the same.
package postmapcase

import (
	"os"
	"path/filepath"
	"strings"
)

// files are what each run begins with, by name.
var files = map[string]string{
	"src": "# comment\nA@B.c  one  two \n\tthree\n\nonlykey\n\"a b\" q\nal: x\nA@b.C dup\nunb\"al x\n\xff bad\n\n  # another\nlast line without end",
	"fs":  "k f1 f2\nm f1,nofile\n",
	"f1":  "F1\n", "f2": "F2\n",
	"al": "# c\npostmaster: root\nRoot: alice, bob@example.com , \"|/bin/cmd a,b\", :include:/etc/list, /var/file\n" +
		"\"quoted name\": x\na@b: y\nbad line\ndup: one\ndup: two\nempty:\ncom (comment) : c1 (foo), c2\ncont: a,\n b\n",
	"re":      "/^a(.)c$/ got $1\n/^A/i upper\nif /x/\n/y/ both\nendif\n!/z/ no z\n",
	"nets":    "10.0.0.0/8 inside\n!192.0.2.0/24 outside\n",
	"main.cf": "compatibility_level = 3.6\ndefault_database_type = hash\nsmtputf8_enable = yes\n",
}

const message = "From: a\nSubject: x\n y\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\nbody\n--b\n" +
	"Content-Type: message/rfc822\n\nTo: nested\n\nin part\n--b--\nend\n"

// Write makes the files in a directory.
func Write(dir string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Step is one command; its first argument is "postmap" or "postalias".
type Step struct {
	Args  []string
	Stdin string
}

// Case is a row of commands in a directory of its own, with MAIL_CONFIG = ".".
type Case struct {
	Name   string
	Steps  []Step
	Differ string // why Debian's 3.7 says something else; "" when it must not
}

func do(stdin string, args ...string) Step { return Step{args, stdin} }

// Cases are the rows of commands.
func Cases() []Case {
	build := do("", "postmap", "hash:src")
	dump := do("", "postmap", "-s", "hash:src")
	return []Case{
		{Name: "build", Steps: []Step{build, dump}},
		{Name: "default type", Steps: []Step{do("", "postmap", "src"), dump}},
		{Name: "query", Steps: []Step{build, do("", "postmap", "-q", "a@b.c", "hash:src"), do("", "postmap", "-q", "A@B.C", "hash:src"),
			do("", "postmap", "-q", "nope", "hash:src"), do("", "postmap", "-q", "", "hash:src"), do("", "postmap", "-q", "\"a b\"", "hash:src")}},
		{Name: "query stdin", Steps: []Step{build, do("a@b.c\nx\n\"a b\"\n", "postmap", "-q", "-", "hash:src"), do("x\n", "postmap", "-q", "-", "hash:src"), do("", "postmap", "-q", "-", "hash:src")}},
		{Name: "several tables", Steps: []Step{build, do("", "postmap", "-q", "last", "static:first", "hash:src"), do("", "postmap", "-q", "last", "inline:{a=b}", "hash:src"),
			do("last\na\n", "postmap", "-q", "-", "inline:{a=b}", "hash:src")}},
		{Name: "delete", Steps: []Step{build, do("", "postmap", "-d", "A@b.c", "hash:src"), do("", "postmap", "-d", "a@b.c", "hash:src"), dump,
			do("last\nnope\n", "postmap", "-d", "-", "hash:src"), dump, do("", "postmap", "-d", "x", "hash:missing")}},
		{Name: "incremental", Steps: []Step{build, do("k1 v1\nk1 v2\n", "postmap", "-i", "hash:src"), dump, do("a b\n", "postmap", "-i", "hash:new"), do("", "postmap", "-s", "hash:new")}},
		{Name: "replace", Steps: []Step{do("", "postmap", "-r", "hash:src"), dump, do("last changed\n", "postmap", "-ir", "hash:src"), dump}},
		{Name: "no warning", Steps: []Step{do("", "postmap", "-w", "hash:src"), dump, do("last changed\n", "postmap", "-iw", "hash:src"), dump}},
		{Name: "fold", Steps: []Step{do("", "postmap", "-f", "hash:src"), dump, do("", "postmap", "-q", "A@B.c", "hash:src"), do("", "postmap", "-f", "-q", "A@B.c", "hash:src"), do("", "postmap", "-f", "-q", "a@b.c", "hash:src")}},
		{Name: "files", Steps: []Step{do("", "postmap", "-F", "hash:fs"), do("", "postmap", "-s", "hash:fs"), do("", "postmap", "-sF", "hash:fs"), do("", "postmap", "-F", "-q", "k", "hash:fs")}},
		{Name: "nul", Steps: []Step{do("", "postmap", "-N", "hash:src"), dump, do("", "postmap", "-n", "hash:src"), dump}},
		{Name: "options of users", Steps: []Step{do("", "postmap", "-o", "-p", "hash:src"), dump}},
		{Name: "bytes", Steps: []Step{do("", "postmap", "-u", "hash:src"), dump}},
		{Name: "json", Steps: []Step{build, do("", "postmap", "-j", "-s", "hash:src"), do("", "postmap", "-j", "-q", "last", "hash:src"), do("last\nx\n", "postmap", "-jq", "-", "hash:src")}, Differ: "3.7 has no -j"},
		{Name: "header", Steps: []Step{do(message, "postmap", "-h", "-q", "-", "static:X"), do(message, "postmap", "-hm", "-q", "-", "static:X")}},
		{Name: "body", Steps: []Step{do(message, "postmap", "-b", "-q", "-", "static:X"), do(message, "postmap", "-bm", "-q", "-", "static:X")}},
		{Name: "header and body", Steps: []Step{do(message, "postmap", "-bh", "-q", "-", "static:X"), do("X: \xff\n\n\xff\n", "postmap", "-bh", "-q", "-", "static:X")}},
		{Name: "checked bytes", Steps: []Step{do("X: \xff\n\n\xff\n", "postmap", "-Ubh", "-q", "-", "static:X")}, Differ: "3.7 says nothing about keys that are not UTF-8"},
		{Name: "patterns", Steps: []Step{do("abc\nAxc\nxy\nz\nq\n", "postmap", "-q", "-", "regexp:re"), do("abc\nxy\nz\n", "postmap", "-q", "-", "pcre:re"), do("", "postmap", "-fq", "ABC", "regexp:re")}},
		{Name: "networks", Steps: []Step{do("10.1.2.3\n192.0.2.1\n198.51.100.7\nname\n", "postmap", "-q", "-", "cidr:nets")}},
		{Name: "list", Steps: []Step{do("", "postmap", "-s", "inline:{a=b, C=d}"), do("", "postmap", "-s", "texthash:f1"), do("", "postmap", "-s", "static:x")}},
		{Name: "usage", Steps: []Step{do("", "postmap"), do("", "postmap", "-x"), do("", "postmap", "-c")}, Differ: "the usage line has -j"},
		{Name: "contradictions", Steps: []Step{do("", "postmap", "-q", "x", "-s", "hash:src"), do("", "postmap", "-q", "x", "-d", "y", "hash:src"), do("", "postmap", "-b", "-q", "x", "hash:src"),
			do("", "postmap", "-h", "-s", "hash:src"), do("", "postmap", "-bh", "hash:src"), do("", "postmap", "-m", "-q", "x", "hash:src")}},
		{Name: "failures", Steps: []Step{do("", "postmap", "missing"), do("", "postmap", "foo:src"), do("", "postmap", "regexp:re"), do("", "postmap", "texthash:src"), do("", "postmap", "-d", "x", "texthash:f1"),
			do("", "postmap", "-q", "x", "hash:missing"), do("", "postmap", "inline:{a=b}"), do("", "postmap", "-q", "x", "fail:y"), do("", "postmap", "fail:src"), do("", "postmap", "-c", "missing", "hash:src")},
			Differ: "the texts say what to do"},
		{Name: "aliases", Steps: []Step{do("", "postalias", "hash:al"), do("", "postalias", "-s", "hash:al"), do("", "postalias", "-q", "ROOT", "hash:al"), do("root\npostmaster\nzz\n", "postalias", "-q", "-", "hash:al"),
			do("", "postalias", "-d", "dup", "hash:al"), do("new: x y\n", "postalias", "-i", "hash:al"), do("", "postalias", "-q", "new", "hash:al")}},
		{Name: "aliases fold", Steps: []Step{do("", "postalias", "-f", "hash:al"), do("", "postalias", "-f", "-q", "Root", "hash:al"), do("", "postalias", "-f", "-q", "root", "hash:al")}},
		{Name: "json of addresses", Steps: []Step{do("", "postmap", "-jq", "x&y", "inline:{ { x&y = <a@b.c> } }")}, Differ: "3.7 has no -j"},
		{Name: "aliases json", Steps: []Step{do("", "postalias", "hash:al"), do("", "postalias", "-js", "hash:al")}, Differ: "3.7 has no -j"},
	}
}

// Label is a step as a shell would have it, more or less.
func (s Step) Label() string { return "$ " + strings.Join(s.Args, " ") }
