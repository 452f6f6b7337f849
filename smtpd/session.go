package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/ehlo"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
	"sealpost/lib/smtpio"
	"sealpost/lib/tlsconn"
)

// session is one SMTP connection. Only its own goroutine touches it, but for
// conn.Interrupt.
type session struct {
	srv  *server
	p    *profile
	log  *maillog.Logger
	conn *smtpio.Conn
	// standAlone: sendmail -bs on standard input; no access control.
	standAlone bool

	number uint64 // unique in the worker
	began  time.Time

	client  client
	group   netip.Prefix        // of the address that the connection came from
	secured *tlsconn.Connection // nil in the clear
	where   string              // the last command, for the log
	text    []byte              // the whole of it, while it is executed
	denied  bool                // a connection that was refused: only QUIT is left

	noAuth  bool     // smtpd_sasl_exceptions_networks names the client
	offered []string // mechanisms in the reply to EHLO
	login   login

	mayPose    bool // XCLIENT is for this client
	mayForward bool // XFORWARD was for the one that connected
	forward    forwarded

	heloName string
	helloed  bool // HELO or EHLO was accepted
	extended bool // it was EHLO
	protocol string
	discard  ehlo.Set // keywords that this client is not offered

	errors int // since the last message
	junk   int
	counts [numCommands]commandCount
	// counted is the key in the Tally under which this session is counted.
	counted string
	bareLF  bool // a line ended in a bare LF
	exempt  bool // smtpd_forbid_bare_newline_exclusions names the client

	script transcript

	txn  *transaction // nil outside a transaction
	quit bool
}

type commandCount struct{ ok, total uint32 }

// errQuit ends a session in order.
var errQuit = errors.New("session ends")

// serve runs one session to its end.
func (srv *server) serve(ctx context.Context, svc *service.Session) {
	s := &session{
		srv: srv, p: srv.normal, log: svc.Log, conn: smtpio.NewConn(svc.Conn),
		standAlone: srv.env.StandAlone, where: "CONNECT", protocol: "SMTP", number: svc.Number, began: srv.now(),
	}
	if svc.Stress {
		s.p = srv.stress
	}
	s.discard = s.p.discard
	s.script.wanted = s.p.notify
	defer s.conn.Release()
	s.conn.SetTimeout(s.p.Timeout)
	s.identify(ctx, svc)
	stop := srv.drains.watch(svc.Drain, s.conn)
	defer stop()
	defer s.leave()
	s.log.Log(maillog.Info, &maillog.Connect{Client: s.client.text})
	broken := ""
	if s.greet(ctx) {
		broken = s.end(s.converse(ctx, svc.Drain))
	}
	s.reset()
	s.flush()
	if s.secured != nil {
		_ = s.secured.CloseNotify() // the client may be gone
	}
	s.logDisconnect()
	s.notifyPostmaster(ctx, broken)
}

// greet sends the first line; false means that the session is over.
func (s *session) greet(ctx context.Context) bool {
	s.mayPose = s.matchHost(ctx, s.p.xclientHosts, "smtpd_authorized_xclient_hosts")
	s.mayForward = s.matchHost(ctx, s.p.xforwardHosts, "smtpd_authorized_xforward_hosts")
	if n := s.enter(); s.tooMany(ctx, n) {
		s.log.Warnf("Connection concurrency limit exceeded: %d from %s for service %s",
			n, s.client.text, s.srv.env.ServiceName)
		s.script.had |= problemPolicy
		s.replyf("421 4.7.0 ", s.p.MyHostname, " Error: too many connections from ", s.client.text)
		return false
	}
	if s.p.starttls.Wrapper && !s.standAlone && !s.wrap(ctx) {
		return false
	}
	s.welcome(ctx)
	return true
}

// welcome looks up what depends on who the client is and sends the greeting, or what
// is said instead of it. XCLIENT comes here again.
func (s *session) welcome(ctx context.Context) {
	s.exempt = s.matchHost(ctx, s.p.bareLFExempt, "smtpd_forbid_bare_newline_exclusions")
	if s.p.auth != nil {
		s.noAuth = s.matchHost(ctx, s.p.auth.exceptions, "smtpd_sasl_exceptions_networks")
	}
	s.discard = s.p.discard
	if maps := s.p.discardMaps; !maps.Empty() {
		words, found, err := maps.Lookup(ctx, s.client.addr)
		switch {
		case err != nil:
			// What must be hidden is not known: hide all that can be.
			s.log.Warnf("%v; ignoring all valid EHLO keywords from %s", err, s.client.text)
			s.discard = ^ehlo.EnhancedStatusCodes
		case found:
			s.discard = ehlo.Parse(strings.FieldsFunc(words, isListSeparator))
		}
	}
	if !s.p.DelayReject {
		if r := s.checkClient(ctx); r.refused() {
			s.denied = true
			s.refuse(r)
			return
		}
	}
	s.replyf("220 ", s.p.Banner)
}

func isListSeparator(r rune) bool { return r == ',' || r == ' ' || r == '\t' }

// tooMany: those that pose as others are many clients, and exempt as in Postfix.
func (s *session) tooMany(ctx context.Context, n int) bool {
	return s.p.ConnCountLimit > 0 && n > s.p.ConnCountLimit && !s.standAlone && !s.mayPose &&
		!s.matchHost(ctx, s.p.connExempt, "smtpd_client_event_limit_exceptions")
}

