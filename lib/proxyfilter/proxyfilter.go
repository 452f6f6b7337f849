// Package proxyfilter is the SMTP server's connection to a content filter before the
// queue (smtpd_proxy_filter): one message goes over it while its client waits.
//
//	connect → greeting → EHLO → XFORWARD → MAIL → RCPT … → DATA → content → "." → QUIT
//
// Dial comes as far as XFORWARD; commands of the client are passed on by Command, byte
// for byte; Data gives the writer of the content, which ends lines, stuffs dots and may
// add a header (Require-TLS-ESMTP, requiretls.md §2.5); Finish takes the filter's word on
// the message. Nothing is pipelined: filters are simple servers.
//
// Errors: *Refused is what a filter that says no said, whose reply may go to the client;
// all other errors are about the connection, which is then of no use. Their texts are
// for the log and never for the client.
//
// protocols.md §5.2; security-cases.md §2.A and §2.B hold for this hop.
package proxyfilter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/smtpclient"
	"sealpost/lib/smtpio"
	"sealpost/lib/xforward"
)

// Filter is where a filter listens and how to talk to it.
type Filter struct {
	// Text is the filter as smtpd_proxy_filter names it, for the log.
	Text    string
	Hello   string        // what EHLO says
	Timeout time.Duration // of the connection, and of each read and write

	network, addr string
}

