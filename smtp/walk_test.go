package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/route"
)

// mxs is a domain b.test with one MX host per name, in this order of preference;
// a nil server refuses connections.
type mxs struct {
	servers []*server
	dials   []string
}

// fixture makes a client that finds these servers behind mx1.test, mx2.test ...
func (m *mxs) fixture(t *testing.T, values map[string]string) *fixture {
	r := dnstest.Map{MXs: map[string][]dns.MX{}, Hosts: map[string][]string{}}
	for i := range m.servers {
		host := fmt.Sprintf("mx%d.test", i+1)
		r.MXs["b.test"] = append(r.MXs["b.test"], dns.MX{Host: host, Pref: uint16(10 * (i + 1))})
		r.Hosts[host] = []string{fmt.Sprintf("192.0.2.%d", i+1)}
	}
	f := newFixture(t, "smtp", values, r)
	f.dial = func(ctx context.Context, h route.Host) (net.Conn, error) {
		m.dials = append(m.dials, h.Name)
		var n int
		fmt.Sscanf(h.Name, "mx%d.test", &n)
		s := m.servers[n-1]
		if s == nil {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return new(net.Dialer).DialContext(ctx, "tcp", s.addr())
	}
	return f
}

func TestSeveralHosts(t *testing.T) {
	good := script{ehlo: piped}
	says := func(key, reply string) *script { return &script{ehlo: piped, on: map[string]string{key: reply}} }
	for _, tc := range []struct {
		name    string
		scripts []*script // nil: connection refused
		set     map[string]string
		rcpts   string
		want    string
		log     string
		dials   string
	}{
		{name: "first works", scripts: []*script{&good, &good}, want: "a@b.test sent 2.0.0 250 2.0.0 queued", dials: "mx1.test"},
		{name: "first is down", scripts: []*script{nil, &good}, want: "a@b.test sent 2.0.0 250 2.0.0 queued",
			log: "connect to mx1.test[192.0.2.1]:25: Connection refused", dials: "mx1.test mx2.test"},
		{name: "all are down", scripts: []*script{nil, nil}, want: "a@b.test deferred 4.4.1 connect to mx2.test[192.0.2.2]:25: Connection refused",
			log: "connect to mx1.test[192.0.2.1]:25: Connection refused\nconnect to mx2.test[192.0.2.2]:25: Connection refused", dials: "mx1.test mx2.test"},
		{name: "greeting 5xx, then good", scripts: []*script{says("BANNER", "554 no"), &good}, want: "a@b.test sent 2.0.0 250 2.0.0 queued",
			log: "4XYZ: host mx1.test[192.0.2.1] refused to talk to me: 554 no", dials: "mx1.test mx2.test"},
		{name: "MAIL 4xx, then good", scripts: []*script{says("MAIL", "450 4.7.1 grey"), &good}, want: "a@b.test sent 2.0.0 250 2.0.0 queued",
			log: "4XYZ: host mx1.test[192.0.2.1] said: 450 4.7.1 grey (in reply to MAIL FROM command)", dials: "mx1.test mx2.test"},
		{name: "MAIL 5xx ends it", scripts: []*script{says("MAIL", "550 5.1.7 no"), &good},
			want: "a@b.test bounced 5.1.7 host mx1.test[192.0.2.1] said: 550 5.1.7 no (in reply to MAIL FROM command)", dials: "mx1.test"},
		{name: "MAIL 5xx with soft_bounce", scripts: []*script{says("MAIL", "550 5.1.7 no"), &good}, set: map[string]string{"soft_bounce": "yes"},
			want: "a@b.test sent 2.0.0 250 2.0.0 queued", log: "4XYZ: host mx1.test[192.0.2.1] said: 550 5.1.7 no (in reply to MAIL FROM command)", dials: "mx1.test mx2.test"},
		{name: "RCPT 5xx everywhere with soft_bounce", scripts: []*script{says("RCPT", "550 5.1.1 no"), says("RCPT", "554 5.7.1 no")}, set: map[string]string{"soft_bounce": "yes"},
			want: "a@b.test bounced 5.7.1 host mx2.test[192.0.2.2] said: 554 5.7.1 no (in reply to RCPT TO command)", // agent makes SOFTBOUNCE of it
			log:  "4XYZ: host mx1.test[192.0.2.1] said: 550 5.1.1 no (in reply to RCPT TO command)", dials: "mx1.test mx2.test"},
		{name: "one recipient 4xx goes on to the next host", scripts: []*script{says("RCPT TO:<c@b.test>", "450 4.2.0 busy"), &good}, rcpts: "a@b.test c@b.test",
			want: "a@b.test sent 2.0.0 250 2.0.0 queued\nc@b.test sent 2.0.0 250 2.0.0 queued",
			log:  "4XYZ: host mx1.test[192.0.2.1] said: 450 4.2.0 busy (in reply to RCPT TO command)", dials: "mx1.test mx2.test"},
		{name: "one recipient 5xx and one 4xx", scripts: []*script{{ehlo: piped, on: map[string]string{"RCPT TO:<c@b.test>": "450 4.2.0 busy", "RCPT TO:<a@b.test>": "550 5.1.1 no"}}, says("RCPT", "451 4.3.0 hm")},
			rcpts: "a@b.test c@b.test",
			want: "a@b.test bounced 5.1.1 host mx1.test[192.0.2.1] said: 550 5.1.1 no (in reply to RCPT TO command)\n" +
				"c@b.test deferred 4.3.0 host mx2.test[192.0.2.2] said: 451 4.3.0 hm (in reply to RCPT TO command)",
			log: "4XYZ: host mx1.test[192.0.2.1] said: 450 4.2.0 busy (in reply to RCPT TO command)", dials: "mx1.test mx2.test"},
		{name: "end of data lost, then good", scripts: []*script{says("DOT", "!close"), &good}, want: "a@b.test sent 2.0.0 250 2.0.0 queued",
			log: "4XYZ: lost connection with mx1.test[192.0.2.1] while sending end of data -- message may be sent more than once", dials: "mx1.test mx2.test"},
		{name: "no SMTPUTF8, then good", scripts: []*script{{ehlo: "PIPELINING"}, &good}, rcpts: "ü@b.test", want: "ü@b.test sent 2.0.0 250 2.0.0 queued",
			log:   "4XYZ: message requires SMTPUTF8, but no server was found that supports SMTPUTF8. The last attempted server was mx1.test[192.0.2.1]",
			dials: "mx1.test mx2.test"},
		{name: "session limit", scripts: []*script{says("MAIL", "450 4.1.0 a"), says("MAIL", "450 4.1.0 b"), &good},
			want: "a@b.test deferred 4.1.0 host mx2.test[192.0.2.2] said: 450 4.1.0 b (in reply to MAIL FROM command)",
			log:  "4XYZ: host mx1.test[192.0.2.1] said: 450 4.1.0 a (in reply to MAIL FROM command)", dials: "mx1.test mx2.test"},
		{name: "failed handshakes do not count", scripts: []*script{says("BANNER", "450 a"), nil, says("MAIL", "450 4.1.0 b"), &good},
			want: "a@b.test sent 2.0.0 250 2.0.0 queued",
			log: "4XYZ: host mx1.test[192.0.2.1] refused to talk to me: 450 a\nconnect to mx2.test[192.0.2.2]:25: Connection refused\n" +
				"4XYZ: host mx3.test[192.0.2.3] said: 450 4.1.0 b (in reply to MAIL FROM command)", dials: "mx1.test mx2.test mx3.test mx4.test"},
		{name: "address limit", scripts: []*script{nil, nil, &good}, set: map[string]string{"smtp_mx_address_limit": "2"},
			want: "a@b.test deferred 4.4.1 connect to mx2.test[192.0.2.2]:25: Connection refused",
			log:  "connect to mx1.test[192.0.2.1]:25: Connection refused\nconnect to mx2.test[192.0.2.2]:25: Connection refused", dials: "mx1.test mx2.test"},
		{name: "loop at the best MX", scripts: []*script{says("EHLO", "250 client.test"), &good}, want: "a@b.test bounced 5.4.6 mail for b.test loops back to myself",
			log: "warning: host mx1.test[192.0.2.1] replied to HELO/EHLO with my own hostname client.test", dials: "mx1.test"},
		{name: "own hostname in the greeting", scripts: []*script{says("BANNER", "220 client.test ESMTP")}, want: "a@b.test sent 2.0.0 250 2.0.0 queued",
			log: "warning: host mx1.test[192.0.2.1] greeted me with my own hostname client.test", dials: "mx1.test"},
		{name: "loop at the second MX", scripts: []*script{says("MAIL", "450 4.1.0 a"), says("EHLO", "250 client.test")},
			want: "a@b.test deferred 4.4.6 host mx2.test[192.0.2.2] has my own hostname client.test",
			log: "4XYZ: host mx1.test[192.0.2.1] said: 450 4.1.0 a (in reply to MAIL FROM command)\n" +
				"warning: host mx2.test[192.0.2.2] replied to HELO/EHLO with my own hostname client.test", dials: "mx1.test mx2.test"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &mxs{}
			for _, sc := range tc.scripts {
				if sc == nil {
					m.servers = append(m.servers, nil)
				} else {
					m.servers = append(m.servers, serve(t, *sc))
				}
			}
			f := m.fixture(t, tc.set)
			rcpts := strings.Fields(tc.rcpts)
			if len(rcpts) == 0 {
				rcpts = []string{"a@b.test"}
			}
			out := f.run(t, request("b.test", rcpts...))
			if out.String() != tc.want {
				t.Errorf("got  %s\nwant %s", out, tc.want)
			}
			if got := f.logged(); got != tc.log {
				t.Errorf("log\n%s\nwant\n%s", got, tc.log)
			}
			if got := strings.Join(m.dials, " "); got != tc.dials {
				t.Errorf("tried %s, want %s", got, tc.dials)
			}
		})
	}
}

