package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"sealpost/lib/confline"
)

// Setting is one "name = value" of main.cf, or of an override (Line 0).
type Setting struct {
	Name, Value string
	File        string
	Line        int // first physical line
}

// where names the setting's origin for messages.
func (s *Setting) where() string {
	if s.Line == 0 {
		return s.File
	}
	return fmt.Sprintf("%s, line %d", s.File, s.Line)
}

// ReadMain parses main.cf: settings in the order of the file, duplicates
// included, and warnings. Errors have Postfix's form "FILE, line N: text".
func ReadMain(path string) (settings []Setting, warnings []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return parseMain(f, path)
}

func parseMain(r io.Reader, path string) (settings []Setting, warnings []string, err error) {
	sc := confline.NewScanner(r)
	sc.Collapse = true
	seen := make(map[string]int)
	for {
		line, err := sc.Next()
		if err == io.EOF {
			return settings, warnings, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		if line.Orphan {
			warnings = append(warnings, fmt.Sprintf("%s, line %d: logical line must not start with whitespace: %q",
				path, line.First, clip(line.Text)))
			continue
		}
		name, value, err := parseSetting(line.Text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s, line %d: %w: %q", path, line.First, err, clip(line.Text))
		}
		if i, dup := seen[name]; dup {
			old := settings[i]
			warnings = append(warnings, fmt.Sprintf("%s, line %d: overriding earlier entry: %s=%s",
				path, line.First, old.Name, clip(old.Value)))
		}
		seen[name] = len(settings)
		settings = append(settings, Setting{name, value, path, line.First})
	}
}

// The ways in which a line of main.cf can be malformed.
var (
	ErrNoEquals = errors.New("missing '=' after attribute name")
	ErrNoName   = errors.New("missing attribute name")
	ErrNull     = errors.New("null byte")
)

func parseSetting(text string) (name, value string, err error) {
	if strings.IndexByte(text, 0) >= 0 {
		return "", "", ErrNull
	}
	name, value, ok := confline.NameValue(text)
	switch {
	case name == "":
		return "", "", ErrNoName
	case !ok, strings.ContainsAny(name, confline.White):
		return "", "", ErrNoEquals
	}
	return name, value, nil
}
