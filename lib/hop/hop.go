// Package hop takes a connection to one host to the point where mail may be
// offered, under a TLS policy. The client and posttls-finger share it.
//
// The order of thought is that of DESIGN.md §6, each step on values of the ones
// before: destination and policy are given, the request may tighten what is
// demanded (lib/reqtls), the connection shows facts, the policy's verdict on them
// says how to go on, and the verdict's slot is the status for the log:
//
//	greeting → EHLO → [verdict] → STARTTLS → [verdict] → handshake → [verdict] → EHLO → [verdict]
//
// In wrapper mode the handshake comes first.
package hop

import (
	"context"
	"net"

	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/reqtls"
	"sealpost/lib/route"
	"sealpost/lib/smtpclient"
	"sealpost/lib/tlsconn"
	"sealpost/lib/tlspolicy"
)

// Engine makes handshakes; *tlsconn.Client.
type Engine interface {
	Handshake(ctx context.Context, nc net.Conn, p *tlspolicy.Policy, peer string) (net.Conn, tlsconn.Facts, error)
}

// Hop is one host under a policy. It is used for one connection, and for a second
// one after Open said so.
type Hop struct {
	Host   route.Host
	Policy *tlspolicy.Policy
	Engine Engine
	Log    *maillog.Logger
	// MayRetry: after a handshake that fails, or a connection that is lost inside
	// TLS, a policy that allows it may send in the clear (requiretls.md §6.4 e, i).
	MayRetry bool
	// Level is how far the sender's request for REQUIRETLS is enforced, Nexthop the
	// destination's domain for texts about it.
	Level   reqtls.Level
	Nexthop string

	// Verdict is the last one: its slots are the tls= field so far, and Say and
	// HeadersOnly hold for MAIL FROM once Open succeeded.
	Verdict reqtls.Verdict
	// Plain: TLS failed, and the policy allows to go on without.
	Plain bool

	// What may be logged on the way; each may be nil.
	OnHello   func(*smtpclient.Session)
	OnFailure func(error)         // of a handshake
	OnSecured func(tlsconn.Facts) // a handshake is done
	OnInject  func(bytes int)     // the server said more in the clear before it
	OnNote    func(text string)   // what the request and the host do not agree about
}

// Start is the verdict before there is a connection.
func (h *Hop) Start() reqtls.Verdict {
	return h.decide(reqtls.Facts{Facts: tlspolicy.Facts{Stage: tlspolicy.Before}})
}

// Open takes a new connection through all phases. again: TLS failed, and this host
// may be tried once more, without it.
func (h *Hop) Open(ctx context.Context, s *smtpclient.Session) (facts tlsconn.Facts, f *smtpclient.Failure, again bool) {
	if h.Policy.Wrapper && !h.Plain {
		if facts, f, again = h.secure(ctx, s); f != nil {
			return facts, f, again
		}
	}
	if f = s.Greeting(h.Log); f != nil {
		return facts, f, false
	}
	if f = h.hello(s); f != nil {
		return facts, f, false
	}
	if !s.Facts.Secured {
		next, f := h.inTheClear(s)
		if f != nil || next != tlspolicy.StartTLS {
			return facts, f, false
		}
		if facts, f, again = h.secure(ctx, s); f != nil {
			return facts, f, again
		}
		if f = h.hello(s); f != nil {
			return facts, f, h.LostInside(s, f)
		}
	}
	verdict := h.decide(readyFacts(s, facts))
	if verdict.Action != tlspolicy.Go {
		return facts, failure(verdict), false
	}
	return facts, nil, false
}

func (h *Hop) hello(s *smtpclient.Session) *smtpclient.Failure {
	f := s.Hello(h.Log)
	if f == nil && h.OnHello != nil {
		h.OnHello(s)
	}
	return f
}

// inTheClear decides after the first EHLO: StartTLS when the server agreed to it,
// Plaintext when mail may be offered as it is.
func (h *Hop) inTheClear(s *smtpclient.Session) (tlspolicy.Action, *smtpclient.Failure) {
	known := clearFacts(s)
	if h.Plain {
		known.Offered = false // as good as that
	}
	verdict := h.decide(known)
	if verdict.Action == tlspolicy.StartTLS {
		agreed, f := s.StartTLS()
		if f != nil || agreed {
			return tlspolicy.StartTLS, f
		}
		known.Stage = tlspolicy.Refused
		known.Reply = dsn.Status{Code: s.Reply.DSN(), Reason: s.Reply.Text()}
		verdict = h.decide(known)
		if s.Broken && verdict.Action == tlspolicy.Plaintext {
			return tlspolicy.Skip, smtpclient.Refused(s.Host, &s.Reply) // 421: nothing to go on with
		}
	}
	if verdict.Action != tlspolicy.Plaintext {
		return tlspolicy.Skip, failure(verdict)
	}
	return tlspolicy.Plaintext, nil
}

