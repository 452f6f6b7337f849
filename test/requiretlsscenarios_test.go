package test

import (
	"regexp"
)

// exchanger is a mail server of a scenario.
type exchanger struct {
	cert          string // "right", "wrong name", "expired", "self-signed"; "": none, the handshake fails
	clear, secret string // extensions
	on            map[string]string
	down          bool // not yet there
}

// What exchangers announce.
const (
	offersTLS = "STARTTLS 8BITMIME"
	complies  = "8BITMIME REQUIRETLS"
)

// compliant is an exchanger as RFC 8689 wants it.
var compliant = exchanger{cert: "right", clear: offersTLS, secret: complies}

// scenario is one of the 22 of security-cases.md §2.K, by its number there: a message is
// accepted with REQUIRETLS, and then.
type scenario struct {
	name     string
	level    string // of TLS, an entry of smtp_tls_policy_maps; "": secure
	servers  []exchanger
	unsigned bool   // the MX record is
	tlsa     string // "match", "mismatch": the TLSA record of the first exchanger
	// before is the header of a message without the request that is delivered first.
	before     string
	header     string   // more of the message's
	plain      bool     // the request is in the header only
	body       string   // in place of the usual one
	args       []string // of sendmail
	rcpt       string   // "": user@DOMAIN; DOMAIN stands for the scenario's
	nullSender bool
	smtp       bool       // submitted over SMTP and TLS, MAIL FROM:<...> REQUIRETLS
	super      [][]string // postsuper is run so while the exchanger is down, with the queue id
	stays      bool       // until the system has been disturbed

	want   string // a pattern for the end of the delivery line, from tls= on
	notice string // the code that the sender is told; "": nothing is said
	mails  int    // MAIL commands on connections that qualify
	pays   string // the kind of notification: "failure" unless it is said
}

// refused is the end of a delivery line for a message that returns.
func refused(field, code, reason string) string {
	return regexp.QuoteMeta("tls="+field+", dsn="+code+", status=bounced (") + reason
}

const asked = "Sender requested REQUIRETLS, but "

