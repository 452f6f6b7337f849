package main

import (
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/confline"
)

// showMaster prints the lines of master.cf that the arguments select:
// service[/type], "*" for any.
func (c *command) showMaster() error {
	file := c.file("master.cf")
	c.verbosef("reading %s", file)
	entries, err := config.ReadMaster(file)
	if err != nil {
		return err
	}
	patterns := c.args
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	for _, pattern := range patterns {
		matched := false
		for i := range entries {
			if matchService(pattern, &entries[i]) {
				matched = true
				c.printEntry(&entries[i])
			}
		}
		if !matched {
			c.warnf("unmatched request: %q", pattern)
		}
	}
	return nil
}

// matchService compares service[/type]. The last "/" separates: types have none.
func matchService(pattern string, e *config.Entry) bool {
	name, kind := pattern, "*"
	if i := strings.LastIndexByte(pattern, '/'); i >= 0 {
		name, kind = pattern[:i], pattern[i+1:]
	}
	return (name == "*" || name == e.Fields[0]) && (kind == "*" || kind == e.Fields[1])
}

// columns are where the fields of master.cf begin.
var columns = [8]int{0, 11, 17, 25, 33, 41, 49, 57}

func (c *command) printEntry(e *config.Entry) {
	var line strings.Builder
	for i, field := range e.Fields {
		if i > 0 {
			line.WriteByte(' ')
			for line.Len() < columns[i] {
				line.WriteByte(' ')
			}
		}
		line.WriteString(field)
	}
	if !c.flags['f'] {
		for _, arg := range e.Args {
			line.WriteString(" " + tidyArg(arg))
		}
		c.print(line.String() + "\n")
		return
	}
	c.print(line.String() + "\n")
	for i := 0; i < len(e.Args); i++ {
		text := tidyArg(e.Args[i])
		if strings.HasPrefix(text, "-") && i+1 < len(e.Args) && !strings.HasPrefix(e.Args[i+1], "-") {
			i++
			text += " " + tidyArg(e.Args[i])
		}
		c.print(foldIndent + text + "\n")
	}
}

// tidyArg takes the white space inside { } off an argument, and the braces where
// nothing needs them.
func tidyArg(arg string) string {
	inner, ok := confline.Unbrace(arg)
	if !ok || inner == "" || strings.ContainsAny(inner, "{}") {
		return arg
	}
	if name, value, ok := confline.NameValue(inner); ok {
		inner = name + "=" + value
	}
	if strings.ContainsAny(inner, confline.White) {
		return "{" + inner + "}"
	}
	return inner
}
