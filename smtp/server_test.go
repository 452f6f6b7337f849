package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/lib/agent"
	"sealpost/lib/config"
	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/dsn"
	"sealpost/lib/hop"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/reqtls"
	"sealpost/lib/route"
	"sealpost/lib/table"
	"sealpost/lib/tlspolicy"
)

// script says how a server behaves. on is asked with "RCPT TO:<a@b>", then with
// the verb alone; the verbs are BANNER, those of SMTP, and DOT for the end of the
// content. A reply is sent as it is, with CRLF; "!close" closes, "!hang" says
// nothing more, and either can follow a reply: "421 bye!close". For LMTP the
// replies to DOT are separated by "|".
type script struct {
	ehlo string // extensions, blank-separated; "-" refuses EHLO
	on   map[string]string
	// tls is what STARTTLS leads to; without it the server takes no notice of the
	// handshake. wrapper: TLS comes first. secret are extensions inside TLS.
	tls     *tls.Config
	wrapper bool
	secret  string
	// inside are replies inside TLS, in place of those in on.
	inside map[string]string
}

var defaults = map[string]string{
	"BANNER": "220 mx.test ESMTP", "HELO": "250 mx.test", "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok",
	"DATA": "354 go", "STARTTLS": "220 2.0.0 go", "DOT": "250 2.0.0 queued", "RSET": "250 2.0.0 reset", "QUIT": "221 2.0.0 bye",
}

// server is a scripted server; commands and messages are recorded in order.
type server struct {
	script
	ln   net.Listener
	done chan struct{}

	mu       sync.Mutex
	commands []string
	mails    []string      // for each MAIL: "tls" or "clear"
	note     chan struct{} // closed at the next command
	messages [][]byte      // raw content, without the final dot
	conns    int
	open     []net.Conn
	wg       sync.WaitGroup
}

func serve(t testing.TB, sc script) *server {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, sc)
}

func serveOn(t testing.TB, ln net.Listener, sc script) *server {
	s := &server{script: sc, ln: ln, done: make(chan struct{}), note: make(chan struct{})}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.open = append(s.open, c)
			s.mu.Unlock()
			s.wg.Go(func() { defer c.Close(); s.talk(c) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *server) stop() {
	close(s.done)
	s.ln.Close()
	s.mu.Lock()
	for _, c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *server) addr() string { return s.ln.Addr().String() }

func (s *server) port() string { return s.addr()[strings.LastIndex(s.addr(), ":")+1:] }

// nexthop is the server as a destination.
func (s *server) nexthop() string { return "[127.0.0.1]:" + s.port() }

func (s *server) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, "\n")
}

func (s *server) last(t testing.TB) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages) == 0 {
		t.Fatal("the server has no message")
	}
	return s.messages[len(s.messages)-1]
}

func (s *server) count() (messages, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.messages), s.conns
}

// say sends the reply to a command; false ends the conversation.
func (s *server) say(c net.Conn, keys ...string) (ok bool, code byte) {
	var reply string
	secret := isSecret(c)
	for _, key := range keys {
		if r, found := s.inside[key]; found && secret {
			reply = r
			break
		}
		if r, found := s.on[key]; found {
			reply = r
			break
		}
		reply = defaults[key]
	}
	text, action, _ := strings.Cut(reply, "!")
	if text != "" {
		c.Write([]byte(strings.ReplaceAll(text, "|", "\r\n") + "\r\n"))
		code = text[0]
	}
	switch action {
	case "hang":
		<-s.done
		return false, code
	case "close":
		return false, code
	}
	if text == "" {
		c.Write([]byte("500 what?\r\n"))
	}
	return true, code
}

