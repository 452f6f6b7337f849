package main

import (
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/reqtls"
	"sealpost/lib/route"
	"sealpost/lib/service"
	"sealpost/lib/smtpclient"
)

func TestGenericMaps(t *testing.T) {
	cfg, err := config.FromMap(map[string]string{
		"myhostname": "client.test", "recipient_delimiter": "+",
		"smtp_generic_maps": "inline:{{me@local.test=Real.Name@a.test}, {@host.test=@a.test}}",
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := newClient(&service.Env{Config: cfg, Program: "smtp", Log: maillog.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, script{ehlo: piped})
	f := &fixture{client: c}
	req := request(s.nexthop(), "you+x@host.test", "other@b.test")
	req.Sender = "me+ext@local.test"
	req.Recipients[0].OrigRcpt = "rfc822;you@host.test"
	f.run(t, req,
		"Received: from me@local.test", "From: Me <me@local.test>", "To: \"x, y\" <you@host.test>,", "\tother@b.test",
		"Cc: other@b.test,", "  third@b.test", "Subject: me@local.test", "", "To: me@local.test")
	want := "Received: from me@local.test\r\nFrom: Me <Real.Name@a.test>\r\nTo: \"x, y\" <you@a.test>,\r\n\tother@b.test\r\n" +
		"Cc: other@b.test,\r\n  third@b.test\r\nSubject: me@local.test\r\n\r\nTo: me@local.test\r\n"
	if got := string(s.last(t)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, line := range []string{"MAIL FROM:<Real.Name+ext@a.test>", "RCPT TO:<you+x@a.test> ORCPT=rfc822;you@host.test", "RCPT TO:<other@b.test>"} {
		if !strings.Contains(s.seen(), line) {
			t.Errorf("no %s in\n%s", line, s.seen())
		}
	}
	// A table that fails defers the message.
	cfg, err = config.FromMap(map[string]string{"myhostname": "client.test", "smtp_generic_maps": "fail:x"})
	if err != nil {
		t.Fatal(err)
	}
	if c, _, err = newClient(&service.Env{Config: cfg, Program: "smtp", Log: maillog.Discard()}); err != nil {
		t.Fatal(err)
	}
	f = &fixture{client: c}
	if out := f.run(t, request(s.nexthop(), "a@b.test")); out.String() != "a@b.test deferred 4.3.0 Temporary lookup error" {
		t.Error(out)
	}
}

// TestGenericMapsOfUsers: users of this host need no domain in the table, others do.
func TestGenericMapsOfUsers(t *testing.T) {
	cfg, err := config.FromMap(map[string]string{
		"myhostname": "client.test", "myorigin": "origin.test", "mydestination": "$myhostname", "smtp_generic_maps": "inline:{root=admin@a.test}",
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := newClient(&service.Env{Config: cfg, Program: "smtp", Log: maillog.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"root@client.test": "admin@a.test", "root@Origin.Test": "admin@a.test", "root@other.test": "root@other.test",
	} {
		if got, err := c.generic(t.Context(), addr); got != want || err != nil {
			t.Errorf("%s becomes %s, %v; want %s", addr, got, err, want)
		}
	}
}

// Without a match a message comes through to the byte, whatever its header is.
func FuzzGenericHeader(f *testing.F) {
	f.Add("To: a@b,\n c@d\nX: y\n\nTo: z", uint16(5))
	f.Add("From: "+strings.Repeat("(", 50)+"\n\tx", uint16(3))
	f.Add("To: a\n", uint16(1))
	f.Fuzz(func(t *testing.T, text string, size uint16) {
		src := &pieces{rest: strings.Split(text, "\n"), size: max(int(size), 1)}
		g := &genericHeader{content: src, rewrite: func(addr string) (string, error) { return addr, nil }}
		if got := textOf(g); got != text+"\n" {
			t.Fatalf("got  %q\nwant %q", got, text+"\n")
		}
	})
}

// pieces gives lines in pieces of a size.
type pieces struct {
	rest []string
	size int
}

func (p *pieces) Next() ([]byte, bool, error) {
	if len(p.rest) == 0 {
		return nil, false, io.EOF
	}
	text := p.rest[0]
	if len(text) > p.size {
		p.rest[0] = text[p.size:]
		return []byte(text[:p.size]), true, nil
	}
	p.rest = p.rest[1:]
	return []byte(text), false, nil
}

// Whatever is in an envelope, each command is one line of printable bytes, or the
// address was refused.
func FuzzCommands(f *testing.F) {
	f.Add("a@b", "id", "rfc822;x y", 6, uint16(0xffff))
	f.Add("a b@c", "i\r\nd", "utf-8;\u00fc\\\x7f", 1, uint16(smtpclient.ExtDSN))
	f.Add("\xff@b", "+=", ";", 14, uint16(smtpclient.ExtDSN|smtpclient.ExtSMTPUTF8))
	f.Fuzz(func(t *testing.T, addr, id, orcpt string, notify int, ext uint16) {
		if checkArg(addr) != nil {
			return
		}
		e := &envelope{sender: addr, id: id, size: 5, encoding: "8bit", ret: 1}
		fe := &smtpclient.Features{Ext: smtpclient.Ext(ext)}
		r := &mailproto.Recipient{Addr: addr, OrigRcpt: orcpt, Notify: 6}
		for _, line := range []string{string(appendMail(nil, e, fe, reqtls.Verdict{Say: true})), string(appendRcpt(nil, addr, r, fe))} {
			text, ok := strings.CutSuffix(line, "\r\n")
			if !ok || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
				t.Fatalf("%q", line)
			}
		}
	})
}

func TestSettings(t *testing.T) {
	for _, program := range []string{"smtp", "lmtp"} {
		cfg, err := config.FromMap(map[string]string{"myhostname": "client.test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := newClient(&service.Env{Config: cfg, Program: program, Log: maillog.Discard()}); err != nil {
			t.Errorf("%s with the defaults: %v", program, err)
		}
	}
	for _, tc := range []struct{ name, value string }{
		{"smtp_dns_support_level", "maybe"}, {"smtp_host_lookup", "nis"}, {"smtp_address_preference", "ipv5"},
		{"smtp_bind_address", "::1"}, {"smtp_bind_address6", "nonsense"}, {"smtp_tcp_port", "nosuch"},
		{"smtp_helo_name", "a b"}, {"inet_protocols", "ipx"}, {"dns_servers", "ns.example"},
	} {
		cfg, err := config.FromMap(map[string]string{"myhostname": "client.test", tc.name: tc.value})
		if err == nil {
			_, _, err = newClient(&service.Env{Config: cfg, Program: "smtp", Log: maillog.Discard()})
		}
		if err == nil || !strings.Contains(err.Error(), tc.name) || !strings.Contains(err.Error(), tc.value) {
			t.Errorf("%s = %s: error %v does not name them", tc.name, tc.value, err)
		}
	}
}

func TestBindAddress(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", map[string]string{"smtp_bind_address": "127.0.0.9"}, nil)
	nc, err := f.set.dial(t.Context(), route.Host{Addr: netip.MustParseAddrPort(s.addr())})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if from := nc.LocalAddr().String(); !strings.HasPrefix(from, "127.0.0.9:") {
		t.Error(from)
	}
}

// The manual names every parameter that the program reads, by its own prefix.
func TestManualNamesEveryParameter(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("settings.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(src), "l.")[1:] {
		kind, rest, ok := strings.Cut(part, `("`)
		if !ok || strings.ContainsAny(kind, " \n(") || kind == "fail" || kind == "pick" {
			continue
		}
		name, _, _ := strings.Cut(rest, `"`)
		if !strings.Contains(string(doc), "smtp_"+name) {
			t.Errorf("smtp_%s is not in the manual", name)
		}
	}
}
