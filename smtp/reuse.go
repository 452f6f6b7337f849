package main

import (
	"context"
	"strings"

	"sealpost/lib/mailproto"
	"sealpost/lib/route"
	"sealpost/lib/smtpclient"
)

// reuseDestination offers the message over idle connections that were made for the
// same destination, so that its hosts need not be looked up. Each host gets the
// message once: one that refused it for a time is not asked again over the same
// connection, which is idle by then, before others were.
func (w *walk) reuseDestination(ctx context.Context, dest route.Destination, caching caching) {
	for w.sessionsLeft() && len(w.rcpts) > 0 {
		hops := make(map[string]*hostPlan)
		s := w.cache.take(destLabel(dest), func(s *session) bool {
			if w.tried[s.Host.Endpoint()] {
				return false
			}
			p, known := hops[s.Host.Endpoint()]
			if !known {
				var f *smtpclient.Failure
				if p, f = w.decide(ctx, dest, s.Host, true); f != nil {
					p = nil
				}
				hops[s.Host.Endpoint()] = p
			}
			return p != nil && w.fits(s, p)
		})
		if s == nil {
			w.status = status{}
			return
		}
		w.log.Verbosef("%s: using cached connection to %s for %s", w.req.QueueID, s.Host.Relay(), dest.Text)
		w.tried[s.Host.Endpoint()] = true
		p := hops[s.Host.Endpoint()]
		w.logReused(s, p.Policy)
		if w.attempt(ctx, s, p, caching, false) {
			delete(w.tried, s.Host.Endpoint()) // it was dead: the host is as good as new
			continue
		}
		w.sessions++
	}
}

// reuseHost offers the message over idle connections to one host. True: one of
// them was alive.
func (w *walk) reuseHost(ctx context.Context, p *hostPlan, caching caching, final bool) bool {
	for {
		before, verdict := w.status, p.Verdict
		s := w.cache.take(endpLabel(p.Host), func(s *session) bool { return w.fits(s, p) })
		if s == nil {
			w.status, p.Verdict = before, verdict
			return false
		}
		w.log.Verbosef("%s: using cached connection to %s", w.req.QueueID, p.Host.Relay())
		s.Host = p.Host
		w.logReused(s, p.Policy)
		if !w.attempt(ctx, s, p, caching, final) {
			w.sessions++
			return true
		}
		w.status, p.Verdict = before, verdict
	}
}

// release keeps the session for others or ends it. One that is in the clear because
// of a handshake that failed serves no other message.
func (w *walk) release(s *session, p *hostPlan, caching caching) {
	set := w.set
	keep := caching.store && !p.Plain && (!s.Facts.Secured || p.Policy.Reuse)
	if keep && !s.Broken && (set.reuseCountLimit <= 0 || s.uses <= set.reuseCountLimit) &&
		w.now().Sub(s.began) < set.reuseTimeLimit && w.cache.put(s) {
		return
	}
	s.Quit()
}

// caching says whether idle connections may be used and kept for a request.
type caching struct{ load, store bool }

// caching follows qmgr's demand and the list of destinations that are always
// cached. A probe must not lengthen the life of a connection.
func (w *walk) caching(ctx context.Context, dest route.Destination) caching {
	if w.always != nil {
		name := dest.Host
		if dest.Unix != "" {
			name = dest.Unix
		}
		if ok, err := w.always.Match(ctx, name); ok && err == nil {
			return caching{true, true}
		}
	}
	if !w.set.cacheOnDemand {
		return caching{}
	}
	return caching{
		load:  w.req.Flags&mailproto.DeliverConnLoad != 0,
		store: w.req.Flags&mailproto.DeliverConnStore != 0,
	}
}

// Labels of the cache. What a message demands of a connection is not part of
// them: it is held against what the connection has shown (fits).
func destLabel(d route.Destination) string { return "dest\n" + strings.ToLower(d.Text) }
func endpLabel(h route.Host) string        { return "endp\n" + h.Endpoint() }
