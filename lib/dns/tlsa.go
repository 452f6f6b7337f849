package dns

import (
	"context"
	"encoding/hex"

	"github.com/miekg/dns"
)

// TLSA is a record that says which certificate a service has (RFC 6698 §2.1).
// Its fields are as received: lib/dane knows which of them can be used.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// TLSA implements SecureResolver. Records whose data is not there are kept, so
// that "there are records, none is usable" is not taken for "there are none".
func (r *resolver) TLSA(ctx context.Context, name string) ([]TLSA, Result, error) {
	records, res, err := r.lookup(ctx, name, dns.TypeTLSA)
	if err != nil {
		return nil, res, err
	}
	list := make([]TLSA, 0, len(records))
	for _, rr := range records {
		list = append(list, tlsaOf(rr))
	}
	return list, res, nil
}

// tlsaOf gives the record's fields; one that could not be parsed becomes one that
// nothing can use.
func tlsaOf(rr dns.RR) TLSA {
	t, ok := rr.(*dns.TLSA)
	if !ok {
		return TLSA{Usage: 255, Selector: 255, Matching: 255}
	}
	data, err := hex.DecodeString(t.Certificate)
	if err != nil {
		data = nil
	}
	return TLSA{Usage: t.Usage, Selector: t.Selector, Matching: t.MatchingType, Data: data}
}

// CNAME implements SecureResolver.
func (r *resolver) CNAME(ctx context.Context, name string) (string, Result, error) {
	records, res, err := r.lookup(ctx, name, dns.TypeCNAME)
	if err != nil {
		return "", res, err
	}
	cname, ok := records[0].(*dns.CNAME)
	if !ok || !ValidHostname(cname.Target) {
		return "", res, &Error{Name: trimDot(name), Type: "CNAME", Kind: ErrMalformed}
	}
	return trimDot(cname.Target), res, nil
}
