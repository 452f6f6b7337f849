package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/instance"
	"sealpost/lib/maillog"
	"sealpost/lib/queue"
	"sealpost/lib/queue/repair"
	"sealpost/lib/service"
)

const usage = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)] [-v (verbose)] [queue...]"

// errReserved: the caller may not do this.
var errReserved = errors.New("use of this command is reserved for the superuser")

// options are the command line.
type options struct {
	dir     string
	verbose int
	repair  repair.Job
	tasks   []task
	queues  []string
}

// task is one option that names messages.
type task struct {
	letter byte
	id     string // or "-", or ALL
}

func parse(args []string) (options, error) {
	var o options
	rest, err := getopt.Parse(args, "c:d:e:f:h:H:pr:sSv", func(letter byte, value string) error {
		switch letter {
		case 'c':
			o.dir = value
		case 'p':
			o.repair.Purge = true
		case 's':
			o.repair.Structure = true
		case 'S':
			o.repair.Structure, o.repair.Redundant = true, true
		case 'v':
			o.verbose++
		default:
			o.tasks = append(o.tasks, task{letter, value})
		}
		return nil
	})
	if err != nil {
		return o, fmt.Errorf("%w\n%s", err, usage)
	}
	for _, name := range rest {
		if !slices.Contains(repair.Queues(), name) {
			return o, fmt.Errorf("invalid directory name: %s", name)
		}
	}
	o.queues = rest
	if !o.repair.Purge && !o.repair.Structure && len(o.tasks) == 0 {
		o.repair.Purge, o.repair.Structure = true, true
	}
	return o, nil
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stderr))
}

// run is the command. What happens before the log is known goes to errout only.
func run(args []string, in io.Reader, errout io.Writer) int {
	o, err := parse(args)
	if err != nil {
		return early(errout, err)
	}
	dir, err := filepath.Abs(config.Dir(o.dir))
	if err != nil {
		return early(errout, err)
	}
	cfg, err := config.Load(dir)
	if err != nil {
		return early(errout, err)
	}
	set, err := instance.Load(cfg)
	if err != nil {
		return early(errout, err)
	}
	if err := authorize(set.QueueDir); err != nil {
		return early(errout, err)
	}
	log, err := service.OpenLog(cfg, service.LogOptions{Program: "postsuper", Verbose: o.verbose, Stderr: errout, Direct: true})
	if err != nil {
		return early(errout, err)
	}
	if err := work(cfg, set, o, in, log); err != nil {
		log.Text(maillog.Fatal, err.Error())
		return 1
	}
	return 0
}

func early(errout io.Writer, err error) int {
	fmt.Fprintf(errout, "postsuper: fatal: %v\n", err)
	return 1
}

// authorize lets the super-user pass, and the owner of a system without root.
func authorize(queueDir string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	st, err := os.Stat(queueDir)
	if err != nil {
		return errReserved
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() {
		return errReserved
	}
	return nil
}

func work(cfg *config.Config, set instance.Settings, o options, in io.Reader, log *maillog.Logger) error {
	ids, err := instance.LookupIDs(set)
	if err != nil {
		return err
	}
	var repairErr error
	if o.repair.Purge || o.repair.Structure {
		if _, o.repair.Live, err = instance.Running(set.PidFile()); err != nil {
			return err
		}
		o.repair.Now = time.Now()
		if len(o.queues) > 0 {
			o.repair.Queues = o.queues
		}
		_, repairErr = instance.Repair(cfg, set, ids, o.repair, log)
	}
	if len(o.tasks) == 0 {
		return repairErr
	}
	var qs queue.Settings
	if err := cfg.Decode(&qs); err != nil {
		return err
	}
	c := &command{q: queue.New(set.QueueDir, qs), queues: o.queues, in: in, now: time.Now}
	err = instance.AsOwnerLogging(ids, log, func(say func(func(*maillog.Logger))) error {
		c.say = say
		return c.run(o.tasks)
	})
	for _, s := range c.summary() {
		log.Log(maillog.Info, &s)
	}
	if c.done[requeued] > 0 {
		c.wakePickup(set.QueueDir, cfg)
	}
	return errors.Join(repairErr, err)
}
