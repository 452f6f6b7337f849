package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"sealpost/lib/mailproto"
)

// everyAttribute is XFORWARD as script.ehlo writes it.
const everyAttribute = "XFORWARD=NAME=ADDR=PROTO=HELO=SOURCE=PORT=IDENT"

var stranger = mailproto.ClientAttrs{LogName: "spike.example", LogAddr: "2001:db8::1", LogPort: "77", LogProto: "ESMTP",
	LogHelo: "he+lo", LogIdent: "ABC", RewriteContext: "remote"}

// forwards are the XFORWARD commands that the server saw.
func (s *server) forwards() string {
	var list []string
	for line := range strings.Lines(s.seen() + "\n") {
		if strings.HasPrefix(line, "XFORWARD") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.Join(list, "\n")
}

func TestXFORWARD(t *testing.T) {
	const both = "XFORWARD NAME=spike.example ADDR=IPv6:2001:db8::1 PORT=77\nXFORWARD PROTO=ESMTP HELO=he+2Blo IDENT=ABC SOURCE=REMOTE"
	for _, tc := range []struct {
		behaviour, program, ehlo, param string
		origin                          mailproto.ClientAttrs
		on                              map[string]string
		want                            string
		logged, outcome                 string
	}{
		{behaviour: "pipelined", ehlo: "PIPELINING " + everyAttribute, origin: stranger, want: both},
		{behaviour: "not pipelined", ehlo: everyAttribute, origin: stranger, want: both},
		{behaviour: "LMTP", program: "lmtp", ehlo: everyAttribute, origin: stranger, want: both},
		{behaviour: "only what the server takes", ehlo: "XFORWARD=NAME=FOO=ident", origin: stranger, want: "XFORWARD NAME=spike.example\nXFORWARD IDENT=ABC"},
		{behaviour: "not to a server that does not announce it", ehlo: "PIPELINING", origin: stranger},
		{behaviour: "not when it is off", ehlo: everyAttribute, param: "no", origin: stranger},
		{behaviour: "what is not known is left out", ehlo: everyAttribute, origin: mailproto.ClientAttrs{LogName: "unknown", LogAddr: "127.0.0.1", RewriteContext: "local"},
			want: "XFORWARD ADDR=127.0.0.1\nXFORWARD SOURCE=LOCAL"},
		{behaviour: "a message of sendmail", ehlo: "XFORWARD=NAME=ADDR=IDENT", origin: mailproto.ClientAttrs{RewriteContext: "local"}},
		{behaviour: "a refusal is a warning", ehlo: "PIPELINING " + everyAttribute, origin: stranger, want: both, on: map[string]string{"XFORWARD": "550 5.7.0 no"},
			logged: "said: 550 5.7.0 no (in reply to XFORWARD helo/protocol command)"},
		{behaviour: "421 is the end", ehlo: everyAttribute, origin: stranger, want: strings.Split(both, "\n")[0], on: map[string]string{"XFORWARD": "421 4.3.0 bye!close"},
			outcome: "said: 421 4.3.0 bye (in reply to XFORWARD name/address command)"},
		{behaviour: "a lost connection", ehlo: "PIPELINING " + everyAttribute, origin: stranger, want: strings.Split(both, "\n")[0], on: map[string]string{"XFORWARD": "!close"},
			outcome: "while sending XFORWARD"},
		{behaviour: "bytes that would break a command", ehlo: everyAttribute, origin: mailproto.ClientAttrs{LogHelo: "a\r\nQUIT", LogIdent: strings.Repeat("x", 300), RewriteContext: "remote"},
			want: "XFORWARD HELO=a+0D+0AQUIT IDENT=" + strings.Repeat("x", 255) + " SOURCE=REMOTE"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			if tc.program == "" {
				tc.program = "smtp"
			}
			if tc.param == "" {
				tc.param = "yes"
			}
			on := map[string]string{"XFORWARD": "250 2.0.0 ok"}
			for k, v := range tc.on {
				on[k] = v
			}
			s := serve(t, script{ehlo: tc.ehlo, on: on})
			f := newFixture(t, tc.program, map[string]string{tc.program + "_send_xforward_command": tc.param}, nil)
			req := request(s.nexthop(), "a@b.test")
			req.Client = tc.origin
			out := f.run(t, req)
			if got := s.forwards(); tc.behaviour == "a lost connection" && !strings.HasPrefix(got, tc.want) || tc.behaviour != "a lost connection" && got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			switch {
			case tc.outcome != "":
				if !strings.Contains(out.String(), "deferred 4.") || !strings.Contains(out.String(), tc.outcome) {
					t.Errorf("%s", out)
				}
			case out.String() != "a@b.test sent 2.0.0 250 2.0.0 queued":
				t.Errorf("%s", out)
			}
			if !strings.Contains(f.logged(), tc.logged) || tc.logged == "" && strings.Contains(f.logged(), "XFORWARD") && tc.outcome == "" {
				t.Errorf("log %s", f.logged())
			}
		})
	}
}

// TestXFORWARDForEachMessage: a connection that is used again says anew where its
// message came from; a cached one that died at XFORWARD is no failure.
func TestXFORWARDForEachMessage(t *testing.T) {
	s := serve(t, script{ehlo: "PIPELINING XFORWARD=IDENT", on: map[string]string{"XFORWARD": "250 ok"}})
	f := newFixture(t, "smtp", map[string]string{"smtp_send_xforward_command": "yes"}, nil)
	for _, id := range []string{"A", "B"} {
		req := cachingRequest(s.nexthop())
		req.Client.LogIdent = id
		if out := f.run(t, req); out.String() != "a@b.test sent 2.0.0 250 2.0.0 queued" {
			t.Errorf("%s: %s", id, out)
		}
	}
	if _, conns := s.count(); s.forwards() != "XFORWARD IDENT=A\nXFORWARD IDENT=B" || conns != 1 {
		t.Errorf("%d connections, %s", conns, s.forwards())
	}
	s.mu.Lock()
	s.open[0].Close()
	s.mu.Unlock()
	req := cachingRequest(s.nexthop())
	req.Client.LogIdent = "C"
	if out := f.run(t, req); out.String() != "a@b.test sent 2.0.0 250 2.0.0 queued" {
		t.Errorf("after the cached connection died: %s", out)
	}
	if _, conns := s.count(); conns != 2 {
		t.Errorf("%d connections", conns)
	}
}

// TestXFORWARDIsPipelined: MAIL FROM does not wait for the replies.
func TestXFORWARDIsPipelined(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		fmt.Fprint(c, "220 mx.test ESMTP\r\n")
		in.ReadString('\n')
		fmt.Fprint(c, "250-mx.test\r\n250-PIPELINING\r\n250 XFORWARD NAME IDENT\r\n")
		var before string
		for !strings.HasSuffix(before, "DATA\r\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			before += line
		}
		got <- before
	}()
	f := newFixture(t, "smtp", map[string]string{"smtp_send_xforward_command": "yes"}, nil)
	req := request("["+strings.Replace(ln.Addr().String(), ":", "]:", 1), "a@b.test")
	req.Client = stranger
	f.run(t, req)
	if all := <-got; all != "XFORWARD NAME=spike.example\r\nXFORWARD IDENT=ABC\r\nMAIL FROM:<from@a.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n" {
		t.Errorf("sent before the first reply: %q", all)
	}
}
