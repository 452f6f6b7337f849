package main

import (
	"context"
	"os"
	"path/filepath"

	"sealpost/lib/agent"
	"sealpost/lib/dsn"
	"sealpost/lib/service"
)

func main() {
	program := filepath.Base(os.Args[0])
	if program != "discard" {
		program = "error"
	}
	agent.Main(service.Spec{Program: program}, func(env *service.Env) (agent.DeliverFunc, []string, error) {
		return deliverFor(program, env.ServiceName), nil, nil
	})
}

// deliverFor chooses what a service does by its name in master.cf.
func deliverFor(program, serviceName string) agent.DeliverFunc {
	switch {
	case program == "discard" || serviceName == "discard":
		return func(ctx context.Context, d *agent.Delivery) {
			each(d, dsn.Code200, func(o agent.Outcome) { d.Sent(ctx, o) })
		}
	case serviceName == "retry":
		return func(ctx context.Context, d *agent.Delivery) {
			each(d, dsn.Code400, func(o agent.Outcome) { d.Deferred(ctx, o) })
		}
	}
	return func(ctx context.Context, d *agent.Delivery) {
		each(d, dsn.Code500, func(o agent.Outcome) { d.Bounced(ctx, o) })
	}
}

// each records the request's reason for every recipient. The class of the status
// code follows the service, not the text: error:4.x.x still bounces.
func each(d *agent.Delivery, defaultCode string, record func(agent.Outcome)) {
	code, reason := dsn.SplitCode(defaultCode, d.Req.Nexthop)
	for i := range d.Req.Recipients {
		record(agent.Outcome{
			Recipient: &d.Req.Recipients[i],
			Relay:     "none",
			Stats:     d.Req.Stats,
			Status:    dsn.Status{Code: dsn.SetClass(code, defaultCode[0]), Reason: reason},
		})
	}
}
