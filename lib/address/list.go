package address

import (
	"bytes"
	"strings"
)

// ParseList takes the addresses out of the value of a header such as To: or
// From: (RFC 5322 §3.4): comments and display names are left out, a group
// counts for its members, a route is dropped. The addresses are in external
// form, in order; text that is no address is returned as it stands.
func ParseList(value string) []string {
	var list []string
	RewriteList(value, 0, func(addr string) string {
		list = append(list, addr)
		return addr
	})
	return list
}

// RewriteList calls fn with each address in the value of a header and returns
// the value with the results in their places; all else, comments and white
// space included, stays as it is, but that a comma is put between addresses that
// had none. changed is false when fn changed nothing.
// The work is linear in the length of value; after limit tokens, if that is not
// 0, the rest is left as it is (header_address_token_limit).
func RewriteList(value string, limit int, fn func(addr string) string) (out string, changed bool) {
	p := listParser{s: value, fn: fn, limit: limit}
	p.run()
	if p.out == nil {
		return value, false
	}
	return string(append(p.out, value[p.done:]...)), true
}

type listParser struct {
	s            string
	fn           func(string) string
	limit, count int
	out          []byte // the rewritten text up to done; nil while nothing changed
	done         int

	tokens     []token // of the mailbox being read, without comments
	open       int     // index in tokens after "<", or -1
	inBrackets bool
}

// token is a word or a special, with its place in the value.
type token struct{ from, to int }

func (p *listParser) run() {
	p.open = -1
	for i := 0; i < len(p.s); {
		n := 1
		switch c := p.s[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
			continue
		}
		if p.count++; p.limit > 0 && p.count > p.limit {
			return
		}
		switch c := p.s[i]; c {
		case '(', '"', '[':
			if n = scanNested(p.s[i:]); n == 0 {
				n = len(p.s) - i
			}
			if c == '(' {
				i += n
				continue
			}
		case ',', ';':
			if !p.inBrackets {
				p.mailbox()
				i++
				continue
			}
		case ':':
			if !p.inBrackets { // the name of a group is no address
				p.tokens = p.tokens[:0]
				i++
				continue
			}
			// The end of a route: what follows is the address.
			p.tokens = p.tokens[:p.open]
			i++
			continue
		case '<':
			p.inBrackets = true
			p.tokens = p.tokens[:0]
			p.open = 0
			i++
			continue
		case '>':
			if p.inBrackets {
				p.inBrackets = false
				p.bracketed()
				i++
				continue
			}
		case '\\':
			n = min(2, len(p.s)-i)
		case '@', '.':
		default:
			for i+n < len(p.s) && isAtomChar(p.s[i+n]) {
				n++
			}
		}
		if p.open != -2 { // text after a closed bracket is ignored
			p.tokens = append(p.tokens, token{i, i + n})
		}
		i += n
	}
	p.mailbox()
}

// bracketed emits the address between brackets.
func (p *listParser) bracketed() {
	p.emit(p.tokens, false)
	p.tokens = p.tokens[:0]
	p.open = -2
}

// mailbox ends one element of the list.
func (p *listParser) mailbox() {
	switch {
	case p.inBrackets: // they never close
		p.emit(p.tokens, false)
	case p.open != -2:
		p.addresses()
	}
	p.tokens = p.tokens[:0]
	p.open, p.inBrackets = -1, false
}

// addresses emits what stands between two commas: one address, or several with
// only blanks between them, as people write in alias tables.
func (p *listParser) addresses() {
	start := 0
	for i := 1; i < len(p.tokens); i++ {
		last := p.tokens[i-1]
		if p.tokens[i].from > last.to && isWord(p.s[p.tokens[i].from]) && isWord(p.s[last.from]) {
			p.emit(p.tokens[start:i], start > 0)
			start = i
		}
	}
	p.emit(p.tokens[start:], start > 0)
}

// emit passes one address to fn. comma: no comma stands in front of it, and one
// must when it is replaced.
func (p *listParser) emit(tokens []token, comma bool) {
	if len(tokens) == 0 {
		return
	}
	from, to := tokens[0].from, tokens[len(tokens)-1].to
	addr := p.join(tokens)
	result := p.fn(addr)
	if result == addr {
		return
	}
	p.out = append(p.out, p.s[p.done:from]...)
	if comma {
		p.out = append(bytes.TrimRight(p.out, " \t"), ", "...)
	}
	p.out = append(p.out, result...)
	p.done = to
}

// join is the text of the tokens, with one blank between words only.
func (p *listParser) join(tokens []token) string {
	from, to := tokens[0].from, tokens[len(tokens)-1].to
	size := 0
	for _, t := range tokens {
		size += t.to - t.from
	}
	if size == to-from {
		return p.s[from:to]
	}
	var b strings.Builder
	b.Grow(to - from)
	for i, t := range tokens {
		if i > 0 && t.from > tokens[i-1].to && isWord(p.s[t.from]) && isWord(p.s[tokens[i-1].from]) {
			b.WriteByte(' ')
		}
		b.WriteString(p.s[t.from:t.to])
	}
	return b.String()
}

func isWord(c byte) bool { return c != '@' && c != '.' }
