package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// hostNames are the names of addresses in the system's table of hosts
// (hosts(5)). They are believed without a check: the administrator wrote them.
type hostNames map[netip.Addr]string

func (h hostNames) name(addr netip.Addr) (string, bool) {
	name, ok := h[addr.WithZone("")]
	return name, ok
}

// loadHostNames reads the table; one that does not exist knows localhost only.
func loadHostNames(path string) (hostNames, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return readHostNames(strings.NewReader(""))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readHostNames(f)
}

func readHostNames(r io.Reader) (hostNames, error) {
	h := hostNames{}
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
		if _, known := h[addr.Unmap()]; !known {
			h[addr.Unmap()] = fields[1]
		}
	}
	// RFC 6761 §6.3.
	for _, loopback := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if _, known := h[loopback]; !known {
			h[loopback] = "localhost"
		}
	}
	return h, lines.Err()
}
