// Package sqlite has the tables of SQLite files: sqlite_table(5). They are
// opened for reading only; values are bound, never part of the SQL text.
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"sealpost/lib/config"
	"sealpost/lib/dbclient"
	"sealpost/lib/table"
)

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
		path := s.Required("dbpath")
		q := &dbclient.SQL{
			Common:      common,
			Statement:   dbclient.ReadQuery(s, dbclient.Dialect{}, false),
			Hosts:       dbclient.NewHosts([]string{path}, 1, nil),
			FirstColumn: true,
			Idle:        s.Seconds("idle_interval", 60),
			Open: func(path string) (*sql.DB, error) {
				return open(path, common.Timeout.Milliseconds())
			},
		}
		s.Warn(env)
		return common.Table(&file{SQL: q, path: path}), s.Err()
	}
}

// open makes the pool of a file. That the file can be read is looked at first:
// the driver's own message does not say why it cannot.
func open(path string, wait int64) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f.Close()
	u := url.URL{Scheme: "file", Path: path, RawQuery: fmt.Sprintf("mode=ro&_pragma=busy_timeout(%d)", wait)}
	return sql.Open("sqlite", u.String())
}

// file is a database whose file may be replaced by another one.
type file struct {
	*dbclient.SQL
	path string

	mu   sync.Mutex
	seen os.FileInfo
}

// Ask implements dbclient.Asker. Connections to the file that had the name before are
// not used any more.
func (f *file) Ask(ctx context.Context, key string, add func(string) error) error {
	st, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	f.mu.Lock()
	if f.seen != nil && !os.SameFile(f.seen, st) {
		f.Forget()
	}
	f.seen = st
	f.mu.Unlock()
	return f.SQL.Ask(ctx, key, add)
}
