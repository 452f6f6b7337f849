package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/proxyfilter"
	"sealpost/lib/record"
	"sealpost/lib/xforward"
)

// proxyParams are the parameters of the filter before the queue as written.
type proxyParams struct {
	Filter  string        `conf:"smtpd_proxy_filter"`
	Options []string      `conf:"smtpd_proxy_options"`
	Hello   string        `conf:"smtpd_proxy_ehlo"`
	Timeout time.Duration `conf:"smtpd_proxy_timeout"`
	Header  bool          `conf:"requiretls_esmtp_header"`
}

// proxyEngine is the filter of one profile; nil where there is none.
type proxyEngine struct {
	filter proxyfilter.Filter
	// afterwards: the filter is asked once the whole message is here (speed_adjust).
	afterwards bool
	header     bool // a request for REQUIRETLS goes to the filter as a header
}

// newProxyEngine reads the parameters. Nothing is connected yet.
func newProxyEngine(p *proxyParams) (*proxyEngine, error) {
	e := &proxyEngine{header: p.Header}
	for _, word := range p.Options {
		if !strings.EqualFold(word, "speed_adjust") {
			return nil, fmt.Errorf("parameter smtpd_proxy_options: unknown option %q; there is speed_adjust", word)
		}
		e.afterwards = true
	}
	if p.Filter == "" {
		return nil, nil
	}
	var err error
	if e.filter, err = proxyfilter.Parse(p.Filter); err != nil {
		return nil, fmt.Errorf("parameter smtpd_proxy_filter: %w", err)
	}
	if p.Hello == "" || strings.ContainsAny(p.Hello, " \t\r\n") {
		return nil, fmt.Errorf("parameter smtpd_proxy_ehlo: %q cannot be said in EHLO", p.Hello)
	}
	e.filter.Hello, e.filter.Timeout = p.Hello, p.Timeout
	return e, nil
}

// proxies: messages of this session go to a filter and not to cleanup.
func (s *session) proxies() bool { return s.p.proxy != nil && !s.standAlone }

// proxied is a message on its way through the filter, as it comes in or, with
// speed_adjust, after it came. What becomes of it is the filter's word.
type proxied struct {
	*proxyEngine
	origin  xforward.Values
	request bool     // the sender asked for REQUIRETLS
	mail    string   // command lines of the client
	rcpts   []string // with speed_adjust

	conn    *proxyfilter.Conn    // nil before the filter is asked
	content *proxyfilter.Content // nil before DATA
	spool   *spool               // with speed_adjust
	err     error                // why the connection is of no use any more
}

// connect takes a connection to the filter up to MAIL FROM.
func (p *proxied) connect(ctx context.Context) error {
	conn, err := p.filter.Dial(ctx, &p.origin)
	if err != nil {
		return err
	}
	if err := conn.Command(p.mail); err != nil {
		conn.Close()
		return err
	}
	p.conn = conn
	return nil
}

// recipient passes a recipient on. After a connection that broke there is no second
// one for the same message.
func (p *proxied) recipient(line string) error {
	switch {
	case p.afterwards:
		p.rcpts = append(p.rcpts, line)
		return nil
	case p.err != nil:
		return errGone
	}
	return p.keep(p.conn.Command(line))
}

// errGone: the connection broke before, and the log says why.
var errGone = errors.New("the connection to the filter is gone")

// keep remembers an error after which the connection is of no use.
func (p *proxied) keep(err error) error {
	var refused *proxyfilter.Refused
	if err != nil && !errors.As(err, &refused) {
		p.err = err
	}
	return err
}

// begin makes ready for the content.
func (p *proxied) begin(dir string) (err error) {
	switch {
	case p.afterwards:
		p.spool, err = newSpool(dir)
		return err
	case p.err != nil:
		return errGone
	}
	return p.data()
}

func (p *proxied) data() (err error) {
	p.content, err = p.conn.Data(p.request && p.header)
	return p.keep(err)
}

// Record implements contentWriter. Records of the envelope are none of the filter's.
func (p *proxied) Record(t record.Type, payload []byte) {
	switch {
	case t != record.Norm && t != record.Cont:
	case p.spool != nil:
		p.spool.record(t, payload)
	case p.content != nil:
		p.content.Line(payload, t == record.Cont)
	}
}

// RecordString implements contentWriter.
func (p *proxied) RecordString(t record.Type, s string) { p.Record(t, []byte(s)) }

// Err implements contentWriter.
func (p *proxied) Err() error {
	switch {
	case p.spool != nil:
		return p.spool.err
	case p.content != nil:
		return p.content.Err()
	}
	return p.err
}

// finish ends the message and returns the filter's word on it.
func (p *proxied) finish(ctx context.Context) (proxyfilter.Reply, error) {
	if p.afterwards {
		if err := p.replay(ctx); err != nil {
			return proxyfilter.Reply{}, err
		}
	}
	return p.content.Finish()
}

// replay tells the filter all that the client said.
func (p *proxied) replay(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	for _, line := range p.rcpts {
		if err := p.conn.Command(line); err != nil {
			return err
		}
	}
	if err := p.data(); err != nil {
		return err
	}
	return p.spool.replay(p.content.Line)
}

