package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/confline"
)

// asCommand makes the test binary behave as postconf, for tests with processes.
const asCommand = "POSTCONF_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every edit of a hundred processes at the same time is in main.cf, and every one
// of some more in master.cf.
func TestHundredProcessesEditOneFile(t *testing.T) {
	const processes, ofMain = 120, 100
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.cf"), "# first\nmyhostname = a.example")
	write(t, filepath.Join(dir, "master.cf"), "smtp inet n - n - - smtpd\n")
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			args := []string{"-c", dir, "-e", fmt.Sprintf("own_%d=%d", i, i)}
			if i >= ofMain {
				args = []string{"-c", dir, "-P", fmt.Sprintf("smtp/inet/own_%d=%d", i, i)}
			}
			cmd := exec.Command(os.Args[0], args...)
			cmd.Env = append(os.Environ(), asCommand+"=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%q: %v: %s", args, err, out)
			}
		})
	}
	wg.Wait()
	main, master := read(t, filepath.Join(dir, "main.cf")), read(t, filepath.Join(dir, "master.cf"))
	for i := range processes {
		text, want := main, fmt.Sprintf("\nown_%d = %d\n", i, i)
		if i >= ofMain {
			text, want = master, fmt.Sprintf("\n    -o own_%d=%d\n", i, i)
		}
		if strings.Count(text, want) != 1 {
			t.Errorf("%d times %q", strings.Count(text, want), want)
		}
	}
	if !strings.HasPrefix(main, "# first\nmyhostname = a.example\nown_") {
		t.Errorf("the begin is %.60q", main)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What an edit is not about stays as it is, byte for byte.
func TestEditsKeepTheRest(t *testing.T) {
	long := strings.Repeat("value ", 20000)
	head := "# c\r\n\r\n\tblank continuation of nothing\r\na\t=\t1\r\n"
	tail := "\r\n# x\nlong = " + long + "\n  # inner\n\t\t" + long + "\nbad line without equals\n\x01\xff = \xfe\n \v\f\nend=1"
	for _, tt := range []struct {
		name       string
		args       []string
		old, fresh string
		added      string
	}{
		{"CR LF stays", []string{"e=2"}, "e=1\r\n", "e = 2\r\n", ""},
		{"a new one at the end of a file without a last newline", []string{"n=2"}, "", "", "\nn = 2\n"},
		{"out", []string{"-X", "e"}, "e=1\r\n   more\r\n", "", ""},
		{"a comment in an entry that goes stays", []string{"-X", "e"}, "e=1\n# here\n  more\n", "# here\n", ""},
		{"commented out", []string{"-#", "e"}, "e=1\n# here\n  more\n", "#e=1\n# here\n#  more\n", ""},
		{"long becomes short", []string{"e=1"}, "e = " + long + "\n", "e = 1\n", ""},
		{"short becomes long", []string{"e=" + strings.TrimSpace(long)}, "e = 1\n", "e = " + strings.TrimSpace(long) + "\n", ""},
		{"nothing to take out", []string{"-X", "z"}, "e=1\n", "e=1\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "main.cf")
			write(t, path, head+tt.old+tail)
			if _, stderr, status := postconf(dir, tt.args...); status != 0 {
				t.Fatal(stderr)
			}
			if got, want := read(t, path), head+tt.fresh+tail+tt.added; got != want {
				t.Errorf("got  %.300q\nwant %.300q", got, want)
			}
		})
	}
}

// Services that an edit is not about stay as they are, and so do lines that are
// no services.
func TestMasterEditsKeepTheRest(t *testing.T) {
	head := "# c\r\n\n  -o orphan=1\nb unix - - n - - smtp\r\n\t-o x=y\r\nbroken line\n"
	tail := "# c2\nsmtp\tunix  -\t- n - - smtp\n -o { a = b }  -o  c=d\n\n# e"
	for _, tt := range []struct {
		args       string
		old, fresh string
	}{
		{"-F|smtp/inet/chroot=n", "smtp inet n - y - - smtpd\r\n", "smtp       inet  n       -       n       -       -       smtpd\r\n"},
		{"-P|smtp/inet/a=1", "smtp inet n - y - - smtpd -v {x y}\n", "smtp       inet  n       -       y       -       -       smtpd -v\n    -o a=1\n    {x y}\n"},
		{"-P|smtp/inet/a=1", "smtp inet n - y - - smtpd -o a=3 -o b=2 -o a=4\n", "smtp       inet  n       -       y       -       -       smtpd\n    -o b=2\n    -o a=1\n"},
		{"-PX|smtp/inet/a", "smtp inet n - y - - smtpd -o a=3 -o b=2 -oa=4\n", "smtp       inet  n       -       y       -       -       smtpd\n    -o b=2\n"},
		{"-PX|smtp/inet/*", "smtp inet n - y - - smtpd -o a=3 -v -o b=2\n", "smtp       inet  n       -       y       -       -       smtpd -v\n"},
		{"-MX|smtp/inet", "smtp inet n - y - -\n smtpd\n", ""},
		{"-M#|smtp/inet", "smtp inet n - y - -\n smtpd\n", "#smtp inet n - y - -\n# smtpd\n"},
		{"-M|smtp/inet=smtp inet n - n - 1 smtpd", "smtp inet n - y - -\n#c\n smtpd\n", "smtp       inet  n       -       n       -       1       smtpd\n#c\n"},
		{"-F|smtp/inet/command=smtpd -v", "smtp inet n - y - - smtpd -o a=3\n", "smtp       inet  n       -       y       -       -       smtpd -v\n"},
		{"-F|nosuch/inet/chroot=n", "smtp inet n - y - - smtpd\n", "smtp inet n - y - - smtpd\n"},
		{"-F|user/submit/unix/chroot=n", "user/submit unix n - y - - pickup\n", "user/submit unix n       -       n       -       -       pickup\n"},
	} {
		t.Run(tt.args+" "+tt.old, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "master.cf")
			write(t, path, head+tt.old+tail)
			if _, stderr, status := postconf(dir, strings.Split(tt.args, "|")...); status != 0 {
				t.Fatal(stderr)
			}
			if got, want := read(t, path), head+tt.fresh+tail; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestEditFollowsASymbolicLink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	target := filepath.Join(elsewhere, "real.cf")
	write(t, target, "a = 1\n")
	if err := os.Chmod(target, 0o606); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "main.cf")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, stderr, status := postconf(dir, "a=2"); status != 0 {
		t.Fatal(stderr)
	}
	if got := read(t, target); got != "a = 2\n" {
		t.Errorf("the target is %q", got)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", st, err)
	}
	if st, err := os.Stat(target); err != nil || st.Mode().Perm() != 0o606 {
		t.Errorf("mode %v, %v", st, err)
	}
}

