// Package config reads main.cf and master.cf and holds the table of parameters:
// each with its kind, its default as it would be written in main.cf, its bounds,
// the daemons that read it and its documentation. `postconf -d`, the checks, the
// typed access in the daemons and the manual all come from that table
// (DESIGN section 8).
//
// The text of main.cf is
//
//	name = value
//
// with comments and continuation lines as package confline describes. In a value
// $name, ${name} and $(name) stand for other parameters, ${name?{a}:{b}} for a
// or b, ${{x} == {y}?{a}:{b}} for the outcome of a comparison, and
// ${domain_to_ascii{name}} for the A-label form of a domain name.
// When a name is given twice the last one counts.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sealpost/lib/confline"
	"sealpost/lib/idn"
)

// DefaultDir is the configuration directory of an installed system.
const DefaultDir = "/etc/sealpost"

// Config is main.cf after expansion, with defaults. It does not change and is
// safe for concurrent use.
type Config struct {
	dir      string
	set      map[string]Setting
	warnings []string
	cache    sync.Map // name -> string
}

// Override is one -o name=value of the command line.
type Override struct{ Name, Value string }

// Dir is the configuration directory: the -c value if not empty, else
// MAIL_CONFIG, else the built-in /etc/sealpost.
func Dir(flag string) string {
	if flag != "" {
		return flag
	}
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		return dir
	}
	return DefaultDir
}

// Load reads dir/main.cf. Errors name file, line and parameter. The overrides
// (and "stress") take precedence over main.cf. Every value that is set and that
// the mail system acts on is checked.
func Load(dir string, overrides ...Override) (*Config, error) {
	c, err := LoadUnchecked(dir, overrides...)
	if err != nil {
		return nil, err
	}
	return c, c.check()
}

// LoadUnchecked is Load without a look at the values, for tools that show or
// mend a configuration, and for commands that must work while somebody edits it:
// Decode checks what it is asked for. The typed getters panic on a malformed value.
func LoadUnchecked(dir string, overrides ...Override) (*Config, error) {
	settings, warnings, err := ReadMain(filepath.Join(dir, "main.cf"))
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("configuration directory: %w", err)
	}
	return newConfig(dir, settings, warnings, overrides), nil
}

// FromMap makes a configuration from values in memory, for tests: defaults from
// the table, values as if written in main.cf.
func FromMap(values map[string]string) (*Config, error) {
	settings := make([]Setting, 0, len(values))
	for name, value := range values {
		settings = append(settings, Setting{Name: name, Value: value, File: "main.cf"})
	}
	c := newConfig(DefaultDir, settings, nil, nil)
	return c, c.check()
}

func newConfig(dir string, settings []Setting, warnings []string, overrides []Override) *Config {
	c := &Config{dir: dir, set: make(map[string]Setting, len(settings)+len(overrides)+1), warnings: warnings}
	c.set["config_directory"] = Setting{Name: "config_directory", Value: dir, File: "-c"}
	c.cache.Store("config_directory", dir) // a path, not an expression
	for _, s := range settings {
		if s.Name != "config_directory" {
			c.set[s.Name] = s
		}
	}
	for _, o := range overrides {
		c.set[o.Name] = Setting{Name: o.Name, Value: o.Value, File: "-o"}
	}
	return c
}

// With returns a configuration with further overrides (e.g. stress=yes).
func (c *Config) With(overrides ...Override) (*Config, error) {
	n := c.Overlay(overrides...)
	return n, n.check()
}

// Overlay is With without a look at the values, as LoadUnchecked is for Load.
func (c *Config) Overlay(overrides ...Override) *Config {
	settings := make([]Setting, 0, len(c.set))
	for _, s := range c.set {
		settings = append(settings, s)
	}
	return newConfig(c.dir, settings, c.warnings, overrides)
}

// Dir is the configuration directory that was read, as an absolute path.
func (c *Config) Dir() string { return c.dir }

// Raw is the unexpanded value and whether main.cf or an override sets it. A
// default that is found out at run time (myhostname) is given as found out.
func (c *Config) Raw(name string) (value string, set bool) {
	if s, ok := c.set[name]; ok {
		return s.Value, true
	}
	p, ok := Lookup(name)
	if !ok {
		return "", false
	}
	if p.Computed {
		value, _ = c.compute(name, nil)
		return value, false
	}
	return p.Default, false
}

// Expand expands $name in text with the parameters (user-defined ones too).
func (c *Config) Expand(text string) (string, error) {
	return c.expander(nil).expand(text)
}

// Value is the expanded value of any parameter, user-defined ones included; "" for
// a name that does not exist. Text that is expanded where it is used is not expanded.
func (c *Config) Value(name string) (string, error) {
	value, _, err := c.value(name, nil)
	return value, err
}

// SplitList splits at comma and white space, {...} protected (braces kept off).
func SplitList(s string) []string {
	words := confline.Split(s, confline.Comma)
	for i, word := range words {
		words[i], _ = confline.Unbrace(word)
	}
	return words
}

// ValueError is a value that is malformed or out of bounds.
type ValueError struct {
	Where  string // "main.cf, line 3", "-o", or "default"
	Name   string
	Value  string // as written
	Reason string
	Err    error // may be nil
}

