package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sealpost/lib/atomicfile"
	"sealpost/lib/config"
	"sealpost/lib/confline"
	"sealpost/lib/filelock"
)

// action is what an edit does to the lines of an entry.
type action int

const (
	keep    action = iota // leave them
	assign                // put other text in their place
	remove                // -X
	comment               // -#
)

// file is the text of main.cf or master.cf as physical lines with their ends.
// Each belongs to an entry, or is a comment, a blank line or a continuation of
// nothing (owner -1).
type file struct {
	lines []string
	owner []int
	count int // of entries
}

func parseFile(text string) *file {
	f := &file{}
	for line := range strings.Lines(text) {
		owner := -1
		switch {
		case skipped(line):
		case line[0] != ' ' && line[0] != '\t':
			owner = f.count
			f.count++
		default:
			owner = f.count - 1
		}
		f.lines = append(f.lines, line)
		f.owner = append(f.owner, owner)
	}
	return f
}

// entries are the logical lines.
func (f *file) entries() []string {
	texts := make([]string, f.count)
	for i, line := range f.lines {
		if n := f.owner[i]; n >= 0 {
			line = strings.TrimRight(line, "\r\n")
			if texts[n] != "" {
				line = " " + strings.TrimLeft(line, " \t")
			}
			texts[n] += line
		}
	}
	return texts
}

// change is what happens to one entry.
type change struct {
	do   action
	text string // of assign, lines with "\n" between and none at the end
	last bool   // put the text where the last line of the entry was, not the first
}

// apply writes the text with the changes, indexed by entry, and with further
// entries at the end. All other lines stay as they are, byte for byte.
func (f *file) apply(changes map[int]change, added []string) string {
	var out strings.Builder
	first, last := make(map[int]int), make(map[int]int)
	for i, n := range f.owner {
		if _, seen := first[n]; !seen {
			first[n] = i
		}
		last[n] = i
	}
	for i, line := range f.lines {
		n := f.owner[i]
		switch c := changes[n]; {
		case n < 0 || c.do == keep:
			out.WriteString(line)
		case c.do == comment:
			out.WriteString("#" + line)
		case c.do == assign && (c.last && i == last[n] || !c.last && i == first[n]):
			end := "\n"
			if strings.HasSuffix(line, "\r\n") {
				end = "\r\n"
			}
			out.WriteString(strings.ReplaceAll(c.text, "\n", end) + end)
		}
	}
	result := out.String()
	if result != "" && len(added) > 0 && !strings.HasSuffix(result, "\n") {
		result += "\n"
	}
	for _, text := range added {
		result += text + "\n"
	}
	return result
}

// parseAssign takes "name=value" apart. The arguments of edits are one line each.
func parseAssign(arg string) (name, value string, err error) {
	if err := oneLine(arg); err != nil {
		return "", "", err
	}
	name, value, ok := confline.NameValue(strings.Trim(arg, confline.White))
	switch {
	case name == "" && ok:
		return "", "", fmt.Errorf("%w: %q", config.ErrNoName, arg)
	case !ok, strings.ContainsAny(name, confline.White):
		return "", "", fmt.Errorf("%w: %q", config.ErrNoEquals, arg)
	case strings.IndexByte(arg, 0) >= 0:
		return "", "", fmt.Errorf("null byte in value of %q", name)
	}
	return name, value, nil
}

func oneLine(arg string) error {
	switch text := strings.TrimLeft(arg, confline.White); {
	case strings.ContainsAny(strings.TrimRight(arg, confline.White), "\r\n"):
		return errors.New("-e, -X, or -# accepts no multi-line input")
	case strings.HasPrefix(text, "#"):
		return errors.New("-e, -X, or -# accepts no comment input")
	case text == "":
		return errors.New("-e, -X, or -# accepts no empty input")
	}
	return nil
}

// parseName checks an argument of -X and -#.
func parseName(arg string) (string, error) {
	if err := oneLine(arg); err != nil {
		return "", err
	}
	name := strings.Trim(arg, confline.White)
	if strings.ContainsAny(name, confline.White) {
		return "", fmt.Errorf("-X or -# requires names without white space: %q", arg)
	}
	return name, nil
}

// editMain changes main.cf. Every line that sets an edited parameter changes; a
// parameter without a line gets one at the end.
func (c *command) editMain() error {
	values := make(map[string]string, len(c.args))
	var names []string
	for _, arg := range c.args {
		name, value := "", ""
		var err error
		if c.do == assign {
			name, value, err = parseAssign(arg)
		} else {
			name, err = parseName(arg)
		}
		if err != nil {
			return err
		}
		if earlier, seen := values[name]; !seen {
			names = append(names, name)
		} else if c.do == assign {
			c.warnf("ignoring earlier request: '%s = %s'", name, earlier)
		}
		values[name] = value
	}
	path := c.file("main.cf")
	var repeated []string
	err := c.editFile(path, func(text string) (string, error) {
		text, repeated = editParameters(text, c.do, names, values)
		return text, nil
	})
	if err != nil {
		return err
	}
	for _, name := range repeated {
		c.warnf("%s: multiple entries for %q", path, name)
	}
	if c.do == assign {
		c.warnBadValues(names)
	}
	return nil
}

// editParameters is the change of main.cf as text. repeated are the names that
// several lines set.
func editParameters(text string, do action, names []string, values map[string]string) (result string, repeated []string) {
	f := parseFile(text)
	changes := make(map[int]change)
	seen := make(map[string]int)
	for n, entry := range f.entries() {
		name, _, _ := confline.NameValue(entry)
		if value, edited := values[name]; edited {
			seen[name]++
			changes[n] = change{do: do, text: name + " = " + value}
		}
	}
	var added []string
	for _, name := range names {
		if seen[name] > 1 {
			repeated = append(repeated, name)
		}
		if seen[name] == 0 && do == assign {
			added = append(added, name+" = "+values[name])
		}
	}
	return f.apply(changes, added), repeated
}

// warnBadValues says which of the values just written the daemons will refuse.
func (c *command) warnBadValues(names []string) {
	cfg, err := config.LoadUnchecked(c.dir)
	if err != nil {
		c.warnf("%v", err)
		return
	}
	for _, err := range cfg.Check() {
		var bad *config.ValueError
		if errors.As(err, &bad) && slices.Contains(names, bad.Name) {
			c.warnf("%v", err)
		}
	}
}

// lockTimeout is how long an edit waits for others.
const lockTimeout = time.Minute

// editFile changes a file in one step, with other edits locked out.
func (c *command) editFile(path string, edit func(text string) (string, error)) error {
	c.verbosef("changing %s", path)
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	f, err := lockCurrent(ctx, path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	result, err := edit(string(text))
	if err != nil || result == string(text) {
		return err
	}
	return atomicfile.Write(path, []byte(result), 0o644)
}

// lockCurrent locks the file that path names. An edit by rename may have put
// another file there while we waited; then that one is locked.
func lockCurrent(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if err := filelock.Lock(ctx, f, filelock.Exclusive); err != nil {
			f.Close()
			return nil, err
		}
		mine, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close()
		if err2 != nil {
			return nil, err2
		}
	}
}
