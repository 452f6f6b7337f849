package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"sealpost/lib/mime"
	"sealpost/lib/store"
	"sealpost/lib/table"
)

// openAll opens the tables for reading.
func (c *command) openAll() (tables []table.Table, err error) {
	for _, spec := range c.tables {
		c.verbosef("open %s", spec)
		t, err := table.TryOpen(c.env, spec)
		if err != nil {
			closeAll(tables)
			return nil, fmt.Errorf("open %s: %w", spec, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func closeAll(tables []table.Table) {
	for _, t := range tables {
		_ = t.Close() // what was read was read
	}
}

// ask is -q.
func (c *command) ask(ctx context.Context) (found bool, err error) {
	tables, err := c.openAll()
	if err != nil {
		return false, err
	}
	defer closeAll(tables)
	if *c.query != "-" {
		value, found, err := c.lookup(ctx, tables, *c.query)
		if err != nil || !found {
			return false, err
		}
		if c.json {
			return true, c.print(*c.query, value)
		}
		_, err = fmt.Fprintln(c.out, value)
		return true, err
	}
	err = c.keys(func(key string) error {
		value, ok, err := c.lookup(ctx, tables, key)
		if err != nil || !ok {
			return err
		}
		found = true
		return c.print(key, value)
	})
	return found, err
}

// lookup asks one table after the other.
func (c *command) lookup(ctx context.Context, tables []table.Table, key string) (value string, found bool, err error) {
	if !c.mayAsk(key) {
		c.warnf("non-UTF-8 key %.100q -- not looked up", key)
		return "", false, nil
	}
	for _, t := range tables {
		value, found, err := t.Lookup(ctx, key)
		if err != nil {
			return "", false, fmt.Errorf("query error: %w", err)
		}
		if !found {
			c.verbosef("%s: %q is not there", t.Name(), key)
			continue
		}
		if c.files {
			if value, err = decode(value); err != nil {
				return "", false, fmt.Errorf("table %s: key %s: the value is not in base64: %w", t.Name(), key, err)
			}
		}
		return value, true, nil
	}
	return "", false, nil
}

func decode(value string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(value)
	return string(b), err
}

// mayAsk reports whether a key is what tables have: UTF-8. Lines of a message are asked
// for whatever they are.
func (c *command) mayAsk(key string) bool {
	if c.anyBytes || !c.set.UTF8 || (c.body || c.header) && !c.checked {
		return true
	}
	return utf8.ValidString(key)
}

// print prints a key and its value.
func (c *command) print(key, value string) error {
	if c.json {
		k, err1 := quoteJSON(key)
		v, err2 := quoteJSON(value)
		_, err3 := fmt.Fprintf(c.out, "{%s: %s}\n", k, v)
		return errors.Join(err1, err2, err3)
	}
	separator := "\t"
	if c.alias {
		separator = ":\t"
	}
	_, err := c.out.WriteString(key + separator + value + "\n")
	return err
}

// quoteJSON is a string of JSON with "<", "&" and ">" as they are: addresses have them.
func quoteJSON(text string) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(text)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// maxKey is the longest line of standard input that is a key.
const maxKey = 1 << 20

// keys calls fn with each key of standard input.
func (c *command) keys(fn func(key string) error) error {
	if c.body || c.header {
		return c.messageKeys(fn)
	}
	in := bufio.NewScanner(c.in)
	in.Buffer(make([]byte, 64<<10), maxKey)
	for in.Scan() {
		if err := fn(in.Text()); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return nil
}

// messageKeys calls fn with the lines of a message.
func (c *command) messageKeys(fn func(key string) error) error {
	sink := &messageSink{fn: fn, header: c.header, body: c.body}
	s := mime.New(c.set.limits(), sink)
	s.Plain = !c.mime
	in := bufio.NewReaderSize(c.in, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		more := errors.Is(err, bufio.ErrBufferFull)
		if len(line) > 0 || err == nil {
			text := strings.TrimSuffix(string(line), "\n")
			if err := s.Line([]byte(strings.TrimSuffix(text, "\r")), more); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return s.End()
		}
		if err != nil && !more {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
}

// messageSink makes keys of the lines that are asked for.
type messageSink struct {
	fn           func(string) error
	header, body bool
}

func (m *messageSink) Header(_ mime.Kind, text []byte) error {
	if !m.header {
		return nil
	}
	return m.fn(string(text))
}

func (m *messageSink) Body(text []byte, _ bool) error {
	if !m.body {
		return nil
	}
	return m.fn(string(text))
}

// listAll is -s.
func (c *command) listAll(ctx context.Context) error {
	tables, err := c.openAll()
	if err != nil {
		return err
	}
	defer closeAll(tables)
	for _, t := range tables {
		l, ok := t.(table.Lister)
		if !ok {
			return table.Fail(t.Name(), table.ErrNoList)
		}
		for e, err := range l.All(ctx) {
			value := e.Value
			if err == nil && c.files {
				value, err = decode(value)
			}
			if err == nil {
				err = c.print(e.Key, value)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// remove is -d.
func (c *command) remove(ctx context.Context) (found bool, err error) {
	var keys []string
	if *c.deletion == "-" {
		if err := c.keys(func(key string) error { keys = append(keys, key); return nil }); err != nil {
			return false, err
		}
	} else {
		keys = []string{*c.deletion}
	}
	for _, spec := range c.tables {
		name, ok := indexedName(spec)
		if !ok {
			ok, err := c.removeElsewhere(ctx, spec, keys)
			if err != nil {
				return found, err
			}
			found = found || ok
			continue
		}
		err := store.Update(ctx, name, false, 0, func(t *store.Change) error {
			for _, key := range keys {
				if key = c.fold(key); key == "" {
					continue
				}
				if _, ok := t.Get(key); ok {
					found = true
					if err := t.Delete(key); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return found, fmt.Errorf("table %s: delete error: %w", spec, err)
		}
	}
	return found, nil
}

// removeElsewhere removes keys from a table that is not a file of ours.
func (c *command) removeElsewhere(ctx context.Context, spec string, keys []string) (found bool, err error) {
	t, err := table.TryOpen(c.env, spec)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", spec, err)
	}
	defer t.Close()
	u, ok := t.(table.Updater)
	if !ok {
		return false, fmt.Errorf("table %s cannot be changed by this command; edit its source", spec)
	}
	for _, key := range keys {
		ok, err := u.Delete(ctx, key)
		if err != nil {
			return found, fmt.Errorf("delete error: %w", err)
		}
		found = found || ok
	}
	return found, nil
}