func TestDestinations(t *testing.T) {
	good := serve(t, script{ehlo: piped})
	refusing := serve(t, script{on: map[string]string{"MAIL": "450 4.1.0 later"}})
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deadPort := down.Addr().(*net.TCPAddr).Port
	down.Close()
	dead := fmt.Sprintf("[127.0.0.1]:%d", deadPort)
	for _, tc := range []struct {
		name, nexthop string
		set           map[string]string
		want          string
	}{
		{"list", dead + ", " + good.nexthop(), nil, "sent 2.0.0 250 2.0.0 queued"},
		{"list and 4xx", refusing.nexthop() + " " + good.nexthop(), nil, "sent 2.0.0 250 2.0.0 queued"},
		{"fallback relay", dead, map[string]string{"smtp_fallback_relay": good.nexthop()}, "sent 2.0.0 250 2.0.0 queued"},
		{"fallback relay for a domain that does not exist", "gone.test", map[string]string{"smtp_fallback_relay": good.nexthop()}, "sent 2.0.0 250 2.0.0 queued"},
		{"fallback relay that does not exist", dead, map[string]string{"smtp_fallback_relay": "gone.test"},
			"deferred 4.3.5 Host or domain name not found. Name service error for name=gone.test type=A: Host not found"},
		{"domain that does not exist", "gone.test", nil, "bounced 5.4.4 Host or domain name not found. Name service error for name=gone.test type=A: Host not found"},
		{"relayhost that does not exist", "gone.test", map[string]string{"relayhost": "gone.test"},
			"deferred 4.3.5 Host or domain name not found. Name service error for name=gone.test type=A: Host not found"},
		{"bad destination", "[gone.test", nil, `deferred 4.3.5 bad destination "[gone.test": missing ]`},
		{"null MX", "null.test", nil, "bounced 5.1.10 Domain null.test does not accept mail (nullMX)"},
		{"failing DNS", "fail.test", nil, "deferred 4.4.3 Host or domain name not found. Name service error for name=fail.test type=MX: Host not found, try again"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := dnstest.Map{MXs: map[string][]dns.MX{"null.test": {{}}}, Fail: []string{"fail.test"}}
			f := newFixture(t, "smtp", tc.set, r)
			out := f.run(t, request(tc.nexthop, "a@b.test"))
			if out.String() != "a@b.test "+tc.want {
				t.Errorf("got  %s\nwant %s", out, tc.want)
			}
		})
	}
}

