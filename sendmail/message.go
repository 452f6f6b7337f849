package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sealpost/lib/address"
	"sealpost/lib/queue"
	"sealpost/lib/record"
)

// maxText is where a long line is cut into partial records.
const maxText = 2048

// maxHeader bounds a recipient header that is read for -t, in bytes.
const maxHeader = 10 << 20

// recordWriter collects records and sends them in large pieces.
type recordWriter struct {
	w   io.Writer
	buf []byte
	err error
}

func (r *recordWriter) put(t record.Type, payload []byte) {
	r.buf = record.Append(r.buf, t, payload)
	if len(r.buf) >= 32<<10 {
		r.flush()
	}
}

func (r *recordWriter) str(t record.Type, s string) { r.put(t, []byte(s)) }

func (r *recordWriter) attr(name, value string) { r.str(record.Attr, name+"="+value) }

func (r *recordWriter) flush() error {
	if r.err == nil && len(r.buf) > 0 {
		_, r.err = r.w.Write(r.buf)
	}
	r.buf = r.buf[:0]
	return r.err
}

// text writes a line, in pieces where it is long.
func (r *recordWriter) text(line []byte) {
	for len(line) > maxText {
		r.put(record.Cont, line[:maxText])
		line = line[maxText:]
	}
	r.put(record.Norm, line)
}

// envelope writes the envelope records in the order of protocols.md §4.8.
func (o *options) envelope(w *recordWriter, fullName, sender string, rcpts []string) {
	if o.sendOpts != 0 {
		w.buf = queue.AppendSize(w.buf, queue.SizeRecord{
			ContentSize: -1, DataOffset: -1, Rcpts: -1, QmgrFlags: -1, ContentLen: -1, SendOpts: int(o.sendOpts),
		})
	}
	if o.envID != "" {
		w.attr("envelope_id", o.envID)
	}
	if o.ret != 0 {
		w.attr("ret_flags", fmt.Sprint(int(o.ret)))
	}
	rewrite := "local"
	if o.relay {
		rewrite = "remote"
	}
	w.attr("rewrite_context", rewrite)
	if fullName != "" {
		w.str(record.FullName, fullName)
	}
	w.str(record.From, sender)
	if o.encoding != "" {
		w.attr("encoding", o.encoding)
	}
	if flags := o.traceFlags(); flags != 0 {
		w.attr("trace_flags", fmt.Sprint(int(flags)))
	}
	if o.verp != "" {
		w.str(record.VERP, o.verp)
	}
	for _, rcpt := range rcpts {
		if o.notify != 0 {
			w.attr("notify_flags", fmt.Sprint(int(o.notify)))
		}
		w.str(record.Rcpt, rcpt)
	}
	w.put(record.Message, nil)
}

// message writes the whole submission. An error that is not the writer's is
// about the message.
func (o *options) message(w *recordWriter, fullName, sender string, rcpts []string, in io.Reader, fix fixEndings) error {
	o.envelope(w, fullName, sender, rcpts)
	var extra []string
	if o.mode == modeVerify {
		probe(w, sender, rcpts)
	} else {
		var err error
		if extra, err = o.content(w, in, fix); err != nil {
			return err
		}
	}
	if len(rcpts)+len(extra) == 0 {
		return usage("no recipient addresses found in message header")
	}
	w.put(record.Extracted, nil)
	for _, rcpt := range extra {
		if o.notify != 0 {
			w.attr("notify_flags", strconv.Itoa(int(o.notify)))
		}
		w.str(record.Rcpt, rcpt)
	}
	w.put(record.End, nil)
	return w.flush()
}

// probe writes the content of an address probe (-bv), which nobody will read.
func probe(w *recordWriter, sender string, rcpts []string) {
	w.str(record.Norm, "From: "+address.Quote(sender))
	w.str(record.Norm, "Subject: probe")
	w.str(record.Cont, "To:")
	for i, rcpt := range rcpts {
		comma := ","
		if i == len(rcpts)-1 {
			comma = ""
		}
		w.str(record.Norm, "\t"+address.Quote(rcpt)+comma)
	}
}

// fixEndings is sendmail_fix_line_endings.
type fixEndings string

// content copies the message and, with -t, collects the recipients of its header.
func (o *options) content(w *recordWriter, in io.Reader, fix fixEndings) ([]string, error) {
	var hdr headerReader
	br := bufio.NewReaderSize(in, 64<<10)
	strip := fix == "always"
	var line []byte
	begun := false // a line came that is not a mailbox separator
	for n := 0; ; n++ {
		var err error
		line, err = readLine(br, line[:0])
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("read message from standard input: %w", err)
		}
		if n == 0 && fix == "strict" {
			strip = bytes.HasSuffix(line, []byte{'\r'})
		}
		if strip {
			line = bytes.TrimSuffix(line, []byte{'\r'})
		}
		if begun = begun || !isSeparator(line); !begun {
			continue
		}
		if !o.dotOK && len(line) == 1 && line[0] == '.' {
			break
		}
		if o.fromHeader {
			if herr := hdr.line(line); herr != nil {
				return nil, herr
			}
		}
		w.text(line)
		if w.err != nil {
			return nil, w.err
		}
	}
	return hdr.recipients(), nil
}

// isSeparator reports whether a line is what mailbox files have before a message
// ("From sender date"). In front of the header it would end that.
func isSeparator(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From "))
}

// readLine appends a line without its newline to buf.
func readLine(br *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		part, err := br.ReadSlice('\n')
		buf = append(buf, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		return bytes.TrimSuffix(buf, []byte{'\n'}), err
	}
}

// headerReader watches the header go by and keeps its recipients. When a Resent-To:,
// Resent-Cc: or Resent-Bcc: header is there, only such ones count (RFC 5322 §3.6.6).
type headerReader struct {
	done    bool
	name    string // of the header being collected; empty: none
	value   strings.Builder
	resent  bool
	normal  []string
	resents []string
}

func (h *headerReader) line(line []byte) error {
	if h.done {
		return nil
	}
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		if h.name != "" {
			if h.value.Len()+len(line) > maxHeader {
				return fmt.Errorf("header %q is longer than %d bytes", h.name, maxHeader)
			}
			h.value.WriteByte(' ')
			h.value.Write(line)
		}
		return nil
	}
	h.end()
	name, value, ok := strings.Cut(string(line), ":")
	name = strings.ToLower(strings.TrimRight(name, " \t"))
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		// An empty line, or the body without one; a mailbox "From " line may come first.
		h.done = !bytes.HasPrefix(line, []byte("From ")) && !bytes.HasPrefix(line, []byte(">From "))
		return nil
	}
	switch strings.TrimPrefix(name, "resent-") {
	case "to", "cc", "bcc":
		h.resent = h.resent || strings.HasPrefix(name, "resent-")
		h.name = name
		h.value.WriteString(value)
	}
	return nil
}

func (h *headerReader) end() {
	if h.name == "" {
		return
	}
	list := address.ParseList(h.value.String())
	if strings.HasPrefix(h.name, "resent-") {
		h.resents = append(h.resents, list...)
	} else {
		h.normal = append(h.normal, list...)
	}
	h.name = ""
	h.value.Reset()
}

func (h *headerReader) recipients() []string {
	h.end()
	list := h.normal
	if h.resent {
		list = h.resents
	}
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, address.Unquote(a))
	}
	return out
}
