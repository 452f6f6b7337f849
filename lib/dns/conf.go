package dns

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPort     = 53
	defaultTimeout  = 5 * time.Second
	defaultAttempts = 2
	maxServers      = 3 // of resolv.conf, as the C library
	resolvConf      = "/etc/resolv.conf"
)

// client is what is asked and how.
type client struct {
	servers   []netip.AddrPort
	timeout   time.Duration // per question and server
	attempts  int           // rounds over all servers
	authentic bool          // AD is believed
	dnssec    bool          // ask with DO
}

// ParseServer parses one element of dns_servers: address, address:port,
// [address] or [address]:port.
func ParseServer(s string) (netip.AddrPort, error) {
	host := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr, defaultPort), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("bad name server %q in dns_servers: want address, address:port or [address]:port", s)
	}
	return ap, nil
}

// newClient takes the servers of main.cf, else those of the file.
func newClient(s Settings, path string) (*client, error) {
	c := &client{timeout: defaultTimeout, attempts: defaultAttempts, dnssec: s.WantDNSSEC}
	if len(s.Servers) > 0 {
		for _, text := range s.Servers {
			server, err := ParseServer(text)
			if err != nil {
				return nil, err
			}
			c.servers = append(c.servers, server)
		}
		c.authentic = s.ServersAuthentic
		return c, nil
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("name servers: %w (set dns_servers to do without this file)", err)
	default:
		defer f.Close()
		if err := c.readResolvConf(bufio.NewScanner(f)); err != nil {
			return nil, fmt.Errorf("name servers: %s: %w", path, err)
		}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), defaultPort)}
	}
	return c, nil
}

// readResolvConf reads resolv.conf(5). Lines that are not understood are passed
// over, as the C library does.
func (c *client) readResolvConf(lines *bufio.Scanner) error {
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, netip.AddrPortFrom(addr, defaultPort))
			}
		case "options":
			for _, option := range fields[1:] {
				c.option(option)
			}
		}
	}
	return lines.Err()
}

// option takes timeout:N (1 to 30 s), attempts:N (1 to 5) and trust-ad. "ndots"
// and the search list have no meaning here: a mail domain is a complete name.
func (c *client) option(s string) {
	name, value, _ := strings.Cut(s, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "trust-ad":
		c.authentic = true
	case name == "timeout" && err == nil:
		c.timeout = time.Duration(min(max(n, 1), 30)) * time.Second
	case name == "attempts" && err == nil:
		c.attempts = min(max(n, 1), 5)
	}
}
