package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/maillog"
	"sealpost/lib/smtpio"
	"sealpost/smtp/route"
)

// Facts are what a connection has shown about itself. They stay with it in the
// cache: a message may use a connection only when its facts satisfy what the
// message needs. A fact that is missing is not satisfied.
type Facts struct {
	Features Features
	// Secured: the conversation goes over TLS.
	Secured bool
}

// session is one connection to a server, past the greeting and EHLO.
type session struct {
	host  route.Host
	conn  *smtpio.Conn
	facts Facts
	set   *settings
	reply smtpio.Reply

	began  time.Time // when the connection was made
	uses   int       // transactions begun
	broken bool      // must not be used for another transaction
	dirty  bool      // a transaction was begun and not finished: RSET first
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

// open takes a connection through greeting and EHLO. log gets the warnings that
// concern the server.
func open(nc net.Conn, h route.Host, set *settings, log *maillog.Logger, now time.Time) (*session, *failure) {
	s := &session{host: h, conn: smtpio.NewConn(nc), set: set, began: now}
	if f := s.greeting(log); f != nil {
		return s, f
	}
	return s, s.hello(log)
}

func (s *session) greeting(log *maillog.Logger) *failure {
	const while = "receiving the initial server greeting"
	var banner string
	s.limit(s.set.heloTimeout)
	if err := s.read(func(text []byte) {
		if banner == "" {
			banner = string(text[:min(len(text), 512)])
		}
	}); err != nil {
		s.broken = true
		return broke(s.host, err, while)
	}
	switch s.reply.Class() {
	case 2:
	case 5:
		f := refused(s.host, &s.reply)
		if s.set.skip5xxGreeting {
			f.status.Code = "4" + f.status.Code[1:]
		}
		return f
	default:
		return refused(s.host, &s.reply)
	}
	s.facts.Features.ESMTP = strings.Contains(strings.ToUpper(banner), "ESMTP")
	if name, _, _ := strings.Cut(banner, " "); s.mayLoop() && strings.EqualFold(name, s.set.myHostname) {
		log.Log(maillog.Warning, &maillog.OwnHostname{Host: s.host.NameAddr(), Hostname: s.set.myHostname, Greeting: true})
	}
	return nil
}

// hello says EHLO, and HELO to a server that does not know it; LHLO with LMTP
// (RFC 5321 §4.1.1.1, RFC 2033 §4.1).
func (s *session) hello(log *maillog.Logger) *failure {
	f := &s.facts.Features
	esmtp := f.ESMTP || s.set.alwaysEHLO
	f.ESMTP = false
	if s.set.lmtp || esmtp && !s.set.neverEHLO {
		verb := "EHLO"
		if s.set.lmtp {
			verb = "LHLO"
		}
		first := true
		err := s.command(verb+" "+s.set.heloName, s.set.heloTimeout, func(text []byte) {
			f.ehloLine(first, text, s.set.discard)
			first = false
		})
		if err != nil {
			s.broken = true
			return broke(s.host, err, "performing the "+verb+" handshake")
		}
		f.ESMTP = s.reply.Class() == 2
		if !f.ESMTP {
			*f = Features{}
		}
		if s.set.lmtp && !f.ESMTP || s.reply.Code == 421 {
			return refused(s.host, &s.reply)
		}
	}
	if !f.ESMTP {
		if err := s.command("HELO "+s.set.heloName, s.set.heloTimeout, func(text []byte) {
			f.ehloLine(true, text, 0)
		}); err != nil {
			s.broken = true
			return broke(s.host, err, "performing the HELO handshake")
		}
		if s.reply.Class() != 2 {
			return refused(s.host, &s.reply)
		}
	}
	if s.mayLoop() && strings.EqualFold(f.Name, s.set.myHostname) {
		return s.ownName(log)
	}
	return nil
}

// mayLoop: the server is one that mail for us would come to. On another port
// there is a content filter, or another instance on this machine.
func (s *session) mayLoop() bool {
	return s.set.loopPort != 0 && s.host.Addr.Port() == s.set.loopPort
}

// ownName: the server says it has our name. When no better host exists the mail
// loops; else the next one is tried.
func (s *session) ownName(log *maillog.Logger) *failure {
	log.Log(maillog.Warning, &maillog.OwnHostname{Host: s.host.NameAddr(), Hostname: s.set.myHostname})
	f := refused(s.host, &s.reply)
	f.throttle = false
	f.status.Code, f.status.DiagType, f.status.DiagText, f.status.MTAType, f.status.MTAName = "4.4.6", "", "", "", ""
	f.status.Reason = "host " + s.host.NameAddr() + " has my own hostname " + s.set.myHostname
	if s.host.Best {
		f.status.Code = "5.4.6"
		f.status.Reason = "mail for " + s.host.For + " loops back to myself"
	}
	return f
}

// limit sets the time limit for what follows. A server that sends single bytes
// would never reach a limit per read, so a whole reply gets twice that time, or
// once with smtp_per_request_deadline.
func (s *session) limit(d time.Duration) {
	s.conn.SetTimeout(d)
	total := 2 * d
	if s.set.perRequest {
		total = d
	}
	s.conn.SetDeadline(time.Now().Add(total), 0)
}

func (s *session) command(text string, timeout time.Duration, line func([]byte)) error {
	s.conn.WriteString(text)
	s.conn.WriteString("\r\n")
	s.limit(timeout)
	return s.read(line)
}

// read reads one reply, filtered by smtp_reply_filter's place if there is one.
func (s *session) read(line func([]byte)) error { return s.conn.ReadReply(&s.reply, line) }

// reset ends a transaction that was begun: true when the session is as new.
func (s *session) reset() bool {
	if err := s.command("RSET", s.set.rsetTimeout, nil); err != nil || s.reply.Class() != 2 {
		s.broken = true
		return false
	}
	s.dirty = false
	return true
}

// stale reports whether an idle connection has something to read: the server
// closed it or said 421. Nothing is read and nothing waits.
func (s *session) stale() bool { return s.conn.Buffered() > 0 || readable(s.conn.NetConn()) }

// readable asks the kernel whether a read would not wait. For a connection that is
// no socket the answer is no.
func readable(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	ready := false
	err = rc.Control(func(fd uintptr) {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p[:], 0)
		ready = n > 0
	})
	return ready || err != nil
}

// quit ends the session in good order. With smtp_skip_quit_response the answer
// is not waited for (RFC 5321 wants it; servers log its absence at most).
func (s *session) quit() {
	if !s.broken {
		s.conn.WriteString("QUIT\r\n")
		s.limit(s.set.quitTimeout)
		if s.set.skipQuitResponse {
			s.conn.Flush() // the connection is given up either way
		} else {
			s.read(nil)
		}
	}
	s.close()
}

func (s *session) close() {
	s.conn.Close()
	s.conn.Release()
}

// farewell is quit for the janitor, who waits for nobody.
func (s *session) farewell() {
	s.conn.WriteString("QUIT\r\n")
	s.limit(time.Second)
	s.conn.Flush() // the connection is given up either way
	s.close()
}
