package config

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/confline"
)

// Service is one line of master.cf (§3.5).
type Service struct {
	Name, Type   string // type: inet unix fifo pass unix-dgram
	Private      bool
	Unprivileged bool
	Chroot       bool
	Wakeup       time.Duration // 0: none
	WakeupIfUsed bool          // "?" suffix
	MaxProc      int           // 0: no limit; default applied
	Command      string
	Args         []string // {} groups resolved
	Line         int
}

// Entry is one line of master.cf as written: eight fields, then arguments with
// their { } kept.
type Entry struct {
	Fields      [8]string // name type private unpriv chroot wakeup maxproc command
	Args        []string
	First, Last int // physical lines
}

// Option is one "-o name=value" of an entry: Args[At:At+Words].
type Option struct {
	Override
	At, Words int
}

// Options are the -o name=value arguments of the entry. The first argument that
// does not begin with "-" ends the options of a daemon.
func (e *Entry) Options() []Option {
	var list []Option
	for i := 0; i < len(e.Args); i++ {
		text, _ := confline.Unbrace(e.Args[i])
		if !strings.HasPrefix(text, "-") || text == "-" || text == "--" {
			break
		}
		o := Option{At: i, Words: 1}
		switch {
		case text == "-o" && i+1 < len(e.Args):
			i++
			o.Words = 2
			text, _ = confline.Unbrace(e.Args[i])
		case strings.HasPrefix(text, "-o"):
			text = text[len("-o"):]
		default:
			continue
		}
		var ok bool
		if o.Name, o.Value, ok = confline.NameValue(text); ok && o.Name != "" {
			list = append(list, o)
		}
	}
	return list
}

// Overrides are the parameters that the -o arguments of the entry set.
func (e *Entry) Overrides() []Override {
	var list []Override
	for _, o := range e.Options() {
		list = append(list, o.Override)
	}
	return list
}

// fieldNames are the names of the fields of master.cf, as error messages and
// postconf have them.
var fieldNames = [8]string{"service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"}

// FieldNames are the names of the fields of master.cf, as postconf -F has them.
func FieldNames() []string { return fieldNames[:] }

// CheckFields finds a field with a value that it cannot have.
func CheckFields(e *Entry) error {
	_, err := newConfig(DefaultDir, nil, nil, nil).service(e)
	return err
}

// LoadMaster parses master.cf; an error has Postfix's form
// `FILE: line N: field "F": bad value: "V"`. Of two lines with the same service
// name and type the last one counts.
func LoadMaster(path string, c *Config) ([]Service, error) {
	entries, err := ReadMaster(path)
	if err != nil {
		return nil, err
	}
	return c.services(path, entries)
}

func (c *Config) services(path string, entries []Entry) ([]Service, error) {
	services := make([]Service, 0, len(entries))
	seen := make(map[string]int)
	for i := range entries {
		e := &entries[i]
		s, err := c.service(e)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, e.Last, err)
		}
		key := s.Name + "/" + s.Type
		if first, dup := seen[key]; dup {
			services[first] = s
			continue
		}
		seen[key] = len(services)
		services = append(services, s)
	}
	return services, nil
}

// ReadMaster parses the lines of master.cf without a look at the fields' values.
func ReadMaster(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMaster(f, path)
}

func parseMaster(r io.Reader, path string) ([]Entry, error) {
	sc := confline.NewScanner(r)
	sc.Collapse = true
	var entries []Entry
	for {
		line, err := sc.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if line.Orphan {
			return nil, fmt.Errorf("%s: line %d: logical line must not start with whitespace: %q", path, line.First, clip(line.Text))
		}
		e, err := ParseEntry(line.Text)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, line.Last, err)
		}
		e.First, e.Last = line.First, line.Last
		entries = append(entries, e)
	}
}

