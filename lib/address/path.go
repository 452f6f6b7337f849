package address

import (
	"errors"
	"strings"
)

var (
	// ErrSyntax: the text is not one address.
	ErrSyntax = errors.New("bad address syntax")
	// ErrControl: a control character; none may stand in a command argument,
	// quoted or not (decision 21).
	ErrControl = errors.New("control character in address")
)

// ParsePath parses the argument of MAIL FROM or RCPT TO, a path of RFC 5321
// §4.1.2 and what follows it: "<@route:local@domain> SIZE=1". addr is the
// external form without brackets and source route, empty for "<>"; rest is what
// follows, without leading blanks.
//
// Not strict: the brackets may be missing, blanks and comments may stand where
// RFC 822 allowed them. strict: the form of
// the RFC only (strict_rfc821_envelopes). An address without a domain and one
// with several "@" are taken in both: what they mean is not the parser's to say.
func ParsePath(s string, strict bool) (addr, rest string, err error) {
	if !strict {
		s = strings.TrimLeft(s, " \t")
	}
	inner, rest, bracket, err := cutPath(s)
	if err != nil {
		return "", "", err
	}
	if hasControl(inner) {
		return "", "", ErrControl
	}
	if strict && !bracket {
		return "", "", ErrSyntax
	}
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", ErrSyntax
	}
	rest = strings.TrimLeft(rest, " \t")
	addr, err = parseMailbox(inner, strict)
	if err != nil {
		return "", "", err
	}
	if addr == `""` {
		addr = ""
	}
	if addr == "" && !bracket {
		return "", "", ErrSyntax
	}
	return addr, rest, nil
}

// cutPath finds where the path ends: at the ">" of the bracket, or at the first
// blank. Quotes, comments and literals hide both.
func cutPath(s string) (inner, rest string, bracket bool, err error) {
	open := -1 // index after "<"
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '[', '(':
			n := scanNested(s[i:])
			if n == 0 {
				return "", "", false, ErrSyntax
			}
			i += n - 1
		case '\\':
			i++
		case '<':
			if i > 0 {
				return "", "", false, ErrSyntax
			}
			open = 1
		case '>':
			if open < 0 {
				return "", "", false, ErrSyntax
			}
			return s[open:i], s[i+1:], true, nil
		case ' ', '\t':
			if open < 0 {
				return s[:i], s[i:], false, nil
			}
		}
	}
	if open >= 0 {
		return "", "", false, ErrSyntax
	}
	return s, "", false, nil
}

// scanNested is the length of the quoted string, domain literal or comment that
// s begins with, 0 when it does not end. Linear in the length of s.
func scanNested(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case s[0] == '(' && c == '(':
			depth++
		case s[0] == '(' && c == ')':
			if depth--; depth == 0 {
				return i + 1
			}
		case i > 0 && s[0] == '"' && c == '"', s[0] == '[' && c == ']':
			return i + 1
		}
	}
	return 0
}

func hasControl(s string) bool {
	for i := range len(s) {
		if (s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f {
			return true
		}
	}
	// A tab between tokens is a blank; a quoted one is a control character.
	return strings.IndexByte(s, '\t') >= 0 && strings.ContainsAny(s, "\"\\")
}

// parseMailbox takes the route, comments and blanks out of what stands between
// the brackets and checks that one address is left.
func parseMailbox(s string, strict bool) (string, error) {
	if n := routeLen(strings.TrimLeft(s, " \t")); n > 0 {
		s = strings.TrimLeft(s, " \t")[n:]
		if s == "" {
			return "", ErrSyntax
		}
	}
	b := make([]byte, 0, len(s))
	word := false  // the last token was a word
	blank := false // blanks or a comment since the last token
	at := -1
	for i := 0; i < len(s); {
		n, isWord := 1, true
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '(':
			if strict {
				return "", ErrSyntax
			}
			if c == '(' {
				if n = scanNested(s[i:]); n == 0 {
					return "", ErrSyntax
				}
			}
			blank = true
			i += n
			continue
		case c == '"':
			if n = scanNested(s[i:]); n == 0 {
				return "", ErrSyntax
			}
		case c == '[':
			if n = scanNested(s[i:]); n == 0 || len(b) == 0 || b[len(b)-1] != '@' {
				return "", ErrSyntax
			}
		case c == '\\':
			if i+1 >= len(s) {
				return "", ErrSyntax
			}
			n = 2
		case c == '@':
			at, isWord = len(b), false
		case c == '.':
			isWord = false
		case isAtomChar(c) || c == '/':
			for i+n < len(s) && isAtomChar(s[i+n]) {
				n++
			}
		case c == ':' && !strict:
			isWord = false
		default:
			return "", ErrSyntax
		}
		if isWord && word && (blank || s[i] == '"' || b[len(b)-1] == '"') {
			return "", ErrSyntax
		}
		b = append(b, s[i:i+n]...)
		word, blank = isWord, false
		i += n
	}
	// No local part, a malformed route that was left standing, or no domain.
	if len(b) > 0 && (b[0] == '@' || at == len(b)-1) {
		return "", ErrSyntax
	}
	return string(b), nil
}
