package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/reqtls"
	"sealpost/lib/sendopts"
	"sealpost/lib/smtpclient"
)

// envelope is what the commands of one transaction are made from; it does not
// change on the way through the hosts.
type envelope struct {
	sender   string // external form
	size     int64
	encoding string // "", "7bit", "8bit"
	id       string // ENVID, decoded
	ret      dsn.Ret
	opts     sendopts.Options
	utf8     bool // an address of the envelope is not ASCII
}

// needsUTF8 says that only a server with SMTPUTF8 can take the message: the
// sender asked for it and something in it is UTF-8 (RFC 6531 §3.2), or an address
// cannot be said otherwise.
func (e *envelope) needsUTF8() bool {
	return e.utf8 || e.opts&sendopts.SMTPUTF8Requested != 0 && e.opts&(sendopts.SMTPUTF8Any&^sendopts.SMTPUTF8Requested) != 0
}

// appendMail appends MAIL FROM. The order of parameters is Postfix's:
// SIZE BODY ENVID RET SMTPUTF8 REQUIRETLS AUTH.
func appendMail(b []byte, e *envelope, f *smtpclient.Features, v reqtls.Verdict) []byte {
	b = append(b, "MAIL FROM:<"...)
	b = appendArg(b, e.sender)
	b = append(b, '>')
	if f.Has(smtpclient.ExtSIZE) && e.size > 0 {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, e.size, 10)
	}
	if f.Has(smtpclient.Ext8BITMIME) {
		switch e.encoding {
		case "8bit":
			b = append(b, " BODY=8BITMIME"...)
		case "7bit":
			b = append(b, " BODY=7BIT"...)
		}
	}
	if f.Has(smtpclient.ExtDSN) {
		if e.id != "" {
			b = append(b, " ENVID="...)
			b = dsn.AppendXtext(b, e.id)
		}
		ret := e.ret
		if v.HeadersOnly {
			// A server that knows no REQUIRETLS keeps the content out of what it returns.
			ret = dsn.RetHdrs
		}
		switch ret {
		case dsn.RetFull:
			b = append(b, " RET=FULL"...)
		case dsn.RetHdrs:
			b = append(b, " RET=HDRS"...)
		}
	}
	if f.Has(smtpclient.ExtSMTPUTF8) && (e.utf8 || e.opts&(sendopts.SMTPUTF8Any&^sendopts.SMTPUTF8Requested) != 0) {
		b = append(b, " SMTPUTF8"...)
	}
	if v.Say {
		b = append(b, " REQUIRETLS"...)
	}
	return append(b, '\r', '\n')
}

// appendRcpt appends RCPT TO with NOTIFY and ORCPT (RFC 3461 §4). addr is the
// recipient in external form.
func appendRcpt(b []byte, addr string, r *mailproto.Recipient, f *smtpclient.Features) []byte {
	b = append(b, "RCPT TO:<"...)
	b = appendArg(b, addr)
	b = append(b, '>')
	if f.Has(smtpclient.ExtDSN) {
		if r.OrigRcpt != "" {
			b = append(b, " ORCPT="...)
			b = appendOrcpt(b, r.OrigRcpt, f.Has(smtpclient.ExtSMTPUTF8))
		} else if r.OrigAddr != "" {
			b = append(b, " ORCPT=rfc822;"...)
			b = dsn.AppendXtext(b, address.Quote(r.OrigAddr))
		}
		if r.Notify != 0 {
			b = append(b, " NOTIFY="...)
			b = appendNotify(b, r.Notify)
		}
	}
	return append(b, '\r', '\n')
}

// checkArg refuses an address that could end a command or start another one, or
// that a peer would cut off. Where this happens the queue file is not ours.
func checkArg(addr string) error {
	for i := range len(addr) {
		if c := addr[i]; c < ' ' || c == 0x7f {
			return fmt.Errorf("control character %#02x in address", c)
		}
	}
	if len(addr) > maxAddress {
		return fmt.Errorf("address of %d bytes", len(addr))
	}
	return nil
}

// maxAddress bounds an address on the wire: RFC 5321 §4.5.3.1 allows 256 bytes,
// servers take lines of about 2000.
const maxAddress = 1800

// appendArg appends an address; checkArg has been here before. A control
// character would change the conversation and "cannot happen".
func appendArg(b []byte, addr string) []byte {
	if err := checkArg(addr); err != nil {
		panic("smtp: " + err.Error())
	}
	return append(b, addr...)
}

var notifyNames = [...]struct {
	bit  dsn.Notify
	name string
}{{dsn.NotifyNever, "NEVER"}, {dsn.NotifySuccess, "SUCCESS"}, {dsn.NotifyFailure, "FAILURE"}, {dsn.NotifyDelay, "DELAY"}}

func appendNotify(b []byte, n dsn.Notify) []byte {
	first := true
	for _, e := range notifyNames {
		if n&e.bit == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		b = append(b, e.name...)
		first = false
	}
	return b
}

// appendOrcpt encodes "type;address". An address of type utf-8 goes as it is to a
// server with SMTPUTF8, and as \x{HEX} to others (RFC 6533 §3).
func appendOrcpt(b []byte, s string, utf8OK bool) []byte {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok {
		kind, addr = "rfc822", s
	}
	b = append(dsn.AppendXtext(b, kind), ';')
	if !strings.EqualFold(kind, "utf-8") {
		return dsn.AppendXtext(b, addr)
	}
	for _, r := range addr {
		switch {
		case r <= ' ' || r == '+' || r == '=' || r == '\\' || r == 0x7f || r >= 0x80 && (!utf8OK || r == utf8.RuneError):
			b = append(b, `\x{`...)
			b = strconv.AppendInt(b, int64(r), 16)
			b = append(b, '}')
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
