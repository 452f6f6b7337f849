package config

import (
	"fmt"
	"slices"
	"strings"
)

// setNames are the names that main.cf and overrides set, in the order of the file.
func (c *Config) setNames() []string {
	names := make([]string, 0, len(c.set))
	for name := range c.set {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := c.set[a].Line - c.set[b].Line; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

// Settings are the effective settings of main.cf and overrides in the order of
// the file.
func (c *Config) Settings() []Setting {
	var list []Setting
	for _, name := range c.setNames() {
		list = append(list, c.set[name])
	}
	return list
}

// Problems lists what an administrator should know about main.cf and the -o
// parameters of master.cf: lines that override earlier ones, malformed values,
// parameters that Sealpost does not act on, names that nothing uses, that nothing
// defines, or that will be removed. entries are those of masterPath.
func (c *Config) Problems(masterPath string, entries []Entry) []string {
	problems := slices.Clone(c.warnings)
	for _, err := range c.Check() {
		problems = append(problems, err.Error())
	}
	problems = append(problems, c.levelProblems()...)
	for _, s := range c.Settings() {
		problems = append(problems, c.unsupported(s)...)
	}
	problems = append(problems, c.masterProblems(masterPath, entries)...)
	u := Examine(c.Settings(), entries, masterPath)
	for _, s := range u.Undefined {
		problems = append(problems, fmt.Sprintf("%s: undefined parameter: %s", s.where(), s.Name))
	}
	for _, s := range u.ReadOnly {
		problems = append(problems, fmt.Sprintf("%s: read-only parameter assignment: %s=%s", s.where(), s.Name, clip(s.Value)))
	}
	for _, s := range u.Unused {
		problems = append(problems, fmt.Sprintf("%s: unused parameter: %s=%s", s.where(), s.Name, clip(s.Value)))
	}
	for _, s := range u.Deprecated {
		if p, known := Lookup(s.Name); !known || p.Status != Known { // what is not supported was said already
			problems = append(problems, fmt.Sprintf("%s: support for parameter %q will be removed; instead, %s", s.where(), s.Name, deprecated[s.Name]))
		}
	}
	return problems
}

// levelProblems is a sentence about a compatibility_level that is later than any
// default knows. That of the table is the latest.
func (c *Config) levelProblems() []string {
	s, set := c.set["compatibility_level"]
	latest, err1 := parseLevel(kindOf("compatibility_level", Str).Default)
	l, err2 := c.compatibilityLevel()
	if !set || err1 != nil || err2 != nil || compareLevels(l, latest) <= 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: parameter compatibility_level: %s is later than this release knows: it means %d.%d",
		s.where(), s.Value, latest[0], latest[1])}
}

// masterProblems are the services that override each other, and the parameters in
// master.cf that nothing acts on.
func (c *Config) masterProblems(masterPath string, entries []Entry) []string {
	var problems []string
	seen := make(map[string]int)
	for i := range entries {
		e := &entries[i]
		key := e.Fields[0] + "/" + e.Fields[1]
		if line, again := seen[key]; again {
			problems = append(problems, fmt.Sprintf("%s: line %d: service %s overrides that of line %d", masterPath, e.First, key, line))
		}
		seen[key] = e.First
		overrides := e.Overrides()
		own := c.Overlay(overrides...)
		for _, o := range overrides {
			s := Setting{Name: o.Name, Value: o.Value, File: masterPath, Line: e.First}
			problems = append(problems, own.unsupported(s)...)
		}
	}
	return problems
}

// unsupported is a sentence about a setting that nothing acts on and that asks
// for something else than the default.
func (c *Config) unsupported(s Setting) []string {
	p, known := Lookup(s.Name)
	if !known || p.Status != Known || p.Derived() || s.Line == 0 || readOnly[s.Name] {
		return nil
	}
	if value, _, err := c.value(s.Name, nil); err == nil && strings.EqualFold(value, c.defaultValue(p)) {
		return nil
	}
	return []string{fmt.Sprintf("%s: line %d: parameter %q is not supported: %s", s.File, s.Line, s.Name, Instead(s.Name))}
}

// defaultValue is what a parameter would mean if it were not set; "" if that
// cannot be told.
func (c *Config) defaultValue(p *Param) string {
	if p.Computed {
		return ""
	}
	value, _ := c.Expand(p.Default)
	return value
}
