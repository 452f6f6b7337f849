package tlspolicy

import "sealpost/lib/dsn"

// Stage is how far a connection has come.
type Stage int

// The stages, in order.
const (
	Before    Stage = iota // no connection yet
	Greeted                // EHLO was answered in the clear: Offered is known
	Refused                // STARTTLS was answered with a refusal
	Broken                 // the handshake failed
	Encrypted              // the handshake is done: Peer is known
)

// Facts are what is known about a connection. What is not known is false: not
// offered, not trusted, not matched.
type Facts struct {
	Stage   Stage
	Host    string     // name[addr], for texts
	Offered bool       // STARTTLS is in the answer to EHLO
	Reply   dsn.Status // Refused: code and text of the refusal, on one line
	Peer    Peer
	// Demanded: something else (REQUIRETLS) forbids to go on in the clear.
	Demanded bool
	// NoEngine: TLS cannot be used here at all: certificates that cannot be loaded.
	NoEngine bool
	// MayRetry: after a broken handshake the message may be sent in the clear if the
	// level allows that: it is old enough or a probe, and there is no password to
	// be sent (requiretls.md §6.4 e).
	MayRetry bool
}

// Action is what to do with a connection.
type Action int

// The actions. Skip is the zero value: nothing is sent.
const (
	Skip      Action = iota // leave this host, with Verdict.Status
	StartTLS                // begin the handshake (at Before: connect first)
	Plaintext               // go on in the clear
	Reconnect               // connect again and go on in the clear
	Go                      // go on inside TLS
)

// String names an action for messages.
func (a Action) String() string {
	return [...]string{"skip", "starttls", "plaintext", "reconnect", "go"}[a]
}

// Verdict is what the level makes of the facts.
type Verdict struct {
	Action Action
	Status dsn.Status // of Skip: Code and Reason
	Slot   Slot
	// Throttle: the destination is to be left alone for a while.
	Throttle bool
}

// Slot is one part of the tls= field of a delivery line (requiretls.md §7.1).
type Slot struct {
	Initial  string // "": the slot is not there
	Final    string // "" or as Initial: the policy was kept as it was
	Violated bool   // "!": the connection was not used
	Decided  bool   // else "?"
}

// String is the slot as logged.
func (s Slot) String() string {
	text := s.Initial
	if text == "" {
		return ""
	}
	if s.Violated {
		text = "!" + text
	}
	switch {
	case !s.Decided:
		return text + "?"
	case s.Final != "" && s.Final != s.Initial:
		return text + ":" + s.Final
	}
	return text
}

// Unknown is the slot while there is no policy.
func Unknown() Slot { return Slot{Initial: "unknown"} }

func (p *Policy) slot() Slot { return Slot{Initial: p.Level.String()} }

// Decide applies the policy to what is known. It is a function of its arguments
// alone, and each call stands for itself: the caller asks at every stage.
func (p *Policy) Decide(f Facts) Verdict {
	switch f.Stage {
	case Before:
		return p.before(f)
	case Greeted:
		return p.greeted(f)
	case Refused:
		return p.refused(f)
	case Broken:
		return p.broken(f)
	case Encrypted:
		return p.encrypted(f)
	}
	return p.skip("4.7.0", "TLS is required, but unavailable")
}

func (p *Policy) skip(code, reason string) Verdict {
	return Verdict{Action: Skip, Slot: p.slot(), Status: dsn.Status{Code: code, Reason: reason}}
}

// required reports whether the connection must not go on in the clear.
func (p *Policy) required(f Facts) bool { return p.Level.Mandatory() || f.Demanded }

// violate marks the slot when it is the level itself that forbids to go on.
func (p *Policy) violate(v Verdict) Verdict {
	if p.Level.Mandatory() {
		v.Slot.Violated, v.Slot.Decided = true, true
	}
	return v
}

func (p *Policy) clear() Verdict {
	return Verdict{Action: Plaintext, Slot: Slot{Initial: p.Level.String(), Final: None.String(), Decided: true}}
}

func (p *Policy) before(f Facts) Verdict {
	if p.Level == None && !f.Demanded {
		return Verdict{Action: Plaintext, Slot: p.slot()}
	}
	if p.Level == None {
		return p.skip("4.7.4", "TLS is required, but our configuration disables it for host "+f.Host)
	}
	return Verdict{Action: StartTLS, Slot: p.slot()}
}

func (p *Policy) greeted(f Facts) Verdict {
	switch {
	case p.Level == None && !f.Demanded:
		return p.clear()
	case p.Level != None && f.Offered && !f.NoEngine:
		return Verdict{Action: StartTLS, Slot: p.slot()}
	case !p.required(f):
		return p.clear()
	case !f.Offered:
		return p.violate(p.skip("4.7.4", "TLS is required, but was not offered by host "+f.Host))
	case f.NoEngine:
		return p.skip("4.7.5", "TLS is required, but our TLS engine is unavailable")
	}
	return p.skip("4.7.0", "TLS is required, but unavailable")
}

func (p *Policy) refused(f Facts) Verdict {
	if !p.required(f) {
		return p.clear()
	}
	code := f.Reply.Code
	if !dsn.ValidCode(code) || code[0] == '2' {
		code = "4.7.4"
	}
	return p.violate(p.skip(code, "TLS is required, but host "+f.Host+" refused to start TLS: "+f.Reply.Reason))
}

func (p *Policy) broken(f Facts) Verdict {
	if p.Level == May && !f.Demanded && f.MayRetry {
		return Verdict{Action: Reconnect, Slot: p.slot()}
	}
	v := p.skip("4.7.5", "Cannot start TLS: handshake failure")
	v.Throttle = p.Level != May
	return v
}

func (p *Policy) encrypted(f Facts) Verdict {
	slot := p.slot()
	slot.Decided = true
	switch {
	case p.Level == None:
		return p.skip("4.7.0", "TLS is required, but unavailable")
	case !p.Level.MatchesCertificate(), f.Peer.Matched:
		return Verdict{Action: Go, Slot: slot}
	case p.Level.UsesTLSA() && p.Level != DANEOnly && f.Peer.Unusable:
		// RFC 7672 §2.2: records that nobody can use still say that there is TLS.
		slot.Final = Encrypt.String()
		return Verdict{Action: Go, Slot: slot}
	}
	v := p.violate(p.skip("4.7.5", "Server certificate not verified"))
	v.Throttle = true
	return v
}
