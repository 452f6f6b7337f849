package main

import (
	"context"
	"strings"
)

// mail is MAIL FROM. The checks are in the order of requiretls.md §2.2.
func (s *session) mail(ctx context.Context, arg string) (outcome, error) {
	if s.needHello() {
		return refused, nil
	}
	if s.txn != nil {
		if s.txn.chunks != nil {
			s.fail("503 5.5.1 Error: MAIL after BDAT")
		} else {
			s.fail("503 5.5.1 Error: nested MAIL command")
		}
		return refused, nil
	}
	arg, ok := keywordArg(arg, "FROM:")
	if !ok {
		s.fail("501 5.5.4 Syntax: MAIL FROM:<address>")
		return refused, nil
	}
	from, ok := s.parsePath(arg)
	if !ok {
		s.log.Warnf("Illegal address syntax from %s in MAIL command: %s", s.client.text, firstWord(arg))
		s.fail("501 5.1.7 Bad sender address syntax")
		return refused, nil
	}
	params, reply := s.parseMailParams(from.rest)
	if reply != "" {
		s.fail(reply)
		return refused, nil
	}
	s.txn = &transaction{arrival: s.srv.now(), sender: from.internal, mailParams: params}
	if s.proxies() {
		s.txn.mailLine = s.proxyLine(from.rest)
	}
	if !s.acceptSender(ctx, from) {
		s.reset()
		return refused, nil
	}
	switch {
	case s.p.DelayOpen && !s.standAlone:
	case s.proxies():
		if o, ok := s.openProxy(ctx); !ok {
			s.reset()
			return o, nil
		}
	default:
		if err := s.open(ctx); err != nil {
			s.reset()
			s.queueUnavailable(err)
			return refused, nil
		}
	}
	s.reply("250 2.1.0 Ok")
	return accepted, nil
}

// acceptSender applies limits and restrictions to the sender.
func (s *session) acceptSender(ctx context.Context, from path) bool {
	if r := s.checkSize(); r.refused() {
		s.refuse(r)
		return false
	}
	if s.p.StrictSMTPUTF8 && !s.txn.utf8 && !isASCII(from.internal) {
		s.fail("553 5.6.7 Must declare SMTPUTF8 to send unicode address")
		return false
	}
	if !s.p.DelayReject {
		if r := s.checkSender(ctx); r.refused() {
			s.refuse(r)
			return false
		}
	}
	return true
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	if strings.HasPrefix(s, "<") {
		if i := strings.IndexByte(s, '>'); i > 0 {
			w = s[:i+1]
		}
	}
	return w
}

// checkSize compares the announced size with the limit, and the room in the
// queue's file system with what a message may need (security-cases.md §1.3).
func (s *session) checkSize() result {
	if limit := s.p.MessageLimit; limit > 0 && s.txn.announced > limit {
		return verdict(reject, 552, "5.3.4", "Message size exceeds fixed limit")
	}
	if s.standAlone {
		return result{}
	}
	free, err := s.srv.space.free()
	if err != nil {
		s.log.Warnf("cannot see how much room the queue has: %v", err)
		return result{}
	}
	need := max(s.p.QueueMinFree, s.p.MessageLimit+s.p.MessageLimit/2)
	if s.proxies() && s.p.proxy.afterwards {
		need += s.p.MessageLimit // it is here twice for a while
	}
	if s.p.MessageLimit > 0 && s.txn.announced > 0 {
		need = max(need, s.txn.announced)
	}
	if free <= need && need > 0 {
		s.log.Warnf("not enough free space in mail queue: %d bytes; queue_minfree or 1.5*message_size_limit ask for more than %d", free, need)
		return verdict(reject, 452, "4.3.1", "Insufficient system storage")
	}
	return result{}
}

// rcpt is RCPT TO.
func (s *session) rcpt(ctx context.Context, arg string) (outcome, error) {
	t := s.txn
	if t == nil {
		s.fail("503 5.5.1 Error: need MAIL command")
		return refused, nil
	}
	if t.chunks != nil {
		s.fail("503 5.5.1 Error: RCPT after BDAT")
		return refused, nil
	}
	arg, ok := keywordArg(arg, "TO:")
	if !ok {
		s.fail("501 5.5.4 Syntax: RCPT TO:<address>")
		return refused, nil
	}
	to, ok := s.parsePath(arg)
	if !ok || to.internal == "" {
		s.log.Warnf("Illegal address syntax from %s in RCPT command: %s", s.client.text, firstWord(arg))
		s.fail("501 5.1.3 Bad recipient address syntax")
		return refused, nil
	}
	params, reply := s.parseRcptParams(to.rest)
	if reply != "" {
		s.fail(reply)
		return refused, nil
	}
	if t.rcpts >= s.p.RcptLimit && !s.standAlone {
		if t.excess++; t.excess > s.p.RcptOvershoot {
			s.errors++
		}
		s.script.had |= problemPolicy
		s.reply("452 4.5.3 Error: too many recipients")
		return refused, nil
	}
	if s.p.StrictSMTPUTF8 && !t.utf8 && !isASCII(to.internal) {
		s.fail("553 5.6.7 Must declare SMTPUTF8 to send unicode address")
		return refused, nil
	}
	if r := s.checkRcpt(ctx, to.internal); r.refused() {
		s.refuseRcpt(r, to.internal)
		return refused, nil
	}
	if s.proxies() {
		return s.proxyRcpt(ctx, to), nil
	}
	if t.queue == nil {
		if err := s.open(ctx); err != nil {
			s.queueUnavailable(err)
			return refused, nil
		}
	}
	s.addRecipient(to, params)
	s.reply("250 2.1.5 Ok")
	return accepted, nil
}

// queueUnavailable answers when no message can be taken.
func (s *session) queueUnavailable(err error) {
	s.log.Warnf("cannot hand mail from %s to the cleanup service: %v", s.client.text, err)
	s.fail("451 4.3.0 Error: queue file write error")
}
