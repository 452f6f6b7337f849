// Package getopt reads options the way Unix commands do: single letters, which
// may be joined behind one dash ("-vv", "-dc dir", "-cdir"); "--" or the first
// word that is no option ends them.
package getopt

import (
	"fmt"
	"strings"
)

// Parse calls fn for each option and returns the words after the options. The
// letters are those of getopt(3): a colon after a letter means that the option
// takes a value. An error of fn ends the parsing and is returned as it is.
func Parse(args []string, letters string, fn func(letter byte, value string) error) (rest []string, err error) {
	for len(args) > 0 {
		word := args[0]
		if word == "--" {
			return args[1:], nil
		}
		if len(word) < 2 || word[0] != '-' {
			return args, nil
		}
		args = args[1:]
		for word = word[1:]; word != ""; {
			letter := word[0]
			word = word[1:]
			i := strings.IndexByte(letters, letter)
			if i < 0 || letter == ':' {
				return nil, fmt.Errorf("invalid option -- '%c'", letter)
			}
			value := ""
			if strings.HasPrefix(letters[i+1:], ":") {
				if word == "" {
					if len(args) == 0 {
						return nil, fmt.Errorf("option requires an argument -- '%c'", letter)
					}
					word, args = args[0], args[1:]
				}
				value, word = word, ""
			}
			if err := fn(letter, value); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}
