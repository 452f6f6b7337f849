package main

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"sealpost/lib/address"
	"sealpost/lib/dsn"
	"sealpost/lib/ehlo"
)

// path is the argument of MAIL FROM or RCPT TO.
type path struct {
	internal string // internal form
	typed    string // as sent, without <>
	rest     string // parameters
}

// parsePath parses an address with what follows it. Control characters make it
// invalid, wherever they are (decision 21), and so does a domain that no table and no
// name server can know.
func (s *session) parsePath(arg string) (path, bool) {
	if hasControl(arg) {
		return path{}, false
	}
	addr, rest, err := address.ParsePath(arg, s.p.Strict821)
	if err != nil || s.srv.malformed(address.Unquote(addr)) {
		return path{}, false
	}
	typed := strings.TrimRight(arg[:len(arg)-len(rest)], " \t")
	if strings.HasPrefix(typed, "<") {
		typed = strings.TrimSuffix(typed[1:], ">")
	}
	return path{internal: address.Unquote(addr), typed: strings.TrimSpace(typed), rest: strings.Trim(rest, " \t")}, true
}

// keywordArg takes the keyword ("FROM:", "TO:") off a command's argument.
func keywordArg(arg, keyword string) (string, bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", false
	}
	arg = strings.TrimLeft(arg[len(keyword):], " \t")
	return arg, arg != ""
}

// nextParam takes the next parameter off a list.
func nextParam(list string) (param, rest string) {
	list = strings.TrimLeft(list, " \t")
	if i := strings.IndexAny(list, " \t"); i >= 0 {
		return list[:i], list[i:]
	}
	return list, ""
}

// splitParam splits NAME=value; hasValue is false when there is no "=".
func splitParam(param string) (name, value string, hasValue bool) {
	return strings.Cut(param, "=")
}

// Replies to parameters.
const (
	errDSNDisabled = "501 5.7.1 DSN support is disabled"
	errSizeSyntax  = "501 5.5.4 Bad message size syntax"
	errSizeHuge    = "552 5.3.4 Message size exceeds file system imposed limit"
	errRET         = "501 5.5.4 Bad RET parameter syntax"
	errENVID       = "501 5.5.4 Bad ENVID parameter syntax"
	errAUTH        = "501 5.5.4 Bad AUTH parameter syntax"
	errNOTIFY      = "501 5.5.4 Error: Bad NOTIFY parameter syntax"
	errORCPT       = "501 5.5.4 Error: Bad ORCPT parameter syntax"
	errDuplicate   = "501 5.5.4 Error: duplicate parameter: "
	errOption      = "555 5.5.4 Unsupported option: "
)

// mailParam is one row of the parameters that MAIL FROM can have.
type mailParam struct {
	name string
	need ehlo.Set // not recognized where this keyword is discarded
	set  func(s *session, p *mailParams, value string, hasValue bool) (reply string, known bool)
}

// mailParamTable: a row's function returns known = false when the parameter has
// a form that this server does not know.
var mailParamTable = []mailParam{
	{"SIZE", 0, func(_ *session, p *mailParams, value string, hasValue bool) (string, bool) {
		if !hasValue {
			return "", false
		}
		if value == "" || strings.Trim(value, "0123456789") != "" {
			return errSizeSyntax, true
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return errSizeHuge, true
		}
		p.announced = n
		return "", true
	}},
	{"BODY", 0, func(_ *session, p *mailParams, value string, _ bool) (string, bool) {
		switch {
		case strings.EqualFold(value, "8BITMIME"):
			p.body = "8bit"
		case strings.EqualFold(value, "7BIT"):
			p.body = "7bit"
		default:
			return "", false
		}
		return "", true
	}},
	{"AUTH", 0, func(s *session, p *mailParams, value string, hasValue bool) (string, bool) {
		if !hasValue || value == "" {
			return "", false
		}
		if value != "<>" {
			switch text, ok := decodeXtext(value); {
			case !ok:
				return "", false
			case hasControl(text) || strings.IndexByte(text, '\t') >= 0:
				return errAUTH, true
			case s.login.user != "":
				// Of others the value means nothing (RFC 4954 §5).
				p.authSender = value
			}
		}
		return "", true
	}},
	{"SMTPUTF8", ehlo.SMTPUTF8, func(s *session, p *mailParams, _ string, hasValue bool) (string, bool) {
		if hasValue || !s.p.SMTPUTF8 {
			return "", false
		}
		p.utf8 = true
		return "", true
	}},
	{"REQUIRETLS", ehlo.RequireTLS, func(s *session, p *mailParams, _ string, hasValue bool) (string, bool) {
		// Like any option it belongs to EHLO (decision 6).
		if hasValue || !s.takesRequireTLS() || !s.extended {
			return "", false
		}
		p.requireTLS = true
		return "", true
	}},
	{"RET", 0, func(s *session, p *mailParams, value string, hasValue bool) (string, bool) {
		switch {
		case !hasValue:
			return "", false
		case s.discard.Has(ehlo.DSN):
			return errDSNDisabled, true
		case strings.EqualFold(value, "FULL"):
			p.ret = dsn.RetFull
		case strings.EqualFold(value, "HDRS"):
			p.ret = dsn.RetHdrs
		default:
			return errRET, true
		}
		return "", true
	}},
	{"ENVID", 0, func(s *session, p *mailParams, value string, hasValue bool) (string, bool) {
		if !hasValue {
			return "", false
		}
		if s.discard.Has(ehlo.DSN) {
			return errDSNDisabled, true
		}
		id, ok := decodeXtext(value)
		// RFC 3461 §4.4: at most 100 characters, printable.
		if !ok || id == "" || len(id) > 100 || !printableASCII(id) {
			return errENVID, true
		}
		p.envID = id
		return "", true
	}},
}

