package main

import (
	"context"

	"sealpost/lib/dsn"
	"sealpost/lib/rewrite"
	"sealpost/lib/table"
)

// knownTables are the tables that say which addresses exist.
type knownTables struct {
	canonical, rcptCanonical, sndrCanonical *table.Maps
	alias                                   *table.Maps // virtual_alias_maps
	local, relay, mailbox                   *table.Maps
	search                                  table.AddrSearch
}

// unlisted refuses an address in a domain of ours that none of the domain's
// tables knows (reject_unlisted_recipient, reject_unlisted_sender).
func (a *access) unlisted(ctx context.Context, addr string, c class) result {
	p := a.s.p
	if p.overrides.NoUnknownRecipientChecks {
		return result{}
	}
	to, err := a.s.srv.resolver(ctx, a.sender(), addr)
	if err != nil {
		return a.lookupFailureFor(addr, err)
	}
	if to.Transport == errorTransport && to.Class != rewrite.Alias {
		return a.undeliverable(ctx, to, addr, c)
	}
	var maps *table.Maps
	var code int
	var name string
	switch to.Class {
	case rewrite.Local:
		maps, code, name = p.known.local, p.codes.LocalUnknown, "local recipient"
	case rewrite.Alias:
		maps, code, name = nil, p.codes.AliasUnknown, "virtual alias"
	case rewrite.Virtual:
		maps, code, name = p.known.mailbox, p.codes.MailboxUnknown, "virtual mailbox"
	case rewrite.Relay:
		maps, code, name = p.known.relay, p.codes.RelayUnknown, "relay recipient"
	default:
		return result{}
	}
	// Without a table of users every user exists, but for alias domains, which
	// have no users but those in virtual_alias_maps.
	if to.Class != rewrite.Alias && maps.Empty() {
		return result{}
	}
	if c == classSender && a.s.srv.isDoubleBounce(addr) {
		return result{}
	}
	found, err := p.known.has(ctx, to.Recipient, addr, maps, c)
	if err != nil {
		return a.lookupFailureFor(addr, err)
	}
	if found {
		return result{}
	}
	status := "5.1.1"
	if c == classSender {
		status = "5.1.0"
	}
	text := "User unknown"
	if p.codes.ShowUnknownTables {
		text += " in " + name + " table"
	}
	return a.rejectedAs(c, addr, code, status, text)
}

// errorTransport is the agent that returns all mail: transport_maps, relocated_maps.
const errorTransport = "error"

// undeliverable refuses an address whose mail would only be returned, to a sender
// who may be forged, unless a table gives it another one. The text is that of the table.
func (a *access) undeliverable(ctx context.Context, to rewrite.Resolved, addr string, c class) result {
	found, err := a.s.p.known.has(ctx, to.Recipient, addr, nil, c)
	if err != nil {
		return a.lookupFailureFor(addr, err)
	}
	if found {
		return result{}
	}
	code := "5.1.1"
	if c == classSender {
		code = "5.1.0"
	}
	code, text := dsn.SplitCode(code, to.Nexthop)
	return a.rejectedAs(c, addr, 550, dsn.SetClass(code, '5'), text)
}

func (a *access) lookupFailureFor(addr string, err error) result {
	a.s.log.Warnf("%v", err)
	return verdict(reject, 451, "4.3.0", "<"+addr+">: Temporary lookup failure")
}

// has looks an address up: in the tables that give it another one, and in the
// domain's table of users.
func (k *knownTables) has(ctx context.Context, resolved, addr string, users *table.Maps, c class) (bool, error) {
	if resolved == "" {
		resolved = addr
	}
	mapped := k.rcptCanonical
	if c == classSender {
		mapped = k.sndrCanonical
	}
	for _, m := range []*table.Maps{mapped, k.canonical, k.alias, users} {
		if m.Empty() {
			continue
		}
		_, _, found, err := m.FindAddr(ctx, resolved, k.search)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}
