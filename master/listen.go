package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/instance"
)

// Modes of socket nodes (protocols.md §2.1): the directory protects them.
const (
	socketMode = 0o666
	fifoMode   = 0o622
)

// bindPatience is how long master waits for an address that is in use: the
// workers of a master that was killed close their sockets as soon as they
// notice, which is not at once.
const bindPatience = 3 * time.Second

// minBacklog is the least listen queue: connections wait there while a worker
// starts, and a burst of them must not be refused.
const minBacklog = 1024

// An endpoint is one place where a service listens: a path below the queue
// directory, or an address.
type endpoint struct {
	path string
	addr netip.AddrPort
}

func (e endpoint) String() string {
	if e.path != "" {
		return e.path
	}
	return e.addr.String()
}

// servicePath is the node of a local service relative to the queue directory. A
// name that begins with "user/" names one of the sockets that any local user
// may open; "private" and "public" are chosen by the private field.
func servicePath(svc config.Service) string {
	if strings.HasPrefix(svc.Name, instance.UserDir+"/") {
		return svc.Name
	}
	if svc.Private {
		return filepath.Join("private", svc.Name)
	}
	return filepath.Join("public", svc.Name)
}

// endpoints lists where a service listens.
func endpoints(svc config.Service, n netSettings) ([]endpoint, error) {
	if svc.Type != "inet" {
		path := servicePath(svc)
		if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
			return nil, fmt.Errorf("service name %s is too long for a socket path", svc.Name)
		}
		if clean := filepath.Clean(path); clean != path || strings.Count(path, "/") != 1 {
			return nil, fmt.Errorf("service name %s is not a plain name", svc.Name)
		}
		return []endpoint{{path: path}}, nil
	}
	host, port, err := splitHostPort(svc.Name)
	if err != nil {
		return nil, err
	}
	portNum, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port)
	if err != nil {
		return nil, fmt.Errorf("service name %s: unknown port %q", svc.Name, port)
	}
	hosts := []string{host}
	if host == "" {
		hosts = n.Interfaces
	}
	var out []endpoint
	for _, h := range hosts {
		addrs, err := n.resolve(h)
		if err != nil {
			return nil, fmt.Errorf("service name %s: %w", svc.Name, err)
		}
		for _, a := range addrs {
			e := endpoint{addr: netip.AddrPortFrom(a, uint16(portNum))}
			if !slices.Contains(out, e) {
				out = append(out, e)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("service name %s: inet_interfaces and inet_protocols leave no address to listen on", svc.Name)
	}
	return out, nil
}

// splitHostPort takes the forms of master.cf: port, host:port, [addr]:port,
// :port.
func splitHostPort(name string) (host, port string, err error) {
	if rest, ok := strings.CutPrefix(name, "["); ok {
		addr, port, ok := strings.Cut(rest, "]:")
		if !ok || addr == "" || port == "" {
			return "", "", fmt.Errorf("service name %s: expected [address]:port", name)
		}
		return addr, port, nil
	}
	i := strings.LastIndexByte(name, ':')
	host, port = name[:max(i, 0)], name[i+1:]
	if port == "" || strings.Contains(host, ":") {
		return "", "", fmt.Errorf("service name %s: expected port, host:port or [address]:port", name)
	}
	return host, port, nil
}

// netSettings say on which addresses a service without a host part listens.
type netSettings struct {
	Interfaces []string `conf:"inet_interfaces"`
	Protocols  []string `conf:"inet_protocols"`
}

// families tells which address families inet_protocols allows.
func (n netSettings) families() (v4, v6 bool) {
	for _, p := range n.Protocols {
		switch p {
		case "all":
			v4, v6 = true, true
		case "ipv4":
			v4 = true
		case "ipv6":
			v6 = true
		}
	}
	return v4, v6 && haveIPv6()
}

func haveIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// resolve turns one element of inet_interfaces, or the host part of a service
// name, into addresses.
func (n netSettings) resolve(host string) ([]netip.Addr, error) {
	v4, v6 := n.families()
	var all []netip.Addr
	switch host {
	case "all":
		all = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	case "loopback-only":
		all = localAddrs(func(a netip.Addr) bool { return a.IsLoopback() })
	default:
		if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			all = []netip.Addr{a}
			break
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", host, err)
		}
		// A name in the hosts file often has an IPv6 address that no interface has.
		here := localAddrs(func(netip.Addr) bool { return true })
		for _, a := range found {
			if a = a.Unmap(); a.Is4() || slices.Contains(here, a) {
				all = append(all, a)
			}
		}
	}
	out := all[:0]
	for _, a := range all {
		if a.Is4() && v4 || a.Is6() && v6 {
			out = append(out, a)
		}
	}
	return out, nil
}

