package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sealpost/lib/service"
)

// status says whether the system runs, and what each worker is doing.
func (c *control) status() int {
	pid, ok := c.running()
	if !ok {
		c.log.Infof(notRunning)
		return 1
	}
	c.log.Infof("the Postfix mail system is running: PID: %d", pid)
	workers := c.workers()
	if len(workers) == 0 {
		return 0
	}
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tPROGRAM\tPID\tUP\tSESSIONS\tNOTES\tCOUNTERS")
	for _, s := range workers {
		limit := "no limit"
		if s.MaxSessions > 0 {
			limit = strconv.Itoa(s.MaxSessions)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d/%s\t%s\t%s\n", s.Service, s.Program, s.PID,
			time.Since(s.Started).Round(time.Second), s.Sessions, limit, notes(s.WorkerStatus), counters(s.WorkerStatus))
	}
	w.Flush()
	return 0
}

func notes(s *service.WorkerStatus) string {
	text := ""
	add := func(on bool, word string) {
		if on && text != "" {
			text += ","
		}
		if on {
			text += word
		}
	}
	add(s.Draining, "draining")
	add(s.Stress, "stress")
	add(s.Verbose > 0, "verbose="+strconv.Itoa(s.Verbose))
	if text == "" {
		return "-"
	}
	return text
}

func counters(s *service.WorkerStatus) string {
	text := ""
	for _, n := range s.Counts {
		if n.Name == "sessions" {
			continue // has a column
		}
		if text != "" {
			text += " "
		}
		text += n.Name + "=" + strconv.FormatInt(n.Value, 10)
	}
	return text
}

// A worker is one that answered on its control socket.
type worker struct {
	*service.WorkerStatus
	path string
}

// transport is the type field of the service, which the socket's name begins with.
func (w worker) transport() string {
	t, _, _ := strings.Cut(filepath.Base(w.path), ".")
	return t
}

// workers asks each worker for its numbers. A socket that nobody answers belongs
// to a worker that was killed.
func (c *control) workers() []worker {
	paths, err := filepath.Glob(filepath.Join(c.settings.QueueDir, service.ControlDir, "*"))
	if err != nil {
		return nil
	}
	var out []worker
	for _, path := range paths {
		s, err := service.Control(path, service.ControlStatus, 0)
		if err != nil {
			c.log.Verbosef("%s: %v", path, err)
			continue
		}
		out = append(out, worker{s, path})
	}
	slices.SortFunc(out, func(a, b worker) int {
		return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.Service, b.Service), cmp.Compare(a.PID, b.PID))
	})
	return out
}

// setVerbose changes what one service logs, while it runs.
func (c *control) setVerbose() int {
	name := c.args[0]
	level, err := strconv.Atoi(c.args[1])
	if err != nil || level < 0 {
		return c.fatal("verbose %s %q: expected a number, 0 for quiet", name, c.args[1])
	}
	if c.target() == 0 {
		return 1
	}
	workers := named(c.workers(), name)
	if len(workers) == 0 {
		return c.fatal("no service %s is running; \"sealpost status\" lists those that are", name)
	}
	for _, w := range workers {
		s, err := service.Control(w.path, service.ControlVerbose, level)
		if err != nil {
			return c.fatal("service %s: %v", w.Service, err)
		}
		fmt.Fprintf(c.stdout, "%s (%s, process %d): verbosity is now %d\n", s.Service, s.Program, s.PID, s.Verbose)
	}
	return 0
}

// named picks the workers of a service, given as name or name/type, or, when no
// service has that name, all workers of a program: the SMTP server's service may
// be called smtp or 127.0.0.1:2525.
func named(all []worker, name string) []worker {
	by := func(match func(worker) bool) (out []worker) {
		for _, w := range all {
			if match(w) {
				out = append(out, w)
			}
		}
		return out
	}
	if out := by(func(w worker) bool { return w.Service == name || w.Service+"/"+w.transport() == name }); len(out) > 0 {
		return out
	}
	return by(func(w worker) bool { return w.Program == name })
}
