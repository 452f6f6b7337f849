package maillog

import (
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxText is the greatest length of a line's text in bytes (§7.1).
const MaxText = 2000

// stamp is the formatted time of one second.
type stamp struct {
	sec  int64
	text string
}

// stampText formats the time once per second, whatever the number of lines.
func (c *core) stampText() string {
	now := c.clock()
	sec := now.Unix()
	if s := c.stamp.Load(); s != nil && s.sec == sec {
		return s.text
	}
	s := &stamp{sec, now.Format("Jan 02 15:04:05")}
	c.stamp.Store(s)
	return s.text
}

// head appends what precedes the text: time, host, tag, bracket and severity.
// tag is the place where the tag begins.
func (l *Logger) head(b []byte, sev Severity) (line []byte, tag int) {
	c := l.core
	b = append(b, c.stampText()...)
	b = append(b, ' ')
	b = append(b, c.host...)
	b = append(b, ' ')
	tag = len(b)
	return l.appendTag(b, sev), tag
}

// appendTag appends "postfix/smtpd[5192]: warning: ".
func (l *Logger) appendTag(b []byte, sev Severity) []byte {
	b = append(b, l.core.tag...)
	b = append(b, '[')
	if l.session != 0 {
		b = strconv.AppendUint(b, l.session, 10)
	} else {
		b = strconv.AppendInt(b, int64(l.core.pid), 10)
	}
	b = append(b, "]: "...)
	if sev != Info {
		b = append(b, sev.String()...)
		b = append(b, ": "...)
	}
	return b
}

// clean cuts the text b[at:] to MaxText bytes and makes it printable in place.
func clean(b []byte, at int) []byte {
	if len(b)-at > MaxText {
		end := at + MaxText
		for n := 0; n < utf8.UTFMax-1 && end > at && !utf8.RuneStart(b[end]); n++ {
			end--
		}
		b = b[:end]
	}
	makePrintable(b[at:])
	return b
}

// makePrintable replaces in place, byte by byte: control characters, DEL, bytes
// that are not UTF-8, and characters that readers take for a line end or a
// terminal for a command (U+0080 to U+009F, U+2028, U+2029).
func makePrintable(b []byte) {
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				b[i] = '?'
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 || r < 0xa0 || r == 0x2028 || r == 0x2029 {
			for j := range n {
				b[i+j] = '?'
			}
		}
		i += n
	}
}

// Printable replaces control characters, DEL and invalid UTF-8 by '?'.
func Printable(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			b := []byte(s)
			makePrintable(b)
			return string(b)
		}
	}
	return s
}

// CleanLine makes a line that somebody else wrote printable, in place, and cuts
// it at limit bytes.
func CleanLine(b []byte, limit int) []byte {
	b = b[:min(len(b), limit)]
	makePrintable(b)
	return b
}

// shortHostname is the host name of a line, up to the first dot.
func shortHostname(name string) string {
	if name == "" {
		name = os.Getenv("POSTLOG_HOSTNAME")
	}
	if name == "" {
		name, _ = os.Hostname()
	}
	name, _, _ = strings.Cut(name, ".")
	if name = Printable(name); name == "" {
		return "localhost"
	}
	return strings.ReplaceAll(name, " ", "?")
}

// syslogStamp is the form of a stamp that syslog has: the day of the month is
// padded with a blank.
func syslogStamp(b []byte, stamp string) []byte {
	at := len(b)
	b = append(b, stamp...)
	if b[at+4] == '0' {
		b[at+4] = ' '
	}
	return b
}

// retryAfter is how long a sink that failed is left alone.
const retryAfter = time.Second
