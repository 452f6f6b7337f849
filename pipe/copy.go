package main

import (
	"bytes"
	"io"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/header"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
)

// letter is a message in the form that the attributes ask for.
type letter struct {
	*attributes
	req  *mailproto.DeliveryRequest
	file io.ReaderAt
	now  time.Time
}

// copy writes the message. What w does with an error of its own is not looked
// at before the end: it says so on every later write.
func (l *letter) copy(w io.Writer) error {
	if err := l.head(w); err != nil {
		return err
	}
	c := queue.NewContent(l.file, l.req.DataOffset)
	defer c.Release()
	eol, start := []byte(l.eol), true
	for {
		text, more, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if start {
			if err := l.quote(w, text); err != nil {
				return err
			}
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		if start = !more; start {
			if _, err := w.Write(eol); err != nil {
				return err
			}
		}
	}
	ends := 0
	if !start {
		ends++
	}
	if l.flags.blankLine {
		ends++
	}
	_, err := w.Write(bytes.Repeat(eol, ends))
	return err
}

// quote protects the begin of a line.
func (l *letter) quote(w io.Writer, text []byte) error {
	mark := ""
	switch {
	case l.flags.dots && len(text) > 0 && text[0] == '.':
		mark = "."
	case l.flags.quoteFrom && bytes.HasPrefix(text, []byte("From ")):
		mark = ">"
	default:
		return nil
	}
	_, err := io.WriteString(w, mark)
	return err
}

// head writes the lines before the message. D and O are for requests of one
// recipient.
func (l *letter) head(w io.Writer) error {
	sender := l.req.Sender
	if sender == "" {
		sender = l.nullSender
	}
	sender = address.Header(sender)
	var lines []string
	if l.flags.fromLine {
		from := sender
		if from == "" {
			from = "MAILER-DAEMON" // no mailbox reader takes a line without a name
		}
		lines = append(lines, "From "+from+"  "+l.now.Format(time.ANSIC))
	}
	if l.flags.returnPath {
		lines = append(lines, "Return-Path: <"+sender+">")
	}
	rcpt := &l.req.Recipients[0]
	if l.flags.originalTo && rcpt.OrigAddr != "" {
		lines = append(lines, "X-Original-To: "+address.Header(rcpt.OrigAddr))
	}
	if l.flags.deliveredTo {
		lines = append(lines, "Delivered-To: "+address.Header(rcpt.Addr))
	}
	for _, line := range lines {
		if _, err := io.WriteString(w, line+l.eol); err != nil {
			return err
		}
	}
	return nil
}

// loops reports whether the message was delivered to the recipient before: then
// its header says so.
func (l *letter) loops() (bool, error) {
	want := address.Header(l.req.Recipients[0].Addr)
	c := queue.NewContent(l.file, l.req.DataOffset)
	defer c.Release()
	start := true
	for {
		text, more, err := c.Next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		first := start
		start = !more
		if !first || header.IsContinuation(text) {
			continue
		}
		name, value, ok := header.Line(text)
		if !ok {
			return false, nil
		}
		if bytes.EqualFold(text[:name], []byte("Delivered-To")) && address.EqualFold(string(header.Value(text[value:])), want) {
			return true, nil
		}
	}
}
