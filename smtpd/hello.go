package main

import (
	"context"
	"strings"

	"sealpost/lib/ehlo"
	"sealpost/lib/xforward"
)

// keywordRow is one line of the reply to EHLO. The rows are in the order of
// Postfix (requiretls.md §2.1).
type keywordRow struct {
	bit  ehlo.Set
	text func(s *session) string // empty: not offered
}

func word(w string) func(*session) string { return func(*session) string { return w } }

var keywords = []keywordRow{
	{ehlo.Pipelining, word("PIPELINING")},
	{ehlo.Size, func(s *session) string {
		if s.p.MessageLimit <= 0 {
			return "SIZE"
		}
		return "SIZE " + itoa(s.p.MessageLimit)
	}},
	{ehlo.VRFY, func(s *session) string {
		if s.p.DisableVRFY {
			return ""
		}
		return "VRFY"
	}},
	{ehlo.ETRN, word("ETRN")},
	{ehlo.StartTLS, func(s *session) string {
		if !s.offersTLS() {
			return ""
		}
		return "STARTTLS"
	}},
	{ehlo.Auth, func(s *session) string { return authKeyword("AUTH ", s.offered) }},
	{ehlo.Auth, func(s *session) string {
		if !s.p.sasl.BrokenClients {
			return ""
		}
		return authKeyword("AUTH=", s.offered)
	}},
	{ehlo.XClient, func(s *session) string {
		if !s.mayPose {
			return ""
		}
		return xclientKeyword
	}},
	{ehlo.XForward, func(s *session) string {
		if !s.mayForward {
			return ""
		}
		return xforwardKeyword
	}},
	{ehlo.EnhancedStatusCodes, word("ENHANCEDSTATUSCODES")},
	{ehlo.EightBitMIME, word("8BITMIME")},
	{ehlo.DSN, word("DSN")},
	{ehlo.SMTPUTF8, func(s *session) string {
		if !s.p.SMTPUTF8 {
			return ""
		}
		return "SMTPUTF8"
	}},
	{ehlo.Chunking, word("CHUNKING")},
	{ehlo.RequireTLS, func(s *session) string {
		if !s.takesRequireTLS() {
			return ""
		}
		return "REQUIRETLS"
	}},
}

func authKeyword(keyword string, mechanisms []string) string {
	if len(mechanisms) == 0 {
		return ""
	}
	return keyword + strings.Join(mechanisms, " ")
}

func (s *session) helo(ctx context.Context, arg string) (outcome, error) {
	return s.hello(ctx, "HELO", arg)
}

func (s *session) ehlo(ctx context.Context, arg string) (outcome, error) {
	return s.hello(ctx, "EHLO", arg)
}

// hello is HELO and EHLO: they name the client and end a transaction.
func (s *session) hello(ctx context.Context, verb, arg string) (outcome, error) {
	if hasControl(arg) {
		s.fail("501 5.5.2 Error: bad syntax: control character in hostname")
		return refused, nil
	}
	name, _, _ := strings.Cut(arg, " ")
	name = xforward.Neuter(name) // it goes into the log, a header, the queue file
	if name == "" {
		s.fail("501 Syntax: ", verb, " hostname")
		return refused, nil
	}
	if !s.p.DelayReject {
		previous := s.heloName
		s.heloName = name
		if r := s.checkHelo(ctx); r.refused() {
			s.refuse(r)
			s.heloName = previous
			return refused, nil
		}
	}
	s.reset()
	s.heloName, s.helloed, s.extended = name, true, verb == "EHLO"
	if !s.extended {
		s.protocol = "SMTP"
		s.reply("250 " + s.p.MyHostname)
		return accepted, nil
	}
	s.protocol = "ESMTP"
	s.offered = s.announced(ctx)
	s.announce()
	return accepted, nil
}

// announce sends the reply to EHLO.
func (s *session) announce() {
	if s.discard != 0 && !s.discard.Has(ehlo.SilentDiscard) {
		s.log.Infof("discarding EHLO keywords: %s", s.discard)
	}
	start := s.conn.Unflushed()
	b := s.conn.AvailableBuffer()
	last := len(b)
	b = append(b, "250-"...)
	b = append(b, s.p.MyHostname...)
	b = append(b, '\r', '\n')
	for _, k := range keywords {
		if s.discard&k.bit != 0 {
			continue
		}
		if text := k.text(s); text != "" {
			last = len(b)
			b = append(b, "250-"...)
			b = append(b, text...)
			b = append(b, '\r', '\n')
		}
	}
	b[last+3] = ' '
	s.script.out(b[start:])
	s.conn.SetBuffer(b)
}

