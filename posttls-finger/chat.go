package main

import (
	"bytes"
	"context"
	"net"

	"sealpost/lib/smtpio"
	"sealpost/lib/tlsconn"
	"sealpost/lib/tlspolicy"
)

// chat prints the lines that go over a connection: "> " ours, "< " the server's.
type chat struct {
	net.Conn
	print         func(format string, args ...any)
	sent, arrived []byte // the beginning of a line
}

// maxChat bounds a line that is printed.
const maxChat = 2048

// Read implements net.Conn.
func (c *chat) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.arrived = c.lines("< ", append(c.arrived, b[:n]...))
	return n, err
}

// Write implements net.Conn.
func (c *chat) Write(b []byte) (int, error) {
	c.sent = c.lines("> ", append(c.sent, b...))
	return c.Conn.Write(b)
}

func (c *chat) lines(mark string, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return b[:min(len(b), maxChat)]
		}
		line := bytes.TrimSuffix(b[:i], []byte("\r"))
		c.print("%s%s", mark, smtpio.AppendPrintable(nil, line[:min(len(line), maxChat)]))
		b = b[i+1:]
	}
}

// listening makes handshakes on the connection below the chat, and listens on
// inside TLS.
type listening struct{ f *finger }

// Handshake implements hop.Engine.
func (l listening) Handshake(ctx context.Context, nc net.Conn, p *tlspolicy.Policy, peer string) (net.Conn, tlsconn.Facts, error) {
	c, ok := nc.(*chat)
	if !ok {
		return l.f.engine.Handshake(ctx, nc, p, peer)
	}
	secret, facts, err := l.f.engine.Handshake(ctx, c.Conn, p, peer)
	if err != nil {
		return nil, facts, err
	}
	return &chat{Conn: secret, print: c.print}, facts, nil
}
