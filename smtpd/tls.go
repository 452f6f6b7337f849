package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"sealpost/lib/ehlo"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
	"sealpost/lib/tlsconn"
)

// tlsParams are the parameters of TLS as written.
type tlsParams struct {
	Level      string `conf:"smtpd_tls_security_level"`
	UseTLS     bool   `conf:"smtpd_use_tls"`
	EnforceTLS bool   `conf:"smtpd_enforce_tls"`
	Wrapper    bool   `conf:"smtpd_tls_wrappermode"`

	ChainFiles []string `conf:"smtpd_tls_chain_files"`
	CertFile   string   `conf:"smtpd_tls_cert_file"`
	KeyFile    string   `conf:"smtpd_tls_key_file"`
	ECCertFile string   `conf:"smtpd_tls_eccert_file"`
	ECKeyFile  string   `conf:"smtpd_tls_eckey_file"`
	DCertFile  string   `conf:"smtpd_tls_dcert_file"`
	DKeyFile   string   `conf:"smtpd_tls_dkey_file"`
	CAFile     string   `conf:"smtpd_tls_CAfile"`
	CAPath     string   `conf:"smtpd_tls_CApath"`
	DefaultCA  bool     `conf:"tls_append_default_CA"`
	SNIMaps    string   `conf:"tls_server_sni_maps"`

	Protocols          []string `conf:"smtpd_tls_protocols"`
	MandatoryProtocols []string `conf:"smtpd_tls_mandatory_protocols"`
	Ciphers            string   `conf:"smtpd_tls_ciphers"`
	MandatoryCiphers   string   `conf:"smtpd_tls_mandatory_ciphers"`
	Exclude            string   `conf:"smtpd_tls_exclude_ciphers"`
	MandatoryExclude   string   `conf:"smtpd_tls_mandatory_exclude_ciphers"`
	Curves             []string `conf:"tls_eecdh_auto_curves"`

	AskCert  bool          `conf:"smtpd_tls_ask_ccert"`
	ReqCert  bool          `conf:"smtpd_tls_req_ccert"`
	Timeout  time.Duration `conf:"smtpd_starttls_timeout"`
	Received bool          `conf:"smtpd_tls_received_header"`
	LogLevel string        `conf:"smtpd_tls_loglevel"`
	Digest   string        `conf:"smtpd_tls_fingerprint_digest"`
	Require  bool          `conf:"requiretls_enable"`
}

// tlsLevel is what smtpd_tls_security_level comes to.
type tlsLevel int

const (
	tlsNone tlsLevel = iota
	tlsMay
	tlsEncrypt
)

// level reads the security level, also from the older parameters. A service in
// wrapper mode is one with encryption.
func (p *tlsParams) level(warnf func(string, ...any)) (tlsLevel, error) {
	if p.Wrapper {
		return tlsEncrypt, nil
	}
	switch word := strings.ToLower(p.Level); word {
	case "":
		switch {
		case p.EnforceTLS:
			return tlsEncrypt, nil
		case p.UseTLS:
			return tlsMay, nil
		}
		return tlsNone, nil
	case "none":
		return tlsNone, nil
	case "may":
		return tlsMay, nil
	case "encrypt":
		return tlsEncrypt, nil
	case "fingerprint", "dane", "dane-only", "verify", "secure":
		warnf("smtpd_tls_security_level: unsupported level %q, using \"encrypt\"", word)
		return tlsEncrypt, nil
	}
	return tlsNone, fmt.Errorf("parameter smtpd_tls_security_level: bad value %q; specify one of: none, may, encrypt", p.Level)
}

// tlsEngine is TLS of one profile.
type tlsEngine struct {
	level   tlsLevel
	server  *tlsconn.Server // nil: TLS is off, or cannot be used
	log     tlsconn.LogLevel
	single  bool // there is one certificate to show
	timeout time.Duration
}