// needHello refuses a command before HELO where that is required.
func (s *session) needHello() bool {
	if s.p.HeloRequired && !s.helloed && !s.standAlone {
		s.fail("503 5.5.1 Error: send HELO/EHLO first")
		return true
	}
	return false
}

func (s *session) noop(context.Context, string) (outcome, error) {
	s.reply("250 2.0.0 Ok")
	return accepted, nil
}

func (s *session) rset(_ context.Context, arg string) (outcome, error) {
	if arg != "" {
		s.fail("501 5.5.4 Syntax: RSET")
		return refused, nil
	}
	s.reset()
	s.reply("250 2.0.0 Ok")
	return accepted, nil
}

func (s *session) quitCommand(context.Context, string) (outcome, error) {
	s.reply("221 2.0.0 Bye")
	s.quit = true
	return accepted, nil
}

func (s *session) help(context.Context, string) (outcome, error) {
	auth := ""
	if s.takesAuth() {
		auth = "AUTH "
	}
	s.reply("214 2.0.0 Commands: " + auth + "BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY XCLIENT XFORWARD")
	return accepted, nil
}

func (s *session) notImplemented(context.Context, string) (outcome, error) {
	s.fail("502 5.5.1 Error: command not implemented")
	return refused, nil
}

// vrfy is VRFY: it says whether RCPT TO with that address would be accepted.
func (s *session) vrfy(ctx context.Context, arg string) (outcome, error) {
	if s.p.DisableVRFY {
		s.fail("502 5.5.1 VRFY command is disabled")
		return refused, nil
	}
	if s.needHello() {
		return refused, nil
	}
	typed := arg
	utf8 := false
	if i := strings.LastIndexByte(arg, ' '); i > 0 && strings.EqualFold(arg[i+1:], "SMTPUTF8") {
		typed, utf8 = strings.TrimRight(arg[:i], " "), true
	}
	if typed == "" || strings.EqualFold(typed, "SMTPUTF8") {
		s.fail("501 5.5.4 Syntax: VRFY address [SMTPUTF8]")
		return refused, nil
	}
	path, ok := s.parsePath(typed)
	if !ok || path.rest != "" || path.internal == "" {
		s.log.Warnf("Illegal address syntax from %s in VRFY command: %s", s.client.text, typed)
		s.fail("501 5.1.3 Bad recipient address syntax")
		return refused, nil
	}
	if s.p.StrictSMTPUTF8 && !utf8 && !isASCII(typed) {
		s.fail("553 5.6.7 Must declare SMTPUTF8 to send unicode address")
		return refused, nil
	}
	if r := s.checkRcpt(ctx, path.internal); r.refused() {
		s.refuseRcpt(r, path.internal)
		return refused, nil
	}
	s.replyf("252 2.0.0 ", typed)
	return accepted, nil
}

// etrn is ETRN (RFC 1985): deliver what waits for a destination.
func (s *session) etrn(ctx context.Context, arg string) (outcome, error) {
	if s.needHello() {
		return refused, nil
	}
	if s.txn != nil {
		s.fail("503 Error: MAIL transaction in progress")
		return refused, nil
	}
	if arg == "" || strings.ContainsAny(arg, " \t") {
		s.fail("500 Syntax: ETRN domain")
		return refused, nil
	}
	site := strings.TrimLeft(arg, "@#")
	if !validSite(site) {
		s.fail("501 Error: invalid parameter syntax")
		return refused, nil
	}
	if r := s.checkEtrn(ctx, site); r.refused() {
		s.refuse(r)
		return refused, nil
	}
	return s.flushSite(ctx, site), nil
}

// refuse sends the reply of a restriction and logs it.
func (s *session) refuse(r result) { s.refuseRcpt(r, "") }

func (s *session) refuseRcpt(r result, rcpt string) {
	text := r.reply()
	if rcpt != "" {
		s.logReject(s.softened(text), &rcpt)
	} else {
		s.logReject(s.softened(text), nil)
	}
	class := problemPolicy
	switch {
	case strings.HasPrefix(text, "451 4.3.5 "):
		class = problemSoftware
	case strings.HasPrefix(text, "451 4.3.0 "):
		class = problemData
	case r.code == 452:
		class = problemResource
	}
	s.failFor(class, text)
}

// softened is what soft_bounce makes of a reply, for the log.
func (s *session) softened(text string) string {
	if !s.p.SoftBounce || text[0] != '5' {
		return text
	}
	b := s.adapt([]byte(text+"\r\n"), 0)
	return string(b[:len(b)-2])
}

func (s *session) logAddr(addr string) string { return quoteForLog(addr) }
