package test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/ca"
	"sealpost/test/harness"
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
	stays      bool // until the system has been disturbed

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
		{name: "14 double bounce", servers: lax, nullSender: true, want: returns},
		{name: "15 local delivery", servers: nil, rcpt: "local@sender.test", want: `dsn=2.0.0, status=sent \(delivered to maildir\)`},
		{name: "16 REQUIRETLS and TLS-Required: No", servers: lax, header: "TLS-Required: No\n", want: returns, notice: "5.7.30"},
		{name: "16 the same to a server that complies", servers: good, header: "TLS-Required: No\n", want: sent, mails: 1},
		{name: "17 TLS-Required: No inside an attachment", servers: lax, want: returns, notice: "5.7.30",
			header: "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n",
			body:   "--b\nTLS-Required: No\n\nsecret\n--b\nContent-Type: message/rfc822\n\nTLS-Required: No\nRequire-TLS-ESMTP: no\n\nsecret\n--b--\n"},
		{name: "19 smtp_tls_security_level=none", level: "none", servers: good, notice: "5.7.10",
			want: refused("none?/!requiretls:nocertmatch", "5.7.10", asked+"my configured TLS security level 'none' disables certificate matching")},
		{name: "20 transport nexthop is an address", servers: lax, rcpt: "u@literal.test", want: returns, notice: "5.7.30"},
		{name: "21 restart between accept and delivery, server complies", servers: []exchanger{{down: true, cert: "right", clear: offersTLS, secret: complies}}, stays: true, mails: 1, want: sent},
		{name: "21 restart between accept and delivery, server does not", servers: []exchanger{{down: true, cert: "right", clear: offersTLS, secret: "8BITMIME"}}, stays: true, want: returns, notice: "5.7.30"},
		{name: "22 qmgr kill -9, server complies", servers: good, stays: true, mails: 1, want: sent},
		{name: "22 qmgr kill -9, server does not", servers: lax, stays: true, want: returns, notice: "5.7.30"},
	}...)
	for form, line := range map[string]string{"folded": "TLS-Required:\n no\n", "twice": "TLS-Required: no\nTLS-Required: no\n", "no with a blank": "TLS-Required: no \n", "NO": "TLS-Required: NO\n"} {
		list = append(list, scenario{name: "18 TLS-Required " + form, servers: lax, header: line, want: returns, notice: "5.7.30"})
	}
	for form, line := range map[string]string{"folded": "Require-TLS-ESMTP:\n yes\n", "twice": "Require-TLS-ESMTP: yes\nRequire-TLS-ESMTP: yes\n", "yes with a blank": "Require-TLS-ESMTP: yes \n", "YES": "Require-TLS-ESMTP: YES\n"} {
		list = append(list, scenario{name: "18 Require-TLS-ESMTP " + form, servers: lax, plain: true, header: line, want: returns, notice: "5.7.30"})
	}
	return list
}

// stage2K is a mail system with the exchangers of all scenarios around it.
type stage2K struct {
	*harness.Instance
	cases []*staged
}

// staged is a scenario with its servers.
type staged struct {
	scenario
	n         int
	domain    string
	recorders []*recorder
}

func (s *staged) user() string { return fmt.Sprintf("u%d", s.n) }

// secret is what must not be seen.
const secret = "the secret of this message"