func (e *ValueError) Error() string {
	text := fmt.Sprintf("%s: parameter %s: bad value %q: %s", e.Where, e.Name, clip(e.Value), e.Reason)
	return strings.TrimPrefix(text, ": ")
}

func (e *ValueError) Unwrap() error { return e.Err }

func (c *Config) valueError(name, reason string, err error) error {
	e := &ValueError{Where: "default", Name: name, Reason: reason, Err: err}
	if s, ok := c.set[name]; ok {
		e.Where, e.Value = s.where(), s.Value
	} else if p, ok := Lookup(name); ok {
		e.Value = p.Default
	}
	return e
}

// frame is one level of a $name chain, to find circles and chains without an end.
type frame struct {
	name  string
	up    *frame
	depth int
}

func (c *Config) expander(up *frame) *expander {
	return &expander{
		lookup: func(name string) (string, bool, error) { return c.value(name, up) },
		profile: func() (idn.Profile, error) {
			text, _, err := c.value("enable_idna2003_compatibility", up)
			return idn.Profile{Transitional: strings.EqualFold(text, "yes")}, err
		},
	}
}

// value is the expanded value of a parameter. An error is a *ValueError about
// the parameter that is at fault.
func (c *Config) value(name string, up *frame) (value string, defined bool, err error) {
	if v, ok := c.cache.Load(name); ok {
		return v.(string), true, nil
	}
	for f := up; f != nil; f = f.up {
		if f.name == name {
			return "", true, c.valueError(name, "unreasonable macro call nesting: "+circle(name, up), ErrExpand)
		}
	}
	setting, set := c.set[name]
	p, known := Lookup(name)
	if !set && !known {
		return "", false, nil
	}
	here := &frame{name: name, up: up}
	if up != nil {
		here.depth = up.depth + 1
	}
	if here.depth > maxNesting {
		return "", true, c.valueError(name, fmt.Sprintf("unreasonable macro call nesting: it is reached through more than %d other parameters", maxNesting), ErrExpand)
	}
	switch {
	case !set && p.Computed:
		value, err = c.compute(name, here)
	case known && p.Kind == Raw:
		value = setting.Value
		if !set {
			value = p.Default
		}
	default:
		text := setting.Value
		if !set {
			text = p.Default
		}
		value, err = c.expander(here).expand(text)
	}
	if err != nil {
		var inner *ValueError
		if !errors.As(err, &inner) {
			err = c.valueError(name, err.Error(), err)
		}
		return "", true, err
	}
	c.cache.Store(name, value)
	return value, true, nil
}

// circle is the way from a name back to itself, for a message.
func circle(name string, up *frame) string {
	path := name
	for f := up; f != nil; f = f.up {
		path = f.name + " -> " + path
		if f.name == name {
			break
		}
	}
	return path
}

// kindOf finds the row for a getter; a wrong name or kind is a mistake in the
// program.
func kindOf(name string, kinds ...Kind) *Param {
	p, ok := Lookup(name)
	if !ok {
		panic("config: no parameter " + name)
	}
	for _, k := range kinds {
		if p.Kind == k {
			return p
		}
	}
	panic(fmt.Sprintf("config: parameter %s is of kind %s", name, p.Kind))
}

// must returns v, the value of a parameter that Load has checked.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The getters panic on a name that the table does not have or of another kind;
// values were checked by Load.

// Str is a text, list, raw or enumeration value, expanded (raw: as written).
func (c *Config) Str(name string) string {
	return must(c.text(kindOf(name, Str, List, Raw, Enum)))
}

// Bool is a yes or no.
func (c *Config) Bool(name string) bool { return must(c.boolean(kindOf(name, Bool))) }

// Int is a number, or the permissions of an octal parameter.
func (c *Config) Int(name string) int { return int(must(c.number(kindOf(name, Int, Octal)))) }

// Size is a number of bytes.
func (c *Config) Size(name string) int64 { return must(c.number(kindOf(name, Size, Int))) }

// Time is a time.
func (c *Config) Time(name string) time.Duration { return must(c.duration(kindOf(name, Time))) }

// List is a list value as SplitList cuts it.
func (c *Config) List(name string) []string { return SplitList(c.Str(name)) }

// transport is the name <transport><suffix> if that is set or has a row, else the
// name that holds its default.
func (c *Config) transport(transport, suffix string) string {
	name := transport + suffix
	if _, set := c.set[name]; set {
		return name
	}
	if _, fixed := paramIndex()[name]; fixed {
		return name
	}
	for _, row := range transportSuffixes {
		if row.suffix == suffix {
			return row.fallback
		}
	}
	panic("config: no transport parameter " + suffix)
}

// TransportInt is $<transport><suffix>, e.g. ("relay", "_destination_concurrency_limit"),
// or else $default<suffix>. TransportTime and TransportStr likewise.
func (c *Config) TransportInt(transport, suffix string) int {
	return c.Int(c.transport(transport, suffix))
}

// TransportTime is a time parameter of a transport.
func (c *Config) TransportTime(transport, suffix string) time.Duration {
	return c.Time(c.transport(transport, suffix))
}

// TransportStr is a text parameter of a transport (the concurrency feedbacks).
func (c *Config) TransportStr(transport, suffix string) string {
	return c.Str(c.transport(transport, suffix))
}
