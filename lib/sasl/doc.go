// Package sasl authenticates SMTP clients (RFC 4954, RFC 4422) through Dovecot's
// authentication service. This side knows no passwords and no mechanisms: it carries
// challenges and responses, which stay as the base64 that SMTP has them in.
//
// The protocol is Dovecot's for authentication clients, version 1: lines of fields
// separated by tabs. Both sides greet, the server with its mechanisms:
//
//	C: VERSION 1 1 | CPID pid
//	S: VERSION 1 n | MECH name property... | SPID ... | CUID ... | COOKIE ... | DONE
//
// Then follows the authentication, which has a number:
//
//	C: AUTH id mechanism service=smtp nologin lip=... rip=... secured resp=base64
//	S: CONT id base64
//	C: CONT id base64
//	S: OK id user=name...   or   FAIL id user=name reason=text temp...
//
// A value has tab, line feed, carriage return, NUL and 0x01 escaped with 0x01.
package sasl

import (
	"context"
	"errors"
)

// Errors of an exchange that came to no result. They are temporary: whether the
// client knows the password is not known.
var (
	ErrUnavailable = errors.New("authentication service unavailable")
	ErrProtocol    = errors.New("authentication service: protocol error")
)

// Properties are what a mechanism is and is not safe against.
type Properties uint8

// The properties that Dovecot tells.
const (
	Anonymous Properties = 1 << iota
	Plaintext
	Dictionary
	Active
	ForwardSecrecy
	MutualAuth
	Private // not for announcing
)

// Mechanism is one that the service offers.
type Mechanism struct {
	Name       string // upper case
	Properties Properties
}

// Request begins an authentication.
type Request struct {
	Service   string // smtpd_sasl_service
	Mechanism string
	// Initial is the initial response in base64, "=" for an empty one; HasInitial
	// tells it from none.
	Initial    string
	HasInitial bool

	// The two ends of the client's connection.
	LocalAddr, LocalPort, RemoteAddr, RemotePort string
	Secured, ValidCert                           bool
}

// State of an authentication.
type State int

// The states after a request or a response.
const (
	Continue State = iota // Challenge is for the client
	Success               // User is who it is
	Failure
)

// Step is the service's answer.
type Step struct {
	State     State
	Challenge string // base64, may be empty
	User      string // also of a failure, where it is known
	Reason    string // of a failure, for people; may be empty
	Temporary bool   // the service could not decide
}

// Exchange is one authentication under way.
type Exchange interface {
	// Respond carries the client's response in base64 and waits for the answer.
	Respond(ctx context.Context, response string) (Step, error)
	// Cancel ends it without a result. It may be called at any time, and twice.
	Cancel()
}

// Service is where authentications are decided; *Dovecot.
type Service interface {
	Mechanisms(ctx context.Context) ([]Mechanism, error)
	// Begin starts an authentication. The exchange is nil when it is already over.
	Begin(ctx context.Context, r *Request) (Exchange, Step, error)
}
