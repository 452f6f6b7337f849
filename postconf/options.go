package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
)

const usage = "usage: postconf [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] [-c config_dir] " +
	"[-C param_class] [-d (parameter defaults)] [-e (edit configuration)] [-f (fold lines)] [-F (master.cf fields)] " +
	"[-h (no names)] [-H (no values)] [-j (JSON)] [-l (lock types)] [-m (map types)] [-M (master.cf)] " +
	"[-n (non-default parameters)] [-o name=value (override parameter value)] [-p (main.cf, default)] " +
	"[-P (master.cf parameters)] [-q (no warnings)] [-t (bounce templates)] " +
	"[-T compile-version|run-version|public-key-algorithms] [-v (verbose)] [-x (expand parameter values)] " +
	"[-X (exclude)] [-# (comment-out)] [name...]"

// errUsage is a command line that makes no sense.
var errUsage = errors.New(usage)

// mode is what a run of postconf is about: the letter of its option.
type mode byte

const (
	modeMain      mode = 'p'
	modeService   mode = 'M'
	modeField     mode = 'F'
	modeParameter mode = 'P'
)

// letters are all options in the order of error messages.
const letters = "aAbdeflFhHjmMnopPqtTxX#"

// allowed are the options that go with each mode, besides -c, -C and -v.
var allowed = map[mode]string{
	modeMain: "defhHjnopqxX#", modeService: "efjoqxX#", modeField: "efhHjoqx", modeParameter: "efhHjoqxX",
	'a': "", 'A': "", 'b': "", 'l': "", 'm': "", 't': "", 'T': "",
}

func (c *command) parse(args []string) error {
	dir := ""
	rest, err := getopt.Parse(args, "#aAbc:C:deFfHhjlmMno:pPqtT:vxX", func(letter byte, text string) error {
		c.flags[letter] = true
		switch letter {
		case 'c':
			dir = text
		case 'C':
			return c.addClasses(text)
		case 'T':
			c.topic = text
		case 'o':
			name, value, err := parseAssign(text)
			switch {
			case errors.Is(err, config.ErrNoEquals):
				return fmt.Errorf("invalid parameter override: %s: %w", text, config.ErrNoEquals)
			case err != nil:
				return fmt.Errorf("invalid parameter override: %w", err)
			}
			c.override = append(c.override, config.Override{Name: name, Value: value})
		}
		return nil
	})
	if err != nil {
		if strings.HasPrefix(err.Error(), "invalid option") || strings.HasPrefix(err.Error(), "option requires") {
			return fmt.Errorf("%w; %w", err, errUsage)
		}
		return err
	}
	c.args = rest
	c.dir = config.Dir(dir)
	return c.decide()
}

func (c *command) addClasses(value string) error {
	for _, class := range config.SplitList(value) {
		if !slices.Contains([]string{"all", "builtin", "service", "user"}, class) {
			return fmt.Errorf("unknown -C option value %q in %q", class, value)
		}
		c.classes = append(c.classes, class)
	}
	return nil
}

// decide finds the mode and the action, and refuses options that do not go together.
func (c *command) decide() error {
	c.mode = modeMain
	if err := c.exclude("aAblFmMpPtT"); err != nil {
		return err
	}
	for _, m := range []mode{'a', 'A', 'b', 'l', 'F', 'm', 'M', 'P', 't', 'T'} {
		if c.flags[byte(m)] {
			c.mode = m
		}
	}
	for _, letter := range []byte(letters) {
		if c.flags[letter] && letter != byte(c.mode) && strings.IndexByte(allowed[c.mode], letter) < 0 {
			return fmt.Errorf("with option -%c, do not specify -%c", c.mode, letter)
		}
	}
	if strings.IndexByte(allowed[c.mode], 'e') < 0 {
		return nil
	}
	if slices.ContainsFunc(c.args, func(a string) bool { return strings.Contains(a, "=") }) {
		c.flags['e'] = true
	}
	for _, group := range []string{"deX#", "enX#", "efX#", "ehHX#", "ejX#", "eoX#", "exX#", "dn", "fj", "hHj"} {
		if err := c.exclude(group); err != nil {
			return err
		}
	}
	switch {
	case c.flags['e'] && len(c.args) == 0:
		return errors.New("-e requires name=value argument")
	case c.flags['e']:
		c.do = assign
	case (c.flags['X'] || c.flags['#']) && len(c.args) == 0:
		return errors.New("missing service argument")
	case c.flags['X']:
		c.do = remove
	case c.flags['#']:
		c.do = comment
	}
	return nil
}

// exclude refuses two options of a group.
func (c *command) exclude(group string) error {
	var seen []string
	for _, letter := range []byte(letters) {
		if c.flags[letter] && strings.IndexByte(group, letter) >= 0 {
			seen = append(seen, "-"+string(letter))
		}
	}
	if len(seen) > 1 {
		return fmt.Errorf("specify one of %s", strings.Join(seen, " "))
	}
	return nil
}