// newTLSEngine loads certificates. What is wrong with a file is a warning: mail
// at level "may" goes on in the clear, at "encrypt" nothing is accepted.
func newTLSEngine(p *tlsParams, o *opener, tickets *tlsconn.Tickets, warnf func(string, ...any)) (*tlsEngine, error) {
	level, err := p.level(warnf)
	if err != nil {
		return nil, err
	}
	logLevel, err := tlsconn.ParseLogLevel(p.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("parameter smtpd_tls_loglevel: %w", err)
	}
	if p.ReqCert && level == tlsMay {
		// Who comes in the clear shows no certificate either.
		warnf("Can't require client certs unless TLS is required")
	}
	e := &tlsEngine{level: level, log: logLevel, timeout: p.Timeout}
	if level == tlsNone {
		return e, nil
	}
	options, err := p.options(level, o, warnf)
	if err == nil {
		options.Tickets = tickets
		options.SNI, err = o.sni(p.SNIMaps, warnf)
	}
	if err == nil {
		e.server, err = tlsconn.NewServer(options)
		e.single = len(options.Certificates) == 1
	}
	if err != nil {
		warnf("TLS is not available: %v; see smtpd_tls_chain_files", err)
	}
	return e, nil
}

// certificates reads the certificate files.
func (p *tlsParams) certificates() (tlsconn.Certificates, error) {
	now := time.Now()
	if len(p.ChainFiles) > 0 {
		return tlsconn.LoadChains(p.ChainFiles, now)
	}
	return tlsconn.LoadPairs([]tlsconn.Pair{
		{CertFile: p.CertFile, KeyFile: p.KeyFile}, {CertFile: p.ECCertFile, KeyFile: p.ECKeyFile},
		{CertFile: p.DCertFile, KeyFile: p.DKeyFile}}, now)
}

// settled reads certificate files when they are whole. All profiles wait together.
func (o *opener) settled(load func() (tlsconn.Certificates, error)) (tlsconn.Certificates, error) {
	if o.settleBy.IsZero() {
		o.settleBy = time.Now().Add(tlsconn.SettleTime)
	}
	return tlsconn.Settle(o.settleBy, load)
}

// options reads files and translates settings.
func (p *tlsParams) options(level tlsLevel, o *opener, warnf func(string, ...any)) (opts tlsconn.ServerOptions, err error) {
	certs, err := o.settled(p.certificates)
	o.seen = append(o.seen, certs.Files...)
	if err != nil {
		return opts, err
	}
	for _, w := range certs.Warnings {
		warnf("%s", w)
	}
	opts.Certificates = certs.List
	var files []string
	if opts.Roots, files, err = tlsconn.LoadRoots(p.CAFile, p.CAPath, p.DefaultCA); err != nil {
		return opts, err
	}
	o.seen = append(o.seen, files...)
	protocols, grade, exclude := p.Protocols, p.Ciphers, p.Exclude
	if level == tlsEncrypt {
		protocols, grade, exclude = p.MandatoryProtocols, p.MandatoryCiphers, p.Exclude+" "+p.MandatoryExclude
	}
	if opts.Versions, _, err = tlsconn.ParseProtocols(strings.Join(protocols, " ")); err != nil {
		return opts, err
	}
	if opts.Suites, _, err = tlsconn.ParseCiphers(grade, exclude); err != nil {
		return opts, err
	}
	opts.Curves, _ = tlsconn.ParseCurves(p.Curves)
	opts.AskCert = p.AskCert || p.ReqCert
	return opts, nil
}

// sni opens tls_server_sni_maps. A name is asked for as it is, then ".domain" for
// each of its parents.
func (o *opener) sni(spec string, warnf func(string, ...any)) (func(string) ([]tls.Certificate, error), error) {
	maps := o.mapsOf("tls_server_sni_maps", spec)
	if maps.Empty() {
		return nil, nil
	}
	return func(name string) ([]tls.Certificate, error) {
		for key := name; key != ""; {
			value, found, err := maps.Lookup(context.Background(), key)
			var certs []tls.Certificate
			if err == nil && found {
				certs, err = tlsconn.ParseSNIValue(key, value, time.Now())
			}
			if err != nil {
				warnf("no certificate for the name %q that a client asks for: %v", key, err)
			}
			if err != nil || found {
				return certs, err
			}
			i := strings.IndexByte(key[1:], '.')
			if i < 0 {
				break
			}
			key = key[1+i:]
		}
		return nil, nil
	}, nil
}

// newTickets gives those of this service, shared with the workers before and after
// this one when master hands a secret on.
func newTickets(env *service.Env) (*tlsconn.Tickets, error) {
	text, ok := os.LookupEnv(service.EnvTickets)
	if !ok {
		return tlsconn.NewTickets(tlsconn.NewSecret(time.Now())), nil
	}
	secret, err := tlsconn.ParseSecret(text)
	if err != nil {
		return nil, fmt.Errorf("%s in the environment: %w", service.EnvTickets, err)
	}
	return tlsconn.NewTickets(secret), nil
}

