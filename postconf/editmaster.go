package main

import (
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/confline"
)

// masterEdit is one change of master.cf.
type masterEdit struct {
	arg     string
	target  target
	value   string
	entry   config.Entry // of -M: the new one
	matched bool
}

// parseMasterEdits reads the arguments of -M, -F and -P with -e, -X or -#.
func (c *command) parseMasterEdits() ([]*masterEdit, error) {
	var edits []*masterEdit
	for _, arg := range c.args {
		e := &masterEdit{arg: arg}
		pattern := arg
		var err error
		if c.do == assign {
			pattern, e.value, err = parseAssign(arg)
		} else {
			pattern, err = parseName(arg)
		}
		if err != nil {
			return nil, err
		}
		if e.target, err = parseTarget(c.mode, pattern, true); err != nil {
			return nil, err
		}
		if c.mode == modeService && c.do == assign {
			if e.entry, err = config.ParseEntry(e.value); err == nil {
				err = config.CheckFields(&e.entry)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %q", err, arg)
			}
		}
		edits = append(edits, e)
	}
	return edits, nil
}

// editMaster changes master.cf.
func (c *command) editMaster() error {
	edits, err := c.parseMasterEdits()
	if err != nil {
		return err
	}
	err = c.editFile(c.file("master.cf"), func(text string) (string, error) {
		return c.applyMaster(text, edits)
	})
	if err != nil || c.mode == modeService {
		return err
	}
	for _, e := range edits {
		if !e.matched {
			c.warnf("unmatched service_name/type: %q", e.arg)
		}
	}
	return nil
}

// applyMaster is the change of master.cf as text. A line that is no service
// stays as it is. A service that -M sets and that no line describes gets one at
// the end.
func (c *command) applyMaster(text string, edits []*masterEdit) (string, error) {
	f := parseFile(text)
	changes := make(map[int]change)
	for n, line := range f.entries() {
		entry, err := config.ParseEntry(line)
		if err != nil {
			continue
		}
		do := keep
		for _, e := range edits {
			if e.target.matches(&entry) {
				e.matched = true
				if c.mode != modeService && confline.Balanced("{"+line+"}") != len(line)+2 {
					return "", fmt.Errorf("unbalanced {} in %q: mend it first, or set the whole service with -M", line)
				}
				if do, err = c.editEntry(&entry, e); err != nil {
					return "", err
				}
			}
		}
		if do != keep {
			// Comments between the lines of a service stay before what -F and -P make of it.
			changes[n] = change{do, strings.TrimSuffix(formatEntry(&entry, true), "\n"), c.mode != modeService}
		}
	}
	var added []string
	for i, e := range edits {
		again := slices.ContainsFunc(edits[i+1:], func(later *masterEdit) bool { return later.target == e.target })
		if c.mode == modeService && c.do == assign && !e.matched && !again {
			added = append(added, strings.TrimSuffix(formatEntry(&e.entry, true), "\n"))
		}
	}
	return f.apply(changes, added), nil
}

// editEntry changes one service and says what becomes of its lines.
func (c *command) editEntry(entry *config.Entry, e *masterEdit) (action, error) {
	switch {
	case c.mode == modeService && c.do == assign:
		*entry = e.entry
	case c.mode == modeService:
		return c.do, nil
	case c.mode == modeField:
		return assign, setField(entry, e)
	default:
		setParameter(entry, e.target.item, e.value, c.do == remove)
	}
	return assign, nil
}

// setField gives a field a new value. That of the command is the command with
// its arguments.
func setField(entry *config.Entry, e *masterEdit) error {
	for i, name := range config.FieldNames() {
		if e.target.item != name && e.target.item != "*" {
			continue
		}
		words := confline.Split(e.value, confline.White)
		isCommand := i == len(entry.Fields)-1
		if len(words) == 0 || len(words) > 1 && !isCommand {
			return fmt.Errorf("field %q takes one word: %q", name, e.arg)
		}
		entry.Fields[i] = words[0]
		if isCommand {
			entry.Args = words[1:]
		}
	}
	if err := config.CheckFields(entry); err != nil {
		return fmt.Errorf("%w: %q", err, e.arg)
	}
	return nil
}

// setParameter changes, adds or takes out the -o arguments that set a parameter.
func setParameter(entry *config.Entry, name, value string, drop bool) {
	argument := formatAssign(name, value)
	found := false
	end := 0 // of the options
	for _, o := range slices.Backward(entry.Options()) {
		end = max(end, o.At+o.Words)
		switch {
		case o.Name != name && name != "*":
		case drop:
			entry.Args = slices.Delete(entry.Args, o.At, o.At+o.Words)
		case !found || name == "*":
			found = true
			if name == "*" {
				argument = formatAssign(o.Name, value)
			}
			entry.Args = slices.Replace(entry.Args, o.At, o.At+o.Words, "-o", argument)
		default: // an earlier one that the last one overrides
			entry.Args = slices.Delete(entry.Args, o.At, o.At+o.Words)
		}
	}
	if found || drop || name == "*" {
		return
	}
	for end < len(entry.Args) && strings.HasPrefix(entry.Args[end], "-") && !slices.Contains([]string{"-", "--", "-o"}, entry.Args[end]) {
		end++
	}
	entry.Args = slices.Insert(entry.Args, end, "-o", argument)
}
