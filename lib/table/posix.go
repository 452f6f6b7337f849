package table

import (
	"errors"
	"strings"
)

// The expressions that POSIX allows and this table type cannot match.
var (
	errBracket = errors.New("unmatched [")
	errEscape  = errors.New("trailing backslash")
	errGroup   = errors.New("text after ( begins with ?")
)

// fromPOSIX writes a POSIX regular expression, extended or basic, with the
// extensions of the GNU library, in the syntax of package regexp. backrefs tells that
// it has \1 to \9, which that package cannot match.
func fromPOSIX(pattern string, extended bool) (translated string, backrefs bool, err error) {
	var out strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '[':
			n, err := bracket(&out, pattern[i:])
			if err != nil {
				return "", false, err
			}
			i += n - 1
		case c == '\\':
			i++
			if i == len(pattern) {
				return "", false, errEscape
			}
			backrefs = backrefs || '1' <= pattern[i] && pattern[i] <= '9'
			escape(&out, pattern[i], extended)
		case extended && c == '(' && strings.HasPrefix(pattern[i+1:], "?"):
			return "", false, errGroup
		case !extended && strings.IndexByte("(){}+?|", c) >= 0:
			out.WriteByte('\\')
			out.WriteByte(c)
		case !extended && c == '*' && (i == 0 || strings.HasSuffix(pattern[:i], `\(`) || pattern[:i] == "^"):
			out.WriteString(`\*`)
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), backrefs, nil
}

// escape writes what \c means.
func escape(out *strings.Builder, c byte, extended bool) {
	switch {
	case '1' <= c && c <= '9':
		out.WriteByte('\\')
		out.WriteByte(c)
	case c == '<' || c == '>':
		out.WriteString(`\b`)
	case c == '`':
		out.WriteString(`\A`)
	case c == '\'':
		out.WriteString(`\z`)
	case strings.IndexByte("bBwWsS", c) >= 0:
		out.WriteByte('\\')
		out.WriteByte(c)
	case isAlnum(c) || c >= 0x80 || c == '_' || c <= ' ':
		out.WriteByte(c)
	case !extended && strings.IndexByte("(){}+?|", c) >= 0:
		out.WriteByte(c)
	default:
		out.WriteByte('\\')
		out.WriteByte(c)
	}
}

// bracket writes the bracket expression that text begins with and returns its
// length. A backslash in it is a character like any other.
func bracket(out *strings.Builder, text string) (int, error) {
	i := 1
	out.WriteByte('[')
	if i < len(text) && text[i] == '^' {
		out.WriteByte('^')
		i++
	}
	for first := true; ; first = false {
		if i >= len(text) {
			return 0, errBracket
		}
		switch c := text[i]; {
		case c == ']' && !first:
			out.WriteByte(']')
			return i + 1, nil
		case c == '[' && i+1 < len(text) && text[i+1] == ':':
			end := strings.Index(text[i:], ":]")
			if end < 0 {
				return 0, errBracket
			}
			out.WriteString(text[i : i+end+2])
			i += end + 2
		case c == '\\' || c == '[' || c == ']' || c == '^':
			out.WriteByte('\\')
			out.WriteByte(c)
			i++
		default:
			out.WriteByte(c)
			i++
		}
	}
}
