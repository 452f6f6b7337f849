package dbclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/lib/table"
)

// ErrExpansionLimit: a key has more values than expansion_limit allows.
var ErrExpansionLimit = errors.New("expansion_limit is exceeded")

// Common are the parameters that all types know.
type Common struct {
	spec    string
	source  *Source
	exact   bool
	domain  *table.List
	format  Template
	limit   int
	Timeout time.Duration // of one attempt
}

// ReadCommon reads the common parameters; timeout is the preset of that in seconds.
func ReadCommon(env table.Env, spec string, s *Source, timeout int) (*Common, error) {
	format := "%s"
	if s.Has("result_filter") { // the name it had before Postfix 2.2
		format = s.Str("result_filter", format)
	}
	c := &Common{spec: spec, source: s, exact: env.Exact,
		format: s.Template("result_format", format), limit: s.Int("expansion_limit", 0, 0),
		Timeout: s.Seconds("timeout", timeout)}
	var err error
	if list := s.Str("domain", ""); list != "" {
		if c.domain, err = table.OpenList(env, "domain", list, table.Strings, false); err != nil {
			return nil, fmt.Errorf("%s: %w", s.where, err)
		}
	}
	return c, s.Err()
}

// Limit is expansion_limit; 0 is none.
func (c *Common) Limit() int { return c.limit }

// Key is the key to ask for: in lower case unless keys are exact. It reports
// false for one that is not asked for: malformed text, or not in domain.
func (c *Common) Key(ctx context.Context, key string) (string, bool, error) {
	if key == "" || !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0 {
		return "", false, nil
	}
	if !c.exact {
		key = strings.ToLower(key)
	}
	if c.domain == nil {
		return key, true, nil
	}
	at := strings.LastIndexByte(key, '@')
	if at < 1 || at == len(key)-1 {
		return "", false, nil
	}
	listed, err := c.domain.Match(ctx, key[at+1:])
	return key, listed, err
}

// Results collects the values of one key.
type Results struct {
	c      *Common
	key    string
	values []string
}

// Results begins the collection for key.
func (c *Common) Results(key string) *Results { return &Results{c: c, key: key} }

// Add adds a value, unless result_format asks for something that it lacks.
func (r *Results) Add(value string) error {
	if value == "" {
		return nil
	}
	text, ok := r.c.format.Apply(r.key, value)
	if !ok {
		return nil
	}
	if r.c.limit > 0 && len(r.values) == r.c.limit {
		return fmt.Errorf("%w: more than %d values", ErrExpansionLimit, r.c.limit)
	}
	r.values = append(r.values, text)
	return nil
}

// Text are the values, joined by commas.
func (r *Results) Text() (string, bool) {
	return strings.Join(r.values, ","), len(r.values) > 0
}

// Asker asks a database for the values of a key that Common.Key let pass.
type Asker interface {
	Ask(ctx context.Context, key string, add func(value string) error) error
	Close() error
}

// Table makes a table of what asks the database.
func (c *Common) Table(a Asker) table.Table { return &client{c, a} }

type client struct {
	*Common
	asker Asker
}

func (t *client) Name() string { return t.spec }
func (t *client) Fixed() bool  { return true }

func (t *client) Files() []string { return append(t.source.Files(), t.domain.Files()...) }

func (t *client) Close() error { return errors.Join(t.asker.Close(), t.domain.Close()) }

// Lookup implements table.Table.
func (t *client) Lookup(ctx context.Context, key string) (string, bool, error) {
	asked, ok, err := t.Key(ctx, key)
	if err != nil {
		return "", false, table.Fail(t.spec, err)
	}
	if !ok {
		return "", false, nil
	}
	results := t.Results(asked)
	if err := t.asker.Ask(ctx, asked, results.Add); err != nil {
		return "", false, table.Fail(t.spec, err)
	}
	value, found := results.Text()
	return value, found, nil
}
