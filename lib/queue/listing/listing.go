// Package listing reads what is in the queue for showq(8) and, when the mail
// system is down, for postqueue(1) (spec: protocols.md §2.12).
package listing

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
)

// Settings of a listing, from main.cf.
type Settings struct {
	DuplicateLimit int    `conf:"duplicate_filter_limit"` // addresses remembered; 0: none
	EmptyRecipient string `conf:"empty_address_recipient"`
}

// Queues are those listed, in order.
func Queues() []string {
	return []string{queue.Maildrop, queue.Active, queue.Incoming, queue.Deferred, queue.Hold}
}

// logWait bounds the wait for a log that bounce(8) is writing.
const logWait = 5 * time.Second

// A Lister lists one queue tree.
type Lister struct {
	Queue    *queue.Queue
	Settings Settings
	Log      *maillog.Logger
}

// List calls visit for each complete message until visit or ctx gives an error,
// which is returned. A file that has gone, or that has no sender record, gives no
// entry; what is damaged further on shows what was before it. Messages that move
// meanwhile may be missed or come twice.
func (l *Lister) List(ctx context.Context, visit func(*mailproto.ShowqEntry) error) error {
	for _, name := range Queues() {
		var stopped error
		err := l.Queue.Scan(name, func(e queue.Entry) bool {
			if stopped = ctx.Err(); stopped != nil {
				return false
			}
			if entry := l.entry(ctx, name, e); entry != nil {
				stopped = visit(entry)
			}
			return stopped == nil
		})
		if stopped != nil {
			return stopped
		}
		if err != nil {
			l.Log.Warnf("scan of the %s queue: %v", name, err)
		}
	}
	return nil
}

// entry reads one message; nil when there is nothing to show.
func (l *Lister) entry(ctx context.Context, name string, e queue.Entry) *mailproto.ShowqEntry {
	f, err := l.Queue.Open(name, e.ID, os.O_RDONLY)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, queue.ErrNotReady) {
			l.Log.Warnf("%v", err)
		}
		return nil
	}
	defer f.Close()
	m := message{
		l: l,
		entry: mailproto.ShowqEntry{
			QueueName:    name,
			QueueID:      e.ID,
			Time:         e.ModTime.Unix(),
			Size:         e.Size,
			ForcedExpire: e.Mode&queue.ModeExpire != 0,
		},
	}
	r := queue.NewReader(f, 0)
	defer r.Release()
	if err := m.read(ctx, r); err != nil {
		l.Log.Warnf("%s/%s: %v", name, e.ID, err)
	}
	if !m.sender {
		return nil
	}
	return &m.entry
}

// message collects one entry.
type message struct {
	l      *Lister
	entry  mailproto.ShowqEntry
	sender bool
	size   queue.SizeRecord
	orig   string
	seen   map[string]bool // recipients shown
}

// read takes the records of a message. It does not insist on their order: in
// maildrop they are a user's.
func (m *message) read(ctx context.Context, r *queue.Reader) error {
	content, skipped := false, false
	for {
		rec, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch rec.Type {
		case record.Size:
			m.setSize(rec)
		case record.Message:
			content = true
			if m.size.ContentSize > 0 && !skipped {
				skipped = true // once: a damaged size must not lead in circles
				r.SeekTo(m.size.DataOffset + m.size.ContentSize)
			}
		case record.Extracted:
			content = false
		case record.From:
			if !m.sender && !content {
				m.setSender(ctx, string(rec.Payload))
			}
		default:
			if !content {
				m.other(rec)
			}
		}
	}
}

// setSize takes a valid size record; the one of a maildrop file has options only.
func (m *message) setSize(rec queue.Rec) {
	s, err := queue.ParseSize(string(rec.Payload))
	if err != nil || m.size != (queue.SizeRecord{}) {
		return
	}
	m.entry.RequireTLS = sendopts.Options(s.SendOpts).Has(sendopts.RequireTLSESMTP)
	if s.Check() == nil && m.entry.QueueName != queue.Maildrop {
		m.size, m.entry.Size = s, s.ContentSize // not the length that a milter left
	}
}

// setSender takes the sender; the recipients in the logs come next.
func (m *message) setSender(ctx context.Context, addr string) {
	m.sender = true
	m.entry.Sender = m.external(addr)
	if m.entry.QueueName == queue.Maildrop {
		return
	}
	m.log(ctx, queue.Defer)
	m.log(ctx, queue.Bounce)
}

func (m *message) other(rec queue.Rec) {
	switch rec.Type {
	case record.Time:
		var sec int64
		for _, c := range rec.Payload {
			if c < '0' || c > '9' {
				break
			}
			sec = 10*sec + int64(c-'0')
		}
		if sec > 0 {
			m.entry.Time = sec
		}
	case record.OrigRcpt:
		m.orig = string(rec.Payload)
	case record.Rcpt:
		if m.sender {
			orig := m.orig
			if orig != "" {
				orig = m.external(orig)
			}
			m.add(mailproto.ShowqRecipient{OrigAddr: orig, Addr: m.external(string(rec.Payload))})
		}
		m.orig = ""
	case record.Done, record.CancelRcpt:
		m.orig = ""
	}
}

// log adds the recipients of a status log, with their reasons.
func (m *message) log(ctx context.Context, class string) {
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	f, err := m.l.Queue.OpenLog(ctx, class, m.entry.QueueID)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			m.l.Log.Warnf("%v", err)
		}
		return
	}
	defer f.Close()
	log := queue.NewStatusLog(f, queue.DefaultStatus(class))
	for {
		rec, err := log.Next()
		if err != nil {
			if err != io.EOF {
				m.l.Log.Warnf("%v", err)
			}
			return
		}
		addr := rec.Recipient.Addr
		if addr == "" {
			addr = m.l.Settings.EmptyRecipient
		}
		m.add(mailproto.ShowqRecipient{
			OrigAddr: maillog.Printable(rec.Recipient.OrigAddr),
			Addr:     maillog.Printable(addr),
			LogClass: class,
			Reason:   maillog.Printable(rec.Status.Reason),
		})
	}
}

// add adds a recipient that was not shown yet, as far as the limit remembers.
func (m *message) add(r mailproto.ShowqRecipient) {
	if m.seen[r.Addr] {
		return
	}
	if limit := m.l.Settings.DuplicateLimit; limit > 0 && len(m.seen) < limit {
		if m.seen == nil {
			m.seen = make(map[string]bool)
		}
		m.seen[r.Addr] = true
	}
	m.entry.Recipients = append(m.entry.Recipients, r)
}

// external is the printable external form of an address.
func (m *message) external(addr string) string {
	if addr == "" {
		return m.l.Settings.EmptyRecipient
	}
	return maillog.Printable(address.Quote(addr))
}