// parseMailParams parses the parameters of MAIL FROM, left to right; the first
// bad one ends the command with the reply that is returned.
func (s *session) parseMailParams(list string) (p mailParams, reply string) {
	var seen uint32
	for {
		var param string
		if param, list = nextParam(list); param == "" {
			return p, ""
		}
		reply, known := s.mailParam(&p, &seen, param)
		if !known {
			reply = errOption + param
		}
		if reply != "" {
			return p, reply
		}
	}
}

func (s *session) mailParam(p *mailParams, seen *uint32, param string) (reply string, known bool) {
	name, value, hasValue := splitParam(param)
	for i, row := range mailParamTable {
		if !strings.EqualFold(name, row.name) || row.need != 0 && s.discard.Has(row.need) {
			continue
		}
		reply, known = row.set(s, p, value, hasValue)
		if known && reply == "" && *seen&(1<<i) != 0 {
			return duplicateReply(row.name, param), true
		}
		*seen |= 1 << i
		return reply, known
	}
	return "", false
}

// duplicateReply: RET and ENVID have a reply of their own.
func duplicateReply(name, param string) string {
	switch name {
	case "RET":
		return errRET
	case "ENVID":
		return errENVID
	}
	return errDuplicate + param
}

// rcptParams are the parameters of RCPT TO.
type rcptParams struct {
	notify dsn.Notify
	orcpt  string // type;address, decoded
}

// parseRcptParams parses the parameters of RCPT TO.
func (s *session) parseRcptParams(list string) (p rcptParams, reply string) {
	for {
		var param string
		if param, list = nextParam(list); param == "" {
			return p, ""
		}
		name, value, hasValue := splitParam(param)
		switch {
		case hasValue && strings.EqualFold(name, "NOTIFY"):
			if s.discard.Has(ehlo.DSN) {
				return p, errDSNDisabled
			}
			n, ok := parseNotify(value)
			if !ok || p.notify != 0 {
				return p, errNOTIFY
			}
			p.notify = n
		case hasValue && strings.EqualFold(name, "ORCPT"):
			if s.discard.Has(ehlo.DSN) {
				return p, errDSNDisabled
			}
			orcpt, ok := parseORCPT(value)
			if !ok || p.orcpt != "" {
				return p, errORCPT
			}
			p.orcpt = orcpt
		default:
			return p, errOption + param
		}
	}
}

// parseNotify parses NEVER, or a list of the other words (RFC 3461 §4.1).
func parseNotify(value string) (dsn.Notify, bool) {
	var n dsn.Notify
	for word := range strings.SplitSeq(value, ",") {
		switch strings.ToUpper(word) {
		case "NEVER":
			n |= dsn.NotifyNever
		case "SUCCESS":
			n |= dsn.NotifySuccess
		case "FAILURE":
			n |= dsn.NotifyFailure
		case "DELAY":
			n |= dsn.NotifyDelay
		default:
			return 0, false
		}
	}
	return n, n.Valid()
}

// parseORCPT parses addr-type ";" xtext (RFC 3461 §4.2) or utf-8-addr-xtext
// (RFC 6533 §3), whose decoded text must be printable: it is shown in headers,
// logs and notifications (decision 22).
func parseORCPT(value string) (string, bool) {
	kind, encoded, ok := strings.Cut(value, ";")
	if !ok || !isAtom(kind) || len(value) > 500 {
		return "", false
	}
	var addr string
	if strings.EqualFold(kind, "utf-8") {
		addr, ok = decodeUTF8Addr(encoded)
	} else {
		addr, ok = decodeXtext(encoded)
	}
	if !ok {
		return "", false
	}
	for _, r := range addr {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r == utf8.RuneError {
			return "", false
		}
	}
	return kind + ";" + addr, true
}

func isAtom(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != ""
}

// decodeXtext decodes +HH (RFC 3461 §4). Anything that is not xtext is refused,
// but 8-bit characters pass: the caller decides about them.
func decodeXtext(s string) (string, bool) {
	if !validXchars(s) {
		return "", false
	}
	return dsn.DecodeXtext(s)
}

func validXchars(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '=' {
			return false
		}
	}
	return true
}

// decodeUTF8Addr decodes \x{HEX} (RFC 6533 §3).
func decodeUTF8Addr(s string) (string, bool) {
	if !validXchars(s) || !utf8.ValidString(s) {
		return "", false
	}
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			out.WriteString(s)
			return out.String(), true
		}
		out.WriteString(s[:i])
		s = s[i:]
		end := strings.IndexByte(s, '}')
		if !strings.HasPrefix(s, `\x{`) || end < 5 || end > 9 {
			return "", false
		}
		n, err := strconv.ParseUint(s[3:end], 16, 32)
		if err != nil || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		out.WriteRune(rune(n))
		s = s[end+1:]
	}
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// quoteForLog is an address as the log shows it (info_log_address_format).
func quoteForLog(addr string) string {
	if addr == "" {
		return ""
	}
	return address.Quote(addr)
}
