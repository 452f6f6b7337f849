package tlspolicy

// defaultLevel is the level where no table says anything: tls_security_level, or
// what the parameters say that were there before it.
func (s *Settings) defaultLevel() Level {
	level, ok := ParseLevel(s.SecurityLevel)
	switch {
	case ok:
		return level
	case s.EnforceTLS && s.EnforcePeername:
		return Verify
	case s.EnforceTLS:
		return Encrypt
	case s.UseTLS:
		return May
	}
	return None
}
