// Package redis has the tables of Redis: redis_table(5). Keys and values are
// strings with a length on the wire; nothing in them is special.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sealpost/lib/config"
	"sealpost/lib/dbclient"
	"sealpost/lib/table"
)

// defaultPort is the port of a host without one.
const defaultPort = "6379"

type client struct {
	common  *dbclient.Common
	hosts   *dbclient.Hosts
	format  dbclient.Template
	hash    dbclient.Template
	inHash  bool
	options func(host string) *redis.Options

	mu      sync.Mutex
	clients map[string]*redis.Client
}

// Opener opens tables; main has the parameters of those without a file.
func Opener(main *config.Config) table.Opener {
	return func(env table.Env, spec, name string) (table.Table, error) {
		s, err := dbclient.ReadSource(main, name)
		if err != nil {
			return nil, err
		}
		common, err := dbclient.ReadCommon(env, spec, s, 5)
		if err != nil {
			return nil, err
		}
		user, password, number := s.Str("user", ""), s.Str("password", ""), s.Int("dbnumber", 0, 0)
		idle, secure := s.Seconds("idle_interval", 60), s.Bool("tls", false)
		c := &client{common: common,
			hosts:  dbclient.NewHosts(s.List("hosts", "localhost"), s.Seconds("retry_interval", 60), nil),
			format: s.Template("key_format", "%s"), hash: s.Template("hash", ""), inHash: s.Has("hash"),
			clients: make(map[string]*redis.Client),
			options: func(host string) *redis.Options {
				network, address := dbclient.Address(host, defaultPort)
				o := &redis.Options{Network: network, Addr: address, Username: user, Password: password, DB: number,
					DialTimeout: common.Timeout, ReadTimeout: common.Timeout, WriteTimeout: common.Timeout,
					ContextTimeoutEnabled: true, ConnMaxIdleTime: idle, MaxRetries: 1, DialerRetries: 1, DisableIdentity: true}
				if name, _, err := net.SplitHostPort(address); secure && err == nil {
					o.TLSConfig = &tls.Config{ServerName: name}
				}
				return o
			}}
		s.Warn(env)
		return common.Table(c), s.Err()
	}
}

// Ask implements dbclient.Asker: the string at a key, or a field of a hash.
func (c *client) Ask(ctx context.Context, key string, add func(string) error) error {
	text, ok := c.format.Expand(key, nil)
	hash, hashOK := c.hash.Expand(key, nil)
	if !ok || c.inHash && !hashOK {
		return nil
	}
	return c.hosts.Try(ctx, func(ctx context.Context, host string) error {
		ctx, cancel := context.WithTimeout(ctx, c.common.Timeout+time.Second)
		defer cancel()
		var reply *redis.StringCmd
		if c.inHash {
			reply = c.of(host).HGet(ctx, hash, text)
		} else {
			reply = c.of(host).Get(ctx, text)
		}
		value, err := reply.Result()
		var refused redis.Error
		switch {
		case errors.Is(err, redis.Nil):
			return nil
		case errors.As(err, &refused) && !redis.HasErrorPrefix(err, "LOADING"):
			return dbclient.Final(err)
		case err != nil:
			return err
		}
		if err := add(value); err != nil {
			return dbclient.Final(err)
		}
		return nil
	})
}

func (c *client) of(host string) *redis.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[host] == nil {
		c.clients[host] = redis.NewClient(c.options(host))
	}
	return c.clients[host]
}

func (c *client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, r := range c.clients {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
