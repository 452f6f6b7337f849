package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/rewrite"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// bounceTimeout is how long a notification may take (§2.7).
const bounceTimeout = 1000 * time.Second

func main() {
	service.Main(service.Spec{
		Program:    "qmgr",
		Kind:       service.MultiClient,
		NeedSingle: true,
		Init:       start,
	})
}

// start opens what qmgr needs: the tables that resolve addresses.
func start(env *service.Env) (*service.Worker, error) {
	set := new(settings)
	if err := env.Config.Decode(set); err != nil {
		return nil, err
	}
	if _, err := readTransport(env.Config, set, "default"); err != nil {
		return nil, err
	}
	rw, err := rewrite.New(env.Config, table.Env{Warnf: env.Log.Warnf})
	if err != nil {
		return nil, fmt.Errorf("address resolver: %w", err)
	}
	transports := func(name string) transportSettings {
		t, err := readTransport(env.Config, set, name)
		if err != nil {
			env.Log.Warnf("%v; using the default", err)
			t, _ = readTransport(env.Config, set, "default")
		}
		t.limits.Deliveries = deliveryLimit()
		return t
	}
	w := world{
		now:     time.Now,
		resolve: rw.Resolve,
		dial:    dialUnix,
		bounce: func(ctx context.Context, path string, r *mailproto.BounceRequest) error {
			ctx, cancel := context.WithTimeout(ctx, bounceTimeout)
			defer cancel()
			return mailclient.Bounce(ctx, path, r)
		},
		tokens: func(n int) { env.Flow.PutTokensUpTo(n, set.ProcessLimit) },
		dog:    service.NewWatchdog(set.Watchdog, func(what string) { env.Log.Fatalf("watchdog timeout: %s", what) }),
	}
	m := newQmgr(set, transports, w, env.Queue, env.Log)
	return &service.Worker{Trigger: m.trigger, Run: m.run, Files: rw.Files()}, nil
}

// deliveryLimit bounds the deliveries over one transport at a time by the
// descriptors that this process may open, leaving as many for other transports.
// It is a safety net: agents that are full do not accept, which comes first.
func deliveryLimit() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil || r.Cur < 200 {
		return 50
	}
	return int(min(r.Cur, 1<<20)-100) / 2
}
