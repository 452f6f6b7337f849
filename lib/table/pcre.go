package table

import (
	"fmt"
	"strings"

	"sealpost/lib/confline"
)

// openPCRE opens a table of Perl-compatible regular expressions. Its lines are those of
// a regexp table without "/a/!/b/". Patterns do not distinguish case, and "." matches a
// line feed; flags toggle options: i case, m "^" and "$" at line ends, s ".", x blanks in
// the pattern mean nothing, A only at the start, U the shortest match, E and X nothing
// that would make a difference here.
func openPCRE(env Env, spec, name string) (Table, error) {
	return openExpressions(env, spec, name, patternParser{env: env, title: "pcre", cut: cutPCRE})
}

// openExpressions opens a table of regular expressions of either kind.
func openExpressions(env Env, spec, name string, p patternParser) (Table, error) {
	rules, files, err := source(env, spec, name)
	if err != nil {
		return nil, err
	}
	syntax := patternSyntax{p.title + " map", "ignoring ENDIF without matching IF"}
	return &patternTable[string]{
		base:  base{spec: spec, files: files},
		rules: compile(env, syntax, name, rules, p.parse),
		parse: func(key string) (string, bool) { return key, true },
	}, nil
}

// cutPCRE takes "/pattern/flags" off text.
func cutPCRE(text string) (e expr, rest string, err error) {
	pattern, rest, err := cutPattern(text, "pcre")
	if err != nil {
		return nil, "", err
	}
	f := exprFlags{fold: true, dotAll: true}
	for rest != "" && isAlnum(rest[0]) {
		switch rest[0] {
		case 'i':
			f.fold = !f.fold
		case 'm':
			f.multiLine = !f.multiLine
		case 's':
			f.dotAll = !f.dotAll
		case 'x':
			f.extended = !f.extended
		case 'A':
			f.anchored = !f.anchored
		case 'U':
			f.ungreedy = !f.ungreedy
		case 'E', 'X':
		default:
			return nil, "", fmt.Errorf("unknown pcre option %q: skipping this rule", rest[:1])
		}
		rest = rest[1:]
	}
	e, err = compileEither(fromPCRE(pattern), f)
	if err != nil {
		return nil, "", fmt.Errorf("%w: skipping this rule", err)
	}
	return e, rest, nil
}

// fromPCRE writes what Perl has and neither engine knows in another way: \h, \H, \N and
// \R. Inside brackets only \h can be.
func fromPCRE(pattern string) string {
	if !strings.Contains(pattern, `\`) {
		return pattern
	}
	var out strings.Builder
	inside := false
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c != '\\' || i+1 == len(pattern) {
			switch {
			case c == '[' && !inside:
				inside = true
				if n := bracketStart(pattern[i:]); n > 1 {
					out.WriteString(pattern[i : i+n])
					i += n - 1
					continue
				}
			case c == ']':
				inside = false
			}
			out.WriteByte(c)
			continue
		}
		i++
		switch next := pattern[i]; {
		case next == 'h' && inside:
			out.WriteString(` \t`)
		case next == 'h':
			out.WriteString(`[ \t]`)
		case next == 'H' && !inside:
			out.WriteString(`[^ \t]`)
		case next == 'N' && !inside:
			out.WriteString(`[^\n]`)
		case next == 'R' && !inside:
			out.WriteString(`(?:\r\n|\n|\v|\f|\r)`)
		default:
			out.WriteByte('\\')
			out.WriteByte(next)
		}
	}
	return out.String()
}

// bracketStart is how many characters open a bracket expression: "[", "[^", and a "]"
// after it that does not close it.
func bracketStart(text string) int {
	n := 1
	if strings.HasPrefix(text[n:], "^") {
		n++
	}
	if strings.HasPrefix(text[n:], "]") {
		n++
	}
	return n
}

// cutPattern takes "/pattern/" off text. \ before the delimiter makes it part of the
// pattern.
func cutPattern(text, title string) (pattern, rest string, err error) {
	delim := text[0]
	end := 1
	for end < len(text) && text[end] != delim {
		if text[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(text) {
		return "", "", fmt.Errorf("no closing %s delimiter %q: skipping this rule", title, string(delim))
	}
	return text[1:end], text[end+1:], nil
}

// patternParser reads the rules of regexp and pcre tables.
type patternParser struct {
	env   Env
	title string // for messages
	// cut takes "/pattern/flags" off text.
	cut func(text string) (e expr, rest string, err error)
	// except: "/a/!/b/" is known.
	except bool
}

func (p patternParser) parse(text string, isIf bool) (patternRule[string], error) {
	var r patternRule[string]
	for strings.HasPrefix(text, "!") {
		r.negate = !r.negate
		text = strings.TrimLeft(text[1:], confline.White)
	}
	if text == "" || isAlnum(text[0]) {
		return r, errUnrecognized
	}
	e, rest, err := p.cut(text)
	if err != nil {
		return r, err
	}
	cond := exprCond{e: e}
	if p.except && strings.HasPrefix(rest, "!") && len(rest) > 1 && !isAlnum(rest[1]) && strings.IndexByte(confline.White, rest[1]) < 0 {
		if cond.except, rest, err = p.cut(rest[1:]); err != nil {
			return r, err
		}
	}
	if rest != "" && strings.IndexByte(confline.White, rest[0]) < 0 {
		return r, fmt.Errorf("unknown %s option %q: skipping this rule", p.title, rest[:1])
	}
	rest = strings.Trim(rest, confline.White)
	r.cond = cond
	if isIf {
		if rest != "" {
			return r, fmt.Errorf("unexpected text after IF pattern: %.100q: skipping this rule", rest)
		}
		return r, nil
	}
	r.result, err = p.result(e, rest, r.negate)
	return r, err
}

// result reads the right-hand side of a rule.
func (p patternParser) result(e expr, text string, negate bool) (result[string], error) {
	groups := e.count()
	if negate {
		groups = -1
	}
	parts, err := parseResult(text, groups)
	if err != nil {
		return nil, fmt.Errorf("%w: skipping this rule", err)
	}
	if len(parts) == 0 {
		return fixedResult[string]{""}, nil
	}
	if len(parts) == 1 && parts[0].group == 0 {
		return fixedResult[string]{parts[0].text}, nil
	}
	if p.env.NoSub {
		return nil, fmt.Errorf("$number substitution is not allowed here: skipping this rule")
	}
	return exprResult{e, parts}, nil
}
