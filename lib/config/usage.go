package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mentions finds the names that a value refers to as $name in any form.
var mentions = regexp.MustCompile(`\$[({]?[ \t\r\n]*([0-9A-Za-z_]+)`)

// sources finds the names of database tables.
var sources = regexp.MustCompile(`(ldap|mysql|pgsql|sqlite|memcache|mongodb|redis):([0-9A-Za-z_]+)`)

// sourceSuffixes are the parameters of a table whose settings are in main.cf as
// NAME_SUFFIX. Those of SQL are common to its types.
var sourceSuffixes = map[string]string{
	"ldap": "bind bind_dn bind_pw cache cache_expiry cache_size chase_referrals debuglevel dereference domain " +
		"expansion_limit leaf_result_attribute query_filter recursion_limit result_attribute result_filter result_format " +
		"sasl_authz_id sasl_mechs sasl_minssf sasl_realm scope search_base server_host server_port size_limit " +
		"special_result_attribute start_tls terminal_result_attribute timeout tls_ca_cert_dir tls_ca_cert_file tls_cert " +
		"tls_cipher_suite tls_key tls_random_file tls_require_cert version",
	"sql": "additional_conditions charset dbname dbpath domain expansion_limit hosts idle_interval option_file option_group " +
		"password query require_result_set result_format retry_interval select_field select_function table tls_CAfile " +
		"tls_CApath tls_cert_file tls_ciphers tls_key_file tls_verify_cert user where_field",
	"memcache": "backup data_size_limit domain flags key_format line_size_limit max_try memcache retry_pause timeout ttl",
	"redis": "dbnumber domain expansion_limit hash hosts idle_interval key_format password result_format retry_interval " +
		"timeout tls tls_CAfile tls_cert_file tls_key_file tls_verify_cert user",
	"mongodb": "collection dbname domain expansion_limit filter options projection result_attribute result_format uri",
}

// Usage is what main.cf and master.cf define and use, by name.
type Usage struct {
	User       map[string]bool // names that main.cf itself defines and something uses
	Derived    map[string]bool // names that the services of master.cf have
	Undefined  []Setting       // Name is referred to and nowhere defined; Value is "" for a restriction class
	Unused     []Setting       // nothing uses them
	Deprecated []Setting       // they will go away, see Deprecated
	ReadOnly   []Setting       // they cannot be set
}

// scope is main.cf, or the -o parameters of one service.
type scope struct {
	settings []Setting
	set      map[string]bool
	used     map[string]bool
	classes  []string        // restriction classes
	tables   map[string]bool // NAME_SUFFIX of database tables
}

func newScope(settings []Setting) *scope {
	s := &scope{settings: settings, set: make(map[string]bool), used: make(map[string]bool), tables: make(map[string]bool)}
	for _, setting := range settings {
		s.set[setting.Name] = true
		s.note(setting.Value)
		if setting.Name == "smtpd_restriction_classes" {
			s.classes = append(s.classes, SplitList(setting.Value)...)
		}
	}
	for _, class := range s.classes {
		s.used[class] = true
	}
	return s
}

// note collects what a value refers to.
func (s *scope) note(text string) {
	for _, m := range mentions.FindAllStringSubmatch(text, -1) {
		s.used[m[1]] = true
	}
	for _, m := range sources.FindAllStringSubmatch(text, -1) {
		kind := m[1]
		if _, ok := sourceSuffixes[kind]; !ok {
			kind = "sql"
		}
		for _, suffix := range strings.Fields(sourceSuffixes[kind]) {
			s.tables[m[2]+"_"+suffix] = true
		}
	}
}