// appendProtocol appends the name of the protocol as Received has it: with "S" under
// TLS, with "A" after AUTH (RFC 3848). Elsewhere it is the bare name, as in Postfix.
func (s *session) appendProtocol(b []byte) []byte {
	if s.txn.utf8 && s.extended {
		b = append(b, "UTF8SMTP"...)
	} else {
		b = append(b, s.protocol...)
	}
	if s.secured != nil {
		b = append(b, 'S')
	}
	if s.login.user != "" {
		b = append(b, 'A')
	}
	return b
}

// needTLS: nothing but STARTTLS leads on.
func (s *session) needTLS() bool {
	return s.p.tls.level == tlsEncrypt && s.secured == nil && !s.standAlone
}

// takesRequireTLS reports whether REQUIRETLS is announced and taken (RFC 8689 §2).
func (s *session) takesRequireTLS() bool { return s.p.starttls.Require && s.secured != nil }

// wrap begins a session of wrapper mode: TLS comes first. False: it is over.
func (s *session) wrap(ctx context.Context) bool {
	s.where = "CONNECT"
	if s.p.tls.server == nil {
		s.log.Warnf("wrapper-mode requested, but TLS is not available; ending the connection of %s", s.client.text)
		return false
	}
	if err := s.secure(ctx); err != nil {
		s.end(err)
		return false
	}
	return true
}

// offersTLS reports whether STARTTLS may be said now.
func (s *session) offersTLS() bool {
	return s.p.tls.server != nil && s.secured == nil && !s.standAlone
}

// startTLS is STARTTLS (RFC 3207).
func (s *session) startTLS(ctx context.Context, arg string) (outcome, error) {
	switch {
	case arg != "":
		s.fail("501 5.5.4 Syntax: STARTTLS")
		return refused, nil
	case s.secured != nil:
		s.fail("554 5.5.1 Error: TLS already active")
		return refused, nil
	case s.p.tls.level == tlsNone || s.standAlone || s.discard.Has(ehlo.StartTLS):
		return s.notImplemented(ctx, arg)
	case s.p.tls.server == nil:
		s.fail("454 4.7.0 TLS not available due to local problem")
		return refused, nil
	}
	s.reply("220 2.0.0 Ready to start TLS")
	s.flush()
	if err := s.secure(ctx); err != nil {
		return broken, err
	}
	// RFC 3207 §4.2: what was said in the clear is forgotten.
	s.reset()
	s.heloName, s.helloed, s.extended, s.protocol = "", false, false, "SMTP"
	s.login = login{}
	return accepted, nil
}

// secure makes the handshake. Its error ends the session.
func (s *session) secure(ctx context.Context) error {
	e := s.p.tls
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	nc := s.conn.NetConn()
	// The limits of the last command are not those of the handshake.
	_ = nc.SetDeadline(time.Time{})
	if e.log.Has(tlsconn.LogVerbose) {
		s.log.Infof("setting up TLS connection from %s", s.client.text)
	}
	early := s.conn.Buffered()
	if early > 0 {
		s.log.Warnf("%d bytes from %s came in the clear after STARTTLS and are discarded", early, s.client.text)
	}
	below := &handshakeConn{Conn: nc, under: true}
	c, err := e.server.Handshake(ctx, below)
	below.under = false
	if err != nil {
		s.log.Infof("SSL_accept error from %s: %s", s.client.text, tlsconn.Reason(err))
		if errors.Is(err, context.DeadlineExceeded) {
			return os.ErrDeadlineExceeded
		}
		return errNoHandshake
	}
	s.conn.Replace(c)
	s.secured = c
	s.logTLS()
	if s.p.starttls.ReqCert && e.level == tlsEncrypt && !c.Facts.Peer.Trusted {
		text := "Client certificate not trusted"
		if !c.Facts.Peer.Present {
			text = "No client certificate presented"
		}
		s.log.Log(maillog.Info, &maillog.TLSAbort{Client: s.client.text, Reason: text})
		s.script.had |= problemPolicy
		s.replyf("421 4.7.1 ", s.p.MyHostname, " Error: ", text)
		return errQuit
	}
	return nil
}

