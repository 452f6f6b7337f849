package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/instance"
)

// options are the command line.
type options struct {
	configDir  string // absolute
	attached   bool   // -d
	debug      bool   // -D
	exitAfter  time.Duration
	initMode   bool // -i
	keepStdout bool // -s
	testLock   bool // -t
	wait       bool // -w
	verbose    int  // -v

	// ready is called once, when the system is up.
	ready func()
}

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

func run(args []string, stderr io.Writer) int {
	opts, err := parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
		return 1
	}
	if opts.testLock {
		return testLock(opts, stderr)
	}
	if !opts.attached && !opts.initMode && os.Getenv(envDetached) == "" {
		return detach(opts, args, stderr)
	}
	return serve(opts, stderr)
}

// parse reads the options. The configuration directory is made absolute: master
// works in the queue directory.
func parse(args []string) (options, error) {
	var o options
	var exitAfter int
	var configDir string
	rest, err := getopt.Parse(args, "c:dDe:istvw", func(letter byte, value string) (err error) {
		switch letter {
		case 'c':
			configDir = value
		case 'd':
			o.attached = true
		case 'D':
			o.debug = true
		case 'e':
			if exitAfter, err = strconv.Atoi(value); err != nil || exitAfter < 0 {
				return fmt.Errorf("option -e %q: expected a number of seconds", value)
			}
		case 'i':
			o.initMode = true
		case 's':
			o.keepStdout = true
		case 't':
			o.testLock = true
		case 'v':
			o.verbose++
		case 'w':
			o.wait = true
		}
		return nil
	})
	if err != nil {
		return o, fmt.Errorf("%w\n%s", err, usage)
	}
	if len(rest) > 0 {
		return o, fmt.Errorf("unexpected argument %q\n%s", rest[0], usage)
	}
	if n, err := strconv.Atoi(os.Getenv("MAIL_VERBOSE")); err == nil && o.verbose == 0 {
		o.verbose = n
	}
	switch {
	case o.testLock && o.wait:
		return o, errors.New("the -t and -w options cannot be used together")
	case o.initMode && (o.debug || o.attached || o.wait):
		return o, errors.New("the -i option cannot be used with -D, -d or -w")
	case o.initMode && os.Getpid() != 1:
		return o, errors.New("the -i option works only as process 1 of a container")
	}
	o.exitAfter = time.Duration(exitAfter) * time.Second
	dir, err := filepath.Abs(config.Dir(configDir))
	if err != nil {
		return o, err
	}
	o.configDir = dir
	o.ready = func() {}
	return o, nil
}

const usage = "usage: master [-Ddistvw] [-c config_dir] [-e exit_time]"

// testLock is -t: the answer is the exit status, 0 when no master is running.
func testLock(opts options, stderr io.Writer) int {
	s, err := loadInstance(opts.configDir)
	if err == nil {
		var running bool
		if _, running, err = instance.Running(s.PidFile()); err == nil && !running {
			return 0
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
	}
	return 1
}

func loadInstance(dir string) (instance.Settings, error) {
	cfg, err := config.Load(dir)
	if err != nil {
		return instance.Settings{}, err
	}
	return instance.Load(cfg)
}

// serve is master at work.
func serve(opts options, stderr io.Writer) int {
	unix.Umask(0o77)
	if opts.initMode {
		opts.keepStdout = true
	} else if unix.Getpgrp() != os.Getpid() {
		// A group of its own, so that "sealpost stop" can end all of it.
		if err := unix.Setpgid(0, 0); err != nil {
			fmt.Fprintf(stderr, "master: fatal: set process group: %v\n", err)
			return 1
		}
	}
	if err := os.Setenv("MAIL_CONFIG", opts.configDir); err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
		return 1
	}
	opts.ready = readiness()
	m, err := newMaster(opts)
	if err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
		if m != nil && m.log != nil {
			m.log.Fatalf("%v", err)
		}
		return 1
	}
	return m.run()
}

// envDetached tells the background process on which descriptor its parent waits
// for the word that the system is up.
const envDetached = "SEALPOST_MASTER_READY"

// readyFD is that descriptor.
const readyFD = 3

// waitLimit is how long -w waits.
const waitLimit = 100 * time.Second

// detach starts master again as a background process without a terminal. A Go
// program cannot fork: the child is the same program with the same arguments.
func detach(opts options, args []string, stderr io.Writer) int {
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
		return 1
	}
	r, w, err := os.Pipe()
	if err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
		return 1
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
		return 1
	}
	stdout := null
	if opts.keepStdout {
		stdout = os.Stdout
	}
	p, err := os.StartProcess(exe, append([]string{os.Args[0]}, args...), &os.ProcAttr{
		Env:   append(os.Environ(), envDetached+"="+strconv.Itoa(readyFD)),
		Files: []*os.File{null, stdout, os.Stderr, w},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		fmt.Fprintf(stderr, "master: fatal: start the background process: %v\n", err)
		return 1
	}
	w.Close()
	if !opts.wait {
		return 0
	}
	return await(r, p, stderr)
}

// await waits for the byte that says ready, or for the end of the background
// process, whose status is then ours.
func await(r *os.File, p *os.Process, stderr io.Writer) int {
	if err := r.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
		fmt.Fprintf(stderr, "master: fatal: %v\n", err)
		return 1
	}
	var b [1]byte
	n, err := r.Read(b[:])
	switch {
	case n == 1:
		return 0
	case errors.Is(err, os.ErrDeadlineExceeded):
		fmt.Fprintf(stderr, "master: fatal: the mail system is not up after %s; see the mail log\n", waitLimit)
		return 1
	}
	if st, err := p.Wait(); err == nil && st.ExitCode() > 0 {
		return st.ExitCode()
	}
	return 1
}

// readiness returns the function that tells a waiting parent, and gives up the
// standard error output that was kept for an early failure.
func readiness() func() {
	if os.Getenv(envDetached) == "" {
		return func() {}
	}
	os.Unsetenv(envDetached)
	unix.CloseOnExec(readyFD)
	return func() {
		// Nobody may be waiting any more; that is no failure.
		_, _ = unix.Write(readyFD, []byte{1})
		unix.Close(readyFD)
		if null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
			_ = unix.Dup3(null, 2, 0)
			unix.Close(null)
		}
	}
}
