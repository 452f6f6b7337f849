package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/dns"
	"sealpost/lib/rewrite"
)

// restrictionTable is the table of restrictions.
func restrictionTable() []restrictionRow {
	return []restrictionRow{
		{name: "permit", run: always(permit)},
		{name: "reject", run: runReject, relay: true},
		{name: "defer", run: runDefer, relay: true},
		{name: "defer_if_permit", run: runDeferIfPermit, relay: true},
		{name: "defer_if_reject", run: runDeferIfReject},
		{name: "warn_if_reject", run: runWarnIfReject},
		{name: "permit_mynetworks", run: permitMynetworks},
		{name: "permit_inet_interfaces", run: permitInterfaces},
		{name: "permit_auth_destination", run: permitAuthDestination},
		{name: "permit_sasl_authenticated", run: permitAuthenticated},
		{name: "check_sasl_access", args: 1, table: true, run: checkAccess(loginSubject)},
		{name: "reject_sender_login_mismatch", run: senderLogin(loggedIn | loggedOut | unowned)},
		{name: "reject_known_sender_login_mismatch", run: senderLogin(loggedIn | loggedOut)},
		{name: "reject_authenticated_sender_login_mismatch", run: senderLogin(loggedIn | unowned)},
		{name: "reject_unauthenticated_sender_login_mismatch", run: senderLogin(loggedOut)},
		{name: "check_client_access", args: 1, table: true, run: checkAccess(clientSubject)},
		{name: "check_reverse_client_hostname_access", args: 1, table: true, run: checkAccess(reverseSubject)},
		{name: "check_helo_access", args: 1, table: true, run: checkAccess(heloSubject)},
		{name: "check_sender_access", args: 1, table: true, run: checkAccess(senderSubject)},
		{name: "check_recipient_access", args: 1, table: true, run: checkAccess(rcptSubject)},
		{name: "check_etrn_access", args: 1, table: true, run: checkAccess(etrnSubject)},
		{name: "check_ccert_access", args: 1, table: true, run: checkAccess(certSubject)},
		{name: "check_policy_service", args: 1, service: true, run: checkPolicy},
		{name: "permit_tls_all_clientcerts", run: permitTrustedCert},
		{name: "permit_tls_clientcerts", run: permitKnownCert},
		{name: "reject_unauth_destination", run: rejectUnauthDestination, relay: true},
		{name: "defer_unauth_destination", run: deferUnauthDestination, relay: true},
		{name: "reject_unlisted_recipient", run: rejectUnlistedRecipient},
		{name: "reject_unlisted_sender", run: rejectUnlistedSender},
		{name: "reject_non_fqdn_sender", run: rejectNonFQDNSender},
		{name: "reject_non_fqdn_recipient", run: rejectNonFQDNRecipient},
		{name: "reject_non_fqdn_helo_hostname", run: rejectNonFQDNHelo},
		{name: "reject_invalid_helo_hostname", run: rejectInvalidHelo},
		{name: "reject_unknown_helo_hostname", run: rejectUnknownHelo},
		{name: "reject_unknown_sender_domain", run: rejectUnknownSenderDomain},
		{name: "reject_unknown_recipient_domain", run: rejectUnknownRecipientDomain},
		{name: "reject_unknown_client_hostname", run: rejectUnknownClient},
		{name: "reject_unknown_reverse_client_hostname", run: rejectUnknownReverse},
		{name: "reject_multi_recipient_bounce", run: rejectMultiBounce},
		{name: "reject_unauth_pipelining", run: rejectPipelining},
		{name: "reject_plaintext_session", run: rejectPlaintext},
	}
}

func always(d decision) func(context.Context, *access, *restriction) result {
	return func(context.Context, *access, *restriction) result { return result{decision: d} }
}

func runReject(_ context.Context, a *access, _ *restriction) result {
	return a.rejected(a.s.p.codes.Reject, "5.7.1", "Access denied")
}

func runDefer(_ context.Context, a *access, _ *restriction) result {
	return a.rejected(a.s.p.codes.Defer, "4.3.2", "Try again later")
}

func runDeferIfPermit(_ context.Context, a *access, _ *restriction) result {
	return a.tempfail("defer_if_permit", a.rejected(450, "4.7.0", "defer_if_permit requested"))
}

func runDeferIfReject(_ context.Context, a *access, _ *restriction) result {
	if !a.deferIfReject.refused() {
		a.deferIfReject = a.rejected(450, "4.7.0", "defer_if_reject requested")
	}
	return result{}
}

func runWarnIfReject(_ context.Context, a *access, _ *restriction) result {
	a.warnOnly = true
	return result{}
}

func permitMynetworks(ctx context.Context, a *access, _ *restriction) result {
	ok, err := a.s.p.mynetworks.MatchHost(ctx, a.s.client.matchName(), a.s.client.ip)
	if err != nil {
		return a.lookupFailure(err)
	}
	if ok {
		return result{decision: permit}
	}
	return result{}
}