// Parse reads the value of smtpd_proxy_filter: host:port, inet:host:port or unix:path.
// Without host the filter is on this machine. The path is relative to the working
// directory, the queue.
func Parse(spec string) (Filter, error) {
	f := Filter{Text: spec, network: "tcp"}
	if path, ok := strings.CutPrefix(spec, "unix:"); ok && path != "" {
		f.network, f.addr = "unix", path
		return f, nil
	}
	rest := strings.TrimPrefix(spec, "inet:")
	if !strings.Contains(rest, ":") {
		rest = ":" + rest
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil || port == "" || strings.ContainsAny(spec, " \t,") {
		return f, fmt.Errorf("bad endpoint %q; specify host:port, inet:host:port or unix:path", spec)
	}
	if strings.EqualFold(host, "localhost") {
		host = "" // the same, without asking anybody
	}
	f.addr = net.JoinHostPort(host, port)
	return f, nil
}

// Reply is what the filter answered, in printable form.
type Reply struct {
	Code  int
	Lines []string // without codes; at least one
}

// Class is the first digit of the code.
func (r *Reply) Class() int { return r.Code / 100 }

// Text is the reply as it goes to the client, without the last line ending. All lines
// have the code of the last one.
func (r *Reply) Text() string { return r.join("\r\n") }

// Log is the reply as Postfix logs it: a line ending is "??".
func (r *Reply) Log() string { return r.join("??") }

func (r *Reply) join(ending string) string {
	var b strings.Builder
	code := strconv.Itoa(r.Code)
	for i, line := range r.Lines {
		b.WriteString(code)
		switch {
		case i < len(r.Lines)-1:
			b.WriteString("-" + line + ending)
		case line != "":
			b.WriteString(" " + line)
		}
	}
	return b.String()
}

// Refused is a command that the filter did not take.
type Refused struct {
	Filter, Command string
	Reply           Reply
	// Own: it is not the client's command, which learns nothing about it.
	Own bool
}

func (e *Refused) Error() string {
	return fmt.Sprintf("proxy %s rejected \"%s\": \"%s\"", e.Filter, e.Command, e.Reply.Log())
}

// Conn is a connection to a filter. One goroutine uses it.
type Conn struct {
	filter  *Filter
	c       *smtpio.Conn
	stop    func() bool // of watching the context
	broken  bool        // or within content: QUIT would be taken for text
	content *Content
}

// Dial connects and says who we are and where the message is from. A refusal is
// *Refused with Own. The connection is closed when ctx ends.
func (f *Filter) Dial(ctx context.Context, origin *xforward.Values) (*Conn, error) {
	dial, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(dial, f.network, f.addr)
	if err != nil {
		return nil, &fault{"connect to proxy filter " + f.Text + ": " + smtpclient.ErrorText(err), err}
	}
	c := &Conn{filter: f, c: smtpio.NewConn(nc), stop: context.AfterFunc(ctx, func() { nc.Close() })}
	if err := c.open(origin); err != nil {
		c.Close()
		var refused *Refused
		if errors.As(err, &refused) {
			refused.Own = true
		}
		return nil, err
	}
	return c, nil
}

// open takes a new connection to the point where mail may be offered.
func (c *Conn) open(origin *xforward.Values) error {
	if err := c.expect("connection request", 2, nil); err != nil {
		return err
	}
	var offered xforward.Set
	c.write("EHLO " + c.filter.Hello)
	err := c.expect("EHLO "+c.filter.Hello, 2, func(text []byte) {
		if keyword, params, _ := strings.Cut(string(text), " "); strings.EqualFold(keyword, "XFORWARD") {
			offered |= xforward.ParseSet(params)
		}
	})
	if err != nil {
		return err
	}
	for _, command := range origin.Commands(offered, true, xforward.Name, xforward.Addr, xforward.Port,
		xforward.Helo, xforward.Ident, xforward.Proto, xforward.Source) {
		if err := c.command(command, 2); err != nil {
			return err
		}
	}
	return nil
}

// Command passes a command line of the client on, without its ending. Whatever the
// filter says that is not 2xx is *Refused.
func (c *Conn) Command(line string) error { return c.command(line, 2) }

func (c *Conn) command(line string, class int) error {
	if strings.ContainsAny(line, "\r\n\x00") {
		panic("proxyfilter: a line ending inside a command")
	}
	c.write(line)
	return c.expect(line, class, nil)
}

func (c *Conn) write(line string) {
	c.c.WriteString(line)
	c.c.WriteString("\r\n")
}

// expect reads a reply that is to be of a class.
func (c *Conn) expect(command string, class int, line func([]byte)) error {
	reply, err := c.read(line)
	if err != nil {
		return err
	}
	if reply.Class() != class {
		return &Refused{Filter: c.filter.Text, Command: command, Reply: reply}
	}
	return nil
}

func (c *Conn) read(line func([]byte)) (Reply, error) {
	c.limit()
	var r smtpio.Reply
	var reply Reply
	err := c.c.ReadReply(&r, func(text []byte) {
		if line != nil {
			line(text)
		}
		reply.Lines = append(reply.Lines, string(smtpio.AppendPrintable(nil, text)))
	})
	if err != nil {
		return reply, c.fault(err)
	}
	reply.Code = r.Code
	c.broken = c.broken || r.Code == 421
	return reply, nil
}

// limit is the time for what follows: of each read and write, and twice that for all
// of a reply, so that single bytes do not make it last for ever.
func (c *Conn) limit() {
	c.c.SetTimeout(c.filter.Timeout)
	c.c.SetDeadline(time.Now().Add(2*c.filter.Timeout), 0)
}

// Data says DATA and gives the writer of the content. With header that line is added
// to the end of the message's header, if the header has no such request already
// (decision 4).
func (c *Conn) Data(header bool) (*Content, error) {
	if err := c.command("DATA", 3); err != nil {
		return nil, err
	}
	c.broken = true // until the final dot QUIT would be text
	c.content = &Content{conn: c, out: smtpio.NewDotWriter(c.c, 0), request: requestScanner{on: header}}
	c.content.out.Flush = c.content.flush
	return c.content, nil
}

// flush sends content that was gathered.
func (c *Conn) flush() error {
	c.c.SetTimeout(c.filter.Timeout)
	c.c.SetDeadline(time.Time{}, 0)
	return c.c.Flush()
}

// Close ends the connection: with QUIT, to which no answer is waited for, unless it
// broke or is in the middle of a message, which the filter must then not take.
func (c *Conn) Close() {
	if !c.broken {
		c.write("QUIT")
		c.c.SetTimeout(time.Second)
		c.c.SetDeadline(time.Time{}, 0)
		_ = c.c.Flush() // it is given up either way
	}
	c.stop()
	_ = c.c.Close()
	c.c.Release()
}

// fault makes an error of the connection, which is then of no use.
func (c *Conn) fault(err error) error {
	c.broken = true
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &fault{"timeout talking to proxy " + c.filter.Text, err}
	case errors.Is(err, smtpio.ErrReply):
		return &fault{"received garbage from proxy " + c.filter.Text + ": " + err.Error(), err}
	}
	return &fault{"lost connection with proxy " + c.filter.Text, err}
}

// fault is an error of the connection, in Postfix's words.
type fault struct {
	what string
	err  error
}

func (e *fault) Error() string { return e.what }
func (e *fault) Unwrap() error { return e.err }