// localAddrs are the addresses of this host's interfaces that pass the filter.
func localAddrs(keep func(netip.Addr) bool) []netip.Addr {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	var out []netip.Addr
	for _, n := range nets {
		ipn, ok := n.(*net.IPNet)
		if !ok {
			continue
		}
		if a, ok := netip.AddrFromSlice(ipn.IP); ok && keep(a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// onlyLoopback tells whether nobody outside this host can reach the endpoints.
func onlyLoopback(eps []endpoint) bool {
	for _, e := range eps {
		if e.path == "" && !e.addr.Addr().IsLoopback() {
			return false
		}
	}
	return true
}

// listen makes the raw, non-blocking, close-on-exec descriptor of an endpoint.
func listen(svc config.Service, e endpoint, backlog int, ids instance.IDs) (int, error) {
	var fd int
	var err error
	switch svc.Type {
	case "inet":
		fd, err = listenInet(e, backlog)
	case "fifo":
		fd, err = atBirth(ids, fifoMode, func() (int, error) { return openFIFO(e.path) })
	case "unix-dgram":
		fd, err = atBirth(ids, socketMode, func() (int, error) { return bindUnix(e.path, unix.SOCK_DGRAM) })
	case "unix", "pass":
		fd, err = atBirth(ids, socketMode, func() (int, error) { return bindUnix(e.path, unix.SOCK_STREAM) })
		if err == nil {
			err = unix.Listen(fd, backlog)
		}
	default:
		err = fmt.Errorf("unknown service type %s", svc.Type)
	}
	if err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			hint = "; another program listens there"
		case errors.Is(err, unix.EACCES) && e.path == "" && e.addr.Port() < 1024:
			hint = "; ports below 1024 are for root, without root use a higher one"
		case errors.Is(err, unix.EADDRNOTAVAIL):
			hint = "; this host does not have the address"
		}
		return -1, fmt.Errorf("service %s: listen on %s: %w%s", svc.Name, e, err, hint)
	}
	return fd, nil
}

// atBirth runs fn as mail_owner with a umask: the node that it makes has its
// owner and its mode from the start, and no other file can be put in its place.
func atBirth(ids instance.IDs, mode int, fn func() (int, error)) (fd int, err error) {
	err = instance.AsOwner(ids, func() (err error) {
		old := unix.Umask(0o777 &^ mode)
		defer unix.Umask(old)
		fd, err = fn()
		return err
	})
	return fd, err
}

func listenInet(e endpoint, backlog int) (int, error) {
	deadline := time.Now().Add(bindPatience)
	for {
		fd, err := bindInet(e.addr)
		if err == nil {
			if err = unix.Listen(fd, backlog); err == nil {
				return fd, nil
			}
			unix.Close(fd)
		}
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(deadline) {
			return -1, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func bindInet(addr netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		var sa unix.Sockaddr
		if sa, err = sockaddr(addr); err == nil {
			err = unix.Bind(fd, sa)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(addr netip.AddrPort) (unix.Sockaddr, error) {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if zone := addr.Addr().Zone(); zone != "" {
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, err
		}
		sa.ZoneId = uint32(ifi.Index)
	}
	return sa, nil
}

// bindUnix replaces whatever socket was left at the path. A node that is not a
// socket is somebody else's file and stays.
func bindUnix(path string, kind int) (int, error) {
	if err := removeNode(path, os.ModeSocket); err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openFIFO makes a FIFO and opens it for reading and writing: without a writer
// of its own it would be readable for ever after the first client left.
func openFIFO(path string) (int, error) {
	if err := removeNode(path, os.ModeNamedPipe); err != nil {
		return -1, err
	}
	if err := unix.Mkfifo(path, fifoMode); err != nil {
		return -1, err
	}
	return unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

func removeNode(path string, kind os.FileMode) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != kind {
		return fmt.Errorf("%s exists and is not a %s left by an earlier run; move it away", path, kindName(kind))
	}
	return os.Remove(path)
}

func kindName(kind os.FileMode) string {
	if kind == os.ModeSocket {
		return "socket"
	}
	return "FIFO"
}