func (s *server) talk(c net.Conn) {
	if s.wrapper {
		secret := tls.Server(c, s.tls)
		if secret.Handshake() != nil {
			s.record("NO HANDSHAKE")
			return
		}
		c = secret
	}
	if ok, _ := s.say(c, "BANNER"); !ok {
		return
	}
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") {
			s.record(fmt.Sprintf("BAD LINE %q", line))
			return
		}
		line = line[:len(line)-2]
		s.record(line)
		verb, _, _ := strings.Cut(line, " ")
		path, _, _ := strings.Cut(line, "> ")
		if strings.HasSuffix(path, ">") || path == line {
			path = strings.TrimSuffix(path, ">")
		}
		if verb == "EHLO" || verb == "LHLO" {
			if !s.scripted(c, verb) {
				s.hello(c)
				continue
			}
		}
		if verb == "MAIL" {
			s.sawMail(c)
		}
		ok, code := s.say(c, path+">", verb)
		if !ok {
			return
		}
		if verb == "QUIT" {
			return
		}
		if verb == "STARTTLS" && code == '2' && s.tls != nil {
			secret := tls.Server(c, s.tls)
			if err := secret.Handshake(); err != nil {
				s.record("NO HANDSHAKE")
				return
			}
			s.record("TLS")
			c, r = secret, bufio.NewReader(secret)
		}
		if verb == "DATA" && code == '3' && !s.content(c, r) {
			return
		}
	}
}

// scripted reports whether there is a reply for a verb in the script itself.
func (s *server) scripted(c net.Conn, verb string) bool {
	_, any := s.on[verb]
	_, inside := s.inside[verb]
	return any || inside && isSecret(c)
}

func isSecret(c net.Conn) bool { _, secret := c.(*tls.Conn); return secret }

func (s *server) sawMail(c net.Conn) {
	how := "clear"
	if isSecret(c) {
		how = "tls"
	}
	s.mu.Lock()
	s.mails = append(s.mails, how)
	s.mu.Unlock()
}

func (s *server) hello(c net.Conn) {
	if s.ehlo == "-" {
		c.Write([]byte("502 5.5.1 no\r\n"))
		return
	}
	ehlo := s.ehlo
	if isSecret(c) {
		ehlo = s.secret
	}
	lines := append([]string{"mx.test"}, strings.Split(ehlo, " ")...)
	if ehlo == "" {
		lines = lines[:1]
	}
	var b strings.Builder
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		b.WriteString("250" + sep + strings.ReplaceAll(l, "=", " ") + "\r\n")
	}
	c.Write([]byte(b.String()))
}

// content reads up to CRLF . CRLF and nothing else.
func (s *server) content(c net.Conn, r *bufio.Reader) bool {
	var b, line []byte
	for ended := true; !ended || string(line) != ".\r\n"; {
		ended = len(b) == 0 || bytes.HasSuffix(line, []byte("\r\n"))
		var err error
		if line, err = r.ReadBytes('\n'); err != nil {
			s.record("CUT OFF")
			return false
		}
		b = append(b, line...)
	}
	s.mu.Lock()
	s.messages = append(s.messages, b[:len(b)-3])
	s.mu.Unlock()
	ok, _ := s.say(c, "DOT")
	return ok
}

func (s *server) record(line string) {
	s.mu.Lock()
	s.commands = append(s.commands, line)
	close(s.note)
	s.note = make(chan struct{})
	s.mu.Unlock()
}

// outcomesLog records outcomes as text.
type outcomesLog struct {
	mu   sync.Mutex
	list []string
	full []agent.Outcome
	hop  dsn.Status
}

func (o *outcomesLog) add(word string, out agent.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, out.Recipient.Addr+" "+word+" "+out.Status.Code+" "+out.Status.Reason)
	o.full = append(o.full, out)
}
func (o *outcomesLog) Sent(_ context.Context, out agent.Outcome)     { o.add("sent", out) }
func (o *outcomesLog) Bounced(_ context.Context, out agent.Outcome)  { o.add("bounced", out) }
func (o *outcomesLog) Deferred(_ context.Context, out agent.Outcome) { o.add("deferred", out) }
func (o *outcomesLog) HopStatus(s dsn.Status)                        { o.hop = s }
func (o *outcomesLog) Pass(_ context.Context, r *mailproto.Recipient, transport, nexthop string) {
	o.add("passed", agent.Outcome{Recipient: r, Status: dsn.Status{Code: transport, Reason: nexthop}})
}
func (o *outcomesLog) String() string { return strings.Join(o.list, "\n") }

// textOf reads content to its end.
func textOf(c content) string {
	var b strings.Builder
	for {
		line, more, err := c.Next()
		if err != nil {
			return b.String()
		}
		b.Write(line)
		if !more {
			b.WriteByte('\n')
		}
	}
}

