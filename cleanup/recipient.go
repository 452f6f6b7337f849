package main

import (
	"errors"
	"strconv"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/rewrite"
)

// recipients is what is known about recipients while they come in.
type recipients struct {
	pending mailproto.Recipient // DSN attributes and O record for the next R
	count   int                 // recipients written
	notify  dsn.Notify          // all NOTIFY masks together, for f4
	first   string              // duplicate key of the first recipient
	dups    map[string]struct{} // of all, from the second on
	bcc     []string            // sender_bcc_maps and recipient_bcc_maps results
	written []mailproto.Recipient
}

// recipientRecord handles O, R, and what is done already.
func (m *message) recipientRecord(t record.Type, addr string) {
	switch t {
	case record.OrigRcpt:
		m.pending.OrigAddr = addr
	case record.Rcpt:
		if m.firstRcpt == "" {
			m.firstRcpt = addr
		}
		r := m.pending
		r.Addr = addr
		m.pending = mailproto.Recipient{}
		m.addRecipient(recipient{Recipient: r})
	default: // D and /: postsuper -r sends the message again to the others only
		m.pending = mailproto.Recipient{}
	}
}

// recipient is a recipient of the message, or of an automatic copy of it.
type recipient struct {
	mailproto.Recipient
	bcc bool
}

// addRecipient completes, maps and expands one recipient and writes the result.
func (m *message) addRecipient(r recipient) {
	if r.Addr == "" {
		r.Addr = m.w.set.EmptyRecipient
	}
	if r.OrigAddr == "" && !r.bcc {
		r.OrigAddr = r.Addr
	}
	r.Addr = m.w.rewrite.RewriteInternal(rewrite.LocalContext, r.Addr)
	if r.OrigAddr == "" {
		r.OrigAddr = r.Addr
	}
	utf8 := !isASCII(r.Addr)
	if utf8 {
		m.foundUTF8(0)
	}
	if r.OrigRcpt == "" && !r.bcc {
		kind := "rfc822;"
		if utf8 {
			kind = "utf-8;"
		}
		r.OrigRcpt = kind + address.Quote(r.Addr)
	}
	if m.flags&mailproto.CleanupMap != 0 {
		r.Addr = m.mapAddress(r.Addr, classEnvelopeRecipient)
	}
	m.recipientBCC(r.Addr)
	if m.flags&mailproto.CleanupMap == 0 || m.w.virtualAlias.Empty() {
		m.outRecipient(r)
		return
	}
	addrs, err := m.expand(r.Addr)
	if err != nil {
		m.log.Warnf("%s: %v -- message not accepted, try again later", m.id, err)
		m.status |= mailproto.CleanupDefer
		m.reason = "4.6.0 Alias expansion error"
		return
	}
	if r.Notify&dsn.NotifySuccess != 0 && (len(addrs) > 1 || addrs[0] != r.Addr) {
		r.Notify = m.reportExpansion(r.Recipient)
	}
	for _, addr := range addrs {
		r.Addr = addr
		m.outRecipient(r)
	}
}

// reportExpansion tells the sender that an alias was expanded (RFC 3461
// §5.2.7.3) and takes the wish for a success report away from its members.
func (m *message) reportExpansion(r mailproto.Recipient) dsn.Notify {
	r.Offset = m.offset()
	req := &mailproto.BounceRequest{
		Command: mailproto.BounceAppend, QueueID: m.id, Recipient: r,
		DSN: dsn.Status{Code: dsn.Code200, Action: dsn.ActionExpanded, Reason: "alias expanded"},
	}
	if err := m.w.bounce(m.ctx, "private/"+m.w.set.TraceService, req); err != nil {
		m.log.Warnf("%s: report the expansion of an alias: %v", m.id, err)
		m.status |= mailproto.CleanupDefer
	}
	if r.Notify == dsn.NotifySuccess {
		return dsn.NotifyNever
	}
	return r.Notify &^ dsn.NotifySuccess
}

// outRecipient writes a recipient unless it was written before.
func (m *message) outRecipient(r recipient) {
	if m.isDuplicate(r.Recipient) {
		m.log.Verbosef("%s: duplicate recipient %s left out", m.id, r.Addr)
		return
	}
	if r.Notify != 0 {
		m.outAttr("notify_flags", strconv.Itoa(int(r.Notify)))
		if !r.bcc {
			m.notify |= r.Notify
		}
	}
	if r.OrigRcpt != "" {
		m.outAttr("dsn_orig_rcpt", r.OrigRcpt)
	}
	m.outString(record.OrigRcpt, r.OrigAddr)
	r.Offset = m.offset()
	m.outString(record.Rcpt, r.Addr)
	m.count++
	if m.flags&mailproto.CleanupBounce != 0 {
		m.written = append(m.written, r.Recipient)
	}
}

// isDuplicate remembers up to duplicate_filter_limit recipients; 0 is no limit.
func (m *message) isDuplicate(r mailproto.Recipient) bool {
	if m.count == 0 {
		m.first = dupKey(r)
		return false
	}
	key := dupKey(r)
	if m.dups == nil {
		m.dups = map[string]struct{}{m.first: {}}
	}
	if _, found := m.dups[key]; found {
		return true
	}
	if limit := m.w.set.DuplicateLimit; limit <= 0 || len(m.dups) < limit {
		m.dups[key] = struct{}{}
	}
	return false
}

// dupKey is Postfix's: what makes two recipients one (protocols.md §4.6).
func dupKey(r mailproto.Recipient) string {
	return strings.ToLower(r.OrigRcpt + "\n" + strconv.Itoa(int(r.Notify)) + "\n" + r.OrigAddr + "\n" + r.Addr)
}

// errExpansion is the class of expansions that have no end.
var errExpansion = errors.New("unreasonable virtual_alias_maps map")
