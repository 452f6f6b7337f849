package main

import (
	"context"
	"strings"
)

// The stages of a session at which restriction lists are evaluated. With
// smtpd_delay_reject those of the client, of HELO and of the sender are
// evaluated for each recipient.

func (s *session) checkClient(ctx context.Context) result {
	a := &access{s: s}
	return a.finish(s.clientStage(ctx, a))
}

func (s *session) clientStage(ctx context.Context, a *access) result {
	if s.standAlone {
		return result{}
	}
	a.class, a.what = classClient, s.client.text
	return a.run(ctx, s.p.restrictions.client)
}

func (s *session) checkHelo(ctx context.Context) result {
	a := &access{s: s}
	return a.finish(s.heloStage(ctx, a))
}

func (s *session) heloStage(ctx context.Context, a *access) result {
	if s.standAlone || s.heloName == "" {
		return result{}
	}
	a.class, a.what = classHelo, s.heloName
	return a.run(ctx, s.p.restrictions.helo)
}

func (s *session) checkSender(ctx context.Context) result {
	a := &access{s: s}
	return a.finish(s.senderStage(ctx, a))
}

func (s *session) senderStage(ctx context.Context, a *access) result {
	if s.standAlone || s.txn == nil {
		return result{}
	}
	a.class, a.what = classSender, s.txn.sender
	r := a.run(ctx, s.p.restrictions.sender)
	if !r.refused() && s.p.recipientSet.UnlistedSender && s.txn.sender != "" {
		if u := a.unlisted(ctx, s.txn.sender, classSender); u.refused() {
			return u
		}
	}
	return r
}

// checkRcpt decides about one recipient.
func (s *session) checkRcpt(ctx context.Context, rcpt string) result {
	if s.standAlone || strings.EqualFold(rcpt, "postmaster") {
		// RFC 5321 §4.5.1: mail to the postmaster of this host is never refused.
		return result{}
	}
	a := &access{s: s, rcpt: rcpt}
	return a.finish(s.rcptStage(ctx, a))
}

func (s *session) rcptStage(ctx context.Context, a *access) result {
	if s.p.DelayReject {
		for _, stage := range []func(*session, context.Context, *access) result{
			(*session).clientStage, (*session).heloStage, (*session).senderStage} {
			if r := stage(s, ctx, a); r.refused() {
				return r
			}
		}
	}
	lists := [][]restriction{s.p.restrictions.relay, s.p.restrictions.recipient}
	if !s.p.RelayFirst {
		lists[0], lists[1] = lists[1], lists[0]
	}
	a.class, a.what = classRcpt, a.rcpt
	for _, list := range lists {
		if r := a.run(ctx, list); r.refused() {
			return r
		}
	}
	if s.p.recipientSet.UnlistedRecipient {
		return a.unlisted(ctx, a.rcpt, classRcpt)
	}
	return result{}
}

func (s *session) checkData(ctx context.Context) result {
	return s.messageStage(ctx, classData, "DATA", s.p.restrictions.data)
}

func (s *session) checkEndOfData(ctx context.Context) result {
	return s.messageStage(ctx, classEndOfData, "END-OF-MESSAGE", s.p.restrictions.endOfData)
}

func (s *session) messageStage(ctx context.Context, c class, what string, list []restriction) result {
	if s.standAlone || len(list) == 0 {
		return result{}
	}
	a := &access{s: s, class: c, what: what}
	if s.txn.rcpts == 1 {
		a.rcpt = s.txn.firstRcpt
	}
	return a.finish(a.run(ctx, list))
}

func (s *session) checkEtrn(ctx context.Context, site string) result {
	a := &access{s: s, site: site}
	if s.p.DelayReject {
		if r := s.clientStage(ctx, a); r.refused() {
			return a.finish(r)
		}
		if r := s.heloStage(ctx, a); r.refused() {
			return a.finish(r)
		}
	}
	a.class, a.what = classEtrn, site
	return a.finish(a.run(ctx, s.p.restrictions.etrn))
}
