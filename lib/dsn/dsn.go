// Package dsn holds the vocabulary of delivery status: enhanced status codes
// (RFC 3463), the DSN parameters of SMTP (RFC 3461) and the status that travels
// between daemons with each recipient (spec: protocols.md §1.8, §2.7).
package dsn

import "strings"

// Notify is the NOTIFY parameter of a recipient; 0 means the sender gave none.
type Notify int

const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Valid reports whether n is a mask that a sender can ask for: NEVER alone, or
// any set of the others (RFC 3461 §4.1).
func (n Notify) Valid() bool {
	return n == NotifyNever || n&^(NotifySuccess|NotifyFailure|NotifyDelay) == 0
}

// Ret is the RET parameter of a message; 0 means the sender gave none.
type Ret int

const (
	RetFull Ret = 1 << iota
	RetHdrs
)

// Valid reports whether r is 0, RetFull or RetHdrs.
func (r Ret) Valid() bool { return r >= 0 && r <= RetHdrs }

// Actions of a recipient's status (RFC 3464 §2.3.3, and two for address probes).
const (
	ActionFailed        = "failed"
	ActionDelayed       = "delayed"
	ActionDelivered     = "delivered"
	ActionRelayed       = "relayed"
	ActionExpanded      = "expanded"
	ActionUndeliverable = "undeliverable"
	ActionDeliverable   = "deliverable"
)

// Values of Status.DiagType and Status.MTAType.
const (
	DiagSMTP  = "smtp"
	DiagX     = "X-Postfix"
	DiagUnix  = "x-unix"
	MTADNS    = "dns"
	CodeSize  = 9 // longest status code that SplitCode takes: "N.NNN.NNN"
	Code200   = "2.0.0"
	Code400   = "4.0.0"
	Code500   = "5.0.0"
	CodeSoft4 = '4'
	CodeHard5 = '5'
)

// Status is what is known about the delivery of one recipient, or of a whole
// destination. Empty strings mean "not known".
type Status struct {
	Code     string // enhanced status code: 2.1.5
	Action   string // one of the Action constants
	Reason   string // text for a person
	DiagType string // DiagSMTP, DiagX, DiagUnix
	DiagText string // the remote reply or exit status, as received
	MTAType  string // MTADNS
	MTAName  string // the remote MTA
}

// IsZero reports whether nothing is known.
func (s Status) IsZero() bool { return s == Status{} }

// Soft returns s with a permanent code made temporary (soft_bounce).
func (s Status) Soft() Status {
	s.Code = SetClass(s.Code, '4')
	return s
}

// ValidCode reports whether code has the form class.subject.detail with class
// 2, 4 or 5 and up to three digits in the others (RFC 3463 §2).
func ValidCode(code string) bool {
	n := CodeLen(code)
	return n > 0 && n == len(code)
}

// CodeLen is the length of the enhanced status code that text begins with, or 0.
// The code must be followed by a blank or the end of the text.
func CodeLen(text string) int {
	if len(text) < 5 || (text[0] != '2' && text[0] != '4' && text[0] != '5') || text[1] != '.' {
		return 0
	}
	i := 2
	for part := range 2 {
		start := i
		for i < len(text) && i-start < 3 && '0' <= text[i] && text[i] <= '9' {
			i++
		}
		if i == start {
			return 0
		}
		if part == 0 {
			if i >= len(text) || text[i] != '.' {
				return 0
			}
			i++
		}
	}
	if i < len(text) && text[i] != ' ' && text[i] != '\t' {
		return 0
	}
	return i
}

// SplitCode splits text into the status code that it begins with and the rest
// without leading blanks. Without a code it returns def and text.
func SplitCode(def, text string) (code, rest string) {
	n := CodeLen(text)
	if n == 0 {
		return def, text
	}
	return text[:n], strings.TrimLeft(text[n:], " \t")
}

// SetClass returns code with its first digit replaced; a code that is not valid
// becomes class.0.0.
func SetClass(code string, class byte) string {
	if !ValidCode(code) {
		return string(class) + ".0.0"
	}
	return string(class) + code[1:]
}
