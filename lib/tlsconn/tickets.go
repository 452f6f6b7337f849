package tlsconn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TicketPeriod is how long tickets are made with one key; they are taken for as
// long again.
const TicketPeriod = time.Hour

// A Secret is what the ticket keys of one service and hour are made from: the
// tickets of one service must not open another. The next hour's is
// made from it, and not the other way round: what is still known of the past is
// one hour, for tickets in flight. Who holds it: master, for as long as it lives,
// and each worker, so that a worker that follows another knows its tickets.
type Secret struct {
	Epoch int64 // hours since 1970
	key   [sha256.Size]byte
}

// NewSecret makes a secret for the hour before now: a ticket of that hour could
// still be shown.
func NewSecret(now time.Time) Secret {
	s := Secret{Epoch: epochOf(now) - 1}
	rand.Read(s.key[:])
	return s
}

func epochOf(now time.Time) int64 { return now.Unix() / int64(TicketPeriod/time.Second) }

// derive is a one-way function of a secret.
func (s Secret) derive(label string) (out [sha256.Size]byte) {
	h := hmac.New(sha256.New, s.key[:])
	h.Write([]byte(label))
	h.Sum(out[:0])
	return out
}

// At is the secret of a later hour; an earlier one cannot be had.
func (s Secret) At(epoch int64) Secret {
	if epoch-s.Epoch > maxSteps {
		s.Epoch = epoch - maxSteps // a clock that was put forward by years
	}
	for s.Epoch < epoch {
		s = Secret{Epoch: s.Epoch + 1, key: s.derive("next hour")}
	}
	return s
}

// Current is the secret that a worker is to have that starts now.
func (s Secret) Current(now time.Time) Secret { return s.At(epochOf(now) - 1) }

// maxSteps bounds the work after a jump of the clock: ten years.
const maxSteps = 10 * 365 * 24

// String is the secret for a worker's environment.
func (s Secret) String() string {
	return strconv.FormatInt(s.Epoch, 10) + ":" + hex.EncodeToString(s.key[:])
}

// ParseSecret reads what String wrote.
func ParseSecret(text string) (s Secret, err error) {
	epoch, key, _ := strings.Cut(text, ":")
	if s.Epoch, err = strconv.ParseInt(epoch, 10, 64); err != nil {
		return Secret{}, fmt.Errorf("ticket secret: %w", err)
	}
	n, err := hex.Decode(s.key[:], []byte(key[:min(len(key), 2*len(s.key))]))
	if err != nil || n != len(s.key) || len(key) != 2*n {
		return Secret{}, fmt.Errorf("ticket secret: %d characters are not a key of %d bytes", len(key), len(s.key))
	}
	return s, nil
}

// Tickets gives the keys of session tickets. It is safe for concurrent use.
type Tickets struct {
	mu     sync.Mutex
	secret Secret // of the hour before the last that was asked for
}

// NewTickets starts from a secret.
func NewTickets(s Secret) *Tickets { return &Tickets{secret: s} }

// Keys are the key for new tickets and that of the hour before. epoch changes when
// they do.
func (t *Tickets) Keys(now time.Time) (epoch int64, keys [][sha256.Size]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secret = t.secret.Current(now)
	current := t.secret.At(t.secret.Epoch + 1)
	return current.Epoch, [][sha256.Size]byte{current.derive("ticket key"), t.secret.derive("ticket key")}
}
