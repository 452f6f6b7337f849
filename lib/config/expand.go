package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sealpost/lib/confline"
	"sealpost/lib/idn"
)

// Limits of one expansion.
const (
	maxNesting  = 100     // { } inside each other
	maxExpanded = 1 << 20 // bytes of a result
)

// ErrExpand is the class of all errors in $name expressions.
var ErrExpand = errors.New("bad $name expression")

// expandError is one malformed expression; its text follows Postfix
// (requiretls.md section 10.1).
type expandError struct{ text string }

func (e *expandError) Error() string        { return e.text }
func (e *expandError) Is(target error) bool { return target == ErrExpand }

func expandErrorf(format string, args ...any) error {
	return &expandError{fmt.Sprintf(format, args...)}
}

// lookupFunc gives the expanded value of a name.
type lookupFunc func(name string) (value string, defined bool, err error)

// expander expands $name, ${name}, $(name), ${name?text}, ${name:text},
// ${name?{text}:{text}}, ${{text} op {text}?{text}:{text}} and ${function{text}}.
// What a name or a function yields is not expanded again.
type expander struct {
	lookup  lookupFunc
	profile func() (idn.Profile, error) // for domain_to_*; asked only then
}

func (x *expander) expand(text string) (string, error) {
	if strings.IndexByte(text, '$') < 0 {
		return text, nil
	}
	var out strings.Builder
	if err := x.into(&out, text, 0); err != nil {
		return "", err
	}
	return out.String(), nil
}

func (x *expander) into(out *strings.Builder, text string, depth int) error {
	if depth > maxNesting {
		return expandErrorf("unreasonable macro call nesting: %q", clip(text))
	}
	whole := text
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			out.WriteString(text)
			break
		}
		out.WriteString(text[:i])
		text = text[i+1:]
		if text == "" {
			return expandErrorf("empty macro name: %q", clip(whole))
		}
		switch text[0] {
		case '$':
			out.WriteByte('$')
			text = text[1:]
		case '{', '(':
			n := confline.Balanced(text)
			if n < 0 {
				return expandErrorf("truncated macro reference: %q", clip("$"+text))
			}
			if err := x.expression(out, text[1:n-1], depth); err != nil {
				return err
			}
			text = text[n:]
		default:
			n := nameLen(text)
			if n == 0 {
				return expandErrorf("empty macro name: %q", clip(whole))
			}
			value, _, err := x.lookup(text[:n])
			if err != nil {
				return err
			}
			out.WriteString(value)
			text = text[n:]
		}
		if out.Len() > maxExpanded {
			return expandErrorf("the value is longer than %d bytes", maxExpanded)
		}
	}
	return nil
}

// expression is what stands between ${ and }.
func (x *expander) expression(out *strings.Builder, inner string, depth int) error {
	text := skipWhite(inner)
	if strings.HasPrefix(text, "{") {
		return x.relation(out, inner, text, depth)
	}
	n := nameLen(text)
	name, rest := text[:n], skipWhite(text[n:])
	if n == 0 {
		switch {
		case inner == "":
			return expandErrorf("empty macro name: %q", "${}")
		case text == "":
			return nil
		}
		return expandErrorf("attribute name syntax error at: \"...>>>%s\"", clip(text))
	}
	if strings.HasPrefix(rest, "{") {
		return x.call(out, inner, name, rest, depth)
	}
	if rest != "" && rest[0] != '?' && rest[0] != ':' {
		return expandErrorf("attribute name syntax error at: \"...%s>>>%s\"", clip(name), clip(text[n:]))
	}
	value, _, err := x.lookup(name)
	if err != nil {
		return err
	}
	if rest == "" {
		out.WriteString(value)
		return nil
	}
	return x.branch(out, rest, value != "", depth)
}

// branch writes the part of "?text", ":text" or "?{text}:{text}" that truth selects.
func (x *expander) branch(out *strings.Builder, text string, truth bool, depth int) error {
	then, otherwise := "", ""
	if text[0] == '?' {
		arg, rest, braced, err := branchText(text[1:])
		if err != nil {
			return err
		}
		then, text = arg, rest
		if braced && text != "" && text[0] != ':' {
			return expandErrorf("\":\" expected at: \"...%s}>>>%s\"", clip(arg), clip(text))
		}
	}
	if text != "" {
		arg, rest, _, err := branchText(text[1:])
		if err != nil {
			return err
		}
		if rest != "" {
			return expandErrorf("unexpected input at: \"...%s}>>>%s\"", clip(arg), clip(rest))
		}
		otherwise = arg
	}
	if !truth {
		then = otherwise
	}
	return x.into(out, then, depth+1)
}

