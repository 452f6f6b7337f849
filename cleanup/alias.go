package main

import (
	"fmt"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/rewrite"
)

// expansion is one recipient's way through virtual_alias_maps.
type expansion struct {
	m    *message
	root string
	out  []string
}

// expand replaces a recipient by what virtual_alias_maps says, again and again,
// until nothing is found or an address stands for itself. The limits are those
// of virtual_alias_{expansion,recursion,address_length}_limit.
func (m *message) expand(addr string) ([]string, error) {
	e := &expansion{m: m, root: addr}
	if err := e.add(addr, 0); err != nil {
		return nil, err
	}
	return e.out, nil
}

func (e *expansion) add(addr string, depth int) error {
	set := &e.m.w.set
	value, ext, found, err := e.m.w.virtualAlias.FindAddr(e.m.ctx, addr, e.m.w.search())
	if err != nil {
		return fmt.Errorf("virtual_alias_maps map lookup problem for %s: %w", e.root, err)
	}
	if found {
		found = strings.TrimSpace(value) != ""
	}
	if !found {
		return e.keep(addr)
	}
	if depth >= set.AliasRecursion {
		return fmt.Errorf("%w nesting for %s", errExpansion, e.root)
	}
	if !has(set.Propagate, propagateVirtual) {
		ext = ""
	}
	e.m.log.Verbosef("%s: virtual_alias_maps: %s -> %s", e.m.id, addr, value)
	for _, next := range address.ParseList(value) {
		next = e.m.complete(next, addr, ext)
		if len(next) > set.AliasLength {
			//lint:ignore ST1005 the dots are part of Postfix's log line
			return fmt.Errorf("unreasonable virtual_alias_maps result %.300s...", next)
		}
		if address.EqualFold(next, addr) {
			err = e.keep(next)
		} else {
			err = e.add(next, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *expansion) keep(addr string) error {
	if len(e.out) >= e.m.w.set.AliasExpansion {
		return fmt.Errorf("%w expansion size for %s", errExpansion, e.root)
	}
	e.out = append(e.out, addr)
	return nil
}

// complete makes a full internal address of a table's result (protocols.md
// §6.3): "@domain" keeps the user part, and the extension that the key lacked
// is put back.
func (m *message) complete(result, key, ext string) string {
	addr := address.Unquote(result)
	local, domain := address.Split(addr)
	if local == "" && domain != "" {
		local, _ = address.Split(key)
		return local + "@" + domain
	}
	addr = m.w.rewrite.RewriteInternal(rewrite.LocalContext, addr)
	if ext != "" {
		local, _ = address.Split(addr)
		addr = local + ext + addr[len(local):]
	}
	return addr
}