// close ends what is open. A message without its end is none for the filter.
func (p *proxied) close() {
	if p.conn != nil {
		p.conn.Close()
	}
	if p.spool != nil {
		p.spool.close()
	}
}

// proxyLine is the command line as the filter gets it: as received, but without the
// word REQUIRETLS among params, which a filter may not know. The request goes on as a
// header.
func (s *session) proxyLine(params string) string {
	line := strings.Trim(string(s.text), " \t")
	if !s.txn.requireTLS {
		return line
	}
	line = strings.TrimRight(strings.TrimSuffix(line, params), " \t")
	for {
		var param string
		if param, params = nextParam(params); param == "" {
			return line
		}
		if !strings.EqualFold(param, "REQUIRETLS") {
			line += " " + param
		}
	}
}

// openProxy starts the message with the filter. What went wrong was answered.
func (s *session) openProxy(ctx context.Context) (outcome, bool) {
	t := s.txn
	p := &proxied{proxyEngine: s.p.proxy, mail: t.mailLine, request: t.requireTLS}
	p.origin, _ = s.origin(ctx)
	if !p.afterwards {
		if err := p.connect(ctx); err != nil {
			return s.proxyFailed(err), false
		}
	}
	t.proxy = p
	s.logClient("NOQUEUE")
	if t.requireTLS && !p.header {
		s.log.Warnf("requiretls_esmtp_header = no: the filter %s does not learn that the sender of the message from %s asked for REQUIRETLS",
			p.filter.Text, s.client.text)
	}
	return accepted, true
}

// proxyRcpt is RCPT TO where there is a filter.
func (s *session) proxyRcpt(ctx context.Context, to path) outcome {
	t := s.txn
	if t.proxy == nil {
		if o, ok := s.openProxy(ctx); !ok {
			return o
		}
	}
	if err := t.proxy.recipient(strings.Trim(string(s.text), " \t")); err != nil {
		return s.proxyFailed(err)
	}
	t.countRecipient(to)
	s.startRequest(0)
	s.reply("250 2.1.5 Ok")
	return accepted
}

// proxyFailed answers a command that the filter did not take, in its words, or that
// could not be passed on to it, in ours.
func (s *session) proxyFailed(err error) outcome {
	if !errors.Is(err, errGone) {
		s.log.Warnf("%v", err)
	}
	s.startRequest(0)
	reply, ok := clientReply(err)
	if !ok {
		s.failFor(problemSoftware, detailReply(mailproto.CleanupProxy))
		return refused
	}
	return s.failAs(reply)
}

// clientReply is what the filter said to a command of the client.
func clientReply(err error) (r proxyfilter.Reply, ok bool) {
	var said *proxyfilter.Refused
	if !errors.As(err, &said) || said.Own {
		return r, false
	}
	class := said.Reply.Class()
	return said.Reply, class == 4 || class == 5
}

// failAs sends the filter's refusal. 421 is the end of our session, too.
func (s *session) failAs(r proxyfilter.Reply) outcome {
	s.errors++
	s.script.had |= problemPolicy
	s.replyLines(r)
	if r.Code == 421 {
		return hangup
	}
	return refused
}

func (s *session) replyLines(r proxyfilter.Reply) {
	for line := range strings.SplitSeq(r.Text(), "\r\n") {
		s.replyf(line)
	}
}

// finishProxied completes the message with the filter and passes its answer on.
func (s *session) finishProxied(ctx context.Context) outcome {
	s.where = "END-OF-MESSAGE"
	reply, err := s.txn.proxy.finish(ctx)
	s.startRequest(0) // what the filter took is not the client's time
	if err != nil {
		s.log.Warnf("%v", err)
		var ok bool
		if reply, ok = clientReply(err); !ok {
			return s.proxyLost()
		}
	}
	switch reply.Class() {
	case 2:
		s.logProxy("proxy-accept", reply.Log())
		s.errors, s.junk = 0, 0
		defer s.script.messageTaken()
		s.replyLines(reply)
		return accepted
	case 4, 5:
		s.logProxy("proxy-reject", reply.Log())
		return s.failAs(reply)
	}
	s.log.Warnf("proxy %s: unexpected reply to the end of the message: %q", s.p.proxy.filter.Text, reply.Log())
	return s.proxyLost()
}

// proxyLost answers a message of which nobody knows whether the filter has it: the
// client keeps it.
func (s *session) proxyLost() outcome {
	text := detailReply(mailproto.CleanupProxy)
	s.logProxy("proxy-reject", text)
	s.failFor(problemSoftware, text)
	return refused
}

// logProxy logs what became of the message.
func (s *session) logProxy(action, text string) {
	t := s.txn
	s.log.Log(maillog.Info, &maillog.ProxyResult{Action: action, Where: s.where, Text: text, From: s.logAddr(t.sender),
		To: s.logAddr(t.firstRcpt), Proto: s.protocol, Helo: s.heloName, SASLUsername: s.login.user})
}
