package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/instance"
	"sealpost/lib/table"
)

// addressErrors are mistakes in what says where to listen: nothing would start.
func (c *control) addressErrors() []error {
	if _, _, err := c.cfg.Protocols(); err != nil {
		return []error{err}
	}
	if _, err := c.cfg.Interfaces(); err != nil {
		return []error{err}
	}
	services, err := config.LoadMaster(c.masterCF(), c.cfg)
	if err != nil {
		return nil // said elsewhere
	}
	var errs []error
	for _, s := range services {
		port := s.Name[strings.LastIndexByte(s.Name, ':')+1:]
		if s.Type != "inet" {
			continue
		}
		if _, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port); err != nil {
			errs = append(errs, fmt.Errorf("%s: line %d: service name %s: unknown port %q", c.masterCF(), s.Line, s.Name, port))
		}
	}
	return errs
}

// logError is a log file that the log daemon would refuse, so that nobody would
// learn why nothing is logged.
func (c *control) logError() error {
	s := c.settings
	return instance.CheckLogFile(s.MaillogFile, c.cfg.List("maillog_file_prefixes"), c.dir, s.QueueDir, os.Geteuid() == 0)
}

// matchLists are the parameters that are match lists, with what their words are.
var matchLists = map[string]table.Kind{
	"mynetworks":                      table.Hosts,
	"smtpd_authorized_xclient_hosts":  table.Hosts,
	"smtpd_authorized_xforward_hosts": table.Hosts,
	"mydestination":                   table.Strings,
	"relay_domains":                   table.Domains,
	"virtual_alias_domains":           table.Strings,
	"virtual_mailbox_domains":         table.Strings,
}

// checkOverrides looks at the -o arguments of master.cf: a daemon with a mistake
// there does not start.
func (c *control) checkOverrides() {
	entries, err := config.ReadMaster(c.masterCF())
	if err != nil {
		return // said already
	}
	for i := range entries {
		e := &entries[i]
		overrides := e.Overrides()
		if len(overrides) == 0 {
			continue
		}
		if _, err := c.cfg.With(overrides...); err != nil {
			c.log.Warnf("%s: line %d: service %s does not start: %v", c.masterCF(), e.First, e.Fields[0], err)
		}
	}
}
