// Package smtpclient is one connection to an SMTP or LMTP server up to the point
// where mail can be offered: greeting, EHLO, STARTTLS, and EHLO once more under
// protection. It is what the client and posttls-finger share.
//
// Each phase is a method, and the caller decides what comes next from the Facts:
//
//	Greeting → Hello → StartTLS → Secure → Hello → mail
//	Secure → Greeting → Hello → mail (wrapper mode)
//
// What a server said before Secure is forgotten there: neither its bytes nor the
// extensions it announced reach the conversation under protection (RFC 3207 §4.2;
// security-cases.md §2.D).
//
// Failures are values of type *Failure that carry the status of the delivery; they
// say nothing yet about what becomes of recipients.
package smtpclient

import (
	"context"
	"net"
	"strings"
	"time"

	"sealpost/lib/maillog"
	"sealpost/lib/route"
	"sealpost/lib/smtpio"
)

// Settings are how to talk to servers.
type Settings struct {
	LMTP       bool
	MyHostname string
	HeloName   string // what EHLO, HELO and LHLO say

	HeloTimeout     time.Duration // greeting, EHLO and HELO, each
	StartTLSTimeout time.Duration // STARTTLS command and TLS handshake, each
	QuitTimeout     time.Duration
	// PerRequest: a time limit is for a whole command and its reply. Without it
	// it is for each read and write, and twice that for a whole reply.
	PerRequest bool

	AlwaysEHLO, NeverEHLO bool
	Skip5xxGreeting       bool // a greeting of 5xx means "another host"
	SkipQuitResponse      bool
	Discard               Ext    // extensions to pass over
	LoopPort              uint16 // where a server with our name means a loop; 0: nowhere
}

// Facts are what a connection has shown about itself. They stay with it in the
// cache: a message may use a connection only when its facts satisfy what the
// message needs. A fact that is missing is not satisfied.
type Facts struct {
	// Features are those of the last EHLO: after Secure, the one under protection.
	Features Features
	// OfferedTLS: STARTTLS was announced in the clear.
	OfferedTLS bool
	// Secured: the conversation goes over TLS.
	Secured bool
}

// Session is one connection to a server.
type Session struct {
	Host   route.Host
	Conn   *smtpio.Conn
	Facts  Facts
	Reply  smtpio.Reply // the last one
	Broken bool         // must not be used on
	// Discard are extensions to pass over; those of the settings, unless it is changed.
	Discard Ext
	set     *Settings
}

// New is a session on a connection that was just made.
func New(nc net.Conn, h route.Host, set *Settings) *Session {
	return &Session{Host: h, Conn: smtpio.NewConn(nc), Discard: set.Discard, set: set}
}

// Greeting takes what the server says first. log gets the warnings that concern
// the server.
func (s *Session) Greeting(log *maillog.Logger) *Failure {
	const while = "receiving the initial server greeting"
	var banner string
	s.Limit(s.set.HeloTimeout)
	if err := s.Read(func(text []byte) {
		if banner == "" {
			banner = string(text[:min(len(text), 512)])
		}
	}); err != nil {
		s.Broken = true
		return Broke(s.Host, err, while)
	}
	switch s.Reply.Class() {
	case 2:
	case 5:
		f := Refused(s.Host, &s.Reply)
		if s.set.Skip5xxGreeting {
			f.Status.Code = "4" + f.Status.Code[1:]
		}
		return f
	default:
		return Refused(s.Host, &s.Reply)
	}
	s.Facts.Features.ESMTP = strings.Contains(strings.ToUpper(banner), "ESMTP")
	if name, _, _ := strings.Cut(banner, " "); s.mayLoop() && strings.EqualFold(name, s.set.MyHostname) {
		log.Log(maillog.Warning, &maillog.OwnHostname{Host: s.Host.NameAddr(), Hostname: s.set.MyHostname, Greeting: true})
	}
	return nil
}

// Hello says EHLO, and HELO to a server that does not know it; LHLO with LMTP
// (RFC 5321 §4.1.1.1, RFC 2033 §4.1). Under protection it is said again, and
// what was announced before does not count.
func (s *Session) Hello(log *maillog.Logger) *Failure {
	f := &s.Facts.Features
	esmtp := f.ESMTP || s.set.AlwaysEHLO
	*f = Features{}
	if s.set.LMTP || esmtp && !s.set.NeverEHLO {
		verb := "EHLO"
		if s.set.LMTP {
			verb = "LHLO"
		}
		first := true
		err := s.Command(verb+" "+s.set.HeloName, s.set.HeloTimeout, func(text []byte) {
			f.ehloLine(first, text, s.Discard)
			first = false
		})
		if err != nil {
			s.Broken = true
			return Broke(s.Host, err, "performing the "+verb+" handshake")
		}
		f.ESMTP = s.Reply.Class() == 2
		if !f.ESMTP {
			*f = Features{}
		}
		if s.set.LMTP && !f.ESMTP || s.Reply.Code == 421 {
			return Refused(s.Host, &s.Reply)
		}
	}
	if !f.ESMTP {
		if err := s.Command("HELO "+s.set.HeloName, s.set.HeloTimeout, func(text []byte) {
			f.ehloLine(true, text, 0)
			*f = Features{Name: f.Name} // HELO announces nothing
		}); err != nil {
			s.Broken = true
			return Broke(s.Host, err, "performing the HELO handshake")
		}
		if s.Reply.Class() != 2 {
			return Refused(s.Host, &s.Reply)
		}
	}
	if !s.Facts.Secured {
		s.Facts.OfferedTLS = f.Has(ExtSTARTTLS)
	}
	if s.mayLoop() && strings.EqualFold(f.Name, s.set.MyHostname) {
		return s.ownName(log)
	}
	return nil
}

