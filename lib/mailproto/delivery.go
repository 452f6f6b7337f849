package mailproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/sendopts"
)

// DeliveryFlags is the flags attribute of a delivery request (§1.8).
type DeliveryFlags int

const (
	DeliverSuccess    DeliveryFlags = 1 << 0  // mark delivered recipients in the queue file
	DeliverBounce     DeliveryFlags = 1 << 1  // set by qmgr, not used by agents
	DeliverMTAVerify  DeliveryFlags = 1 << 8  // address probe by an MTA
	DeliverUserVerify DeliveryFlags = 1 << 9  // sendmail -bv
	DeliverRecord     DeliveryFlags = 1 << 10 // sendmail -v
	DeliverConnLoad   DeliveryFlags = 1 << 11 // may use a cached connection
	DeliverConnStore  DeliveryFlags = 1 << 12 // may cache the connection
	DeliverDelaySent  DeliveryFlags = 1 << 13 // a delay notice was sent

	DeliverTraceMask = DeliverMTAVerify | DeliverUserVerify | DeliverRecord | DeliverDelaySent
)

// MaxRecipients bounds what a delivery request can announce.
const MaxRecipients = 1 << 20

// ErrStats: a MSG_STATS blob of another size than ours.
var ErrStats = errors.New("message statistics size mismatch")

// MsgStats are the times of a message's way; a zero time is not set.
type MsgStats struct {
	IncomingArrival time.Time // first byte arrived
	ActiveArrival   time.Time // entered the active queue
	AgentHandoff    time.Time // delivery request received
	ConnSetupDone   time.Time // connection, TLS and EHLO done
	DeliverDone     time.Time // last reply
	ReuseCount      int       // times the connection was used before
}

// msgStatsSize is sizeof(MSG_STATS) on LP64: five {i64,i64}, i32, padding (§2.6).
const msgStatsSize = 88

// Bytes is the native-order struct that travels as base64.
func (m MsgStats) Bytes() []byte {
	b := make([]byte, 0, msgStatsSize)
	for _, t := range [...]time.Time{m.IncomingArrival, m.ActiveArrival, m.AgentHandoff, m.ConnSetupDone, m.DeliverDone} {
		var sec, usec int64
		if !t.IsZero() {
			sec, usec = t.Unix(), int64(t.Nanosecond()/1000)
		}
		b = binary.NativeEndian.AppendUint64(b, uint64(sec))
		b = binary.NativeEndian.AppendUint64(b, uint64(usec))
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(m.ReuseCount))
	return append(b, 0, 0, 0, 0)
}

// ParseMsgStats is the reverse of Bytes.
func ParseMsgStats(b []byte) (MsgStats, error) {
	if len(b) != msgStatsSize {
		return MsgStats{}, fmt.Errorf("%w: %d != %d", ErrStats, len(b), msgStatsSize)
	}
	var m MsgStats
	for i, p := range [...]*time.Time{&m.IncomingArrival, &m.ActiveArrival, &m.AgentHandoff, &m.ConnSetupDone, &m.DeliverDone} {
		sec := int64(binary.NativeEndian.Uint64(b[16*i:]))
		usec := int64(binary.NativeEndian.Uint64(b[16*i+8:]))
		if sec != 0 || usec != 0 {
			*p = time.Unix(sec, usec*1000)
		}
	}
	m.ReuseCount = int(int32(binary.NativeEndian.Uint32(b[80:])))
	return m, nil
}

// ClientAttrs says where a message came from, for logging and forwarding.
type ClientAttrs struct {
	LogName, LogAddr, LogPort, LogProto, LogHelo string
	SASLMethod, SASLUsername, SASLSender         string
	LogIdent                                     string
	RewriteContext                               string // local or remote
}

// DeliveryRequest is what qmgr asks of a delivery agent (§2.6).
type DeliveryRequest struct {
	Flags      DeliveryFlags
	QueueName  string
	QueueID    string
	DataOffset int64 // of the content in the queue file
	DataSize   int64 // content length
	Nexthop    string
	Encoding   string // 7bit, 8bit or empty
	SendOpts   sendopts.Options
	Sender     string // internal form
	EnvelopeID string // DSN ENVID
	Ret        dsn.Ret
	Stats      MsgStats
	Client     ClientAttrs
	Recipients []Recipient
}