// ParseEntry splits one logical line of master.cf.
func ParseEntry(text string) (Entry, error) {
	var e Entry
	if strings.IndexByte(text, 0) >= 0 {
		return e, ErrNull
	}
	words := confline.Split(text, confline.White)
	if len(words) < len(e.Fields) {
		return e, fmt.Errorf("bad field count: %d fields, %d are needed (service type private unpriv chroot wakeup maxproc command)", len(words), len(e.Fields))
	}
	copy(e.Fields[:], words)
	e.Args = words[len(e.Fields):]
	return e, nil
}

// expected says what each field of master.cf takes, for error messages.
var expected = [8]string{
	"a plain name, user/NAME, or for type inet [host:]port",
	"inet, unix, fifo, pass or unix-dgram",
	"y, n or -; with type inet n or -", "y, n or -", "y, n or -",
	"seconds, with ? after them for services in use only, or -",
	"a number, 0 for no limit, or -",
	"the name of a program",
}

// fieldError is a value that a field of master.cf cannot have.
func fieldError(field int, value string) error {
	return fmt.Errorf("field %q: bad value: %q (expected %s)", fieldNames[field], value, expected[field])
}

func (c *Config) service(e *Entry) (Service, error) {
	f := e.Fields
	s := Service{Name: f[0], Type: f[1], Command: f[7], Line: e.First}
	switch s.Type {
	case "inet", "unix", "fifo", "pass", "unix-dgram":
	default:
		return s, fieldError(1, f[1])
	}
	if s.Type != "inet" && !plainName(s.Type, s.Name) {
		return s, fieldError(0, f[0])
	}
	var err error
	if s.Private, err = yesNo(2, f[2], true); err != nil {
		return s, err
	}
	if s.Type == "inet" && s.Private && f[2] != "-" {
		return s, fieldError(2, f[2])
	}
	if s.Type == "inet" {
		s.Private = false
	}
	if s.Unprivileged, err = yesNo(3, f[3], true); err != nil {
		return s, err
	}
	chroot, err := c.defaultChroot()
	if err != nil {
		return s, err
	}
	if s.Chroot, err = yesNo(4, f[4], chroot); err != nil {
		return s, err
	}
	if f[5] != "-" {
		text := strings.TrimSuffix(f[5], "?")
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || !allDigits(text) {
			return s, fieldError(5, f[5])
		}
		s.Wakeup, s.WakeupIfUsed = time.Duration(n)*time.Second, text != f[5]
	}
	if s.MaxProc, err = c.maxProc(f[6]); err != nil {
		return s, err
	}
	if s.Command == "" || strings.HasPrefix(s.Command, "-") {
		return s, fieldError(7, f[7])
	}
	for _, arg := range e.Args {
		inner, braced := confline.Unbrace(arg)
		if !braced && strings.HasPrefix(arg, "{") {
			return s, fmt.Errorf("missing '}' in command arguments: %q", clip(arg))
		}
		s.Args = append(s.Args, inner)
	}
	return s, nil
}

// plainName tells whether a local service's name can be that of a socket. Beside
// private/ and public/ there is user/, the sockets that any local user may open:
// they say so in their name (DESIGN §3, Local submission).
func plainName(kind, name string) bool {
	if kind == "unix" {
		name = strings.TrimPrefix(name, "user/")
	}
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}

func yesNo(field int, text string, preset bool) (bool, error) {
	switch strings.ToLower(text) {
	case "-":
		return preset, nil
	case "y", "yes":
		return true, nil
	case "n", "no":
		return false, nil
	}
	return false, fieldError(field, text)
}

// defaultChroot is what "-" means in the chroot column: yes below
// compatibility_level 1.
func (c *Config) defaultChroot() (bool, error) {
	l, err := c.compatibilityLevel()
	return l[0] < 1, err
}

func (c *Config) maxProc(text string) (int, error) {
	if text == "-" {
		n, err := c.number(kindOf("default_process_limit", Int))
		return int(n), err
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || !allDigits(text) {
		return 0, fieldError(6, text)
	}
	return int(n), nil
}
