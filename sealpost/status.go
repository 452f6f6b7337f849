package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
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
			time.Since(s.Started).Round(time.Second), s.Sessions, limit, notes(s), counters(s))
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
		if text != "" {
			text += " "
		}
		text += n.Name + "=" + strconv.FormatInt(n.Value, 10)
	}
	return text
}

// workers asks each worker for its numbers. A socket that nobody answers belongs
// to a worker that was killed.
func (c *control) workers() []*service.WorkerStatus {
	paths, err := filepath.Glob(filepath.Join(c.settings.QueueDir, service.ControlDir, "*"))
	if err != nil {
		return nil
	}
	var out []*service.WorkerStatus
	for _, path := range paths {
		s, err := service.Control(path, service.ControlStatus, 0)
		if err != nil {
			c.log.Verbosef("%s: %v", path, err)
			continue
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *service.WorkerStatus) int {
		return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.Service, b.Service), cmp.Compare(a.PID, b.PID))
	})
	return out
}

// setVerbose changes what one service logs, while it runs.
func (c *control) setVerbose() int {
	name := c.args[0]
	level, err := strconv.Atoi(c.args[1])
	if err != nil {
		return c.fatal("verbose %s %q: expected a number, 0 for quiet", name, c.args[1])
	}
	found := false
	for _, transport := range []string{"inet", "unix", "pass", "fifo", "unix-dgram"} {
		path := filepath.Join(c.settings.QueueDir, service.ControlPath(transport, name))
		if matches, _ := filepath.Glob(path); len(matches) == 0 {
			continue
		}
		s, err := service.Control(path, service.ControlVerbose, level)
		if err != nil {
			return c.fatal("service %s: %v", name, err)
		}
		found = true
		fmt.Fprintf(c.stdout, "%s (%s, process %d): verbosity is now %d\n", s.Service, transport, s.PID, s.Verbose)
	}
	if !found {
		return c.fatal("no service %s is running; \"sealpost status\" lists those that are", name)
	}
	return 0
}