// setStage makes the exchangers, their DNS and the sender.
func setStage(t *testing.T, list []scenario) *stage2K {
	authority := ca.New(t, "Test CA")
	users := []string{"local", "postmaster"}
	var zone, policies strings.Builder
	var signed []string
	bcc, alias, literal, cached := "", "", "", ""
	st := &stage2K{}
	for n, sc := range list {
		s := &staged{scenario: sc, n: n, domain: fmt.Sprintf("d%d.test", n)}
		users = append(users, s.user())
		if !s.unsigned {
			signed = append(signed, s.domain)
		}
		for i, e := range sc.servers {
			host := fmt.Sprintf("mx%d.%s", i, s.domain)
			leaf := ca.Leaf{Names: []string{host}, Expired: e.cert == "expired", SelfSigned: e.cert == "self-signed"}
			if e.cert == "wrong name" {
				leaf.Names = []string{"mx.other.test"}
			}
			b := behaviour{clear: e.clear, secret: e.secret, on: e.on, good: e.cert == "right" && sc.tlsa != "mismatch" || sc.tlsa == "match"}
			if e.cert != "" {
				cert := authority.Issue(t, leaf)
				b.cert = &cert
			}
			r := newRecorder(t, b)
			if !e.down {
				r.up(t)
			}
			s.recorders = append(s.recorders, r)
			fmt.Fprintf(&zone, "%s. MX %d %s.\n%s. A %s\n", s.domain, i, host, host, r.ip)
			signed = append(signed, host, fmt.Sprintf("_%d._tcp.%s", harness.SMTPPort, host))
			switch sc.tlsa {
			case "match":
				fmt.Fprintf(&zone, "_%d._tcp.%s. TLSA 3 1 1 %s\n", harness.SMTPPort, host, ca.SPKI(b.cert.Leaf))
			case "mismatch":
				fmt.Fprintf(&zone, "_%d._tcp.%s. TLSA 3 1 1 %s\n", harness.SMTPPort, host, strings.Repeat("ab", 32))
			}
		}
		switch {
		case strings.HasPrefix(s.name, "14 automatic copy"):
			bcc = fmt.Sprintf("{ %s@sender.test = u@%s }", s.user(), s.domain)
		case strings.HasPrefix(s.name, "14 virtual alias"):
			alias = fmt.Sprintf("{ %s@alias.test = u@%s }", s.domain, s.domain)
		case strings.HasPrefix(s.name, "20"):
			literal = s.recorders[0].ip
			fmt.Fprintf(&policies, "{ [%s] = secure match=mx0.%s } ", literal, s.domain)
		case strings.HasPrefix(s.name, "12"):
			cached = s.domain
		}
		level := s.level
		if level == "" {
			level = "secure"
		}
		fmt.Fprintf(&policies, "{ %s = %s } ", s.domain, level)
		st.cases = append(st.cases, s)
	}
	names := dnstest.New(t, dnstest.Config{Zone: zone.String(), Authentic: signed})
	st.Instance = harness.Start(t, harness.Options{Name: "sender", Domain: "sender.test", Users: users, DNS: names.Addr(), Params: map[string]string{
		"mydomain":                           "sender.test",
		"dns_servers_authentic":              "yes",
		"smtp_dns_support_level":             "dnssec",
		"smtp_tls_CAfile":                    authority.WriteCert(t, t.TempDir()),
		"smtp_tls_policy_maps":               "inline:{ " + policies.String() + "}",
		"smtp_requiretls_policy":             "inline:{ { " + literal + " = enforce } }, cidr:{ { 0.0.0.0/0 opportunistic } }, enforce",
		"smtp_tls_connection_reuse":          "yes",
		"smtp_connection_cache_destinations": cached,
		"smtp_connection_cache_time_limit":   "60s",
		"connection_cache_ttl_limit":         "60s",
		"smtp_tls_session_cache_database":    "bbolt:${data_directory}/smtp_scache",
		"sender_bcc_maps":                    "inline:{ " + bcc + " }",
		"virtual_alias_domains":              "alias.test",
		"virtual_alias_maps":                 "inline:{ " + alias + " }",
		"transport_maps":                     "inline:{ { literal.test = smtp:[" + literal + "] } }",
		"recipient_delimiter":                "+",
		"delay_warning_time":                 "1s",
		"notify_classes":                     "bounce, 2bounce, delay",
		"2bounce_notice_recipient":           "postmaster@sender.test",
		"bounce_notice_recipient":            "postmaster@sender.test",
		"delay_notice_recipient":             "postmaster@sender.test",
	}})
	return st
}

// submit sends the message of a scenario; header in place of the request makes it one
// without.
func (st *stage2K) submit(ctx context.Context, t *testing.T, s *staged, before bool) {
	t.Helper()
	args := append([]string{"-f", s.user() + "@sender.test"}, s.args...)
	text, header := s.body, s.header
	if text == "" {
		text = secret + "\n"
	}
	switch {
	case before:
		header, text = s.before+"\n", "before\n"
	case !s.plain:
		args = append(args, "-O", "requiretls=yes")
	}
	if s.nullSender {
		args[1] = ""
	}
	rcpt := s.rcpt
	if rcpt == "" {
		rcpt = "u@DOMAIN"
	}
	args = append(args, strings.Replace(rcpt, "DOMAIN", s.domain, 1))
	message := fmt.Sprintf("From: %s@sender.test\nSubject: scenario %s\n%s\n%s", s.user(), s.name, header, text)
	if _, err := st.Command(ctx, strings.NewReader(message), "sendmail", args...); err != nil {
		t.Fatal(err)
	}
}

