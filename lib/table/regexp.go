package table

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sealpost/lib/confline"
)

// openRegexp opens a table of regular expressions: lines "/PATTERN/FLAGS
// RESULT", "!/PATTERN/ RESULT", "/PATTERN/!/PATTERN/ RESULT", "if /PATTERN/",
// "if !/PATTERN/" and "endif". Patterns are POSIX extended regular expressions
// and do not distinguish case; flag i toggles that, m makes ^ and $ match at
// line ends, x toggles to basic regular expressions. Expressions take time in
// proportion to the text: back-references are not possible. $1, ${1} and $(1) in
// RESULT stand for what ( ) matched, $$ for $.
func openRegexp(env Env, spec, name string) (Table, error) {
	rules, files, err := source(env, spec, name)
	if err != nil {
		return nil, err
	}
	syntax := patternSyntax{"regexp map", "ignoring ENDIF without matching IF"}
	return &patternTable[string]{
		base:  base{spec: spec, files: files},
		rules: compile(env, syntax, name, rules, parseRegexp),
		parse: func(key string) (string, bool) { return key, true },
	}, nil
}

// reCond is "/a/" or "/a/!/b/".
type reCond struct {
	re     *regexp.Regexp
	except *regexp.Regexp // may be nil
}

func (c reCond) match(key string) bool {
	return c.re.MatchString(key) && (c.except == nil || !c.except.MatchString(key))
}

// part is a piece of a result: literal text or the text that a group matched.
type part struct {
	text  string
	group int // 0: literal
}

type reResult struct {
	re    *regexp.Regexp
	parts []part
}

func (r reResult) value(key string) string {
	loc := r.re.FindStringSubmatchIndex(key)
	var out strings.Builder
	for _, p := range r.parts {
		if p.group == 0 {
			out.WriteString(p.text)
		} else if i := 2 * p.group; i+1 < len(loc) && loc[i] >= 0 {
			out.WriteString(key[loc[i]:loc[i+1]])
		}
	}
	return out.String()
}

// ErrRegexp is the class of malformed regular expressions.
var ErrRegexp = errors.New("invalid regular expression")

func parseRegexp(text string, isIf bool) (patternRule[string], error) {
	var r patternRule[string]
	for strings.HasPrefix(text, "!") {
		r.negate = !r.negate
		text = strings.TrimLeft(text[1:], confline.White)
	}
	if text == "" || isAlnum(text[0]) {
		return r, errors.New("ignoring unrecognized request")
	}
	re, rest, err := cutRegexp(text)
	if err != nil {
		return r, err
	}
	cond := reCond{re: re}
	if strings.HasPrefix(rest, "!") && len(rest) > 1 && !isAlnum(rest[1]) && strings.IndexByte(confline.White, rest[1]) < 0 {
		if cond.except, rest, err = cutRegexp(rest[1:]); err != nil {
			return r, err
		}
	}
	if rest != "" && strings.IndexByte(confline.White, rest[0]) < 0 {
		return r, fmt.Errorf("unknown regexp option %q: skipping this rule", rest[:1])
	}
	rest = strings.Trim(rest, confline.White)
	r.cond = cond
	if isIf {
		if rest != "" {
			return r, fmt.Errorf("unexpected text after IF pattern: %.100q: skipping this rule", rest)
		}
		return r, nil
	}
	groups := re.NumSubexp()
	if r.negate {
		groups = -1
	}
	parts, err := parseResult(rest, groups)
	if err != nil {
		return r, fmt.Errorf("%w: skipping this rule", err)
	}
	if len(parts) == 0 || len(parts) == 1 && parts[0].group == 0 {
		literal := ""
		if len(parts) == 1 {
			literal = parts[0].text
		}
		r.result = fixedResult[string]{literal}
		return r, nil
	}
	r.result = reResult{re, parts}
	return r, nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// cutRegexp takes "/pattern/flags" off text. \ before the delimiter makes it
// part of the pattern.
func cutRegexp(text string) (re *regexp.Regexp, rest string, err error) {
	delim := text[0]
	end := 1
	for end < len(text) && text[end] != delim {
		if text[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(text) {
		return nil, "", fmt.Errorf("no closing regexp delimiter %q: skipping this rule", string(delim))
	}
	pattern, rest := text[1:end], text[end+1:]
	fold, multi, extended := true, false, true
	for rest != "" && isAlnum(rest[0]) {
		switch rest[0] {
		case 'i':
			fold = !fold
		case 'm':
			multi = !multi
		case 'x':
			extended = !extended
		default:
			return nil, "", fmt.Errorf("unknown regexp option %q: skipping this rule", rest[:1])
		}
		rest = rest[1:]
	}
	flags := "s"
	if multi {
		flags = "m"
	}
	if fold {
		flags += "i"
	}
	translated, err := fromPOSIX(pattern, extended)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w: skipping this rule", ErrRegexp, err)
	}
	re, err = regexp.Compile("(?" + flags + ")" + translated)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w: skipping this rule", ErrRegexp, err)
	}
	re.Longest()
	return re, rest, nil
}

// parseResult cuts a result into text and $ references. groups is the number of
// ( ) in the pattern; -1 allows no reference.
func parseResult(text string, groups int) ([]part, error) {
	var parts []part
	literal := ""
	for text != "" {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			literal += text
			break
		}
		literal, text = literal+text[:i], text[i+1:]
		if strings.HasPrefix(text, "$") {
			literal, text = literal+"$", text[1:]
			continue
		}
		index, rest, err := cutIndex(text)
		if err != nil {
			return nil, err
		}
		switch {
		case groups < 0:
			return nil, errors.New("$number found in negative match replacement text")
		case index < 1 || index > groups:
			return nil, fmt.Errorf("out of range replacement index %q", strconv.Itoa(index))
		}
		if literal != "" {
			parts = append(parts, part{text: literal})
		}
		parts = append(parts, part{group: index})
		literal, text = "", rest
	}
	if literal != "" {
		parts = append(parts, part{text: literal})
	}
	return parts, nil
}

// cutIndex takes "1", "{1}" or "(1)" off text.
func cutIndex(text string) (index int, rest string, err error) {
	word := ""
	if n := confline.Balanced(text); n > 0 {
		word, rest = text[1:n-1], text[n:]
	} else {
		n := 0
		for n < len(text) && (isAlnum(text[n]) || text[n] == '_') {
			n++
		}
		word, rest = text[:n], text[n:]
	}
	index, err = strconv.Atoi(word)
	if err != nil {
		return 0, "", fmt.Errorf("non-numeric replacement index %q", word)
	}
	return index, rest, nil
}