// converse reads and executes commands until the session is to end. The error
// says why; errQuit needs no further words.
func (s *session) converse(ctx context.Context, drain <-chan struct{}) error {
	for {
		switch {
		case s.quit:
			return errQuit
		case s.errors >= s.p.HardErrors && !s.standAlone:
			s.replyf("421 4.7.0 ", s.p.MyHostname, " Error: too many errors")
			return errTooMany
		case ctx.Err() != nil, s.txn == nil && closed(drain):
			return smtpio.ErrInterrupted
		}
		if s.errors > s.p.SoftErrors && !s.standAlone {
			s.sleep(ctx, s.p.ErrorSleep)
		}
		s.conn.SetInterruptible(s.txn == nil)
		s.startRequest(0)
		line, err := s.conn.ReadLine(s.p.LineLimit)
		switch {
		case errors.Is(err, smtpio.ErrLineTooLong), errors.Is(err, smtpio.ErrLineFlood):
			s.log.Warnf("%s: request longer than %d bytes", s.client.text, s.p.LineLimit)
			s.count(cmdUnknown, false)
			s.fail("500 5.5.2 Error: line too long")
			if errors.Is(err, smtpio.ErrLineFlood) {
				s.where = "UNKNOWN"
				return io.EOF
			}
			continue
		case err != nil:
			return err
		}
		if err := s.command(ctx, line); err != nil {
			return err
		}
	}
}

var errTooMany = errors.New("too many errors")

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// startRequest begins a new time limit for a whole request, where there is one.
func (s *session) startRequest(minRate int) {
	if s.p.RequestDeadline {
		s.conn.SetDeadline(time.Now().Add(s.p.Timeout), minRate)
	}
}

// end says goodbye as the reason asks for, and logs it. It returns why the session
// broke off, if it did.
func (s *session) end(reason error) string {
	ev := &maillog.SessionBroken{Where: s.where, Client: s.client.text, Bytes: -1}
	if s.txn != nil {
		ev.QueueID = s.txn.queueID()
		if s.txn.reading {
			ev.Bytes = s.txn.size
		}
	}
	switch {
	case errors.Is(reason, errQuit):
		return ""
	case errors.Is(reason, smtpio.ErrInterrupted):
		s.replyf("421 4.3.2 ", s.p.MyHostname, " Service is restarting, try again later")
		return ""
	case errors.Is(reason, errTooMany):
		ev.Reason = "too many errors"
	case errors.Is(reason, os.ErrDeadlineExceeded):
		ev.Reason = "timeout"
		s.conn.SetDeadline(time.Time{}, 0) // the request's time is over, not the reply's
		s.replyf("421 4.4.2 ", s.p.MyHostname, " Error: timeout exceeded")
	default:
		ev.Reason = "lost connection"
	}
	s.log.Log(maillog.Info, ev)
	return ev.Reason
}

// flush sends the replies; an error shows up in the next read.
func (s *session) flush() { _ = s.conn.Flush() }

// sleep waits as a punishment for errors. Replies so far are sent first.
func (s *session) sleep(ctx context.Context, d time.Duration) {
	s.flush()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *session) logDisconnect() {
	ev := &maillog.Disconnect{Client: s.client.text}
	for i, c := range s.counts {
		if c.total > 0 {
			ev.Commands = append(ev.Commands, maillog.CommandCount{
				Name: statisticNames[i], OK: int(c.ok), Total: int(c.total)})
		}
	}
	if s.bareLF && s.p.bareLF == bareLFNote {
		ev.Notes = "bare_lf"
	}
	s.log.Log(maillog.Info, ev)
}

func (s *session) count(cmd int, ok bool) {
	s.counts[cmd].total++
	if ok {
		s.counts[cmd].ok++
	}
}

// replyf sends a reply of one line, made of parts: code, blank, text.
func (s *session) replyf(parts ...string) {
	start := s.conn.Unflushed()
	b := s.conn.AvailableBuffer()
	for _, p := range parts {
		b = append(b, p...)
	}
	b = s.adapt(append(b, '\r', '\n'), start)
	s.script.out(b[start:])
	s.conn.SetBuffer(b)
}

// reply sends a reply of one line.
func (s *session) reply(text string) { s.replyf(text) }

// fail sends a reply to a command that is not accepted: a violation of the protocol,
// or a lack of ours when the code is temporary.
func (s *session) fail(parts ...string) {
	class := problemProtocol
	if parts[0][0] == '4' {
		class = problemResource
	}
	s.failFor(class, parts...)
}

// failFor is fail for trouble of another class.
func (s *session) failFor(class problems, parts ...string) {
	s.errors++
	s.script.had |= class
	s.replyf(parts...)
}

// adapt makes the reply in b[start:] what this client can have: temporary with
// soft_bounce, without enhanced status code where that keyword was discarded.
func (s *session) adapt(b []byte, start int) []byte {
	line := b[start:]
	if s.p.SoftBounce && line[0] == '5' {
		line[0] = '4'
		if len(line) > 5 && line[4] == '5' && line[5] == '.' {
			line[4] = '4'
		}
	}
	if s.discard.Has(ehlo.EnhancedStatusCodes) {
		if n := enhancedLen(line); n > 0 {
			b = append(b[:start+4], line[4+n:]...)
		}
	}
	return b
}

// enhancedLen is the length of the enhanced status code and the blank after it
// that follow "NNN ", or 0.
func enhancedLen(line []byte) int {
	if len(line) < 10 || line[5] != '.' || (line[4] != '2' && line[4] != '4' && line[4] != '5') {
		return 0
	}
	for i := 6; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ':
			return i - 4 + 1
		case c != '.' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