// delivery is the pattern of a delivery line of a scenario.
func (s *staged) delivery(ending string) string {
	to := "u@" + s.domain
	switch {
	case strings.HasPrefix(s.name, "15"):
		return `to=<local@sender\.test>, relay=virtual, .*` + ending
	case strings.HasSuffix(s.rcpt, "@literal.test"):
		to = s.rcpt
	}
	return "to=<" + regexp.QuoteMeta(to) + ">, .*" + ending
}

// TestScenariosOfREQUIRETLS are the 22 scenarios of security-cases.md §2.K, from
// sendmail to recording exchangers and back to the sender's mailbox: not one byte of
// MAIL FROM on a connection that does not qualify, and the right notification every time.
func TestScenariosOfREQUIRETLS(t *testing.T) {
	st := setStage(t, scenarios())
	seen := map[string]bool{}
	for _, s := range st.cases {
		seen[strings.Fields(s.name)[0]] = true
	}
	if len(seen) != 22 {
		t.Errorf("%d scenarios, want 22", len(seen))
	}
	t.Run("undisturbed", func(t *testing.T) {
		for _, s := range st.cases {
			if !s.stays {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
					defer cancel()
					st.play(ctx, t, s)
				})
			}
		}
	})
	st.disturb(t)
	st.postmaster(t)
}

// play delivers the message of a scenario and looks at what became of it.
func (st *stage2K) play(ctx context.Context, t *testing.T, s *staged) {
	if s.before != "" {
		st.submit(ctx, t, s, true)
		if _, err := st.Log.Wait(ctx, 0, s.delivery("tls=may, .*status=sent")); err != nil {
			t.Fatal(err)
		}
		s.recorders[0].forget()
	}
	st.submit(ctx, t, s, false)
	st.judge(ctx, t, s)
}

// judge waits for the outcome of a scenario and checks what was said to whom.
func (st *stage2K) judge(ctx context.Context, t *testing.T, s *staged) {
	if _, err := st.Log.Wait(ctx, 0, s.delivery(s.want)); err != nil {
		t.Error(err)
	}
	if s.pays == "delay" {
		st.late(ctx, t, s)
	}
	if s.notice != "" {
		st.notified(ctx, t, s)
	}
	mails := 0
	for _, r := range s.recorders {
		for _, text := range r.trespasses() {
			t.Errorf("said on a connection that does not qualify: %s", text)
		}
		for _, mail := range r.mails() {
			mails++
			if !strings.HasPrefix(mail, "tls ") || !strings.HasSuffix(mail, " REQUIRETLS") {
				t.Errorf("%s", mail)
			}
		}
		if s.unsigned && r.connections() > 0 {
			t.Error("a connection was made")
		}
	}
	if mails != s.mails {
		t.Errorf("%d MAIL commands, want %d", mails, s.mails)
	}
}

// late makes the queue manager try a message until its sender has been told that it
// is late.
func (st *stage2K) late(ctx context.Context, t *testing.T, s *staged) {
	id, err := st.Log.Wait(ctx, 0, `(\w+): to=<u@`+regexp.QuoteMeta(s.domain)+`>, `)
	if err != nil {
		t.Error(err)
		return
	}
	err = harness.Poll(ctx, func() (bool, error) {
		if st.Log.Count(id[1]+": sender delay notification: ") > 0 {
			return true, nil
		}
		mark := st.Log.Count(id[1] + ": to=<")
		if _, err := st.Command(ctx, nil, "postqueue", "-i", id[1]); err != nil {
			return false, err
		}
		return false, harness.Poll(ctx, func() (bool, error) { return st.Log.Count(id[1]+": to=<") > mark, nil })
	})
	if err != nil {
		t.Errorf("no delay notification: %v", err)
	}
}

