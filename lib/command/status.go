package command

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sealpost/lib/dsn"
)

// exits are the exit statuses of sysexits.h: what they mean for a recipient.
var exits = map[int]struct{ code, text string }{
	64: {"5.3.0", "command line usage error"},
	65: {"5.6.0", "data format error"},
	66: {"5.3.0", "cannot open input"},
	67: {"5.1.1", "user unknown"},
	68: {"5.1.2", "host name unknown"},
	69: {"5.3.0", "service unavailable"},
	70: {"5.3.0", "internal software error"},
	71: {"4.3.0", "system resource problem"},
	72: {"5.3.0", "critical OS file missing"},
	73: {"5.2.0", "can't create user output file"},
	74: {"5.3.0", "input/output error"},
	75: {"4.3.0", "temporary failure"},
	76: {"5.5.0", "remote error in protocol"},
	77: {"5.7.0", "permission denied"},
	78: {"5.3.5", "local configuration error"},
}

// exSoftware stands for an end that no exit status describes.
const exSoftware = 70

// Failed reports whether the command did not deliver.
func (r *Result) Failed() bool { return r.TimedOut || r.Signal != 0 || r.Exit != 0 }

// Status is the delivery status of a command that failed; name is the command in
// messages. Output that begins with an enhanced status code of class 4 or 5 says
// itself what happened: one of class 2 contradicts the exit status. A command that
// was killed at its time limit counts as broken, one that another signal ended as
// worth another try.
func (r *Result) Status(name string) dsn.Status {
	s := dsn.Status{DiagType: dsn.DiagUnix, DiagText: exits[exSoftware].text}
	code, text := dsn.SplitCode("", r.Output)
	if code != "" && code[0] == '2' {
		code = ""
	}
	known, ok := exits[r.Exit]
	switch {
	case r.TimedOut:
		s.Code, s.Reason = "5.3.0", fmt.Sprintf("Command time limit exceeded: \"%s\"", name)
	case r.Signal != 0:
		s.Code, s.Reason = "4.3.0", fmt.Sprintf("Command died with signal %d: \"%s\"", r.Signal, name)
	case code != "" && text != "":
		s.Code, s.Reason, s.DiagText = code, text, text
		return s
	case ok:
		s.Code, s.Reason, s.DiagText = known.code, known.text, known.text
	default:
		s.Code, s.Reason = "5.3.0", fmt.Sprintf("Command died with status %d: \"%s\"", r.Exit, name)
		s.DiagText = fmt.Sprintf("unknown mail system error %d", r.Exit)
	}
	switch {
	case code != "" && !r.TimedOut && r.Signal == 0:
		s.Code = code // and nothing but a code
	case r.Output != "":
		s.DiagText = r.Output
		s.Reason += ". Command output: " + r.Output
	}
	return s
}

// printable makes one line of output: line ends and tabs become blanks, anything
// else that cannot be printed "_".
func printable(b []byte) string {
	b = cutRune(b)
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r) && r != ' ':
			return '_'
		}
		return r
	}, string(b))
}

// cutRune takes an incomplete character off the end of output that was cut there.
func cutRune(b []byte) []byte {
	if len(b) < MaxOutput {
		return b
	}
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}
