// Package mailproto has one type per request and reply of the protocols that
// the daemons speak with each other, with its marshalling beside it (spec:
// protocols.md §2). Both ends use the same type. Sockets, timeouts and retries
// are the business of packages mailclient and service.
package mailproto

import (
	"sealpost/lib/attr"
	"sealpost/lib/dsn"
)

// Names that a server announces in its greeting (§1.6).
const (
	ProtoAnvil    = "anvil_protocol"
	ProtoBounce   = "delivery_status_protocol"
	ProtoCleanup  = "cleanup_protocol"
	ProtoDelivery = "delivery_request_protocol"
	ProtoFlush    = "queue_flush_protocol"
	ProtoPostdrop = "postdrop_protocol"
	ProtoShowq    = "mail_queue_list_protocol"
	// ProtoUserShowq is what showq speaks at user/showq: entries of ProtoShowq
	// with one more attribute (decision 9).
	ProtoUserShowq = "user_queue_list_protocol"
	ProtoRewrite   = "trivial_rewrite_protocol"
	ProtoProxymap  = "proxymap_protocol"
	// ProtoVerify is misspelt in Postfix, and so on the wire.
	ProtoVerify = "address_verification_prrotocol"
)

// Socket paths relative to the queue directory (§2.1).
const (
	PathCleanup = "public/cleanup"
	PathQmgr    = "public/qmgr"
	PathPickup  = "public/pickup"
	PathFlush   = "public/flush"
	PathShowq   = "public/showq"
	PathPostlog = "public/postlog"
	// PathSubmit and PathUserShowq are open to every local user (DESIGN §3).
	PathSubmit    = "user/submit"
	PathUserShowq = "user/showq"
)

// Trigger request codes (§2.2).
const (
	TriggerWakeup       = 'W'
	TriggerScanDeferred = 'D'
	TriggerScanIncoming = 'I'
	TriggerFlushDead    = 'F' // forget dead transports and sites
	TriggerIgnoreTime   = 'A' // ignore the time stamps in this scan
)

// Greeting is the list that every attribute service sends first (§1.6).
// QueueID is sent by cleanup and postdrop only.
type Greeting struct {
	Protocol string
	QueueID  string
}

// Append encodes the greeting.
func (g Greeting) Append(e *attr.Encoder) {
	e.Str("protocol", g.Protocol)
	if g.Protocol == ProtoCleanup || g.Protocol == ProtoPostdrop {
		e.Str("queue_id", g.QueueID)
	}
	e.End()
}

// ReadGreeting reads the greeting of a server that must speak protocol.
func ReadGreeting(d *attr.Decoder, protocol string) (Greeting, error) {
	d.Const("protocol", protocol)
	g := Greeting{Protocol: protocol}
	if protocol == ProtoCleanup || protocol == ProtoPostdrop {
		g.QueueID = d.Str("queue_id")
	}
	return g, d.End()
}

// Recipient is one recipient in a delivery request or a bounce request.
type Recipient struct {
	OrigAddr string // before aliasing; empty if not known
	Addr     string // internal form
	Offset   int64  // of the R record's type byte in the queue file; -1: none
	OrigRcpt string // DSN ORCPT "type;address"
	Notify   dsn.Notify
}

func (r Recipient) append(e *attr.Encoder) {
	e.Str("original_recipient", r.OrigAddr)
	e.Str("recipient", r.Addr)
	e.Long("offset", r.Offset)
	e.Str("dsn_orig_rcpt", r.OrigRcpt)
	e.Int("notify_flags", int(r.Notify))
}

func readRecipient(d *attr.Decoder) Recipient {
	return Recipient{
		OrigAddr: d.Str("original_recipient"),
		Addr:     d.Str("recipient"),
		Offset:   d.Long("offset"),
		OrigRcpt: d.Str("dsn_orig_rcpt"),
		Notify:   dsn.Notify(d.Int("notify_flags")),
	}
}

func appendDSN(e *attr.Encoder, s dsn.Status) {
	e.Str("status", s.Code)
	e.Str("diag_type", s.DiagType)
	e.Str("diag_text", s.DiagText)
	e.Str("mta_type", s.MTAType)
	e.Str("mta_mname", s.MTAName)
	e.Str("action", s.Action)
	e.Str("reason", s.Reason)
}

func readDSN(d *attr.Decoder) dsn.Status {
	return dsn.Status{
		Code:     d.Str("status"),
		DiagType: d.Str("diag_type"),
		DiagText: d.Str("diag_text"),
		MTAType:  d.Str("mta_type"),
		MTAName:  d.Str("mta_mname"),
		Action:   d.Str("action"),
		Reason:   d.Str("reason"),
	}
}

// StatusReply is the one-number reply of bounce, flush and others: 0 is success.
type StatusReply struct{ Status int }

// Append encodes the reply.
func (s StatusReply) Append(e *attr.Encoder) {
	e.Int("status", s.Status)
	e.End()
}

// ReadStatusReply reads the reply.
func ReadStatusReply(d *attr.Decoder) (StatusReply, error) {
	s := StatusReply{Status: d.Int("status")}
	return s, d.End()
}
