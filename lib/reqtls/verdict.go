package reqtls

import (
	"fmt"

	"sealpost/lib/dsn"
	"sealpost/lib/tlspolicy"
)

// Facts are what is known about a host.
type Facts struct {
	tlspolicy.Facts        // Demanded is filled in here
	Nexthop         string // the destination's domain, for texts
	Name            string // the host's name alone, for texts before there is a connection
	// Ready: the EHLO that counts was answered: under TLS, or in the clear where
	// that is allowed. Then Secured and Announced are known.
	Ready bool
	// Secured: the connection is under TLS.
	Secured bool
	// Announced: REQUIRETLS is in the answer to EHLO; in the clear it means nothing.
	Announced bool
}

// Verdict is what the enforcement level and the TLS policy make of the facts.
type Verdict struct {
	// Action, Status, Throttle as in tlspolicy. A Status of class 5 is final only
	// at the last host; until then the message goes on to the next one.
	tlspolicy.Verdict
	// Request is the second slot of the tls= field; Slot is the first.
	Request tlspolicy.Slot
	// Note is a line for the log; "": none.
	Note string
	// Say: MAIL FROM has REQUIRETLS.
	Say bool
	// HeadersOnly: the server does not know REQUIRETLS, so that RET=HDRS keeps the
	// content out of its notifications (RFC 8689 §5).
	HeadersOnly bool
}

// TLSField is the tls= field of a delivery line.
func (v Verdict) TLSField() string { return Field(v.Slot, v.Request) }

// Field is the tls= field of two slots.
func Field(level, request tlspolicy.Slot) string {
	switch l, r := level.String(), request.String(); {
	case r == "":
		return l
	case l == "":
		return r
	default:
		return l + "/" + r
	}
}

// The values of the second slot.
const (
	asRequested  = "requiretls"
	noCertMatch  = "nocertmatch"
	noSecureMX   = "nosecuremx"
	noSTARTTLS   = "nostarttls"
	noEncryption = "noencryption"
	noRequireTLS = "none"
)

// Undecided is the second slot while nothing is known about a host.
func Undecided(level Level) tlspolicy.Slot {
	if !level.Asked() {
		return tlspolicy.Slot{}
	}
	return tlspolicy.Slot{Initial: asRequested}
}

func kept(final string) tlspolicy.Slot {
	return tlspolicy.Slot{Initial: asRequested, Final: final, Decided: true}
}

func broken(final string) tlspolicy.Slot {
	return tlspolicy.Slot{Initial: asRequested, Final: final, Decided: true, Violated: true}
}

// Decide holds the facts against the enforcement level and the TLS policy.
func Decide(level Level, p *tlspolicy.Policy, f Facts) Verdict {
	f.Demanded = f.Demanded || level.DemandsTLS()
	v := Verdict{Verdict: p.Decide(f.Facts), Request: Undecided(level)}
	switch {
	case level == Disable:
		return v
	case level == Failed:
		// Only this message waits: its destination did nothing wrong (decision 8).
		return v.refuse(p, tlspolicy.Slot{}, "4.7.10", fmt.Sprintf(
			"REQUIRETLS policy configuration error. The last attempted server was %s", f.Name))
	}
	switch f.Stage {
	case tlspolicy.Before:
		return v.before(level, p, f)
	case tlspolicy.Greeted:
		if !f.Offered {
			return v.inTheClear(level, "5.7.30", fmt.Sprintf(
				"Sender requested REQUIRETLS, but TLS service was not offered by host %s", f.Host))
		}
	case tlspolicy.Refused:
		return v.inTheClear(level, "5.7.10", fmt.Sprintf(
			"Sender requested REQUIRETLS, but host %s refused to start TLS: %s", f.Host, f.Reply.Reason))
	case tlspolicy.Encrypted:
		if v = v.certificate(level, p, f); v.Action == tlspolicy.Go && f.Ready {
			return v.announced(level, p, f)
		}
		return v
	}
	if v.Action == tlspolicy.Plaintext {
		return v.inTheClear(level, "", "")
	}
	return v
}

// refuse leaves the host for the sake of the request, without a word about the
// TLS level, which is not what decided.
func (v Verdict) refuse(p *tlspolicy.Policy, request tlspolicy.Slot, code, reason string) Verdict {
	v.Action, v.Status, v.Throttle = tlspolicy.Skip, dsn.Status{Code: code, Reason: reason}, false
	v.Request = request
	if !v.Slot.Violated && code == "4.7.10" {
		v.Slot = tlspolicy.Slot{Initial: p.Level.String()}
	}
	return v
}

