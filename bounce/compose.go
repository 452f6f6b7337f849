package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-message/textproto"

	"sealpost/lib/address"
	"sealpost/lib/header"
	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
)

// poster hands a new message to cleanup.
type poster interface {
	post(ctx context.Context, n *notice, r *report, compose func(w *lineWriter, newID string) error) (id string, err error)
}

type socketPoster struct{ set settings }

func (p socketPoster) post(ctx context.Context, n *notice, r *report, compose func(*lineWriter, string) error) (string, error) {
	flags := mailproto.CleanupInternal
	if n.sendOpts.Has(sendopts.SMTPUTF8Requested) {
		flags |= mailproto.CleanupSMTPUTF8
	}
	if n.sendOpts.Has(sendopts.RequireTLSESMTP) {
		flags |= mailproto.CleanupReqTLS
	}
	c, err := mailclient.PostMail(ctx, "public/"+p.set.CleanupService, mailclient.Post{
		Sender: r.sender, Recipient: r.recipient, Flags: flags,
		MyHostname: p.set.Hostname, MailName: p.set.MailName, Now: time.Now(),
	})
	if err != nil {
		return "", err
	}
	w := &lineWriter{record: c.Record}
	if err := compose(w, c.QueueID()); err != nil {
		c.Cancel()
		return "", err
	}
	w.close()
	c.Record(record.Extracted, nil)
	reply, err := c.Finish(ctx)
	if err != nil {
		return "", err
	}
	if reply.Status != mailproto.CleanupOK {
		return "", fmt.Errorf("%w: %s", errCleanup, reply.Status.Detail().Text)
	}
	return c.QueueID(), nil
}

// lineWriter turns text with CRLF or LF line ends into content records.
type lineWriter struct {
	record func(t record.Type, payload []byte)
	rest   []byte
}

// maxLine is where a long line is cut into partial records, as cleanup does.
const maxLine = 2048

func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		line := b
		if i >= 0 {
			line = b[:i]
		}
		w.rest = append(w.rest, line...)
		for len(w.rest) > maxLine {
			w.record(record.Cont, w.rest[:maxLine])
			w.rest = append(w.rest[:0], w.rest[maxLine:]...)
		}
		if i < 0 {
			break
		}
		w.record(record.Norm, bytes.TrimSuffix(w.rest, []byte{'\r'}))
		w.rest = w.rest[:0]
		b = b[i+1:]
	}
	return n, nil
}

func (w *lineWriter) close() {
	if len(w.rest) > 0 {
		w.record(record.Norm, w.rest)
		w.rest = nil
	}
}

// compose writes the header and the three parts of RFC 3462.
func (b *bouncer) compose(w io.Writer, n *notice, r *report) error {
	now := b.now()
	boundary := fmt.Sprintf("%s.%d/%s", n.req.QueueID, now.Unix(), b.set.Hostname)
	if err := textproto.WriteHeader(w, b.messageHeader(n, r, boundary)); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "This is a MIME-encapsulated message.\r\n\r\n"); err != nil {
		return err
	}
	mw := textproto.NewMultipartWriter(w)
	if err := mw.SetBoundary(boundary); err != nil {
		return err
	}
	if err := b.notificationPart(mw, n, r); err != nil {
		return err
	}
	if err := b.statusPart(mw, n, r); err != nil {
		return err
	}
	if err := b.messagePart(mw, n, r); err != nil {
		return err
	}
	return mw.Close()
}

// rawHeader builds a header in the given order; every line was made here or is
// free of line breaks. (A textproto header grows at its top.)
func rawHeader(lines ...string) textproto.Header {
	var h textproto.Header
	for i := len(lines) - 1; i >= 0; i-- {
		if lines[i] != "" {
			h.AddRaw([]byte(lines[i] + "\r\n"))
		}
	}
	return h
}

