// Package memcache has the tables of memcached: memcache_table(5). A key that
// the protocol cannot carry, with blanks or control characters in it or too long,
// is never sent; only the backup table is asked for it.
package memcache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"sealpost/lib/config"
	"sealpost/lib/dbclient"
	"sealpost/lib/table"
)

// defaultPort is the port of a server without one.
const defaultPort = "11211"

// maxKey is the longest key of the protocol.
const maxKey = 250

// ErrKey: a key that cannot be stored.
var ErrKey = errors.New("the key cannot be stored in memcache")

// ErrSize: a value above data_size_limit.
var ErrSize = errors.New("data_size_limit is exceeded")

type client struct {
	common *dbclient.Common
	mc     *memcache.Client
	backup table.Table // or nil
	format dbclient.Template
	flags  uint32
	ttl    int32
	tries  int
	pause  time.Duration
	size   int
}

// cache is the table with what changes it.
type cache struct {
	table.Table
	*client
}

// Opener opens tables; main has the parameters of those without a file.
func Opener(main *config.Config) table.Opener {
	return func(env table.Env, spec, name string) (table.Table, error) {
		s, err := dbclient.ReadSource(main, name)
		if err != nil {
			return nil, err
		}
		common, err := dbclient.ReadCommon(env, spec, s, 2)
		if err != nil {
			return nil, err
		}
		c := &client{common: common, mc: memcache.NewFromSelector(serverOf(s.Str("memcache", "inet:localhost"))),
			format: s.Template("key_format", "%s"), flags: uint32(s.Int("flags", 0, 0)), ttl: int32(s.Int("ttl", 3600, 0)),
			tries: s.Int("max_try", 2, 1), pause: s.Seconds("retry_pause", 1), size: s.Int("data_size_limit", 10240, 1)}
		s.Int("line_size_limit", 1024, 1) // lines of a reply have the protocol's own limit
		c.mc.Timeout = common.Timeout
		if backup := s.Str("backup", ""); backup != "" {
			c.backup = table.Open(env, backup)
		}
		s.Warn(env)
		return &cache{common.Table(c), c}, s.Err()
	}
}

// memcacheKey is the key as the server sees it.
func (c *client) memcacheKey(key string) (string, bool) {
	text, ok := c.format.Expand(key, nil)
	if !ok || len(text) > maxKey {
		return "", false
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] == 0x7f {
			return "", false
		}
	}
	return text, true
}

// Ask implements dbclient.Asker.
func (c *client) Ask(ctx context.Context, key string, add func(string) error) error {
	text, ok := c.memcacheKey(key)
	if ok {
		var item *memcache.Item
		err := c.try(ctx, func() (err error) {
			item, err = c.mc.Get(text)
			return err
		})
		switch {
		case err == nil && len(item.Value) > c.size:
			return fmt.Errorf("%w: %d bytes", ErrSize, len(item.Value))
		case err == nil:
			return add(string(item.Value))
		case c.backup == nil && !errors.Is(err, memcache.ErrCacheMiss):
			return err
		}
	}
	if c.backup == nil {
		return nil
	}
	value, found, err := c.backup.Lookup(ctx, key)
	if err != nil || !found {
		return err
	}
	if ok {
		// A copy that is not stored is looked up again the next time.
		_ = c.mc.Set(&memcache.Item{Key: text, Value: []byte(value), Flags: c.flags, Expiration: c.ttl})
	}
	return add(value)
}

// try repeats a command that failed for another reason than a missing key. Connections
// that were kept go then: the server may have been restarted.
func (c *client) try(ctx context.Context, command func() error) (err error) {
	for n := 1; ; n++ {
		err = command()
		if err == nil || errors.Is(err, memcache.ErrCacheMiss) || n >= c.tries {
			return err
		}
		_ = c.mc.Close() // those that are dead say so; the client goes on with new ones
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.pause):
		}
	}
}

// Put implements table.Updater.
func (c *cache) Put(ctx context.Context, key, value string) error {
	text, ok, err := c.changed(ctx, key)
	if err != nil || !ok {
		return err
	}
	if c.backup != nil {
		u, ok := c.backup.(table.Updater)
		if !ok {
			return table.Fail(c.Name(), fmt.Errorf("the backup table %s cannot be changed", c.backup.Name()))
		}
		if err := u.Put(ctx, key, value); err != nil {
			return err
		}
	}
	err = c.try(ctx, func() error {
		return c.mc.Set(&memcache.Item{Key: text, Value: []byte(value), Flags: c.flags, Expiration: c.ttl})
	})
	if err != nil {
		return table.Fail(c.Name(), err)
	}
	return nil
}

// changed is the server's key for a change; false: the key is not in domain.
func (c *cache) changed(ctx context.Context, key string) (string, bool, error) {
	folded, ok, err := c.common.Key(ctx, key)
	if err != nil || !ok {
		return "", false, err
	}
	text, ok := c.memcacheKey(folded)
	if !ok {
		return "", false, table.Fail(c.Name(), ErrKey)
	}
	return text, true, nil
}

// Delete implements table.Updater.
func (c *cache) Delete(ctx context.Context, key string) (bool, error) {
	text, ok, err := c.changed(ctx, key)
	if err != nil || !ok {
		return false, err
	}
	found := false
	if u, ok := c.backup.(table.Updater); ok {
		if found, err = u.Delete(ctx, key); err != nil {
			return false, err
		}
	}
	err = c.try(ctx, func() error { return c.mc.Delete(text) })
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, memcache.ErrCacheMiss):
		return found, nil
	}
	return false, table.Fail(c.Name(), err)
}

func (c *client) Close() error {
	err := c.mc.Close()
	if c.backup != nil {
		err = errors.Join(err, c.backup.Close())
	}
	return err
}

// Close closes the table, and with it the client.
func (c *cache) Close() error { return c.Table.Close() }