func permitInterfaces(_ context.Context, a *access, _ *restriction) result {
	if a.s.srv.ownAddress(a.s.client.ip) {
		return result{decision: permit}
	}
	return result{}
}

// lookupFailure is the answer when a table or a name server failed: temporary.
func (a *access) lookupFailure(err error) result {
	a.s.log.Warnf("%v", err)
	return verdict(reject, 451, "4.3.0", "<"+a.what+">: Temporary lookup failure")
}

// destination resolves the recipient; authorized says that mail to it is for
// this host or for a domain that it relays to, without a detour in the address.
func (a *access) destination(ctx context.Context) (to rewrite.Resolved, authorized bool, err error) {
	to, err = a.s.srv.resolver(ctx, a.sender(), a.rcpt)
	if err != nil {
		return to, false, err
	}
	return to, to.Class != rewrite.Default && to.Class != 0 && !to.Routed && !to.Invalid, nil
}

func (a *access) sender() string {
	if a.s.txn == nil {
		return ""
	}
	return a.s.txn.sender
}

func permitAuthDestination(ctx context.Context, a *access, _ *restriction) result {
	if a.rcpt == "" {
		return result{}
	}
	_, authorized, err := a.destination(ctx)
	switch {
	case err != nil:
		return a.lookupFailure(err)
	case authorized:
		return result{decision: permit}
	}
	return result{}
}

func rejectUnauthDestination(ctx context.Context, a *access, _ *restriction) result {
	return a.unauthDestination(ctx, a.s.p.codes.Relay, "5.7.1")
}

func deferUnauthDestination(ctx context.Context, a *access, _ *restriction) result {
	return a.unauthDestination(ctx, a.s.p.codes.Relay-100, "4.7.1")
}

func (a *access) unauthDestination(ctx context.Context, code int, dsn string) result {
	if a.rcpt == "" {
		return result{}
	}
	_, authorized, err := a.destination(ctx)
	switch {
	case err != nil:
		return a.lookupFailure(err)
	case authorized:
		return result{}
	}
	return verdict(reject, code, dsn, "<"+a.rcpt+">: Relay access denied")
}

func rejectUnlistedRecipient(ctx context.Context, a *access, _ *restriction) result {
	if a.rcpt == "" {
		return result{}
	}
	return a.unlisted(ctx, a.rcpt, classRcpt)
}

func rejectUnlistedSender(ctx context.Context, a *access, _ *restriction) result {
	if a.sender() == "" {
		return result{}
	}
	return a.unlisted(ctx, a.sender(), classSender)
}

func rejectNonFQDNSender(_ context.Context, a *access, _ *restriction) result {
	if a.sender() == "" {
		return result{}
	}
	return a.nonFQDNAddress(a.sender(), classSender)
}

func rejectNonFQDNRecipient(_ context.Context, a *access, _ *restriction) result {
	if a.rcpt == "" {
		return result{}
	}
	return a.nonFQDNAddress(a.rcpt, classRcpt)
}

func (a *access) nonFQDNAddress(addr string, c class) result {
	_, domain := address.Split(addr)
	if domain == "" || !isLiteral(domain) && !strings.Contains(strings.TrimSuffix(domain, "."), ".") {
		return a.rejectedAs(c, addr, a.s.p.codes.NonFQDN, "5.5.2", "need fully-qualified address")
	}
	return result{}
}

func isLiteral(domain string) bool { return strings.HasPrefix(domain, "[") }

func rejectNonFQDNHelo(_ context.Context, a *access, _ *restriction) result {
	name := a.s.heloName
	if name == "" || isLiteral(name) {
		return result{}
	}
	if !dns.ValidHostname(name) || !strings.Contains(strings.TrimSuffix(name, "."), ".") {
		return a.rejectedAs(classHelo, name, a.s.p.codes.NonFQDN, "5.5.2", "need fully-qualified hostname")
	}
	return result{}
}

func rejectInvalidHelo(_ context.Context, a *access, _ *restriction) result {
	name := a.s.heloName
	if name == "" {
		return result{}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return result{} // not a name; whether it may be an address is not asked here
	}
	if isLiteral(name) {
		if !validLiteral(name) {
			return a.rejectedAs(classHelo, name, a.s.p.codes.InvalidHostname, "5.5.2", "invalid ip address")
		}
		return result{}
	}
	if !dns.ValidHostname(name) {
		return a.rejectedAs(classHelo, name, a.s.p.codes.InvalidHostname, "5.5.2", "Invalid name")
	}
	return result{}
}