func (b *bouncer) messageHeader(n *notice, r *report, boundary string) textproto.Header {
	subject := r.template.subject
	auto := "auto-replied"
	if r.copyOf {
		subject = r.template.postmasterSubject
		auto = "auto-generated"
	}
	lines := []string{
		"From: " + r.template.from,
		"Subject: " + subject,
		"To: " + oneLine(address.Quote(r.recipient)),
	}
	if b.set.Threaded && n.msg != nil && n.msg.MessageID != "" {
		id := oneLine(n.msg.MessageID)
		lines = append(lines, "References: "+id, "In-Reply-To: "+id)
	}
	if b.set.TLSRequired && n.sendOpts.Has(sendopts.RequireTLSHeader) {
		lines = append(lines, "TLS-Required: no") // RFC 8689 §5
	}
	lines = append(lines,
		"Auto-Submitted: "+auto,
		"MIME-Version: 1.0",
		"Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\""+boundary+"\"",
		"Content-Transfer-Encoding: 8bit",
	)
	return rawHeader(lines...)
}

func (b *bouncer) notificationPart(mw *textproto.MultipartWriter, n *notice, r *report) error {
	w, err := mw.CreatePart(rawHeader(
		"Content-Description: Notification",
		"Content-Type: text/plain; charset="+r.template.charset,
		"Content-Transfer-Encoding: 8bit",
	))
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(w)
	if !r.copyOf {
		for _, line := range r.template.text {
			bw.WriteString(line + "\r\n")
		}
	}
	for _, rec := range r.rcpts {
		text := "<" + address.Quote(rec.Recipient.Addr) + ">"
		if orig := rec.Recipient.OrigAddr; orig != "" && !address.EqualFold(orig, rec.Recipient.Addr) {
			text += " (expanded from <" + address.Quote(orig) + ">)"
		}
		bw.WriteString("\r\n")
		writeWrapped(bw, text+": "+rec.Status.Reason)
	}
	return bw.Flush()
}

// statusPart is the report for programs (RFC 3464; RFC 6533 with SMTPUTF8).
func (b *bouncer) statusPart(mw *textproto.MultipartWriter, n *notice, r *report) error {
	h := []string{"Content-Description: Delivery report", "Content-Type: message/delivery-status"}
	if n.sendOpts.Has(sendopts.SMTPUTF8Requested) {
		h[1] = "Content-Type: message/global-delivery-status"
		h = append(h, "Content-Transfer-Encoding: 8bit")
	}
	w, err := mw.CreatePart(rawHeader(h...))
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(w)
	field := func(name, value string) { writeWrapped(bw, name+": "+value) }
	field("Reporting-MTA", "dns; "+b.set.Hostname)
	if n.req.EnvelopeID != "" {
		field("Original-Envelope-Id", n.req.EnvelopeID)
	}
	field("X-"+b.set.MailName+"-Queue-ID", n.req.QueueID)
	field("X-"+b.set.MailName+"-Sender", addrType(n.sendOpts, n.sender)+"; "+address.Quote(n.sender))
	if n.msg != nil {
		field("Arrival-Date", header.Date(n.msg.Arrival))
	}
	for _, rec := range r.rcpts {
		bw.WriteString("\r\n")
		b.recipientFields(field, n, r, rec)
	}
	return bw.Flush()
}

func (b *bouncer) recipientFields(field func(name, value string), n *notice, r *report, rec queue.StatusRecord) {
	addr, st := rec.Recipient, rec.Status
	field("Final-Recipient", addrType(n.sendOpts, addr.Addr)+"; "+address.Quote(addr.Addr))
	switch {
	case addr.OrigRcpt != "":
		field("Original-Recipient", addr.OrigRcpt)
	case addr.OrigAddr != "":
		field("Original-Recipient", addrType(n.sendOpts, addr.OrigAddr)+";"+address.Quote(addr.OrigAddr))
	}
	field("Action", st.Action)
	field("Status", st.Code)
	if st.MTAType != "" && st.MTAName != "" {
		field("Remote-MTA", st.MTAType+"; "+st.MTAName)
	}
	if st.DiagType != "" && st.DiagText != "" {
		field("Diagnostic-Code", st.DiagType+"; "+st.DiagText)
	} else {
		field("Diagnostic-Code", "X-"+b.set.MailName+"; "+st.Reason)
	}
	if r.retry && n.msg != nil {
		field("Will-Retry-Until", header.Date(n.msg.CreateTime.Add(b.set.QueueLifetime)))
	}
}

