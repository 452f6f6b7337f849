package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/confline"
	"sealpost/lib/mailproto"
)

// argument is one word of argv= with its macros.
type argument struct {
	parts []part
	// each: some macro is about a recipient, so the word stands for as many
	// arguments as there are recipients.
	each bool
}

// part is literal text, or a macro.
type part struct {
	text  string
	macro *macro
}

type macro struct {
	each  bool
	value func(x *expansion) string
}

// expansion is what macros are expanded with.
type expansion struct {
	req        *mailproto.DeliveryRequest
	rcpt       *mailproto.Recipient
	flags      *flags
	nullSender string
	delimiters string
}

var macros = map[string]*macro{
	"client_address":     {value: func(x *expansion) string { return x.req.Client.LogAddr }},
	"client_helo":        {value: func(x *expansion) string { return x.req.Client.LogHelo }},
	"client_hostname":    {value: func(x *expansion) string { return x.req.Client.LogName }},
	"client_port":        {value: func(x *expansion) string { return x.req.Client.LogPort }},
	"client_protocol":    {value: func(x *expansion) string { return x.req.Client.LogProto }},
	"domain":             {each: true, value: (*expansion).domain},
	"envid":              {value: func(x *expansion) string { return x.req.EnvelopeID }},
	"extension":          {each: true, value: func(x *expansion) string { _, ext := x.split(); return ext }},
	"mailbox":            {each: true, value: (*expansion).mailbox},
	"nexthop":            {value: func(x *expansion) string { return fold(x.req.Nexthop, x.flags.foldHost) }},
	"original_recipient": {each: true, value: func(x *expansion) string { return x.address(x.rcpt.OrigAddr) }},
	"queue_id":           {value: func(x *expansion) string { return x.req.QueueID }},
	"recipient":          {each: true, value: func(x *expansion) string { return x.address(x.rcpt.Addr) }},
	"sasl_method":        {value: func(x *expansion) string { return x.req.Client.SASLMethod }},
	"sasl_sender":        {value: func(x *expansion) string { return x.req.Client.SASLSender }},
	"sasl_username":      {value: func(x *expansion) string { return x.req.Client.SASLUsername }},
	"sender":             {value: (*expansion).sender},
	"size":               {value: func(x *expansion) string { return strconv.FormatInt(x.req.DataSize, 10) }},
	"user":               {each: true, value: func(x *expansion) string { user, _ := x.split(); return user }},
}

// parseArgument reads $name, ${name}, $(name) and $$.
func parseArgument(word string) (argument, error) {
	var a argument
	for {
		text, rest, found := strings.Cut(word, "$")
		if text != "" {
			a.parts = append(a.parts, part{text: text})
		}
		if !found {
			return a, nil
		}
		if strings.HasPrefix(rest, "$") {
			a.parts = append(a.parts, part{text: "$"})
			word = rest[1:]
			continue
		}
		name, after, err := macroName(rest)
		if err != nil {
			return a, err
		}
		m, ok := macros[name]
		if !ok {
			return a, fmt.Errorf("unknown macro name: %q", name)
		}
		a.parts = append(a.parts, part{macro: m})
		a.each = a.each || m.each
		word = after
	}
}

func macroName(text string) (name, rest string, err error) {
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "(") {
		n := confline.Balanced(text)
		if n < 0 {
			return "", "", fmt.Errorf("truncated macro reference: %q", "$"+text)
		}
		return text[1 : n-1], text[n:], nil
	}
	n := 0
	for n < len(text) && (text[n] == '_' || 'a' <= text[n]|0x20 && text[n]|0x20 <= 'z' || '0' <= text[n] && text[n] <= '9') {
		n++
	}
	if n == 0 {
		return "", "", errors.New("empty macro name; a $ is written $$")
	}
	return text[:n], text[n:], nil
}

// expand is the argument vector for all recipients of the request. Text that a
// macro stands for is not looked at again. An argument that comes out empty
// stays: the ones after it keep their places.
func (x *expansion) expand(argv []argument) []string {
	var out []string
	for _, a := range argv {
		if !a.each {
			out = append(out, x.one(a))
			continue
		}
		for i := range x.req.Recipients {
			x.rcpt = &x.req.Recipients[i]
			out = append(out, x.one(a))
		}
	}
	return out
}

func (x *expansion) one(a argument) string {
	var b strings.Builder
	for _, p := range a.parts {
		if p.macro != nil {
			b.WriteString(p.macro.value(x))
		} else {
			b.WriteString(p.text)
		}
	}
	// No argument can have a NUL; without this the command could not be started.
	return strings.ReplaceAll(b.String(), "\x00", "?")
}

// address is a recipient address as flags= asks for it.
func (x *expansion) address(addr string) string {
	local, domain := address.Split(addr)
	local = fold(local, x.flags.foldUser)
	if len(domain) > 0 || strings.HasSuffix(addr, "@") {
		local += "@" + fold(domain, x.flags.foldHost)
	}
	if x.flags.quote {
		return address.Quote(local)
	}
	return local
}

func (x *expansion) sender() string {
	sender := x.req.Sender
	if sender == "" {
		sender = x.nullSender
	}
	if x.flags.quote {
		return address.Quote(sender)
	}
	return sender
}

func (x *expansion) domain() string {
	_, domain := address.Split(x.rcpt.Addr)
	return fold(domain, x.flags.foldHost)
}

func (x *expansion) mailbox() string {
	local, _ := address.Split(x.rcpt.Addr)
	return fold(local, x.flags.foldUser)
}

func (x *expansion) split() (user, extension string) {
	return address.SplitExtension(x.mailbox(), x.delimiters)
}

func fold(s string, yes bool) string {
	if yes {
		return strings.ToLower(s)
	}
	return s
}
