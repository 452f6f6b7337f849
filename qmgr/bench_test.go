package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/record"
	"sealpost/lib/rewrite"
)

// BenchmarkMessages is the way of a message of 5 KB to one recipient through
// qmgr, with an agent that does nothing behind a real socket. The agent's part,
// and that of the files' creation, is small beside it.
func BenchmarkMessages(b *testing.B) {
	root := b.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "qmgr"); err == nil {
		root = shm
		b.Cleanup(func() { os.RemoveAll(shm) })
	}
	for _, d := range []string{"incoming", "active", "deferred", "corrupt", "bounce", "defer", "trace", "private"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	ln, err := net.Listen("unix", filepath.Join(root, "private", "smtp"))
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go benchAgent(ln)

	q := queue.New(root, queue.Settings{HashNames: []string{"deferred", "defer"}, HashDepth: 1})
	done := make(chan struct{}, 1)
	w := world{
		now: time.Now,
		resolve: func(_ context.Context, _, r string) (rewrite.Resolved, error) {
			return rewrite.Resolved{Transport: "smtp", Nexthop: "x.example", Recipient: r}, nil
		},
		dial: func(ctx context.Context, path string) (net.Conn, error) {
			return dialUnix(ctx, filepath.Join(root, path))
		},
		tokens: func(int) {},
	}
	m := newQmgr(testSettings(), func(string) transportSettings { return testTransport() }, w, q, nil)
	ctx, cancel := context.WithCancel(b.Context())
	finished := make(chan error, 1)
	go func() { finished <- m.run(ctx) }()

	file := benchMessage()
	for i := range b.N {
		if err := os.WriteFile(q.Path("incoming", fmt.Sprintf("%08X", i)), file, 0o700); err != nil {
			b.Fatal(err)
		}
	}
	go func() {
		for {
			n := 0
			for _, d := range []string{"incoming", "active"} {
				if err := q.Scan(d, func(queue.Entry) bool { n++; return false }); err != nil {
					b.Error(err)
				}
			}
			if n == 0 {
				close(done)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	b.ResetTimer()
	m.trigger(ctx, []byte("W"))
	<-done
	b.StopTimer()
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	cancel()
	if err := <-finished; err != nil {
		b.Error(err)
	}
}

func benchMessage() []byte {
	b := queue.AppendSize(nil, queue.SizeRecord{})
	b = record.Append(b, record.Time, fmt.Sprintf("%d 0", time.Now().Unix()))
	b = record.AppendAttr(b, "create_time", fmt.Sprint(time.Now().Unix()))
	b = record.AppendAttr(b, "rewrite_context", "local")
	b = record.Append(b, record.From, "sender@example.com")
	for _, a := range []string{"log_client_name=localhost", "log_client_address=127.0.0.1", "log_client_port=1234", "log_helo_name=client.example", "log_protocol_name=ESMTP"} {
		b = record.Append(b, record.Attr, a)
	}
	b = record.Append(b, record.OrigRcpt, "user@x.example")
	b = record.Append(b, record.Rcpt, "user@x.example")
	b = record.Append(b, record.Message, "")
	data := len(b)
	for range 70 {
		b = record.Append(b, record.Norm, "this is a line of seventy-two characters, which is what a mail often has")
	}
	end := len(b)
	b = record.Append(b, record.Extracted, "")
	b = record.Append(b, record.End, "")
	copy(b, queue.AppendSize(nil, queue.SizeRecord{ContentSize: int64(end - data), DataOffset: int64(data), Rcpts: 1}))
	return b
}

// benchAgent answers every request with success.
func benchAgent(ln net.Listener) {
	var greeting, reply attr.Encoder
	mailproto.Greeting{Protocol: mailproto.ProtoDelivery}.Append(&greeting)
	mailproto.DeliveryReply{}.Append(&reply)
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := c.Write(greeting.Bytes()); err != nil {
				return
			}
			if _, err := mailproto.ReadDeliveryRequest(attr.NewDecoder(bufio.NewReaderSize(c, 1024), attr.Strict)); err != nil {
				return
			}
			c.Write(reply.Bytes())
			io.Copy(io.Discard, c)
		}()
	}
}
