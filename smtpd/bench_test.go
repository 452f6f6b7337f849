package main

import (
	"context"
	"strings"
	"testing"

	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

// nullQueue is a cleanup that forgets.
type nullQueue struct{ buf []byte }

func (q *nullQueue) QueueID() string { return "4A5299A8012" }
func (q *nullQueue) Record(t record.Type, payload []byte) {
	q.buf = record.Append(q.room(), t, payload)
}
func (q *nullQueue) RecordString(t record.Type, s string) { q.buf = record.Append(q.room(), t, s) }
func (q *nullQueue) Attr(name, value string)              { q.buf = record.AppendAttr(q.room(), name, value) }
func (q *nullQueue) Err() error                           { return nil }
func (q *nullQueue) Cancel()                              {}
func (q *nullQueue) Finish(context.Context) (mailproto.CleanupReply, error) {
	return mailproto.CleanupReply{}, nil
}

func (q *nullQueue) room() []byte {
	if len(q.buf) > 32<<10 {
		return q.buf[:0]
	}
	return q.buf
}

func benchmarkMessages(b *testing.B, size int, pipelined bool) {
	r := newRig(b)
	q := &nullQueue{}
	r.srv.openQueue = func(context.Context, mailproto.CleanupFlags) (queueWriter, error) { return q, nil }
	d := r.start()
	line := strings.Repeat("x", 68) + "\r\n"
	body := "Subject: test\r\n\r\n" + strings.Repeat(line, size/len(line)) + ".\r\n"
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if pipelined {
			d.send(mailA + "\r\n" + rcptBob + "\r\nDATA\r\n")
			d.reply()
			d.reply()
			d.reply()
		} else {
			d.say(mailA)
			d.say(rcptBob)
			d.say("DATA")
		}
		d.send(body)
		if got := d.reply(); !strings.HasPrefix(got, "250 ") {
			b.Fatal(got)
		}
		r.log.mu.Lock()
		r.log.b.Reset()
		r.log.mu.Unlock()
	}
}

func BenchmarkMessage5KB(b *testing.B)          { benchmarkMessages(b, 5<<10, false) }
func BenchmarkMessage5KBPipelined(b *testing.B) { benchmarkMessages(b, 5<<10, true) }
func BenchmarkMessage5MB(b *testing.B)          { benchmarkMessages(b, 5<<20, true) }
