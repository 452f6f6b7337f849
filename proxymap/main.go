package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/dbtypes"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

func main() {
	service.Main(service.Spec{Program: "proxymap", Kind: service.MultiClient, Init: initialize})
}

// The names that the service may have in master.cf.
const (
	readService  = "proxymap"
	writeService = "proxywrite"
)

// errService: a service with another name would serve tables that nobody asked for.
var errService = errors.New(`service name must be "proxymap" or "proxywrite"`)

type settings struct {
	Timeout time.Duration `conf:"ipc_timeout"`
}

func initialize(env *service.Env) (*service.Worker, error) {
	var set settings
	if err := env.Config.Decode(&set); err != nil {
		return nil, err
	}
	write := env.ServiceName == writeService
	if !write && env.ServiceName != readService {
		return nil, fmt.Errorf("%w, not %q", errService, env.ServiceName)
	}
	specs, err := approved(env.Config, filepath.Join(env.Config.Dir(), "master.cf"), write)
	if err != nil {
		return nil, err
	}
	tenv := table.Env{Warnf: env.Log.Warnf, Infof: env.Log.Infof, Exact: true}
	tenv.Types = dbtypes.Types(env.Config)
	srv := open(tenv, specs)
	srv.write, srv.timeout = write, set.Timeout
	srv.service, srv.list = env.ServiceName, "proxy_read_maps"
	if write {
		srv.list = "proxy_write_maps"
	}
	return &service.Worker{Conn: srv.serve, Files: srv.files(), Close: srv.close}, nil
}

// open opens the tables. One that cannot be opened is served all the same: its
// look-ups fail, and mail waits until somebody has mended it.
func open(env table.Env, specs []string) *server {
	srv := &server{tables: make(map[string]table.Table, len(specs))}
	for _, spec := range specs {
		srv.tables[spec] = table.Open(env, spec)
	}
	return srv
}

// approved are the tables that are served (decision 49): those of the types that
// are asked for through us anywhere in the configuration, and what the list of
// this service names with "proxy:".
func approved(c *config.Config, master string, write bool) ([]string, error) {
	set := &tableSet{seen: make(map[string]bool)}
	configs, err := effective(c, master)
	if err != nil {
		return nil, err
	}
	list := "proxy_read_maps"
	if write {
		list = "proxy_write_maps"
	}
	for _, c := range configs {
		value, err := c.Value(list)
		if err != nil {
			return nil, err
		}
		set.proxied(value)
		if write {
			continue
		}
		for _, name := range names(c) {
			if value, err := c.Value(name); err == nil { // a bad one is said elsewhere
				set.asked(value)
			}
		}
	}
	return set.specs, nil
}

// effective are the configurations of all services: main.cf with and without
// stress, and with the -o arguments of each line of master.cf.
func effective(c *config.Config, master string) ([]*config.Config, error) {
	stress, err := c.With(config.Override{Name: "stress", Value: "yes"})
	if err != nil {
		return nil, err
	}
	configs := []*config.Config{c, stress}
	entries, err := config.ReadMaster(master)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		overrides := entries[i].Overrides()
		if len(overrides) == 0 {
			continue
		}
		// A service whose arguments are malformed does not start, so it asks nothing.
		if o, err := c.With(overrides...); err == nil {
			configs = append(configs, o)
		}
	}
	return configs, nil
}

// names are the names of all parameters: of the table and of main.cf.
func names(c *config.Config) []string {
	var all []string
	for _, p := range config.Params() {
		all = append(all, p.Name)
	}
	for _, s := range c.Settings() {
		if _, known := config.Lookup(s.Name); !known {
			all = append(all, s.Name)
		}
	}
	return all
}

// tableSet collects names of tables.
type tableSet struct {
	specs []string
	seen  map[string]bool
}

func (t *tableSet) add(spec string) {
	if !t.seen[spec] {
		t.seen[spec] = true
		t.specs = append(t.specs, spec)
	}
}

// words cuts a value where the name of a table can begin or end.
func words(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n,{}", r) })
}

// asked adds the tables whose types are asked for through us.
func (t *tableSet) asked(value string) {
	for _, word := range words(value) {
		spec := strings.TrimLeft(word, "!")
		kind, name, _ := strings.Cut(spec, ":")
		for kind == "proxy" || kind == "debug" { // the daemon opens what follows
			spec = name
			kind, name, _ = strings.Cut(spec, ":")
		}
		if name == "" {
			continue
		}
		for _, own := range table.Asked() {
			if kind == own {
				t.add(spec)
			}
		}
	}
}

// proxied adds the tables that are written proxy:TYPE:NAME.
func (t *tableSet) proxied(value string) {
	for _, word := range words(value) {
		if spec, ok := strings.CutPrefix(strings.TrimLeft(word, "!"), "proxy:"); ok && spec != "" {
			t.add(spec)
		}
	}
}
