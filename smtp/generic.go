package main

import (
	"bytes"
	"context"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/config"
	"sealpost/lib/header"
	"sealpost/lib/table"
)

// openGeneric opens smtp_generic_maps and returns the files to watch. The tables may
// name users of this host without a domain (generic(5)).
func (c *client) openGeneric(cfg *config.Config, tables table.Env) []string {
	name := c.set.name("generic_maps")
	maps := table.OpenMaps(tables, name, cfg.Str(name))
	if maps.Empty() {
		return nil
	}
	own, err := table.OpenList(tables, "mydestination", cfg.Str("mydestination"), table.Strings, false)
	if err != nil {
		tables.Warnf("%v", err) // users are not known without their domain, then
	}
	origin := cfg.Str("myorigin")
	search := table.AddrSearch{Delimiters: cfg.Str("recipient_delimiter"), LocalDomain: func(domain string) bool {
		if own == nil || strings.EqualFold(domain, origin) {
			return strings.EqualFold(domain, origin)
		}
		bare, err := own.Match(context.Background(), domain)
		return bare && err == nil
	}}
	c.generic = func(ctx context.Context, addr string) (string, error) {
		value, ext, found, err := maps.FindAddr(ctx, addr, search)
		if err != nil || !found {
			return addr, err
		}
		return mapped(value, addr, ext), nil
	}
	return append(maps.Files(), own.Files()...)
}

// mapped is the result of a generic map: "@domain" keeps the local part, and an
// extension that the key lacked is put back (generic(5)).
func mapped(value, addr, ext string) string {
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, "@") {
		if i := strings.LastIndexByte(addr, '@'); i >= 0 {
			addr = addr[:i]
		}
		return addr + value
	}
	if i := strings.LastIndexByte(value, '@'); ext != "" && i >= 0 {
		return value[:i] + ext + value[i:]
	}
	return value
}

// maxGenericHeader is the longest address header that is rewritten; what is
// longer passes as it is.
const maxGenericHeader = 100 << 10

// genericHeader is a message whose address headers go through smtp_generic_maps.
// Other headers and the body pass unchanged; so does a header without a match, to
// the byte.
type genericHeader struct {
	content
	rewrite func(addr string) (string, error) // internal form

	body  bool     // the header is over
	kept  []string // lines of the address header being gathered
	size  int
	more  bool // the line before goes on
	ready []piece
	ended error
	err   error
}

type piece struct {
	text []byte
	more bool
}

// Next implements content.
func (g *genericHeader) Next() ([]byte, bool, error) {
	for {
		if g.err != nil {
			return nil, false, g.err
		}
		if len(g.ready) > 0 {
			p := g.ready[0]
			g.ready = g.ready[1:]
			return p.text, p.more, nil
		}
		if g.ended != nil {
			return nil, false, g.ended
		}
		text, more, err := g.content.Next()
		if g.body || err != nil && len(g.kept) == 0 {
			return text, more, err
		}
		if err != nil {
			g.ended = err
			g.flush()
			continue
		}
		if g.take(text, more) {
			return text, more, nil
		}
	}
}

// take handles a line, or a piece of one, of the header; pass: it goes out as it is.
func (g *genericHeader) take(text []byte, more bool) (pass bool) {
	continued := g.more
	g.more = more
	if continued || header.IsContinuation(text) {
		if len(g.kept) == 0 {
			return true
		}
		if continued {
			g.kept[len(g.kept)-1] += string(text)
		} else {
			g.kept = append(g.kept, string(text))
		}
		if g.size += len(text); g.size > maxGenericHeader {
			g.giveUp(more)
		}
		return false
	}
	g.flush()
	n, _, ok := header.Line(text)
	if !ok {
		g.body = true
	} else if isAddressHeader(text[:n]) {
		g.kept, g.size = append(g.kept[:0], string(text)), len(text)
		return false
	}
	if len(g.ready) == 0 {
		return true
	}
	g.ready = append(g.ready, piece{bytes.Clone(text), more})
	return false
}

func isAddressHeader(name []byte) bool {
	known := header.Find(name)
	return known != nil && known.Flags&(header.Sender|header.Recipient) != 0
}

// giveUp lets a header through that is too long; more: its last line goes on.
func (g *genericHeader) giveUp(more bool) {
	for i, line := range g.kept {
		g.ready = append(g.ready, piece{[]byte(line), more && i == len(g.kept)-1})
	}
	g.kept = g.kept[:0]
}

// flush rewrites the header that was gathered.
func (g *genericHeader) flush() {
	if len(g.kept) == 0 {
		return
	}
	text := strings.Join(g.kept, "\n")
	g.kept = g.kept[:0]
	name, value, _ := strings.Cut(text, ":")
	out, _ := address.RewriteList(value, 0, func(addr string) string {
		inner := address.Unquote(addr)
		result, err := g.rewrite(inner)
		if err != nil {
			g.err = err
			return addr
		}
		if result == inner {
			return addr
		}
		return address.Quote(result)
	})
	for _, line := range strings.Split(name+":"+out, "\n") {
		g.ready = append(g.ready, piece{text: []byte(line)})
	}
}

// Release gives buffers of the lines below back.
func (g *genericHeader) Release() { release(g.content) }
