// Package route finds out which hosts to try for a destination, and in which
// order: from the text of a next hop to a list of addresses. It makes no
// connection. Everything it needs from outside (DNS, host table, own addresses,
// randomness) comes in with Config.
package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrSyntax: a destination that cannot be parsed.
var ErrSyntax = errors.New("bad destination")

// Destination is one element of a next hop (man smtp, SMTP and LMTP DESTINATION SYNTAX):
//
//	domain, domain:port         mail exchangers of the domain (LMTP: its address)
//	[host], [host]:port         the host itself
//	[addr], [ipv6:addr]:port    an address
//	unix:path                   LMTP only
//	inet:any of the above       LMTP only
type Destination struct {
	Text  string // as written
	Host  string // domain, host or address, without brackets and "ipv6:"
	Port  uint16
	MX    bool   // look up mail exchangers
	Unix  string // path; the other fields but Text are then empty
	Plain string // Text without "inet:"
}

// Syntax is what parsing needs to know.
type Syntax struct {
	LMTP        bool
	DefaultPort uint16
	Services    func(name string) (uint16, bool) // names of ports
}

// ParseList parses a next hop: destinations separated by comma or white space.
func ParseList(text string, s Syntax) ([]Destination, error) {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || '\t' <= r && r <= '\r' })
	list := make([]Destination, 0, len(words))
	for _, word := range words {
		d, err := Parse(word, s)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: %q is empty", ErrSyntax, text)
	}
	return list, nil
}

// Parse parses one destination.
func Parse(text string, s Syntax) (Destination, error) {
	d := Destination{Text: text, Plain: text, Port: s.DefaultPort, MX: !s.LMTP}
	if s.LMTP {
		if path, ok := strings.CutPrefix(text, "unix:"); ok {
			return parseUnix(d, path)
		}
		d.Plain = strings.TrimPrefix(text, "inet:")
	}
	host, port := d.Plain, ""
	if rest, ok := strings.CutPrefix(d.Plain, "["); ok {
		var tail string
		if host, tail, ok = strings.Cut(rest, "]"); !ok {
			return d, bad(text, "missing ]")
		}
		if tail != "" && tail[0] != ':' {
			return d, bad(text, "text after ]")
		}
		d.MX, port = false, strings.TrimPrefix(tail, ":")
		if tail == ":" {
			return d, bad(text, "missing port after :")
		}
		if len(host) > 5 && strings.EqualFold(host[:5], "ipv6:") {
			host = host[5:]
		}
	} else if i := strings.LastIndexByte(d.Plain, ':'); i >= 0 {
		host, port = d.Plain[:i], d.Plain[i+1:]
		if port == "" {
			return d, bad(text, "missing port after :")
		}
		if strings.IndexByte(host, ':') >= 0 {
			return d, bad(text, "an IPv6 address is written [ipv6:address]")
		}
	}
	if host == "" {
		return d, bad(text, "no host")
	}
	d.Host = host
	if port != "" {
		n, err := parsePort(port, s)
		if err != nil {
			return d, bad(text, err.Error())
		}
		d.Port = n
	}
	return d, nil
}

func parseUnix(d Destination, path string) (Destination, error) {
	if path == "" {
		return d, bad(d.Text, "no path")
	}
	// The kernel takes 108 bytes with the final NUL.
	if len(path) > 107 || strings.IndexByte(path, 0) >= 0 {
		return d, bad(d.Text, "not the path of a socket")
	}
	return Destination{Text: d.Text, Plain: d.Text, Unix: path}, nil
}

func parsePort(port string, s Syntax) (uint16, error) {
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
		return uint16(n), nil
	}
	if s.Services != nil && port[0] > '9' {
		if n, ok := s.Services(port); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("unknown port %q", port)
}

func bad(text, why string) error { return fmt.Errorf("%w %q: %s", ErrSyntax, text, why) }

// Host is one address to try.
type Host struct {
	Name string         // of the MX record or the destination; for an address, its text
	Addr netip.AddrPort // not valid for a Unix socket
	Unix string
	Pref uint16
	Best bool   // no host has a lower preference
	For  string // the destination it was found for
	// Authentic: every lookup that led from the destination to Name was (DNSSEC), or
	// there was none. Not known means false.
	Authentic bool
	// AddrAuthentic: the lookup of Addr was, with every CNAME step on the way.
	AddrAuthentic bool
	// Canonical is the name that CNAME records of Name lead to, where the addresses
	// are; "" when there are none.
	Canonical string
}

// Endpoint names what is connected to: "addr:port" or the path.
func (h Host) Endpoint() string {
	if h.Unix != "" {
		return h.Unix
	}
	return h.Addr.String()
}

// NameAddr is how log and bounce texts name a host: "name[addr]".
func (h Host) NameAddr() string {
	if h.Unix != "" {
		return h.Name + "[" + h.Unix + "]"
	}
	return h.Name + "[" + h.Addr.Addr().String() + "]"
}

// Relay is how the delivery status names it: "name[addr]:port".
func (h Host) Relay() string {
	if h.Unix != "" {
		return h.NameAddr()
	}
	return h.NameAddr() + ":" + strconv.Itoa(int(h.Addr.Port()))
}
