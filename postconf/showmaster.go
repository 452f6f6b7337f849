package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/confline"
)

// target is what an argument about master.cf names: service/type, with -F a
// field and with -P a parameter of it. "*" is any.
type target struct {
	service, kind, item string
}

var forms = map[mode][2]string{
	modeService:   {"-M option requires service_name[/type]", "-Me, -MX or -M# requires service_name/type"},
	modeField:     {"-F option requires service_name[/type[/field]]", "-Fe or -FX requires service_name/type/field_name"},
	modeParameter: {"-P option requires service_name[/type[/parameter]]", "-Pe or -PX requires service_name/type/parameter"},
}

// parseTarget reads service[/type[/item]]; with whole nothing may be left out. The
// name of a local service may be user/NAME.
func parseTarget(m mode, pattern string, whole bool) (target, error) {
	words := strings.Split(pattern, "/")
	if words[0] == "user" && len(words) > 1 && !isType(words[1]) {
		words = append([]string{words[0] + "/" + words[1]}, words[2:]...)
	}
	most := 3
	if m == modeService {
		most = 2
	}
	malformed := len(words) > most || slices.Contains(words, "")
	switch {
	case whole && (malformed || len(words) < most):
		return target{}, errors.New(forms[m][1])
	case malformed:
		return target{}, errors.New(forms[m][0])
	}
	words = append(words, "*", "*")
	t := target{words[0], words[1], words[2]}
	if m == modeField && t.item != "*" && !slices.Contains(config.FieldNames(), t.item) {
		return target{}, fmt.Errorf("invalid service attribute name: %q", t.item)
	}
	return t, nil
}

func isType(word string) bool {
	return slices.Contains([]string{"inet", "unix", "fifo", "pass", "unix-dgram", "*"}, word)
}

func (t target) matches(e *config.Entry) bool {
	return (t.service == "*" || t.service == e.Fields[0]) && (t.kind == "*" || t.kind == e.Fields[1])
}

// showMaster prints the services, fields or parameters of master.cf that the
// arguments select.
func (c *command) showMaster() error {
	v, err := c.load()
	if err != nil {
		return err
	}
	patterns := c.args
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	c.warnUndefined(v)
	for _, pattern := range patterns {
		t, err := parseTarget(c.mode, pattern, false)
		if err != nil {
			return err
		}
		matched := false
		for i := range v.entries {
			if e := &v.entries[i]; t.matches(e) {
				shown, err := c.showEntry(v, e, t)
				if err != nil {
					return err
				}
				matched = matched || shown
			}
		}
		if !matched && len(c.args) > 0 {
			c.warnf("unmatched request: %q", pattern)
		}
	}
	c.warnUnused(v, c.file("master.cf"))
	return nil
}

// showEntry prints of one service what t asks for, and says whether there was
// something.
func (c *command) showEntry(v *view, e *config.Entry, t target) (bool, error) {
	if c.flags['x'] {
		expanded, err := v.expandEntry(e)
		if err != nil {
			return false, err
		}
		e = expanded
	}
	name := e.Fields[0] + "/" + e.Fields[1]
	switch c.mode {
	case modeService:
		if c.flags['j'] {
			c.printJSON(name, commandLine(e.Fields[:], e.Args))
		} else {
			c.print(formatEntry(e, c.flags['f']))
		}
		return true, nil
	case modeField:
		for i, field := range config.FieldNames() {
			if t.item == "*" || t.item == field {
				c.printField(name+"/"+field, e, i)
			}
		}
		return true, nil
	}
	shown := false
	options := e.Options()
	slices.SortStableFunc(options, func(a, b config.Option) int { return strings.Compare(a.Name, b.Name) })
	for _, o := range options {
		if t.item == "*" || t.item == o.Name {
			c.printSetting(name+"/"+o.Name, o.Value)
			shown = true
		}
	}
	return shown || t.item == "*", nil
}

