package table

import (
	"context"
	"fmt"
	"strings"

	"sealpost/lib/confline"
)

// matcher is the condition of one pattern rule.
type matcher[K any] interface {
	match(key K) (bool, error)
}

// patternRule is one rule of a pattern table. A rule with skip > 0 is an "if":
// when it does not match, that many rules after it are passed over.
type patternRule[K any] struct {
	cond   matcher[K]
	negate bool
	skip   int
	isIf   bool
	result result[K]
	line   int
}

// result makes the answer of a rule that matched.
type result[K any] interface {
	value(key K) (string, error)
}

// patternTable is a list of rules; the first that matches answers.
type patternTable[K any] struct {
	base
	rules []patternRule[K]
	// parse turns a look-up key into what the rules compare; ok false means that
	// no rule can match.
	parse func(key string) (K, bool)
}

func (p *patternTable[K]) Lookup(_ context.Context, text string) (string, bool, error) {
	key, ok := p.parse(text)
	if !ok {
		return "", false, nil
	}
	for i := 0; i < len(p.rules); i++ {
		r := &p.rules[i]
		ok, err := r.cond.match(key)
		if err != nil {
			return "", false, p.fail(r, err)
		}
		if ok == r.negate {
			i += r.skip
			continue
		}
		if !r.isIf {
			value, err := r.result.value(key)
			if err != nil {
				return "", false, p.fail(r, err)
			}
			return value, true, nil
		}
	}
	return "", false, nil
}

// fail is a rule that could not be tried: what comes after it must not answer.
func (p *patternTable[K]) fail(r *patternRule[K], err error) error {
	return Fail(p.spec, fmt.Errorf("line %d: %w", r.line, err))
}

// ruleParser turns one line of a pattern table, without its "if", into a rule.
type ruleParser[K any] func(text string, isIf bool) (patternRule[K], error)

// patternSyntax is how messages about a kind of pattern table are worded.
type patternSyntax struct {
	title      string // "regexp map"
	strayEndif string
}

// compile parses rules and resolves if and endif. Rules that are malformed are
// warned and left out.
func compile[K any](env Env, s patternSyntax, name string, rules []rule, parse ruleParser[K]) []patternRule[K] {
	var out []patternRule[K]
	var open []int
	for _, r := range rules {
		text := strings.Trim(r.text, confline.White)
		if word, rest, _ := strings.Cut(text, " "); strings.EqualFold(strings.TrimRight(word, "\t"), "endif") {
			if strings.Trim(rest, confline.White) != "" {
				env.warnf("%s %s, line %d: ignoring extra text after ENDIF", s.title, name, r.line)
			}
			if len(open) == 0 {
				env.warnf("%s %s, line %d: %s", s.title, name, r.line, s.strayEndif)
				continue
			}
			top := open[len(open)-1]
			open = open[:len(open)-1]
			out[top].skip = len(out) - top - 1
			continue
		}
		isIf := len(text) > 2 && strings.EqualFold(text[:2], "if") && (strings.IndexByte(confline.White, text[2]) >= 0 || text[2] == '!' || text[2] == '/')
		if isIf {
			text = strings.TrimLeft(text[2:], confline.White)
		}
		p, err := parse(text, isIf)
		if err != nil {
			env.warnf("%s %s, line %d: %v", s.title, name, r.line, err)
			if !isIf {
				continue
			}
			// The rules inside an "if" that cannot be read must not apply.
			p = patternRule[K]{cond: never[K]{}}
		}
		p.line, p.isIf = r.line, isIf
		if isIf {
			open = append(open, len(out))
		}
		out = append(out, p)
	}
	for i := len(open) - 1; i >= 0; i-- {
		env.warnf("%s %s, line %d: IF has no matching ENDIF", s.title, name, out[open[i]].line)
		out[open[i]].skip = len(out) - open[i] - 1
	}
	return out
}

type never[K any] struct{}

func (never[K]) match(K) (bool, error) { return false, nil }
