package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/instance"
)

// optional are programs whose lines master leaves out when they are absent.
var optional = map[string]bool{
	"trivial-rewrite": true, "anvil": true, "scache": true, "tlsmgr": true,
}

// check is the verb: everything that can be said about the instance without
// starting it. The status is 1 when it would not start.
func (c *control) check() int {
	ok := c.checkFatal()
	c.checkWarn()
	if !ok {
		return 1
	}
	return 0
}

// checkFatal makes missing directories and finds what would keep the system from
// running.
func (c *control) checkFatal() bool {
	ok := true
	ids, err := instance.LookupIDs(c.settings)
	if err != nil {
		c.fatal("%v", err)
		return false
	}
	if err := instance.Create(c.settings, ids); err != nil {
		c.fatal("%v", err)
		ok = false
	}
	if err := executable(c.master()); err != nil {
		c.fatal("daemon_directory = %s: %v", c.settings.DaemonDir, err)
		ok = false
	}
	if err := c.logError(); err != nil {
		c.fatal("%v", err)
		ok = false
	}
	for _, err := range c.addressErrors() {
		c.fatal("%v", err)
		ok = false
	}
	path := c.masterCF()
	services, err := config.LoadMaster(path, c.cfg)
	if err != nil {
		c.fatal("%v", err)
		return false
	}
	for _, s := range services {
		if strings.HasPrefix(s.Name, instance.UserDir+"/") && s.Type != "unix" {
			c.fatal("%s: line %d: service %s must have type unix", path, s.Line, s.Name)
			ok = false
		}
	}
	return ok
}

// checkWarn reports what works but should not be so.
func (c *control) checkWarn() {
	ids, err := instance.LookupIDs(c.settings)
	if err != nil {
		return // said already
	}
	if _, err := os.Stat(c.settings.QueueDir); err == nil {
		for _, p := range instance.Check(c.settings, ids) {
			c.log.Warnf("%s", p)
		}
	}
	services, _ := config.LoadMaster(c.masterCF(), c.cfg) // an error is said already
	entries, _ := config.ReadMaster(c.masterCF())
	for _, p := range c.cfg.Problems(c.masterCF(), entries) {
		c.log.Warnf("%s", p)
	}
	c.checkTables()
	c.checkOverrides()
	c.checkTLS()
	c.checkProxy()
	c.checkConfigFiles()
	if executable(c.master()) == nil {
		c.checkPrograms(services)
	}
	c.checkCommands(ids)
	c.checkSpace()
	c.checkResolver()
}

// checkSpace: with less room in the queue than this the SMTP server takes nothing.
func (c *control) checkSpace() {
	var st unix.Statfs_t
	if err := unix.Statfs(c.settings.QueueDir, &st); err != nil {
		return // said already
	}
	limit := c.cfg.Size("message_size_limit")
	need := max(c.cfg.Size("queue_minfree"), limit+limit/2)
	if size := uint64(max(st.Bsize, 1)); st.Bavail <= uint64(need)/size {
		c.log.Warnf("%s has %d bytes free; the SMTP server refuses mail unless there are more than %d (queue_minfree, or 1.5 times message_size_limit)",
			c.settings.QueueDir, st.Bavail*size, need)
	}
}

// setgidCommands are what runs with the group setgid_group, and what users lack
// where it does not.
var setgidCommands = []struct{ name, lack string }{
	{"postdrop", "users cannot submit mail while the mail system is down"},
	{"postqueue", "users cannot have the queue flushed"},
}

// checkCommands looks at the commands that have more rights than who runs them. A
// system without root has none.
func (c *control) checkCommands(ids instance.IDs) {
	if ids.UID < 0 {
		return
	}
	for _, cmd := range setgidCommands {
		path := filepath.Join(c.settings.CommandDir, cmd.name)
		for _, p := range setgidProblems(path, c.settings.SetgidGroup, ids.Setgid, cmd.lack) {
			c.log.Warnf("%s", p)
		}
	}
}

// setgidProblems are what is wrong with a command that should run with a group.
func setgidProblems(path, group string, gid int, lack string) []string {
	st, err := os.Stat(path)
	if err != nil {
		return []string{fmt.Sprintf("command_directory: %v: %s", err, lack)}
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	var problems []string
	if st.Mode()&fs.ModeSetgid == 0 || st.Mode().Perm()&0o111 != 0o111 || int(sys.Gid) != gid {
		problems = append(problems, fmt.Sprintf("%s does not run with setgid_group = %s (it has group %d, mode %04o): %s; chgrp %[2]s %[1]s && chmod 2755 %[1]s",
			path, group, sys.Gid, sys.Mode&0o7777, lack))
	}
	if st.Mode()&fs.ModeSetuid != 0 {
		problems = append(problems, fmt.Sprintf("%s is set-uid, which it must not be; chmod u-s %[1]s", path))
	}
	if sys.Uid != 0 || st.Mode().Perm()&0o022 != 0 {
		problems = append(problems, fmt.Sprintf("%s can be changed by others than root (it has owner %d, mode %04o); chown root %[1]s && chmod go-w %[1]s",
			path, sys.Uid, sys.Mode&0o7777))
	}
	return problems
}

// checkConfigFiles: whoever may write the configuration may run programs as root.
func (c *control) checkConfigFiles() {
	for _, name := range []string{"", "main.cf", "master.cf"} {
		path := filepath.Join(c.dir, name)
		st, err := os.Stat(path)
		if err != nil {
			continue // said already
		}
		if st.Mode().Perm()&0o022 != 0 {
			c.log.Warnf("%s is writable by group or other (mode %04o): whoever can change it controls the mail system", path, st.Mode().Perm())
		}
	}
}

func (c *control) masterCF() string { return filepath.Join(c.dir, "master.cf") }

// checkPrograms looks for the command of each service.
func (c *control) checkPrograms(services []config.Service) {
	for _, s := range services {
		command := s.Command
		if !filepath.IsAbs(command) {
			command = filepath.Join(c.settings.DaemonDir, command)
		}
		err := executable(command)
		if errors.Is(err, os.ErrNotExist) && optional[filepath.Base(s.Command)] {
			continue
		}
		switch {
		case errors.Is(err, os.ErrNotExist):
			c.log.Warnf("%s: line %d: service %s does not work: there is no program %s; comment it out with postconf -M# %s/%s",
				c.masterCF(), s.Line, s.Name, command, s.Name, s.Type)
		case err != nil:
			c.log.Warnf("%s: line %d: service %s: %v", c.masterCF(), s.Line, s.Name, err)
		}
	}
}

// executable tells why a path cannot be run.
func executable(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
		return &os.PathError{Op: "run", Path: path, Err: os.ErrPermission}
	}
	return nil
}
