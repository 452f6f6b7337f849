package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"sealpost/lib/atomicfile"
	"sealpost/lib/confline"
	"sealpost/lib/filelock"
)

// action is what an edit does to the lines that set a parameter.
type action int

const (
	assign  action = iota // give it a new value
	remove                // -X
	comment               // -#
)

// edit is one change of main.cf.
type edit struct {
	name, value string
	do          action
}

// parseEdits turns the arguments of -e, -X and -# into edits.
func parseEdits(args []string, do action) ([]edit, error) {
	var edits []edit
	for _, arg := range args {
		if strings.ContainsAny(arg, "\r\n") {
			return nil, fmt.Errorf("-e, -X, or -# accepts no multi-line input")
		}
		text := strings.Trim(arg, confline.White)
		if strings.HasPrefix(text, "#") {
			return nil, fmt.Errorf("-e, -X, or -# accepts no comment input")
		}
		if do != assign {
			if text == "" || strings.ContainsAny(text, "="+confline.White) {
				return nil, fmt.Errorf("-X or -# requires names without value: %q", arg)
			}
			edits = append(edits, edit{name: text, do: do})
			continue
		}
		name, value, ok := confline.NameValue(text)
		switch {
		case name == "":
			return nil, fmt.Errorf("missing attribute name: %q", arg)
		case !ok, strings.ContainsAny(name, confline.White):
			return nil, fmt.Errorf("missing '=' after attribute name: %q", arg)
		case strings.IndexByte(arg, 0) >= 0:
			return nil, fmt.Errorf("null byte in value of %q", name)
		}
		edits = append(edits, edit{name, value, do})
	}
	return edits, nil
}

// apply changes the text of main.cf. Comments, blank lines, their order, and
// lines about other parameters stay as they are; every line that sets an edited
// parameter changes; a parameter without a line gets one at the end. repeated are
// the edited names that several lines set.
func apply(text string, edits []edit) (result string, repeated []string) {
	byName := make(map[string]edit, len(edits))
	for _, e := range edits {
		byName[e.name] = e
	}
	seen := make(map[string]int)
	var out strings.Builder
	var current edit
	editing := false // the lines that follow belong to an edited entry
	for line := range strings.Lines(text) {
		bare := strings.TrimLeft(line, confline.White+"\v\f")
		switch {
		case bare == "" || bare[0] == '#':
			out.WriteString(line)
			continue
		case line[0] != ' ' && line[0] != '\t':
			name, _, _ := confline.NameValue(strings.TrimRight(line, "\r\n"))
			current, editing = byName[name]
			if editing {
				seen[name]++
			}
			if editing && current.do == assign {
				fmt.Fprintf(&out, "%s = %s\n", current.name, current.value)
			}
		}
		switch {
		case !editing:
			out.WriteString(line)
		case current.do == comment:
			out.WriteString("#" + line)
		}
	}
	result = out.String()
	if result != "" && !strings.HasSuffix(result, "\n") {
		result += "\n"
	}
	for _, e := range edits {
		if seen[e.name] > 1 {
			repeated = append(repeated, e.name)
		}
		if seen[e.name] == 0 && e.do == assign && byName[e.name] == e {
			result += fmt.Sprintf("%s = %s\n", e.name, e.value)
		}
		seen[e.name] = 1
	}
	return result, repeated
}

// lockTimeout is how long an edit waits for another one.
const lockTimeout = 30 * time.Second

// editFile applies edits to a file in one step, with other edits locked out.
func editFile(path string, edits []edit) (repeated []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	f, err := lockCurrent(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	result, repeated := apply(string(text), edits)
	if result == string(text) {
		return repeated, nil
	}
	return repeated, atomicfile.Write(path, []byte(result), 0o644)
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
