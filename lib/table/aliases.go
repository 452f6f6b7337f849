package table

import (
	"io"
	"strings"
	"unicode/utf8"

	"sealpost/lib/confline"
)

// ReadAliases reads a file of aliases (§6.2): lines "name: value, value". The name may be
// in quotes, which are removed. Values are addresses, "|command", /file and
// :include:/file; they are kept as written, with ", " between them. Lines that are
// malformed are warned and left out.
func ReadAliases(env Env, r io.Reader, name string) ([]Entry, error) {
	rules, err := readRules(env, r, name, true)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(rules))
	for _, rule := range rules {
		if !env.AnyBytes && !utf8.ValidString(rule.text) {
			env.warnf("%s, line %d: non-UTF-8 input %.100q -- ignoring this line", name, rule.line, rule.text)
			continue
		}
		left, right, found, ok := cutOutside(rule.text, ':')
		if !ok {
			env.warnf("%s, line %d: unbalanced '\"' or '(' in '%.100s' -- ignoring this line", name, rule.line, rule.text)
			continue
		}
		key := unquoteName(strings.Trim(left, confline.White))
		var values []string
		for rest := right; found && rest != ""; {
			var value string
			value, rest, _, _ = cutOutside(rest, ',')
			if value = strings.Trim(value, confline.White); value != "" {
				values = append(values, value)
			}
		}
		switch {
		case !found || key == "" || len(values) == 0:
			env.warnf("%s, line %d: need name:value pair", name, rule.line)
		case strings.Contains(key, "@"):
			env.warnf("%s, line %d: name must be local", name, rule.line)
		default:
			entries = append(entries, Entry{key, strings.Join(values, ", "), rule.line})
		}
	}
	return entries, nil
}

// cutOutside cuts text at the first sep that is not in quotes, in a comment or after a
// backslash. ok is false when a quote or a comment does not end.
func cutOutside(text string, sep byte) (before, after string, found, ok bool) {
	quoted, depth := false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == sep && depth == 0:
			return text[:i], text[i+1:], true, true
		}
	}
	return text, "", false, !quoted && depth == 0
}

// unquoteName is a name without its quotes and backslashes.
func unquoteName(name string) string {
	if !strings.ContainsAny(name, `"\`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '\\' && i+1 < len(name):
			i++
			b.WriteByte(name[i])
		case c != '"':
			b.WriteByte(c)
		}
	}
	return b.String()
}
