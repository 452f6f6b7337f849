package main

import (
	"os"
	"slices"
	"strings"
)

// checkResolver says whose word about DNSSEC is believed (decisions.md, 46): an
// answer's AD bit is worth what the way to the server is worth.
func (c *control) checkResolver() {
	if servers := c.cfg.List("dns_servers"); len(servers) > 0 {
		word := "not believed (dns_servers_authentic = no)"
		if c.cfg.Bool("dns_servers_authentic") {
			word = "believed (dns_servers_authentic = yes)"
		}
		c.log.Infof("DNSSEC status of answers from %s (dns_servers): %s", strings.Join(servers, ", "), word)
		return
	}
	const path = "/etc/resolv.conf"
	text, err := os.ReadFile(path)
	if err != nil {
		c.log.Warnf("no DNS server: dns_servers is empty and %v", err)
		return
	}
	servers, trust := resolvConf(string(text))
	if len(servers) == 0 {
		servers = []string{"127.0.0.1"} // as the C library
	}
	word := "not believed (no \"options trust-ad\" there)"
	if trust {
		word = "believed (\"options trust-ad\")"
	}
	c.log.Infof("DNSSEC status of answers from %s (%s): %s", strings.Join(servers, ", "), path, word)
}

// resolvConf finds the servers of resolv.conf(5) and whether trust-ad is set.
func resolvConf(text string) (servers []string, trust bool) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) > 1 && words[0] == "nameserver":
			servers = append(servers, words[1])
		case len(words) > 1 && words[0] == "options":
			trust = trust || slices.Contains(words[1:], "trust-ad")
		}
	}
	return servers, trust
}