// StartTLS asks for TLS. After a failure the connection is broken; a refusal is
// in Reply, and the conversation may go on in the clear.
func (s *Session) StartTLS() (agreed bool, f *Failure) {
	if err := s.Command("STARTTLS", s.set.StartTLSTimeout, nil); err != nil {
		s.Broken = true
		return false, Broke(s.Host, err, "receiving the STARTTLS response")
	}
	s.Broken = s.Reply.Code == 421
	return s.Reply.Class() == 2, nil
}

// Secure makes the connection secret with handshake, within StartTLSTimeout. What
// the server said in the clear is forgotten; injected is the number of bytes
// that it sent after its last reply and before the handshake. After an error the
// connection is of no use.
func (s *Session) Secure(ctx context.Context, handshake func(context.Context, net.Conn) (net.Conn, error)) (injected int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.set.StartTLSTimeout)
	defer cancel()
	nc := s.Conn.NetConn()
	// The limits of the last command are not those of the handshake. When that
	// fails, so does the handshake.
	_ = nc.SetDeadline(time.Time{})
	secret, err := handshake(ctx, nc)
	if err != nil {
		s.Broken = true
		return 0, err
	}
	injected = s.Conn.Replace(secret)
	s.Facts.Features = Features{ESMTP: true} // it knew STARTTLS, or will greet
	s.Facts.Secured = true
	return injected, nil
}

// mayLoop: the server is one that mail for us would come to. On another port
// there is a content filter, or another instance on this machine.
func (s *Session) mayLoop() bool {
	return s.set.LoopPort != 0 && s.Host.Addr.Port() == s.set.LoopPort
}

// ownName: the server says it has our name. When no better host exists the mail
// loops; else the next one is tried.
func (s *Session) ownName(log *maillog.Logger) *Failure {
	log.Log(maillog.Warning, &maillog.OwnHostname{Host: s.Host.NameAddr(), Hostname: s.set.MyHostname})
	f := Refused(s.Host, &s.Reply)
	f.Throttle = false
	f.Status.Code, f.Status.DiagType, f.Status.DiagText, f.Status.MTAType, f.Status.MTAName = "4.4.6", "", "", "", ""
	f.Status.Reason = "host " + s.Host.NameAddr() + " has my own hostname " + s.set.MyHostname
	if s.Host.Best {
		f.Status.Code = "5.4.6"
		f.Status.Reason = "mail for " + s.Host.For + " loops back to myself"
	}
	return f
}

// Limit sets the time limit for what follows. A server that sends single bytes
// would never reach a limit per read, so a whole reply gets twice that time, or
// once with Settings.PerRequest.
func (s *Session) Limit(d time.Duration) {
	s.Conn.SetTimeout(d)
	total := 2 * d
	if s.set.PerRequest {
		total = d
	}
	s.Conn.SetDeadline(time.Now().Add(total), 0)
}

// Command sends one command and reads its reply; line is as in smtpio.ReadReply.
func (s *Session) Command(text string, timeout time.Duration, line func([]byte)) error {
	s.Conn.WriteString(text)
	s.Conn.WriteString("\r\n")
	s.Limit(timeout)
	return s.Read(line)
}

// Read reads one reply, filtered by smtp_reply_filter's place if there is one.
func (s *Session) Read(line func([]byte)) error { return s.Conn.ReadReply(&s.Reply, line) }

// Pending reports whether something from the server waits to be read: a reply
// that nobody asked for, or the end of an idle connection. Nothing is read and
// nothing waits.
func (s *Session) Pending() bool { return s.Conn.Pending() }

// Quit ends the session in good order. With smtp_skip_quit_response the answer
// is not waited for (RFC 5321 wants it; servers log its absence at most).
func (s *Session) Quit() {
	if !s.Broken {
		s.Conn.WriteString("QUIT\r\n")
		s.Limit(s.set.QuitTimeout)
		if s.set.SkipQuitResponse {
			s.Conn.Flush() // the connection is given up either way
		} else {
			s.Read(nil)
		}
	}
	s.Close()
}

// Close drops the connection.
func (s *Session) Close() {
	nc := s.Conn.NetConn()
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok && s.Broken {
		nc = over.NetConn() // no farewell of TLS to a peer that may not read it
	}
	nc.Close()
	s.Conn.Release()
}

// Farewell is Quit for who waits for nobody.
func (s *Session) Farewell() {
	s.Conn.WriteString("QUIT\r\n")
	s.Limit(time.Second)
	s.Conn.Flush() // the connection is given up either way
	s.Close()
}
