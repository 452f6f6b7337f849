package main

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/hop"
	"sealpost/lib/maillog"
	"sealpost/lib/route"
	"sealpost/lib/smtpclient"
	"sealpost/lib/table"
	"sealpost/lib/tlsconn"
	"sealpost/lib/tlspolicy"
)

// finger is one run of the program.
type finger struct {
	*options
	out    io.Writer
	route  *route.Config
	dests  []route.Destination
	talk   smtpclient.Settings
	source *tlspolicy.Source
	// secure is asked where DANE finds nothing and no level was demanded.
	secure     *tlspolicy.Source
	engine     *tlsconn.Client
	level      tlsconn.LogLevel
	digest     string
	myHostname string
	timeout    time.Duration
	log        *maillog.Logger
}

func newFinger(o *options, out io.Writer) (*finger, error) {
	c, err := o.config()
	if err != nil {
		return nil, err
	}
	f := &finger{options: o, out: out, myHostname: c.Str("myhostname"), log: maillog.Discard()}
	if f.level, err = tlsconn.ParseLogLevel(o.words); err != nil {
		return nil, fmt.Errorf("-L: %w", err)
	}
	if f.route, err = route.Load(c, o.lmtp); err != nil {
		return nil, err
	}
	syntax, err := route.LoadSyntax(c, o.lmtp)
	if err != nil {
		return nil, err
	}
	if f.dests, err = route.ParseList(o.dest, syntax); err != nil {
		return nil, err
	}
	if f.talk, err = smtpclient.Load(c, o.lmtp); err != nil {
		return nil, err
	}
	f.route.LoopPort, f.talk.LoopPort = 0, 0 // a probe makes no loop
	return f, f.open(c)
}

// open makes what asks the DNS and speaks TLS.
func (f *finger) open(c *config.Config) error {
	prefix := "smtp_"
	if f.lmtp {
		prefix = "lmtp_"
	}
	f.digest, f.timeout = c.Str(prefix+"tls_fingerprint_digest"), c.Time(prefix+"connect_timeout")
	resolver, err := route.NewResolver(c, f.route.DNSSEC)
	if err != nil {
		return err
	}
	f.route.Resolver = resolver
	env := table.Env{Warnf: f.warnf}
	if f.source, err = tlspolicy.Open(c, f.lmtp, env, resolver); err != nil {
		return err
	}
	secure, err := c.With(config.Override{Name: prefix + "tls_security_level", Value: "secure"})
	if err != nil {
		return err
	}
	if f.secure, err = tlspolicy.Open(secure, f.lmtp, env, resolver); err != nil {
		return err
	}
	f.engine, _, err = hop.OpenEngine(c, f.lmtp, f.warnf)
	return err
}

func (f *finger) printf(format string, args ...any) {
	fmt.Fprintf(f.out, "posttls-finger: "+format+"\n", args...)
}

func (f *finger) warnf(format string, args ...any) { f.printf("warning: "+format, args...) }

// destination probes each host of each destination; the result says for each
// whether it would get mail.
func (f *finger) destination(ctx context.Context) (good []bool, err error) {
	for _, dest := range f.dests {
		plan, err := f.route.Hosts(ctx, dest)
		if err != nil {
			return good, fmt.Errorf("%s: %w", dest.Text, err)
		}
		for _, text := range plan.Warnings {
			f.warnf("%s", text)
		}
		for _, h := range plan.Hosts {
			good = append(good, f.host(ctx, dest, h))
		}
	}
	return good, nil
}

// host probes one host and prints the verdict.
func (f *finger) host(ctx context.Context, dest route.Destination, h route.Host) bool {
	f.lookups(dest, h)
	policy, err := f.policy(ctx, dest, h)
	if err != nil {
		var perr *tlspolicy.Error
		if errors.As(err, &perr) {
			for _, text := range perr.Warnings {
				f.warnf("%s", text)
			}
		}
		f.printf("%s: verdict: no mail: %v", h.Relay(), err)
		return false
	}
	f.describe(h, policy)
	good, resumed := f.connect(ctx, h, policy)
	for n := 0; good && !resumed && f.reconnect > 0 && n < f.count; n++ {
		select {
		case <-time.After(f.reconnect):
		case <-ctx.Done():
			return false
		}
		good, resumed = f.connect(ctx, h, policy)
		f.printf("%s: session resumed: %s", h.Relay(), yes(resumed))
	}
	return good
}

// policy is what smtp(8) would ask of the host.
func (f *finger) policy(ctx context.Context, dest route.Destination, h route.Host) (*tlspolicy.Policy, error) {
	site := tlspolicy.SiteOf(dest, h, f.myHostname)
	policy, err := f.source.Lookup(ctx, site)
	if err == nil && !f.levelSet && !policy.Level.MatchesCertificate() {
		reason := policy.Reason
		if policy, err = f.secure.Lookup(ctx, site); err == nil && reason != "" {
			f.printf("%s: no DANE: %s; using level secure", h.Relay(), reason)
		}
	}
	return policy, err
}

