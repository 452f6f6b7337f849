package table

import (
	"context"
	"fmt"

	"sealpost/lib/address"
	"sealpost/lib/confline"
)

// Maps is an ordered list of tables; nil is an empty list.
type Maps struct {
	param  string
	tables []Table
	files  []string
}

// OpenMaps opens a list of tables as written in parameter param.
func OpenMaps(env Env, param, spec string) *Maps {
	words := confline.Split(spec, confline.Comma)
	if len(words) == 0 {
		return nil
	}
	m := &Maps{param: param}
	for _, word := range words {
		t := Open(env, word)
		m.tables = append(m.tables, t)
		m.files = append(m.files, t.Files()...)
	}
	return m
}

// Empty reports whether the list has no tables.
func (m *Maps) Empty() bool { return m == nil || len(m.tables) == 0 }

// Files are the files that the tables were read from.
func (m *Maps) Files() []string {
	if m == nil {
		return nil
	}
	return m.files
}

// Close closes the tables.
func (m *Maps) Close() error {
	var first error
	if m != nil {
		for _, t := range m.tables {
			if err := t.Close(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// Lookup asks each table in order for the full key.
func (m *Maps) Lookup(ctx context.Context, key string) (value string, found bool, err error) {
	return m.lookup(ctx, key, false)
}

// LookupPartial asks the tables with exact keys for a part of a key, such as the
// parent of a domain: a pattern would match parts that its author did not mean.
func (m *Maps) LookupPartial(ctx context.Context, key string) (value string, found bool, err error) {
	return m.lookup(ctx, key, true)
}

// lookup asks each table; with partial set, only those with exact keys. A
// result of "" is an error of the table: it would be taken for an address.
func (m *Maps) lookup(ctx context.Context, key string, partial bool) (value string, found bool, err error) {
	if m == nil || key == "" {
		return "", false, nil
	}
	for _, t := range m.tables {
		if partial && !t.Fixed() {
			continue
		}
		value, found, err = t.Lookup(ctx, key)
		if err != nil {
			return "", false, fmt.Errorf("%s: look-up of %q: %w", m.param, key, err)
		}
		if found && value == "" {
			return "", false, fmt.Errorf("%s: %s: look-up of %q %w", m.param, t.Name(), key, ErrEmptyResult)
		}
		if found {
			return value, true, nil
		}
	}
	return "", false, nil
}

// AddrSearch says how FindAddr treats an address (§6.3).
type AddrSearch struct {
	Delimiters  string                   // recipient_delimiter
	LocalDomain func(domain string) bool // bare user is looked up for these; nil: none
}

// FindAddr looks an address (internal form) up in the order of §6.3: full
// address, without extension, bare local part where the domain is local,
// @domain. Each is tried in all tables before the next, its quoted form first
// where that differs. ext is the extension (with delimiter) that the matched key
// lacked; it is empty after a match of "@domain".
func (m *Maps) FindAddr(ctx context.Context, addr string, s AddrSearch) (value, ext string, found bool, err error) {
	if m.Empty() || addr == "" {
		return "", "", false, nil
	}
	if value, found, err = m.findForm(ctx, addr, false); found || err != nil {
		return value, "", found, err
	}
	local, domain := address.Split(addr)
	user, _ := address.SplitExtension(local, s.Delimiters)
	extension, at := local[len(user):], addr[len(local):]
	type attempt struct {
		key, ext string
		use      bool
	}
	isLocal := at != "" && s.LocalDomain != nil && s.LocalDomain(domain)
	for _, a := range [...]attempt{
		{user + at, extension, extension != ""},
		{local, "", isLocal},
		{user, extension, isLocal && extension != ""},
	} {
		if !a.use {
			continue
		}
		if value, found, err = m.findForm(ctx, a.key, true); found || err != nil {
			return value, a.ext, found, err
		}
	}
	if domain != "" {
		value, found, err = m.lookup(ctx, at, true)
	}
	return value, "", found, err
}

// findForm looks an address up in its quoted form, then in its internal form.
func (m *Maps) findForm(ctx context.Context, addr string, partial bool) (string, bool, error) {
	if quoted := address.Quote(addr); quoted != addr {
		if value, found, err := m.lookup(ctx, quoted, partial); found || err != nil {
			return value, found, err
		}
	}
	return m.lookup(ctx, addr, partial)
}
