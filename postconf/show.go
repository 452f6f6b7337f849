package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"sealpost/lib/config"
)

// view is the configuration that is shown.
type view struct {
	cfg     *config.Config
	entries []config.Entry // of master.cf
	usage   *config.Usage
}

// load reads main.cf and master.cf. With -d main.cf is not looked at.
func (c *command) load() (*view, error) {
	v := &view{}
	var settings []config.Setting
	var err error
	if c.flags['d'] {
		v.cfg, err = config.FromMap(nil)
	} else {
		c.verbosef("reading %s", c.file("main.cf"))
		var warnings []string
		if settings, warnings, err = config.ReadMain(c.file("main.cf")); err == nil {
			for _, w := range warnings {
				c.warnf("%s", w)
			}
			v.cfg, err = config.LoadUnchecked(c.dir, c.override...)
		}
	}
	if err != nil {
		return nil, err
	}
	v.entries, err = config.ReadMaster(c.file("master.cf"))
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.mode == modeMain:
		c.verbosef("%v", err)
	case err != nil && c.mode == modeMain:
		c.warnf("%v", err)
	case err != nil:
		return nil, err
	}
	if !c.flags['d'] {
		settings = onlyLast(append(settings, v.cfg.Settings()...))
	}
	v.usage = config.Examine(settings, v.entries, c.file("master.cf"))
	return v, nil
}

// onlyLast leaves of settings with the same name the last one.
func onlyLast(settings []config.Setting) []config.Setting {
	last := make(map[string]int)
	for i, s := range settings {
		last[s.Name] = i
	}
	var list []config.Setting
	for i, s := range settings {
		if last[s.Name] == i {
			list = append(list, s)
		}
	}
	return list
}

// names are the parameters of the classes asked for, sorted.
func (v *view) names(classes []string) []string {
	want := func(class string) bool {
		return len(classes) == 0 || slices.Contains(classes, "all") || slices.Contains(classes, class)
	}
	var names []string
	if want("builtin") {
		for _, p := range config.Params() {
			names = append(names, p.Name)
		}
	}
	if want("service") {
		for name := range v.usage.Derived {
			if p, ok := config.Lookup(name); ok && p.Derived() {
				names = append(names, name)
			}
		}
	}
	if want("user") {
		for name := range v.usage.User {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (v *view) exists(name string) bool {
	p, known := config.Lookup(name)
	return known && !p.Derived() || v.usage.Derived[name] || v.usage.User[name]
}

// show prints parameters of main.cf.
func (c *command) show() error {
	v, err := c.load()
	if err != nil {
		return err
	}
	if !c.flags['d'] {
		c.warnUndefined(v)
	}
	names := c.args
	if len(names) == 0 {
		names = v.names(c.classes)
	}
	for _, name := range names {
		if !v.exists(name) {
			c.warnf("%s: unknown parameter", name)
			continue
		}
		value, set := v.cfg.Raw(name)
		if c.flags['n'] && !set {
			continue
		}
		if c.flags['x'] {
			if value, err = v.cfg.Value(name); err != nil {
				return err
			}
		}
		c.printSetting(name, value)
	}
	if !c.flags['d'] {
		c.warnUnused(v, "")
	}
	return nil
}

// warnUndefined warns of names that are used and not set, and of settings that
// have no effect because the daemons know better.
func (c *command) warnUndefined(v *view) {
	for _, s := range v.usage.ReadOnly {
		c.warnf("%s: read-only parameter assignment: %s=%s", s.File, s.Name, s.Value)
	}
	for _, s := range v.usage.Undefined {
		c.warnf("%s: undefined parameter: %s", s.File, s.Name)
	}
}

// warnUnused warns of names that are set and not used, or that will be removed.
// With a path only those of that file.
func (c *command) warnUnused(v *view, path string) {
	if c.flags['q'] {
		return
	}
	var lines []string
	for _, s := range v.usage.Unused {
		if path == "" || s.File == path {
			lines = append(lines, s.File+": unused parameter: "+s.Name+"="+printable(s.Value))
		}
	}
	for _, s := range v.usage.Deprecated {
		if path == "" || s.File == path {
			instead, _ := config.Deprecated(s.Name)
			lines = append(lines, s.File+": support for parameter \""+s.Name+"\" will be removed; instead, "+instead)
		}
	}
	for _, line := range lines {
		c.warnf("%s", line)
	}
}

// printable replaces what a log line cannot hold.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text)
}

// printSetting prints one setting: white space in the value becomes one space.
func (c *command) printSetting(name, value string) {
	switch {
	case c.flags['j']:
		c.printJSON(name, value)
	case c.flags['H']:
		c.print(name + "\n")
	case c.flags['h']:
		c.printFolded(value)
	default:
		c.printFolded(name + " = " + value)
	}
}

// printJSON prints one object {"name": "value"} on a line.
func (c *command) printJSON(name, value string) {
	c.print("{" + quoteJSON(name) + ": " + quoteJSON(value) + "}\n")
}

// quoteJSON is a string of JSON. Bytes that are not UTF-8 become U+FFFD.
func quoteJSON(text string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic(err) // strings can be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// The form of folded lines.
const (
	foldWidth  = 80
	foldIndent = "    "
)

// printFolded prints a line, with -f cut at white space where it is too wide.
func (c *command) printFolded(text string) {
	width := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case c.flags['f'] && width+1+len(word) > foldWidth:
			c.print("\n" + foldIndent)
			width = len(foldIndent)
		default:
			c.print(" ")
			width++
		}
		c.print(word)
		width += len(word)
	}
	c.print("\n")
}