func TestBestMXTransport(t *testing.T) {
	r := dnstest.Map{MXs: map[string][]dns.MX{"me.test": {{Host: "own.test"}}}, Hosts: map[string][]string{"own.test": {"192.0.2.99"}}}
	for setting, want := range map[string]string{
		"":           "a@b.test bounced 5.4.6 mail for me.test loops back to myself",
		"virtual":    "a@b.test passed virtual me.test",
		"relay:hub":  "a@b.test passed relay hub",
		"smtp:[h]:1": "a@b.test passed smtp [h]:1",
	} {
		f := newFixture(t, "smtp", map[string]string{"best_mx_transport": setting, "smtp_fallback_relay": "gone.test"}, r)
		if out := f.run(t, request("me.test", "a@b.test")); out.String() != want {
			t.Errorf("%q: %s, want %s", setting, out, want)
		}
		transport, _, _ := strings.Cut(setting, ":")
		if line := "4XYZ: passing <a@b.test> to transport=" + transport; setting != "" && f.logged() != line {
			t.Errorf("log: %s", f.logged())
		}
	}
}

// A hung server holds up its own message only.
func TestHungConnectionBlocksNobody(t *testing.T) {
	hung := serve(t, script{on: map[string]string{"MAIL": "!hang"}})
	good := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", nil, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan *outcomesLog)
	go func() {
		out := &outcomesLog{}
		f.deliver(ctx, job{req: cachingRequest(hung.nexthop()), out: out, data: func() content { return &lines{} }})
		done <- out
	}()
	hung.waitFor(t, "MAIL FROM:<from@a.test>")
	for range 3 {
		if out := f.run(t, cachingRequest(good.nexthop())); !strings.Contains(out.String(), " sent ") {
			t.Error(out)
		}
	}
	cancel() // the end of the process ends the wait
	if out := <-done; !strings.Contains(out.String(), "a@b.test deferred 4.3.2 delivery was interrupted (") || out.hop.Reason != "" {
		t.Error(out, out.hop)
	}
}

