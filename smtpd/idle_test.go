package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/service"
)

// resident is the resident memory of this process in bytes.
func resident(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skipf("SKIP: no /proc/self/statm: %v", err)
	}
	var size, rss int64
	if _, err := fmt.Sscan(string(b), &size, &rss); err != nil {
		t.Fatal(err)
	}
	return rss * int64(os.Getpagesize())
}

// rawClient is a client without any Go object: only its descriptor.
func rawClient(addr *net.TCPAddr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	sa := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func rawReply(fd int, end []byte) error {
	var got []byte
	buf := make([]byte, 1024)
	for !bytes.Contains(got, end) {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			return fmt.Errorf("after %q: %d, %v", got, n, err)
		}
		got = append(got, buf[:n]...)
	}
	return nil
}

// TestIdleSessionMemory: a session that waits for a command after EHLO costs at
// most 16 KiB of resident memory in all.
func TestIdleSessionMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	sessions := 10000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < uint64(2*sessions+100) {
		sessions = int(limit.Cur-100) / 2
		t.Logf("descriptor limit %d: only %d sessions", limit.Cur, sessions)
	}
	if sessions < 200 {
		t.Skipf("SKIP: descriptor limit %d is too low", limit.Cur)
	}
	r := newRig(t, "smtpd_client_connection_count_limit=0")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var done sync.WaitGroup
	go func() {
		for n := uint64(1); ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer conn.Close()
				r.srv.serve(context.Background(), &service.Session{Conn: conn, Number: n,
					Log: r.srv.env.Log.Session(n), Drain: r.drain})
			})
		}
	}()
	fds := make([]int, 0, sessions)
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
		done.Wait()
	}()
	add := func(n int) {
		for range n {
			fd, err := rawClient(l.Addr().(*net.TCPAddr))
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
			if err := rawReply(fd, []byte(banner)); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(fd, []byte("EHLO client.example\r\n")); err != nil {
				t.Fatal(err)
			}
			if err := rawReply(fd, []byte("250 CHUNKING\r\n")); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(100) // pools, tables and stacks that are there anyway
	settle()
	before, stacks := resident(t), stackBytes()
	add(sessions - 100)
	raw := resident(t) - before
	settle()
	each := (resident(t) - before) / int64(sessions-100)
	t.Logf("%d sessions: %d bytes each (%d before a collection), of which stacks %d",
		sessions, each, raw/int64(sessions-100), (stackBytes()-stacks)/int64(sessions-100))
	if each > 16<<10 {
		t.Errorf("an idle session costs %d bytes, more than 16 KiB", each)
	}
	if raw/int64(sessions-100) > 16<<10 {
		t.Errorf("before a collection it costs %d bytes", raw/int64(sessions-100))
	}
	start := time.Now()
	fd, err := rawClient(l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	fds = append(fds, fd)
	if err := rawReply(fd, []byte(banner)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("a new client waited %v", d)
	}
}

func settle() {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
}

func stackBytes() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.StackInuse)
}
