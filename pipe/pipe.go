package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"sealpost/lib/agent"
	"sealpost/lib/command"
	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/service"
)

type settings struct {
	MailOwner  string   `conf:"mail_owner"`
	Delimiters string   `conf:"recipient_delimiter"`
	Export     []string `conf:"export_environment"`
}

// pipe delivers to one command.
type pipe struct {
	*attributes
	service    string
	id         *command.ID
	env        []string
	limit      time.Duration
	delimiters string
	now        func() time.Time
}

// initPipe never fails because of what master.cf says: mail for a service that
// cannot work is deferred with a reason, not left waiting for it.
func initPipe(env *service.Env) (agent.DeliverFunc, []string, error) {
	p, err := newPipe(env)
	if err != nil {
		env.Log.Warnf("%v", err)
		return (&unfit{env: env}).deliver, nil, nil
	}
	// A reload is no reason to kill a command that has its message already: it may
	// have delivered, and would get the message again.
	env.DrainTimeout = max(env.DrainTimeout, p.limit+afterCommand)
	return p.deliver, nil, nil
}

// afterCommand is the time to record what became of a message.
const afterCommand = 30 * time.Second

func newPipe(env *service.Env) (*pipe, error) {
	var set settings
	if err := env.Config.Decode(&set); err != nil {
		return nil, err
	}
	a, err := parseAttributes(env.Args)
	if err != nil {
		return nil, fmt.Errorf("master.cf: service %s: %w", env.ServiceName, err)
	}
	p := &pipe{
		attributes: a, service: env.ServiceName, delimiters: set.Delimiters, now: time.Now,
		env:   command.Environment(set.Export, os.LookupEnv),
		limit: env.Config.TransportTime(env.ServiceName, "_time_limit"),
	}
	if p.id, err = a.credentials(system, set.MailOwner, self()); err != nil {
		return nil, fmt.Errorf("master.cf: service %s: %w", env.ServiceName, err)
	}
	return p, nil
}

// unfit stands for a service that cannot work. It looks again with each request:
// a user may have been made since.
type unfit struct{ env *service.Env }

func (u *unfit) deliver(ctx context.Context, d *agent.Delivery) {
	p, err := newPipe(u.env)
	if err == nil {
		p.deliver(ctx, d)
		return
	}
	d.Log.Warnf("%s: %v", d.Req.QueueID, err)
	s := dsn.Status{Code: "4.3.5", Reason: "mail system configuration error"}
	d.HopStatus(s)
	for i := range d.Req.Recipients {
		d.Deferred(ctx, agent.Outcome{Recipient: &d.Req.Recipients[i], Relay: u.env.ServiceName, Stats: d.Req.Stats, Status: s})
	}
}

// deliver runs the command once for all recipients of the request: they share
// what becomes of it.
func (p *pipe) deliver(ctx context.Context, d *agent.Delivery) {
	status := p.attempt(ctx, d)
	for i := range d.Req.Recipients {
		o := agent.Outcome{Recipient: &d.Req.Recipients[i], Relay: p.service, Stats: d.Req.Stats, Status: status}
		switch status.Code[0] {
		case '2':
			d.Sent(ctx, o)
		case '5':
			d.Bounced(ctx, o)
		default:
			d.Deferred(ctx, o)
		}
	}
}

func (p *pipe) attempt(ctx context.Context, d *agent.Delivery) dsn.Status {
	if len(d.Req.Recipients) == 0 {
		return dsn.Status{Code: dsn.Code200}
	}
	if flag := p.single(); flag != "" && len(d.Req.Recipients) > 1 {
		d.Log.Warnf("%s: flag %s of pipe requires %s_destination_recipient_limit = 1", d.Req.QueueID, flag, p.service)
		return dsn.Status{Code: "4.3.5", Reason: "mail system configuration error"}
	}
	if p.sizeLimit > 0 && d.Req.DataSize > p.sizeLimit {
		return dsn.Status{Code: "5.2.3", Reason: "message too large"}
	}
	if d.Req.Flags&(mailproto.DeliverMTAVerify|mailproto.DeliverUserVerify) != 0 {
		return dsn.Status{Code: dsn.Code200, Reason: "delivers to command: " + p.command}
	}
	d.ReadsContent()
	l := &letter{attributes: p.attributes, req: d.Req, file: d.File, now: p.now()}
	if p.flags.deliveredTo {
		again, err := l.loops()
		if err != nil {
			return p.broken(d, err)
		}
		if again {
			return dsn.Status{Code: "5.4.6", Reason: "mail forwarding loop for " + d.Req.Recipients[0].Addr}
		}
	}
	return p.run(ctx, d, l)
}

// single is the flag that allows one recipient per request only.
func (p *pipe) single() string {
	switch {
	case p.flags.deliveredTo:
		return "D"
	case p.flags.originalTo:
		return "O"
	}
	return ""
}

func (p *pipe) run(ctx context.Context, d *agent.Delivery, l *letter) dsn.Status {
	x := expansion{req: d.Req, flags: &p.flags, nullSender: p.nullSender, delimiters: p.delimiters}
	c := command.Command{Argv: x.expand(p.argv), Env: p.env, Dir: p.dir, Chroot: p.chroot, User: p.id, Limit: p.limit}
	d.Log.Verbosef("%s: running %q", d.Req.QueueID, c.Argv)
	r, err := c.Run(ctx, l.copy)
	switch {
	case err != nil:
		return p.broken(d, err)
	case r.Failed():
		return r.Status(p.command)
	}
	s := dsn.Status{Code: dsn.Code200, Action: dsn.ActionRelayed, Reason: "delivered via " + p.service + " service"}
	if p.flags.final {
		s.Action = dsn.ActionDelivered
	}
	if text := shorten(r.Output); text != "" {
		s.Reason += " (" + text + ")"
	}
	return s
}

// broken is a fault of this system: the message waits until it is mended.
func (p *pipe) broken(d *agent.Delivery, err error) dsn.Status {
	d.Log.Warnf("%s: service %s: %v", d.Req.QueueID, p.service, err)
	switch {
	case errors.Is(err, command.ErrStart):
		return dsn.Status{Code: "4.3.0", Reason: "temporary failure. " + err.Error()}
	case errors.Is(err, command.ErrInterrupted):
		return dsn.Status{Code: "4.3.2", Reason: "delivery interrupted: the mail system is stopping"}
	}
	d.ReadsContent() // and this is what came of it
	return dsn.Status{Code: "4.3.0", Reason: "queue file read error"}
}

// successOutput is how many bytes of the output of a successful command are told.
const successOutput = 100

func shorten(output string) string {
	if len(output) > successOutput {
		output = strings.ToValidUTF8(output[:successOutput], "")
	}
	return strings.TrimRight(output, " ")
}
