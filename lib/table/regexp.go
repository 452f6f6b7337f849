package table

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strconv"
	"strings"

	"sealpost/lib/confline"
)

// openRegexp opens a table of regular expressions: lines "/PATTERN/FLAGS
// RESULT", "!/PATTERN/ RESULT", "/PATTERN/!/PATTERN/ RESULT", "if /PATTERN/",
// "if !/PATTERN/" and "endif". Patterns are POSIX extended regular expressions
// and do not distinguish case; flag i toggles that, m makes ^ and $ match at
// line ends, x toggles to basic regular expressions. $1, ${1} and $(1) in RESULT stand for what ( ) matched, $$ for $.
func openRegexp(env Env, spec, name string) (Table, error) {
	return openExpressions(env, spec, name, patternParser{env: env, title: "regexp", cut: cutRegexp, except: true})
}

// exprCond is "/a/" or "/a/!/b/".
type exprCond struct {
	e      expr
	except expr // may be nil
}

func (c exprCond) match(key string) (bool, error) {
	ok, err := c.e.match(key)
	if !ok || err != nil || c.except == nil {
		return ok, err
	}
	ok, err = c.except.match(key)
	return !ok, err
}

// part is a piece of a result: literal text or the text that a group matched.
type part struct {
	text  string
	group int // 0: literal
}

// exprResult has pieces of the text that matched.
type exprResult struct {
	e     expr
	parts []part
}

func (r exprResult) value(key string) (string, error) {
	groups, err := r.e.groups(key)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range r.parts {
		if p.group == 0 {
			out.WriteString(p.text)
		} else if p.group < len(groups) {
			out.WriteString(groups[p.group])
		}
	}
	return out.String(), nil
}

// ErrRegexp is the class of malformed regular expressions.
var ErrRegexp = errors.New("invalid regular expression")

var errUnrecognized = errors.New("ignoring unrecognized request")

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// cutRegexp takes "/pattern/flags" off text.
func cutRegexp(text string) (e expr, rest string, err error) {
	pattern, rest, err := cutPattern(text, "regexp")
	if err != nil {
		return nil, "", err
	}
	f := exprFlags{fold: true, longest: true}
	extended := true
	for rest != "" && isAlnum(rest[0]) {
		switch rest[0] {
		case 'i':
			f.fold = !f.fold
		case 'm':
			f.multiLine = !f.multiLine
		case 'x':
			extended = !extended
		default:
			return nil, "", fmt.Errorf("unknown regexp option %q: skipping this rule", rest[:1])
		}
		rest = rest[1:]
	}
	f.dotAll = !f.multiLine
	translated, backrefs, err := fromPOSIX(pattern, extended)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w: skipping this rule", ErrRegexp, err)
	}
	if backrefs {
		e, err = compileBacktracking(translated, f)
	} else {
		e, err = compileLinear(translated, f)
	}
	var syntaxErr *syntax.Error
	if errors.As(err, &syntaxErr) && (syntaxErr.Code == syntax.ErrInvalidRepeatSize || syntaxErr.Code == syntax.ErrLarge) {
		// POSIX has counts of up to 32767; package regexp has them up to 1000.
		e, err = compileBacktracking(translated, f)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w: skipping this rule", ErrRegexp, err)
	}
	return e, rest, nil
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
