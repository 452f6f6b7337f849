package main

import (
	"context"
	"net/netip"
	"strings"

	"sealpost/lib/dns"
	"sealpost/lib/xforward"
)

const xclientKeyword = "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"

// identity is what XCLIENT changes.
type identity struct {
	client client
	login  login
	helo   string
	proto  string
}

// xclientAttr is one attribute of XCLIENT. set is false for a value that makes no
// sense.
type xclientAttr struct {
	name string
	set  func(id *identity, a *xforward.Attr) bool
}

var xclientTable = []xclientAttr{
	{"NAME", func(id *identity, a *xforward.Attr) bool {
		name, status, ok := nameAttribute(a)
		id.client.name, id.client.nameStatus = name, status
		id.client.reverse, id.client.reverseStatus = name, status
		return ok
	}},
	{"REVERSE_NAME", func(id *identity, a *xforward.Attr) bool {
		name, status, ok := nameAttribute(a)
		id.client.reverse, id.client.reverseStatus = name, status
		return ok
	}},
	{"ADDR", func(id *identity, a *xforward.Attr) bool {
		if a.Unknown() {
			id.client.setAddr(netip.Addr{})
			return true
		}
		ip, ok := addrAttribute(a.Value)
		id.client.setAddr(ip)
		return ok
	}},
	{"PORT", func(id *identity, a *xforward.Attr) bool {
		return setPort(&id.client.port, a)
	}},
	{"HELO", func(id *identity, a *xforward.Attr) bool {
		id.helo = ""
		if !a.Unknown() {
			id.helo = xforward.Neuter(a.Value)
		}
		return true
	}},
	{"PROTO", func(id *identity, a *xforward.Attr) bool {
		id.proto = strings.ToUpper(a.Value)
		return id.proto == "SMTP" || id.proto == "ESMTP"
	}},
	{"LOGIN", func(id *identity, a *xforward.Attr) bool {
		id.login = login{}
		if !a.Unknown() {
			id.login = login{method: "XCLIENT", user: a.Value}
		}
		return !hasControl(a.Value)
	}},
	{"DESTADDR", func(id *identity, a *xforward.Attr) bool {
		if a.Unknown() {
			id.client.serverAddr = unknownName
			return true
		}
		ip, ok := addrAttribute(a.Value)
		id.client.serverAddr = ip.String()
		return ok
	}},
	{"DESTPORT", func(id *identity, a *xforward.Attr) bool {
		return setPort(&id.client.serverPort, a)
	}},
}

func setPort(port *string, a *xforward.Attr) bool {
	if a.Unknown() {
		*port = unknownName
		return true
	}
	*port = a.Value
	return portAttribute(a.Value)
}

// nameAttribute reads the name of a client, or why there is none.
func nameAttribute(a *xforward.Attr) (name string, status nameStatus, ok bool) {
	switch {
	case a.Unknown():
		return unknownName, nameNone, true
	case strings.EqualFold(a.Value, xforward.TempUnavailable):
		return unknownName, nameTemporary, true
	}
	return a.Value, nameOK, dns.ValidHostname(a.Value)
}

// addrAttribute reads an address: IPv4 in decimal, or IPV6: before IPv6.
func addrAttribute(value string) (netip.Addr, bool) {
	six := len(value) > 5 && strings.EqualFold(value[:5], "IPV6:")
	if six {
		value = value[5:]
	}
	ip, err := netip.ParseAddr(value)
	return ip.Unmap(), err == nil && ip.Zone() == "" && ip.Is6() == six
}

// portAttribute reports whether a value can be a port.
func portAttribute(value string) bool {
	return value != "" && len(value) <= 5 && strings.Trim(value, "0123456789") == ""
}

// xclient is XCLIENT: a trusted client takes another one's place. The session begins
// anew with that client, the greeting included, but for TLS, which stays as it is: no
// attribute can make a connection in the clear count as protected. All attributes of
// a command count, or none.
func (s *session) xclient(ctx context.Context, arg string) (outcome, error) {
	list, ok := s.attributes("XCLIENT", arg, s.mayPose)
	if !ok {
		return refused, nil
	}
	id := identity{client: s.client, proto: "SMTP"}
next:
	for i := range list {
		a := &list[i]
		for j := range xclientTable {
			row := &xclientTable[j]
			if !a.Is(row.name) {
				continue
			}
			if !row.set(&id, a) {
				s.badAttribute(row.name, a.Value)
				return refused, nil
			}
			continue next
		}
		s.fail("501 5.5.4 Bad XCLIENT attribute name: ", a.Name)
		return refused, nil
	}
	s.reset()
	s.client, s.login = id.client, id.login
	s.client.text = s.clientText()
	s.heloName, s.helloed, s.extended, s.protocol = id.helo, id.helo != "", false, id.proto
	s.offered = nil
	s.mayPose = s.matchHost(ctx, s.p.xclientHosts, "smtpd_authorized_xclient_hosts")
	s.welcome(ctx)
	// Postfix, too, does not count it as done: its session begins anew before that.
	return refused, nil
}
