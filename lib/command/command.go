// Package command runs an external command that a message is delivered to.
//
// The command gets the message on its standard input, a directory, a user and an
// environment of its own, and leads a process group, which is killed as a whole
// when the time limit is over. No other process is made: the command is started
// as that user. What it prints on its standard output and standard error is kept
// up to MaxOutput bytes; the rest is read and dropped, so that a talkative
// command is not stopped by a full pipe.
//
// A command that ends without reading all of the message is no error: its exit
// status counts (Status). A process that it leaves behind does not hold up the
// delivery. A message that cannot be read to its end is never delivered in part
// as if it were whole: the command is killed while it still waits for more.
package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxOutput is how many bytes of a command's output are kept.
const MaxOutput = 4096

// SearchPath is the PATH of every command, and where one without "/" is sought.
const SearchPath = "/usr/bin:/bin"

var (
	// ErrStart: the command could not be started.
	ErrStart = errors.New("cannot execute command")
	// ErrMessage: the message could not be read; the command was killed.
	ErrMessage = errors.New("cannot read the message")
	// ErrInterrupted: the context was cancelled; the command was killed.
	ErrInterrupted = errors.New("delivery to command interrupted")
)

// ID is a numeric user and group. The group is the only one of the command.
type ID struct{ UID, GID int }

// Command is what to run.
type Command struct {
	Argv   []string
	Env    []string      // NAME=VALUE; nothing else is handed on
	Dir    string        // working directory, entered as the user; empty: ours, or Chroot
	Chroot string        // root directory, entered before anything else; empty: ours
	User   *ID           // nil: the user of this process
	Limit  time.Duration // after which the command is killed
}

// Result is how a command ended.
type Result struct {
	Output   string         // what it printed: one printable line of at most MaxOutput bytes
	Exit     int            // exit status, -1 if a signal ended it
	Signal   syscall.Signal // that signal, or 0
	TimedOut bool           // it was killed because of its time limit
}

// Run runs the command on the message that the function writes. An error is one
// of ErrStart, ErrMessage and ErrInterrupted, wrapped: then there is no result.
func (c *Command) Run(ctx context.Context, message func(io.Writer) error) (Result, error) {
	p, err := c.start()
	if err != nil {
		return Result{}, fmt.Errorf("%w %s: %w", ErrStart, c.Argv[0], err)
	}
	defer p.close()
	ctx, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	stop := context.AfterFunc(ctx, p.kill)
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		p.collect()
	}()
	srcErr := p.feed(message)
	if srcErr != nil {
		p.kill()
	}
	p.wait()
	stopped := stop()
	state := p.reap()
	// One that ended by itself at the last moment was not killed.
	killed := !stopped && state.Signaled() && state.Signal() == syscall.SIGKILL
	p.out.SetReadDeadline(time.Unix(1, 0))
	<-collected
	p.drain()
	switch {
	case srcErr != nil:
		return Result{}, fmt.Errorf("%w: %w", ErrMessage, srcErr)
	case killed && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Result{}, fmt.Errorf("%w: %w", ErrInterrupted, ctx.Err())
	}
	r := Result{Output: printable(p.output), Exit: state.ExitStatus(), TimedOut: killed}
	if state.Signaled() {
		r.Signal = state.Signal()
	}
	return r, nil
}

// process is a command that was started.
type process struct {
	cmd    *exec.Cmd
	in     *os.File // we write
	out    *os.File // we read
	output []byte

	mu     sync.Mutex
	reaped bool // its process id may belong to another by now
}

func (c *Command) start() (*process, error) {
	path, err := lookPath(c.Argv[0], c.Chroot)
	if err != nil {
		return nil, err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inR.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		inW.Close()
		return nil, err
	}
	defer outW.Close()
	p := &process{in: inW, out: outR, cmd: &exec.Cmd{
		Path: path, Args: c.Argv, Env: c.Env, Dir: c.dir(),
		Stdin: inR, Stdout: outW, Stderr: outW,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Chroot: c.Chroot},
	}}
	if c.Env == nil {
		p.cmd.Env = []string{}
	}
	if c.User != nil {
		gid := uint32(c.User.GID)
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.User.UID), Gid: gid, Groups: []uint32{gid}}
	}
	if err := p.cmd.Start(); err != nil {
		p.close()
		return nil, c.explain(err)
	}
	return p, nil
}

