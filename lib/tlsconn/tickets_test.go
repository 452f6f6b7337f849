package tlsconn

import (
	"slices"
	"testing"
	"time"
)

func at(hours float64) time.Time {
	return time.Unix(1_800_000_000, 0).Truncate(TicketPeriod).Add(time.Duration(hours * float64(TicketPeriod)))
}

// Workers of one service that start hours apart have one key in common with those
// before and after them, and each takes tickets of the hour before.
func TestWorkersShareTicketKeys(t *testing.T) {
	master := NewSecret(at(0.1))
	first := NewTickets(master.Current(at(0.1)))
	_, old := first.Keys(at(0.2))

	master = master.Current(at(5.5))
	second := NewTickets(master)
	epoch, theirs := second.Keys(at(5.5))
	again, ours := first.Keys(at(5.6))
	if !slices.Equal(theirs, ours) || epoch != again {
		t.Error("two workers of one service and hour have different keys")
	}
	if len(ours) != 2 || slices.Contains(ours, old[0]) {
		t.Error("a key of five hours before is still in use")
	}
	_, next := second.Keys(at(6.1))
	if next[1] != theirs[0] {
		t.Error("tickets of the hour before are not taken")
	}
}

func TestTicketKeysOfAnotherServiceOrTime(t *testing.T) {
	secret := NewSecret(at(0))
	_, smtp := NewTickets(secret).Keys(at(0))
	_, other := NewTickets(NewSecret(at(0))).Keys(at(0))
	for _, k := range other {
		if slices.Contains(smtp, k) {
			t.Error("two secrets give a ticket key in common")
		}
	}
	late := secret.Current(at(3))
	if late.At(secret.Epoch) != late {
		t.Error("the secret of an earlier hour can be had")
	}
}

// A clock that goes back leaves the keys as they are, and one that jumps does not
// keep the processor busy for ever.
func TestTicketKeysWhenTheClockJumps(t *testing.T) {
	tickets := NewTickets(NewSecret(at(10)))
	epoch, keys := tickets.Keys(at(10))
	if back, same := tickets.Keys(at(2)); back != epoch || !slices.Equal(keys, same) {
		t.Error("the keys changed as the clock went back")
	}
	start := time.Now()
	tickets.Keys(at(1e6))
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("a jump of a century took %v", d)
	}
}

func TestParseSecret(t *testing.T) {
	s := NewSecret(at(0))
	if got, err := ParseSecret(s.String()); err != nil || got != s {
		t.Errorf("ParseSecret(String()) = %v, %v", got == s, err)
	}
	for _, bad := range []string{"", "1", "1:", "1:zz", "x:" + s.String()[2:], s.String() + "00", s.String()[:20]} {
		if _, err := ParseSecret(bad); err == nil {
			t.Errorf("ParseSecret(%q) took it", bad)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add(NewSecret(at(0)).String())
	f.Add("-1:00")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSecret(text); err == nil {
			if again, err := ParseSecret(s.String()); err != nil || again != s {
				t.Errorf("%q does not come back: %v", text, err)
			}
		}
	})
}
