package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sealpost/lib/agent"
	"sealpost/lib/config"
	"sealpost/lib/dns"
	"sealpost/lib/idn"
	"sealpost/lib/route"
	"sealpost/lib/service"
	"sealpost/lib/table"
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
	rc, err := routeConfig(cfg, set)
	if err != nil {
		return nil, nil, err
	}
	c := &client{
		set: set, route: rc, flags: flags, now: time.Now, dial: set.dial,
		cache:  newCache(set.cacheLimit, time.Now),
		syntax: route.Syntax{LMTP: lmtp, DefaultPort: set.defaultPort, Services: services(cfg)},
	}
	tables := table.Env{Warnf: env.Log.Warnf}
	if spec := cfg.Str(set.name("connection_cache_destinations")); spec != "" {
		name := set.name("connection_cache_destinations")
		if c.always, err = table.OpenList(tables, name, spec, table.Domains, true); err != nil {
			return nil, nil, err
		}
	}
	files := c.openGeneric(cfg, tables)
	return c, files, nil
}

// routeConfig reads how hosts are found.
func routeConfig(cfg *config.Config, set *settings) (*route.Config, error) {
	str := func(ending string) string { return cfg.Str(set.name(ending)) }
	rc := &route.Config{
		IgnoreMXError: cfg.Bool("ignore_mx_lookup_error"),
		DeferNoMXAddr: cfg.Bool(set.name("defer_if_no_mx_address_found")),
		Preference:    str("address_preference"),
		Balance:       cfg.Bool(set.name("balance_inet_protocols")),
		AddressLimit:  cfg.Int(set.name("mx_address_limit")),
		Randomize:     cfg.Bool(set.name("randomize_addresses")),
		LoopPort:      set.talk.LoopPort,
		Shuffle:       rand.Shuffle,
		ASCII:         idn.ToASCII,
	}
	switch level := str("dns_support_level"); level {
	case "":
		rc.UseDNS = !cfg.Bool("disable_dns_lookups")
	case "disabled":
	case "enabled", "dnssec":
		rc.UseDNS, rc.DNSSEC = true, level == "dnssec"
	default:
		return nil, fmt.Errorf("parameter %s: %q: want disabled, enabled or dnssec", set.name("dns_support_level"), level)
	}
	for _, word := range config.SplitList(str("host_lookup")) {
		switch word {
		case "dns":
			rc.HostDNS = true
		case "native":
			rc.HostNative = true
		default:
			return nil, fmt.Errorf("parameter %s: %q: want dns or native", set.name("host_lookup"), word)
		}
	}
	if !slices.Contains([]string{"any", "ipv4", "ipv6"}, rc.Preference) {
		return nil, fmt.Errorf("parameter %s: %q: want any, ipv4 or ipv6", set.name("address_preference"), rc.Preference)
	}
	for _, word := range config.SplitList(cfg.Str("inet_protocols")) {
		rc.IPv4 = rc.IPv4 || word == "all" || word == "ipv4"
		rc.IPv6 = rc.IPv6 || word == "all" || word == "ipv6"
	}
	if !rc.IPv4 && !rc.IPv6 {
		return nil, fmt.Errorf("parameter inet_protocols: %q: want all, ipv4 or ipv6", cfg.Str("inet_protocols"))
	}
	var err error
	if rc.Self.Addrs, err = ownAddrs(cfg); err != nil {
		return nil, err
	}
	rc.Self.Name = set.myHostname
	if rc.Table, err = dns.LoadHosts(dns.HostsFile); err != nil {
		return nil, err
	}
	var ds dns.Settings
	if err := cfg.Decode(&ds); err != nil {
		return nil, err
	}
	ds.WantDNSSEC = rc.DNSSEC
	rc.Resolver, err = dns.New(ds)
	return rc, err
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
