package mailproto

import (
	"strings"

	"sealpost/lib/attr"
)

// CleanupFlags is what a client asks of cleanup (§2.3).
type CleanupFlags int

const (
	CleanupBounce    CleanupFlags = 1 << iota // bounce bad messages instead of reporting them
	CleanupFilter                             // header and body checks
	CleanupHold                               // place on hold
	CleanupDiscard                            // discard silently
	CleanupBCC                                // automatic BCC recipients
	CleanupMap                                // canonical, virtual, masquerade
	CleanupMilter                             // non-SMTP milters
	CleanupSMTPReply                          // report reasons as SMTP replies
	CleanupSMTPUTF8                           // SMTPUTF8 was requested
	CleanupAutoUTF8                           // detect the need for SMTPUTF8
	CleanupReqTLS                             // REQUIRETLS was requested

	// CleanupExternal is for mail from outside, CleanupInternal for our own.
	CleanupExternal = CleanupFilter | CleanupMilter | CleanupBCC | CleanupMap
	CleanupInternal = CleanupMap
	// CleanupExtra are the flags that an f record may set.
	CleanupExtra = CleanupHold | CleanupDiscard
)

var cleanupFlagNames = [...]string{
	"enable_bad_mail_bounce", "enable_header_body_filter", "hold_message",
	"discard_message", "enable_automatic_bcc", "enable_address_mapping",
	"enable_milters", "enable_smtp_reply", "smtputf8_requested",
	"smtputf8_autodetect", "requiretls_requested",
}

// String names the flags for verbose logging.
func (f CleanupFlags) String() string {
	var set []string
	for i, name := range cleanupFlagNames {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, " ")
}

// CleanupRequest is the list that precedes the record stream.
type CleanupRequest struct{ Flags CleanupFlags }

// Append encodes the request.
func (c CleanupRequest) Append(e *attr.Encoder) {
	e.Int("flags", int(c.Flags))
	e.End()
}

// ReadCleanupRequest reads the request.
func ReadCleanupRequest(d *attr.Decoder) (CleanupRequest, error) {
	c := CleanupRequest{Flags: CleanupFlags(d.Int("flags"))}
	return c, d.End()
}

// CleanupStatus is the outcome of a message, 0 or a set of problems (§2.3).
type CleanupStatus int

const (
	CleanupOK         CleanupStatus = 0
	CleanupBad        CleanupStatus = 1 << (iota - 1) // protocol error
	CleanupWrite                                      // cannot write the queue file
	CleanupSize                                       // message too big
	CleanupCont                                       // content rejected
	CleanupHops                                       // too many hops
	_                                                 // (32 is not used)
	CleanupNoRcpt                                     // no recipients
	CleanupProxy                                      // proxy filter problem
	CleanupDefer                                      // temporary problem
	CleanupNoPerm                                     // service denied
	CleanupBareLF     CleanupStatus = 1 << 16         // bare LF (inside smtpd only)
	CleanupCantBounce               = CleanupBad | CleanupWrite | CleanupDefer | CleanupNoRcpt
	CleanupIncomplete               = CleanupBad | CleanupWrite | CleanupSize | CleanupDefer
)

// CleanupDetail says how one problem is reported.
type CleanupDetail struct {
	Status CleanupStatus
	Code   int    // SMTP reply code
	DSN    string // enhanced status code
	Text   string
}

// cleanupDetails is in the order of precedence of the table in §2.3.
var cleanupDetails = [...]CleanupDetail{
	{CleanupDefer, 451, "4.7.1", "service unavailable"},
	{CleanupProxy, 451, "4.3.0", "queue file write error"},
	{CleanupBad, 451, "4.3.0", "internal protocol error"},
	{CleanupNoRcpt, 550, "5.1.0", "no recipients specified"},
	{CleanupHops, 554, "5.4.0", "too many hops"},
	{CleanupSize, 552, "5.3.4", "message file too big"},
	{CleanupCont, 550, "5.7.1", "message content rejected"},
	{CleanupWrite, 451, "4.3.0", "queue file write error"},
	{CleanupNoPerm, 550, "5.7.1", "service denied"},
	{CleanupBareLF, 521, "5.5.2", "bare <LF> received"},
}

// Detail describes the problem in s that takes precedence. An unknown bit is
// reported as a protocol error: it comes from another process.
func (s CleanupStatus) Detail() CleanupDetail {
	if s == CleanupOK {
		return CleanupDetail{CleanupOK, 250, "2.0.0", "Success"}
	}
	for _, d := range cleanupDetails {
		if s&d.Status != 0 {
			return d
		}
	}
	return CleanupDetail{s, 451, "4.3.0", "internal protocol error"}
}

// CleanupReply is the answer to a complete message; also postdrop's (§2.20).
type CleanupReply struct {
	Status CleanupStatus
	Reason string
}

// Append encodes the reply.
func (c CleanupReply) Append(e *attr.Encoder) {
	e.Int("status", int(c.Status))
	e.Str("reason", c.Reason)
	e.End()
}

// ReadCleanupReply reads the reply.
func ReadCleanupReply(d *attr.Decoder) (CleanupReply, error) {
	c := CleanupReply{Status: CleanupStatus(d.Int("status")), Reason: d.Str("reason")}
	return c, d.End()
}