// lines is content made of text; long lines come in pieces as from a queue file.
type lines struct{ rest []string }

func (l *lines) Next() ([]byte, bool, error) {
	if len(l.rest) == 0 {
		return nil, false, io.EOF
	}
	text, more := l.rest[0], false
	if len(text) > 2048 {
		l.rest[0], text, more = text[2048:], text[:2048], true
	} else {
		l.rest = l.rest[1:]
	}
	return []byte(text), more, nil
}

// fixture is a client without queue, log service and real DNS.
type fixture struct {
	*client
	log bytes.Buffer
	mu  sync.Mutex
}

func (f *fixture) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(b)
}

// logged are the lines of the log, from the text on.
func (f *fixture) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(f.log.String()), "\n") {
		if _, text, ok := strings.Cut(line, "]: "); ok {
			out = append(out, text)
		}
	}
	return strings.Join(out, "\n")
}

func newFixture(t testing.TB, program string, values map[string]string, r dns.Resolver) *fixture {
	t.Helper()
	all := map[string]string{"myhostname": "client.test", "inet_protocols": "ipv4", "inet_interfaces": "192.0.2.99"}
	for k, v := range values {
		all[k] = v
	}
	cfg, err := config.FromMap(all)
	if err != nil {
		t.Fatal(err)
	}
	set, err := load(cfg, program == "lmtp")
	if err != nil {
		t.Fatal(err)
	}
	rc, err := route.Load(cfg, set.lmtp)
	if err != nil {
		t.Fatal(err)
	}
	syntax, err := route.LoadSyntax(cfg, set.lmtp)
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		r = dnstest.Map{}
	}
	secure, _ := r.(dns.SecureResolver)
	source, err := tlspolicy.Open(cfg, set.lmtp, table.Env{Warnf: t.Logf}, secure)
	if err != nil {
		t.Fatal(err)
	}
	engine, _, err := hop.OpenEngine(cfg, set.lmtp, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	rc.Resolver = r
	rc.Shuffle = nil
	f := &fixture{client: &client{set: set, route: rc, now: time.Now, dial: set.dial,
		tls: source, engine: engine,
		reqtls: reqtls.Open(table.Env{Warnf: t.Logf}, set.name("requiretls_policy"), cfg.Str(set.name("requiretls_policy"))),
		cache:  newCache(set.cacheLimit, time.Now),
		syntax: syntax}}
	f.openDiscard(cfg, table.Env{Warnf: t.Logf})
	t.Cleanup(f.cache.close)
	return f
}

// message is what the tests send.
var message7bit = []string{"Subject: test", "", "body", ".dot", "."}

func request(nexthop string, rcpts ...string) *mailproto.DeliveryRequest {
	r := &mailproto.DeliveryRequest{
		Flags: mailproto.DeliverSuccess, QueueName: "active", QueueID: "4XYZ", DataSize: 100,
		Nexthop: nexthop, Sender: "from@a.test",
	}
	for _, addr := range rcpts {
		r.Recipients = append(r.Recipients, mailproto.Recipient{Addr: addr})
	}
	return r
}

// run delivers and gives the outcomes.
func (f *fixture) run(t testing.TB, req *mailproto.DeliveryRequest, text ...string) *outcomesLog {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out := &outcomesLog{}
	if text == nil {
		text = message7bit
	}
	log := maillog.New(maillog.Options{Program: "smtp", Writer: f})
	f.deliver(ctx, job{req: req, log: log, out: out,
		data: func() content { return &lines{rest: append([]string(nil), text...)} }})
	if len(out.list) != len(req.Recipients) {
		t.Errorf("%d outcomes for %d recipients:\n%s", len(out.list), len(req.Recipients), out)
	}
	return out
}

// waitFor waits until the server has seen a command.
func (s *server) waitFor(t testing.TB, command string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		seen, note := "\n"+strings.Join(s.commands, "\n")+"\n", s.note
		s.mu.Unlock()
		if strings.Contains(seen, "\n"+command+"\n") {
			return
		}
		select {
		case <-note:
		case <-limit:
			t.Fatalf("no %s; the server saw%s", command, seen)
		}
	}
}
