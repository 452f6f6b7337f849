// Package sendopts is the set of delivery options that travels with a message
// through every queue file and delivery request (spec: requiretls.md §4.3).
//
// Two of them were asked for in the envelope and survive requeueing: SMTPUTF8
// and REQUIRETLS. The others are derived: cleanup computes them anew from the
// message whenever it passes, and qmgr from the recipients of a request.
package sendopts

import "strings"

// Options is a bit mask; the values are those of the C record's sixth field
// and of the attribute "sendopts".
type Options int

const (
	SMTPUTF8Requested Options = 1 << iota // MAIL FROM ... SMTPUTF8 (RFC 6531)
	SMTPUTF8Header                        // a header has UTF-8 (derived)
	SMTPUTF8Sender                        // the sender has UTF-8 (derived)
	SMTPUTF8Recipient                     // a recipient has UTF-8 (derived, per delivery request)
	RequireTLSHeader                      // "TLS-Required: no" (RFC 8689 §5; derived)
	RequireTLSESMTP                       // MAIL FROM ... REQUIRETLS (RFC 8689 §4)

	// All is every defined bit; qmgr masks what it reads with it.
	All Options = 1<<iota - 1
	// Derived are the bits recomputed by cleanup; a client's are dropped.
	Derived = SMTPUTF8Header | SMTPUTF8Sender | SMTPUTF8Recipient | RequireTLSHeader
	// SMTPUTF8Any are the bits that make a delivery need an SMTPUTF8 server.
	SMTPUTF8Any = SMTPUTF8Requested | SMTPUTF8Header | SMTPUTF8Sender | SMTPUTF8Recipient
)

var names = [...]string{
	"smtputf8_requested", "smtputf8_header", "smtputf8_sender",
	"smtputf8_recipient", "requiretls_header", "requiretls_esmtp",
}

// Has reports whether every bit of b is set.
func (o Options) Has(b Options) bool { return o&b == b }

// String joins the names of the bits that are set, in bit order, with a blank;
// an empty set is "none". Undefined bits are left out.
func (o Options) String() string {
	var set []string
	for i, name := range names {
		if o&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, " ")
}
