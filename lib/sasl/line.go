package sasl

import "strings"

// maxLine is the greatest length of a line of the service. Dovecot's own limit for
// authentication data is 8192 bytes before base64.
const maxLine = 16 << 10

// appendLine adds a command to b. Fields are escaped.
func appendLine(b []byte, fields ...string) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, '\t')
		}
		b = appendEscaped(b, f)
	}
	return append(b, '\n')
}

func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case 0:
			b = append(b, 1, '0')
		case 1:
			b = append(b, 1, '1')
		case '\t':
			b = append(b, 1, 't')
		case '\r':
			b = append(b, 1, 'r')
		case '\n':
			b = append(b, 1, 'n')
		default:
			b = append(b, c)
		}
	}
	return b
}

func unescape(s string) string {
	if strings.IndexByte(s, 1) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 1 && i+1 < len(s) {
			i++
			switch s[i] {
			case '0':
				c = 0
			case '1':
				c = 1
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'n':
				c = '\n'
			default:
				c = s[i]
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// splitLine gives the fields of a line, unescaped.
func splitLine(line string) []string {
	fields := strings.Split(line, "\t")
	for i, f := range fields {
		fields[i] = unescape(f)
	}
	return fields
}

// parseMech reads the fields after MECH.
func parseMech(fields []string) (Mechanism, bool) {
	if len(fields) == 0 || !isMechanismName(fields[0]) {
		return Mechanism{}, false
	}
	m := Mechanism{Name: strings.ToUpper(fields[0])}
	for _, f := range fields[1:] {
		switch f {
		case "anonymous":
			m.Properties |= Anonymous
		case "plaintext":
			m.Properties |= Plaintext
		case "dictionary":
			m.Properties |= Dictionary
		case "active":
			m.Properties |= Active
		case "forward-secrecy":
			m.Properties |= ForwardSecrecy
		case "mutual-auth":
			m.Properties |= MutualAuth
		case "private":
			m.Properties |= Private
		}
	}
	return m, true
}

// isMechanismName is the grammar of RFC 4422 §3.1, in either case.
func isMechanismName(s string) bool {
	if len(s) == 0 || len(s) > 20 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// parseAnswer reads a line that is OK, FAIL or CONT. ok is false for any other
// command, and err is not nil for one of these that makes no sense.
func parseAnswer(fields []string) (id string, step Step, ok bool, err error) {
	switch fields[0] {
	case "OK":
		step.State = Success
	case "FAIL":
		step.State = Failure
	case "CONT":
		step.State = Continue
	default:
		return "", Step{}, false, nil
	}
	if len(fields) < 2 {
		return "", Step{}, false, ErrProtocol
	}
	id, rest := fields[1], fields[2:]
	if step.State == Continue {
		if len(rest) > 0 {
			step.Challenge = rest[0]
		}
		if !isBase64(step.Challenge) {
			return "", Step{}, false, ErrProtocol
		}
		return id, step, true, nil
	}
	for _, f := range rest {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "user":
			step.User = value
		case "reason":
			step.Reason = value
		case "temp":
			step.Temporary = true
		case "code":
			step.Temporary = step.Temporary || value == "temp_fail"
		}
	}
	if step.State == Success && step.User == "" {
		return "", Step{}, false, ErrProtocol
	}
	return id, step, true, nil
}

// isBase64 reports whether a challenge can be passed on: it must not break the line.
func isBase64(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '=') {
			return false
		}
	}
	return true
}
