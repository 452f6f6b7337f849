// Command bench measures Sealpost against Debian's Postfix in the same run.
//
// Both systems get the same messages from smtp-source(1) and relay them to the
// same smtp-sink(1), on the same queue file system, with their default settings,
// one after the other in pairs; the median of the pairs' ratios is printed. A run
// ends when the queue is empty again. CPU time is that of every daemon, from the
// kernel's accounting of ended processes; memory is the sum of the proportional
// set sizes (Pss) of all daemons when the last message has left.
//
// The TLS table counts handshakes with the SMTP server, and messages relayed to a
// server that demands TLS, with and without connection reuse. Both systems have
// the same self-signed ECDSA certificate; clients and servers that speak TLS with
// them are part of this program, whose own CPU time does not count.
//
// It needs root (Postfix does), and the Debian package postfix.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// load is one row of the table.
type load struct {
	name     string
	sessions int
	size     int // bytes of content
	messages int
	conf     string // settings of both systems for this load
	tls      bool   // what this program speaks with the systems is TLS
	// handshakes: connections to the SMTP server that end after STARTTLS, no mail.
	handshakes bool
}

var loads = []load{
	{name: "5 KB,   1 connection ", sessions: 1, size: 5 << 10, messages: 1500},
	{name: "5 KB,  20 connections", sessions: 20, size: 5 << 10, messages: 6000},
	{name: "5 KB, 100 connections", sessions: 100, size: 5 << 10, messages: 6000},
	{name: "5 MB,  10 connections", sessions: 10, size: 5 << 20, messages: 150},
}

var tlsLoads = []load{
	{name: "handshakes, 20 clients", sessions: 20, messages: 3000, tls: true, handshakes: true},
	{name: "relay, no reuse", sessions: 20, size: 5 << 10, messages: 3000, tls: true,
		conf: "smtp_tls_connection_reuse = no\n"},
	{name: "relay, reuse", sessions: 20, size: 5 << 10, messages: 6000, tls: true,
		conf: "smtp_tls_connection_reuse = yes\n"},
}

func main() {
	bin := flag.String("bin", "bin", "`directory` with Sealpost's programs")
	pairs := flag.Int("pairs", 3, "number of pairs per load")
	scale := flag.Float64("scale", 1, "factor for the number of messages")
	only := flag.String("load", "", "run only loads whose name contains this `text`")
	where := flag.String("queue", "", "print only this `table`: tmpfs, disk (the queue's file system), tls or tables")
	alone := flag.String("alone", "", "measure only sealpost or postfix, for profiling")
	flag.Parse()
	if err := check(); err != nil {
		fmt.Printf("SKIP: make bench: %v\n", err)
		return
	}
	abs, err := filepath.Abs(*bin)
	if err != nil {
		fatal(err)
	}
	// Children that outlive their parent come to us, with their CPU time.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fatal(err)
	}
	fmt.Printf("%d processors, %s; Postfix %s\n", runtime.NumCPU(), runtime.Version(), postfixVersion())
	for _, fs := range []string{"tmpfs", "disk"} {
		if *where == "" || *where == fs {
			if err := table(fs, abs, loads, options{*pairs, *scale, *only, *alone}); err != nil {
				fatal(err)
			}
		}
	}
	if *where == "" || *where == "tls" {
		fmt.Printf("\nTLS")
		if err := table("tmpfs", abs, tlsLoads, options{*pairs, *scale, *only, *alone}); err != nil {
			fatal(err)
		}
	}
	if *where == "" && *only == "" && *alone == "" || *where == "tables" {
		if err := lookupTables(abs, *pairs, *scale); err != nil {
			fatal(err)
		}
	}
}

// options are what the command line says about all tables.
type options struct {
	pairs int
	scale float64
	only  string
	alone string
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root to start Postfix")
	}
	for _, p := range []string{"/usr/sbin/postfix", "smtp-source", "smtp-sink"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is not installed (Debian package postfix)", p)
		}
	}
	return nil
}

func postfixVersion() string {
	out, err := exec.Command("/usr/sbin/postconf", "-h", "mail_version").Output()
	if err != nil {
		return "(unknown version)"
	}
	return strings.TrimSpace(string(out))
}

