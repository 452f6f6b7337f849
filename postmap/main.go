package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/dbtypes"
	"sealpost/lib/mime"
	"sealpost/lib/table"
)

// settings are the parameters of both commands.
type settings struct {
	DefaultType string `conf:"default_database_type"`
	UTF8        bool   `conf:"smtputf8_enable"`
	HeaderLimit int    `conf:"header_size_limit"`
	Nesting     int    `conf:"mime_nesting_limit"`
	Boundary    int    `conf:"mime_boundary_length_limit"`
}

func (s *settings) limits() mime.Limits {
	return mime.Limits{Header: s.HeaderLimit, Nesting: s.Nesting, Boundary: s.Boundary}
}

// command is one run.
type command struct {
	*options
	set    settings
	env    table.Env
	in     io.Reader
	out    *bufio.Writer
	errout io.Writer
}

func (c *command) warnf(format string, args ...any) {
	fmt.Fprintf(c.errout, c.program+": warning: "+format+"\n", args...)
}

func (c *command) verbosef(format string, args ...any) {
	if c.verbose {
		fmt.Fprintf(c.errout, c.program+": "+format+"\n", args...)
	}
}

func main() {
	program := filepath.Base(os.Args[0])
	found, err := run(context.Background(), program, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: fatal: %v\n", program, err)
	}
	if err != nil || !found {
		os.Exit(1)
	}
}

// run is the command. found is false when it was asked for what is not there.
func run(ctx context.Context, program string, args []string, in io.Reader, out, errout io.Writer) (found bool, err error) {
	o, err := parse(program, args)
	if err != nil {
		return false, err
	}
	cfg, err := config.Load(config.Dir(o.configDir))
	if err != nil {
		return false, err
	}
	c := &command{options: o, in: in, out: bufio.NewWriter(out), errout: errout}
	if err := cfg.Decode(&c.set); err != nil {
		return false, err
	}
	c.env = table.Env{Warnf: c.warnf, Infof: c.verbosef, Exact: o.exact, Types: dbtypes.Types(cfg)}
	for i, t := range o.tables {
		if !strings.Contains(t, ":") {
			o.tables[i] = c.set.DefaultType + ":" + t
		}
	}
	switch {
	case o.query != nil:
		found, err = c.ask(ctx)
	case o.list:
		found, err = true, c.listAll(ctx)
	case o.deletion != nil:
		found, err = c.remove(ctx)
	default:
		found, err = true, c.buildAll(ctx)
	}
	return found, errors.Join(err, c.out.Flush())
}

// indexedName is the file behind an indexed table.
func indexedName(spec string) (name string, ok bool) {
	kind, name, _ := strings.Cut(spec, ":")
	return name, slices.Contains(table.Indexed(), kind)
}