// Append encodes the request with all its recipients.
func (r *DeliveryRequest) Append(e *attr.Encoder) {
	e.Int("flags", int(r.Flags))
	e.Str("queue_name", r.QueueName)
	e.Str("queue_id", r.QueueID)
	e.Long("offset", r.DataOffset)
	e.Long("size", r.DataSize)
	e.Str("nexthop", r.Nexthop)
	e.Str("encoding", r.Encoding)
	e.Int("sendopts", int(r.SendOpts))
	e.Str("sender", r.Sender)
	e.Str("envelope_id", r.EnvelopeID)
	e.Int("ret_flags", int(r.Ret))
	e.Data("time", r.Stats.Bytes())
	e.Str("log_client_name", r.Client.LogName)
	e.Str("log_client_address", r.Client.LogAddr)
	e.Str("log_client_port", r.Client.LogPort)
	e.Str("log_protocol_name", r.Client.LogProto)
	e.Str("log_helo_name", r.Client.LogHelo)
	e.Str("sasl_method", r.Client.SASLMethod)
	e.Str("sasl_username", r.Client.SASLUsername)
	e.Str("sasl_sender", r.Client.SASLSender)
	e.Str("log_ident", r.Client.LogIdent)
	e.Str("rewrite_context", r.Client.RewriteContext)
	e.Int("recipient_count", len(r.Recipients))
	e.End()
	for _, rcpt := range r.Recipients {
		rcpt.append(e)
		e.End()
	}
}

// ReadDeliveryRequest reads a request; io.EOF means the peer closed without one.
func ReadDeliveryRequest(d *attr.Decoder) (*DeliveryRequest, error) {
	r := &DeliveryRequest{
		Flags:      DeliveryFlags(d.Int("flags")),
		QueueName:  d.Str("queue_name"),
		QueueID:    d.Str("queue_id"),
		DataOffset: d.Long("offset"),
		DataSize:   d.Long("size"),
		Nexthop:    d.Str("nexthop"),
		Encoding:   d.Str("encoding"),
		SendOpts:   sendopts.Options(d.Int("sendopts")),
		Sender:     d.Str("sender"),
		EnvelopeID: d.Str("envelope_id"),
		Ret:        dsn.Ret(d.Int("ret_flags")),
	}
	stats := d.Data("time")
	r.Client = ClientAttrs{
		LogName: d.Str("log_client_name"), LogAddr: d.Str("log_client_address"),
		LogPort: d.Str("log_client_port"), LogProto: d.Str("log_protocol_name"),
		LogHelo: d.Str("log_helo_name"), SASLMethod: d.Str("sasl_method"),
		SASLUsername: d.Str("sasl_username"), SASLSender: d.Str("sasl_sender"),
		LogIdent: d.Str("log_ident"), RewriteContext: d.Str("rewrite_context"),
	}
	n := d.Int("recipient_count")
	if err := d.End(); err != nil {
		return nil, err
	}
	var err error
	if r.Stats, err = ParseMsgStats(stats); err != nil {
		return nil, err
	}
	if n < 0 || n > MaxRecipients {
		return nil, fmt.Errorf("%w: recipient_count %d", attr.ErrLimit, n)
	}
	for range n {
		rcpt := readRecipient(d)
		if err := d.End(); err != nil {
			if err == io.EOF { // not the silent end that a caller ignores
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		r.Recipients = append(r.Recipients, rcpt)
	}
	return r, nil
}

// DeliveryReply is an agent's answer (§2.6). DSN is set only when the whole
// destination was found unusable, with Retry true.
type DeliveryReply struct {
	DSN   dsn.Status
	Retry bool // some recipient must be tried again
}

// Append encodes the reply.
func (r DeliveryReply) Append(e *attr.Encoder) {
	appendDSN(e, r.DSN)
	status := 0
	if r.Retry {
		status = -1
	}
	e.Int("status", status)
	e.End()
}

// ReadDeliveryReply reads the reply.
func ReadDeliveryReply(d *attr.Decoder) (DeliveryReply, error) {
	r := DeliveryReply{DSN: readDSN(d)}
	r.Retry = d.Int("status") != 0
	return r, d.End()
}