func TestProbe(t *testing.T) {
	s := serve(t, script{ehlo: piped, on: map[string]string{"RCPT TO:<c@b.test>": "550 5.1.1 no"}})
	f := newFixture(t, "smtp", nil, nil)
	req := request(s.nexthop(), "a@b.test", "c@b.test")
	req.Flags = mailproto.DeliverMTAVerify
	out := f.run(t, req)
	want := "a@b.test sent 2.1.5 250 2.1.5 ok\nc@b.test bounced 5.1.1 host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no (in reply to RCPT TO command)"
	if out.String() != want {
		t.Error(out)
	}
	if s.waitFor(t, "QUIT"); strings.Contains(s.seen(), "DATA") {
		t.Errorf("the server saw\n%s", s.seen())
	}
}

func TestLMTP(t *testing.T) {
	s := serve(t, script{ehlo: "PIPELINING DSN", on: map[string]string{
		"RCPT TO:<c@b.test>": "550 5.1.1 no", "DOT": "250 2.0.0 one|452 4.2.2 full|550 5.2.0 odd"}})
	f := newFixture(t, "lmtp", nil, nil)
	out := f.run(t, request("inet:"+s.nexthop(), "a@b.test", "c@b.test", "d@b.test", "e@b.test"))
	want := `a@b.test sent 2.0.0 250 2.0.0 one
c@b.test bounced 5.1.1 host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no (in reply to RCPT TO command)
d@b.test deferred 4.2.2 host 127.0.0.1[127.0.0.1] said: 452 4.2.2 full (in reply to end of DATA command)
e@b.test bounced 5.2.0 host 127.0.0.1[127.0.0.1] said: 550 5.2.0 odd (in reply to end of DATA command)`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if !strings.HasPrefix(s.seen(), "LHLO client.test\n") {
		t.Errorf("the server saw\n%s", s.seen())
	}
}

func TestLMTPOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, ln, script{})
	f := newFixture(t, "lmtp", map[string]string{"lmtp_assume_final": "yes"}, nil)
	out := f.run(t, request("unix:"+path, "a@b.test"))
	if out.String() != "a@b.test sent 2.0.0 250 2.0.0 queued" {
		t.Error(out)
	}
	if o := out.full[0]; o.Relay != "client.test["+path+"]" || o.Status.Action != dsn.ActionDelivered || o.Relayed {
		t.Errorf("%+v", o)
	}
	if n, _ := s.count(); n != 1 {
		t.Error(n)
	}
}

func TestOutcomeFields(t *testing.T) {
	s := serve(t, script{ehlo: piped, on: map[string]string{"RCPT TO:<c@b.test>": "550 5.1.1 no"}})
	f := newFixture(t, "smtp", nil, nil)
	out := f.run(t, request(s.nexthop(), "a@b.test", "c@b.test"))
	sent, failed := out.full[0], out.full[1]
	want := dsn.Status{Code: "2.0.0", Action: "relayed", Reason: "250 2.0.0 queued", DiagType: "smtp", DiagText: "250 2.0.0 queued", MTAType: "dns", MTAName: "127.0.0.1"}
	if sent.Status != want || !sent.Relayed || sent.Relay != "127.0.0.1[127.0.0.1]:"+s.port() {
		t.Errorf("%+v", sent)
	}
	want = dsn.Status{Code: "5.1.1", Reason: "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no (in reply to RCPT TO command)",
		DiagType: "smtp", DiagText: "550 5.1.1 no", MTAType: "dns", MTAName: "127.0.0.1"}
	if failed.Status != want {
		t.Errorf("%+v", failed.Status)
	}
}

func TestDowngrade(t *testing.T) {
	s := serve(t, script{ehlo: "PIPELINING"})
	f := newFixture(t, "smtp", nil, nil)
	req := request(s.nexthop(), "a@b.test")
	req.Encoding = "8bit"
	f.run(t, req, "Content-Transfer-Encoding: 8bit", "", "grüße")
	if got := string(s.last(t)); got != "Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BC=C3=9Fe\r\n" {
		t.Errorf("%q", got)
	}
	// What the sender did not declare is looked at; what is declared 7bit is not.
	for encoding, want := range map[string]string{"": "quoted-printable\r\n\r\ngr=C3=BC=C3=9Fe\r\n", "7bit": "8bit\r\n\r\ngrüße\r\n"} {
		other := request(s.nexthop(), "a@b.test")
		other.Encoding = encoding
		f.run(t, other, "Content-Transfer-Encoding: 8bit", "", "grüße")
		if got := string(s.last(t)); got != "Content-Transfer-Encoding: "+want {
			t.Errorf("encoding %q: %q", encoding, got)
		}
	}
	f = newFixture(t, "smtp", map[string]string{"disable_mime_output_conversion": "yes"}, nil)
	f.run(t, req, "Content-Transfer-Encoding: 8bit", "", "grüße")
	if got := string(s.last(t)); got != "Content-Transfer-Encoding: 8bit\r\n\r\ngrüße\r\n" {
		t.Errorf("%q", got)
	}
}

