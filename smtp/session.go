package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"sealpost/lib/route"
	"sealpost/lib/smtpclient"
	"sealpost/lib/tlsconn"
)

// session is one connection to a server, past the greeting and EHLO, that one
// message after the other may use.
type session struct {
	*smtpclient.Session
	set *settings

	began time.Time // when the connection was made
	uses  int       // transactions begun
	dirty bool      // a transaction was begun and not finished: RSET first

	silent bool // extensions are passed over without a line in the log

	tls tlsconn.Facts // what the handshake showed; zero in the clear
	key string        // of the policy that the connection was made under
	// labels under which the cache knows it.
	destLabel, endpLabel string
	idleSince            time.Time
}

// dialer makes connections; tests have their own.
type dialer func(ctx context.Context, h route.Host) (net.Conn, error)

// dial connects to a host within smtp_connect_timeout, from smtp_bind_address.
func (set *settings) dial(ctx context.Context, h route.Host) (net.Conn, error) {
	d := net.Dialer{Timeout: set.connectTimeout, KeepAlive: -1}
	if h.Unix != "" {
		return d.DialContext(ctx, "unix", h.Unix)
	}
	bind := set.bind6
	if h.Addr.Addr().Is4() {
		bind = set.bind4
	}
	if bind.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(bind, 0))
	}
	return d.DialContext(ctx, "tcp", h.Addr.String())
}

func newSession(nc net.Conn, h route.Host, set *settings, discard discarding, now time.Time) *session {
	s := &session{Session: smtpclient.New(nc, h, &set.talk), set: set, silent: discard.silent, began: now}
	s.Discard = discard.ext
	return s
}

// reset ends a transaction that was begun: true when the session is as new.
func (s *session) reset() bool {
	if err := s.Command("RSET", s.set.rsetTimeout, nil); err != nil || s.Reply.Class() != 2 {
		s.Broken = true
		return false
	}
	s.dirty = false
	return true
}
