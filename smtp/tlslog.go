package main

import (
	"context"
	"errors"
	"io"
	"os"

	"sealpost/lib/maillog"
	"sealpost/lib/route"
	"sealpost/lib/tlsconn"
	"sealpost/lib/tlspolicy"
)

// The lines about TLS, as smtp_tls_loglevel asks for them (protocols.md §7.6).

// tlsField is the tls= field of a delivery line (smtp_log_tls_feature_status).
func (w *walk) tlsField() string {
	if !w.set.logTLS {
		return ""
	}
	return w.status.String()
}

// logHandshake is a handshake that failed. Without it the delivery line would only
// say that it did.
func (w *walk) logHandshake(h route.Host, err error) {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		w.log.Infof("SSL_connect error to %s: Connection timed out", h.Relay())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		w.log.Infof("SSL_connect error to %s: lost connection", h.Relay())
	default:
		w.log.Infof("SSL_connect error to %v", err) // it begins with the host
	}
}

// logSecured is a handshake that was made.
func (w *walk) logSecured(s *session, p *tlspolicy.Policy, facts tlsconn.Facts) {
	level, relay := w.set.tlsLog, s.Host.Relay()
	if level.Has(tlsconn.LogPeerCert) && facts.Leaf() != nil {
		w.log.Infof("%s: %s", relay, facts.Describe(w.set.digest))
	}
	// Why a message is not sent is said at every level but 0.
	wanted := level != 0 && p.Level.MatchesCertificate() && !facts.Peer.Matched
	untrusted := level.Has(tlsconn.LogUntrusted) && !facts.Peer.Trusted
	if facts.Peer.Why != "" && (level.Has(tlsconn.LogCertMatch) || wanted || untrusted) {
		w.log.Infof("certificate verification failed for %s: %s", relay, facts.Peer.Why)
	}
	if facts.Peer.Matched && facts.Peer.Name != "" && level.Has(tlsconn.LogCertMatch) {
		w.log.Infof("%s: Matched %s", relay, facts.Peer.Name)
	}
	w.logConnection(s, p, facts, "established")
}

// logReused is a connection that is used again.
func (w *walk) logReused(s *session, p *tlspolicy.Policy) {
	if s.Facts.Secured {
		w.logConnection(s, p, s.tls, "reused")
	}
}

func (w *walk) logConnection(s *session, p *tlspolicy.Policy, facts tlsconn.Facts, verb string) {
	if !w.set.tlsLog.Has(tlsconn.LogSummary) {
		return
	}
	ev := facts.Event("to "+s.Host.Relay(), facts.Peer.Secured(p.Level))
	ev.Verb = verb
	if facts.Protocol() == "TLSv1.3" {
		ev.ServerSignature = tlsconn.Signature(facts.Leaf())
	}
	w.log.Log(maillog.Info, ev)
}

// logDiscarded logs what is passed over of a reply to EHLO.
func (w *walk) logDiscarded(s *session) {
	if ignored := s.Facts.Features.Ignored; ignored != 0 && !s.silent {
		w.log.Log(maillog.Info, &maillog.EhloDiscarded{QueueID: w.req.QueueID, Host: s.Host.NameAddr(), Keywords: ignored.Names()})
	}
}