// branchText is the text after "?" or ":": one { } group, whose white space
// counts, or all the rest.
func branchText(text string) (arg, rest string, braced bool, err error) {
	group := skipWhite(text)
	if !strings.HasPrefix(group, "{") {
		return text, "", false, nil
	}
	n := confline.Balanced(group)
	if n < 0 {
		return "", "", false, expandErrorf("unbalanced {} in attribute expression: \"%s\"", clip(group))
	}
	return group[1 : n-1], skipWhite(group[n:]), true, nil
}

// relation is "{left} op {right} ? {text} : {text}".
func (x *expander) relation(out *strings.Builder, inner, text string, depth int) error {
	left, rest, _, err := branchText(text)
	if err != nil {
		return err
	}
	op, word, after := operator(rest)
	if op == "" {
		return expandErrorf("%s expected at: \"...%s}>>>%s\"", `"==" or "!=" or "<" or "<=" or ">=" or ">"`, clip(left), clip(rest))
	}
	if !strings.HasPrefix(skipWhite(after), "{") {
		return expandErrorf("\"{expression}\" expected at: \"...{%s} %s%s>>>%s\"", clip(left), op, word, clip(after))
	}
	right, rest, _, err := branchText(after)
	if err != nil {
		return err
	}
	var l, r strings.Builder
	if err := x.into(&l, left, depth+1); err != nil {
		return err
	}
	if err := x.into(&r, right, depth+1); err != nil {
		return err
	}
	truth, err := compare(l.String(), op, word, r.String())
	if err != nil {
		return err
	}
	switch {
	case rest == "":
		if truth {
			out.WriteString("true")
		}
		return nil
	case rest[0] != '?' && rest[0] != ':':
		return expandErrorf("\"?\" or \":\" expected at: \"...}>>>%s\"", clip(rest))
	}
	return x.branch(out, rest, truth, depth)
}

// operator takes a comparison and the word glued to it off text.
func operator(text string) (op, word, rest string) {
	for _, o := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if strings.HasPrefix(text, o) {
			n := nameLen(text[len(o):])
			return o, text[len(o) : len(o)+n], text[len(o)+n:]
		}
	}
	return "", "", text
}

func compare(left, op, word, right string) (bool, error) {
	var order int
	switch word {
	case "":
		order = compareValues(left, right)
	case "level":
		l, err := parseLevel(left)
		if err != nil {
			return false, err
		}
		r, err := parseLevel(right)
		if err != nil {
			return false, err
		}
		order = compareLevels(l, r)
	default:
		return false, expandErrorf("bad operator suffix at: \"...%s>>>%s\"", op, word)
	}
	switch op {
	case "==":
		return order == 0, nil
	case "!=":
		return order != 0, nil
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	}
	return order >= 0, nil
}

// compareValues compares numbers as numbers, other text byte by byte.
func compareValues(left, right string) int {
	if allDigits(left) && allDigits(right) {
		left, right = strings.TrimLeft(left, "0"), strings.TrimLeft(right, "0")
		if len(left) != len(right) {
			return len(left) - len(right)
		}
	}
	return strings.Compare(left, right)
}

// level is a compatibility level: major.minor.patch.
type level [3]uint64

func parseLevel(text string) (level, error) {
	var l level
	parts := strings.Split(strings.Trim(text, confline.White), ".")
	if len(parts) > len(l) {
		return l, expandErrorf("malformed compatibility level syntax: %q", clip(text))
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || !allDigits(part) {
			return l, expandErrorf("malformed compatibility level syntax: %q", clip(text))
		}
		l[i] = n
	}
	return l, nil
}

func compareLevels(a, b level) int {
	for i := range a {
		if a[i] != b[i] {
			if a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// call is "function{argument}".
func (x *expander) call(out *strings.Builder, inner, name, rest string, depth int) error {
	arg, tail, _, err := branchText(rest)
	if err != nil {
		return err
	}
	arg = strings.Trim(arg, confline.White)
	if tail != "" {
		return expandErrorf("unexpected input at: \"...%s}>>>%.20s\"", clip(arg), tail)
	}
	if name != "domain_to_ascii" && name != "domain_to_utf8" {
		return expandErrorf("unknown function %q at\"...>>>%s{%s}\"", name, name, clip(arg))
	}
	var value strings.Builder
	if err := x.into(&value, arg, depth+1); err != nil {
		return err
	}
	domain := value.String()
	if idn.ASCII(domain) && name == "domain_to_ascii" {
		out.WriteString(domain)
		return nil
	}
	profile, err := x.profile()
	if err != nil {
		return err
	}
	convert := profile.ToASCII
	if name == "domain_to_utf8" {
		convert = profile.ToUnicode
	}
	result, err := convert(domain)
	if err != nil {
		return expandErrorf("bad domain argument in: '%s{%s}'", name, clip(domain))
	}
	out.WriteString(result)
	return nil
}

func nameLen(s string) int {
	n := 0
	for n < len(s) && isNameByte(s[n]) {
		n++
	}
	return n
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func skipWhite(s string) string { return strings.TrimLeft(s, confline.White) }

// clip keeps foreign text in a message short.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
