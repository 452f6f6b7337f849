package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/confline"
)

// ErrValue is the class of values that are not of their parameter's kind.
var ErrValue = errors.New("bad value")

// ErrBounds is the class of numbers and times outside their bounds.
var ErrBounds = errors.New("out of bounds")

func (c *Config) text(p *Param) (string, error) {
	value, _, err := c.value(p.Name, nil)
	if err != nil || p.Kind != Enum {
		return value, err
	}
	word := strings.Trim(value, confline.White)
	for _, allowed := range strings.Fields(p.Values) {
		if strings.EqualFold(word, allowed) {
			return allowed, nil
		}
	}
	return "", c.valueError(p.Name, c.got(p, value)+"one of these was expected: "+p.Values, ErrValue)
}

func (c *Config) boolean(p *Param) (bool, error) {
	value, _, err := c.value(p.Name, nil)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(strings.Trim(value, confline.White)) {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, c.valueError(p.Name, c.got(p, value)+"yes or no was expected", ErrValue)
}

func (c *Config) number(p *Param) (int64, error) {
	value, _, err := c.value(p.Name, nil)
	if err != nil {
		return 0, err
	}
	base, bits := 10, 64
	switch p.Kind {
	case Octal:
		base, bits = 8, 32
	case Int:
		bits = 32
	}
	n, err := strconv.ParseInt(strings.Trim(value, confline.White), base, bits)
	if errors.Is(err, strconv.ErrRange) {
		return 0, c.valueError(p.Name, c.got(p, value)+"the number is too large, allowed: "+p.bounds(), ErrBounds)
	}
	if err != nil {
		return 0, c.valueError(p.Name, c.got(p, value)+"a number was expected, allowed: "+p.bounds(), ErrValue)
	}
	return n, c.bounds(p, n, value)
}

func (c *Config) duration(p *Param) (time.Duration, error) {
	value, _, err := c.value(p.Name, nil)
	if err != nil {
		return 0, err
	}
	seconds, err := parseTime(strings.Trim(value, confline.White), p.unit())
	if err != nil {
		return 0, c.valueError(p.Name, c.got(p, value)+err.Error()+", allowed: "+p.bounds(), ErrValue)
	}
	return time.Duration(seconds) * time.Second, c.bounds(p, seconds, value)
}

func (c *Config) bounds(p *Param, n int64, value string) error {
	if n < p.Min || p.Max > 0 && n > p.Max {
		return c.valueError(p.Name, c.got(p, value)+"out of bounds, allowed: "+p.bounds(), ErrBounds)
	}
	return nil
}

// got shows the expanded value where it is not what was written.
func (c *Config) got(p *Param, value string) string {
	if raw, _ := c.Raw(p.Name); raw != value {
		return fmt.Sprintf("it means %q: ", clip(value))
	}
	return ""
}

// parseTime reads a number with an optional unit; the result is in seconds.
func parseTime(text string, unit byte) (int64, error) {
	digits := text
	if text != "" && !allDigits(text) {
		digits, unit = text[:len(text)-1], text[len(text)-1]|0x20
	}
	scale, ok := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}[unit]
	if !ok || strings.TrimPrefix(digits, "-") == "" || !allDigits(strings.TrimPrefix(digits, "-")) {
		return 0, errors.New("a time such as 30s, 5m, 2h, 1d or 1w was expected")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/int64(time.Second)/scale {
		return 0, errors.New("the time is too long")
	}
	return n * scale, nil
}

// compatibilityLevel is the version whose defaults apply.
func (c *Config) compatibilityLevel() (level, error) {
	value, _, err := c.value("compatibility_level", nil)
	if err != nil {
		return level{}, err
	}
	l, err := parseLevel(value)
	if err != nil {
		return level{}, c.valueError("compatibility_level", "a version such as 3.11 was expected", ErrValue)
	}
	return l, nil
}

// checkParam evaluates one parameter.
func (c *Config) checkParam(p *Param) error {
	var err error
	switch p.Kind {
	case Bool:
		_, err = c.boolean(p)
	case Int, Size, Octal:
		_, err = c.number(p)
	case Time:
		_, err = c.duration(p)
	default:
		if _, err = c.text(p); err == nil && p.Name == "compatibility_level" {
			_, err = c.compatibilityLevel()
		}
	}
	return err
}

// Check evaluates every value that is set, also of parameters that the mail
// system does not act on, and returns what is wrong with them.
func (c *Config) Check() []error {
	var errs []error
	for _, name := range c.setNames() {
		p, known := Lookup(name)
		if !known {
			p = &Param{Name: name}
		}
		if err := c.checkParam(p); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// check evaluates what is set and what depends on it. Values of parameters that
// nothing acts on do not keep the mail system from running.
func (c *Config) check() error {
	if _, err := c.compatibilityLevel(); err != nil {
		return err // and not of a default that depends on it
	}
	for _, name := range c.setNames() {
		p, known := Lookup(name)
		if known && p.Status == Known {
			continue
		}
		if !known {
			p = &Param{Name: name}
		}
		if err := c.checkParam(p); err != nil {
			return err
		}
	}
	for _, p := range paramIndex() {
		if p.Status != Known && p.Kind >= Enum && strings.Contains(p.Default, "$") {
			if err := c.checkParam(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Decode fills the struct that dst points to. Fields are tagged
// `conf:"parameter_name"`; the field's type must fit the parameter's kind:
// string, bool, int, int64 (size), time.Duration (time), []string (list,
// split at comma and white space, {..} protected). A field that is a struct
// without a tag is filled likewise. It returns the first value
// that is malformed or out of bounds: an error that names parameter and value.
// An unknown tag or a wrong type is a programming error and panics.
func (c *Config) Decode(dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic("config: Decode wants a pointer to a struct")
	}
	return c.decode(v.Elem())
}

func (c *Config) decode(v reflect.Value) error {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, tagged := f.Tag.Lookup("conf")
		if !tagged {
			if f.Type.Kind() == reflect.Struct && f.IsExported() {
				if err := c.decode(v.Field(i)); err != nil {
					return err
				}
			}
			continue
		}
		if err := c.decodeField(v.Field(i), name); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) decodeField(field reflect.Value, name string) error {
	switch dst := field.Addr().Interface().(type) {
	case *string:
		value, err := c.text(kindOf(name, Str, List, Raw, Enum))
		*dst = value
		return err
	case *[]string:
		value, err := c.text(kindOf(name, Str, List, Raw))
		*dst = SplitList(value)
		return err
	case *bool:
		value, err := c.boolean(kindOf(name, Bool))
		*dst = value
		return err
	case *int:
		value, err := c.number(kindOf(name, Int, Size, Octal))
		*dst = int(value)
		return err
	case *int64:
		value, err := c.number(kindOf(name, Int, Size))
		*dst = value
		return err
	case *time.Duration:
		value, err := c.duration(kindOf(name, Time))
		*dst = value
		return err
	}
	panic(fmt.Sprintf("config: parameter %s cannot fill a field of type %s", name, field.Type()))
}
