// Package ehlo is the vocabulary of SMTP service extensions: sets of EHLO
// keywords, as parameters name them and as servers announce them (RFC 5321
// §4.1.1.1).
package ehlo

import "strings"

// Set is a set of keywords.
type Set uint32

// The keywords that the mail system knows. The bits of the first twelve and of
// REQUIRETLS are those of Postfix's mask.
const (
	EightBitMIME Set = 1 << iota
	Pipelining
	Size
	VRFY
	ETRN
	Auth
	Verp
	StartTLS
	XClient
	EnhancedStatusCodes
	DSN
	XForward
	SMTPUTF8
	Chunking
	RequireTLS
	// SilentDiscard is no keyword of SMTP: in a list of keywords to discard it
	// says that discarding is not logged.
	SilentDiscard
)

var names = [...]string{
	"8BITMIME", "PIPELINING", "SIZE", "VRFY", "ETRN", "AUTH", "VERP", "STARTTLS",
	"XCLIENT", "ENHANCEDSTATUSCODES", "DSN", "XFORWARD", "SMTPUTF8", "CHUNKING",
	"REQUIRETLS", "SILENT-DISCARD",
}

// Keyword is the set of one keyword, written in any case; 0 for an unknown one.
func Keyword(word string) Set {
	for i, name := range names {
		if strings.EqualFold(word, name) {
			return 1 << i
		}
	}
	return 0
}

// Parse makes a set of words. Words that are not known are left out: a list may
// name keywords of other versions.
func Parse(words []string) Set {
	var s Set
	for _, w := range words {
		s |= Keyword(w)
	}
	return s
}

// Has reports whether s has all keywords of t.
func (s Set) Has(t Set) bool { return s&t == t }

// String lists the keywords, separated by blanks.
func (s Set) String() string {
	var words []string
	for i, name := range names {
		if s&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return strings.Join(words, " ")
}