// errNoHandshake ends a session whose handshake failed; the client is told by the
// handshake itself.
var errNoHandshake = errors.New("no TLS handshake")

// logTLS logs the handshake as smtpd_tls_loglevel asks for.
func (s *session) logTLS() {
	e, c := s.p.tls, s.secured
	if e.log.Has(tlsconn.LogCertMatch) && !c.Facts.Peer.Trusted && c.Facts.Peer.Present {
		s.log.Infof("certificate verification failed for %s: %s", s.client.text, c.Facts.Peer.Why)
	}
	if e.log.Has(tlsconn.LogPeerCert) && c.Facts.Leaf() != nil {
		s.log.Infof("%s: %s", s.client.text, c.Facts.Describe(s.p.starttls.Digest))
	}
	if e.log.Has(tlsconn.LogSummary) || c.Facts.Peer.Present && !c.Facts.Peer.Trusted && e.log.Has(tlsconn.LogUntrusted) {
		s.log.Log(maillog.Info, s.tlsEvent())
	}
}

// tlsEvent describes the connection for the log and the Received header.
func (s *session) tlsEvent() *maillog.TLSConnection {
	c := s.secured
	ev := c.Facts.Event("from "+s.client.text, false)
	ev.SNI = c.SNI
	if c.Facts.State.Version == tls.VersionTLS13 {
		ev.ServerSignature = tlsconn.Signature(c.Own)
		ev.ClientSignature = tlsconn.Signature(c.Facts.Leaf())
	}
	return ev
}

// appendTLSReceived gives the lines of the Received header about TLS
// (protocols.md §2.3), with smtpd_tls_received_header.
func (s *session) tlsReceived() []string {
	c := s.secured
	if c == nil || !s.p.starttls.Received {
		return nil
	}
	ev := s.tlsEvent()
	more := []string{}
	for _, part := range [][2]string{{"key-exchange", ev.KeyExchange}, {"server-signature", ev.ServerSignature}, {"client-signature", ev.ClientSignature}} {
		if part[1] != "" {
			more = append(more, part[0]+" "+part[1])
		}
	}
	ev.KeyExchange, ev.ServerSignature, ev.ClientSignature = "", "", ""
	first := "\t(using " + string(ev.AppendDetails(nil))
	var lines []string
	if len(more) > 0 {
		lines = append(lines, first, "\t "+strings.Join(more, " ")+")")
	} else {
		lines = append(lines, first+")")
	}
	leaf := c.Facts.Leaf()
	switch {
	case leaf != nil:
		verified := "not verified"
		if c.Facts.Peer.Trusted {
			verified = "verified OK"
		}
		return append(lines, fmt.Sprintf("\t(Client CN %s, Issuer %s (%s))",
			quoteName(leaf.Subject.CommonName), quoteName(tlsconn.IssuerName(leaf)), verified))
	case s.p.starttls.AskCert || s.p.starttls.ReqCert:
		return append(lines, "\t(Client did not present a certificate)")
	}
	return append(lines, "\t(No client certificate requested)")
}

// quoteName is a name from a certificate in a comment of a header.
func quoteName(name string) string { return `"` + commentText(name) + `"` }

// commentText is foreign text in a comment of a header: printable, without what ends
// the comment, and not too long.
func commentText(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`()"\\`, r) {
			return '?'
		}
		return r
	}, text)
	return clean[:min(len(clean), 256)]
}

// permitTrustedCert permits a client whose certificate leads to a CA of
// smtpd_tls_CAfile.
func permitTrustedCert(_ context.Context, a *access, _ *restriction) result {
	if c := a.s.secured; c != nil && c.Facts.Peer.Trusted {
		return result{decision: permit}
	}
	return result{}
}

// permitKnownCert permits a client whose certificate, or public key, has a
// fingerprint in relay_clientcerts. Whether it leads to a CA does not matter.
func permitKnownCert(ctx context.Context, a *access, _ *restriction) result {
	c := a.s.secured
	if c == nil || c.Facts.Leaf() == nil {
		return result{}
	}
	whole, key := tlsconn.Fingerprints(c.Facts.Leaf(), a.s.p.starttls.Digest)
	for _, print := range []string{whole, key} {
		switch _, found, err := a.s.p.clientCerts.Lookup(ctx, print); {
		case err != nil:
			return a.lookupFailure(err)
		case found:
			return result{decision: permit}
		}
	}
	return result{}
}
