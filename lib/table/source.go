package table

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"sealpost/lib/confline"
)

// rule is one logical line of a table's source.
type rule struct {
	text string
	line int // the physical line; for rules in a parameter their number
}

// source reads the rules of a pattern table: the lines of a file, or the { }
// groups of a name that is written {{rule}, {rule}}.
func source(env Env, spec, name string) (rules []rule, files []string, err error) {
	if strings.HasPrefix(name, "{") {
		inner, ok := braced(name)
		if !ok {
			return nil, nil, fmt.Errorf("bad syntax: %q; need \"type:{{rule}...}\"", spec)
		}
		for i, word := range confline.Split(inner, confline.Comma) {
			text, ok := confline.Unbrace(word)
			if !ok {
				return nil, nil, fmt.Errorf("bad syntax: %q; each rule is written in { }", spec)
			}
			rules = append(rules, rule{text, i + 1})
		}
		return rules, nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	rules, err = readRules(env, f, name, false)
	return rules, []string{name}, err
}

// readRules reads logical lines with the number of the first physical line, or the
// last. A first line that begins with a blank is skipped with a warning.
func readRules(env Env, r io.Reader, name string, last bool) ([]rule, error) {
	var rules []rule
	sc := confline.NewScanner(r)
	for {
		line, err := sc.Next()
		if err == io.EOF {
			return rules, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if line.Orphan {
			env.warnf("%s: logical line must not start with whitespace: %.30q", name, line.Text)
			continue
		}
		number := line.First
		if last {
			number = line.Last
		}
		rules = append(rules, rule{line.Text, number})
	}
}

// Entry is one key and value of a table's source (§6.2).
type Entry struct {
	Key, Value string
	Line       int
}

// ReadEntries reads the source of an indexed table: lines "key value", the key
// verbatim, with quotes. Lines that are malformed are warned and left out.
func ReadEntries(env Env, r io.Reader, name string) ([]Entry, error) {
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
		key, rest, ok := cutKey(rule.text)
		value := strings.Trim(rest, confline.White)
		switch {
		case !ok:
			env.warnf("%s, line %d: unbalanced '\"' in '%.100s' -- ignoring this line", name, rule.line, rule.text)
			continue
		case key == "" || value == "":
			env.warnf("%s, line %d: expected format: key whitespace value -- ignoring this line", name, rule.line)
			continue
		case strings.HasSuffix(key, ":"):
			env.warnf("%s, line %d: record is in \"key: value\" format; is this an alias file?", name, rule.line)
		}
		entries = append(entries, Entry{key, value, rule.line})
	}
	return entries, nil
}

// cutKey cuts text after its first word; blanks in "..." and after \ belong to
// the word. ok is false when a quote does not end.
func cutKey(text string) (key, rest string, ok bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(confline.White, c) >= 0:
			return text[:i], text[i:], true
		}
	}
	return text, "", !quoted
}

// openTexthash reads a file of "key value" lines into memory. Of two lines with
// the same key the first counts.
func openTexthash(env Env, spec, name string) (Table, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := ReadEntries(env, f, name)
	if err != nil {
		return nil, err
	}
	h := newHash(env, spec, name)
	for _, e := range entries {
		key := h.key(e.Key)
		if _, dup := h.rows[key]; dup {
			env.warnf("%s, line %d: duplicate entry: %q", name, e.Line, key)
			continue
		}
		h.rows[key] = e.Value
	}
	return h, nil
}
