package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/ehlo"
	"sealpost/lib/sasl"
	"sealpost/lib/smtpio"
	"sealpost/lib/table"
)

// saslParams are the parameters of AUTH as written.
type saslParams struct {
	Enable        bool     `conf:"smtpd_sasl_auth_enable"`
	TLSOnly       bool     `conf:"smtpd_tls_auth_only"`
	Type          string   `conf:"smtpd_sasl_type"`
	Path          string   `conf:"smtpd_sasl_path"`
	Service       string   `conf:"smtpd_sasl_service"`
	Options       []string `conf:"smtpd_sasl_security_options"`
	TLSOptions    []string `conf:"smtpd_sasl_tls_security_options"`
	Filter        string   `conf:"smtpd_sasl_mechanism_filter"`
	Exceptions    string   `conf:"smtpd_sasl_exceptions_networks"`
	ResponseLimit int      `conf:"smtpd_sasl_response_limit"`
	Header        bool     `conf:"smtpd_sasl_authenticated_header"`
	BrokenClients bool     `conf:"broken_sasl_auth_clients"`
	LoginMaps     string   `conf:"smtpd_sender_login_maps"`
}

// authEngine is AUTH of one profile; nil where it is off.
type authEngine struct {
	service           sasl.Service
	inClear, underTLS sasl.Options
	filter            *table.List
	exceptions        *table.List
}

// newAuthEngine reads the parameters. Nothing is connected yet.
func newAuthEngine(p *saslParams, o *opener) (*authEngine, error) {
	if !p.Enable {
		return nil, nil
	}
	if p.Type != "dovecot" {
		return nil, fmt.Errorf("parameter smtpd_sasl_type: %q is not supported; specify dovecot, and with smtpd_sasl_path the socket of Dovecot's authentication service", p.Type)
	}
	e := &authEngine{}
	var err error
	if e.inClear, err = sasl.ParseOptions(p.Options); err != nil {
		return nil, fmt.Errorf("parameter smtpd_sasl_security_options: %w", err)
	}
	if e.underTLS, err = sasl.ParseOptions(p.TLSOptions); err != nil {
		return nil, fmt.Errorf("parameter smtpd_sasl_tls_security_options: %w", err)
	}
	if e.filter, err = o.list("smtpd_sasl_mechanism_filter", p.Filter, table.Strings, false); err != nil {
		return nil, err
	}
	if e.exceptions, err = o.list("smtpd_sasl_exceptions_networks", p.Exceptions, table.Hosts, false); err != nil {
		return nil, err
	}
	if e.service, err = o.authService(p.Path); err != nil {
		return nil, fmt.Errorf("parameter smtpd_sasl_path: %w", err)
	}
	return e, nil
}

// authService is the client of the service at path, one for all profiles.
func (o *opener) authService(path string) (sasl.Service, error) {
	if s, ok := o.auth[path]; ok {
		return s, nil
	}
	s, err := sasl.NewDovecot(path)
	if err != nil {
		return nil, err
	}
	if o.auth == nil {
		o.auth = map[string]sasl.Service{}
	}
	o.auth[path] = s
	return s, nil
}

// login is who the client proved to be; empty before AUTH.
type login struct{ method, user string }

// takesAuth reports whether the client may use AUTH now.
func (s *session) takesAuth() bool {
	return s.p.auth != nil && !s.standAlone && !s.noAuth && !s.discard.Has(ehlo.Auth) &&
		(s.secured != nil || !s.p.sasl.TLSOnly && !s.needTLS())
}

// announced are the mechanisms for the reply to EHLO.
func (s *session) announced(ctx context.Context) []string {
	if !s.takesAuth() {
		return nil
	}
	names, err := s.mechanisms(ctx)
	if err != nil {
		s.log.Warnf("SASL: %v; AUTH is not offered to %s", err, s.client.text)
	}
	return names
}

// mechanisms are those that the client may use now.
func (s *session) mechanisms(ctx context.Context) (names []string, err error) {
	e := s.p.auth
	all, err := e.service.Mechanisms(ctx)
	if err != nil {
		return nil, err
	}
	options := e.inClear
	if s.secured != nil {
		options = e.underTLS
	}
	for _, m := range all {
		if !options.Allows(m) {
			continue
		}
		switch ok, err := e.filter.Match(ctx, m.Name); {
		case err != nil:
			s.log.Warnf("parameter smtpd_sasl_mechanism_filter: %v; not offering %s", err, m.Name)
		case ok:
			names = append(names, m.Name)
		}
	}
	return names, nil
}

// Replies to AUTH.
const (
	errAuthOff     = "503 5.5.1 Error: authentication not enabled"
	errAuthTwice   = "503 5.5.1 Error: already authenticated"
	errAuthInMail  = "503 5.5.1 Error: MAIL transaction in progress"
	errAuthSyntax  = "501 5.5.4 Syntax: AUTH mechanism"
	errAuthAborted = "501 5.7.0 Authentication aborted"
	errAuthLimit   = "500 5.5.6 SASL response limit exceeded"
)

