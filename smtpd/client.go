package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"sealpost/lib/dns"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// unknownName stands for a name that is not known.
const unknownName = "unknown"

// nameStatus says how the name of a client was found.
type nameStatus uint8

const (
	nameOK        nameStatus = iota
	nameNone                 // there is none, or it does not lead back to the address
	nameTemporary            // a name server failed
)

// client is who connected.
type client struct {
	name    string // verified name, or "unknown"
	reverse string // name by the address alone, or "unknown"
	addr    string // without brackets
	rfcAddr string // as in an address literal: "IPv6:" before IPv6
	port    string
	text    string // name[addr], and :port with smtpd_client_port_logging
	ip      netip.Addr
	family  int // AF_INET or AF_INET6

	serverAddr, serverPort string

	nameStatus, reverseStatus nameStatus
}

const (
	afInet  = 2
	afInet6 = 10
)

// matchName is the name for match lists; empty when not known.
func (c *client) matchName() string {
	if c.nameStatus != nameOK {
		return ""
	}
	return c.name
}

// identify fills s.client in.
func (s *session) identify(ctx context.Context, svc *service.Session) {
	c := &s.client
	c.ip, c.port = endpoint(svc.Conn.RemoteAddr())
	server, serverPort := endpoint(svc.Conn.LocalAddr())
	if svc.ClientAddr != "" { // told by postscreen
		if ip, err := netip.ParseAddr(svc.ClientAddr); err == nil {
			c.ip, c.port = ip.Unmap(), svc.ClientPort
		}
		if ip, err := netip.ParseAddr(svc.ServerAddr); err == nil {
			server, serverPort = ip.Unmap(), svc.ServerPort
		}
	}
	if !c.ip.IsValid() || s.standAlone {
		s.identifyLocal()
		return
	}
	c.setAddr(c.ip)
	bits := s.p.IPv4Prefix
	if c.ip.Is6() {
		bits = s.p.IPv6Prefix
	}
	s.group, _ = c.ip.WithZone("").Prefix(min(bits, c.ip.BitLen()))
	c.serverAddr, c.serverPort = server.String(), serverPort
	c.name, c.reverse = unknownName, unknownName
	c.nameStatus, c.reverseStatus = nameNone, nameNone
	if s.p.PeernameLookup {
		s.lookupName(ctx)
	}
	c.text = s.clientText()
}

// setAddr sets the address with its forms; one that is not valid is not known.
func (c *client) setAddr(ip netip.Addr) {
	c.ip, c.family = ip, afInet
	if !ip.IsValid() {
		c.addr, c.rfcAddr = unknownName, unknownName
		return
	}
	c.addr, c.rfcAddr = ip.String(), ip.String()
	if ip.Is6() {
		c.family, c.rfcAddr = afInet6, "IPv6:"+c.addr
	}
}

// clientText is the client as the log shows it.
func (s *session) clientText() string {
	text := s.client.name + "[" + s.client.addr + "]"
	if s.p.PortLogging {
		text += ":" + s.client.port
	}
	return text
}

// identifyLocal is for a client that did not come over the network.
func (s *session) identifyLocal() {
	s.client = client{
		name: "localhost", reverse: "localhost", addr: "127.0.0.1", rfcAddr: "127.0.0.1",
		port: "0", text: "localhost[127.0.0.1]", ip: netip.AddrFrom4([4]byte{127, 0, 0, 1}), family: afInet,
		serverAddr: "127.0.0.1", serverPort: "0",
	}
}

func endpoint(a net.Addr) (netip.Addr, string) {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, ""
	}
	ap := t.AddrPort()
	return ap.Addr().Unmap(), itoa(int64(ap.Port()))
}

// lookupName finds the client's name and verifies it: the name must lead back to
// the address.
func (s *session) lookupName(ctx context.Context) {
	c := &s.client
	if name, ok := s.srv.hosts.name(c.ip); ok {
		c.name, c.reverse, c.nameStatus, c.reverseStatus = name, name, nameOK, nameOK
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.p.Timeout)
	defer cancel()
	names, _, err := s.srv.dns.PTR(ctx, c.ip)
	switch {
	case err != nil && errors.Is(err, dns.ErrTemporary):
		c.nameStatus, c.reverseStatus = nameTemporary, nameTemporary
		return
	case err != nil || len(names) == 0:
		return
	}
	name := strings.TrimSuffix(names[0], ".")
	if _, numeric := dns.Literal(name); numeric || !dns.ValidHostname(name) {
		s.log.Warnf("numeric or malformed hostname %s for address %s", name, c.addr)
		return
	}
	c.reverse, c.reverseStatus = name, nameOK
	addrs, _, err := s.srv.dns.Addrs(ctx, name, c.ip.Is4(), c.ip.Is6())
	if err != nil {
		s.log.Warnf("hostname %s does not resolve to address %s: %v", name, c.addr, err)
		if errors.Is(err, dns.ErrTemporary) {
			c.nameStatus = nameTemporary
		}
		return
	}
	for _, a := range addrs {
		if a.Unmap() == c.ip.WithZone("") {
			c.name, c.nameStatus = name, nameOK
			return
		}
	}
	s.log.Warnf("hostname %s does not resolve to address %s", name, c.addr)
}

// matchHost looks the client up in a list of hosts. A list that cannot be read
// does not match: what depends on it is an exception from a rule.
func (s *session) matchHost(ctx context.Context, list *table.List, param string) bool {
	if list == nil {
		return false
	}
	ok, err := list.MatchHost(ctx, s.client.matchName(), s.client.ip)
	if err != nil {
		s.log.Warnf("parameter %s: %v", param, err)
	}
	return ok && err == nil
}