// FuzzEditMain: an edit of a name that is not there leaves the text as it is and
// adds a line; the edit is idempotent; and what is read back is what was written.
func FuzzEditMain(f *testing.F) {
	for _, seed := range []string{"", "a = b\n", "q=1\n# x\n y\r\nq = 3", "  q=1\n", "q\n =", "q=\n\n\n  #\n z", "\x00\r", "q\r\n"} {
		f.Add(seed, "v w")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		name, value, err := parseAssign("q=" + value)
		if err != nil {
			return
		}
		values := map[string]string{name: value}
		once, _ := editParameters(text, assign, []string{name}, values)
		if twice, _ := editParameters(once, assign, []string{name}, values); twice != once {
			t.Errorf("%q, then %q", once, twice)
		}
		found := false
		for _, entry := range parseFile(once).entries() {
			if n, v, _ := confline.NameValue(entry); n == name {
				found = true
				if v != value {
					t.Errorf("%q was written, %q is read of %q", value, v, once)
				}
			}
		}
		if !found {
			t.Errorf("%q has no %s", once, name)
		}
		gone, _ := editParameters(once, remove, []string{name}, values)
		for _, entry := range parseFile(gone).entries() {
			if n, _, _ := confline.NameValue(entry); n == name {
				t.Errorf("%q still has %s", gone, name)
			}
		}
	})
}

// FuzzEditMaster: after an edit the service has the parameter, once, and the
// other services are the same.
func FuzzEditMaster(f *testing.F) {
	for _, seed := range []string{"a unix - - - - - b\n", "s inet n - - - - c -v {x} -o p=1\n -o{p=2}\n# c\n  -o { p = 3 4 }", "s inet n - - - - c -o", "x\n y\n{\n}"} {
		f.Add(seed, "v w")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		name, value, err := parseAssign("s/inet/p=" + value)
		if err != nil || strings.Count(value, "{") != strings.Count(value, "}") || confline.Balanced("{"+value+"}") != len(value)+2 {
			return
		}
		target, err := parseTarget(modeParameter, name, true)
		if err != nil {
			t.Fatal(err)
		}
		c := &command{mode: modeParameter, do: assign}
		result, err := c.applyMaster(text, []*masterEdit{{arg: name, target: target, value: value}})
		if err != nil {
			if !strings.Contains(err.Error(), "unbalanced {}") {
				t.Error(err)
			}
			return
		}
		before, after := parseFile(text).entries(), parseFile(result).entries()
		if len(before) != len(after) {
			t.Fatalf("%d entries, then %d: %q", len(before), len(after), result)
		}
		for i := range before {
			e, err := config.ParseEntry(before[i])
			if err != nil || !target.matches(&e) {
				if before[i] != after[i] {
					t.Errorf("%q became %q", before[i], after[i])
				}
				continue
			}
			edited, err := config.ParseEntry(after[i])
			if err != nil {
				t.Fatalf("%q: %v", after[i], err)
			}
			got := 0
			for _, o := range edited.Overrides() {
				if o.Name == "p" {
					got++
					if strings.Join(strings.Fields(o.Value), " ") != strings.Join(strings.Fields(value), " ") {
						t.Errorf("%q instead of %q", o.Value, value)
					}
				}
			}
			if got != 1 {
				t.Errorf("%d times in %q", got, after[i])
			}
		}
	})
}

// FuzzFold: folding changes white space only.
func FuzzFold(f *testing.F) {
	f.Add("name = " + strings.Repeat("word ", 40))
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		run := func(fold bool) string {
			out.Reset()
			c := testCommand(&out)
			c.flags['f'] = fold
			c.printFolded(text)
			if err := c.out.Flush(); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		flat, folded := run(false), run(true)
		if strings.Join(strings.Fields(flat), " ") != strings.Join(strings.Fields(folded), " ") {
			t.Errorf("%q and %q", flat, folded)
		}
		for line := range strings.Lines(folded) {
			if len(line) > foldWidth+1 && strings.Count(strings.TrimSpace(line), " ") > 0 {
				t.Errorf("a line of %d bytes: %q", len(line), line)
			}
		}
	})
}

func testCommand(out *bytes.Buffer) *command {
	return &command{out: bufio.NewWriter(out), stderr: out, flags: make(map[byte]bool)}
}
