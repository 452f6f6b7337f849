package dbclient

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxConns is how many connections a table has with one host.
const maxConns = 8

// maxValues is the greatest number of values of a key, whatever expansion_limit says.
const maxValues = 100_000

// SQL is a table that is asked in SQL.
type SQL struct {
	Common    *Common
	Statement *Statement
	Hosts     *Hosts
	// Open makes the pool of one host; it does not connect.
	Open func(host string) (*sql.DB, error)
	// FirstColumn: only the first column of a row counts.
	FirstColumn bool
	// Lost tells whether an error of the driver means that the connection broke; may be nil.
	Lost func(error) bool
	// Idle is when connections that are not used are closed.
	Idle time.Duration

	mu    sync.Mutex
	pools map[string]*sql.DB
}

// ReadQuery reads the parameter query, or the older ones that it can be made of.
func ReadQuery(s *Source, d Dialect, functions bool) *Statement {
	query := s.Str("query", "")
	if query == "" && functions && s.Has("select_function") {
		query = "SELECT " + s.Str("select_function", "") + "('%s')"
	}
	if query == "" && s.Has("table") {
		query = fmt.Sprintf("SELECT %s FROM %s WHERE %s = '%%s' %s",
			s.Required("select_field"), s.Required("table"), s.Required("where_field"), s.Str("additional_conditions", ""))
	}
	if query == "" {
		s.Fail("query", ErrMissing)
		return nil
	}
	st, err := ParseStatement(query, d)
	if err != nil {
		s.Fail("query", err)
	}
	return st
}

// Ask implements Asker.
func (q *SQL) Ask(ctx context.Context, key string, add func(string) error) error {
	args, ok := q.Statement.Args(key)
	if !ok {
		return nil
	}
	return q.Hosts.Try(ctx, func(ctx context.Context, host string) error {
		db, err := q.pool(host)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, q.Common.Timeout)
		defer cancel()
		values, err := q.rows(ctx, db, args)
		if err != nil && !q.isConnection(ctx, err) {
			return Final(err)
		}
		if err != nil {
			return err
		}
		for _, v := range values {
			if err := add(v); err != nil {
				return Final(err)
			}
		}
		return nil
	})
}

// isConnection tells whether an error is about reaching the server. All that
// happens before a server answers is, and so is an end in between.
func (q *SQL) isConnection(ctx context.Context, err error) bool {
	var op net.Error
	return q.Lost != nil && q.Lost(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || ctx.Err() != nil || errors.As(err, &op) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, errConnect)
}

// errConnect: a connection could not be made.
var errConnect = errors.New("connect")

func (q *SQL) rows(ctx context.Context, db *sql.DB, args []any) ([]string, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}
	defer conn.Close()
	values, err := q.query(ctx, conn, args)
	if err == nil || !q.isConnection(ctx, err) || ctx.Err() != nil {
		return values, err
	}
	// The connection may have been kept while the server was restarted. Once more,
	// on a new one; the pool drops those that are broken.
	fresh, err2 := db.Conn(ctx)
	if err2 != nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err2)
	}
	defer fresh.Close()
	return q.query(ctx, fresh, args)
}

func (q *SQL) query(ctx context.Context, conn *sql.Conn, args []any) ([]string, error) {
	rows, err := conn.QueryContext(ctx, q.Statement.Text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	fields := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i := range fields {
		into[i] = &fields[i]
	}
	var values []string
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, f := range fields {
			if f.Valid && (i == 0 || !q.FirstColumn) {
				values = append(values, f.String)
			}
		}
		if len(values) > maxValues {
			return nil, fmt.Errorf("%w: more than %d values", ErrExpansionLimit, maxValues)
		}
	}
	return values, rows.Err()
}

func (q *SQL) pool(host string) (*sql.DB, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if db := q.pools[host]; db != nil {
		return db, nil
	}
	db, err := q.Open(host)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(q.Idle)
	if q.pools == nil {
		q.pools = make(map[string]*sql.DB)
	}
	q.pools[host] = db
	return db, nil
}

// Forget leaves the pools to the look-ups that use them; the next one makes another.
func (q *SQL) Forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, db := range q.pools {
		db.SetMaxIdleConns(-1) // what comes back is closed
		time.AfterFunc(2*q.Common.Timeout, func() { _ = db.Close() })
	}
	q.pools = nil
}

// Close closes all connections.
func (q *SQL) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var errs []error
	for _, db := range q.pools {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
