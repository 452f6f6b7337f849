// Package logread reads deliveries out of mail logs: of the lines
//
//	Nov 22 18:35:34 mx postfix/smtp[7]: QID: to=<addr>, relay=..., tls=..., dsn=X.Y.Z, status=WORD (text)
//
// in the form of Postfix and of Sealpost (requiretls.md §7.1), and of Sealpost's JSON
// lines. What is no such line is passed over. Compressed files (gzip) are read as they
// are.
package logread

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Delivery is what a line says about one recipient.
type Delivery struct {
	To     string // the address
	Domain string // of To, in lower case; "" where it has none
	TLS    string // the tls= field; "" where the line has none
	DSN    string
	Status string // sent, deferred, bounced, ...
}

// maxLine bounds a line; a longer one is passed over.
const maxLine = 64 << 10

// Read calls fn for each delivery. The error is one of reading, with the number of the
// line where it was.
func Read(r io.Reader, fn func(Delivery)) error {
	in := bufio.NewReaderSize(r, maxLine)
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("compressed file: %w", err)
		}
		defer z.Close()
		in = bufio.NewReaderSize(z, maxLine)
	}
	long := false
	for n := 1; ; {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 && !errors.Is(err, bufio.ErrBufferFull) {
			if d, ok := Parse(bytes.TrimRight(line, "\r\n")); ok && !long {
				fn(d)
			}
			long = false
			n++
		}
		switch {
		case err == nil:
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// Parse reads one line without its end.
func Parse(line []byte) (d Delivery, ok bool) {
	if len(line) > 0 && line[0] == '{' {
		return parseJSON(line)
	}
	text := string(line)
	i := strings.Index(text, ": to=<")
	if i < 0 {
		return Delivery{}, false
	}
	rest := text[i+len(": to=<"):]
	// A local part in quotes may have anything in it.
	quoted := 0
	if strings.HasPrefix(rest, `"`) {
		quoted = max(strings.Index(rest, `"@`), 0)
	}
	to, after, ok := cutAny(rest[quoted:], ">, relay=", ">, orig_to=<")
	if !ok {
		return Delivery{}, false
	}
	d.To, rest = rest[:quoted]+to, after
	// The text in parentheses is foreign.
	head, _, ok := strings.Cut(rest, " (")
	if !ok {
		head = rest
	}
	for _, field := range strings.Split(head, ", ") {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "tls":
			d.TLS = value
		case "dsn":
			d.DSN = value
		case "status":
			d.Status = value
		}
	}
	if d.Status == "" || d.DSN == "" {
		return Delivery{}, false
	}
	d.Domain = domain(d.To)
	return d, true
}

// cutAny cuts at the separator that comes first.
func cutAny(text string, separators ...string) (before, after string, ok bool) {
	at := -1
	for _, sep := range separators {
		if i := strings.Index(text, sep); i >= 0 && (at < 0 || i < at) {
			at, after = i, text[i+len(sep):]
		}
	}
	if at < 0 {
		return "", "", false
	}
	return text[:at], after, true
}

func parseJSON(line []byte) (Delivery, bool) {
	var v struct{ To, TLS, DSN, Status string }
	if err := json.Unmarshal(line, &v); err != nil || v.To == "" || v.Status == "" || v.DSN == "" {
		return Delivery{}, false
	}
	return Delivery{v.To, domain(v.To), v.TLS, v.DSN, v.Status}, true
}

func domain(addr string) string {
	return strings.ToLower(addr[strings.LastIndexByte(addr, '@')+1:])
}

// Slot is one part of the tls= field.
type Slot struct {
	Initial, Final    string // Final is Initial where the field has no other
	Violated, Decided bool
}

// Slots are the parts of the tls= field: the TLS level, and the request for REQUIRETLS
// where there was one.
func (d Delivery) Slots() (level Slot, request Slot, requested bool) {
	first, second, requested := strings.Cut(d.TLS, "/")
	return parseSlot(first), parseSlot(second), requested && strings.HasPrefix(strings.TrimPrefix(second, "!"), "requiretls")
}

func parseSlot(text string) Slot {
	s := Slot{Decided: !strings.HasSuffix(text, "?")}
	text = strings.TrimSuffix(text, "?")
	text, s.Violated = strings.CutPrefix(text, "!")
	var other bool
	if s.Initial, s.Final, other = strings.Cut(text, ":"); !other {
		s.Final = s.Initial
	}
	return s
}