// printField prints one field; with the command go its arguments.
func (c *command) printField(name string, e *config.Entry, field int) {
	value := e.Fields[field]
	if field < len(e.Fields)-1 || len(e.Args) == 0 {
		c.printSetting(name, value)
		return
	}
	if !c.flags['f'] || c.flags['H'] || c.flags['j'] {
		c.printSetting(name, commandLine([]string{value}, e.Args))
		return
	}
	if !c.flags['h'] {
		value = name + " = " + value
	}
	c.print(foldArgs(value, e.Args))
}

// expandEntry is the service with $name expanded in its parameters.
func (v *view) expandEntry(e *config.Entry) (*config.Entry, error) {
	own := v.cfg.Overlay(append([]config.Override{{Name: "service_name", Value: e.Fields[0]}}, e.Overrides()...)...)
	expanded := *e
	expanded.Args = slices.Clone(e.Args)
	for _, o := range slices.Backward(e.Options()) {
		value, err := own.Expand(o.Value)
		if err != nil {
			return nil, fmt.Errorf("service %s: parameter %s: %w", e.Fields[0], o.Name, err)
		}
		expanded.Args = slices.Replace(expanded.Args, o.At, o.At+o.Words, "-o", formatAssign(o.Name, value))
	}
	return &expanded, nil
}

// columns are where the fields of master.cf begin.
var columns = [8]int{0, 11, 17, 25, 33, 41, 49, 57}

// formatEntry is a service as text, with fold in several lines.
func formatEntry(e *config.Entry, fold bool) string {
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
	if fold {
		return foldArgs(line.String(), e.Args)
	}
	return commandLine([]string{line.String()}, e.Args) + "\n"
}

func commandLine(words, args []string) string {
	line := strings.Join(words, " ")
	for _, arg := range args {
		line += " " + tidyArg(arg)
	}
	return line
}

// foldArgs puts each "-o name=value" on a line of its own, and other arguments on
// as few lines as they fit.
func foldArgs(line string, args []string) string {
	var out strings.Builder
	width := 0
	write := func(text string, fresh bool) {
		switch {
		case out.Len() == 0:
		case (fresh || width+1+len(text) > foldWidth) && !skipped(text):
			out.WriteString("\n" + foldIndent)
			width = len(foldIndent)
		default:
			out.WriteByte(' ')
			width++
		}
		out.WriteString(text)
		width += len(text)
	}
	write(line, false)
	e := config.Entry{Args: args}
	options := make(map[int]config.Option)
	for _, o := range e.Options() {
		options[o.At] = o
	}
	fresh := false
	for i := 0; i < len(args); i++ {
		if o, ok := options[i]; ok {
			words := make([]string, o.Words)
			for j := range words {
				words[j] = tidyArg(args[i+j])
			}
			write(strings.Join(words, " "), true)
			i += o.Words - 1
			fresh = true
			continue
		}
		write(tidyArg(args[i]), fresh)
		fresh = false
	}
	return out.String() + "\n"
}

// skipped tells whether a line with this text would be a comment or blank.
func skipped(text string) bool {
	bare := strings.TrimLeft(text, confline.White+"\v\f")
	return bare == "" || bare[0] == '#'
}

// formatAssign is name=value as one argument.
func formatAssign(name, value string) string {
	text := name + "=" + value
	if strings.ContainsAny(text, confline.White) || strings.HasPrefix(text, "{") {
		return "{" + text + "}"
	}
	return text
}

// tidyArg takes the white space inside { } off an argument, and the braces where
// nothing needs them.
func tidyArg(arg string) string {
	inner, ok := confline.Unbrace(arg)
	if !ok || inner == "" || inner[0] == '{' {
		return arg
	}
	if name, value, ok := confline.NameValue(inner); ok {
		inner = name + "=" + value
	}
	if strings.ContainsAny(inner, confline.White) {
		return "{" + inner + "}"
	}
	if confline.Split(inner, confline.White)[0] != inner {
		return arg
	}
	return inner
}
