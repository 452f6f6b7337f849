package main

import (
	"context"
	"slices"
	"strings"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/table"
	"sealpost/lib/tlsconn"
)

// actions are what access tables want done with a message that is accepted.
type actions struct {
	flags    mailproto.CleanupFlags // CleanupHold, CleanupDiscard
	filter   string
	redirect string
	bcc      []string
	prepend  []string
}

// A subject is what an access table is asked about: its keys, of which the first
// that is found counts, and how replies name it.
type subject struct {
	class class
	what  string
	keys  []table.Key
}

// checkAccess makes the restriction of an access table (protocols.md §6.4).
func checkAccess(about func(a *access) subject) func(context.Context, *access, *restriction) result {
	return func(ctx context.Context, a *access, r *restriction) result {
		of := about(a)
		for _, k := range of.keys {
			find := r.maps.Lookup
			if k.Partial {
				find = r.maps.LookupPartial
			}
			switch value, found, err := find(ctx, k.Text); {
			case err != nil:
				a.s.log.Warnf("%v", err)
				return verdict(reject, 451, "4.3.0", "<"+of.what+">: Temporary lookup failure")
			case found:
				return a.act(ctx, r, of, value)
			}
		}
		return result{}
	}
}

// act does what a table's value says.
func (a *access) act(ctx context.Context, r *restriction, of subject, value string) result {
	word, text, _ := strings.Cut(strings.TrimSpace(value), " ")
	text = strings.TrimSpace(text)
	answer := func(code int, status, usual string) result {
		if first, rest, _ := strings.Cut(text, " "); dsn.ValidCode(first) {
			status, text = first, strings.TrimSpace(rest)
		}
		if text == "" {
			text = usual
		}
		return a.rejectedAs(of.class, of.what, code, status, text)
	}
	switch action := strings.ToUpper(word); {
	case action == "DUNNO":
		return result{}
	case action == "OK", action == "RELAY":
		return result{decision: permit}
	case action == "REJECT":
		return answer(a.s.p.codes.AccessReject, "5.7.1", "Access denied")
	case action == "DEFER":
		return answer(a.s.p.codes.AccessDefer, "4.7.1", "Access denied")
	case action == "DEFER_IF_PERMIT":
		return a.tempfail("defer_if_permit", answer(450, "4.7.1", "Service unavailable"))
	case action == "DEFER_IF_REJECT":
		if !a.deferIfReject.refused() {
			a.deferIfReject = answer(450, "4.7.1", "Service unavailable")
		}
		return result{}
	case action == "HANGUP":
		a.logAccess("hangup", of, text)
		a.s.conn.Close()
		return answer(421, "4.7.1", "Access denied")
	case action == "INFO", action == "WARN":
		a.logAccess(strings.ToLower(action), of, text)
		return result{}
	case replyCode(action):
		return answer(int(action[0]-'0')*100+int(action[1]-'0')*10+int(action[2]-'0'), action[:1]+".7.1", "Access denied")
	case strings.Trim(action, "0123456789") == "":
		return result{decision: permit}
	case slices.Contains(messageActions, action):
		return a.onMessage(r, of, action, text)
	}
	// The names of restrictions and classes.
	list, err := a.s.p.compiler.list("access table "+r.arg, value)
	if err != nil {
		a.s.log.Warnf("%v", err)
		return configError()
	}
	return a.run(ctx, list)
}

// replyCode reports 4NN and 5NN.
func replyCode(word string) bool {
	return len(word) == 3 && (word[0] == '4' || word[0] == '5') && strings.Trim(word, "0123456789") == ""
}

// messageActions are those that say what becomes of a message.
var messageActions = []string{"HOLD", "DISCARD", "FILTER", "REDIRECT", "BCC", "PREPEND"}