// before is what can be said without a connection (requiretls.md §6.3, decision 1).
func (v Verdict) before(level Level, p *tlspolicy.Policy, f Facts) Verdict {
	disables := func(what string) string {
		return fmt.Sprintf("Sender requested REQUIRETLS, but my configured TLS security level '%s' disables %s. "+
			"The last attempted server was %s", p.Level, what, f.Name)
	}
	undecided := tlspolicy.Slot{Initial: p.Level.String()}
	switch {
	case level == Enforce && !p.Level.MatchesCertificate():
		v = v.refuse(p, broken(noCertMatch), "5.7.10", disables("certificate matching"))
		v.Slot = undecided
	case level == Enforce && !p.Authenticates():
		v = v.refuse(p, broken(noSecureMX), "5.7.10", fmt.Sprintf("Sender requested REQUIRETLS, "+
			"but the MX lookup for %s was not secure. The last attempted server was %s", f.Nexthop, f.Name))
		v.Slot = undecided
	case level == StartTLS && p.Level == tlspolicy.None:
		v = v.refuse(p, broken(noEncryption), "5.7.10", disables("encryption"))
		v.Slot = undecided
	case level == StartTLS && !p.Level.MatchesCertificate():
		v.Note = disables("certificate matching")
	}
	return v
}

// inTheClear is a connection that stays without TLS.
func (v Verdict) inTheClear(level Level, code, reason string) Verdict {
	switch {
	case v.Action == tlspolicy.Plaintext && !level.DemandsTLS():
		v.Request, v.HeadersOnly = kept(noRequireTLS), true
	case level.DemandsTLS() && code != "":
		v.Action, v.Status, v.Throttle = tlspolicy.Skip, dsn.Status{Code: code, Reason: reason}, false
		v.Request = broken(noSTARTTLS)
	case level.DemandsTLS() && v.Action == tlspolicy.Plaintext:
		v.Action = tlspolicy.Skip
		v.Status = dsn.Status{Code: "5.7.10", Reason: "Sender requested REQUIRETLS, but the connection is not encrypted"}
		v.Request = broken(noEncryption)
	}
	return v
}

// certificate is what the handshake showed (decision 2: records that nobody can
// use prove nothing).
func (v Verdict) certificate(level Level, p *tlspolicy.Policy, f Facts) Verdict {
	switch {
	case level == Enforce && !f.Peer.Matched:
		what := "no trusted server certificate"
		if f.Peer.Trusted {
			what = "no matching server certificate"
		}
		v.Action, v.Throttle = tlspolicy.Skip, false
		v.Request = broken(noCertMatch)
		v.Status = dsn.Status{Code: "5.7.10", Reason: fmt.Sprintf(
			"Sender requested REQUIRETLS, but %s was found. The last attempted server was %s", what, f.Host)}
	case level == Enforce && !f.Peer.Authentic:
		v.Action, v.Throttle = tlspolicy.Skip, false
		v.Request = broken(noSecureMX)
		v.Status = dsn.Status{Code: "5.7.10", Reason: fmt.Sprintf("Sender requested REQUIRETLS, "+
			"but the MX lookup for %s was not secure. The last attempted server was %s", f.Nexthop, f.Host)}
	case v.Action != tlspolicy.Go:
		v.Request = kept(noCertMatch)
	}
	return v
}

// announced is the EHLO under TLS.
func (v Verdict) announced(level Level, p *tlspolicy.Policy, f Facts) Verdict {
	switch {
	case f.Announced && f.Secured:
		v.Say = true
		v.Request = kept(proof(p, f.Peer))
	case level == Enforce:
		v.Action, v.Throttle = tlspolicy.Skip, false
		v.Request = broken(noRequireTLS)
		v.Status = dsn.Status{Code: "5.7.30", Reason: "Sender requested REQUIRETLS, but no server was found that supports " +
			"REQUIRETLS. The last attempted server was " + f.Host}
	default:
		v.HeadersOnly = true
		v.Request = kept(noRequireTLS)
		v.Note = "Sender requested REQUIRETLS, but REQUIRETLS support was not offered by host " + f.Host
	}
	return v
}

// proof is the second slot of a server that announced REQUIRETLS.
func proof(p *tlspolicy.Policy, peer tlspolicy.Peer) string {
	switch {
	case !p.Level.MatchesCertificate(), !peer.Matched:
		return noCertMatch
	case !peer.Authentic:
		return noSecureMX
	}
	return asRequested
}

// Permits reports whether a message may be offered over a connection, as far as
// the request goes: at Enforce only where STARTTLS, a certificate that matched an
// authentic name, and REQUIRETLS announced under TLS were all there.
func Permits(level Level, p *tlspolicy.Policy, f Facts) bool {
	switch level {
	case Enforce:
		return f.Secured && f.Announced && p.Level.MatchesCertificate() && f.Peer.Matched && f.Peer.Authentic
	case StartTLS:
		return f.Secured
	}
	return level != Failed
}
