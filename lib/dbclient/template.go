package dbclient

import (
	"errors"
	"fmt"
	"strings"
)

// ErrTemplate is a % that begins none of the known sequences.
var ErrTemplate = errors.New("invalid query template")

// Template is a text with % sequences, parsed.
type Template struct {
	pieces []piece
}

// piece is literal text, or a sequence when verb is not 0.
type piece struct {
	text string
	verb byte
}

// ParseTemplate parses a text with % sequences.
func ParseTemplate(text string) (Template, error) {
	var t Template
	var literal strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			literal.WriteByte(text[i])
			continue
		}
		if i++; i == len(text) || strings.IndexByte("%sudSUD123456789", text[i]) < 0 {
			return Template{}, fmt.Errorf("%w %q: after %% is one of %% s u d S U D 1-9", ErrTemplate, text)
		}
		if text[i] == '%' {
			literal.WriteByte('%')
			continue
		}
		t.pieces = append(t.pieces, piece{text: literal.String()}, piece{verb: text[i]})
		literal.Reset()
	}
	t.pieces = append(t.pieces, piece{text: literal.String()})
	return t, nil
}

// Constant reports that a template has no sequences, and its text.
func (t Template) Constant() (string, bool) {
	for _, p := range t.pieces {
		if p.verb != 0 {
			return "", false
		}
	}
	return t.join(func(byte) (string, bool) { return "", false })
}

// Expand fills a key in; quote is applied to what is filled in. It reports false
// for a key that lacks what the template asks for.
func (t Template) Expand(key string, quote func(string) string) (string, bool) {
	return t.join(func(verb byte) (string, bool) {
		text, ok := partOf(key, verb|0x20)
		if ok && quote != nil {
			text = quote(text)
		}
		return text, ok
	})
}

// Apply fills a value and the key that it was found with in.
func (t Template) Apply(key, value string) (string, bool) {
	return t.join(func(verb byte) (string, bool) {
		if verb >= 'a' {
			return partOf(value, verb)
		}
		return partOf(key, verb|0x20)
	})
}

func (t Template) join(part func(verb byte) (string, bool)) (string, bool) {
	var b strings.Builder
	for _, p := range t.pieces {
		if p.verb == 0 {
			b.WriteString(p.text)
			continue
		}
		text, ok := part(p.verb)
		if !ok {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// partOf is what a sequence stands for. verb|0x20 leaves digits as they are.
func partOf(key string, verb byte) (string, bool) {
	if verb == 's' {
		return key, key != ""
	}
	at := strings.LastIndexByte(key, '@')
	switch {
	case verb == 'u' && at < 0:
		return key, key != ""
	case verb == 'u':
		return key[:at], at > 0
	case at < 0 || at == len(key)-1:
		return "", false
	case verb == 'd':
		return key[at+1:], true
	}
	labels := strings.Split(key[at+1:], ".")
	n := int(verb - '0')
	if n > len(labels) || labels[len(labels)-n] == "" {
		return "", false
	}
	return labels[len(labels)-n], true
}