// table measures loads with the queue on one kind of file system.
func table(fs, bin string, loads []load, o options) error {
	base := "/dev/shm"
	if fs == "disk" {
		base = os.TempDir()
	}
	dir, err := os.MkdirTemp(base, "mta-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	name, rate, err := fsyncRate(dir)
	if err != nil {
		return err
	}
	fmt.Printf("\nqueue on %s (%s, %.0f fsync/s of a new 5 KB file)\n", fs, name, rate)
	fmt.Printf("%-22s %12s %12s %8s %9s %9s %8s\n", "", "Sealpost", "Postfix", "ratio", "CPU/msg", "CPU/msg", "memory")
	fmt.Printf("%-22s %12s %12s %8s %9s %9s %8s\n", "", "msg/s", "msg/s", "", "Sealpost", "ratio", "ratio")
	for _, l := range loads {
		if !strings.Contains(l.name, o.only) {
			continue
		}
		l.messages = max(int(float64(l.messages)*o.scale), 2*l.sessions)
		if err := row(dir, bin, l, o.pairs, o.alone); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

// row prints the medians of one load.
func row(dir, bin string, l load, pairs int, alone string) error {
	var ours, theirs []result
	for i := range pairs {
		for _, s := range []*system{
			newSealpost(filepath.Join(dir, fmt.Sprintf("s%d", i)), bin),
			newPostfix(filepath.Join(dir, fmt.Sprintf("p%d", i))),
		} {
			if alone != "" && !strings.EqualFold(alone, s.name) {
				continue
			}
			r, err := measure(s, l)
			if err != nil {
				return err
			}
			if s.name == "Sealpost" {
				ours = append(ours, r)
			} else {
				theirs = append(theirs, r)
			}
		}
	}
	rate := func(r result) float64 { return r.rate }
	cpu := func(r result) float64 { return r.cpu }
	if alone != "" {
		both := append(ours, theirs...)
		fmt.Printf("%-22s %12.0f (%s alone) %6.0f us\n", l.name, median(both, rate), alone, median(both, cpu)*1e6)
		return nil
	}
	fmt.Printf("%-22s %12.0f %12.0f %8.2f %6.0f us %9.2f %8.2f\n", l.name, median(ours, rate),
		median(theirs, rate), ratio(ours, theirs, rate), median(ours, cpu)*1e6, ratio(ours, theirs, cpu),
		ratio(ours, theirs, func(r result) float64 { return r.memory }))
	return nil
}

func median(rs []result, of func(result) float64) float64 {
	v := make([]float64, 0, len(rs))
	for _, r := range rs {
		v = append(v, of(r))
	}
	return middle(v)
}

// ratio is the median of the pairs' ratios: what changes on the machine during
// the run touches both halves of a pair.
func ratio(a, b []result, of func(result) float64) float64 {
	v := make([]float64, 0, len(a))
	for i := range a {
		v = append(v, of(a[i])/of(b[i]))
	}
	return middle(v)
}

func middle(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// fsyncRate names the file system and measures how fast new files can be made
// durable, one at a time, directory entry included.
func fsyncRate(dir string) (name string, rate float64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", 0, err
	}
	names := map[int64]string{
		unix.TMPFS_MAGIC: "tmpfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	}
	name = names[int64(st.Type)]
	if name == "" {
		name = fmt.Sprintf("file system type %#x", st.Type)
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", 0, err
	}
	defer d.Close()
	buf := make([]byte, 5<<10)
	start, n := time.Now(), 0
	for ; n < 2000 && time.Since(start) < time.Second; n++ {
		path := filepath.Join(dir, "fsync-test")
		f, err := os.Create(path)
		if err != nil {
			return "", 0, err
		}
		if _, err := f.Write(buf); err != nil {
			return "", 0, err
		}
		if err := f.Sync(); err != nil {
			return "", 0, err
		}
		f.Close()
		if err := d.Sync(); err != nil {
			return "", 0, err
		}
		os.Remove(path)
	}
	return name, float64(n) / time.Since(start).Seconds(), nil
}