// auth is AUTH (RFC 4954). What is said in it is a secret: none of it is logged.
func (s *session) auth(ctx context.Context, arg string) (outcome, error) {
	args := strings.Fields(arg)
	switch {
	case !s.takesAuth():
		s.fail(errAuthOff)
		return refused, nil
	case s.needHello():
		return refused, nil
	case s.txn != nil:
		s.fail(errAuthInMail)
		return refused, nil
	case s.login.user != "":
		s.fail(errAuthTwice)
		return refused, nil
	case len(args) < 1 || len(args) > 2 || hasControl(arg):
		s.fail(errAuthSyntax)
		return refused, nil
	}
	d := &authDialog{session: s, request: sasl.Request{
		Service: s.p.sasl.Service, Mechanism: strings.ToUpper(args[0]),
		LocalAddr: s.client.serverAddr, LocalPort: s.client.serverPort,
		RemoteAddr: s.client.addr, RemotePort: s.client.port,
		Secured:   s.secured != nil,
		ValidCert: s.secured != nil && s.secured.Facts.Peer.Trusted,
	}}
	if len(args) == 2 {
		d.request.Initial, d.request.HasInitial = args[1], true
	}
	return d.run(ctx)
}

// authDialog is one AUTH command.
type authDialog struct {
	*session
	request sasl.Request
	user    string // that was tried, where the service told
}

// maxChallenges bounds a dialogue; no mechanism needs more than a few.
const maxChallenges = 50

func (d *authDialog) run(ctx context.Context) (outcome, error) {
	offered, err := d.mechanisms(ctx)
	if err != nil {
		return d.unavailable(err), nil
	}
	if !slices.Contains(offered, d.request.Mechanism) {
		return d.refuse("Invalid authentication mechanism"), nil
	}
	if d.request.HasInitial && !validResponse(d.request.Initial, true) {
		return d.refuse("Invalid base64 data in initial response"), nil
	}
	exchange, step, err := d.p.auth.service.Begin(ctx, &d.request)
	for range maxChallenges {
		if err != nil {
			return d.unavailable(err), nil
		}
		if step.State != sasl.Continue {
			return d.finish(step), nil
		}
		var response string
		var result outcome
		if response, result, err = d.challenge(step.Challenge); err != nil || result != accepted {
			exchange.Cancel()
			return result, err
		}
		step, err = exchange.Respond(ctx, response)
	}
	exchange.Cancel()
	return d.refuse("too many challenges"), nil
}

// challenge sends a challenge and reads the response. With a result other than
// accepted the dialogue is over.
func (d *authDialog) challenge(text string) (response string, result outcome, err error) {
	d.replyf("334 ", text)
	d.flush()
	d.startRequest(0)
	line, err := d.conn.ReadLine(max(d.p.sasl.ResponseLimit, d.p.LineLimit))
	switch {
	case errors.Is(err, smtpio.ErrLineFlood):
		d.fail(errAuthLimit)
		return "", broken, err
	case errors.Is(err, smtpio.ErrLineTooLong), err == nil && len(line.Text) > d.p.sasl.ResponseLimit:
		d.log.Warnf("%s: request longer than %d bytes", d.client.text, d.p.sasl.ResponseLimit)
		d.fail(errAuthLimit)
		return "", refused, nil
	case err != nil:
		return "", broken, err
	}
	response = string(line.Text)
	switch {
	case response == "*":
		d.log.Warnf("%s: SASL %s authentication aborted", d.client.text, d.request.Mechanism)
		d.fail(errAuthAborted)
		return "", refused, nil
	case !validResponse(response, false):
		return "", d.refuse("Invalid base64 data in continued response"), nil
	}
	return response, accepted, nil
}

// validResponse reports whether the client's response is base64 (RFC 4648 §4). "="
// is an empty initial response.
func validResponse(text string, initial bool) bool {
	if initial && text == "=" {
		return true
	}
	if strings.ContainsAny(text, "\r\n") {
		return false // what the decoder would skip
	}
	_, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil
}

// finish is what the service decided.
func (d *authDialog) finish(step sasl.Step) outcome {
	d.user = step.User
	if step.State == sasl.Success {
		d.session.login = login{method: d.request.Mechanism, user: printable([]byte(step.User), maxUser)}
		d.reply("235 2.7.0 Authentication successful")
		return accepted
	}
	reason := printable([]byte(step.Reason), 200)
	if step.Temporary {
		return d.tempfail(reason)
	}
	return d.refuse(reason)
}

// maxUser bounds a user's name in the log and in a queue file.
const maxUser = 256

// unavailable is an authentication that came to no result.
func (d *authDialog) unavailable(err error) outcome {
	d.log.Warnf("SASL: %v", err)
	return d.tempfail("Connection lost to authentication server")
}

func (d *authDialog) refuse(reason string) outcome {
	return d.failed("535 5.7.8 Error: authentication failed: ", reason)
}

func (d *authDialog) tempfail(reason string) outcome {
	return d.failed("454 4.7.0 Temporary authentication failure: ", reason)
}

func (d *authDialog) failed(reply, reason string) outcome {
	if reason == "" {
		reason = "(reason unavailable)"
	}
	user := "(unavailable)"
	if d.user != "" {
		user = printable([]byte(d.user), maxUser)
	}
	d.log.Warnf("%s: SASL %s authentication failed: %s, sasl_username=%s",
		d.client.text, printable([]byte(d.request.Mechanism), 40), reason, user)
	d.fail(reply, reason)
	return refused
}
