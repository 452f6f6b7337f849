package test

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealpost/lib/dns/dnstest"
	"sealpost/test/ca"
	"sealpost/test/harness"
)

// stage2K is a mail system with the exchangers of all scenarios around it.
type stage2K struct {
	*harness.Instance
	cases     []*staged
	authority *ca.Authority
	users     []string
	zone      strings.Builder
	signed    []string // names in it
	policies  strings.Builder
	// What single scenarios want.
	bcc, alias, prepended, literal, cached string
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
	st := &stage2K{authority: ca.New(t, "Test CA"), users: []string{"local", "postmaster"}}
	for n, sc := range list {
		s := &staged{scenario: sc, n: n, domain: fmt.Sprintf("d%d.test", n)}
		st.users = append(st.users, s.user())
		if !s.unsigned {
			st.signed = append(st.signed, s.domain)
		}
		for i, e := range sc.servers {
			st.exchanger(t, s, i, e)
		}
		switch {
		case strings.HasPrefix(s.name, "14 automatic copy"):
			st.bcc = fmt.Sprintf("{ %s@sender.test = u@%s }", s.user(), s.domain)
		case strings.HasPrefix(s.name, "14 virtual alias"):
			st.alias = fmt.Sprintf("{ %s@alias.test = u@%s }", s.domain, s.domain)
		case strings.HasSuffix(s.name, "from an access table"):
			st.prepended = fmt.Sprintf("{ %s@sender.test = PREPEND Require-TLS-ESMTP: yes }", s.user())
		case strings.HasPrefix(s.name, "20"):
			st.literal = s.recorders[0].ip
			fmt.Fprintf(&st.policies, "{ [%s] = secure match=mx0.%s } ", st.literal, s.domain)
		case strings.HasPrefix(s.name, "12"):
			st.cached = s.domain
		}
		fmt.Fprintf(&st.policies, "{ %s = %s } ", s.domain, cmp.Or(s.level, "secure"))
		st.cases = append(st.cases, s)
	}
	names := dnstest.New(t, dnstest.Config{Zone: st.zone.String(), Authentic: st.signed})
	st.Instance = harness.Start(t, harness.Options{Name: "sender", Domain: "sender.test", Users: st.users, DNS: names.Addr(), Params: st.params(t), Services: commands(t)})
	return st
}

// exchanger starts the n-th mail server of a scenario.
func (st *stage2K) exchanger(t *testing.T, s *staged, n int, e exchanger) {
	host := fmt.Sprintf("mx%d.%s", n, s.domain)
	leaf := ca.Leaf{Names: []string{host}, Expired: e.cert == "expired", SelfSigned: e.cert == "self-signed"}
	if e.cert == "wrong name" {
		leaf.Names = []string{"mx.other.test"}
	}
	b := behaviour{clear: e.clear, secret: e.secret, on: e.on, good: e.cert == "right" && s.tlsa != "mismatch" || s.tlsa == "match"}
	if e.cert != "" {
		cert := st.authority.Issue(t, leaf)
		b.cert = &cert
	}
	if strings.HasPrefix(s.name, "22") {
		b.wait = make(chan struct{})
	}
	r := newRecorder(t, b)
	if !e.down {
		r.up(t)
	}
	s.recorders = append(s.recorders, r)
	service := fmt.Sprintf("_%d._tcp.%s", harness.SMTPPort, host)
	fmt.Fprintf(&st.zone, "%s. MX %d %s.\n%s. A %s\n", s.domain, n, host, host, r.ip)
	st.signed = append(st.signed, host, service)
	switch s.tlsa {
	case "match":
		fmt.Fprintf(&st.zone, "%s. TLSA 3 1 1 %s\n", service, ca.SPKI(b.cert.Leaf))
	case "mismatch":
		fmt.Fprintf(&st.zone, "%s. TLSA 3 1 1 %s\n", service, strings.Repeat("ab", 32))
	}
}

