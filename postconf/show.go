package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"sealpost/lib/config"
)

// view is the configuration that is shown.
type view struct {
	cfg      *config.Config
	settings []config.Setting // of main.cf and -o, each name once
	entries  []config.Entry   // of master.cf
	derived  map[string]*config.Param
	user     map[string]bool // defined in main.cf and used somewhere
	unused   []config.Setting
}

// load reads main.cf and master.cf. With -d main.cf is not looked at.
func (c *command) load() (*view, error) {
	v := &view{derived: make(map[string]*config.Param), user: make(map[string]bool)}
	var err error
	if c.flags['d'] {
		v.cfg, err = config.FromMap(nil)
	} else {
		c.verbosef("reading %s", c.file("main.cf"))
		var warnings []string
		if _, warnings, err = config.ReadMain(c.file("main.cf")); err == nil {
			for _, w := range warnings {
				c.warnf("%s", w)
			}
			v.cfg, err = config.LoadUnchecked(c.dir, c.override...)
		}
	}
	if err != nil {
		return nil, err
	}
	if !c.flags['d'] {
		v.settings = v.cfg.Settings()
	}
	v.entries, err = config.ReadMaster(c.file("master.cf"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.verbosef("%v", err)
	case err != nil:
		c.warnf("%v", err)
	}
	v.derive()
	v.sortUsers(c.file("main.cf"), c.file("master.cf"))
	return v, nil
}

// derive finds the parameters that delivery services have: transport names with
// the suffixes of the table.
func (v *view) derive() {
	for _, e := range v.entries {
		agent, timed := false, false
		switch filepath.Base(e.Fields[7]) {
		case "pipe":
			agent, timed = true, true
		case "spawn":
			timed = true
		case "smtp", "lmtp", "local", "virtual", "error":
			agent = true
		}
		for suffix := range config.TransportSuffixes() {
			name := e.Fields[0] + suffix
			if p, ok := config.Lookup(name); ok && p.Derived() && (suffix == "_time_limit" && timed || suffix != "_time_limit" && agent) {
				v.derived[name] = p
			}
		}
	}
}

// sortUsers tells names that main.cf defines and uses from those that nothing uses.
func (v *view) sortUsers(mainPath, masterPath string) {
	all := slices.Clone(v.settings)
	for i := range all {
		all[i].File = mainPath
	}
	var texts []string
	for _, e := range v.entries {
		texts = append(texts, e.Args...)
		for _, o := range e.Overrides() {
			all = append(all, config.Setting{Name: o.Name, Value: o.Value, File: masterPath, Line: e.First})
		}
	}
	v.unused = config.Unused(all, texts)
	lost := make(map[string]bool)
	for _, s := range v.unused {
		lost[s.Name] = true
	}
	for _, s := range v.settings {
		if p, known := config.Lookup(s.Name); !lost[s.Name] && (!known || p.Derived() && v.derived[s.Name] == nil) {
			v.user[s.Name] = true
		}
	}
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
		for name := range v.derived {
			names = append(names, name)
		}
	}
	if want("user") {
		for name := range v.user {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (v *view) exists(name string) bool {
	p, known := config.Lookup(name)
	return known && !p.Derived() || v.derived[name] != nil || v.user[name]
}

// show prints parameters.
func (c *command) show() error {
	v, err := c.load()
	if err != nil {
		return err
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
	if c.flags['d'] {
		return nil
	}
	c.warnAbout(v)
	return nil
}

// warnAbout warns of names that are used and not set, and set and not used.
func (c *command) warnAbout(v *view) {
	var undefined []string
	for name := range config.Undefined(v.settings) {
		undefined = append(undefined, name)
	}
	slices.Sort(undefined)
	for _, name := range undefined {
		c.warnf("%s: undefined parameter: %s", c.file("main.cf"), name)
	}
	for _, s := range v.unused {
		c.warnf("%s: unused parameter: %s=%s", s.File, s.Name, s.Value)
	}
}

func (c *command) printSetting(name, value string) {
	switch {
	case c.flags['H']:
		c.print(name + "\n")
	case c.flags['h']:
		c.printFolded(value)
	case value == "":
		c.print(name + " =\n")
	default:
		c.printFolded(name + " = " + value)
	}
}

// The form of folded lines.
const (
	foldWidth  = 80
	foldIndent = "    "
)

// printFolded prints a line, with -f cut at white space where it is too wide.
func (c *command) printFolded(text string) {
	if !c.flags['f'] || len(text) <= foldWidth {
		c.print(text + "\n")
		return
	}
	width := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case width+1+len(word) > foldWidth:
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
