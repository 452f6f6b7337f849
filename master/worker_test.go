package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/lib/service"
)

// The test program is three programs: the tests, master, and a worker that does
// what the arguments in master.cf say.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "master":
		main()
	case "worker":
		os.Exit(workerMain())
	}
	os.Exit(m.Run())
}

// worker is a stand-in for a daemon. The words after the options say how it
// behaves:
//
//	die-at-start     exits with status 1 before it reports anything
//	killed=N,PATH    is killed before it reports anything, the first N times, which
//	                 it counts in the length of the file PATH
//	hang-up-late     keeps its sessions when master tells it to leave
//	once=PATH        leaves a note in PATH when another one runs at the same time
//	noise            sends master records that make no sense
//	single           a process per client, as Postfix's daemons are
//
// A client gets one line that describes the process, then commands: "quit",
// "die", "leave" (stops accepting, as after a changed table).
type worker struct {
	words   map[string]string
	single  bool
	mu      sync.Mutex
	leaving bool
	lns     []net.Listener
	running sync.WaitGroup
}

func workerMain() int {
	w := &worker{words: map[string]string{}}
	for _, arg := range os.Args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		w.words[name] = value
	}
	if _, ok := w.words["die-at-start"]; ok {
		return 1
	}
	if arg, ok := w.words["killed"]; ok {
		dieEarly(arg)
	}
	if path, ok := w.words["once"]; ok {
		lock := path + ".lock"
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil || unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			_ = os.WriteFile(path, []byte("two processes at a time\n"), 0o600)
		}
		defer f.Close()
	}
	_, w.single = w.words["single"]
	if _, ok := w.words["noise"]; ok {
		_ = sendStatus(uint32(os.Getpid()), 99999, 1)
		_ = sendStatus(uint32(os.Getpid()), generation(), 77)
		_ = sendStatus(1, generation(), 1)
	}
	count := 1
	for i, arg := range os.Args {
		if arg == "-s" {
			count, _ = strconv.Atoi(os.Args[i+1])
		}
	}
	for i := range count {
		f := os.NewFile(uintptr(service.FDListen+i), "listen")
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			fmt.Fprintln(os.Stderr, "listen:", err)
			return 1
		}
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		w.lns = append(w.lns, ln)
	}
	w.report(service.StatusTaken)
	w.report(service.StatusAvail)
	go func() {
		p := []unix.PollFd{{Fd: service.FDStatus, Events: unix.POLLIN}}
		for {
			if n, err := unix.Poll(p, -1); n > 0 && err == nil {
				break
			}
		}
		w.stop()
	}()
	var accepting sync.WaitGroup
	for _, ln := range w.lns {
		accepting.Go(func() { w.accept(ln) })
	}
	accepting.Wait()
	w.running.Wait()
	return 0
}

// dieEarly kills this process if it is one of the first.
func dieEarly(arg string) {
	number, path, _ := strings.Cut(arg, ",")
	times, _ := strconv.ParseInt(number, 10, 64)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer f.Close()
	fmt.Fprint(f, "x")
	if st, err := f.Stat(); err == nil && st.Size() <= times {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
}

func generation() uint32 {
	n, _ := strconv.ParseUint(os.Getenv(service.EnvGeneration), 8, 32)
	return uint32(n)
}

func sendStatus(pid, gen, status uint32) error {
	var b [service.StatusLen]byte
	binary.NativeEndian.PutUint32(b[0:], pid)
	binary.NativeEndian.PutUint32(b[4:], gen)
	binary.NativeEndian.PutUint32(b[8:], status)
	_, err := unix.Write(service.FDStatus, b[:])
	return err
}

func (w *worker) report(status uint32) {
	_ = sendStatus(uint32(os.Getpid()), generation(), status)
}

func (w *worker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaving = true
	for _, ln := range w.lns {
		ln.Close()
	}
}

func (w *worker) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		w.running.Add(1)
		if w.single {
			w.report(service.StatusTaken)
			w.serve(conn)
			w.report(service.StatusAvail)
			continue
		}
		go w.serve(conn)
	}
}

func (w *worker) serve(conn net.Conn) {
	defer w.running.Done()
	defer conn.Close()
	cwd, _ := os.Getwd()
	fmt.Fprintf(conn, "%s\n", strings.Join([]string{
		"pid=" + strconv.Itoa(os.Getpid()),
		"argv=" + strings.Join(os.Args, " "),
		"env=" + strings.Join(os.Environ(), " "),
		"cwd=" + cwd,
	}, "\t"))
	// A trigger is 'W' and NUL, without a line end.
	in := bufio.NewReader(conn)
	if b, err := in.Peek(1); err == nil && b[0] == 'W' {
		if path := w.words["woken"]; path != "" {
			_ = os.WriteFile(path+".new", b, 0o600)
			_ = os.Rename(path+".new", path)
		}
		return
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch lines.Text() {
		case "quit":
			return
		case "die":
			os.Exit(3)
		case "leave":
			w.report(service.StatusLeaving)
			w.stop()
		}
	}
}
