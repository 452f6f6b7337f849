package mailproto

import "sealpost/lib/attr"

// Recipient states in address verification (§2.9).
const (
	VerifyOK = iota
	VerifyDefer
	VerifyBounce
	VerifyTodo
)

// VerifyUpdate tells verify what an address probe found; it is answered with a
// StatusReply.
type VerifyUpdate struct {
	Address string
	Status  int // VerifyOK, VerifyDefer or VerifyBounce
	Reason  string
}

// Append encodes the request.
func (v VerifyUpdate) Append(e *attr.Encoder) {
	e.Str("request", "update")
	e.Str("address", v.Address)
	e.Int("recipient_status", v.Status)
	e.Str("reason", v.Reason)
	e.End()
}

// ReadVerifyUpdate reads the request.
func ReadVerifyUpdate(d *attr.Decoder) (VerifyUpdate, error) {
	d.Const("request", "update")
	v := VerifyUpdate{Address: d.Str("address"), Status: d.Int("recipient_status"), Reason: d.Str("reason")}
	return v, d.End()
}
