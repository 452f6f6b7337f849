package dns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// HostsFile is where LoadHosts looks by default.
const HostsFile = "/etc/hosts"

// Hosts is the system's own table of hosts (hosts(5)), read once.
type Hosts struct{ addrs map[string][]netip.Addr }

// LoadHosts reads the file; one that does not exist is empty.
func LoadHosts(path string) (*Hosts, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Hosts{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("host table: %w", err)
	}
	defer f.Close()
	h, err := ReadHosts(f)
	if err != nil {
		return nil, fmt.Errorf("host table: %s: %w", path, err)
	}
	return h, nil
}

// ReadHosts parses lines "address name...", with "#" comments. Lines without a
// valid address are passed over.
func ReadHosts(r io.Reader) (*Hosts, error) {
	h := &Hosts{addrs: make(map[string][]netip.Addr)}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			key := canonical(name)
			h.addrs[key] = append(h.addrs[key], addr)
		}
	}
	return h, lines.Err()
}

// Lookup gives the addresses of a name, in the order of the file, IPv4 first.
// localhost is known without a file (RFC 6761 §6.3).
func (h *Hosts) Lookup(name string, v4, v6 bool) []netip.Addr {
	all := h.addrs[canonical(name)]
	if len(all) == 0 && canonical(name) == "localhost." {
		all = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	var found []netip.Addr
	for _, addr := range all {
		if v4 && addr.Is4() {
			found = append(found, addr)
		}
	}
	for _, addr := range all {
		if v6 && addr.Is6() {
			found = append(found, addr)
		}
	}
	return found
}
