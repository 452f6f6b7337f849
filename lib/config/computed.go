package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// compute finds out a default that depends on the host or the process.
func (c *Config) compute(name string, up *frame) (string, error) {
	switch name {
	case "myhostname":
		return c.defaultHostname(up)
	case "mydomain":
		host, _, err := c.value("myhostname", up)
		if err != nil {
			return "", err
		}
		if _, domain, ok := strings.Cut(host, "."); ok && domain != "" {
			return domain, nil
		}
		return "localdomain", nil
	case "mynetworks":
		return c.defaultNetworks(up)
	case "process_id":
		return strconv.Itoa(os.Getpid()), nil
	case "process_name":
		return filepath.Base(os.Args[0]), nil
	}
	return "", nil
}

// defaultHostname is the name of the host; one without a domain gets $mydomain
// if that is set, else localdomain.
func (c *Config) defaultHostname(up *frame) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the system does not tell its host name (set myhostname in main.cf): %w", err)
	}
	host = strings.TrimSuffix(host, ".")
	if strings.Contains(host, ".") {
		return host, nil
	}
	domain := "localdomain"
	if _, set := c.set["mydomain"]; set {
		if domain, _, err = c.value("mydomain", up); err != nil {
			return "", err
		}
	}
	return host + "." + domain, nil
}

// defaultNetworks lists the networks of the host as mynetworks_style says: of
// each address of an interface that mail is received on, the address itself
// (host), its subnet (subnet) or its class A, B or C network (class).
func (c *Config) defaultNetworks(up *frame) (string, error) {
	style, _, err := c.value("mynetworks_style", up)
	if err != nil {
		return "", err
	}
	if !slices.Contains([]string{"host", "subnet", "class"}, strings.ToLower(style)) {
		return "", c.valueError("mynetworks_style", "one of these was expected: class subnet host", ErrValue)
	}
	interfaces, err := c.interfaces(up)
	if err != nil {
		return "", err
	}
	var networks []string
	for _, p := range interfaces.Addrs {
		if p.Addr().Is4() {
			networks = appendNew(networks, styled(p, style).String())
		}
	}
	for _, p := range interfaces.Addrs {
		if !p.Addr().Is4() {
			n := styled(p, style)
			networks = appendNew(networks, fmt.Sprintf("[%s]/%d", n.Addr(), n.Bits()))
		}
	}
	return strings.Join(networks, " "), nil
}

func styled(p netip.Prefix, style string) netip.Prefix {
	addr := p.Addr()
	switch style = strings.ToLower(style); {
	case style == "host":
		return netip.PrefixFrom(addr, addr.BitLen())
	case style == "class" && addr.Is4():
		bits := 24
		switch first := addr.As4()[0]; {
		case first < 128:
			bits = 8
		case first < 192:
			bits = 16
		}
		return netip.PrefixFrom(addr, bits).Masked()
	}
	return p.Masked()
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// Protocols says which address families inet_protocols enables.
func (c *Config) Protocols() (ipv4, ipv6 bool, err error) { return c.protocols(nil) }

func (c *Config) protocols(up *frame) (ipv4, ipv6 bool, err error) {
	text, _, err := c.value("inet_protocols", up)
	if err != nil {
		return false, false, err
	}
	for _, word := range SplitList(text) {
		switch strings.ToLower(word) {
		case "all":
			ipv4, ipv6 = true, hasIPv6()
		case "ipv4":
			ipv4 = true
		case "ipv6":
			ipv6 = true
		default:
			return false, false, c.valueError("inet_protocols", fmt.Sprintf("%q is not one of all, ipv4, ipv6", clip(word)), ErrValue)
		}
	}
	if !ipv4 && !ipv6 {
		return false, false, c.valueError("inet_protocols", "no address family is left: name all, ipv4 or ipv6", ErrValue)
	}
	return ipv4, ipv6, nil
}

// hasIPv6 reports whether the kernel has IPv6 at all.
func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// Interfaces is inet_interfaces, resolved.
type Interfaces struct {
	All   bool           // every interface: listen on the wildcard addresses
	Addrs []netip.Prefix // the own addresses, each with the length of its network
}

// Has reports whether addr is an own address.
func (i Interfaces) Has(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr() == addr })
}

// resolveTimeout bounds the look-up of a host name in inet_interfaces.
const resolveTimeout = 10 * time.Second

// Interfaces resolves inet_interfaces, limited to the families of
// inet_protocols: all, loopback-only, or host names and addresses, of which
// those in [ ] are never looked up.
func (c *Config) Interfaces() (Interfaces, error) { return c.interfaces(nil) }

func (c *Config) interfaces(up *frame) (Interfaces, error) {
	ipv4, ipv6, err := c.protocols(up)
	if err != nil {
		return Interfaces{}, err
	}
	text, _, err := c.value("inet_interfaces", up)
	if err != nil {
		return Interfaces{}, err
	}
	own, err := hostAddrs()
	if err != nil {
		return Interfaces{}, fmt.Errorf("list the addresses of this host: %w", err)
	}
	var result Interfaces
	add := func(p netip.Prefix) {
		if (p.Addr().Is4() && ipv4 || p.Addr().Is6() && ipv6) && !slices.Contains(result.Addrs, p) {
			result.Addrs = append(result.Addrs, p)
		}
	}
	for _, word := range SplitList(text) {
		switch strings.ToLower(word) {
		case "all":
			result.All = true
			for _, p := range own {
				add(p)
			}
		case "loopback-only":
			for _, p := range own {
				if p.Addr().IsLoopback() {
					add(p)
				}
			}
		default:
			addrs, err := resolveInterface(word)
			if err != nil {
				return Interfaces{}, c.valueError("inet_interfaces", err.Error(), err)
			}
			for _, a := range addrs {
				add(withMask(a, own))
			}
		}
	}
	return result, nil
}

func resolveInterface(word string) ([]netip.Addr, error) {
	literal := strings.TrimSuffix(strings.TrimPrefix(word, "["), "]")
	if addr, err := netip.ParseAddr(literal); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	} else if literal != word {
		return nil, fmt.Errorf("%q is not an address", clip(word))
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", word)
	if err != nil {
		return nil, fmt.Errorf("host name %q has no address: %w", clip(word), err)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

// withMask gives an address the length of the network that its interface is in.
func withMask(addr netip.Addr, own []netip.Prefix) netip.Prefix {
	for _, p := range own {
		if p.Addr() == addr {
			return p
		}
	}
	return netip.PrefixFrom(addr, addr.BitLen())
}

// hostAddrs lists the addresses of all interfaces.
func hostAddrs() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, a := range addrs {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(ipnet.IP)
		if !ok {
			return nil, errors.New("address of unknown form")
		}
		bits, _ := ipnet.Mask.Size()
		addr = addr.Unmap()
		if addr.Is4() && bits > 32 {
			bits -= 96
		}
		list = append(list, netip.PrefixFrom(addr, bits))
	}
	return list, nil
}
