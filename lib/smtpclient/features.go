package smtpclient

import (
	"slices"
	"strconv"
	"strings"

	"sealpost/lib/smtpio"
	"sealpost/lib/xforward"
)

// Ext is a set of SMTP extensions that a server announced.
type Ext uint16

const (
	ExtPipelining Ext = 1 << iota
	Ext8BITMIME
	ExtSIZE
	ExtDSN
	ExtSMTPUTF8
	ExtSTARTTLS
	ExtREQUIRETLS
	ExtCHUNKING
	ExtXFORWARD
	ExtEnhanced
	ExtAUTH
)

// extensions maps keywords to bits; the names are also those that
// smtp_discard_ehlo_keywords knows.
var extensions = map[string]Ext{
	"PIPELINING": ExtPipelining, "8BITMIME": Ext8BITMIME, "SIZE": ExtSIZE, "DSN": ExtDSN,
	"SMTPUTF8": ExtSMTPUTF8, "STARTTLS": ExtSTARTTLS, "REQUIRETLS": ExtREQUIRETLS,
	"CHUNKING": ExtCHUNKING, "XFORWARD": ExtXFORWARD, "ENHANCEDSTATUSCODES": ExtEnhanced, "AUTH": ExtAUTH,
}

// Features is what the greeting and the reply to EHLO say about a server.
type Features struct {
	Ext     Ext
	MaxSize int64  // with SIZE: 0 means no fixed limit
	Name    string // the server's name in its reply to EHLO or HELO
	ESMTP   bool   // EHLO was accepted
	// XForward: with XFORWARD the attributes that the server takes.
	XForward xforward.Set
	Ignored  Ext // announced, and passed over by smtp_discard_ehlo_keywords
}

// Has reports whether the extension was announced.
func (f *Features) Has(e Ext) bool { return f.Ext&e != 0 }

// ehloLine takes one line of the reply to EHLO, code removed (RFC 5321 §4.1.1.1).
// discard are extensions to pass over. Malformed parameters are treated as absent.
func (f *Features) ehloLine(first bool, text []byte, discard Ext) {
	keyword, params, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if first {
		f.Name = string(smtpio.AppendPrintable(nil, []byte(keyword)))
		return
	}
	// "AUTH=LOGIN" is an old way to write "AUTH LOGIN".
	keyword, _, _ = strings.Cut(keyword, "=")
	bit := extensions[strings.ToUpper(keyword)]
	f.Ignored |= bit & discard
	bit &^= discard
	f.Ext |= bit
	if bit == ExtSIZE {
		n, err := strconv.ParseUint(strings.TrimSpace(params), 10, 63)
		if err != nil {
			n = 0
		}
		f.MaxSize = int64(n)
	}
	if bit == ExtXFORWARD {
		f.XForward = xforward.ParseSet(params)
	}
}

// DiscardList parses smtp_discard_ehlo_keywords. Keywords we do not use are fine.
func DiscardList(words []string) (set Ext, silent bool) {
	for _, w := range words {
		if strings.EqualFold(w, "silent-discard") {
			silent = true
		}
		set |= extensions[strings.ToUpper(w)]
	}
	return set, silent
}

// Names are the keywords of a set, in alphabetical order.
func (e Ext) Names() string {
	var list []string
	for name, bit := range extensions {
		if e&bit != 0 {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}