// notified checks the notification in the sender's mailbox: one, with the code and
// the header, without the content, and without a request of its own.
func (st *stage2K) notified(ctx context.Context, t *testing.T, s *staged) {
	mail, err := st.WaitMail(ctx, s.user(), 1)
	if err != nil || len(mail) != 1 {
		t.Errorf("%d notifications: %v", len(mail), err)
		return
	}
	checkNotification(t, mail[0], s.notice, s.name)
	what := map[string]string{"": "Undelivered Message Headers", "delay": "Undelivered Message Headers", "success": "Message Headers"}[s.pays]
	if !strings.Contains(mail[0], "\nContent-Description: "+what+"\n") {
		t.Errorf("the part with the header is not called %q:\n%s", what, mail[0])
	}
}

// checkNotification checks what all notifications about a message with the request have
// in common when they are redacted.
func checkNotification(t *testing.T, mail, code, name string) {
	t.Helper()
	own, _, _ := strings.Cut(mail, "\n\n")
	for _, want := range []string{"\nStatus: " + code + "\n", "\nContent-Type: text/rfc822-headers\n", "\nSubject: scenario " + name + "\n"} {
		if !strings.Contains(mail, want) {
			t.Errorf("the notification lacks %q:\n%s", want, mail)
		}
	}
	if strings.Contains(mail, "secret") {
		t.Errorf("the content is in the notification:\n%s", mail)
	}
	for _, name := range []string{"Require-TLS-ESMTP", "TLS-Required"} {
		if strings.Contains(own, "\n"+name+":") {
			t.Errorf("the notification has %s:\n%s", name, own)
		}
	}
}

// disturb plays the scenarios of a system that is stopped, and of one whose queue
// manager is killed, between the acceptance of a message and its delivery.
func (st *stage2K) disturb(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	var restarted, killed []*staged
	for _, s := range st.cases {
		switch {
		case strings.HasPrefix(s.name, "21"):
			restarted = append(restarted, s)
		case strings.HasPrefix(s.name, "22"):
			killed = append(killed, s)
		}
	}
	for _, s := range restarted {
		st.submit(ctx, t, s, false)
		if _, err := st.Log.Wait(ctx, 0, s.delivery(`tls=secure\?/requiretls\?, dsn=4.4.1, status=deferred`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range restarted {
		s.recorders[0].up(t)
	}
	if err := st.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Command(ctx, nil, "postqueue", "-f"); err != nil {
		t.Fatal(err)
	}
	for _, s := range killed { // the exchanger keeps the client waiting
		s.recorders[0].wait = make(chan struct{})
		st.submit(ctx, t, s, false)
		if err := harness.Poll(ctx, func() (bool, error) { return s.recorders[0].connections() > 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range st.Workers()["qmgr"] {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range killed {
		close(s.recorders[0].wait)
	}
	for _, s := range killed {
		st.rescued(ctx, t, s)
	}
	for _, s := range slices.Concat(restarted, killed) {
		t.Run(s.name, func(t *testing.T) { st.judge(ctx, t, s) })
	}
}

// rescued has the new queue manager look at a message that a client was busy with when
// the old one was killed, until it is done with it. By itself it would wait a minute.
func (st *stage2K) rescued(ctx context.Context, t *testing.T, s *staged) {
	id, err := st.Log.Wait(ctx, 0, `smtp\[\d+\]: (\w+): to=<u@`+regexp.QuoteMeta(s.domain)+`>, `)
	if err != nil {
		t.Fatal(err)
	}
	err = harness.Poll(ctx, func() (bool, error) {
		_, err := st.Command(ctx, nil, "postqueue", "-f")
		return st.Log.Count(`qmgr\[\d+\]: `+id[1]+`: removed`) > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// postmaster checks the copies of all notifications, and the one that came in place of
// a notification to nobody.
func (st *stage2K) postmaster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	want := 1 // 14 double bounce
	for _, s := range st.cases {
		if s.notice != "" && s.pays != "success" {
			want++
		}
	}
	mail, err := st.WaitMail(ctx, "postmaster", want)
	if err != nil {
		t.Error(err)
	}
	double := 0
	for _, m := range mail {
		code := regexp.MustCompile(`(?m)^Status: (\S+)$`).FindStringSubmatch(m)
		name := regexp.MustCompile(`(?m)^Subject: scenario (.*)$`).FindStringSubmatch(m)
		if code == nil || name == nil {
			t.Errorf("a copy without code or subject:\n%s", m)
			continue
		}
		checkNotification(t, m, code[1], name[1])
		if name[1] == "14 double bounce" {
			double++
		}
	}
	if double != 1 {
		t.Errorf("%d double bounces", double)
	}
}
