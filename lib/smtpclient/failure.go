package smtpclient

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"sealpost/lib/dsn"
	"sealpost/lib/route"
	"sealpost/lib/smtpio"
)

// Scope says whom a failure concerns.
type Scope int

// The scopes of a failure.
const (
	Site      Scope = iota // the host: nothing is known about the message
	Message                // this message at this host
	Recipient              // one recipient at this host
)

// Failure is what went wrong at one host. It says nothing yet about what becomes
// of recipients: that depends on whether another host can be tried.
type Failure struct {
	Scope  Scope
	Status dsn.Status
	// SoftUnlessFinal: permanent only when no other host is left.
	SoftUnlessFinal bool
	// Broken: the connection cannot be used on.
	Broken bool
	// Lost: the connection broke or timed out, and the server certainly has no message.
	Lost bool
	// Throttle: qmgr should leave the destination alone for a while.
	Throttle bool
}

func (f *Failure) Error() string { return f.Status.Reason }

// Soft reports whether recipients stay when another host can be tried, or, with
// final, whether they are deferred and not bounced.
func (f *Failure) Soft(final bool) bool {
	return f.Status.Code[0] != dsn.CodeHard5 || f.SoftUnlessFinal && !final
}

// Replied is the failure that a reply means: "host H[A] said: TEXT (in reply to
// CMD command)".
func Replied(sc Scope, h route.Host, r *smtpio.Reply, command string) *Failure {
	text := r.Text()
	return &Failure{Scope: sc, Broken: r.Code == 421, Status: dsn.Status{
		Code:   failCode(r),
		Reason: "host " + h.NameAddr() + " said: " + text + " (in reply to " + command + " command)",
		// What the server said, for the sender's report (RFC 3464 §2.3.6).
		DiagType: dsn.DiagSMTP, DiagText: text, MTAType: dsn.MTADNS, MTAName: h.Name,
	}}
}

// Refused is a greeting or handshake that says no.
func Refused(h route.Host, r *smtpio.Reply) *Failure {
	f := Replied(Site, h, r, "")
	f.Status.Reason = "host " + h.NameAddr() + " refused to talk to me: " + r.Text()
	f.Throttle = true
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

// Broke is a connection that failed during an activity: "performing the EHLO handshake".
func Broke(h route.Host, err error, while string) *Failure {
	f := &Failure{Scope: Site, Broken: true, Lost: true, Throttle: true}
	var reason string
	switch {
	case errors.Is(err, smtpio.ErrReply):
		f.Throttle, f.Lost = false, false
		f.Status.Code = "4.5.0"
		reason = "protocol error: host " + h.NameAddr() + " sent a malformed reply while " + while
	case isTimeout(err):
		f.Status.Code = "4.4.2"
		reason = "conversation with " + h.NameAddr() + " timed out while " + while
	default:
		f.Status.Code = "4.4.2"
		reason = "lost connection with " + h.NameAddr() + " while " + while + alert(err)
	}
	f.Status.Reason = reason
	return f
}

// alert is what the server said in TLS before it hung up: in TLS 1.3 a server that
// wants a certificate of the client says so only after the handshake.
func alert(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	return " (" + op.Error() + ")"
}

// Unreachable is a connection that was not made: "connect to H[A]:P: Connection refused".
func Unreachable(h route.Host, err error) *Failure {
	return &Failure{Scope: Site, Throttle: true, Status: dsn.Status{
		Code: "4.4.1", Reason: "connect to " + h.Relay() + ": " + ErrorText(err)}}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}

// ErrorText is the text that the C library has for an error of the system.
func ErrorText(err error) string {
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
