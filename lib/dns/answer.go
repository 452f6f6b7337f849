package dns

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

// answer is what one reply says about a question.
type answer struct {
	records   []dns.RR // of the type asked for, at the end of the CNAME chain
	owner     string   // canonical name that the last CNAME read leads to, or the one asked for
	next      string   // a CNAME chain that leads out of the reply: ask for this
	loop      bool     // with ErrMalformed: too many CNAMEs
	kind      error    // nil, ErrNotFound, ErrNoData or ErrMalformed
	authentic bool
	ttl       time.Duration
}

// maxTTL bounds how long an answer is kept, negTTL one that says "no".
const (
	maxTTL = 5 * time.Minute
	negTTL = 30 * time.Second
)

// interpret reads the answer to (name, qtype) out of a reply. At most MaxRecords
// records are looked at; a CNAME chain has at most MaxCNAMEs steps and no loop.
func interpret(reply *dns.Msg, name string, qtype uint16) answer {
	a := answer{authentic: reply.AuthenticatedData, ttl: maxTTL}
	records := reply.Answer
	if len(records) > MaxRecords {
		records = records[:MaxRecords]
	}
	owner := canonical(name)
	a.owner = owner
	for step := 0; ; step++ {
		if step > MaxCNAMEs {
			a.kind, a.loop = ErrMalformed, true
			return a
		}
		var target string
		for _, rr := range records {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, owner) {
				continue
			}
			switch {
			case h.Rrtype == qtype:
				a.records = append(a.records, rr)
			case h.Rrtype == dns.TypeCNAME:
				target = rr.(*dns.CNAME).Target
			default:
				continue
			}
			a.ttl = min(a.ttl, time.Duration(h.Ttl)*time.Second)
		}
		if len(a.records) > 0 {
			return a
		}
		if target == "" {
			break
		}
		// Delegations of parts of a /24 have names such as 0/25.2.0.192.in-addr.arpa.
		if qtype != dns.TypePTR && !ValidHostname(target) {
			a.kind = ErrMalformed
			return a
		}
		owner = canonical(target)
		a.owner = owner
	}
	switch {
	case reply.Rcode == dns.RcodeNameError:
		a.kind = ErrNotFound
	case owner != canonical(name) && !hasSOA(reply):
		a.next = owner
		return a
	default:
		a.kind = ErrNoData
	}
	a.ttl = min(a.ttl, negativeTTL(reply))
	return a
}

func hasSOA(reply *dns.Msg) bool {
	for _, rr := range reply.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return true
		}
	}
	return false
}

// negativeTTL is RFC 2308 §5's: the SOA record says how long a "no" holds; a
// reply without one is not kept.
func negativeTTL(reply *dns.Msg) time.Duration {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(negTTL, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return 0
}
