package main

import (
	"sealpost/lib/mailproto"
	"sealpost/lib/smtpclient"
	"sealpost/lib/xforward"
)

// xforwardGroups are the commands that tell a server where a message came from, with
// the names that they have in warnings.
var xforwardGroups = []struct {
	name  string
	attrs []xforward.Set
}{
	{"XFORWARD name/address", []xforward.Set{xforward.Name, xforward.Addr, xforward.Port}},
	{"XFORWARD helo/protocol", []xforward.Set{xforward.Proto, xforward.Helo, xforward.Ident, xforward.Source}},
}

// forward sends XFORWARD, where smtp_send_xforward_command wants that and the server
// takes it. To a server that pipelines, MAIL FROM follows in the same write, and the
// replies are those to the commands named in ahead.
func (t *transaction) forward() (ahead []string, f *smtpclient.Failure) {
	fe := &t.Facts.Features
	if !t.set.sendXForward || t.origin == nil || !fe.Has(smtpclient.ExtXFORWARD) {
		return nil, nil
	}
	v := forwardValues(t.origin)
	for _, group := range xforwardGroups {
		for _, command := range v.Commands(fe.XForward, false, group.attrs...) {
			t.Conn.WriteString(command)
			t.Conn.WriteString("\r\n")
			if fe.Has(smtpclient.ExtPipelining) {
				ahead = append(ahead, group.name)
			} else if f := t.forwarded(group.name); f != nil {
				return nil, f
			}
		}
	}
	return ahead, nil
}

// forwarded takes the reply to XFORWARD. It is about a log, so that a refusal is no
// reason not to send the message.
func (t *transaction) forwarded(command string) *smtpclient.Failure {
	t.Limit(t.set.xforwardTimeout)
	if err := t.Read(nil); err != nil {
		t.Broken = true
		return smtpclient.Broke(t.Host, err, "sending XFORWARD")
	}
	if t.Reply.Class() == 2 {
		return nil
	}
	f := smtpclient.Replied(smtpclient.Message, t.Host, &t.Reply, command)
	if f.Broken {
		return f
	}
	t.log.Warnf("%s: %s", t.queueID, f.Status.Reason)
	return nil
}

// forwardValues is what the queue file says about the origin of the message.
func forwardValues(c *mailproto.ClientAttrs) *xforward.Values {
	return &xforward.Values{Name: c.LogName, Addr: c.LogAddr, Port: c.LogPort, Proto: c.LogProto, Helo: c.LogHelo,
		Ident: c.LogIdent, Local: c.RewriteContext == "local"}
}
