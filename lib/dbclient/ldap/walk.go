package ldap

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"sealpost/lib/dbclient"
)

// query is one search.
type query struct {
	base, filter string
	scope        int
}

// walk collects the values of one key: of the entries that the search finds, and
// of those that their special attributes lead to.
type walk struct {
	*client
	host string
	add  func(string)
	seen map[query]bool // of what special attributes name
}

func (w *walk) search(ctx context.Context, q query, depth int) error {
	if depth > w.recursion {
		return dbclient.Final(fmt.Errorf("%w: %d", ErrRecursion, w.recursion))
	}
	reply, err := w.once(ctx, q)
	if err != nil {
		return err
	}
	for _, entry := range reply.Entries {
		if err := w.entry(ctx, entry, depth); err != nil {
			return err
		}
	}
	return nil
}

// once asks, and once more on a new connection if a kept one turns out to be dead.
func (w *walk) once(ctx context.Context, q query) (*ldap.SearchResult, error) {
	r := ldap.NewSearchRequest(q.base, q.scope, w.deref, w.sizeLimit, int(w.common.Timeout.Seconds()), false,
		q.filter, w.attributes.all(), nil)
	for {
		conn, kept, err := w.conn(ctx, w.host)
		if err != nil {
			return nil, err
		}
		reply, err := conn.Search(r)
		switch {
		case err == nil:
			return reply, nil
		case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
			return &ldap.SearchResult{}, nil // a base with parts of the key in it
		case !isDead(err):
			return nil, dbclient.Final(fmt.Errorf("search: %w", err))
		}
		w.drop(w.host, conn)
		if !kept || ctx.Err() != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
	}
}

// isDead tells whether an error is about the connection or the server's state,
// not about the question.
func isDead(err error) bool {
	var e *ldap.Error
	if !errors.As(err, &e) {
		return true
	}
	switch e.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultServerDown, ldap.LDAPResultTimeout, ldap.ErrorNetwork:
		return true
	}
	return false
}

// entry adds the values of one entry (ldap_table(5), special_result_attribute).
func (w *walk) entry(ctx context.Context, entry *ldap.Entry, depth int) error {
	if terminal := valuesOf(entry, w.attributes.terminal); len(terminal) > 0 {
		w.addAll(terminal)
		return nil
	}
	special := valuesOf(entry, w.attributes.special)
	w.addAll(valuesOf(entry, w.attributes.result))
	if len(special) == 0 {
		w.addAll(valuesOf(entry, w.attributes.leaf))
	}
	for _, text := range special {
		q, err := parseSpecial(text)
		if err != nil {
			return dbclient.Final(err)
		}
		if w.seen[q] {
			continue
		}
		if w.seen == nil {
			w.seen = make(map[query]bool)
		}
		w.seen[q] = true
		if err := w.search(ctx, q, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) addAll(values []string) {
	for _, v := range values {
		w.add(v)
	}
}

func valuesOf(entry *ldap.Entry, names []string) []string {
	var values []string
	for _, a := range entry.Attributes {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, a.Name) }) {
			values = append(values, a.Values...)
		}
	}
	return values
}

// parseSpecial is the search that a DN or an LDAP URL (RFC 4516) stands for. The
// server of a URL is the one at hand.
func parseSpecial(text string) (query, error) {
	if !strings.HasPrefix(strings.ToLower(text), "ldap") || !strings.Contains(text, "://") {
		return query{text, "(objectClass=*)", ldap.ScopeBaseObject}, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return query{}, fmt.Errorf("LDAP URL in an entry: %w", err)
	}
	q := query{strings.TrimPrefix(u.Path, "/"), "(objectClass=*)", ldap.ScopeBaseObject}
	parts := strings.Split(u.RawQuery, "?") // attributes, scope, filter
	if len(parts) > 1 {
		switch strings.ToLower(parts[1]) {
		case "sub":
			q.scope = ldap.ScopeWholeSubtree
		case "one":
			q.scope = ldap.ScopeSingleLevel
		}
	}
	if len(parts) > 2 && parts[2] != "" {
		if q.filter, err = url.PathUnescape(parts[2]); err != nil {
			return query{}, fmt.Errorf("LDAP URL in an entry: %w", err)
		}
	}
	return q, nil
}