// commands are two services of pipe(8): a content filter that submits them
// again, and one that keeps them.
func commands(t *testing.T) []string {
	bin, err := harness.Programs()
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	service := func(name, argv string) string {
		return name + " unix - n n - - pipe flags=Rq user=" + me.Username + " null_sender= argv=/bin/sh -c {" + argv + "} sh $sender $recipient"
	}
	return []string{
		service("filter", `sed /^X-Filter:/d | `+filepath.Join(bin, "sendmail")+` -G -i -f "$$1" -- "$$2"`),
		service("piped", "grep -q ^Require-TLS-ESMTP:.yes"),
	}
}

// params are main.cf.
func (st *stage2K) params(t *testing.T) map[string]string {
	own := st.authority.Issue(t, ca.Leaf{Names: []string{"sender.test"}})
	return map[string]string{
		"mydomain":                           "sender.test",
		"dns_servers_authentic":              "yes",
		"smtp_dns_support_level":             "dnssec",
		"smtp_tls_CAfile":                    st.authority.WriteCert(t, t.TempDir()),
		"smtp_tls_policy_maps":               "inline:{ " + st.policies.String() + "}",
		"smtp_requiretls_policy":             "inline:{ { " + st.literal + " = enforce } }, cidr:{ { 0.0.0.0/0 opportunistic } }, enforce",
		"smtp_tls_connection_reuse":          "yes",
		"smtp_connection_cache_destinations": st.cached,
		"smtp_connection_cache_time_limit":   "60s",
		"connection_cache_ttl_limit":         "60s",
		"smtp_tls_session_cache_database":    "bbolt:${data_directory}/smtp_scache",
		"sender_bcc_maps":                    "inline:{ " + st.bcc + " }",
		"smtpd_sender_restrictions":          "check_sender_access inline:{ " + st.prepended + " }",
		"virtual_alias_domains":              "alias.test",
		"virtual_alias_maps":                 "inline:{ " + st.alias + " }",
		"transport_maps":                     "inline:{ { literal.test = smtp:[" + st.literal + "] }, { piped.test = piped: } }",
		"header_checks":                      "regexp:{ { /^X-Filter:/ FILTER filter:nowhere } }",
		"export_environment":                 "MAIL_CONFIG",
		"recipient_delimiter":                "+",
		"smtpd_tls_security_level":           "may",
		"smtpd_tls_chain_files":              ca.WriteChain(t, t.TempDir()+"/server.pem", own),
		"delay_warning_time":                 "1s",
		"notify_classes":                     "bounce, 2bounce, delay",
		"2bounce_notice_recipient":           "postmaster@sender.test",
		"bounce_notice_recipient":            "postmaster@sender.test",
		"delay_notice_recipient":             "postmaster@sender.test",
	}
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
	if s.smtp {
		st.overSMTP(ctx, t, s, args[len(args)-1], message)
		return
	}
	if _, err := st.Command(ctx, strings.NewReader(message), "sendmail", args...); err != nil {
		t.Fatal(err)
	}
}

// overSMTP submits a message as a mail program does.
func (st *stage2K) overSMTP(ctx context.Context, t *testing.T, s *staged, to, message string) {
	t.Helper()
	c, err := st.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, _ := c.Extension("REQUIRETLS"); ok {
		t.Error("REQUIRETLS is announced in the clear")
	}
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	if ok, _ := c.Extension("REQUIRETLS"); !ok {
		t.Error("REQUIRETLS is not announced under TLS")
	}
	parameter := " REQUIRETLS"
	if s.plain {
		parameter = ""
	}
	id, err := c.Text.Cmd("MAIL FROM:<%s@sender.test>%s", s.user(), parameter)
	if err != nil {
		t.Fatal(err)
	}
	c.Text.StartResponse(id)
	_, _, err = c.Text.ReadResponse(250)
	c.Text.EndResponse(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt(to); err != nil {
		t.Fatal(err)
	}
	if err := data(c, message); err != nil {
		t.Fatal(err)
	}
}

// delivery is the pattern of a delivery line of a scenario.
func (s *staged) delivery(ending string) string {
	to := "u@" + s.domain
	switch {
	case s.name == "15 local delivery":
		return `to=<local@sender\.test>, relay=virtual, .*` + ending
	case strings.HasSuffix(s.rcpt, "@literal.test"), strings.HasSuffix(s.rcpt, "@piped.test"):
		to = s.rcpt
	}
	return "to=<" + regexp.QuoteMeta(to) + ">, .*" + ending
}