// dir is the working directory. One in another root never begins outside of it.
func (c *Command) dir() string {
	if c.Chroot != "" {
		return filepath.Join("/", c.Dir)
	}
	return c.Dir
}

// explain says which of the steps before the command failed: all of them give
// the same kind of error.
func (c *Command) explain(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if c.Chroot != "" {
		if _, serr := os.Stat(c.Chroot); serr != nil {
			return fmt.Errorf("change root to %s: %w", c.Chroot, err)
		}
	}
	if c.Dir != "" {
		if _, serr := os.Stat(filepath.Join(c.Chroot, c.Dir)); serr != nil {
			return fmt.Errorf("change directory to %s: %w", c.Dir, err)
		}
	}
	return err
}

// lookPath finds a program in SearchPath as it is below root.
func lookPath(name, root string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(SearchPath, ":") {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(filepath.Join(root, path)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", syscall.ENOENT
}

// kill ends the process group, and whatever waits for it.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		_ = unix.Kill(p.cmd.Process.Pid, unix.SIGKILL) // it may have left the group
	}
	p.in.SetWriteDeadline(time.Unix(1, 0))
}

// wait returns when the process has ended. Its id stays taken until reap.
func (p *process) wait() {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

func (p *process) reap() syscall.WaitStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Wait() // the error repeats the status
	p.reaped = true
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func (p *process) close() {
	p.in.Close()
	p.out.Close()
}

// feeder keeps apart what the message and what the command is to blame for.
type feeder struct {
	f   *os.File
	err error
}

func (f *feeder) Write(b []byte) (int, error) {
	n, err := f.f.Write(b)
	if err != nil {
		f.err = err
	}
	return n, err
}

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 64<<10) }}

// feed writes the message and closes the command's input. The error is that of
// the message: a command may stop reading when it likes.
func (p *process) feed(message func(io.Writer) error) error {
	to := &feeder{f: p.in}
	bw := writers.Get().(*bufio.Writer)
	bw.Reset(to)
	defer func() {
		bw.Reset(nil)
		writers.Put(bw)
	}()
	err := message(bw)
	if err != nil && to.err == nil {
		return err // the input stays open until the command is dead
	}
	_ = bw.Flush()
	p.in.Close()
	return nil
}

// collect reads until the end of the output, or until it is told to stop.
func (p *process) collect() {
	buf := make([]byte, MaxOutput)
	for {
		n, err := p.out.Read(buf)
		p.keep(buf[:n])
		if err != nil {
			return
		}
	}
}

// drain takes what is left in the pipe. It does not wait: a process that the
// command left behind may hold the other end.
func (p *process) drain() {
	if p.out.SetReadDeadline(time.Time{}) != nil || len(p.output) == MaxOutput {
		return
	}
	rc, err := p.out.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, MaxOutput)
	for len(p.output) < MaxOutput {
		n := 0
		err := rc.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), buf)
			return true
		})
		if err != nil || n <= 0 {
			return
		}
		p.keep(buf[:n])
	}
}

func (p *process) keep(b []byte) {
	p.output = append(p.output, b[:min(len(b), MaxOutput-len(p.output))]...)
}

// Environment is the environment of a command: the variables of a list such as
// export_environment, each a NAME whose value lookup gives or NAME=VALUE, and
// PATH, which is always SearchPath.
func Environment(list []string, lookup func(name string) (string, bool)) []string {
	env := []string{"PATH=" + SearchPath}
	for _, item := range list {
		name, value, given := strings.Cut(item, "=")
		if !given {
			var ok bool
			if value, ok = lookup(name); !ok {
				continue
			}
		}
		if name != "" && name != "PATH" {
			env = append(env, name+"="+value)
		}
	}
	return env
}
