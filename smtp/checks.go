package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/header"
	"sealpost/lib/maillog"
	"sealpost/lib/mime"
	"sealpost/lib/table"
)

// checks are smtp_header_checks and their like: tables that see the headers and
// lines of a message on its way out. They may change lines and log them; what
// changes the time or the destination of a delivery is for cleanup(8).
type checks struct {
	header, mime, nested, body check
	limits                     mime.Limits
	bodyLimit                  int // bytes of each part that body sees
}

// check is one of the tables.
type check struct {
	param, class string
	maps         *table.Maps
}

// openChecks opens the tables, if there are any, and returns the files to watch.
func (c *client) openChecks(cfg *config.Config, tables table.Env) []string {
	var files []string
	any := false
	open := func(ending, class string) check {
		name := c.set.name(ending)
		maps := table.OpenMaps(tables, name, cfg.Str(name))
		files = append(files, maps.Files()...)
		any = any || !maps.Empty()
		return check{name, class, maps}
	}
	k := &checks{
		header: open("header_checks", "header"), mime: open("mime_header_checks", "header"),
		nested: open("nested_header_checks", "header"), body: open("body_checks", "body"),
		limits: mime.Limits{Header: cfg.Int("header_size_limit"), Nesting: cfg.Int("mime_nesting_limit"),
			Boundary: cfg.Int("mime_boundary_length_limit")},
		bodyLimit: cfg.Int("body_checks_size_limit"),
	}
	if any {
		c.checks = k
	}
	return files
}

// checkedContent is a message as the tables leave it. Where none of them matches
// it is the same to the byte, but for headers above header_size_limit.
type checkedContent struct {
	content
	*checks
	ctx     context.Context
	log     *maillog.Logger
	queueID string

	scan    *mime.Scanner
	segment int // of the body text below
	seen    int // bytes of body text of this segment that were looked at
	ready   []piece
	partial bool // the last of ready, or before it, goes on
	ended   error
}

func (k *checks) apply(ctx context.Context, lines content, log *maillog.Logger, queueID string) content {
	c := &checkedContent{content: lines, checks: k, ctx: ctx, log: log, queueID: queueID}
	c.scan = mime.New(k.limits, c)
	return c
}

// Next implements content.
func (c *checkedContent) Next() ([]byte, bool, error) {
	for len(c.ready) == 0 {
		if c.ended != nil {
			return nil, false, c.ended
		}
		c.ready = c.ready[:0]
		text, more, err := c.content.Next()
		switch {
		case errors.Is(err, io.EOF):
			c.ended = err
			if err := c.scan.End(); err != nil {
				c.ended = err
			}
		case err != nil:
			return nil, false, err
		default:
			if err := c.scan.Line(text, more); err != nil {
				c.ended = err
			}
		}
	}
	p := c.ready[0]
	c.ready = c.ready[1:]
	return p.text, p.more, nil
}

// Release gives buffers of the lines below back.
func (c *checkedContent) Release() { release(c.content) }

// Header implements mime.Sink.
func (c *checkedContent) Header(kind mime.Kind, text []byte) error {
	table := &c.header
	name, _, _ := bytes.Cut(text, []byte{':'})
	switch {
	case kind == mime.Nested:
		table = &c.nested
	case kind == mime.Multipart, mime.IsHeader(bytes.TrimRight(name, " \t")):
		table = &c.mime
	}
	return c.check(table, text, false, c.outHeader)
}

// Body implements mime.Sink.
func (c *checkedContent) Body(text []byte, more bool) error {
	if c.scan.Segment != c.segment {
		c.segment, c.seen = c.scan.Segment, 0
	}
	if c.seen >= c.bodyLimit || len(text) == 0 {
		c.out(text, more)
		return nil
	}
	c.seen += len(text) + 1
	return c.check(&c.body, text, more, c.out)
}

func (c *checkedContent) out(text []byte, more bool) {
	c.ready = append(c.ready, piece{bytes.Clone(text), more})
	c.partial = more
}

// outHeader writes a header, one line for each of its lines.
func (c *checkedContent) outHeader(text []byte, _ bool) {
	for i, line := range bytes.Split(text, []byte{'\n'}) {
		if i > 0 && !header.IsContinuation(line) {
			line = append([]byte{'\t'}, line...)
		}
		c.out(line, false)
	}
}

// check asks a table about a header or a line, and writes what is to be in its place.
func (c *checkedContent) check(k *check, text []byte, more bool, write func(text []byte, more bool)) error {
	if k.maps.Empty() {
		write(text, more)
		return nil
	}
	value, found, err := k.maps.Lookup(c.ctx, string(text))
	if err != nil {
		return err
	}
	if !found {
		write(text, more)
		return nil
	}
	word, arg := value, ""
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		word, arg = value[:i], strings.TrimSpace(value[i:])
	}
	switch word = strings.ToUpper(word); word {
	case "DUNNO", "OK":
	case "IGNORE":
		c.drop(more)
		return nil
	case "STRIP":
		c.logCheck(k, word, text, arg)
		c.drop(more)
		return nil
	case "INFO":
		c.logCheck(k, word, text, arg)
	case "WARN":
		c.logCheck(k, "warning", text, arg)
	case "PREPEND":
		if c.usable(k, word, arg) {
			c.logCheck(k, word, text, arg)
			if !c.partial { // a line cannot stand within another
				c.out([]byte(arg), false)
			}
		}
	case "REPLACE":
		if c.usable(k, word, arg) {
			c.logCheck(k, word, text, arg)
			text = []byte(arg)
		}
	case "BCC", "DISCARD", "FILTER", "HOLD", "PASS", "REDIRECT", "REJECT":
		c.log.Warnf("%s: the %s command in %s is only for mail that comes in", c.queueID, word, k.param)
	default:
		c.log.Warnf("%s: unknown command in %s map: %.100q", c.queueID, k.param, value)
	}
	write(text, more)
	return nil
}

// drop leaves out a line, or the last piece of one: what was written of it is a line
// then, and must not go on with the next.
func (c *checkedContent) drop(more bool) {
	if c.partial && !more {
		c.out(nil, false)
	}
}

// usable reports whether a text can be a header, or a line where lines are looked at.
func (c *checkedContent) usable(k *check, word, arg string) bool {
	if arg == "" {
		c.log.Warnf("%s: %s action without text in %s map", c.queueID, word, k.param)
		return false
	}
	if _, _, ok := header.Line([]byte(arg)); !ok && k.class == "header" {
		c.log.Warnf("%s: bad %s header text %.100q in %s map -- need \"headername: headervalue\"", c.queueID, word, arg, k.param)
		return false
	}
	return true
}

func (c *checkedContent) logCheck(k *check, action string, text []byte, why string) {
	c.log.Log(maillog.Info, &maillog.ContentChecked{QueueID: c.queueID, Action: strings.ToLower(action),
		Class: k.class, Text: string(text), Why: why})
}