// validLiteral checks [1.2.3.4] and [IPv6:2001:db8::1] (RFC 5321 §4.1.3).
func validLiteral(s string) bool {
	if !strings.HasSuffix(s, "]") {
		return false
	}
	s = s[1 : len(s)-1]
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		addr, err := netip.ParseAddr(s[5:])
		return err == nil && addr.Is6()
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

func rejectUnknownHelo(ctx context.Context, a *access, _ *restriction) result {
	name := a.s.heloName
	if name == "" || isLiteral(name) {
		return result{}
	}
	_, err := a.mailHosts(ctx, name)
	switch {
	case err == nil:
		return result{}
	case errors.Is(err, dns.ErrTemporary):
		return a.tempfail(a.s.p.codes.HeloTempfail,
			a.rejectedAs(classHelo, name, 450, "4.7.1", "Host not found"))
	}
	return a.rejectedAs(classHelo, name, a.s.p.codes.UnknownHostname, "4.7.1", "Host not found")
}

func rejectUnknownSenderDomain(ctx context.Context, a *access, _ *restriction) result {
	if a.sender() == "" {
		return result{}
	}
	return a.unknownDomain(ctx, a.sender(), classSender, "4.1.8", "5.7.27")
}

func rejectUnknownRecipientDomain(ctx context.Context, a *access, _ *restriction) result {
	if a.rcpt == "" {
		return result{}
	}
	return a.unknownDomain(ctx, a.rcpt, classRcpt, "4.1.2", "5.1.10")
}

// unknownDomain refuses an address whose domain has neither MX nor address
// records, unless this host is its destination.
func (a *access) unknownDomain(ctx context.Context, addr string, c class, dsn, nullDSN string) result {
	_, domain := address.Split(addr)
	if domain == "" || isLiteral(domain) {
		return result{}
	}
	to, err := a.s.srv.resolver(ctx, a.sender(), addr)
	if err != nil {
		return a.lookupFailure(err)
	}
	if to.Class == rewrite.Local || to.Class == rewrite.Alias || to.Class == rewrite.Virtual {
		return result{}
	}
	null, err := a.mailHosts(ctx, domain)
	switch {
	case err == nil && null:
		code := 550
		if c == classRcpt {
			code = 556
		}
		return a.rejectedAs(c, addr, code, nullDSN, "Domain "+domain+" does not accept mail (nullMX)")
	case err == nil:
		return result{}
	case errors.Is(err, dns.ErrTemporary):
		return a.tempfail(a.s.p.codes.AddressTempfail, a.rejectedAs(c, addr, 450, dsn, "Domain not found"))
	}
	return a.rejectedAs(c, addr, a.s.p.codes.UnknownAddress, dsn, "Domain not found")
}

// mailHosts reports whether a domain can get mail: nil when it has an MX or an
// address record; null when it says that it takes none (RFC 7505).
func (a *access) mailHosts(ctx context.Context, domain string) (null bool, err error) {
	mx, _, err := a.s.srv.dns.MX(ctx, domain)
	if err == nil && len(mx) > 0 {
		return len(mx) == 1 && mx[0].Host == "", nil
	}
	if err != nil && !errors.Is(err, dns.ErrNotFound) && !errors.Is(err, dns.ErrNoData) {
		return false, err
	}
	if errors.Is(err, dns.ErrNotFound) {
		return false, err
	}
	v4, v6 := a.s.p.proto()
	_, _, err = a.s.srv.dns.Addrs(ctx, domain, v4, v6)
	return false, err
}

func rejectUnknownClient(_ context.Context, a *access, _ *restriction) result {
	c := &a.s.client
	if c.nameStatus == nameOK {
		return result{}
	}
	r := a.rejectedAsClient("4.7.25", "cannot find your hostname")
	if c.nameStatus == nameTemporary {
		return a.tempfail("defer_if_permit", r)
	}
	return r
}

func rejectUnknownReverse(_ context.Context, a *access, _ *restriction) result {
	c := &a.s.client
	if c.reverseStatus == nameOK {
		return result{}
	}
	r := a.rejectedAsClient("4.7.25", "cannot find your reverse hostname")
	if c.reverseStatus == nameTemporary {
		return a.tempfail("defer_if_permit", r)
	}
	return r
}

func (a *access) rejectedAsClient(dsn, text string) result {
	return verdict(reject, a.s.p.codes.UnknownClient, dsn, "Client host rejected: "+text+", ["+a.s.client.addr+"]")
}

func rejectMultiBounce(_ context.Context, a *access, _ *restriction) result {
	t := a.s.txn
	if t == nil || t.sender != "" || a.class == classRcpt && t.rcpts == 0 || a.class != classRcpt && t.rcpts < 2 {
		return result{}
	}
	return a.rejected(a.s.p.codes.MultiBounce, "5.5.3", "Multi-recipient bounce")
}

// rejectPipelining has nothing to do beside smtpd_forbid_unauth_pipelining,
// which ends such a session before its restrictions are asked.
func rejectPipelining(_ context.Context, a *access, _ *restriction) result {
	if a.s.conn.Buffered() > 0 && (!a.s.extended || a.class == classData) {
		return a.rejected(503, "5.5.0", "Improper use of SMTP command pipelining")
	}
	return result{}
}

func rejectPlaintext(_ context.Context, a *access, _ *restriction) result {
	if a.s.secured != nil {
		return result{}
	}
	return a.rejected(a.s.p.codes.PlainText, "4.7.1", "Session encryption is required")
}
