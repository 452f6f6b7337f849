package maillog

import (
	"strconv"
	"strings"
	"time"

	"sealpost/lib/mailproto"
)

// Words of a delivery's status (§7.4).
const (
	StatusSent          = "sent"
	StatusDeferred      = "deferred"
	StatusBounced       = "bounced"
	StatusSoftBounce    = "SOFTBOUNCE" // a bounce that soft_bounce made temporary
	StatusDeliverable   = "deliverable"
	StatusUndeliverable = "undeliverable"
	StatusNotCached     = "undeliverable-but-not-cached"
)

// Delivery is the outcome of one delivery attempt for one recipient (§7.4):
//
//	QID: to=<A>, orig_to=<B>, relay=R, conn_use=N, delay=D, delays=A/B/C/E,
//	tls=T, dsn=X.Y.Z, status=S (REASON)
type Delivery struct {
	QueueID string
	To      string // external form, without angle brackets
	OrigTo  string // external form; empty or equal to To: not shown
	Relay   string // "none", "virtual", "host[addr]:port"
	Stats   mailproto.MsgStats
	TLS     string // empty: not shown
	DSN     string // "2.0.0"
	Status  string // one of the Status words
	Reason  string

	// Now is the end of the attempt when Stats.DeliverDone is not set; zero is
	// the current time.
	Now time.Time
	// Decimals is delay_logging_resolution_limit, 0 to 6, plus one; 0 means the
	// default of two decimals.
	Decimals int
}

// Name implements Event.
func (d *Delivery) Name() string { return "delivery" }

// AppendText implements Event.
func (d *Delivery) AppendText(b []byte) []byte {
	b = append(b, d.QueueID...)
	b = append(b, ": to=<"...)
	b = append(b, d.To...)
	b = append(b, '>')
	if d.OrigTo != "" && !strings.EqualFold(d.OrigTo, d.To) {
		b = append(b, ", orig_to=<"...)
		b = append(b, d.OrigTo...)
		b = append(b, '>')
	}
	b = append(b, ", relay="...)
	b = append(b, d.Relay...)
	if d.Stats.ReuseCount > 0 {
		b = append(b, ", conn_use="...)
		b = strconv.AppendInt(b, int64(d.Stats.ReuseCount)+1, 10)
	}
	t := d.times()
	b = append(b, ", delay="...)
	b = d.appendDelay(b, t.total)
	b = append(b, ", delays="...)
	for i, part := range t.parts {
		if i > 0 {
			b = append(b, '/')
		}
		b = d.appendDelay(b, part)
	}
	if d.TLS != "" {
		b = append(b, ", tls="...)
		b = append(b, d.TLS...)
	}
	b = append(b, ", dsn="...)
	b = append(b, d.DSN...)
	b = append(b, ", status="...)
	b = append(b, d.Status...)
	b = append(b, " ("...)
	b = append(b, d.Reason...)
	return append(b, ')')
}

// Fields implements Event. Delays are in seconds.
func (d *Delivery) Fields() []Field {
	t := d.times()
	f := []Field{{"queue_id", d.QueueID}, {"to", d.To}}
	if d.OrigTo != "" && !strings.EqualFold(d.OrigTo, d.To) {
		f = append(f, Field{"orig_to", d.OrigTo})
	}
	f = append(f, Field{"relay", d.Relay})
	if d.Stats.ReuseCount > 0 {
		f = append(f, Field{"conn_use", d.Stats.ReuseCount + 1})
	}
	f = append(f, Field{"delay", t.total.Seconds()}, Field{"delay_before_qmgr", t.parts[0].Seconds()},
		Field{"delay_in_qmgr", t.parts[1].Seconds()}, Field{"delay_connection", t.parts[2].Seconds()},
		Field{"delay_transmission", t.parts[3].Seconds()})
	if d.TLS != "" {
		f = append(f, Field{"tls", d.TLS})
	}
	return append(f, Field{"dsn", d.DSN}, Field{"status", d.Status}, Field{"reason", d.Reason})
}

// deliveryTimes are the four stages of a delivery and their sum: before qmgr, in
// qmgr, connection setup, transmission. A stage that was not reached takes 0,
// and its time belongs to the one before it.
type deliveryTimes struct {
	total time.Duration
	parts [4]time.Duration
}

func (d *Delivery) times() deliveryTimes {
	s := &d.Stats
	end := s.DeliverDone
	if end.IsZero() {
		end = d.Now
	}
	if end.IsZero() {
		end = time.Now()
	}
	var t deliveryTimes
	t.total = since(end, s.IncomingArrival)
	switch {
	case s.ActiveArrival.IsZero():
		t.parts[0] = t.total
		return t
	default:
		t.parts[0] = since(s.ActiveArrival, s.IncomingArrival)
	}
	if s.AgentHandoff.IsZero() {
		t.parts[1] = since(end, s.ActiveArrival)
		return t
	}
	t.parts[1] = since(s.AgentHandoff, s.ActiveArrival)
	if s.ConnSetupDone.IsZero() {
		t.parts[3] = since(end, s.AgentHandoff)
		return t
	}
	t.parts[2] = since(s.ConnSetupDone, s.AgentHandoff)
	t.parts[3] = since(end, s.ConnSetupDone)
	return t
}

// since is to minus from, and 0 where from is not known or later.
func since(to, from time.Time) time.Duration {
	if from.IsZero() {
		return 0
	}
	return max(to.Sub(from), 0)
}

func (d *Delivery) appendDelay(b []byte, t time.Duration) []byte {
	decimals := 2
	if d.Decimals > 0 {
		decimals = d.Decimals - 1
	}
	return AppendDelay(b, t, decimals)
}

// AppendDelay formats a delay in seconds with two significant digits and at most
// the given number of decimals, without trailing zeros: 0, 0.05, 1.2, 12 (§7.4).
func AppendDelay(b []byte, t time.Duration, decimals int) []byte {
	const second = 1_000_000
	usec := max(t.Microseconds(), 0)
	sec := usec / second
	usec %= second
	res := int64(second)
	for range min(max(decimals, 0), 6) {
		res /= 10
	}
	switch {
	case sec >= 10:
		res = second
	case sec > 0:
		res = max(res, second/10)
	default:
		for usec >= 100*res {
			res *= 10
		}
	}
	usec += res / 2
	if usec >= second {
		usec -= second
		sec++
	}
	b = strconv.AppendInt(b, sec, 10)
	if usec < res {
		return b
	}
	b = append(b, '.')
	for step := int64(second / 10); usec >= res && step > 0; step /= 10 {
		b = append(b, byte('0'+usec/step))
		usec %= step
	}
	return b
}
