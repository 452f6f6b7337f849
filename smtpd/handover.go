package main

import (
	"context"
	"strconv"

	"sealpost/lib/header"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

// open starts the message with cleanup and sends the envelope's first part, in
// the order of protocols.md §2.3.
func (s *session) open(ctx context.Context) error {
	t := s.txn
	q, err := s.srv.openQueue(ctx, s.cleanupFlags())
	if err != nil {
		return err
	}
	t.queue = q
	if q.QueueID() != "" { // the submit service does not tell it
		s.logClient(q.QueueID())
	}
	if s.standAlone {
		q.Attr("rewrite_context", "local")
		s.sendSender()
		return nil
	}
	q.RecordString(record.Time, itoa(t.arrival.Unix())+" "+itoa(int64(t.arrival.Nanosecond()/1000)))
	if s.p.ContentFilter != "" {
		q.RecordString(record.Filter, s.p.ContentFilter)
	}
	from, text := s.origin(ctx)
	if from.Ident == "" {
		from.Ident = q.QueueID()
	}
	q.Attr("log_ident", from.Ident)
	q.Attr("rewrite_context", rewriteContext(from.Local))
	if s.login.user != "" {
		q.Attr("sasl_method", s.login.method)
		q.Attr("sasl_username", s.login.user)
	}
	if t.authSender != "" {
		q.Attr("sasl_sender", t.authSender)
	}
	s.sendSender()
	q.Attr("log_client_name", from.Name)
	q.Attr("log_client_address", from.Addr)
	q.Attr("log_client_port", from.Port)
	q.Attr("log_message_origin", text)
	if from.Helo != "" {
		q.Attr("log_helo_name", from.Helo)
	}
	q.Attr("log_protocol_name", from.Proto)
	c := &s.client
	q.Attr("client_name", c.name)
	q.Attr("reverse_client_name", c.reverse)
	q.Attr("client_address", c.addr)
	q.Attr("client_port", c.port)
	q.Attr("server_address", c.serverAddr)
	q.Attr("server_port", c.serverPort)
	if s.heloName != "" {
		q.Attr("helo_name", s.heloName)
	}
	q.Attr("protocol_name", s.protocol)
	q.Attr("client_address_type", strconv.Itoa(c.family))
	return nil
}

// logClient logs which client the message is from.
func (s *session) logClient(id string) {
	ev := &maillog.QueueClient{QueueID: id, Client: s.client.text, RequireTLS: s.txn.requireTLS,
		SASLMethod: s.login.method, SASLUsername: s.login.user, SASLSender: s.txn.authSender,
		OrigQueueID: s.forward.values.Ident}
	if s.forward.hasClient() {
		ev.OrigClient = s.forward.client()
	}
	s.log.Log(maillog.Info, ev)
}

// sendSender sends what MAIL FROM said.
func (s *session) sendSender() {
	t := s.txn
	q := t.queue
	if t.envID != "" {
		q.Attr("envelope_id", t.envID)
	}
	if t.ret != 0 {
		q.Attr("ret_flags", itoa(int64(t.ret)))
	}
	q.RecordString(record.From, t.sender)
	if t.body != "" {
		q.Attr("encoding", t.body)
	}
}

// cleanupFlags are the flags of this message (§2.3). smtpd has no milters, and
// those of cleanup are not for mail from the network (§0.1 M4).
func (s *session) cleanupFlags() mailproto.CleanupFlags {
	flags := s.p.overrides.Apply(mailproto.CleanupFilter | mailproto.CleanupBCC | mailproto.CleanupMap | mailproto.CleanupSMTPReply)
	if s.txn.utf8 {
		flags |= mailproto.CleanupSMTPUTF8
	}
	if s.txn.requireTLS {
		flags |= mailproto.CleanupReqTLS
	}
	if s.p.autoUTF8 {
		flags |= mailproto.CleanupAutoUTF8
	}
	return flags
}

// addRecipient sends one recipient's records.
func (s *session) addRecipient(to path, p rcptParams) {
	t := s.txn
	if p.notify != 0 {
		t.queue.Attr("notify_flags", itoa(int64(p.notify)))
	}
	orcpt := p.orcpt
	if orcpt == "" {
		kind := "rfc822;"
		if !isASCII(to.typed) {
			kind = "utf-8;"
		}
		orcpt = kind + to.typed
	}
	t.queue.Attr("dsn_orig_rcpt", orcpt)
	t.queue.RecordString(record.Rcpt, to.internal)
	t.countRecipient(to)
}

// beginContent sends the start of the content with our Received: header.
func (s *session) beginContent() {
	t := s.txn
	if t.proxy != nil {
		t.content = t.proxy
	} else {
		t.content = t.queue
		if t.actions.flags != 0 {
			t.queue.RecordString(record.Flags, itoa(int64(t.actions.flags)))
		}
		t.queue.RecordString(record.Message, "")
	}
	for _, line := range t.actions.prepend {
		t.content.RecordString(record.Norm, line)
	}
	if t.proxy != nil && s.forward.known != 0 {
		return // the one before us is passed on, and wrote a header
	}
	s.writeReceived()
}

// writeReceived writes our Received: header.
func (s *session) writeReceived() {
	t := s.txn
	line := make([]byte, 0, 256)
	if !s.p.HideSession {
		line = append(line, "Received: from "...)
		if s.heloName != "" {
			line = append(line, s.heloName...)
		} else {
			line = append(line, s.client.name...)
		}
		line = append(line, " ("...)
		line = append(line, s.client.name...)
		line = append(line, " ["...)
		line = append(line, s.client.rfcAddr...)
		line = append(line, "])"...)
		t.content.Record(record.Norm, line)
		for _, l := range s.tlsReceived() {
			t.content.RecordString(record.Norm, l)
		}
		if s.p.sasl.Header && s.login.user != "" {
			t.content.RecordString(record.Norm, "\t(Authenticated sender: "+commentText(s.login.user)+")")
		}
	}
	line = s.appendBy(line[:0])
	if t.rcpts == 1 {
		t.content.Record(record.Norm, line)
		line = append(line[:0], "\tfor <"...)
		line = append(line, quoteForLog(t.firstRcpt)...)
		line = append(line, ">; "...)
	} else {
		line = append(line, ';')
		t.content.Record(record.Norm, line)
		line = append(line[:0], '\t')
	}
	line = append(line, header.Date(t.arrival)...)
	t.content.Record(record.Norm, line)
}

// appendBy appends the part of the Received: header that names this host.
func (s *session) appendBy(b []byte) []byte {
	if s.p.HideSession {
		b = append(b, "Received: by "...)
	} else {
		b = append(b, "\tby "...)
	}
	b = append(b, s.p.MyHostname...)
	b = append(b, " ("...)
	b = append(b, s.p.MailName...)
	b = append(b, ')')
	if !s.p.HideSession {
		b = append(b, " with "...)
		b = s.appendProtocol(b)
	}
	if id := s.txn.queueID(); id != "" {
		b = append(b, " id "...)
		b = append(b, id...)
	}
	return b
}
