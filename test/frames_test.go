package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/test/capture"
	"sealpost/test/harness"
)

// sockets are the Unix sockets of an instance, relative to its queue directory.
func sockets(t *testing.T, mta *harness.Instance) map[string]fs.FileInfo {
	t.Helper()
	found := map[string]fs.FileInfo{}
	err := filepath.WalkDir(mta.QueueDir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a queue file that has gone on
		}
		if err != nil || e.Type()&fs.ModeSocket == 0 {
			return err
		}
		name, _ := filepath.Rel(mta.QueueDir, path)
		found[name], err = e.Info()
		return err
	})
	if err != nil || len(found) < 15 {
		t.Fatalf("%d sockets: %v", len(found), err)
	}
	return found
}

// TestSocketDirectoriesKeepOthersOut: whoever is not the mail system's user or
// in its group reaches the sockets below user/, and there are two.
func TestSocketDirectoriesKeepOthersOut(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "modes"})
	var open []string
	for _, name := range slices.Sorted(maps.Keys(sockets(t, mta))) {
		reachable := true
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			fi, err := os.Stat(filepath.Join(mta.QueueDir, dir))
			if err != nil {
				t.Fatal(err)
			}
			reachable = reachable && fi.Mode()&0o001 != 0
		}
		if reachable {
			open = append(open, name)
		}
	}
	if got := strings.Join(open, " "); got != "user/showq user/submit" {
		t.Errorf("open to every user: %s", got)
	}
}

// TestGarbageOnEverySocket (§2.H): whatever is written to whichever socket, no
// daemon dies or hangs, no log line is forged, and mail goes on.
//
// SEALPOST_FRAMES is the number of frames, in all; 10000 without it.
func TestGarbageOnEverySocket(t *testing.T) {
	frames := 10_000
	if n, err := strconv.Atoi(os.Getenv("SEALPOST_FRAMES")); err == nil {
		frames = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d frames", seed, frames)
	mta := harness.Start(t, harness.Options{Name: "garbage", Domain: "g.test", Users: []string{"bob"},
		DNS: "127.0.0.1:1", Params: map[string]string{"smtp_connect_timeout": "1s", "ipc_timeout": "20s"}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience+time.Duration(frames)*10*time.Millisecond)
	defer cancel()
	send := func(n int) {
		t.Helper()
		if err := mta.Send(ctx, "a@g.test", []string{"bob@g.test"}, "Subject: x\n\nx\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := mta.WaitMail(ctx, "bob", n); err != nil {
			t.Fatal(err)
		}
	}
	send(1)
	dir, err := os.Open(mta.QueueDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	// A socket name is short; the way to the instance may not be.
	at := fmt.Sprintf("/proc/self/fd/%d/", dir.Fd())
	names := slices.Sorted(maps.Keys(sockets(t, mta)))
	poke := func(name string, frame []byte) {
		if err := poke(at+name, frame); err != nil {
			t.Errorf("%s does not let go of a session: %v; frame %.300q", name, err, frame)
		}
	}
	for _, name := range names {
		poke(name, []byte("\x00")) // whoever listens starts
	}
	before := mta.Workers()
	g := generator{seeds: recordings(t)}
	var clients sync.WaitGroup
	const parallel = 8
	for c := range uint64(parallel) {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, c))
			for range frames / parallel {
				if t.Failed() || ctx.Err() != nil {
					return
				}
				poke(names[rng.IntN(len(names))], g.frame(rng))
			}
		})
	}
	clients.Wait()
	send(2)
	after := mta.Workers()
	for name, pids := range before {
		if name != "" && !slices.Equal(slices.Sorted(slices.Values(pids)), slices.Sorted(slices.Values(after[name]))) {
			t.Errorf("%s was %v and is %v", name, pids, after[name])
		}
	}
	if n := mta.Log.Count(`(panic|fatal): `); n > 0 {
		t.Errorf("%d panics or fatal errors in the log", n)
	}
	// A datagram to postlogd is a line of its sender's choice, but one line.
	wellFormed(t, mta, regexp.MustCompile(""))
}

// poke writes a frame to a socket and reads until the other end closes.
func poke(path string, frame []byte) error {
	deadline := time.Now().Add(40 * time.Second)
	conn, err := net.DialTimeout("unix", path, 40*time.Second)
	if err != nil {
		// A socket of datagrams.
		if conn, err = net.Dial("unixgram", path); err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(deadline)
		_, err = conn.Write(frame)
		return timeoutOf(err)
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	if _, err := conn.Write(frame); err != nil {
		return timeoutOf(err) // it has heard enough
	}
	conn.(*net.UnixConn).CloseWrite()
	_, err = io.Copy(io.Discard, conn)
	return timeoutOf(err)
}

// timeoutOf is the error that counts: a peer may close whenever it likes.
func timeoutOf(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// recordings are requests as clients sent them.
func recordings(t *testing.T) [][]byte {
	t.Helper()
	var seeds [][]byte
	for _, c := range capture.Conns(t, "*-from-*") {
		seeds = append(seeds, c.Client)
	}
	if len(seeds) < 20 {
		t.Fatalf("%d recordings", len(seeds))
	}
	return seeds
}

// generator makes frames: noise, attribute lists, records, and damaged requests.
type generator struct{ seeds [][]byte }

func (g generator) frame(rng *rand.Rand) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	var b []byte
	switch rng.IntN(4) {
	case 0:
		return noise(1 + rng.IntN(300))
	case 1:
		names := []string{"flags", "queue_id", "nrequest", "request", "protocol", "status", "size", "offset", "sender", "nexthop", "recipient", "verbose"}
		for range rng.IntN(20) {
			b = append(b, names[rng.IntN(len(names))]...)
			b = append(b, 0)
			b = append(b, [][]byte{[]byte("-1"), []byte("99999999999999999999"), []byte("../../x"), []byte("a\r\nb"), noise(8), nil}[rng.IntN(6)]...)
			b = append(b, 0)
		}
		return append(b, 0)
	case 2:
		for range 1 + rng.IntN(20) {
			b = append(b, "TSRMNLXEACp<>w\x00\xff"[rng.IntN(16)])
			switch rng.IntN(4) {
			case 0:
				b = append(b, 0xff, 0xff, 0xff, 0xff, 0x7f)
			default:
				n := rng.IntN(60)
				b = append(append(b, byte(n)), noise(n)...)
			}
		}
		return b
	}
	b = slices.Clone(g.seeds[rng.IntN(len(g.seeds))])
	for range rng.IntN(4) {
		if len(b) == 0 {
			break
		}
		i := rng.IntN(len(b))
		switch rng.IntN(4) {
		case 0:
			b[i] ^= 1 << rng.IntN(8)
		case 1:
			b = b[:i]
		case 2:
			b = slices.Insert(b, i, noise(1+rng.IntN(8))...)
		case 3:
			b = slices.Delete(b, i, min(len(b), i+1+rng.IntN(8)))
		}
	}
	return b
}

// logLine is a line of a daemon.
var logLine = regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \S+ \S+\[\d+\]: \S`)

// wellFormed checks that each line of the log matches the form, and is printable.
func wellFormed(t *testing.T, mta *harness.Instance, form *regexp.Regexp) {
	t.Helper()
	bad := 0
	for line := range strings.Lines(mta.Log.Text()) {
		text := strings.TrimSuffix(line, "\n")
		control := strings.IndexFunc(text, func(r rune) bool {
			return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfffd
		})
		if control < 0 && form.MatchString(text) {
			continue
		}
		if bad++; bad <= 5 {
			t.Errorf("log line %.300q", text)
		}
	}
}