func TestManyRecipientsInBatches(t *testing.T) {
	var rcpts []string
	for i := range 3000 {
		rcpts = append(rcpts, fmt.Sprintf("recipient-%04d@b.test", i))
	}
	on := map[string]string{"RCPT TO:<recipient-2999@b.test>": "550 5.1.1 no"}
	for _, ehlo := range []string{piped, "SIZE"} {
		s := serve(t, script{ehlo: ehlo, on: on})
		f := newFixture(t, "smtp", nil, nil)
		out := f.run(t, request(s.nexthop(), rcpts...))
		if n := strings.Count(out.String(), " sent "); n != 2999 {
			t.Errorf("%d sent", n)
		}
	}
}

func TestLongMessageAndLongLines(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", nil, nil)
	text := []string{"Subject: x", ""}
	for range 20000 {
		text = append(text, "."+strings.Repeat("y", 60))
	}
	text = append(text, strings.Repeat("z", 5000))
	if out := f.run(t, request(s.nexthop(), "a@b.test"), text...); !strings.Contains(out.String(), " sent ") {
		t.Fatal(out)
	}
	got := string(s.last(t))
	if !strings.HasSuffix(got, strings.Repeat("z", 998)+"\r\n "+strings.Repeat("z", 997)+"\r\n "+strings.Repeat("z", 997)+"\r\n "+strings.Repeat("z", 997)+"\r\n "+strings.Repeat("z", 997)+"\r\n "+strings.Repeat("z", 14)+"\r\n") {
		t.Errorf("ends in %q", got[len(got)-100:])
	}
	if got := f.logged(); got != "4XYZ: breaking line > 998 bytes with <CR><LF>SPACE" {
		t.Errorf("log: %s", got)
	}
	if n := strings.Count(got, "\r\n..yyy"); n != 20000 {
		t.Errorf("%d lines with a dot", n)
	}
}

// broken is content that ends in an error.
type broken struct{ n int }

func (b *broken) Next() ([]byte, bool, error) {
	if b.n++; b.n > 3 {
		return nil, false, errors.New("queue file is damaged")
	}
	return []byte("line"), false, nil
}

// A message that cannot be read to its end must not look complete.
func TestDamagedContentIsNotFinished(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", nil, nil)
	out := &outcomesLog{}
	f.deliver(t.Context(), job{req: cachingRequest(s.nexthop()), log: maillog.Discard(), out: out, data: func() content { return &broken{} }})
	if out.String() != "a@b.test deferred 4.3.0 cannot read the message: queue file is damaged" {
		t.Error(out)
	}
	s.waitFor(t, "CUT OFF")
	if n, _ := s.count(); n != 0 {
		t.Errorf("the server has %d messages", n)
	}
}

func TestDeliveryFlags(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", nil, nil)
	var err error
	if f.flags, err = parseArgs([]string{"flags=DORX"}); err != nil {
		t.Fatal(err)
	}
	req := request(s.nexthop(), "a@b.test")
	req.Recipients[0].OrigAddr = "orig@b.test"
	out := f.run(t, req, "Subject: x")
	want := "Return-Path: <from@a.test>\r\nX-Original-To: orig@b.test\r\nDelivered-To: a@b.test\r\nSubject: x\r\n"
	if got := string(s.last(t)); got != want || out.full[0].Status.Action != dsn.ActionDelivered {
		t.Errorf("%q, %s", got, out.full[0].Status.Action)
	}
	for _, bad := range []string{"flags=Q", "user=x"} {
		if _, err := parseArgs([]string{bad}); err == nil {
			t.Errorf("%s accepted", bad)
		}
	}
}
