package main

import (
	"strconv"
	"strings"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/rewrite"
	"sealpost/lib/sendopts"
)

// recipientGroup are the records that belong to recipients; M ends them.
const recipientGroup = "MDRO/Kon"

// envelopeRecord applies the rules of protocols.md §4.6 to one record.
func (m *message) envelopeRecord(t record.Type, payload []byte) {
	name, value := "", ""
	group := t
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
	if strings.IndexByte(recipientGroup, byte(group)) >= 0 {
		if !m.beforeRecipient() {
			return
		}
	} else if m.count > 0 && t != record.Flags { // flags are not in the file
		m.mixed = true
	}
	switch t {
	case record.Size:
		m.sizeRecord(string(payload))
	case record.Time:
		m.timeRecord(payload)
	case record.FullName:
		if m.fullName == "" {
			m.fullName = string(payload)
			m.out(t, payload)
		}
	case record.From:
		m.senderRecord(string(payload))
	case record.WarnTime:
		if !m.haveWarn {
			m.haveWarn = true
			m.out(t, payload)
		}
	case record.VERP:
		if !m.haveVERP {
			m.haveVERP = true
			m.out(t, payload)
		}
	case record.Flags:
		m.flagsRecord(payload)
	case record.Attr:
		m.attribute(group, name, value, payload)
	case record.DSNRet, record.DSNEnvID, record.DSNOrigRcpt, record.DSNNotify:
		name = pseudoName(t)
		m.attribute(t, name, string(payload), []byte(name+"="+string(payload)))
	case record.CreateTime, record.Milters:
		// cleanup writes its own; no milters come with the message.
	case record.Message:
		m.out(t, nil)
		m.dataOffset = m.offset()
		m.stage = stageHeader
	case record.OrigRcpt, record.Rcpt, record.Done, record.CancelRcpt:
		m.recipientRecord(t, string(payload))
	case record.Filter, record.Redirect, record.Inspector, record.Killed:
		m.out(t, payload)
	default:
		m.bad("message rejected: unexpected record type %d in envelope", t)
	}
}

// pseudoName is the attribute that a pseudo record stands for.
func pseudoName(t record.Type) string {
	switch t {
	case record.DSNRet:
		return "ret_flags"
	case record.DSNEnvID:
		return "envelope_id"
	case record.DSNOrigRcpt:
		return "dsn_orig_rcpt"
	}
	return "notify_flags"
}

// beforeRecipient: sender and time must be known, and the time of the delay
// notice goes in front of the first recipient.
func (m *message) beforeRecipient() bool {
	switch {
	case !m.haveSender:
		m.bad("message rejected: missing sender envelope record")
		return false
	case !m.haveTime:
		m.bad("message rejected: missing time envelope record")
		return false
	}
	if !m.haveWarn {
		m.haveWarn = true
		if delay := m.w.set.DelayWarning; delay > 0 && m.sender != "" {
			m.outString(record.WarnTime, pad15(m.arrival().Add(delay).Unix()))
		}
	}
	return true
}

// pad15 is a number in a field of 15 characters.
func pad15(n int64) string {
	s := strconv.FormatInt(n, 10)
	if len(s) < 15 {
		s = strings.Repeat(" ", 15-len(s)) + s
	}
	return s
}

// sizeRecord takes the delivery options of a submitted or requeued message; the
// sizes in it are not ours.
func (m *message) sizeRecord(payload string) {
	f := strings.Fields(payload)
	if len(f) < 6 {
		return
	}
	n, err := strconv.ParseInt(f[5], 10, 32) // as the field is read again
	if err != nil || n < 0 {
		m.bad("message rejected: malformed size record")
		return
	}
	m.options = sendopts.Options(n) &^ sendopts.Derived
}

func (m *message) timeRecord(payload []byte) {
	if m.haveTime {
		return
	}
	sec, _, _ := strings.Cut(string(payload), " ")
	if n, err := strconv.ParseInt(sec, 10, 64); err != nil || n <= 0 {
		m.bad("message rejected: malformed time envelope record")
		return
	}
	m.haveTime = true
	m.out(record.Time, payload)
	m.outAttr("create_time", strconv.FormatInt(m.arrival().Unix(), 10))
}

func (m *message) senderRecord(sender string) {
	if m.haveSender {
		m.bad("message rejected: multiple envelope sender records")
		return
	}
	m.haveSender = true
	if sender != "" {
		sender = m.w.rewrite.RewriteInternal(rewrite.LocalContext, sender)
		if m.flags&mailproto.CleanupMap != 0 {
			sender = m.mapAddress(sender, classEnvelopeSender)
		}
		if !isASCII(sender) {
			m.foundUTF8(sendopts.SMTPUTF8Sender)
		}
	}
	m.sender = sender
	m.outString(record.From, sender)
}

func (m *message) flagsRecord(payload []byte) {
	n, err := strconv.Atoi(string(payload))
	if err != nil || n < 0 {
		m.bad("message rejected: malformed flags record")
		return
	}
	m.flags |= mailproto.CleanupFlags(n) & mailproto.CleanupExtra
}

// attribute handles a named attribute, t being its pseudo record type or Attr.
func (m *message) attribute(t record.Type, name, value string, payload []byte) {
	if t != record.DSNOrigRcpt && t != record.DSNNotify {
		if m.attrs++; m.attrs > m.w.set.AttrLimit {
			m.bad("message rejected: attribute count exceeds limit %d", m.w.set.AttrLimit)
			return
		}
	}
	switch name {
	case "create_time":
		return
	case "dsn_orig_rcpt":
		m.pending.OrigRcpt = value
		return
	case "notify_flags":
		if n, err := strconv.Atoi(value); err == nil && dsn.Notify(n).Valid() {
			m.pending.Notify = dsn.Notify(n)
		} else {
			m.log.Warnf("%s: ignoring malformed notify_flags: %.100q", m.id, value)
		}
		return
	case "ret_flags":
		n, err := strconv.Atoi(value)
		if err != nil || !dsn.Ret(n).Valid() {
			m.bad("message rejected: malformed ret_flags: %.100q", value)
			return
		}
		m.ret = dsn.Ret(n)
	case "envelope_id":
		if !isEnvelopeID(value) {
			m.bad("message rejected: malformed envelope_id: %.100q", value)
			return
		}
		m.envelopeID = value
	case "rewrite_context":
		if value != string(rewrite.LocalContext) && value != string(rewrite.RemoteContext) {
			m.bad("message rejected: unknown rewrite_context: %.100q", value)
			return
		}
		m.context = rewrite.Context(value)
	case "encoding":
		m.encoding = value
	case "log_message_origin":
		m.origin = value
	case "log_protocol_name":
		m.protocol = value
	case "log_helo_name":
		m.helo = value
	}
	m.out(record.Attr, payload)
}

// isEnvelopeID: printable ASCII and blanks, as it is before encoding (RFC 3461 §4.4).
func isEnvelopeID(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// foundUTF8 notes where UTF-8 was found, when the client asked for SMTPUTF8 or
// asked to find out; in the latter case the message needs it now.
func (m *message) foundUTF8(where sendopts.Options) {
	const asked = mailproto.CleanupSMTPUTF8 | mailproto.CleanupAutoUTF8
	if !m.w.set.SMTPUTF8 || m.flags&asked == 0 {
		return
	}
	m.options |= where
	if m.flags&mailproto.CleanupAutoUTF8 != 0 {
		m.options |= sendopts.SMTPUTF8Requested
	}
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
