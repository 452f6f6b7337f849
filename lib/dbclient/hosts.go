package dbclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// ErrNoHost: every host failed within the last retry_interval.
var ErrNoHost = errors.New("no host is available")

// Hosts are servers with the same data. They are tried in random order, those on
// Unix sockets first; one that failed is left alone for the retry interval.
type Hosts struct {
	names  []string
	retry  time.Duration
	now    func() time.Time
	mu     sync.Mutex
	resume map[string]time.Time
	last   error
}

// NewHosts makes the list. now is the clock; nil is the system's.
func NewHosts(names []string, retry time.Duration, now func() time.Time) *Hosts {
	if now == nil {
		now = time.Now
	}
	return &Hosts{names: names, retry: retry, now: now, resume: make(map[string]time.Time)}
}

// Try calls ask for one host after the other until one does not fail. An error
// that is the question's fault and not the host's is made with Final.
func (h *Hosts) Try(ctx context.Context, ask func(ctx context.Context, host string) error) error {
	var errs []error
	for _, host := range h.order() {
		err := ask(ctx, host)
		var final *finalError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return final.err
		case ctx.Err() != nil:
			return err // the caller gave up, the host may be well
		}
		err = fmt.Errorf("host %s: %w", host, err)
		errs = append(errs, err)
		h.down(host, err)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Errorf("%w; last: %w", ErrNoHost, h.last)
}

func (h *Hosts) down(host string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resume[host], h.last = h.now().Add(h.retry), err
}

// order are the hosts to try now.
func (h *Hosts) order() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var local, remote []string
	for _, i := range rand.Perm(len(h.names)) {
		host := h.names[i]
		switch {
		case h.now().Before(h.resume[host]):
		case strings.HasPrefix(host, "unix:"), strings.HasPrefix(host, "/"):
			local = append(local, host)
		default:
			remote = append(remote, host)
		}
	}
	return append(local, remote...)
}

// finalError is an error that no other host would answer differently.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// Final marks an error as one that another host would give, too.
func Final(err error) error { return &finalError{err} }

// Address is host:port or the path of a socket, for a word of a list of hosts.
func Address(word, port string) (network, address string) {
	if path, ok := strings.CutPrefix(word, "unix:"); ok {
		return "unix", path
	}
	if strings.HasPrefix(word, "/") {
		return "unix", word
	}
	word = strings.TrimPrefix(word, "inet:")
	if strings.HasPrefix(word, "[") && strings.HasSuffix(word, "]") ||
		!strings.Contains(word, ":") {
		return "tcp", word + ":" + port
	}
	return "tcp", word
}
