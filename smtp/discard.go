package main

import (
	"context"

	"sealpost/lib/config"
	"sealpost/lib/dsn"
	"sealpost/lib/route"
	"sealpost/lib/smtpclient"
	"sealpost/lib/table"
)

// discarding is what is passed over of a server's reply to EHLO.
type discarding struct {
	ext    smtpclient.Ext
	silent bool // not logged
}

func parseDiscarding(words []string) (d discarding) {
	d.ext, d.silent = smtpclient.DiscardList(words)
	return d
}

// openDiscard opens smtp_discard_ehlo_keyword_address_maps, whose keys are the
// addresses of servers and whose values are lists that take the place of
// smtp_discard_ehlo_keywords. It returns the files to watch.
func (c *client) openDiscard(cfg *config.Config, tables table.Env) []string {
	name := "smtp_discard_ehlo_keyword_address_maps"
	if c.set.lmtp {
		name = "lmtp_discard_lhlo_keyword_address_maps"
	}
	always := parseDiscarding(smtpclient.Discarded(cfg, c.set.lmtp))
	maps := table.OpenMaps(tables, name, cfg.Str(name))
	c.discardFor = func(ctx context.Context, h route.Host) (discarding, error) {
		if maps.Empty() || !h.Addr.IsValid() {
			return always, nil
		}
		words, found, err := maps.Lookup(ctx, h.Addr.Addr().Unmap().String())
		if !found || err != nil {
			return always, err
		}
		return parseDiscarding(config.SplitList(words)), nil
	}
	return maps.Files()
}

// undecided is a host that no connection is made to since nobody knows what must be
// passed over there: with STARTTLS it could be the protection of the message.
func (w *walk) undecided(h route.Host, err error) *smtpclient.Failure {
	w.log.Warnf("%s: host %s: %v", w.req.QueueID, h.NameAddr(), err)
	return &smtpclient.Failure{Scope: smtpclient.Site, Status: dsn.Status{Code: "4.3.0", Reason: err.Error()}}
}
