package confline

import "strings"

// White is the white space of configuration text; Comma is White and the comma.
const (
	White = " \t\r\n"
	Comma = White + ","
)

// Split cuts text into words at any character of separators. Text in balanced
// { } is not cut; the braces stay. A brace that is never closed keeps the rest
// of the text together.
func Split(text, separators string) []string {
	var words []string
	start, level := -1, 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '{':
			level++
		case c == '}' && level > 0:
			level--
		case level == 0 && strings.IndexByte(separators, c) >= 0:
			if start >= 0 {
				words = append(words, text[start:i])
				start = -1
			}
			continue
		}
		if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		words = append(words, text[start:])
	}
	return words
}

// Unbrace takes one pair of { } and the white space inside it off text that is
// wholly enclosed in them; other text is returned as it is with ok false.
func Unbrace(text string) (inner string, ok bool) {
	if len(text) < 2 || text[0] != '{' || Balanced(text) != len(text) {
		return text, false
	}
	return strings.Trim(text[1:len(text)-1], White), true
}

// Balanced is the length of the prefix of text that is one balanced group of
// the bracket it begins with: "{a{b}}c" gives 6. It is -1 when the group does
// not end or text does not begin with { or (.
func Balanced(text string) int {
	if text == "" {
		return -1
	}
	var closer byte
	switch text[0] {
	case '{':
		closer = '}'
	case '(':
		closer = ')'
	default:
		return -1
	}
	level := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case text[0]:
			level++
		case closer:
			level--
			if level == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// NameValue cuts "name = value" at the first "=" and takes white space off both.
func NameValue(text string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(text, "=")
	return strings.Trim(name, White), strings.Trim(value, White), ok
}
