package rewrite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/table"
)

// routes are the parameters that choose transport and next hop. There are two
// sets of them: for mail, and for address probes (address_verify_).
type routes struct {
	prefix                             string
	local, virtual, relay, dflt        string
	relayhost                          string
	senderRelayhost, senderTransport   *table.Maps
	transports                         []table.Table // transport_maps
	transportFiles, senderMapFileNames []string
}

func newRoutes(c *config.Config, env table.Env, prefix string) *routes {
	str := func(name string) string { return strings.TrimSpace(c.Str(prefix + name)) }
	rt := &routes{
		prefix:  prefix,
		local:   str("local_transport"),
		virtual: str("virtual_transport"),
		relay:   str("relay_transport"),
		dflt:    str("default_transport"),
	}
	rt.relayhost = str("relayhost")
	maps := func(name string) *table.Maps {
		m := table.OpenMaps(env, prefix+name, str(name))
		rt.senderMapFileNames = append(rt.senderMapFileNames, m.Files()...)
		return m
	}
	rt.senderRelayhost = maps("sender_dependent_relayhost_maps")
	rt.senderTransport = maps("sender_dependent_default_transport_maps")
	// transport_maps is searched table by table: a pattern table sees the full
	// address only, never a domain (transport(5)).
	for _, spec := range config.SplitList(str("transport_maps")) {
		t := table.Open(env, spec)
		rt.transports = append(rt.transports, t)
		rt.transportFiles = append(rt.transportFiles, t.Files()...)
	}
	return rt
}

// search is how sender and relocated maps are asked.
func (r *Rewriter) search() table.AddrSearch {
	return table.AddrSearch{Delimiters: r.set.Delimiters}
}

// override applies transport_maps: user+ext@domain, user@domain, domain,
// .parent and so on, "*" at last.
func (rt *routes) override(ctx context.Context, r *Rewriter, res *Resolved, domain string) error {
	if len(rt.transports) == 0 {
		return nil
	}
	value, found, err := rt.search(ctx, r, res.Recipient, domain)
	if err != nil {
		return fmt.Errorf("%stransport_maps: %w", rt.prefix, err)
	}
	if !found {
		return nil
	}
	transport, nexthop, _ := strings.Cut(strings.TrimSpace(value), ":")
	switch {
	case transport == "" && nexthop == "":
	case transport == "":
		res.Nexthop = nexthop
	default:
		res.Transport, res.Nexthop = transport, nexthop
		if nexthop == "" {
			res.Nexthop = domain
			if transport == "error" || transport == "retry" {
				res.Nexthop = "Address is undeliverable"
			}
		}
	}
	return nil
}

func (rt *routes) search(ctx context.Context, r *Rewriter, rcpt, domain string) (string, bool, error) {
	for _, k := range table.TransportKeys(rcpt, domain, r.set.Delimiters, r.parentTransport) {
		if value, found, err := rt.lookup(ctx, k.Text, k.Partial); found || err != nil {
			return value, found, err
		}
	}
	return "", false, nil
}

func (rt *routes) lookup(ctx context.Context, key string, partial bool) (string, bool, error) {
	for _, t := range rt.transports {
		if partial && !t.Fixed() {
			continue
		}
		if value, found, err := t.Lookup(ctx, key); found || err != nil {
			return value, found, err
		}
	}
	return "", false, nil
}

// Files are the tables' files to watch.
func (r *Rewriter) Files() []string {
	files := slices.Concat(r.relocated.Files(),
		r.routes.transportFiles, r.routes.senderMapFileNames,
		r.verify.transportFiles, r.verify.senderMapFileNames)
	slices.Sort(files)
	return slices.Compact(files)
}
