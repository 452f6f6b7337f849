package main

import (
	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
)

// extractedRecord handles what follows the content. The first recipient's
// record, or the end, is where cleanup writes its own attributes.
func (m *message) extractedRecord(t record.Type, payload []byte) {
	name, value, group := "", "", t
	if t == record.Attr {
		var ok bool
		name, value, ok = record.SplitAttr(string(payload))
		if !ok || value == "" {
			m.log.Warnf("%s: attribute without name or value: %.100q", m.id, payload)
			return
		}
		if pseudo := record.AttrType(name); pseudo != 0 {
			group = pseudo
		}
	}
	isGroup := isExtractedGroup(group)
	if isGroup {
		m.ownAttributes()
	} else if t != record.Flags && (m.extractedStarted || m.count > 0) {
		m.mixed = true
	}
	switch t {
	case record.End:
		m.endExtracted()
	case record.OrigRcpt, record.Rcpt, record.Done, record.CancelRcpt:
		m.recipientRecord(t, string(payload))
	case record.Flags:
		m.flagsRecord(payload)
	case record.DSNOrigRcpt, record.DSNNotify:
		m.attribute(t, pseudoName(t), string(payload), payload)
	case record.Attr:
		m.attribute(group, name, value, payload)
	case record.ReturnRcpt, record.ErrorsTo, record.Priority, record.FullName,
		record.Inspector, record.Filter, record.Redirect, record.Killed:
		m.out(t, payload)
	default:
		m.bad("message rejected: unexpected record type %d in extracted envelope", t)
	}
}

func isExtractedGroup(t record.Type) bool {
	switch t {
	case record.End, record.Done, record.Rcpt, record.OrigRcpt, record.CancelRcpt,
		record.Killed, record.DSNOrigRcpt, record.DSNNotify:
		return true
	}
	return false
}

// ownAttributes are what cleanup found out about the content.
func (m *message) ownAttributes() {
	if m.extractedStarted {
		return
	}
	m.extractedStarted = true
	if m.messageID != "" {
		m.outAttr("message_id", m.messageID)
	}
	if m.encoding != "" {
		m.outAttr("encoding", m.encoding)
	}
	if m.filter != "" {
		m.outString(record.Filter, m.filter)
	}
	if m.redirect != "" {
		m.outString(record.Redirect, m.redirect)
	}
}

// endExtracted adds automatic recipients and ends the file.
func (m *message) endExtracted() {
	if m.flags&mailproto.CleanupBCC != 0 {
		m.senderBCC(m.sender)
		if m.w.set.AlwaysBCC != "" {
			m.bcc = append(m.bcc, m.w.set.AlwaysBCC)
		}
	}
	if list := m.bcc; len(list) > 0 {
		m.bcc = nil // their own recipient_bcc_maps results are not added
		flags := m.flags
		m.flags &^= mailproto.CleanupBCC
		for _, value := range list {
			for _, addr := range address.ParseList(value) {
				m.addRecipient(recipient{mailproto.Recipient{Addr: address.Unquote(addr), Notify: dsn.NotifyNever}, true})
			}
		}
		m.flags = flags
	}
	m.pending = mailproto.Recipient{}
	if m.count == 0 && m.status == 0 {
		m.status |= mailproto.CleanupNoRcpt
	}
	m.out(record.End, nil)
	m.ended = true
}

// finish decides what becomes of the message and sets the status of the reply.
func (m *message) finish() {
	if !m.ended && m.status == 0 {
		m.bad("message rejected: unexpected end of the message")
	}
	switch {
	case m.file == nil:
		m.status |= mailproto.CleanupWrite
	case m.status != 0:
		m.refuse()
	case m.flags&mailproto.CleanupDiscard != 0:
		m.remove(maillog.RemovedDiscarded)
	default:
		m.commit()
	}
}

// commit makes the message durable and wakes up qmgr.
func (m *message) commit() {
	m.writeSizes()
	hold := m.flags&mailproto.CleanupHold != 0
	if hold && m.status == 0 {
		if err := m.file.MoveTo(queue.Hold); err != nil {
			m.writeError("move", err)
		}
	}
	if m.status == 0 {
		if err := m.file.Commit(m.ctx); err != nil {
			m.writeError("finish", err)
		}
	}
	if m.status != 0 {
		return // abandon removes it
	}
	m.file = nil
	if hold {
		m.returnToken()
		return
	}
	m.w.trigger()
}

// writeSizes fills in the record at the start of the file (protocols.md §4.5).
func (m *message) writeSizes() {
	if m.status&mailproto.CleanupWrite != 0 {
		return
	}
	flags := int(m.notify) << 1
	if m.mixed {
		flags |= 1
	}
	m.scratch = queue.AppendSize(m.scratch[:0], queue.SizeRecord{
		ContentSize: m.contentSize, DataOffset: m.dataOffset, Rcpts: m.count,
		QmgrFlags: flags, ContentLen: m.contentSize, SendOpts: int(m.options),
	})
	if _, err := m.file.WriteAt(m.scratch, 0); err != nil {
		m.writeError("write", err)
	}
}

// refuse ends a message that is not accepted: the client gets the status, or,
// where it asked for that, the sender gets the message back.
func (m *message) refuse() {
	if m.flags&mailproto.CleanupBounce == 0 || m.status&mailproto.CleanupCantBounce != 0 || len(m.written) == 0 {
		return
	}
	detail := m.status.Detail()
	code, reason := dsn.SplitCode(detail.DSN, m.reason)
	if reason == "" {
		reason = detail.Text
	}
	m.writeSizes()
	if err := m.file.Flush(); err != nil { // bounce reads the file
		m.writeError("write", err)
		return
	}
	if err := m.returnToSender(code, reason); err != nil {
		m.log.Warnf("%s: return the message to its sender: %v", m.id, err)
		m.status |= mailproto.CleanupWrite
		return
	}
	m.status = 0 // the reason stays, as in Postfix
	m.remove(maillog.RemovedDiscarded)
}

// returnToSender reports every recipient as failed and asks for the notification.
func (m *message) returnToSender(code, reason string) error {
	path := "private/" + m.w.set.BounceService
	for _, r := range m.written {
		status := dsn.Status{Code: code, Action: dsn.ActionFailed, Reason: reason}
		req := &mailproto.BounceRequest{
			Command: mailproto.BounceAppend, Flags: mailproto.BounceClean,
			QueueID: m.id, Recipient: r, DSN: status,
		}
		if err := m.w.bounce(m.ctx, path, req); err != nil {
			return err
		}
		m.log.Log(maillog.Info, &maillog.Delivery{
			QueueID: m.id, To: address.Quote(r.Addr), OrigTo: address.Quote(r.OrigAddr), Relay: "none",
			Stats: mailproto.MsgStats{IncomingArrival: m.arrival(), ActiveArrival: m.w.now()},
			DSN:   code, Status: maillog.StatusBounced, Reason: reason, Now: m.w.now(),
		})
	}
	ret := m.ret
	if m.status&(mailproto.CleanupCont|mailproto.CleanupSize) != 0 {
		ret = dsn.RetHdrs
	}
	return m.w.bounce(m.ctx, path, &mailproto.BounceRequest{
		Command: mailproto.BounceFlush, Flags: mailproto.BounceClean,
		QueueName: queue.Incoming, QueueID: m.id, Encoding: m.encoding, SendOpts: m.options,
		Sender: m.sender, EnvelopeID: m.envelopeID, Ret: ret,
	})
}