// onMessage notes what is to be done with the message. Where there is none yet, a
// warning says why nothing happens.
func (a *access) onMessage(r *restriction, of subject, action, text string) result {
	t := a.s.txn
	if t == nil {
		a.s.log.Warnf("access table %s: action %s needs a message: smtpd_delay_reject = yes, or another list of restrictions", r.arg, action)
		return result{}
	}
	if action != "PREPEND" && a.s.proxies() {
		a.s.log.Warnf("access table %s: with smtpd_proxy_filter specified, action %s is unavailable", r.arg, action)
		return result{}
	}
	if slices.Contains([]string{"FILTER", "REDIRECT", "BCC", "PREPEND"}, action) && text == "" {
		a.s.log.Warnf("access table %s: action %s needs a value", r.arg, action)
		return configError()
	}
	if action == "FILTER" && !strings.Contains(text, ":") {
		a.s.log.Warnf("access table %s: action FILTER %s needs transport:destination", r.arg, text)
		return configError()
	}
	known := false
	switch action {
	case "HOLD":
		known = t.actions.flags&mailproto.CleanupHold != 0
		t.actions.flags |= mailproto.CleanupHold
	case "DISCARD":
		known = t.actions.flags&mailproto.CleanupDiscard != 0
		t.actions.flags |= mailproto.CleanupDiscard
	case "FILTER":
		known, t.actions.filter = t.actions.filter == text, text
	case "REDIRECT":
		known, t.actions.redirect = t.actions.redirect == text, text
	case "BCC":
		t.actions.bcc, known = addOnce(t.actions.bcc, text)
	case "PREPEND":
		t.actions.prepend, known = addOnce(t.actions.prepend, text)
	}
	if !known { // the same lists are evaluated for each recipient
		what := "triggers " + action + " action"
		switch {
		case action == "FILTER", action == "REDIRECT", action == "BCC", action == "PREPEND":
			what = "triggers " + action + " " + text
		case text != "":
			what += ": " + text
		}
		a.logAccess(strings.ToLower(action), of, what)
	}
	if action == "DISCARD" {
		return result{decision: permit}
	}
	return result{}
}

func addOnce(list []string, text string) ([]string, bool) {
	if slices.Contains(list, text) {
		return list, true
	}
	return append(list, text), false
}

func (a *access) logAccess(action string, of subject, text string) {
	var rcpt *string
	if a.rcpt != "" {
		rcpt = &a.rcpt
	}
	a.s.logAction(action, strings.TrimSpace("<"+of.what+">: "+classNames[of.class]+" "+text), rcpt)
}

// sendActions sends what the envelope has at its end.
func (t *transaction) sendActions() {
	q := t.queue
	if t.actions.filter != "" {
		q.RecordString(record.Filter, t.actions.filter)
	}
	if t.actions.redirect != "" {
		q.RecordString(record.Redirect, t.actions.redirect)
	}
	for _, addr := range t.actions.bcc {
		q.RecordString(record.Rcpt, addr)
		q.Attr("notify_flags", itoa(int64(dsn.NotifyNever)))
	}
	if t.actions.flags != 0 {
		q.RecordString(record.Flags, itoa(int64(t.actions.flags)))
	}
}

// clientSubject is the client: its name with the domains above it, its address
// with the networks above it.
func clientSubject(a *access) subject {
	c := &a.s.client
	of := subject{class: classClient, what: c.text}
	if name := c.matchName(); name != "" {
		of.keys = table.DomainKeys(name, a.s.p.accessParents)
	}
	of.keys = append(of.keys, table.HostKeys(c.addr)...)
	return of
}

func reverseSubject(a *access) subject {
	c := &a.s.client
	of := subject{class: classClient, what: c.text}
	if c.reverseStatus == nameOK {
		of.keys = table.DomainKeys(c.reverse, a.s.p.accessParents)
	}
	return of
}

func heloSubject(a *access) subject {
	of := subject{class: classHelo, what: a.s.heloName}
	if of.what != "" {
		of.keys = table.DomainKeys(of.what, a.s.p.accessParents)
	}
	return of
}

func senderSubject(a *access) subject {
	if a.s.txn == nil {
		return subject{}
	}
	return a.addressSubject(classSender, a.s.txn.sender)
}

func rcptSubject(a *access) subject {
	if a.rcpt == "" {
		return subject{}
	}
	return a.addressSubject(classRcpt, a.rcpt)
}

func etrnSubject(a *access) subject {
	of := subject{class: classEtrn, what: a.site}
	if a.site != "" {
		of.keys = table.DomainKeys(a.site, a.s.p.accessParents)
	}
	return of
}

// certSubject is the client's certificate: its fingerprint, then that of its
// public key. Whether it leads to a CA does not matter.
func certSubject(a *access) subject {
	of := subject{class: classCert, what: a.s.client.text}
	if c := a.s.secured; c != nil && c.Facts.Leaf() != nil {
		whole, key := tlsconn.Fingerprints(c.Facts.Leaf(), a.s.p.starttls.Digest)
		of.keys = []table.Key{{Text: whole}, {Text: key}}
	}
	return of
}

// addressSubject is a mail address; the null sender has a key of its own.
func (a *access) addressSubject(c class, addr string) subject {
	of := subject{class: c, what: addr}
	if addr == "" {
		of.keys = []table.Key{{Text: a.s.p.NullKey}}
		return of
	}
	of.keys = table.AccessKeys(addr, a.s.p.recipientSet.Delimiters, a.s.p.accessParents)
	return of
}
