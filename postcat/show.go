package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/header"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
)

// names are those of record types (requiretls.md §4.2). Types without one are shown as
// unknown.
var names = map[record.Type]string{
	record.Size: "message_size", record.Time: "message_arrival_time", record.CreateTime: "queue_file_create_time",
	record.FullName: "sender_fullname", record.Inspector: "content_inspector", record.Filter: "content_filter",
	record.From: "sender", record.Done: "done_recipient", record.Rcpt: "recipient", record.OrigRcpt: "original_recipient",
	record.CancelRcpt: "canceled_recipient", record.WarnTime: "warning_message_time", record.Attr: "named_attribute",
	record.Killed: "killed_record", record.Redirect: "redirect_to", record.Flags: "flags", record.Norm: "regular_text",
	record.ReturnRcpt: "return_receipt", record.ErrorsTo: "errors_to", record.Priority: "priority",
	record.VERP: "verp_delimiters", record.DSNRet: "dsn_return_flags", record.DSNEnvID: "dsn_envelope_id",
	record.DSNOrigRcpt: "dsn_original_recipient", record.DSNNotify: "dsn_notify_flags",
}

// errRead ends a file that was cut off or is damaged.
var errRead = errors.New("record read error")

// part of a file that is read.
type part int

const (
	inEnvelope part = iota
	inHeader
	inBody
	inExtracted
)

// view is one file on its way to the output.
type view struct {
	*options
	name   string
	out    *bufio.Writer
	errout io.Writer
	part   part
	joined bool // the line goes on: the record before was a piece
}

func (v *view) warnf(format string, args ...any) {
	fmt.Fprintf(v.errout, "postcat: warning: "+format+"\n", args...)
}

// show prints one file.
func (o *options) show(name string, f io.ReaderAt, out *bufio.Writer, errout io.Writer) error {
	v := &view{options: o, name: name, out: out, errout: errout}
	r := queue.NewReader(f, o.from)
	defer r.Release()
	r.Raw = o.raw
	for first := true; ; first = false {
		rec, err := r.Read()
		switch {
		case first && (err != nil || o.from == 0 && rec.Type != record.Size && rec.Type != record.Time):
			v.warnf("%s: input is not a valid queue file", name)
			return errRead
		case errors.Is(err, io.EOF):
			v.warnf("%s: no end of message marker", name)
			return errRead
		case err != nil:
			v.warnf("%s: %s", name, oneLine(err))
			return errRead
		}
		if first && v.envelope {
			fmt.Fprintf(out, "*** ENVELOPE RECORDS %s ***\n", name)
		}
		v.record(rec)
		if rec.Type == record.End {
			return nil
		}
	}
}

// record prints one record where its part is wanted.
func (v *view) record(rec queue.Rec) {
	switch rec.Type {
	case record.Message:
		v.marker(rec, "MESSAGE CONTENTS")
		v.part = inHeader
		return
	case record.Extracted:
		v.endLine()
		v.marker(rec, "HEADER EXTRACTED")
		v.part = inExtracted
		return
	case record.End:
		v.endLine()
		v.marker(rec, "MESSAGE FILE END")
		return
	}
	if v.part == inHeader || v.part == inBody {
		v.text(rec)
		return
	}
	if v.envelope {
		v.line(rec)
	}
}

func (v *view) marker(rec queue.Rec, what string) {
	if v.envelope {
		v.prefix(rec)
		fmt.Fprintf(v.out, "*** %s %s ***\n", what, v.name)
	}
}

// prefix is what -o and -d show of a record.
func (v *view) prefix(rec queue.Rec) {
	if v.offsets {
		fmt.Fprintf(v.out, "%9d ", rec.Offset)
	}
	if v.types {
		fmt.Fprintf(v.out, "%3d ", rec.Type)
	}
}

// text prints a line of the message, or a piece of one.
func (v *view) text(rec queue.Rec) {
	if rec.Type != record.Norm && rec.Type != record.Cont {
		if v.envelope {
			v.line(rec)
		}
		return
	}
	if v.part == inHeader && !v.joined && !isHeader(rec.Payload) {
		v.part = inBody
	}
	wanted := v.part == inHeader && v.header || v.part == inBody && v.body
	if wanted {
		if !v.joined {
			v.prefix(rec)
		}
		v.out.Write(rec.Payload)
		if rec.Type == record.Norm {
			v.out.WriteByte('\n')
		}
	}
	v.joined = rec.Type == record.Cont
}

// endLine ends a line that the file does not end.
func (v *view) endLine() {
	if v.joined && (v.part == inHeader && v.header || v.part == inBody && v.body) {
		v.out.WriteByte('\n')
	}
	v.joined = false
}

func isHeader(text []byte) bool {
	_, _, ok := header.Line(text)
	return ok || header.IsContinuation(text)
}

// line prints a record of the envelope.
func (v *view) line(rec queue.Rec) {
	v.prefix(rec)
	text := string(rec.Payload)
	switch rec.Type {
	case record.Time:
		fmt.Fprintf(v.out, "message_arrival_time: %s\n", date(text))
	case record.WarnTime:
		fmt.Fprintf(v.out, "warning_message_time: %s\n", date(text))
	case record.Attr:
		if value, ok := strings.CutPrefix(text, "create_time="); ok {
			fmt.Fprintf(v.out, "create_time: %s\n", date(value))
			return
		}
		fmt.Fprintf(v.out, "named_attribute: %s\n", text)
	case record.Size:
		fmt.Fprintf(v.out, "message_size: %s\n", text)
		v.size(text)
	default:
		name := names[rec.Type]
		if name == "" {
			name = "unknown_record_type"
		}
		fmt.Fprintf(v.out, "%s: %s\n", name, text)
	}
}

// size names the delivery options, and looks whether the record makes sense; in maildrop
// it has the options only.
func (v *view) size(text string) {
	s, err := queue.ParseSize(text)
	if err != nil {
		v.warnf("invalid size record: %s", text)
		return
	}
	if v.named {
		fmt.Fprintf(v.out, "sendopts: %s\n", sendopts.Options(s.SendOpts))
	}
	if s.ContentSize != -1 && s.Check() != nil {
		v.warnf("invalid size record: %s", text)
	}
}

// date is a time as Postfix shows it, in the local zone.
func date(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	n, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return "bad time: " + text
	}
	return time.Unix(n, 0).Format("Mon Jan _2 15:04:05 2006")
}