// scenarios are in the order of the specification.
func scenarios() []scenario {
	good := []exchanger{compliant}
	// lax has a good certificate and no REQUIRETLS.
	lax := []exchanger{{cert: "right", clear: offersTLS, secret: "8BITMIME"}}
	with := func(cert string) []exchanger {
		return []exchanger{{cert: cert, clear: offersTLS, secret: complies}}
	}
	says := func(verb, reply string) []exchanger {
		e := compliant
		e.on = map[string]string{verb: reply}
		return []exchanger{e}
	}
	later := []exchanger{{down: true, cert: "right", clear: offersTLS, secret: "8BITMIME"}}
	noDelay := []string{"-N", "failure"} // the warning about it is scenario 14's
	const (
		laxAnswer = asked + "no server was found that supports REQUIRETLS"
		sent      = `tls=secure/requiretls, dsn=2.0.0, status=sent \(250 2.0.0 kept`
	)
	returns := refused("secure/!requiretls:none", "5.7.30", laxAnswer)
	noCert := refused("!secure/!requiretls:nocertmatch", "5.7.10", asked+"no trusted server certificate was found")
	list := []scenario{
		{name: "1 no STARTTLS offered", servers: []exchanger{{clear: "8BITMIME REQUIRETLS"}},
			want: refused("!secure/!requiretls:nostarttls", "5.7.30", asked+"TLS service was not offered by host"), notice: "5.7.30"},
	}
	for _, reply := range []string{"454 4.7.0 not now", "502 5.5.1 what", "354 go on"} {
		list = append(list, scenario{name: "2 STARTTLS " + reply[:3], servers: says("STARTTLS", reply),
			want: refused("!secure/!requiretls:nostarttls", "5.7.10", asked+`host \S+ refused to start TLS: `+reply), notice: "5.7.10"})
	}
	list = append(list, []scenario{
		{name: "3 handshake fails", servers: with(""), want: `tls=secure\?/requiretls\?, dsn=4.7.5, status=deferred \(Cannot start TLS: handshake failure`},
		{name: "4 certificate for a wrong name", servers: with("wrong name"),
			want: refused("!secure/!requiretls:nocertmatch", "5.7.10", asked+"no matching server certificate was found"), notice: "5.7.10"},
		{name: "5 certificate expired", servers: with("expired"), want: noCert, notice: "5.7.10"},
		{name: "5 certificate self-signed", servers: with("self-signed"), want: noCert, notice: "5.7.10"},
		{name: "6 DANE mismatch", level: "dane", servers: good, tlsa: "mismatch",
			want: refused("!dane/!requiretls:nocertmatch", "5.7.10", asked+"no trusted server certificate was found"), notice: "5.7.10"},
		{name: "6 DANE match", level: "dane", servers: with("self-signed"), tlsa: "match", mails: 1,
			want: `tls=dane/requiretls, dsn=2.0.0, status=sent \(`},
		{name: "7 good certificate but EHLO after TLS lacks REQUIRETLS", servers: lax, want: returns, notice: "5.7.30"},
		{name: "7 the same for a message that came over SMTP", servers: lax, smtp: true, want: returns, notice: "5.7.30"},
		{name: "8 REQUIRETLS only in pre-TLS EHLO", servers: []exchanger{{cert: "right", clear: offersTLS + " REQUIRETLS", secret: "8BITMIME"}},
			want: returns, notice: "5.7.30"},
		{name: "9 MX unsigned and no MTA-STS", level: "verify", servers: good, unsigned: true,
			want: refused("verify?/!requiretls:nosecuremx", "5.7.10", asked+`the MX lookup for \S+ was not secure`), notice: "5.7.10"},
		{name: "9 MX unsigned and TLSA signed", level: "dane", servers: good, unsigned: true, tlsa: "match",
			want: refused("halfdane?/!requiretls:nosecuremx", "5.7.10", asked+`the MX lookup for \S+ was not secure`), notice: "5.7.10"},
		{name: "10 REQUIRETLS then server 555s MAIL", servers: says("MAIL", "555 5.5.4 Unsupported option: REQUIRETLS"), mails: 1,
			want: refused("secure/requiretls", "5.5.4", `host \S+ said: 555 5.5.4 Unsupported option: REQUIRETLS`), notice: "5.5.4"},
		{name: "11 first MX bad, second good", servers: []exchanger{lax[0], compliant}, want: sent, mails: 1},
		{name: "11 first MX bad, second in the clear", servers: []exchanger{with("wrong name")[0], {clear: "8BITMIME"}},
			want: refused("!secure/!requiretls:nostarttls", "5.7.30", asked+"TLS service was not offered by host"), notice: "5.7.30"},
		{name: "12 connection-cache reuse of a session without verification", servers: with("self-signed"), before: "TLS-Required: no", want: noCert, notice: "5.7.10"},
		{name: "13 TLS session resumption of unverified session", servers: with("wrong name"), before: "TLS-Required: no",
			want: refused("!secure/!requiretls:nocertmatch", "5.7.10", asked+"no matching server certificate was found"), notice: "5.7.10"},
		{name: "14 automatic copy", servers: lax, rcpt: "local@sender.test", want: returns},
		{name: "14 virtual alias", servers: lax, rcpt: "DOMAIN@alias.test", want: returns, notice: "5.7.30"},
		{name: "14 VERP", servers: lax, args: []string{"-XV"}, want: returns, notice: "5.7.30"},
		{name: "14 delayed-warning DSN", servers: []exchanger{{down: true}}, pays: "delay", want: `tls=secure\?/requiretls\?, dsn=4.4.1, status=deferred \(connect to`, notice: "4.4.1"},
		{name: "14 success DSN", servers: good, args: []string{"-N", "success"}, pays: "success", want: sent, mails: 1, notice: "2.0.0"},
		{name: "14 postsuper -r", servers: later, args: noDelay, super: [][]string{{"-r"}}, want: returns, notice: "5.7.30"},
		{name: "14 hold and release", servers: later, args: noDelay, super: [][]string{{"-h"}, {"-H"}}, want: returns, notice: "5.7.30"},
		{name: "14 content filter", servers: lax, header: "X-Filter: me\n", want: returns, notice: "5.7.30"},
		{name: "14 double bounce", servers: lax, nullSender: true, want: returns},
		{name: "15 local delivery", servers: nil, rcpt: "local@sender.test", want: `dsn=2.0.0, status=sent \(delivered to maildir\)`},
		{name: "15 delivery to a command", servers: nil, rcpt: "u@piped.test", want: `dsn=2.0.0, status=sent \(delivered via piped service\)`},
		{name: "16 REQUIRETLS and TLS-Required: No", servers: lax, header: "TLS-Required: No\n", want: returns, notice: "5.7.30"},
		{name: "16 the same to a server that complies", servers: good, header: "TLS-Required: No\n", want: sent, mails: 1},
		{name: "17 TLS-Required: No inside an attachment", servers: lax, want: returns, notice: "5.7.30",
			header: "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n",
			body:   "--b\nTLS-Required: No\n\nsecret\n--b\nContent-Type: message/rfc822\n\nTLS-Required: No\nRequire-TLS-ESMTP: no\n\nsecret\n--b--\n"},
		{name: "19 smtp_tls_security_level=none", level: "none", servers: good, notice: "5.7.10",
			want: refused("none?/!requiretls:nocertmatch", "5.7.10", asked+"my configured TLS security level 'none' disables certificate matching")},
		{name: "20 transport nexthop is an address", servers: lax, rcpt: "u@literal.test", want: returns, notice: "5.7.30"},
		{name: "21 restart between accept and delivery, server complies", args: noDelay, servers: []exchanger{{down: true, cert: "right", clear: offersTLS, secret: complies}}, stays: true, mails: 1, want: sent},
		{name: "21 restart between accept and delivery, server does not", args: noDelay, servers: later, stays: true, want: returns, notice: "5.7.30"},
		{name: "21 submitted while the system is stopped", servers: lax, stays: true, want: returns, notice: "5.7.30"},
		{name: "22 qmgr kill -9, server complies", servers: good, stays: true, mails: 1, want: sent},
		{name: "22 qmgr kill -9, server does not", servers: lax, stays: true, want: returns, notice: "5.7.30"},
	}...)
	for form, line := range map[string]string{"folded": "TLS-Required:\n no\n", "twice": "TLS-Required: no\nTLS-Required: no\n", "no with a blank": "TLS-Required: no \n", "NO": "TLS-Required: NO\n"} {
		list = append(list, scenario{name: "18 TLS-Required " + form, servers: lax, header: line, want: returns, notice: "5.7.30"})
	}
	list = append(list, scenario{name: "18 Require-TLS-ESMTP from an access table", servers: lax, smtp: true, plain: true, want: returns, notice: "5.7.30"})
	for form, line := range map[string]string{"folded": "Require-TLS-ESMTP:\n yes\n", "twice": "Require-TLS-ESMTP: yes\nRequire-TLS-ESMTP: yes\n", "yes with a blank": "Require-TLS-ESMTP: yes \n", "YES": "Require-TLS-ESMTP: YES\n"} {
		list = append(list, scenario{name: "18 Require-TLS-ESMTP " + form, servers: lax, plain: true, header: line, want: returns, notice: "5.7.30"})
	}
	return list
}
