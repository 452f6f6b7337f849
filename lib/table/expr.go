package table

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// expr is a compiled regular expression. Most are Go's, which take time in proportion
// to the text. One that needs back-references or look-around runs on an engine that
// tries one way after the other, within matchLimit.
type expr interface {
	match(text string) (bool, error)
	// groups are the texts of the ( ) of a match, the whole first; "" for one that
	// took no part. Only for a text that matches.
	groups(text string) ([]string, error)
	// count is the number of ( ).
	count() int
}

// matchLimit is how long one match may take.
const matchLimit = time.Second

// ErrSlow is a match that took longer than matchLimit: whether the text matches is not
// known.
var ErrSlow = errors.New("the match took too long: write the pattern with fewer ways to match")

// linear is an expression of package regexp.
type linear struct{ re *regexp.Regexp }

func (l linear) match(text string) (bool, error) { return l.re.MatchString(text), nil }
func (l linear) count() int                      { return l.re.NumSubexp() }
func (l linear) groups(text string) ([]string, error) {
	return l.re.FindStringSubmatch(text), nil
}

// backtracking is an expression of the engine with back-references.
type backtracking struct{ re *regexp2.Regexp }

func (b backtracking) match(text string) (bool, error) {
	ok, err := b.re.MatchString(text)
	if err != nil {
		return false, slow(err)
	}
	return ok, nil
}

func (b backtracking) count() int { return len(b.re.GetGroupNumbers()) - 1 }

func (b backtracking) groups(text string) ([]string, error) {
	m, err := b.re.FindStringMatch(text)
	if err != nil {
		return nil, slow(err)
	}
	if m == nil {
		return nil, nil
	}
	var list []string
	for _, g := range m.Groups() {
		list = append(list, g.String())
	}
	return list, nil
}

// slow is the error of a match: the engine has no other than the end of its time, or
// of its stack.
func slow(err error) error { return fmt.Errorf("%w (%v)", ErrSlow, err) }

// exprFlags are the options of an expression.
type exprFlags struct {
	fold, multiLine, dotAll, ungreedy, extended, anchored bool
	longest                                               bool // POSIX: of all matches the longest
}

// letters are the flags in front of an expression, in the form that both engines know.
func (f exprFlags) letters() string {
	var b strings.Builder
	for _, flag := range []struct {
		on     bool
		letter byte
	}{{f.fold, 'i'}, {f.multiLine, 'm'}, {f.dotAll, 's'}} {
		if flag.on {
			b.WriteByte(flag.letter)
		}
	}
	return b.String()
}

// compileLinear compiles for package regexp, which has no flag x.
func compileLinear(pattern string, f exprFlags) (expr, error) {
	if f.extended {
		return nil, errors.New("flag x")
	}
	letters := f.letters()
	if f.ungreedy {
		letters += "U"
	}
	re, err := regexp.Compile(assemble(pattern, letters, f.anchored))
	if err != nil {
		return nil, err
	}
	if f.longest {
		re.Longest()
	}
	return linear{re}, nil
}

// compileBacktracking compiles for the engine with back-references, which has no
// flag U.
func compileBacktracking(pattern string, f exprFlags) (expr, error) {
	if f.ungreedy {
		return nil, errors.New("flag U cannot be combined with what this pattern needs")
	}
	letters := f.letters()
	if f.extended {
		letters += "x"
	}
	re, err := regexp2.Compile(assemble(pattern, letters, f.anchored), regexp2.OptionMaintainCaptureOrder())
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchLimit
	return backtracking{re}, nil
}

func assemble(pattern, letters string, anchored bool) string {
	if letters != "" {
		letters = "(?" + letters + ")"
	}
	if anchored {
		return letters + `\A(?:` + pattern + `)`
	}
	return letters + pattern
}

// compileEither takes the engine whose time is bounded where it can.
func compileEither(pattern string, f exprFlags) (expr, error) {
	e, err := compileLinear(pattern, f)
	if err == nil {
		return e, nil
	}
	if e, err2 := compileBacktracking(pattern, f); err2 == nil {
		return e, nil
	} else if f.extended {
		err = err2
	}
	return nil, fmt.Errorf("%w: %w", ErrRegexp, err)
}
