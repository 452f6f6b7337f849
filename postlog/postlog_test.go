package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sealpost/lib/maillog"
)

func TestParse(t *testing.T) {
	o, err := parse(strings.Fields("-i -c /etc/x -p warn -t a/b -vv some text -x"))
	if err != nil {
		t.Fatal(err)
	}
	if o.configDir != "/etc/x" || o.severity != maillog.Warning || o.tag != "a/b" || o.verbose != 2 ||
		!slices.Equal(o.text, []string{"some", "text", "-x"}) {
		t.Errorf("%+v", o)
	}
	for _, bad := range []string{"-p bogus", "-q", "-t"} {
		if _, err := parse(strings.Fields(bad)); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

// config writes a main.cf whose log file is in the same directory.
func writeConfig(t *testing.T) (dir, log string) {
	t.Helper()
	dir = t.TempDir()
	log = filepath.Join(dir, "maillog")
	text := "queue_directory = " + dir + "\nmaillog_file = " + log + "\nmyhostname = mail.example.com\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, log
}

// texts are the lines of a log without time.
func texts(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		_, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " mail ")
		tag, text, ok2 := strings.Cut(rest, "]: ")
		prog, _, ok3 := strings.Cut(tag, "[")
		if !ok || !ok2 || !ok3 {
			t.Fatalf("line %q", line)
		}
		out = append(out, prog+": "+text)
	}
	return out
}

// TestLines holds the command against what Debian's postlog 3.7 does with the
// same arguments and input while postlogd is absent.
func TestLines(t *testing.T) {
	for _, tt := range []struct {
		name, args, stdin string
		want              []string
	}{
		{"arguments", "hello two", "", []string{"postfix/postlog: hello two"}},
		{"priority", "-p warn hello", "", []string{"postfix/postlog: warning: hello"}},
		{"error", "-p err hello", "", []string{"postfix/postlog: error: hello"}},
		{"crit", "-p crit hello", "", []string{"postfix/postlog: fatal: hello"}},
		{"tag", "-t foo/bar hello", "", []string{"foo/bar: hello"}},
		{"printable", "ctl\x01\xff\xc3\xa9", "", []string{"postfix/postlog: ctl??é"}},
		{"standard input", "", "a\n\n  b\r\nlast", []string{
			"postfix/postlog: a", "postfix/postlog: ", "postfix/postlog:   b?", "postfix/postlog: last",
		}},
		{"long line", "", strings.Repeat("x", 9000) + "\nnext\n", []string{
			"postfix/postlog: " + strings.Repeat("x", maillog.MaxText), "postfix/postlog: next",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, log := writeConfig(t)
			o, err := parse(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			o.configDir = dir
			if err := run(o, strings.NewReader(tt.stdin)); err != nil {
				t.Fatal(err)
			}
			if got := texts(t, log); !slices.Equal(got, tt.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestEmptyInput(t *testing.T) {
	dir, log := writeConfig(t)
	if err := run(&options{configDir: dir}, bytes.NewReader(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("a line out of nothing")
	}
}
