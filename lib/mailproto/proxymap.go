package mailproto

import "sealpost/lib/attr"

// PathProxymap and PathProxywrite are the sockets of the table service (§2.15).
const (
	PathProxymap   = "private/proxymap"
	PathProxywrite = "private/proxywrite"
)

// Verbs of a ProxymapRequest.
const (
	ProxymapOpen     = "open"
	ProxymapLookup   = "lookup"
	ProxymapUpdate   = "update"
	ProxymapDelete   = "delete"
	ProxymapSequence = "sequence"
)

// ProxymapStatus is the outcome of a request.
type ProxymapStatus int

// The outcomes.
const (
	ProxymapOK     ProxymapStatus = iota
	ProxymapNoKey                 // not found
	ProxymapRetry                 // the table failed; temporary
	ProxymapBad                   // a request that cannot be understood
	ProxymapDeny                  // a table that is not served
	ProxymapConfig                // a table that cannot be opened
)

// Flags of a table and of a request (§6.1), those that matter here.
const (
	DictFixed       = 16
	DictPattern     = 32
	DictLock        = 64
	DictFoldFix     = 16384
	DictFoldMul     = 32768
	DictUTF8Request = 524288
	DictUTF8Active  = 1048576
)

// Functions of a sequence request.
const (
	SequenceFirst = 0
	SequenceNext  = 1
)

// ProxymapRequest is one request. Which fields are sent depends on the verb.
type ProxymapRequest struct {
	Verb          string
	Table         string // "type:name"
	InstanceFlags int
	Flags         int // all but open: those that open answered
	Key           string
	Value         string // update
	Function      int    // sequence
}

// Append encodes the request.
func (r *ProxymapRequest) Append(e *attr.Encoder) {
	e.Str("request", r.Verb)
	e.Str("table", r.Table)
	e.Int("instance_flags", r.InstanceFlags)
	if r.Verb != ProxymapOpen {
		e.Int("flags", r.Flags)
	}
	switch r.Verb {
	case ProxymapLookup, ProxymapDelete:
		e.Str("key", r.Key)
	case ProxymapUpdate:
		e.Str("key", r.Key)
		e.Str("value", r.Value)
	case ProxymapSequence:
		e.Int("function", r.Function)
	}
	e.End()
}

// ReadProxymapRequest reads a request. Of an unknown verb only the verb is read:
// what follows it cannot be told.
func ReadProxymapRequest(d *attr.Decoder) (*ProxymapRequest, error) {
	r := &ProxymapRequest{Verb: d.Str("request")}
	switch r.Verb {
	case ProxymapOpen, ProxymapLookup, ProxymapUpdate, ProxymapDelete, ProxymapSequence:
	default:
		return r, d.Err()
	}
	r.Table = d.Str("table")
	r.InstanceFlags = d.Int("instance_flags")
	if r.Verb != ProxymapOpen {
		r.Flags = d.Int("flags")
	}
	switch r.Verb {
	case ProxymapLookup, ProxymapDelete:
		r.Key = d.Str("key")
	case ProxymapUpdate:
		r.Key = d.Str("key")
		r.Value = d.Str("value")
	case ProxymapSequence:
		r.Function = d.Int("function")
	}
	return r, d.End()
}

// ProxymapReply is the answer to a request with the same verb. Key is that of a
// sequence, Value that of a sequence or of a look-up.
type ProxymapReply struct {
	Status     ProxymapStatus
	Flags      int
	Key, Value string
}

// Append encodes the reply to a request with this verb.
func (r ProxymapReply) Append(e *attr.Encoder, verb string) {
	e.Int("status", int(r.Status))
	e.Int("flags", r.Flags)
	if verb == ProxymapSequence {
		e.Str("key", r.Key)
	}
	if verb == ProxymapSequence || verb == ProxymapLookup {
		e.Str("value", r.Value)
	}
	e.End()
}

// ReadProxymapReply reads the reply to a request with this verb.
func ReadProxymapReply(d *attr.Decoder, verb string) (ProxymapReply, error) {
	r := ProxymapReply{Status: ProxymapStatus(d.Int("status")), Flags: d.Int("flags")}
	if verb == ProxymapSequence {
		r.Key = d.Str("key")
	}
	if verb == ProxymapSequence || verb == ProxymapLookup {
		r.Value = d.Str("value")
	}
	return r, d.End()
}
