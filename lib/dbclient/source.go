// Package dbclient is what the tables of databases have in common: the file
// that configures a table, templates with % sequences, results, hosts, and the
// tables that are asked in SQL. The clients of the databases are in packages
// below this one; only programs that hold such tables import them, through
// package dbtypes.
//
// The file of a table TYPE:/file has the form of main.cf, "name = value", but
// $name is not expanded. A table TYPE:name, without a slash or a dot at its
// begin, has its parameters in main.cf, as name_parameter.
//
// The parameters that all types know are domain, result_format, expansion_limit
// and timeout. In a template
//
//	%%        is a percent sign
//	%s        is the key; in result_format the value
//	%u, %d    is the part before and after the last "@" of it
//	%S %U %D  is the same of the key, also in result_format
//	%1 ... %9 is a label of the key's domain, counted from its end
//
// A key that lacks what a template asks for is not in the table.
package dbclient

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/confline"
	"sealpost/lib/table"
)

// The ways in which the configuration of a table can be wrong.
var (
	ErrMissing  = errors.New("is missing")
	ErrBadValue = errors.New("bad value")
)

// Source is the configuration of one table. The first error is kept for Err.
type Source struct {
	where  string // file, or "main.cf"
	prefix string // of names in main.cf
	files  []string
	values map[string]string
	used   map[string]bool
	err    error
}

// ReadSource reads the configuration that name, what follows the type, stands for.
func ReadSource(main *config.Config, name string) (*Source, error) {
	s := &Source{values: make(map[string]string), used: make(map[string]bool)}
	if !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, ".") {
		return s, s.fromMain(main, name)
	}
	settings, _, err := config.ReadMain(name)
	if err != nil {
		return nil, err
	}
	s.where, s.files = name, []string{name}
	for _, v := range settings {
		s.values[v.Name] = v.Value
	}
	return s, nil
}

func (s *Source) fromMain(main *config.Config, name string) error {
	if main == nil {
		return fmt.Errorf("%q is no path, and there is no main.cf", name)
	}
	s.where, s.prefix = "main.cf", name+"_"
	for _, v := range main.Settings() {
		rest, ok := strings.CutPrefix(v.Name, s.prefix)
		if !ok {
			continue
		}
		value, err := main.Value(v.Name)
		if err != nil {
			return err
		}
		s.values[rest] = value
	}
	return nil
}

// Files are the files that were read.
func (s *Source) Files() []string { return s.files }

// Err is the first error of the getters.
func (s *Source) Err() error { return s.err }

// Unused are the names that no getter asked for.
func (s *Source) Unused() []string {
	var names []string
	for name := range s.values {
		if !s.used[name] {
			names = append(names, s.prefix+name)
		}
	}
	slices.Sort(names)
	return names
}

// Where is the file, for messages.
func (s *Source) Where() string { return s.where }

func (s *Source) fail(name string, err error) {
	if s.err == nil {
		s.err = fmt.Errorf("%s: parameter %s%s: %w", s.where, s.prefix, name, err)
	}
}

// Fail notes that the value of a parameter cannot be used.
func (s *Source) Fail(name string, err error) { s.fail(name, err) }

// Has reports whether a parameter is set to something.
func (s *Source) Has(name string) bool {
	s.used[name] = true
	return s.values[name] != ""
}

// Str is a text.
func (s *Source) Str(name, preset string) string {
	s.used[name] = true
	if v, ok := s.values[name]; ok {
		return v
	}
	return preset
}

// Required is a text that must be set.
func (s *Source) Required(name string) string {
	if !s.Has(name) {
		s.fail(name, ErrMissing)
	}
	return s.values[name]
}

// List are words.
func (s *Source) List(name, preset string) []string {
	return confline.Split(s.Str(name, preset), confline.Comma)
}

// Int is a number from low on.
func (s *Source) Int(name string, preset, low int) int {
	text := s.Str(name, "")
	if text == "" {
		return preset
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low {
		s.fail(name, fmt.Errorf("%w %q: expecting a number, %d or more", ErrBadValue, text, low))
		return preset
	}
	return n
}

// Bool is yes or no.
func (s *Source) Bool(name string, preset bool) bool {
	switch text := s.Str(name, ""); strings.ToLower(text) {
	case "":
		return preset
	case "yes":
		return true
	case "no":
		return false
	default:
		s.fail(name, fmt.Errorf("%w %q: expecting yes or no", ErrBadValue, text))
		return preset
	}
}

// maxSeconds keeps a time within what time.Duration can hold.
const maxSeconds = 1 << 31

// Seconds is a time above zero, written in seconds, with or without the unit s.
func (s *Source) Seconds(name string, preset int) time.Duration {
	text := strings.TrimSuffix(s.Str(name, strconv.Itoa(preset)), "s")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxSeconds {
		s.fail(name, fmt.Errorf("%w %q: expecting a number of seconds", ErrBadValue, text))
		n = preset
	}
	return time.Duration(n) * time.Second
}

// Template is a text with % sequences.
func (s *Source) Template(name, preset string) Template {
	t, err := ParseTemplate(s.Str(name, preset))
	if err != nil {
		s.fail(name, err)
	}
	return t
}

// Warn says which parameters are not known.
func (s *Source) Warn(env table.Env) {
	if env.Warnf == nil {
		return
	}
	for _, name := range s.Unused() {
		env.Warnf("%s: unused parameter: %s", s.where, name)
	}
}
