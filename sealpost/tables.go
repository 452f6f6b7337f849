package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/confline"
	"sealpost/lib/table"
)

// checkTables opens every table that main.cf and the -o arguments of master.cf name, as
// the daemons would: mail that needs one that cannot be opened is deferred.
func (c *control) checkTables() {
	for _, s := range c.cfg.Settings() {
		c.checkValue(c.cfg, s.Name, fmt.Sprintf("%s, line %d", s.File, s.Line))
	}
	entries, err := config.ReadMaster(c.masterCF())
	if err != nil {
		return // said already
	}
	for i := range entries {
		e := &entries[i]
		overrides := e.Overrides()
		own := c.cfg.Overlay(overrides...)
		for _, o := range overrides {
			c.checkValue(own, o.Name, fmt.Sprintf("%s: line %d: service %s", c.masterCF(), e.First, e.Fields[0]))
		}
	}
}

// checkValue opens the tables of one parameter, which may be a restriction class or
// another one of the administrator's own.
func (c *control) checkValue(cfg *config.Config, name, where string) {
	p, known := config.Lookup(name)
	if known && (p.Status == config.Known || p.Kind == config.Raw) || strings.HasSuffix(name, "_database") {
		return // the last are made where they are not there
	}
	value, err := cfg.Value(name)
	if err != nil {
		return // among the problems already
	}
	said := make(map[string]bool)
	warn := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !said[text] {
			said[text] = true
			c.log.Warnf("%s: parameter %s: %s", where, name, text)
		}
	}
	env := table.Env{Warnf: warn}
	specs := tablesIn(value)
	kind, isList := matchLists[name]
	switch {
	case isList:
		l, err := table.OpenList(env, name, value, kind, true)
		if err != nil {
			warn("%s", strings.TrimPrefix(err.Error(), name+": "))
		} else {
			l.Close() //nolint:errcheck // it was only looked at
		}
	case strings.HasSuffix(name, "_maps"):
		// All words are tables, also those of types that do not exist.
		specs = confline.Split(value, confline.Comma)
	}
	for _, spec := range specs {
		if !isList {
			checkTable(env, spec, warn)
		}
		checkAsked(spec, warn)
	}
}

// tablesIn are the tables that a value names among other things, such as restrictions,
// whose arguments may be in braces.
func tablesIn(value string) []string {
	var specs []string
	for _, word := range confline.Split(value, confline.Comma) {
		if inner, braced := confline.Unbrace(word); braced {
			specs = append(specs, tablesIn(inner)...)
			continue
		}
		word = strings.TrimLeft(word, "!")
		kind, _, _ := strings.Cut(word, ":")
		// unix: and tcp: may be the address of a server.
		if kind != word && kind != "unix" && kind != "tcp" && slices.Contains(table.Types(), kind) {
			specs = append(specs, word)
		}
	}
	return specs
}

func checkTable(env table.Env, spec string, warn func(string, ...any)) {
	t, err := table.TryOpen(env, spec)
	switch {
	case err == nil:
		t.Close() //nolint:errcheck // it was only looked at
	case errors.Is(err, table.ErrType):
		types := table.Types()
		slices.Sort(types)
		warn("%s: %v; there are %s", spec, err, strings.Join(types, ", "))
	default:
		warn("%s: %v", spec, err)
	}
}

// checkAsked reads the files that configure tables of databases: proxymap opens these,
// and the other daemons only hear from it that it cannot.
func checkAsked(spec string, warn func(string, ...any)) {
	kind, name, _ := strings.Cut(spec, ":")
	switch {
	case kind == "proxy", kind == "debug":
		checkAsked(name, warn)
	case kind == "pipemap", kind == "unionmap":
		inner, _ := confline.Unbrace(name)
		for _, member := range tablesIn(inner) {
			checkAsked(member, warn)
		}
	case kind != "unix" && slices.Contains(table.Asked(), kind) && strings.HasPrefix(name, "/"):
		if _, _, err := config.ReadMain(name); err != nil {
			warn("%s: %v", spec, err)
		}
	}
}
