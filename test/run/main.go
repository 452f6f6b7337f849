// Run shows the mail system at work on this machine, without privileges and
// without touching anything outside its directory:
//
//	go run ./test/run          messages with REQUIRETLS from one system to two others
//	go run ./test/run -serve   one system in the foreground, until interrupted
//
// It works in ./run (or $SEALPOST_RUN) with the programs of ./bin (or
// $SEALPOST_BIN). The exit status is 0 only if all went as the text says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"sealpost/test/harness"
)

// patience is how long a delivery may take. It takes well under a second.
const patience = 30 * time.Second

func main() {
	serve := flag.Bool("serve", false, "keep one system running in the foreground")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := demonstrate
	if *serve {
		do = serveForeground
	}
	if err := do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

// place is where everything lives.
type place struct{ run, bin string }

func newPlace() (place, error) {
	p := place{run: os.Getenv("SEALPOST_RUN"), bin: os.Getenv("SEALPOST_BIN")}
	if p.run == "" {
		p.run = "run"
	}
	if p.bin == "" {
		p.bin = "bin"
	}
	var err error
	if p.run, err = filepath.Abs(p.run); err != nil {
		return p, err
	}
	if p.bin, err = filepath.Abs(p.bin); err != nil {
		return p, err
	}
	if _, err := os.Stat(filepath.Join(p.bin, "master")); err != nil {
		return p, fmt.Errorf("%w; run \"make build\" first", err)
	}
	return p, os.MkdirAll(p.run, 0o755)
}

// instance makes one system below the run directory. What an earlier run left is
// stopped and removed.
func (p place) instance(o harness.Options) (*harness.Instance, error) {
	o.Dir, o.Bin = filepath.Join(p.run, o.Name), p.bin
	if _, err := os.Stat(filepath.Join(o.Dir, "etc", "main.cf")); err == nil {
		old := &harness.Instance{Options: o,
			ConfigDir: filepath.Join(o.Dir, "etc"), QueueDir: filepath.Join(o.Dir, "queue")}
		if err := stop(old); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(o.Dir, 0o755); err != nil {
		return nil, err
	}
	return harness.New(o)
}

func stop(i *harness.Instance) error {
	// The context of the caller may be over: stopping has its own time.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return i.Stop(ctx)
}

// serveForeground is "make serve".
func serveForeground(ctx context.Context) (err error) {
	p, err := newPlace()
	if err != nil {
		return err
	}
	i, err := p.instance(harness.Options{Name: "serve", Domain: "example.test", Users: []string{"alice", "bob"}})
	if err != nil {
		return err
	}
	if err := i.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(i)) }()
	fmt.Printf(`The mail system runs. Talk to it:

  SMTP      telnet %s %d          (mail for alice@example.test and bob@example.test)
  submit    MAIL_CONFIG=%s %s/sendmail bob@example.test < message
  queue     MAIL_CONFIG=%s %s/mailq
  state     MAIL_CONFIG=%s %s/sealpost status
  mail      ls %s/bob/new
  log       tail -f %s
  settings  %s/main.cf and master.cf; then "sealpost reload"

Stop it with Ctrl-C.
`, i.IP, harness.SMTPPort, i.ConfigDir, p.bin, i.ConfigDir, p.bin, i.ConfigDir, p.bin, i.MailDir, i.LogFile, i.ConfigDir)
	<-ctx.Done()
	fmt.Println("\nStopping.")
	return nil
}