// Examine finds out which names main.cf and the -o parameters of master.cf
// define, use, and leave unused. A service sees the names of main.cf and its own;
// main.cf uses what any service refers to.
func Examine(main []Setting, entries []Entry, masterPath string) *Usage {
	u := &Usage{User: make(map[string]bool), Derived: derivedNames(entries)}
	top := newScope(main)
	for _, p := range paramIndex() {
		if strings.Contains(p.Default, "$") {
			top.note(p.Default)
		}
	}
	var services []*scope
	for i := range entries {
		var settings []Setting
		for _, o := range entries[i].Overrides() {
			settings = append(settings, Setting{Name: o.Name, Value: o.Value, File: masterPath, Line: entries[i].First})
		}
		s := newScope(settings)
		services = append(services, s)
		for name := range s.used {
			top.used[name] = true
		}
		for name := range s.tables {
			top.tables[name] = true
		}
	}
	u.undefined(top, nil)
	for _, s := range services {
		u.undefined(s, top)
	}
	u.sort(top, nil)
	for _, s := range services {
		u.sort(s, top)
	}
	return u
}

// builtin tells whether the table or a service of master.cf has the name.
func (u *Usage) builtin(name string) bool {
	p, known := Lookup(name)
	return u.Derived[name] || known && !p.Derived()
}

// undefined collects the names that the settings of s refer to. Text that is
// expanded where it is used may refer to other names.
func (u *Usage) undefined(s, top *scope) {
	seen := make(map[string]bool)
	note := func(name string, from Setting, value string) {
		defined := u.builtin(name) || s.set[name] || top != nil && top.set[name]
		if !defined && !seen[name] {
			seen[name] = true
			u.Undefined = append(u.Undefined, Setting{Name: name, Value: value, File: from.File, Line: from.Line})
		}
	}
	for _, setting := range s.settings {
		if p, known := Lookup(setting.Name); known && p.Kind == Raw {
			continue
		}
		text := strings.ReplaceAll(setting.Value, "$$", "")
		for _, m := range mentions.FindAllStringSubmatchIndex(text, -1) {
			if !strings.HasPrefix(skipWhite(text[m[3]:]), "{") || text[m[0]+1] != '{' { // not a function's name
				note(text[m[2]:m[3]], setting, setting.Value)
			}
		}
		if setting.Name == "smtpd_restriction_classes" {
			for _, class := range SplitList(setting.Value) {
				note(class, setting, "")
			}
		}
	}
}

// sort puts the settings of s where they belong, in the order of their names.
func (u *Usage) sort(s, top *scope) {
	byName := func(a, b Setting) int { return strings.Compare(a.Name, b.Name) }
	for _, setting := range slices.SortedStableFunc(slices.Values(s.settings), byName) {
		name := setting.Name
		used := s.used[name] || s.tables[name]
		if top != nil {
			used = used || top.set[name] && top.used[name] || top.tables[name] || slices.Contains(top.classes, name)
		}
		builtin := u.builtin(name)
		if _, going := deprecated[name]; going && setting.Line > 0 {
			u.Deprecated = append(u.Deprecated, setting)
		}
		switch {
		case readOnly[name] && setting.Line > 0:
			u.ReadOnly = append(u.ReadOnly, setting)
		case builtin:
		case !used:
			u.Unused = append(u.Unused, setting)
		case top == nil:
			u.User[name] = true
		}
	}
}

// derivedNames are the parameters that the delivery services of master.cf have:
// their names with the suffixes of the table.
func derivedNames(entries []Entry) map[string]bool {
	names := make(map[string]bool)
	for i := range entries {
		agent, timed := false, false
		switch filepath.Base(entries[i].Fields[7]) {
		case "pipe":
			agent, timed = true, true
		case "spawn":
			timed = true
		case "smtp", "lmtp", "local", "virtual", "error":
			agent = true
		}
		for suffix := range TransportSuffixes() {
			name := entries[i].Fields[0] + suffix
			if p, ok := Lookup(name); ok && p.Derived() && (suffix == "_time_limit" && timed || suffix != "_time_limit" && agent) {
				names[name] = true
			}
		}
	}
	return names
}
