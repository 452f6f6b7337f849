package config

import (
	"fmt"
	"regexp"
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

// Problems lists what an administrator should know about main.cf: lines that
// override earlier ones, malformed values, parameters that Sealpost does not act
// on, and names that nothing uses. services are those of master.cf; they may use
// names too.
func (c *Config) Problems(services ...Service) []string {
	problems := slices.Clone(c.warnings)
	for _, err := range c.Check() {
		problems = append(problems, err.Error())
	}
	for _, name := range c.setNames() {
		s := c.set[name]
		if p, known := Lookup(name); known && p.Status == Known && !p.Derived() && s.Line > 0 {
			if value, _, err := c.value(name, nil); err != nil || value != c.defaultValue(p) {
				problems = append(problems, fmt.Sprintf("%s: parameter %q is not supported: its value has no effect", s.where(), name))
			}
		}
	}
	var texts []string
	for _, service := range services {
		texts = append(texts, service.Args...)
	}
	for _, s := range Unused(c.Settings(), texts) {
		problems = append(problems, fmt.Sprintf("%s: unused parameter: %s=%s", s.where(), s.Name, clip(s.Value)))
	}
	return problems
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

// mentions finds the names that a value refers to as $name in any form.
var mentions = regexp.MustCompile(`\$[({]?[ \t\r\n]*([0-9A-Za-z_]+)`)

// sources finds the names of database tables, whose settings are parameters
// NAME_hosts and so on.
var sources = regexp.MustCompile(`(?:ldap|mysql|pgsql|sqlite|mongodb|memcache):([0-9A-Za-z_]+)`)

// Unused returns the settings with names that the table does not have and that
// no other setting, no default and none of the texts (arguments in master.cf)
// refers to.
func Unused(settings []Setting, texts []string) []Setting {
	used := make(map[string]bool)
	var prefixes []string
	note := func(text string) {
		for _, m := range mentions.FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
		}
		for _, m := range sources.FindAllStringSubmatch(text, -1) {
			prefixes = append(prefixes, m[1]+"_")
		}
	}
	for _, p := range paramIndex() {
		if strings.Contains(p.Default, "$") {
			note(p.Default)
		}
	}
	for _, s := range settings {
		note(s.Value)
		if s.Name == "smtpd_restriction_classes" {
			for _, class := range SplitList(s.Value) {
				used[class] = true
			}
		}
	}
	for _, text := range texts {
		note(text)
	}
	var unused []Setting
	for _, s := range settings {
		_, known := Lookup(s.Name)
		derived := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s.Name, p) })
		if !known && !used[s.Name] && !derived {
			unused = append(unused, s)
		}
	}
	return unused
}

// Undefined returns the names that settings refer to and that neither the table
// nor a setting defines, each with the first setting that refers to it. Values
// that are expanded where they are used may refer to other names; they are left out.
func Undefined(settings []Setting) map[string]Setting {
	set := make(map[string]bool, len(settings))
	for _, s := range settings {
		set[s.Name] = true
	}
	undefined := make(map[string]Setting)
	for _, s := range settings {
		if p, known := Lookup(s.Name); known && p.Kind == Raw {
			continue
		}
		text := strings.ReplaceAll(s.Value, "$$", "")
		for _, m := range mentions.FindAllStringSubmatchIndex(text, -1) {
			name := text[m[2]:m[3]]
			_, known := Lookup(name)
			call := strings.HasPrefix(skipWhite(text[m[3]:]), "{")
			if _, seen := undefined[name]; !seen && !known && !set[name] && !call {
				undefined[name] = s
			}
		}
	}
	return undefined
}
