package tlspolicy

import (
	"context"
	"strings"

	"sealpost/lib/idn"
)

// siteLevels are the words of tls_per_site.
var siteLevels = map[string]Level{"NONE": None, "MAY": May, "MUST_NOPEERMATCH": Encrypt, "MUST": Verify}

// legacy asks tls_per_site for the destination and the host.
func (q *query) legacy(ctx context.Context, level Level) *Error {
	var found []Level
	names := []string{q.site.Nexthop}
	if !strings.EqualFold(q.host.Text, q.site.Nexthop) {
		names = append(names, q.host.Text)
	}
	for _, name := range names {
		l, ok, err := q.siteLevel(ctx, name)
		if err != nil {
			return err
		}
		if ok {
			found = append(found, l)
		}
	}
	q.entry = entry{level: combine(level, found)}
	return nil
}

func (q *query) siteLevel(ctx context.Context, name string) (Level, bool, *Error) {
	for _, key := range forms(name, idn.ToASCII) {
		text, found, err := q.perSite.Lookup(ctx, key)
		if err != nil {
			q.warn("%v", err)
			q.warn("%stls_per_site: next-hop destination %q: per-site table lookup error", q.set.Prefix, q.site.Nexthop)
			return None, false, fail("4.3.0", textLookup, err)
		}
		if !found {
			continue
		}
		l, ok := siteLevels[strings.ToUpper(strings.TrimSpace(text))]
		if !ok {
			q.warn("%stls_per_site: unknown TLS policy '%s' for next-hop destination %s", q.set.Prefix, text, key)
			return None, false, fail("4.7.5", textConfig, nil)
		}
		return l, true, nil
	}
	return None, false, nil
}

// combine joins what the table says about destination and host with the level of
// the parameters. MAY is the least specific: any other word wins over it, and so
// does a parameter that demands more. Of other words the more secure one wins.
func combine(level Level, found []Level) Level {
	if len(found) == 0 {
		return level
	}
	site := found[0]
	for _, l := range found[1:] {
		if site == May || l != May && l > site {
			site = l
		}
	}
	if site == May {
		return max(level, May)
	}
	return site
}
