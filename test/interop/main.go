// Interop runs Sealpost together with other mail software from Debian: programs
// that submit mail, Debian's Postfix as a neighbour on the network, its queue
// tools and its daemons inside one system with ours, and readers of the log.
//
//	go run ./test/interop [-run REGEXP] [-keep] [-v]
//
// It needs root, because Postfix does. A peer that is not installed is one SKIP
// line. Each scenario prints one line, "ok" or "FAIL"; the last line counts them,
// and the exit status is 1 if one failed. Everything happens below one temporary
// directory, on loopback addresses.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long one scenario may take, start and stop of its systems
// included.
const patience = 90 * time.Second

// peers are the programs that scenarios need, and the Debian packages they come in.
var peers = map[string]string{
	"swaks": "swaks", "s-nail": "s-nail", python: "python3", "pflogsumm": "pflogsumm",
	"/usr/lib/postfix/sbin/master": "postfix", "smtp-source": "postfix", "openssl": "openssl", "sslscan": "sslscan",
	"unbound": "unbound nsd ldnsutils", "dovecot": "dovecot-lmtpd", "postgrey": "postgrey",
	"mta-sts-daemon": "postfix-mta-sts-resolver", "psql": "postgresql", "mariadbd": "mariadb-server", "slapd": "slapd", "redis-server": "redis-server",
	"procmail": "procmail", "memcached": "memcached", "sqlite3": "sqlite3", "getent": "libc-bin", "useradd": "passwd",
}

// postfixMaster stands for Debian's Postfix as a peer.
const postfixMaster = "/usr/lib/postfix/sbin/master"

// errAbsent: a part of a peer is not installed, which only the peer itself can tell.
var errAbsent = errors.New("not installed")

// scenario is one thing that works, or does not.
type scenario struct {
	name string
	peer string // a key of peers
	run  func(context.Context, *stage) error
}

func main() {
	only := flag.String("run", "", "run only scenarios whose name matches this `regexp`")
	bin := flag.String("bin", "bin", "`directory` with Sealpost's programs")
	keep := flag.Bool("keep", false, "keep the directory of each scenario that failed")
	verbose := flag.Bool("v", false, "show the logs of scenarios that failed")
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Println("SKIP: interop needs root, because Postfix does")
		fmt.Println("0 passed, 0 failed, 0 skipped")
		return
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &runner{keep: *keep, verbose: *verbose, absent: make(map[string]bool)}
	if err := r.prepare(*bin); err != nil {
		fatal(err)
	}
	for _, s := range slices.Concat(submitScenarios, relayScenarios, queueScenarios, mixedScenarios, logScenarios,
		configScenarios, tlsScenarios, tlsOutScenarios, stsScenarios, databaseScenarios, saslScenarios, tableScenarios, policyScenarios, goSMTPScenarios, postsuperScenarios,
		pipeScenarios, proxyScenarios, installedScenarios) {
		if match.MatchString(s.name) && ctx.Err() == nil {
			r.run(ctx, s)
		}
	}
	if ctx.Err() != nil {
		r.failed++
		fmt.Println("FAIL interrupted")
	}
	if !*keep || r.failed == 0 {
		os.RemoveAll(r.dir)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	if r.failed > 0 {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "interop:", err)
	os.Exit(1)
}

// runner runs scenarios one after the other.
type runner struct {
	dir, bin                string
	keep, verbose           bool
	absent                  map[string]bool // peers that were reported already
	passed, failed, skipped int
}

// prepare copies the programs to where every user can run them.
func (r *runner) prepare(bin string) error {
	if _, err := os.Stat(filepath.Join(bin, "master")); err != nil {
		return fmt.Errorf("%w; run \"make build\" first", err)
	}
	// Daemons whose master is gone come to us: none may be left when we end.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	var err error
	if r.dir, err = os.MkdirTemp("", "interop-"); err != nil {
		return err
	}
	if err := os.Chmod(r.dir, 0o755); err != nil {
		return err
	}
	r.bin = filepath.Join(r.dir, "bin")
	if out, err := exec.Command("cp", "-a", bin, r.bin).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", bin, err, out)
	}
	return exec.Command("chmod", "-R", "a+rX", r.bin).Run()
}

// has tells whether a peer is there, and says once that it is not.
func (r *runner) has(peer string) bool {
	if peer == "" {
		return true
	}
	if _, err := exec.LookPath(peer); err == nil {
		return true
	}
	if pkg := peers[peer]; !r.absent[pkg] {
		r.absent[pkg] = true
		fmt.Printf("SKIP: %s is not installed (Debian package %s)\n", filepath.Base(peer), pkg)
	}
	return false
}

func (r *runner) run(ctx context.Context, s scenario) {
	if !r.has(s.peer) {
		r.skipped++
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := os.MkdirTemp(r.dir, "s-")
	if err != nil {
		fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		fatal(err)
	}
	st := &stage{dir: dir, bin: r.bin}
	start := time.Now()
	err = s.run(ctx, st)
	err = errors.Join(err, st.close())
	if errors.Is(err, errAbsent) {
		r.skipped++
		fmt.Printf("SKIP: %s: %v\n", s.name, err)
		return
	}
	if err == nil {
		r.passed++
		fmt.Printf("ok   %s (%.1fs)\n", s.name, time.Since(start).Seconds())
		os.RemoveAll(dir)
		return
	}
	r.failed++
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\n     ")
	fmt.Printf("FAIL %s: %s\n", s.name, text)
	if r.verbose {
		for _, m := range st.systems {
			fmt.Printf("--- log of %s (%s)\n%s", m.Name, m.LogFile, m.Log.Text())
		}
	}
	if !r.keep {
		os.RemoveAll(dir)
	}
}
