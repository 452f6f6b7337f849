// Package pgsql has the tables of PostgreSQL: pgsql_table(5). Values reach the
// server as literals that the driver quotes, in a session whose
// standard_conforming_strings and client_encoding are the ones it quotes for.
package pgsql

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"sealpost/lib/config"
	"sealpost/lib/dbclient"
	"sealpost/lib/table"
)

// defaultPort is the port of a host without one.
const defaultPort = "5432"

// account is what a connection needs beside the host.
type account struct {
	user, password, dbname string
	timeout                time.Duration
}

// Opener opens tables; main has the parameters of those without a file.
func Opener(main *config.Config) table.Opener {
	return func(env table.Env, spec, name string) (table.Table, error) {
		s, err := dbclient.ReadSource(main, name)
		if err != nil {
			return nil, err
		}
		common, err := dbclient.ReadCommon(env, spec, s, 10)
		if err != nil {
			return nil, err
		}
		a := account{s.Str("user", ""), s.Str("password", ""), s.Str("dbname", ""), common.Timeout}
		hosts := s.List("hosts", "localhost")
		q := &dbclient.SQL{
			Common:    common,
			Statement: dbclient.ReadQuery(s, dbclient.Dialect{Numbered: true, Dollar: true}, true),
			Hosts:     dbclient.NewHosts(hosts, s.Seconds("retry_interval", 60), nil),
			Lost:      lost,
			Idle:      s.Seconds("idle_interval", 60),
			Open: func(host string) (*sql.DB, error) {
				c, err := a.config(host)
				if err != nil {
					return nil, err
				}
				return stdlib.OpenDB(*c), nil
			},
		}
		for _, host := range hosts {
			if _, err := a.config(host); err != nil {
				s.Fail("hosts", err)
			}
		}
		s.Warn(env)
		return common.Table(q), s.Err()
	}
}

// lost tells whether a statement failed for another reason than an answer about it. A
// server that is shut down says so with codes that begin with 57P.
func lost(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return strings.HasPrefix(answer.Code, "57P")
	}
	return !errors.Is(err, dbclient.ErrExpansionLimit)
}

// config is the driver's configuration for a word of hosts.
func (a account) config(host string) (*pgx.ConnConfig, error) {
	if uri, err := pgx.ParseConfig(host); isURI(host) {
		if err != nil {
			return nil, err // it has no password in it
		}
		return a.finish(uri), nil
	}
	network, address := dbclient.Address(host, defaultPort)
	c, err := pgx.ParseConfig("sslmode=prefer")
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		c.Host, c.Port, c.TLSConfig, c.Fallbacks = socketDir(address), 5432, nil, nil
		return a.finish(c), nil
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("bad port in %q", host)
	}
	c.Host, c.Port = name, uint16(n)
	for _, f := range c.Fallbacks {
		f.Host, f.Port = c.Host, c.Port
	}
	return a.finish(c), nil
}

func isURI(host string) bool {
	return strings.HasPrefix(host, "postgresql://") || strings.HasPrefix(host, "postgres://")
}

// socketDir is the directory of a server's socket, which may be named itself.
func socketDir(path string) string {
	if i := strings.LastIndex(path, "/.s.PGSQL."); i > 0 {
		return path[:i]
	}
	return path
}

func (a account) finish(c *pgx.ConnConfig) *pgx.ConnConfig {
	set := func(to *string, value string) {
		if value != "" {
			*to = value
		}
	}
	set(&c.User, a.user)
	set(&c.Password, a.password)
	set(&c.Database, a.dbname)
	c.ConnectTimeout = a.timeout
	c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	c.RuntimeParams["client_encoding"] = "UTF8"
	c.RuntimeParams["standard_conforming_strings"] = "on"
	return c
}