// secure makes the handshake and holds what it showed against the policy.
func (h *Hop) secure(ctx context.Context, s *smtpclient.Session) (facts tlsconn.Facts, f *smtpclient.Failure, again bool) {
	injected, err := s.Secure(ctx, func(ctx context.Context, nc net.Conn) (secret net.Conn, err error) {
		secret, facts, err = h.Engine.Handshake(ctx, nc, h.Policy, s.Host.Relay())
		return secret, err
	})
	if err != nil {
		if h.OnFailure != nil {
			h.OnFailure(err)
		}
		verdict := h.broken(s)
		if verdict.Action == tlspolicy.Reconnect {
			h.Plain = true
			verdict.Status = dsn.Status{Code: "4.7.5", Reason: "Cannot start TLS: handshake failure"}
			return facts, failure(verdict), true
		}
		return facts, failure(verdict), false
	}
	if injected > 0 && h.OnInject != nil {
		h.OnInject(injected)
	}
	if h.OnSecured != nil {
		h.OnSecured(facts)
	}
	if verdict := h.decide(secretFacts(s, facts)); verdict.Action != tlspolicy.Go {
		return facts, failure(verdict), false
	}
	return facts, nil, false
}

// broken is the verdict after TLS failed.
func (h *Hop) broken(s *smtpclient.Session) reqtls.Verdict {
	known := clearFacts(s)
	known.Stage, known.MayRetry = tlspolicy.Broken, h.MayRetry
	return h.decide(known)
}

// LostInside reports whether a connection that failed after the handshake may be
// followed by one in the clear (requiretls.md §6.4 i): some servers agree to TLS and
// cannot speak it. The verdict on the failed connection stays.
func (h *Hop) LostInside(s *smtpclient.Session, f *smtpclient.Failure) bool {
	if !f.Lost || !s.Facts.Secured {
		return false
	}
	before := h.Verdict
	h.Plain = h.broken(s).Action == tlspolicy.Reconnect
	h.Verdict = before
	return h.Plain
}

// Fits is the verdict on a connection that was made before, for whatever message:
// whether it may serve under this policy and request (decision 5). The caller has
// made sure that the policies have the same key.
func (h *Hop) Fits(s *smtpclient.Session, facts tlsconn.Facts) bool {
	before := h.Verdict
	want, known := tlspolicy.Plaintext, clearFacts(s)
	if s.Facts.Secured {
		want, known = tlspolicy.Go, readyFacts(s, facts)
	}
	if h.decide(known).Action == want {
		return true
	}
	h.Verdict = before
	return false
}

// clearFacts are what is known after EHLO in the clear.
func clearFacts(s *smtpclient.Session) reqtls.Facts {
	return reqtls.Facts{Facts: tlspolicy.Facts{Stage: tlspolicy.Greeted, Offered: s.Facts.OfferedTLS}}
}

// secretFacts are what is known after the handshake.
func secretFacts(s *smtpclient.Session, facts tlsconn.Facts) reqtls.Facts {
	return reqtls.Facts{Secured: s.Facts.Secured,
		Facts: tlspolicy.Facts{Stage: tlspolicy.Encrypted, Offered: s.Facts.OfferedTLS, Peer: facts.Peer}}
}

// readyFacts are what is known after the EHLO inside TLS.
func readyFacts(s *smtpclient.Session, facts tlsconn.Facts) reqtls.Facts {
	f := secretFacts(s, facts)
	f.Ready, f.Announced = true, s.Facts.Secured && s.Facts.Features.Has(smtpclient.ExtREQUIRETLS)
	return f
}

// decide asks for the verdict on facts and keeps it.
func (h *Hop) decide(f reqtls.Facts) reqtls.Verdict {
	f.Host, f.Name, f.Nexthop = h.Host.NameAddr(), h.Host.Name, h.Nexthop
	h.Verdict = reqtls.Decide(h.Level, h.Policy, f)
	if h.Verdict.Note != "" && h.OnNote != nil {
		h.OnNote(h.Verdict.Note)
	}
	return h.Verdict
}

// failure is a verdict that says no. What one host cannot do for the request,
// another one may.
func failure(v reqtls.Verdict) *smtpclient.Failure {
	return &smtpclient.Failure{Scope: smtpclient.Site, Throttle: v.Throttle, Status: v.Status,
		SoftUnlessFinal: v.Request.Violated}
}

// Permits is the last question before MAIL FROM, asked of the connection and not of
// any verdict: whether it satisfies the TLS level and the sender's request.
func (h *Hop) Permits(s *smtpclient.Session, facts tlsconn.Facts) bool {
	if !reqtls.Permits(h.Level, h.Policy, readyFacts(s, facts)) {
		return false
	}
	level := h.Policy.Level
	switch {
	case !level.Mandatory():
		return true
	case !s.Facts.Secured:
		return false
	case level.MatchesCertificate() && !facts.Peer.Matched:
		// RFC 7672 §2.2: records that nobody can use still demand TLS, no more.
		return level.UsesTLSA() && level != tlspolicy.DANEOnly && facts.Peer.Unusable
	}
	return true
}
