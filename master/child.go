package main

import (
	"debug/buildinfo"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/service"
	"sealpost/lib/tlsconn"
)

// A program is the command of a service as it is on disk.
type program struct {
	path string
	// ours tells that it is a daemon of this suite: one process serves the
	// whole service. Any other program follows Postfix's rules.
	ours bool
}

// programs remembers which files are daemons of this suite.
type programs struct {
	daemonDir string
	known     map[string]knownProgram
}

type knownProgram struct {
	stat fs.FileInfo
	ours bool
}

// modulePath is what every daemon of this suite has in its build information.
const modulePath = "sealpost"

// lookup finds a command. A program that was replaced (an upgrade) is looked at
// again.
func (p *programs) lookup(command string) (program, error) {
	path := command
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.daemonDir, command)
	}
	st, err := os.Stat(path)
	if err != nil {
		return program{path: path}, err
	}
	k, ok := p.known[path]
	if !ok || !os.SameFile(k.stat, st) || !k.stat.ModTime().Equal(st.ModTime()) || k.stat.Size() != st.Size() {
		k = knownProgram{stat: st, ours: isOurs(path)}
		p.known[path] = k
	}
	return program{path: path, ours: k.ours}, nil
}

func isOurs(path string) bool {
	bi, err := buildinfo.ReadFile(path)
	return err == nil && (bi.Main.Path == modulePath || strings.HasPrefix(bi.Path, modulePath+"/"))
}

// absorbed are Postfix's daemons whose work is done inside ours. Their lines
// may stay in master.cf for Postfix's own daemons.
var absorbed = map[string]bool{
	"trivial-rewrite": true, "anvil": true, "scache": true, "tlsmgr": true,
}

// arguments are a child's argv, in the order of protocols.md §3.2.
func arguments(svc config.Service, o argOptions) []string {
	argv := []string{svc.Command}
	switch svc.MaxProc {
	case 1:
		argv = append(argv, "-l")
	case 0:
		argv = append(argv, "-z")
	}
	if svc.Name != filepath.Base(svc.Command) {
		argv = append(argv, "-n", svc.Name)
	}
	argv = append(argv, "-t", svc.Type)
	if o.attached {
		argv = append(argv, "-d")
	}
	if o.verbose {
		argv = append(argv, "-v")
	}
	if svc.Unprivileged {
		argv = append(argv, "-u")
	}
	if svc.Chroot {
		argv = append(argv, "-c")
	}
	if o.stressAware {
		argv = append(argv, "-o", "stress="+o.stress)
	}
	if o.sockets > 1 {
		argv = append(argv, "-s", strconv.Itoa(o.sockets))
	}
	return append(argv, svc.Args...)
}

type argOptions struct {
	attached    bool // master runs in the foreground
	verbose     bool
	stressAware bool   // reachable from outside, more than one process
	stress      string // "yes" while in stress
	sockets     int
}

// reduceEnv keeps what import_environment names: NAME takes the value of
// master's own environment, NAME=VALUE sets one. The order is the list's.
func reduceEnv(list []string, getenv func(string) (string, bool)) []string {
	var env []string
	for _, item := range list {
		if strings.Contains(item, "=") {
			env = append(env, item)
		} else if v, ok := getenv(item); ok {
			env = append(env, item+"="+v)
		}
	}
	return env
}

// spawnRequest is all that a start of a child needs.
type spawnRequest struct {
	path    string
	argv    []string
	env     []string
	gen     uint32
	ours    bool
	maxproc int
	tickets string // secret of TLS session tickets, of a service in the network
	files   []int  // descriptors 0, 1, 2, ... of the child
}

// spawn starts a child. The descriptors are raw numbers: the blocking mode of
// what the child inherits stays as it is.
func spawn(r spawnRequest) (int, error) {
	env := make([]string, len(r.env), len(r.env)+3)
	copy(env, r.env)
	env = append(env, service.EnvGeneration+"="+strconv.FormatUint(uint64(r.gen), 8))
	if r.ours {
		env = append(env, service.EnvSessions+"="+strconv.Itoa(r.maxproc))
		if r.tickets != "" {
			env = append(env, service.EnvTickets+"="+r.tickets)
		}
	}
	files := make([]uintptr, len(r.files))
	for i, fd := range r.files {
		files[i] = uintptr(fd)
	}
	fork := syscall.ForkExec
	if r.ours {
		fork = forkSlack
	}
	pid, err := fork(r.path, r.argv, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", r.path, err)
	}
	return pid, nil
}

// timerSlack is how much later than asked for the kernel may wake a thread of a
// daemon. The Go runtime has a thread that, while there is work, sleeps for 20 µs
// at a time to look for system calls that take long; in daemons that wake up for
// every line of a conversation this was more than a third of all CPU time. The
// time limits of mail are seconds.
const timerSlack = 5 * time.Millisecond

// forkSlack is ForkExec for a child with timerSlack: a thread inherits it from the
// thread that made it.
func forkSlack(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if before, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil {
		defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(before), 0, 0, 0)
		unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack.Nanoseconds()), 0, 0, 0) // without it, it is only slower
	}
	return syscall.ForkExec(path, argv, attr)
}

// ticketSecret is what a worker makes the keys of its TLS session tickets from:
// the same for all workers of a service in one hour, so that a session that began
// with one can be resumed with the next. What is older is forgotten here.
func (m *master) ticketSecret(conf config.Service) string {
	if conf.Type != "inet" {
		return ""
	}
	now := time.Now()
	secret, ok := m.tickets[conf.Name]
	if !ok {
		secret = tlsconn.NewSecret(now)
	}
	secret = secret.Current(now)
	m.tickets[conf.Name] = secret
	return secret.String()
}
