package main

import (
	"context"
	"errors"
	"strings"

	"sealpost/lib/dns"
	"sealpost/lib/smtpio"
	"sealpost/lib/xforward"
)

const (
	xforwardKeyword = "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"
	errAttrExpected = "501 5.5.4 Error: attribute=value expected"
	errAttrTooLong  = "501 5.5.4 Error: attribute value too long"
	errInMail       = "503 5.5.1 Error: MAIL transaction in progress"
)

// maxProto is how long the name of a protocol may be.
const maxProto = 64

// forwarded is what an authorized client said with XFORWARD about the origin of its
// next message. It is for the log and for the log_ attributes of the queue file, and
// nothing else: no restriction sees it.
type forwarded struct {
	known  xforward.Set // attributes that were given, with or without a value
	values xforward.Values
}

// attributes reads the argument of XFORWARD or XCLIENT and makes sure that the client
// may use the command. What it refuses was answered.
func (s *session) attributes(verb, arg string, authorized bool) ([]xforward.Attr, bool) {
	switch {
	case s.txn != nil:
		s.fail(errInMail)
		return nil, false
	case arg == "":
		s.fail("501 5.5.4 Syntax: ", verb, " attribute=value...")
		return nil, false
	case !authorized:
		s.fail("550 5.7.0 Error: insufficient authorization")
		return nil, false
	case hasControl(arg):
		s.fail(errAttrExpected)
		return nil, false
	}
	list, err := xforward.Parse(arg)
	switch {
	case errors.Is(err, xforward.ErrTooLong):
		s.fail(errAttrTooLong)
	case err != nil:
		s.fail(errAttrExpected)
	default:
		return list, true
	}
	return nil, false
}

// badAttribute answers an attribute whose value makes no sense.
func (s *session) badAttribute(name, value string) {
	s.fail("501 5.5.4 Bad ", name, " syntax: ", string(smtpio.AppendPrintable(nil, []byte(value))))
}

// xforward is XFORWARD: all attributes of a command count, or none.
func (s *session) xforward(_ context.Context, arg string) (outcome, error) {
	list, ok := s.attributes("XFORWARD", arg, s.mayForward)
	if !ok {
		return refused, nil
	}
	f := s.forward
	for i := range list {
		a := &list[i]
		which := xforward.Find(a.Name)
		if which == 0 {
			s.fail("501 5.5.4 Bad XFORWARD attribute name: ", a.Name)
			return refused, nil
		}
		if !f.set(which, a) {
			s.badAttribute(which.String(), a.Value)
			return refused, nil
		}
	}
	s.forward = f
	s.reply("250 2.0.0 Ok")
	return accepted, nil
}

// set takes one attribute; false: its value makes no sense.
func (f *forwarded) set(which xforward.Set, a *xforward.Attr) bool {
	value, v := a.Value, &f.values
	if a.Unknown() {
		value = ""
	}
	switch {
	case which == xforward.Source:
		return f.setSource(value)
	case value == "":
	case which == xforward.Name:
		if !dns.ValidHostname(value) {
			return false
		}
	case which == xforward.Addr:
		ip, ok := addrAttribute(value)
		if !ok {
			return false
		}
		value = ip.String()
	case which == xforward.Port:
		if !portAttribute(value) {
			return false
		}
	case which == xforward.Proto:
		if len(value) > maxProto {
			return false
		}
	}
	value = xforward.Neuter(value)
	switch which {
	case xforward.Name:
		v.Name = value
	case xforward.Addr:
		v.Addr = value
	case xforward.Port:
		v.Port = value
	case xforward.Helo:
		v.Helo = value
	case xforward.Ident:
		v.Ident = value
	case xforward.Proto:
		v.Proto = value
	}
	f.known |= which
	return true
}

// setSource takes LOCAL or REMOTE; what is not known leaves it to the session.
func (f *forwarded) setSource(value string) bool {
	f.known |= xforward.Source
	switch {
	case strings.EqualFold(value, "LOCAL"):
		f.values.Local = true
	case strings.EqualFold(value, "REMOTE"):
		f.values.Local = false
	case value == "":
		f.known &^= xforward.Source
	default:
		return false
	}
	return true
}

// hasClient reports whether the client is somebody else than the session's: then all that
// is logged about it comes from XFORWARD.
func (f *forwarded) hasClient() bool { return f.known&xforward.Client != 0 }

// client is NAME[ADDR], or what of it is known.
func (f *forwarded) client() string {
	name := orUnknown(f.values.Name)
	if f.values.Addr == "" {
		return name
	}
	return name + "[" + f.values.Addr + "]"
}

func orUnknown(s string) string {
	if s == "" {
		return unknownName
	}
	return s
}

// origin is what is logged about where the message comes from, here and by the
// programs after this one: the session's client, or what XFORWARD said.
func (s *session) origin(ctx context.Context) (v xforward.Values, text string) {
	f := &s.forward
	if f.hasClient() {
		v, text = f.values, f.client()
		v.Name, v.Addr, v.Port, v.Proto = orUnknown(v.Name), orUnknown(v.Addr), orUnknown(v.Port), orUnknown(v.Proto)
	} else {
		c := &s.client
		v, text = xforward.Values{Name: c.name, Addr: c.addr, Port: c.port, Helo: s.heloName, Proto: s.protocol}, c.text
	}
	v.Ident = f.values.Ident
	if v.Local = f.values.Local; f.known&xforward.Source == 0 {
		v.Local = s.rewritesLocally(ctx)
	}
	return v, text
}
