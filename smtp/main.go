package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sealpost/lib/agent"
	"sealpost/lib/hop"
	"sealpost/lib/reqtls"
	"sealpost/lib/route"
	"sealpost/lib/service"
	"sealpost/lib/table"
	"sealpost/lib/tlspolicy"
)

func main() {
	program := filepath.Base(os.Args[0])
	if program != "lmtp" {
		program = "smtp"
	}
	agent.Main(service.Spec{Program: program, TakesArgs: true}, initClient)
}

// initClient opens what the client needs, before privileges are dropped.
func initClient(env *service.Env) (agent.DeliverFunc, []string, error) {
	c, files, err := newClient(env)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, d *agent.Delivery) {
		c.deliver(ctx, job{req: d.Req, log: d.Log, out: d, data: func() content { return d.Content() }})
	}, files, nil
}

func newClient(env *service.Env) (*client, []string, error) {
	cfg := env.Config
	lmtp := env.Program == "lmtp"
	set, err := load(cfg, lmtp)
	if err != nil {
		return nil, nil, err
	}
	flags, err := parseArgs(env.Args)
	if err != nil {
		return nil, nil, err
	}
	rc, err := route.Load(cfg, lmtp)
	if err != nil {
		return nil, nil, err
	}
	syntax, err := route.LoadSyntax(cfg, lmtp)
	if err != nil {
		return nil, nil, err
	}
	resolver, err := route.NewResolver(cfg, rc.DNSSEC)
	if err != nil {
		return nil, nil, err
	}
	rc.Resolver = resolver
	c := &client{
		set: set, route: rc, flags: flags, now: time.Now, dial: set.dial,
		cache:  newCache(set.cacheLimit, time.Now),
		syntax: syntax,
	}
	tables := table.Env{Warnf: env.Log.Warnf}
	source, err := tlspolicy.Open(cfg, lmtp, tables, resolver)
	if err != nil {
		return nil, nil, err
	}
	c.tls = source
	name := set.name("requiretls_policy")
	c.reqtls = reqtls.Open(tables, name, cfg.Str(name))
	if spec := cfg.Str(set.name("connection_cache_destinations")); spec != "" {
		name := set.name("connection_cache_destinations")
		if c.always, err = table.OpenList(tables, name, spec, table.Domains, true); err != nil {
			return nil, nil, err
		}
	}
	engine, files, err := hop.OpenEngine(cfg, lmtp, env.Log.Warnf)
	if err != nil {
		return nil, nil, err
	}
	c.engine = engine
	return c, slices.Concat(c.openDiscard(cfg, tables), c.openGeneric(cfg, tables), c.openChecks(cfg, tables), source.Files(), c.reqtls.Files(), files), nil
}

// parseArgs takes the flags=DORX argument of master.cf.
func parseArgs(args []string) (deliveryFlags, error) {
	var f deliveryFlags
	for _, arg := range args {
		value, ok := strings.CutPrefix(arg, "flags=")
		if !ok {
			return f, fmt.Errorf("unknown argument %q in master.cf: want flags=DORX", arg)
		}
		for _, letter := range value {
			switch letter {
			case 'D':
				f.deliveredTo = true
			case 'O':
				f.originalTo = true
			case 'R':
				f.returnPath = true
			case 'X':
				f.final = true
			default:
				return f, fmt.Errorf("unknown flag %q in master.cf argument %q: want some of DORX", letter, arg)
			}
		}
	}
	return f, nil
}
