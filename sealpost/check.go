package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

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
	c.checkResolver()
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
