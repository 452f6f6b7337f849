package main

import (
	"path/filepath"

	"sealpost/lib/config"
	"sealpost/lib/proxyfilter"
)

// checkProxy looks at filters before the queue: at where they are, which smtpd does not
// start without, and whether there is a server that takes mail back from them.
func (c *control) checkProxy() {
	entries, err := config.ReadMaster(c.masterCF())
	if err != nil {
		return // said already
	}
	var front *config.Entry
	back := false
	for i := range entries {
		e := &entries[i]
		if filepath.Base(e.Fields[7]) != "smtpd" {
			continue
		}
		spec, err := c.cfg.Overlay(e.Overrides()...).Value("smtpd_proxy_filter")
		if err != nil {
			continue // among the problems already
		}
		if spec == "" {
			back = true
			continue
		}
		if _, err := proxyfilter.Parse(spec); err != nil {
			c.log.Warnf("%s: line %d: service %s does not start: parameter smtpd_proxy_filter: %v", c.masterCF(), e.First, e.Fields[0], err)
		}
		if front == nil {
			front = e
		}
	}
	if front != nil && !back {
		c.log.Warnf("%s: line %d: service %s: smtpd_proxy_filter is set for every smtpd: mail that the filter gives back here goes to it again; the server behind it needs -o smtpd_proxy_filter=",
			c.masterCF(), front.First, front.Fields[0])
	}
}
