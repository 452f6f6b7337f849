// Package address knows the written forms of mail addresses.
//
// An address has two forms (RFC 5321 §4.1.2, RFC 5322 §3.4.1):
//
//   - internal: local@domain with the local part as it is meant, without
//     quotes. Queue files, delivery requests and tables use it.
//   - external: the local part in double quotes where the grammar asks for
//     them. Headers, SMTP commands and log lines use it.
//
// Text above 0x7f is part of an address (RFC 6531) and is not quoted. Nothing
// here judges whether a domain exists or is well formed.
package address

import "strings"

// Quote gives the external form of an internal address (protocols.md §6.5,
// end): the local part in double quotes where it is empty, begins or ends with
// a dot, has two dots in a row, a blank, a control character or a special. The
// empty address stays empty. Unquote(Quote(x)) is x.
func Quote(addr string) string {
	if !needsQuotes(addr) {
		return addr
	}
	return string(AppendQuoted(make([]byte, 0, len(addr)+8), addr))
}

// AppendQuoted appends Quote(addr) to b.
func AppendQuoted(b []byte, addr string) []byte {
	if !needsQuotes(addr) {
		return append(b, addr...)
	}
	route, local, domain := parts(addr)
	b = append(b, route...)
	b = append(b, '"')
	for i := range len(local) {
		if c := local[i]; c == '"' || c == '\\' || c == '\r' {
			b = append(b, '\\')
		}
		b = append(b, local[i])
	}
	b = append(b, '"')
	return append(b, domain...)
}

// Header gives the external form for a line of a message header: no character
// of it can begin another line.
func Header(addr string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, Quote(addr))
}

// parts splits an internal address in front of the route's end and at the last
// "@"; domain keeps its "@".
func parts(addr string) (route, local, domain string) {
	n := routeLen(addr)
	route, local = addr[:n], addr[n:]
	if at := strings.LastIndexByte(local, '@'); at >= 0 {
		local, domain = local[:at], local[at:]
	}
	return route, local, domain
}

func needsQuotes(addr string) bool {
	if addr == "" {
		return false
	}
	_, local, _ := parts(addr)
	if local == "" {
		return true
	}
	return !isDotString(local)
}

// isDotString reports whether s is atoms with single dots between them.
func isDotString(s string) bool {
	dot := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if dot {
				return false
			}
			dot = true
			continue
		case !isAtomChar(c):
			return false
		}
		dot = false
	}
	return !dot
}

// atomChars has a bit for each ASCII character that may stand in an atom; text
// above 0x7f always may.
var atomChars = func() (set [128]bool) {
	for c := byte(0x21); c < 0x7f; c++ {
		set[c] = strings.IndexByte(`()<>@,;:\".[]`, c) < 0
	}
	return set
}()

func isAtomChar(c byte) bool { return c >= 0x80 || atomChars[c] }

// routeLen is the length of a source route "@a,@b:" that addr begins with and
// that an address follows, or 0 (RFC 5321 appendix C).
func routeLen(addr string) int {
	if len(addr) == 0 || addr[0] != '@' {
		return 0
	}
	for i := 1; i < len(addr); i++ {
		switch c := addr[i]; {
		case c == ':':
			if strings.IndexByte(addr[i:], '@') < 0 {
				return 0
			}
			return i + 1
		case isAtomChar(c) || c == '.' || c == '[' || c == ']' || c == ',' || c == '@':
		default:
			return 0
		}
	}
	return 0
}

// Unquote gives the internal form of an external address: quotes and
// backslashes of the local part are resolved, all else stays as it is.
func Unquote(addr string) string {
	if strings.IndexByte(addr, '"') < 0 && strings.IndexByte(addr, '\\') < 0 {
		return addr
	}
	start := routeLen(addr)
	at := lastUnquotedAt(addr, start)
	b := make([]byte, 0, len(addr))
	b = append(b, addr[:start]...)
	for i := start; i < at; i++ {
		switch addr[i] {
		case '"':
			continue
		case '\\':
			if i+1 < at {
				i++
			}
		}
		b = append(b, addr[i])
	}
	return string(append(b, addr[at:]...))
}

// lastUnquotedAt is the index of the "@" that separates the domain, or len(addr).
func lastUnquotedAt(addr string, start int) int {
	at, quoted := len(addr), false
	for i := start; i < len(addr); i++ {
		switch addr[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '@':
			if !quoted {
				at = i
			}
		}
	}
	return at
}

// Split splits at the last "@"; domain is empty when there is none.
func Split(addr string) (local, domain string) {
	if at := strings.LastIndexByte(addr, '@'); at >= 0 {
		return addr[:at], addr[at+1:]
	}
	return addr, ""
}

// SplitExtension splits the local part of an internal address at the first
// character of delimiters (recipient_delimiter). The base is never empty; the
// delimiter, local[len(base)], is in neither part.
// With "-" among the delimiters the names of lists are left alone: owner-list
// and list-request, mailer-daemon and double-bounce (protocols.md §6.3).
func SplitExtension(local, delimiters string) (base, ext string) {
	if delimiters == "" {
		return local, ""
	}
	i := strings.IndexAny(local, delimiters)
	if i <= 0 {
		return local, ""
	}
	if strings.IndexByte(delimiters, '-') >= 0 && isListName(local) {
		return local, ""
	}
	return local[:i], local[i+1:]
}

func isListName(local string) bool {
	const owner, request = "owner-", "-request"
	switch {
	case len(local) > len(owner) && strings.EqualFold(local[:len(owner)], owner):
		return true
	case len(local) > len(request) && strings.EqualFold(local[len(local)-len(request):], request):
		return true
	}
	return strings.EqualFold(local, "mailer-daemon") || strings.EqualFold(local, "double-bounce")
}

// EqualFold compares two addresses without regard to case, in the local part
// too: that is how tables and duplicate elimination see them.
func EqualFold(a, b string) bool { return strings.EqualFold(a, b) }
