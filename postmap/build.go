package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"sealpost/lib/instance"
	"sealpost/lib/store"
	"sealpost/lib/table"
)

// buildAll builds the tables, or with -i adds standard input to them.
func (c *command) buildAll(ctx context.Context) error {
	// A table is written to the end, or not at all.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	for _, spec := range c.tables {
		name, ok := indexedName(spec)
		if !ok {
			return c.cannotBuild(spec)
		}
		if err := c.build(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// cannotBuild says why a table of another type is not built.
func (c *command) cannotBuild(spec string) error {
	kind, _, _ := strings.Cut(spec, ":")
	switch {
	case kind == "fail":
		return fmt.Errorf("table %s: write error: it %w", spec, table.ErrFail)
	case !slices.Contains(table.Types(), kind):
		return fmt.Errorf("%w: %s; this command builds: %s", table.ErrType, kind, strings.Join(table.Indexed(), ", "))
	}
	return fmt.Errorf("unsupported dictionary type: %s does not support bulk-mode creation; a table of this type is used as it is", kind)
}

// build builds one table.
func (c *command) build(ctx context.Context, name string) error {
	st, err := os.Stat(name)
	if err != nil && !c.add {
		return openError(name, err)
	}
	perm := fs.FileMode(0o644)
	if err == nil && !c.open {
		// Who may not read the source may not read the table.
		perm &= st.Mode().Perm() | 0o600
	}
	return instance.AsOwner(c.identity(st), func() error {
		in := c.in
		if !c.add {
			f, err := os.Open(name)
			if err != nil {
				return openError(name, err)
			}
			defer f.Close()
			in = f
		}
		c.verbosef("build %s%s", name, store.Suffix)
		entries, content, err := c.entries(in, name)
		if err != nil {
			return err
		}
		if !c.open {
			perm &= content
		}
		if c.add {
			err = store.Update(ctx, name, true, perm, func(t *store.Change) error { return c.merge(t, name, entries) })
		} else {
			err = store.Build(ctx, name, c.unique(name, entries), perm)
		}
		if err != nil {
			return fmt.Errorf("write %s%s: %w", name, store.Suffix, err)
		}
		return nil
	})
}

func openError(name string, err error) error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		err = perr.Err
	}
	return fmt.Errorf("open %s: %w", name, err)
}

// identity is that of the source's owner: root's rights must not make a file where he
// could not.
func (c *command) identity(st fs.FileInfo) instance.IDs {
	none := instance.IDs{UID: -1, GID: -1, Setgid: -1}
	if st == nil || c.keepRoot || os.Geteuid() != 0 {
		return none
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid == 0 {
		return none
	}
	return instance.IDs{UID: int(sys.Uid), GID: int(sys.Gid), Setgid: -1}
}

// entries reads the source of a table. perm is the mode that what is stored of files
// allows: who may not read a private key may not read the table that has it.
func (c *command) entries(in io.Reader, name string) (entries []table.Entry, perm fs.FileMode, err error) {
	perm = fs.ModePerm
	env := c.env
	read := table.ReadEntries
	if c.alias {
		read = table.ReadAliases
	}
	env.AnyBytes = c.anyBytes || !c.set.UTF8
	entries, err = read(env, in, name)
	if err != nil || !c.files {
		return entries, perm, err
	}
	kept := entries[:0]
	for _, e := range entries {
		content, mode, err := concatenate(e.Value)
		if err != nil {
			c.warnf("%s, line %d: %v: skipping this entry", name, e.Line, err)
			continue
		}
		perm &= mode | 0o600
		e.Value = base64.StdEncoding.EncodeToString(content)
		kept = append(kept, e)
	}
	return kept, perm, nil
}

// concatenate is the content of files, with a line feed between them, and what all
// their modes allow.
func concatenate(names string) (all []byte, perm fs.FileMode, err error) {
	perm = fs.ModePerm
	for i, name := range strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, 0, err
		}
		st, err := os.Stat(name)
		if err != nil {
			return nil, 0, err
		}
		perm &= st.Mode().Perm()
		if i > 0 {
			all = append(all, '\n')
		}
		all = append(all, b...)
	}
	return all, perm, nil
}

func (c *command) fold(key string) string {
	if c.exact {
		return key
	}
	return table.Fold(key)
}

func (c *command) duplicate(name, key string) {
	if !c.quiet {
		c.warnf("%s%s: duplicate entry: %q", name, store.Suffix, key)
	}
}

// unique are the entries with their keys folded, each key once.
func (c *command) unique(name string, entries []table.Entry) []store.Entry {
	rows := make([]store.Entry, 0, len(entries)+1)
	at := make(map[string]int, len(entries)+1)
	for _, e := range entries {
		key := c.fold(e.Key)
		i, known := at[key]
		switch {
		case !known:
			at[key] = len(rows)
			rows = append(rows, store.Entry{Key: key, Value: e.Value})
		case c.replace:
			rows[i].Value = e.Value
		default:
			c.duplicate(name, key)
		}
	}
	if _, known := at["@"]; c.alias && !known {
		// Sendmail's mark that the database is complete.
		rows = append(rows, store.Entry{Key: "@", Value: "@"})
	}
	return rows
}

// merge adds entries to a table that is there.
func (c *command) merge(t *store.Change, name string, entries []table.Entry) error {
	for _, e := range entries {
		key := c.fold(e.Key)
		if _, known := t.Get(key); known && !c.replace {
			c.duplicate(name, key)
			continue
		}
		if err := t.Put(key, e.Value); err != nil {
			return fmt.Errorf("line %d: %w", e.Line, err)
		}
	}
	return nil
}
