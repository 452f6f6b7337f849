// Unpriv runs the tests and the demonstration as an ordinary user, also when it
// is root who says "make test" or "make run".
//
//	unpriv test [go test arguments]
//	unpriv exec bin/PROGRAM [arguments]
//
// Without root both just do that. As root, the Go tool works as root, with root's
// caches, and only the resulting programs run as the user nobody: in a copy of the
// source tree, because the checkout may be in a place that nobody can look into,
// and with a limit of open files that suffices for every test.
//
// It ends with the program that started it, and what it starts ends with it.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is the user and the group that own nothing.
const nobody = 65534

// envTree names the copy of the source tree and the checkout it was copied from,
// for the program that "go test -exec" starts.
const (
	envTree     = "SEALPOST_UNPRIV_TREE"
	envCheckout = "SEALPOST_UNPRIV_CHECKOUT"
)

// openFiles is the limit of open files that the tests need.
const openFiles = 25_000

func main() {
	// Such a signal belongs to a thread: to the one that asks for its own, and to
	// the one that starts a child.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		fail(err)
	}
	if len(os.Args) < 2 {
		fail(errors.New("usage: unpriv test|exec ARGUMENTS"))
	}
	var status int
	var err error
	args := os.Args[2:]
	switch root := os.Geteuid() == 0; {
	case os.Args[1] == "step":
		status, err = step(args)
	case os.Args[1] == "test" && root:
		status, err = testAsNobody(args)
	case os.Args[1] == "test":
		status, err = command(nil, goTool(), append([]string{"test"}, args...)...)
	case os.Args[1] == "exec" && root && len(args) > 0:
		status, err = execAsNobody(args[0], args[1:])
	case os.Args[1] == "exec" && len(args) > 0:
		status, err = command(nil, args[0], args[1:]...)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
	os.Exit(status)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "unpriv:", err)
	os.Exit(1)
}

func goTool() string {
	if g := os.Getenv("GO"); g != "" {
		return g
	}
	return "go"
}

// command runs a program with our standard streams, and passes on signals that
// mean "stop", so that the program can clean up.
func command(set func(*exec.Cmd), name string, args ...string) (int, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if set != nil {
		set(cmd)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range sig {
			// The terminal sends SIGINT to the whole group already. SIGQUIT is how
			// the go tool asks a test for its stack.
			if s != syscall.SIGINT {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// tree is a directory of nobody with a copy of the sources and the programs.
func tree() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "sp")
	if err != nil {
		return "", nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	if err := copyTree(".", filepath.Join(dir, "src")); err != nil {
		remove()
		return "", nil, err
	}
	for _, sub := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			remove()
			return "", nil, err
		}
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
	if err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, os.Chmod(dir, 0o755)
}

// skipped are parts of the checkout that no test reads.
var skipped = map[string]bool{".git": true, "run": true}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skipped[path] {
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil // .git of a second work tree is a file; SkipDir would end the walk
		}
		target := filepath.Join(to, path)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o755)
		case e.Type() == fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !e.Type().IsRegular():
			return nil
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		return copyFile(path, target, st.Mode().Perm()|0o444)
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
}

// testAsNobody lets the go tool build and select, and steps down for each test
// program.
func testAsNobody(args []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir, remove, err := tree()
	if err != nil {
		return 0, err
	}
	defer remove()
	checkout, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	args = append([]string{"test", "-exec", self + " step"}, args...)
	return command(func(c *exec.Cmd) {
		c.Env = append(os.Environ(), envTree+"="+dir, envCheckout+"="+checkout)
	}, goTool(), args...)
}

// step is what the go tool starts for a test program: it copies the program and
// becomes nobody in the package's directory of the copied tree.
func step(args []string) (int, error) {
	dir, checkout := os.Getenv(envTree), os.Getenv(envCheckout)
	if dir == "" || len(args) == 0 {
		return 0, errors.New("step is for go test -exec")
	}
	wd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	rel, err := filepath.Rel(checkout, wd)
	if err != nil {
		return 0, err
	}
	mine, err := os.MkdirTemp(filepath.Join(dir, "tmp"), "test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(mine)
	if err := os.Chown(mine, nobody, nobody); err != nil {
		return 0, err
	}
	prog := filepath.Join(mine, filepath.Base(args[0]))
	if err := copyFile(args[0], prog, 0o755); err != nil {
		return 0, err
	}
	return command(asNobody(dir, filepath.Join(dir, "src", rel)), prog, args[1:]...)
}

// asNobody sets who runs a program, where, and what it knows of root's home:
// nothing.
func asNobody(dir, wd string) func(*exec.Cmd) {
	raiseOpenFiles()
	return func(c *exec.Cmd) {
		c.Dir = wd
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for _, v := range os.Environ() {
			name, _, _ := strings.Cut(v, "=")
			switch name {
			case "HOME", "USER", "LOGNAME", "TMPDIR", "PWD", "GOCACHE", "GOMODCACHE", "GOTMPDIR", "XDG_CACHE_HOME":
			default:
				c.Env = append(c.Env, v)
			}
		}
		home := filepath.Join(dir, "home")
		c.Env = append(c.Env, "HOME="+home, "USER=nobody", "LOGNAME=nobody", "PWD="+wd,
			"TMPDIR="+filepath.Join(dir, "tmp"), "GOCACHE="+filepath.Join(home, "cache"),
			"SEALPOST_BIN="+filepath.Join(dir, "src", "bin"))
	}
}

// raiseOpenFiles raises the limit of open files while we may. Where even root may
// not, the test that needs it says that it is skipped.
func raiseOpenFiles() {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || lim.Max >= openFiles {
		return
	}
	lim.Cur, lim.Max = openFiles, openFiles
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
}

// execAsNobody runs a program of the checkout as nobody in ./run, or, when nobody
// cannot get there, in a temporary directory.
func execAsNobody(prog string, args []string) (int, error) {
	if !filepath.IsLocal(prog) {
		return 0, fmt.Errorf("%s is not a path below the working directory", prog)
	}
	dir, remove, err := tree()
	if err != nil {
		return 0, err
	}
	defer remove()
	src := filepath.Join(dir, "src")
	runDir, err := filepath.Abs("run")
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return 0, err
	}
	if err := os.Chown(runDir, nobody, nobody); err != nil {
		return 0, err
	}
	if !reachable(runDir) {
		runDir = filepath.Join(dir, "run")
	}
	fmt.Printf("(root does not run a mail system for this: user %d does, in %s)\n", nobody, runDir)
	prog = filepath.Join(src, prog)
	set := asNobody(dir, src)
	return command(func(c *exec.Cmd) {
		set(c)
		c.Env = append(c.Env, "SEALPOST_RUN="+runDir)
	}, prog, args...)
}

// reachable tells whether nobody can work in a directory.
func reachable(dir string) bool {
	cmd := exec.Command("/bin/sh", "-c", `test -w "$0"`, dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd.Run() == nil
}
