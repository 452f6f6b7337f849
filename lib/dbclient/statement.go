package dbclient

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrStatement is a query in which a % sequence stands where no value can.
var ErrStatement = errors.New("invalid query")

// Dialect says how a database reads SQL.
type Dialect struct {
	Numbered    bool // $1, $2 ... stand for values, else ?
	Backslash   bool // \ is special in '...', and "..." is text
	HashComment bool // # begins a comment
	Dollar      bool // $tag$ ... $tag$ is text
}

// Statement is a query whose % sequences have become values that the database
// never reads as SQL: '...%s...' is one value, as is %s outside of quotes.
type Statement struct {
	Text string
	args []Template
}

// Args are the values for key; false: it lacks what the query asks for.
func (s *Statement) Args(key string) ([]any, bool) {
	args := make([]any, len(s.args))
	for i, t := range s.args {
		text, ok := t.Expand(key, nil)
		if !ok {
			return nil, false
		}
		args[i] = text
	}
	return args, true
}

// ParseStatement reads a query.
func ParseStatement(query string, d Dialect) (*Statement, error) {
	p := &sqlParser{rest: query, d: d}
	for p.rest != "" {
		if err := p.step(); err != nil {
			return nil, fmt.Errorf("%w: %w in %q", ErrStatement, err, query)
		}
	}
	return &Statement{Text: p.out.String(), args: p.args}, nil
}

type sqlParser struct {
	rest string
	d    Dialect
	out  strings.Builder
	args []Template
}

// step reads one character, comment or quoted text.
func (p *sqlParser) step() error {
	c := p.rest[0]
	switch {
	case c == '\'', c == '"' && p.d.Backslash:
		return p.text(c)
	case c == '"' || c == '`':
		return p.verbatim(p.rest[:1], p.rest[:1], "a quoted name")
	case strings.HasPrefix(p.rest, "--"), c == '#' && p.d.HashComment:
		return p.verbatim(p.rest[:1], "\n", "a comment")
	case strings.HasPrefix(p.rest, "/*"):
		return p.verbatim("/*", "*/", "a comment")
	case c == '$' && p.d.Dollar:
		return p.dollar()
	case c == '?' && !p.d.Numbered:
		return errors.New("a ? outside of quotes")
	case c == '%':
		return p.bare()
	}
	p.out.WriteByte(c)
	p.rest = p.rest[1:]
	return nil
}

// bare reads a % sequence outside of quotes.
func (p *sqlParser) bare() error {
	n := min(2, len(p.rest))
	t, err := ParseTemplate(p.rest[:n])
	if err != nil {
		return err
	}
	p.rest = p.rest[n:]
	p.value(t)
	return nil
}

// value writes a value, or the text of one that is always the same percent sign.
func (p *sqlParser) value(t Template) {
	if text, ok := t.Constant(); ok {
		p.out.WriteString(text)
		return
	}
	p.args = append(p.args, t)
	if p.d.Numbered {
		p.out.WriteString("$" + strconv.Itoa(len(p.args)))
	} else {
		p.out.WriteByte('?')
	}
}

// text reads a quoted text. Without % sequences it stays as it is.
func (p *sqlParser) text(quote byte) error {
	var inner strings.Builder
	i := 1
	for ; ; i++ {
		if i >= len(p.rest) {
			return errors.New("a text that does not end")
		}
		c := p.rest[i]
		switch {
		case c == '\\' && p.d.Backslash && i+1 < len(p.rest):
			i++
			inner.WriteString(unescape(p.rest[i]))
			continue
		case c != quote:
		case i+1 < len(p.rest) && p.rest[i+1] == quote:
			i++
		default:
			return p.closed(inner.String(), i+1)
		}
		inner.WriteByte(c)
	}
}

// closed ends a text of n bytes whose meaning is inner.
func (p *sqlParser) closed(inner string, n int) error {
	t, err := ParseTemplate(inner)
	if err != nil {
		return err
	}
	written := p.rest[:n]
	p.rest = p.rest[n:]
	if _, constant := t.Constant(); constant {
		p.out.WriteString(strings.ReplaceAll(written, "%%", "%"))
		return nil
	}
	if last := lastByte(p.out.String()); last|0x20 >= 'a' && last|0x20 <= 'z' || last == '&' || last == '_' {
		return errors.New("a % sequence in a text with a prefix, such as E'...'")
	}
	p.value(t)
	return nil
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// unescape is the meaning of \c in a text of MySQL. \% and \_ keep their
// backslash: they are for LIKE.
func unescape(c byte) string {
	switch c {
	case '0':
		return "\x00"
	case 'b':
		return "\b"
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case 'Z':
		return "\x1a"
	case '%', '_':
		return `\` + string(c)
	}
	return string(c)
}

// verbatim copies what no value can stand in.
func (p *sqlParser) verbatim(begin, end, what string) error {
	i := strings.Index(p.rest[len(begin):], end)
	n := len(p.rest)
	if i >= 0 {
		n = len(begin) + i + len(end)
	} else if end != "\n" {
		return errors.New(what + " that does not end")
	}
	t, err := ParseTemplate(p.rest[:n])
	if err != nil {
		return err
	}
	text, ok := t.Constant()
	if !ok {
		return errors.New("a % sequence in " + what)
	}
	p.out.WriteString(text)
	p.rest = p.rest[n:]
	return nil
}

// dollar reads $tag$ ... $tag$.
func (p *sqlParser) dollar() error {
	n := 1
	for n < len(p.rest) && isNameByte(p.rest[n]) {
		n++
	}
	if n == len(p.rest) || p.rest[n] != '$' || n > 1 && p.rest[1] >= '0' && p.rest[1] <= '9' {
		return errors.New("a $ outside of quotes")
	}
	tag := p.rest[:n+1]
	return p.verbatim(tag, tag, "a dollar-quoted text")
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
