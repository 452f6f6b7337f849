package main

import (
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/mailproto"
	"sealpost/lib/table"
)

// class is a kind of address that canonical mapping and masquerading may be
// asked for.
type class int

const (
	classEnvelopeSender class = iota
	classEnvelopeRecipient
	classHeaderSender
	classHeaderRecipient
	classes
)

var classNames = [classes]string{"envelope_sender", "envelope_recipient", "header_sender", "header_recipient"}

// maxCanonical bounds how often a result is mapped again.
const maxCanonical = 100

// mapping holds the canonical tables and the masquerade rules.
type mapping struct {
	canonical  *table.Maps
	sender     *table.Maps
	recipient  *table.Maps
	steps      [classes][]*table.Maps // what to ask for each class, in order
	masquerade [classes]bool
	headers    bool // header addresses are mapped at all
}

func newMapping(set *settings, open func(param string) *table.Maps) mapping {
	m := mapping{
		canonical: open("canonical_maps"),
		sender:    open("sender_canonical_maps"),
		recipient: open("recipient_canonical_maps"),
	}
	for c, name := range classNames {
		for _, step := range []struct {
			maps    *table.Maps
			classes []string
		}{
			{m.sender, set.SenderCanonicalClasses},
			{m.recipient, set.RecipientCanonicalClasses},
			{m.canonical, set.CanonicalClasses},
		} {
			if !step.maps.Empty() && has(step.classes, name) {
				m.steps[c] = append(m.steps[c], step.maps)
			}
		}
		m.masquerade[c] = len(set.MasqueradeDomains) > 0 && has(set.MasqueradeClasses, name)
	}
	for _, c := range [...]class{classHeaderSender, classHeaderRecipient} {
		m.headers = m.headers || m.masquerade[c] || len(m.steps[c]) > 0
	}
	return m
}

func (mp *mapping) tables() []*table.Maps {
	return []*table.Maps{mp.canonical, mp.sender, mp.recipient}
}

// mapAddress applies canonical mapping and masquerading to an internal address.
func (m *message) mapAddress(addr string, c class) string {
	for _, maps := range m.w.mapping.steps[c] {
		addr = m.canonical(maps, addr)
	}
	if m.w.mapping.masquerade[c] && addr != "" {
		addr = m.w.masquerade(addr)
	}
	return addr
}

func (m *message) canonical(maps *table.Maps, addr string) string {
	for range maxCanonical {
		value, ext, found, err := maps.FindAddr(m.ctx, addr, m.w.search())
		if err != nil {
			m.log.Warnf("%s: canonical map lookup problem for %s: %v -- message not accepted, try again later", m.id, addr, err)
			m.status |= mailproto.CleanupDefer
			m.reason = "4.6.0 Address mapping error"
			return addr
		}
		list := address.ParseList(value)
		if !found || len(list) == 0 {
			return addr
		}
		if !has(m.w.set.Propagate, propagateCanonical) {
			ext = ""
		}
		next := m.complete(list[0], addr, ext)
		if address.EqualFold(next, addr) {
			return next
		}
		addr = next
	}
	return addr
}

// masquerade replaces a subdomain of a listed domain by that domain; "!domain"
// in front in the list is left alone.
func (w *worker) masquerade(addr string) string {
	local, domain := address.Split(addr)
	if domain == "" || has(w.set.MasqueradeExceptions, local) {
		return addr
	}
	for _, parent := range w.set.MasqueradeDomains {
		parent, keep := strings.CutPrefix(parent, "!")
		n := len(domain) - len(parent)
		if n < 0 || !strings.EqualFold(domain[n:], parent) || n > 0 && domain[n-1] != '.' {
			continue
		}
		if keep || n == 0 {
			return addr
		}
		return local + "@" + parent
	}
	return addr
}

// senderBCC and recipientBCC note the automatic recipients of an address.
func (m *message) senderBCC(addr string) { m.autoBCC(m.w.senderBCC, addr) }

func (m *message) recipientBCC(addr string) { m.autoBCC(m.w.recipientBCC, addr) }

func (m *message) autoBCC(maps *table.Maps, addr string) {
	if maps.Empty() || m.flags&mailproto.CleanupBCC == 0 || addr == "" {
		return
	}
	value, _, found, err := maps.FindAddr(m.ctx, addr, m.w.search())
	if err != nil {
		m.log.Warnf("%s: bcc map lookup problem for %s: %v -- message not accepted, try again later", m.id, addr, err)
		m.status |= mailproto.CleanupDefer
		return
	}
	if found && strings.TrimSpace(value) != "" {
		m.bcc = append(m.bcc, value)
	}
}