// addrType is the address type of RFC 3461, or RFC 6533's for addresses that
// need it.
func addrType(o sendopts.Options, addr string) string {
	if o&sendopts.SMTPUTF8Any != 0 && !isASCII(addr) {
		return "utf-8"
	}
	return "rfc822"
}

// messagePart returns the message, or its headers.
func (b *bouncer) messagePart(mw *textproto.MultipartWriter, n *notice, r *report) error {
	full := r.full && !n.redacted && n.msg != nil && (b.set.SizeLimit == 0 || n.msg.DataSize <= int64(b.set.SizeLimit))
	what, kind := "Undelivered Message", "message/rfc822"
	if r.template.delivered {
		what = "Message"
	}
	global := n.sendOpts.Has(sendopts.SMTPUTF8Requested)
	switch {
	case full && global:
		kind = "message/global"
	case !full && global:
		kind = "message/global-headers"
	case !full:
		kind = "text/rfc822-headers"
	}
	if !full {
		what += " Headers"
	}
	encoding := "8bit"
	if n.req.Encoding == "7bit" {
		encoding = "7bit"
	}
	w, err := mw.CreatePart(rawHeader("Content-Description: "+what, "Content-Type: "+kind, "Content-Transfer-Encoding: "+encoding))
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(w)
	bw.WriteString("Return-Path: <" + oneLine(address.Quote(n.sender)) + ">\r\n")
	if n.msg != nil {
		if err := copyOriginal(bw, n, full); err != nil {
			// What was copied so far is better than no notification.
			n.log.Warnf("%s: cannot copy all of the message into its notification: %v", n.req.QueueID, err)
		}
	}
	return bw.Flush()
}

func copyOriginal(bw *bufio.Writer, n *notice, full bool) error {
	c := queue.NewContent(n.file, n.msg.DataOffset)
	start, first := true, true
	for {
		text, more, err := c.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if start && !full && !isHeaderLine(text, first) {
			return nil
		}
		bw.Write(text)
		if !more {
			bw.WriteString("\r\n")
		}
		start, first = !more, false
	}
}

// isHeaderLine reports whether a line belongs to the header: a field or, after
// the first one, its continuation.
func isHeaderLine(line []byte, first bool) bool {
	if len(line) == 0 {
		return false
	}
	if line[0] == ' ' || line[0] == '\t' {
		return !first
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false
	}
	name := bytes.TrimRight(line[:colon], " \t")
	return len(name) > 0 && bytes.IndexFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// wrapColumn is the longest line of folded text.
const wrapColumn = 79

// writeWrapped writes text, broken at blanks, with continuation lines indented
// by four. Control characters become "?": the text has replies of other hosts.
func writeWrapped(bw *bufio.Writer, text string) {
	text = printable(text)
	width, indent := wrapColumn, ""
	for {
		text = strings.TrimLeft(text, " ")
		line := text
		if len(line) > width {
			cut := strings.LastIndexByte(line[:width+1], ' ')
			if cut <= 0 {
				if cut = strings.IndexByte(line, ' '); cut < 0 {
					cut = len(line)
				}
			}
			line = line[:cut]
		}
		bw.WriteString(indent + strings.TrimRight(line, " ") + "\r\n")
		if text = text[len(line):]; strings.TrimLeft(text, " ") == "" {
			return
		}
		width, indent = wrapColumn-4, "    "
	}
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func oneLine(s string) string { return printable(s) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
