package service

import (
	"sync/atomic"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
)

// stressTime is how long stress values hold after the last time that the session
// limit was reached, and how often the three lines are logged at most (§3.5).
const stressTime = 1000 * time.Second

// stress knows whether the service is under stress. A nil *stress never is.
type stress struct {
	log     *maillog.Logger
	service string // as in master.cf
	address string // host:port in numbers
	always  bool   // -o stress=yes: a foreign master decided
	clock   func() time.Time

	until  atomic.Int64 // Unix nanoseconds
	logged limiter
}

func newStress(log *maillog.Logger, service string, always bool) *stress {
	return &stress{
		log: log, service: service, address: service, always: always, clock: time.Now,
		logged: limiter{every: stressTime},
	}
}

// reached notes that the session limit was reached.
func (s *stress) reached(limit int) {
	if s == nil || s.always {
		return
	}
	now := s.clock()
	s.until.Store(now.Add(stressTime).UnixNano())
	if !s.logged.allow(now) {
		return
	}
	s.log.Warnf(`service "%s" (%s) has reached its process limit "%d": new clients may experience noticeable delays`,
		s.service, s.address, limit)
	s.log.Warnf("to avoid this condition, increase the process count in master.cf or reduce the service time per client")
	s.log.Warnf("see https://www.postfix.org/STRESS_README.html for examples of stress-adapting configuration settings")
}

func (s *stress) on() bool {
	return s != nil && (s.always || s.clock().UnixNano() < s.until.Load())
}

// configNow is the configuration that holds for a session that begins now.
func (s *server) configNow() (c *config.Config, stressed bool) {
	if s.stress.on() && s.env.Stress != nil {
		return s.env.Stress, true
	}
	return s.env.Config, false
}
