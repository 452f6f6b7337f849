package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	udpSize = 1232 // advertised with EDNS0: no fragments on any common path
	maxUDP  = 4096 // read buffer: servers that ignore what we advertise
)

var (
	errQuestion = errors.New("reply to another question")
	errServer   = errors.New("server failure")
)

// ask sends the question to the servers until one answers it with NOERROR or
// NXDOMAIN. The error is the last server's.
func (c *client) ask(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	var last error
	for range c.attempts {
		for _, server := range c.servers {
			if err := ctx.Err(); err != nil {
				return nil, errors.Join(last, err)
			}
			reply, err := c.askServer(ctx, server, name, qtype)
			if err == nil {
				return reply, nil
			}
			last = fmt.Errorf("name server %s: %w", server, err)
		}
	}
	return nil, last
}

func (c *client) askServer(ctx context.Context, server netip.AddrPort, name string, qtype uint16) (*dns.Msg, error) {
	query := c.query(name, qtype, true)
	reply, err := c.exchange(ctx, server, query)
	if err == nil && reply.Rcode == dns.RcodeFormatError || err == nil && reply.Rcode == dns.RcodeNotImplemented {
		// A server that does not know EDNS0 (RFC 6891 §7).
		query = c.query(name, qtype, false)
		reply, err = c.exchange(ctx, server, query)
	}
	if err != nil {
		return nil, err
	}
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("%w: %s", errServer, dns.RcodeToString[reply.Rcode])
	}
	return reply, nil
}

func (c *client) query(name string, qtype uint16, edns bool) *dns.Msg {
	m := &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: uint16(rand.Uint32()), RecursionDesired: true, AuthenticatedData: true},
		Question: []dns.Question{{Name: canonical(name), Qtype: qtype, Qclass: dns.ClassINET}},
	}
	if edns {
		m.SetEdns0(udpSize, c.dnssec)
	}
	return m
}

// exchange asks over UDP and, when the answer was cut, over TCP.
func (c *client) exchange(ctx context.Context, server netip.AddrPort, query *dns.Msg) (*dns.Msg, error) {
	reply, err := c.roundTrip(ctx, "udp", server, query)
	if err != nil || !reply.Truncated {
		return reply, err
	}
	reply, err = c.roundTrip(ctx, "tcp", server, query)
	if err == nil && reply.Truncated {
		return nil, fmt.Errorf("%w: truncated over TCP", errServer)
	}
	return reply, err
}

// roundTrip uses a socket of its own, so that the port is the kernel's random
// choice; it is connected, so that only the server's datagrams arrive.
func (c *client) roundTrip(ctx context.Context, network string, server netip.AddrPort, query *dns.Msg) (*dns.Msg, error) {
	packet, err := query.Pack()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(c.timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return tcpRoundTrip(conn, packet, query)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	buf := make([]byte, maxUDP)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		// A forged or late datagram must not end the wait for the right one.
		if reply, err := parseReply(buf[:n], query); err == nil {
			return reply, nil
		} else if !errors.Is(err, errQuestion) {
			return nil, err
		}
	}
}

func tcpRoundTrip(conn net.Conn, packet []byte, query *dns.Msg) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(packet)), uint16(len(packet)))
	if _, err := conn.Write(append(framed, packet...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	return parseReply(buf, query)
}

// parseReply takes a reply whose id and question are those of query. A truncated
// reply may end in the middle of a record.
func parseReply(packet []byte, query *dns.Msg) (*dns.Msg, error) {
	if len(packet) < 12 || binary.BigEndian.Uint16(packet) != query.Id || packet[2]&0x80 == 0 {
		return nil, errQuestion
	}
	reply := new(dns.Msg)
	err := reply.Unpack(packet)
	if len(reply.Question) != 1 {
		if rcode := int(packet[3] & 0x0f); rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented {
			// Servers without EDNS0 may leave the question out.
			return &dns.Msg{MsgHdr: dns.MsgHdr{Id: query.Id, Response: true, Rcode: rcode}}, nil
		}
		return nil, errQuestion
	}
	got, want := reply.Question[0], query.Question[0]
	if got.Qtype != want.Qtype || got.Qclass != want.Qclass || !strings.EqualFold(got.Name, want.Name) {
		return nil, errQuestion
	}
	if err != nil && !reply.Truncated {
		return nil, fmt.Errorf("%w: %w", errServer, err)
	}
	return reply, nil
}