// lookups prints how far the way to a host could be believed.
func (f *finger) lookups(dest route.Destination, h route.Host) {
	if h.Unix != "" {
		return
	}
	kind := "host"
	if dest.MX {
		kind = fmt.Sprintf("MX preference %d", h.Pref)
	}
	f.printf("%s: %s of %s, name %s, address %s", h.Relay(), kind, dest.Host, signed(h.Authentic), signed(h.AddrAuthentic))
}

// describe prints the policy.
func (f *finger) describe(h route.Host, p *tlspolicy.Policy) {
	for _, text := range p.Warnings {
		f.warnf("%s", text)
	}
	line := "level " + p.Level.String()
	if p.Reason != "" {
		line += " (" + p.Reason + ")"
	}
	f.printf("%s: %s", h.Relay(), line)
	for _, rr := range p.TLSA {
		f.printf("%s: TLSA of %s: %d %d %d %s", h.Relay(), p.TLSADomain, rr.Usage, rr.Selector, rr.Matching, hex.EncodeToString(rr.Data))
	}
	if names := p.NameTexts(); len(names) > 0 && p.Level.MatchesCertificate() && p.Level != tlspolicy.Fingerprint {
		f.printf("%s: names to match: %v", h.Relay(), names)
	}
}

// connect makes one connection and prints what it shows.
func (f *finger) connect(ctx context.Context, h route.Host, p *tlspolicy.Policy) (good, resumed bool) {
	network, addr := "tcp", h.Addr.String()
	if h.Unix != "" {
		network, addr = "unix", h.Unix
	}
	dialer := net.Dialer{Timeout: f.timeout}
	nc, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		f.printf("%s: verdict: no mail: connect: %s", h.Relay(), smtpclient.ErrorText(err))
		return false, false
	}
	f.printf("Connected to %s", h.Relay())
	var wire net.Conn = nc
	if !f.tlsOnly {
		wire = &chat{Conn: nc, print: f.printf}
	}
	s := smtpclient.New(wire, h, &f.talk)
	step := &hop.Hop{
		Host: h, Policy: p, Log: f.log, Engine: listening{f},
		OnFailure: func(err error) { f.printf("SSL_connect error to %v", err) },
		OnSecured: func(facts tlsconn.Facts) { f.handshake(h, p, &facts) },
		OnInject:  func(n int) { f.warnf("%s: %d bytes in the clear after the reply to STARTTLS", h.Relay(), n) },
	}
	facts, failure, _ := step.Open(ctx, s)
	s.Quit()
	if failure != nil {
		f.printf("%s: verdict: no mail: %s %s (tls=%s)", h.Relay(), failure.Status.Code, failure.Status.Reason, step.Verdict.Slot)
		return false, false
	}
	f.printf("%s: verdict: mail would be sent (tls=%s)", h.Relay(), step.Verdict.Slot)
	return true, facts.State.DidResume
}

// handshake prints what a handshake showed.
func (f *finger) handshake(h route.Host, p *tlspolicy.Policy, facts *tlsconn.Facts) {
	if f.pem {
		for i, cert := range facts.State.PeerCertificates {
			whole, key := tlsconn.Fingerprints(cert, f.digest)
			fmt.Fprintf(f.out, "---\nCertificate %d: subject %s, issuer %s\n fingerprint %s\n public key %s\n%s", i,
				cert.Subject, cert.Issuer, whole, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		}
	}
	if f.level.Has(tlsconn.LogPeerCert) || f.level.Has(tlsconn.LogCertMatch) {
		f.printf("%s: %s", h.Relay(), facts.Describe(f.digest))
	}
	if f.level.Has(tlsconn.LogCertMatch) {
		if cert := facts.Leaf(); cert != nil {
			f.printf("%s: names of the certificate: %v, valid until %s", h.Relay(), cert.DNSNames, cert.NotAfter.Format(time.DateOnly))
		}
		f.printf("%s: trusted: %s, matched: %s%s", h.Relay(), yes(facts.Peer.Trusted), yes(facts.Peer.Matched), why(facts.Peer))
	}
	if f.level.Has(tlsconn.LogSummary) {
		ev := facts.Event("to "+h.Relay(), facts.Peer.Secured(p.Level))
		f.printf("%s", ev.AppendText(nil))
	}
}

func why(p tlspolicy.Peer) string {
	switch {
	case p.Why != "":
		return " (" + p.Why + ")"
	case p.Name != "":
		return " (" + p.Name + ")"
	}
	return ""
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func signed(b bool) string {
	if b {
		return "authentic"
	}
	return "not authentic"
}
