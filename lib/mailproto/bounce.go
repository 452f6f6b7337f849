package mailproto

import (
	"errors"
	"fmt"
	"io"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/sendopts"
)

// BounceCommand is the nrequest attribute of bounce, defer and trace (§2.7).
type BounceCommand int

const (
	BounceAppend BounceCommand = iota // add a recipient's status to the log
	BounceFlush                       // send the notification, remove the log
	BounceWarn                        // send a delay notice, keep the log
	BounceVERP                        // BounceFlush, one notification per recipient
	BounceOne                         // notification about one recipient, no log
	BounceTrace                       // send a delivery report
)

// BounceFlags is the flags attribute of a bounce request.
type BounceFlags int

const (
	BounceClean   BounceFlags = 1 << 0 // delete the log if the request fails
	BounceDelRcpt BounceFlags = 1 << 1 // mark the recipients done in the queue file
)

// ErrBounceCommand: a request code that is not one of the above.
var ErrBounceCommand = errors.New("unknown command")

// BounceRequest is any request to a bounce service. Which fields travel depends
// on Command.
type BounceRequest struct {
	Command    BounceCommand
	Flags      BounceFlags
	QueueName  string // not with BounceAppend
	QueueID    string
	Encoding   string           // not with BounceAppend
	SendOpts   sendopts.Options // not with BounceAppend
	Sender     string           // not with BounceAppend
	EnvelopeID string           // not with BounceAppend
	Ret        dsn.Ret          // not with BounceAppend
	VERPDelims string           // with BounceVERP
	Recipient  Recipient        // with BounceAppend and BounceOne
	DSN        dsn.Status       // with BounceAppend and BounceOne
}

// Append encodes the request.
func (r *BounceRequest) Append(e *attr.Encoder) {
	e.Int("nrequest", int(r.Command))
	e.Int("flags", int(r.Flags))
	if r.Command == BounceAppend {
		e.Str("queue_id", r.QueueID)
	} else {
		e.Str("queue_name", r.QueueName)
		e.Str("queue_id", r.QueueID)
		e.Str("encoding", r.Encoding)
		e.Int("sendopts", int(r.SendOpts))
		e.Str("sender", r.Sender)
		e.Str("envelope_id", r.EnvelopeID)
		e.Int("ret_flags", int(r.Ret))
	}
	if r.Command == BounceVERP {
		e.Str("verp_delimiters", r.VERPDelims)
	}
	if r.Command == BounceAppend || r.Command == BounceOne {
		r.Recipient.append(e)
		appendDSN(e, r.DSN)
	}
	e.End()
}

// ReadBounceRequest reads a request of any kind; surplus items are skipped.
func ReadBounceRequest(d *attr.Decoder) (*BounceRequest, error) {
	d.SetMode(attr.Strict)
	r := &BounceRequest{Command: BounceCommand(d.Int("nrequest"))}
	d.SetMode(attr.Lenient)
	if d.Err() == nil && (r.Command < BounceAppend || r.Command > BounceTrace) {
		return nil, fmt.Errorf("%w: %d", ErrBounceCommand, r.Command)
	}
	r.Flags = BounceFlags(d.Int("flags"))
	if r.Command == BounceAppend {
		r.QueueID = d.Str("queue_id")
	} else {
		r.QueueName = d.Str("queue_name")
		r.QueueID = d.Str("queue_id")
		r.Encoding = d.Str("encoding")
		r.SendOpts = sendopts.Options(d.Int("sendopts"))
		r.Sender = d.Str("sender")
		r.EnvelopeID = d.Str("envelope_id")
		r.Ret = dsn.Ret(d.Int("ret_flags"))
	}
	if r.Command == BounceVERP {
		r.VERPDelims = d.Str("verp_delimiters")
	}
	if r.Command == BounceAppend || r.Command == BounceOne {
		r.Recipient = readRecipient(d)
		r.DSN = readDSN(d)
	}
	return r, d.End()
}

// ShowqRecipient is one recipient in a queue listing.
type ShowqRecipient struct {
	OrigAddr string
	Addr     string
	LogClass string // defer, bounce or empty
	Reason   string
}

// ShowqEntry is one message in a queue listing (§2.12).
type ShowqEntry struct {
	QueueName    string
	QueueID      string
	Time         int64 // arrival, seconds since 1970
	Size         int64 // bytes
	ForcedExpire bool
	Sender       string // external form
	Recipients   []ShowqRecipient
	// RequireTLS: the sender asked for REQUIRETLS (decision 9). It travels at
	// user/showq only, where Postfix's own postqueue does not come.
	RequireTLS bool
}

// Append encodes the entry as ProtoShowq has it.
func (s *ShowqEntry) Append(e *attr.Encoder) {
	s.appendHead(e)
	s.appendRest(e)
}

// AppendUser encodes the entry as ProtoUserShowq has it: with the attribute
// requiretls before the sender.
func (s *ShowqEntry) AppendUser(e *attr.Encoder) {
	s.appendHead(e)
	e.Bool("requiretls", s.RequireTLS)
	s.appendRest(e)
}

func (s *ShowqEntry) appendHead(e *attr.Encoder) {
	e.Str("queue_name", s.QueueName)
	e.Str("queue_id", s.QueueID)
	e.Long("time", s.Time)
	e.Long("size", s.Size)
	e.Bool("forced_expire", s.ForcedExpire)
}

func (s *ShowqEntry) appendRest(e *attr.Encoder) {
	e.Str("sender", s.Sender)
	for i := range s.Recipients {
		s.Recipients[i].Append(e)
	}
	e.End()
}

// Append encodes one recipient within an entry.
func (r *ShowqRecipient) Append(e *attr.Encoder) {
	e.Str("original_recipient", r.OrigAddr)
	e.Str("recipient", r.Addr)
	e.Str("log_class", r.LogClass)
	e.Str("reason", r.Reason)
}

// ReadShowqEntry reads the next entry of a listing; io.EOF after the last one,
// which a lone end byte follows.
func ReadShowqEntry(d *attr.Decoder) (*ShowqEntry, error) { return readShowqEntry(d, false) }

// ReadUserShowqEntry is ReadShowqEntry for ProtoUserShowq.
func ReadUserShowqEntry(d *attr.Decoder) (*ShowqEntry, error) { return readShowqEntry(d, true) }

func readShowqEntry(d *attr.Decoder, user bool) (*ShowqEntry, error) {
	more, err := d.More()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if !more {
		return nil, io.EOF
	}
	s := &ShowqEntry{
		QueueName:    d.Str("queue_name"),
		QueueID:      d.Str("queue_id"),
		Time:         d.Long("time"),
		Size:         d.Long("size"),
		ForcedExpire: d.Bool("forced_expire"),
	}
	if user {
		s.RequireTLS = d.Bool("requiretls")
	}
	s.Sender = d.Str("sender")
	for d.MoreItems() {
		s.Recipients = append(s.Recipients, ShowqRecipient{
			OrigAddr: d.Str("original_recipient"),
			Addr:     d.Str("recipient"),
			LogClass: d.Str("log_class"),
			Reason:   d.Str("reason"),
		})
	}
	return s, d.End()
}
