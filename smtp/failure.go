package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"sealpost/lib/dsn"
	"sealpost/lib/smtpio"
	"sealpost/smtp/route"
)

// scope says whom a failure concerns.
type scope int

const (
	site      scope = iota // the host: nothing is known about the message
	message                // this message at this host
	recipient              // one recipient at this host
)

// failure is what went wrong at one host. It says nothing yet about what becomes
// of recipients: that depends on whether another host can be tried.
type failure struct {
	scope  scope
	status dsn.Status
	// softUnlessFinal: permanent only when no other host is left.
	softUnlessFinal bool
	// broken: the connection cannot be used on.
	broken bool
	// throttle: qmgr should leave the destination alone for a while.
	throttle bool
}

func (f *failure) Error() string { return f.status.Reason }

// soft reports whether recipients stay when another host can be tried, or, with
// final, whether they are deferred and not bounced.
func (f *failure) soft(final bool) bool {
	return f.status.Code[0] != dsn.CodeHard5 || f.softUnlessFinal && !final
}

// replied is the failure that a reply means: "host H[A] said: TEXT (in reply to
// CMD command)".
func replied(sc scope, h route.Host, r *smtpio.Reply, command string) *failure {
	text := r.Text()
	return &failure{scope: sc, broken: r.Code == 421, status: dsn.Status{
		Code:   failCode(r),
		Reason: "host " + h.NameAddr() + " said: " + text + " (in reply to " + command + " command)",
		// What the server said, for the sender's report (RFC 3464 §2.3.6).
		DiagType: dsn.DiagSMTP, DiagText: text, MTAType: dsn.MTADNS, MTAName: h.Name,
	}}
}

// refused is a greeting or handshake that says no.
func refused(h route.Host, r *smtpio.Reply) *failure {
	f := replied(site, h, r, "")
	f.status.Reason = "host " + h.NameAddr() + " refused to talk to me: " + r.Text()
	f.throttle = true
	return f
}

// failCode is the enhanced code of a reply that is not what was wanted. A reply
// of class 2 or 3 in the wrong place is an error of the server's protocol engine,
// which trying again would only repeat: 5.5.0, as in Postfix.
func failCode(r *smtpio.Reply) string {
	if c := r.Class(); c == 4 || c == 5 {
		return r.DSN()
	}
	return "5.5.0"
}

// broke is a connection that failed during an activity: "performing the EHLO handshake".
func broke(h route.Host, err error, while string) *failure {
	f := &failure{scope: site, broken: true, throttle: true}
	var reason string
	switch {
	case errors.Is(err, smtpio.ErrReply):
		f.throttle = false
		f.status.Code = "4.5.0"
		reason = "protocol error: host " + h.NameAddr() + " sent a malformed reply while " + while
	case isTimeout(err):
		f.status.Code = "4.4.2"
		reason = "conversation with " + h.NameAddr() + " timed out while " + while
	default:
		f.status.Code = "4.4.2"
		reason = "lost connection with " + h.NameAddr() + " while " + while
	}
	f.status.Reason = reason
	return f
}

// unreachable is a connection that was not made: "connect to H[A]:P: Connection refused".
func unreachable(h route.Host, err error) *failure {
	return &failure{scope: site, throttle: true, status: dsn.Status{
		Code: "4.4.1", Reason: "connect to " + h.Relay() + ": " + errorText(err)}}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}

// errorText is the text that the C library has for an error of the system.
func errorText(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	if isTimeout(err) {
		return "Connection timed out"
	}
	return err.Error()
}
