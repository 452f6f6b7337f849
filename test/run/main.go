// Run shows the mail system at work on this machine, without privileges and
// without touching anything outside its directory:
//
//	go run ./test/run          one message from sendmail through two systems
//	go run ./test/run -serve   one system in the foreground, until interrupted
//
// It works in ./run (or $SEALPOST_RUN) with the programs of ./bin (or
// $SEALPOST_BIN). The exit status is 0 only if the message was delivered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sealpost/lib/dns/dnstest"
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

const message = `From: Alice <alice@sender.test>
To: Bob <bob@receiver.test>
Subject: the first message

It went in at one end and came out at the other.
`

// demonstrate is "make run".
func demonstrate(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := newPlace()
	if err != nil {
		return err
	}
	receiver, err := p.instance(harness.Options{Name: "receiver", Domain: "receiver.test", Users: []string{"bob"}})
	if err != nil {
		return err
	}
	names, err := dnstest.Start(dnstest.Config{Zone: fmt.Sprintf(
		"receiver.test. MX 10 mx.receiver.test.\nmx.receiver.test. A %s\n", receiver.IP)})
	if err != nil {
		return err
	}
	defer names.Close()
	sender, err := p.instance(harness.Options{Name: "sender", DNS: names.Addr()})
	if err != nil {
		return err
	}
	fmt.Printf("A name server on %s says: mail for receiver.test goes to %s.\n", names.Addr(), receiver.IP)
	for _, i := range []*harness.Instance{receiver, sender} {
		if err := i.Start(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop(i)) }()
		fmt.Printf("The %s's mail system listens on %s; its files are in %s\n", i.Name, i.SMTP(), i.Dir)
	}
	fmt.Printf("\n$ sendmail -f alice@sender.test bob@receiver.test\n%s\n", message)
	if _, err := sender.Command(ctx, strings.NewReader(message), "sendmail", "-f", "alice@sender.test", "bob@receiver.test"); err != nil {
		return err
	}
	if err := watch(ctx, sender, receiver); err != nil {
		return err
	}
	fmt.Println("Delivered.")
	return nil
}

// watch waits for the delivery and shows both logs and the delivered file.
func watch(ctx context.Context, sender, receiver *harness.Instance) error {
	_, err := receiver.WaitMail(ctx, "bob", 1)
	if err == nil {
		_, err = receiver.Log.Wait(ctx, 0, `qmgr\[.*: removed$`)
	}
	if err == nil {
		_, err = sender.Log.Wait(ctx, 0, `qmgr\[.*: removed$`)
	}
	for _, i := range []*harness.Instance{sender, receiver} {
		fmt.Printf("--- the log of the %s's system (%s)\n%s\n", i.Name, i.LogFile, i.Log.Text())
	}
	if err != nil {
		return err
	}
	for _, path := range receiver.MailFiles("bob") {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Printf("--- the delivered message (%s)\n%s\n", path, text)
	}
	return nil
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
