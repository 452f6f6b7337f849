package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"sealpost/lib/agent"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
)

// sink is the least that takes mail: it looks at the first letter of a command.
func sink(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	w := bufio.NewWriter(c)
	w.WriteString("220 sink ESMTP\r\n")
	for {
		if r.Buffered() == 0 {
			w.Flush()
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch line[0] {
		case 'E':
			w.WriteString("250-sink\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250 DSN\r\n")
		case 'D':
			w.WriteString("354 go\r\n")
			w.Flush()
			for !bytes.Equal(line, []byte(".\r\n")) {
				if line, err = r.ReadSlice('\n'); err != nil {
					return
				}
			}
			w.WriteString("250 2.0.0 Ok\r\n")
		case 'Q':
			return
		default:
			w.WriteString("250 2.1.0 Ok\r\n")
		}
	}
}

// count takes outcomes and keeps none.
type count struct{ sent, other int }

func (c *count) Sent(context.Context, agent.Outcome)     { c.sent++ }
func (c *count) Bounced(context.Context, agent.Outcome)  { c.other++ }
func (c *count) Deferred(context.Context, agent.Outcome) { c.other++ }
func (c *count) Pass(context.Context, *mailproto.Recipient, string, string) {
	c.other++
}
func (c *count) HopStatus(dsn.Status) {}

// same gives one line n times, without allocations.
type same struct {
	line []byte
	n    int
}

func (s *same) Next() ([]byte, bool, error) {
	if s.n == 0 {
		return nil, false, io.EOF
	}
	s.n--
	return s.line, false, nil
}

// BenchmarkDeliver is one 5 KB message over a connection that is used again.
func BenchmarkDeliver(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go sink(c)
		}
	}()
	f := newFixture(b, "smtp", nil, nil)
	req := cachingRequest("[" + "127.0.0.1" + "]:" + ln.Addr().String()[len("127.0.0.1:"):])
	req.DataSize = 5 << 10
	line := bytes.Repeat([]byte("x"), 70)
	out := &count{}
	b.ReportAllocs()
	b.SetBytes(5 << 10)
	for b.Loop() {
		f.deliver(context.Background(), job{req: req, out: out, data: func() content { return &same{line, 72} }})
	}
	if out.other > 0 {
		b.Fatalf("%d not sent", out.other)
	}
}
