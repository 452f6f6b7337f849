package command

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/dsn"
)

// actEnv makes the test binary be the command: it does what its first argument says.
const actEnv = "COMMAND_TEST_ACT=1"

func TestMain(m *testing.M) {
	if name, _, _ := strings.Cut(actEnv, "="); os.Getenv(name) == "" {
		os.Exit(m.Run())
	}
	os.Exit(act(os.Args[1], os.Args[2:]))
}

// act is what commands of these tests do.
func act(what string, args []string) int {
	switch what {
	case "copy": // input to output
		io.Copy(os.Stdout, os.Stdin)
	case "exit": // status [text]
		io.Copy(io.Discard, os.Stdin)
		fmt.Print(strings.Join(args[1:], " "))
		return number(args[0])
	case "unread": // ends without reading
		return number(args[0])
	case "signal":
		io.Copy(io.Discard, os.Stdin)
		unix.Kill(os.Getpid(), unix.Signal(number(args[0])))
		time.Sleep(time.Minute)
	case "print": // so many bytes, on both outputs in turn, then a status
		for i := range number(args[0]) {
			[]*os.File{os.Stdout, os.Stderr}[i%2].Write([]byte("x"))
		}
		return number(args[1])
	case "hang": // says who its child is, and waits like it
		fmt.Println("begun")
		child := again("sleep")
		child.Start()
		os.WriteFile(args[0], []byte(strconv.Itoa(child.Process.Pid)), 0)
		time.Sleep(time.Minute)
	case "leave": // a child that keeps the output open
		child := again("sleep")
		child.Stdout = os.Stdout
		child.Start()
		fmt.Print("left ", child.Process.Pid)
	case "sleep":
		time.Sleep(time.Minute)
	case "facts":
		wd, _ := os.Getwd()
		fmt.Printf("wd=%s leader=%t env=%s", wd, unix.Getpgrp() == os.Getpid(), strings.Join(os.Environ(), ","))
	}
	return 0
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func again(args ...string) *exec.Cmd {
	exe, _ := os.Executable()
	cmd := exec.Command(exe, args...)
	cmd.Env = []string{actEnv}
	return cmd
}

// cmd is a command of the tests.
func cmd(t *testing.T, args ...string) *Command {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &Command{Argv: append([]string{exe}, args...), Env: []string{actEnv}, Limit: time.Minute}
}

// text is a message.
func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func TestHowCommandsEnd(t *testing.T) {
	big := strings.Repeat("y", 1<<20)
	cases := map[string]struct {
		args    []string
		message string
		want    Result
	}{
		"gets the message":                    {[]string{"copy"}, "Subject: x\n\nbody\n", Result{Output: "Subject: x  body "}},
		"exit status and output":              {[]string{"exit", "67", "no such user"}, "m", Result{Output: "no such user", Exit: 67}},
		"a signal":                            {[]string{"signal", "15"}, "m", Result{Exit: -1, Signal: syscall.SIGTERM}},
		"a broken pipe is no error":           {[]string{"unread", "0"}, big, Result{}},
		"a broken pipe and a status":          {[]string{"unread", "75"}, big, Result{Exit: 75}},
		"output is cut, and read to its end":  {[]string{"print", "20000", "1"}, "m", Result{Output: strings.Repeat("x", MaxOutput), Exit: 1}},
		"a full pipe in both directions":      {[]string{"copy"}, big, Result{Output: strings.Repeat("y", MaxOutput)}},
		"output of exactly the limit is kept": {[]string{"print", strconv.Itoa(MaxOutput), "0"}, "", Result{Output: strings.Repeat("x", MaxOutput)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := cmd(t, c.args...).Run(t.Context(), text(c.message))
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

// late is a context whose time is over when the test says so.
type late struct {
	context.Context
	over chan struct{}
}

func (l *late) Done() <-chan struct{} { return l.over }

func (l *late) Err() error {
	select {
	case <-l.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestTimeLimitKillsTheGroup(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "child")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := &late{t.Context(), make(chan struct{})}
	child := -1
	go func() {
		defer close(ctx.over)
		pid, _ := os.ReadFile(fifo)
		child, _ = unix.PidfdOpen(number(string(pid)), 0)
	}()
	got, err := cmd(t, "hang", fifo).Run(ctx, text("message"))
	want := Result{Output: "begun ", Exit: -1, Signal: syscall.SIGKILL, TimedOut: true}
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	defer unix.Close(child)
	// The descriptor of a process can be read when the process has ended.
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, 30_000)
	if n != 1 {
		t.Errorf("the command's child is still there: %v", err)
	}
}

func TestAProcessLeftBehindHoldsUpNothing(t *testing.T) {
	got, err := cmd(t, "leave").Run(t.Context(), text("message"))
	pid, found := strings.CutPrefix(got.Output, "left ")
	if err != nil || got.Exit != 0 || got.TimedOut || !found {
		t.Fatalf("got %+v, %v", got, err)
	}
	unix.Kill(number(pid), unix.SIGKILL)
}

func TestErrors(t *testing.T) {
	bad := errors.New("damaged")
	missing := cmd(t)
	missing.Argv = []string{"/nonexistent/program"}
	unknown := cmd(t)
	unknown.Argv = []string{"no-such-program-anywhere"}
	dir := cmd(t, "copy")
	dir.Dir = "/nonexistent"
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	cases := map[string]struct {
		ctx     context.Context
		c       *Command
		message func(io.Writer) error
		want    error
		text    string
	}{
		"no such program":          {t.Context(), missing, text(""), ErrStart, "/nonexistent/program: no such file"},
		"no such name":             {t.Context(), unknown, text(""), ErrStart, "no-such-program-anywhere: no such file"},
		"no such directory":        {t.Context(), dir, text(""), ErrStart, "change directory to /nonexistent"},
		"a message that is broken": {t.Context(), cmd(t, "copy"), func(io.Writer) error { return bad }, ErrMessage, "damaged"},
		"shutdown":                 {ended, cmd(t, "copy"), text(""), ErrInterrupted, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := c.c.Run(c.ctx, c.message)
			if !errors.Is(err, c.want) || r != (Result{}) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestABrokenMessageIsNeverWhole: what the command saw does not end as a message does.
func TestABrokenMessageIsNeverWhole(t *testing.T) {
	c := cmd(t, "exit", "0")
	_, err := c.Run(t.Context(), func(w io.Writer) error {
		io.WriteString(w, strings.Repeat("half a message\n", 10000))
		return errors.New("damaged")
	})
	if !errors.Is(err, ErrMessage) {
		t.Errorf("%v", err)
	}
}

func TestSurroundings(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := cmd(t, "facts")
	c.Dir = dir
	c.Env = append(c.Env, Environment([]string{"TZ", "MAIL_CONFIG", "X=y=z", "PATH=/evil", "UNSET"}, func(name string) (string, bool) {
		return "v" + name, name != "UNSET"
	})...)
	got, err := c.Run(t.Context(), text(""))
	if err != nil {
		t.Fatal(err)
	}
	env, ok := strings.CutPrefix(got.Output, "wd="+dir+" leader=true env=")
	if !ok {
		t.Fatalf("%q", got.Output)
	}
	list := strings.Split(env, ",")
	slices.Sort(list)
	if want := []string{actEnv, "MAIL_CONFIG=vMAIL_CONFIG", "PATH=" + SearchPath, "TZ=vTZ", "X=y=z"}; !slices.Equal(list, want) {
		t.Errorf("environment %q, want %q", list, want)
	}
}

func TestAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root to change users")
	}
	c := &Command{Argv: []string{"id"}, User: &ID{4711, 4712}, Limit: time.Minute, Dir: "/"}
	got, err := c.Run(t.Context(), text(""))
	if want := "uid=4711 gid=4712 groups=4712 "; err != nil || got.Output != want {
		t.Errorf("%q, %v, want %q", got.Output, err, want)
	}
}

func TestInAnotherRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root to change the root directory")
	}
	root := t.TempDir()
	for dir := root; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	if err := os.Mkdir(root+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/program", program, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"": "wd=/ ", "/sub": "wd=/sub ", "sub": "wd=/sub "} {
		c := &Command{Argv: []string{"/program", "facts"}, Env: []string{actEnv}, Chroot: root, Dir: dir, User: &ID{4711, 4712}, Limit: time.Minute}
		got, err := c.Run(t.Context(), text(""))
		if errors.Is(err, ErrStart) && !static(exe) {
			t.Skip("SKIP: the test program needs libraries; run it with CGO_ENABLED=0")
		}
		if err != nil || !strings.HasPrefix(got.Output, want) {
			t.Errorf("directory %q: %q, %v, want %q", dir, got.Output, err, want)
		}
	}
}

// static tells whether a program needs no loader.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Section(".interp") == nil
}

// TestStatus: exit statuses, texts and codes as Debian's pipe(8) has them.
func TestStatus(t *testing.T) {
	unixText := func(code, reason, diag string) dsn.Status {
		return dsn.Status{Code: code, Reason: reason, DiagType: "x-unix", DiagText: diag}
	}
	cases := map[string]struct {
		r    Result
		want dsn.Status
	}{
		"known status":        {Result{Exit: 67}, unixText("5.1.1", "user unknown", "user unknown")},
		"known and output":    {Result{Exit: 67, Output: "bob? "}, unixText("5.1.1", "user unknown. Command output: bob? ", "bob? ")},
		"temporary":           {Result{Exit: 75}, unixText("4.3.0", "temporary failure", "temporary failure")},
		"unknown status":      {Result{Exit: 1}, unixText("5.3.0", `Command died with status 1: "/c"`, "unknown mail system error 1")},
		"unknown and output":  {Result{Exit: 127, Output: "o"}, unixText("5.3.0", `Command died with status 127: "/c". Command output: o`, "o")},
		"signal":              {Result{Exit: -1, Signal: 9}, unixText("4.3.0", `Command died with signal 9: "/c"`, "internal software error")},
		"time limit":          {Result{Exit: -1, Signal: 9, TimedOut: true, Output: "o"}, unixText("5.3.0", `Command time limit exceeded: "/c". Command output: o`, "o")},
		"code 4 wins":         {Result{Exit: 67, Output: "4.2.1 busy  now "}, unixText("4.2.1", "busy  now ", "busy  now ")},
		"code 5 wins":         {Result{Exit: 75, Output: "5.7.1 refused"}, unixText("5.7.1", "refused", "refused")},
		"code 2 is no code":   {Result{Exit: 75, Output: "2.0.0 fine"}, unixText("4.3.0", "temporary failure. Command output: 2.0.0 fine", "2.0.0 fine")},
		"a code and no text":  {Result{Exit: 67, Output: "4.2.1 "}, unixText("4.2.1", "user unknown", "user unknown")},
		"not quite a code":    {Result{Exit: 67, Output: "5.7.1-x"}, unixText("5.1.1", "user unknown. Command output: 5.7.1-x", "5.7.1-x")},
		"no code of a signal": {Result{Exit: -1, Signal: 6, Output: "5.7.1 x"}, unixText("4.3.0", `Command died with signal 6: "/c". Command output: 5.7.1 x`, "5.7.1 x")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.r.Status("/c"); got != c.want || !c.r.Failed() {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
	if (&Result{Output: "fine"}).Failed() {
		t.Error("status 0 is a failure")
	}
}

func TestPrintable(t *testing.T) {
	long := strings.Repeat("a", MaxOutput-1)
	for in, want := range map[string]string{
		"a\nb\tc\n": "a b c ", "\x1b]0;x\x07": "_]0;x_", "Grüße\r\n": "Grüße_ ", "\xff\x00": "__",
		"\u2028\u009b": "__", long + "\xc3": long,
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte("5.7.1 no"), 67)
	f.Add([]byte("\xff\n4.2.1"), 0)
	f.Fuzz(func(t *testing.T, output []byte, exit int) {
		r := Result{Output: printable(output[:min(len(output), MaxOutput)]), Exit: exit & 0xff}
		s := r.Status("/c")
		if !dsn.ValidCode(s.Code) || s.Code[0] == '2' || s.Reason == "" || strings.ContainsAny(s.Reason, "\r\n\x00") {
			t.Errorf("%q: %+v", output, s)
		}
	})
}
