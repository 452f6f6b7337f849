// Package ldap has the tables of LDAP directories: ldap_table(5). What is filled
// into the filter is quoted after RFC 4515, what is filled into the base after
// RFC 4514.
package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/go-ldap/ldap/v3"

	"sealpost/lib/config"
	"sealpost/lib/dbclient"
	"sealpost/lib/table"
)

// The ways in which a look-up can fail beside those of the server.
var (
	ErrRecursion    = errors.New("recursion_limit is exceeded")
	errCertificates = errors.New("no certificate in the file")
	errUnsupported  = errors.New("is not supported")
)

type client struct {
	common       *dbclient.Common
	hosts        *dbclient.Hosts
	base, filter dbclient.Template
	scope, deref int
	sizeLimit    int
	recursion    int
	attributes   attributes
	bind         bool
	bindDN       string
	bindPW       string
	startTLS     bool
	tls          *tls.Config

	mu       sync.Mutex
	conns    map[string]*ldap.Conn
	attempts map[string]*attempt
	closed   bool
}

// attributes are the names of attributes by what they are for.
type attributes struct{ result, special, terminal, leaf []string }

func (a attributes) all() []string {
	return slices.Concat(a.result, a.special, a.terminal, a.leaf)
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
		c := &client{common: common, conns: make(map[string]*ldap.Conn), attempts: make(map[string]*attempt)}
		c.readSearch(s)
		c.readServers(s)
		c.readTLS(s)
		s.Warn(env)
		return common.Table(c), s.Err()
	}
}

func (c *client) readSearch(s *dbclient.Source) {
	s.Required("search_base")
	c.base = s.Template("search_base", "")
	c.filter = s.Template("query_filter", "(mailacceptinggeneralid=%s)")
	c.attributes = attributes{s.List("result_attribute", "maildrop"), s.List("special_result_attribute", ""),
		s.List("terminal_result_attribute", ""), s.List("leaf_result_attribute", "")}
	c.recursion = s.Int("recursion_limit", 1000, 1)
	c.sizeLimit = s.Int("size_limit", c.common.Limit(), 0)
	scopes := map[string]int{"sub": ldap.ScopeWholeSubtree, "one": ldap.ScopeSingleLevel, "base": ldap.ScopeBaseObject}
	scope, ok := scopes[s.Str("scope", "sub")]
	if !ok {
		s.Fail("scope", fmt.Errorf("%w: expecting sub, one or base", dbclient.ErrBadValue))
	}
	c.scope = scope
	if c.deref = s.Int("dereference", 0, 0); c.deref > ldap.DerefAlways {
		s.Fail("dereference", fmt.Errorf("%w: expecting 0 to 3", dbclient.ErrBadValue))
	}
}

func (c *client) readServers(s *dbclient.Source) {
	port := s.Int("server_port", 389, 1)
	var urls []string
	for _, host := range s.List("server_host", "localhost") {
		if !strings.Contains(host, "://") {
			_, address := dbclient.Address(host, fmt.Sprint(port))
			host = "ldap://" + address
		}
		if _, err := url.Parse(host); err != nil {
			s.Fail("server_host", err)
		}
		urls = append(urls, host)
	}
	c.hosts = dbclient.NewHosts(urls, s.Seconds("retry_interval", 60), nil)
	switch bind := strings.ToLower(s.Str("bind", "yes")); bind {
	case "yes", "simple":
		c.bind = true
	case "no", "none":
	default:
		s.Fail("bind", fmt.Errorf("%w: %s", errUnsupported, bind))
	}
	c.bindDN, c.bindPW = s.Str("bind_dn", ""), s.Str("bind_pw", "")
	if s.Int("version", 3, 2) != 3 {
		s.Fail("version", fmt.Errorf("%w: only version 3 is", errUnsupported))
	}
	if s.Str("chase_referrals", "0") != "0" && s.Bool("chase_referrals", false) {
		s.Fail("chase_referrals", errUnsupported)
	}
	s.Int("debuglevel", 0, 0)
}

func (c *client) readTLS(s *dbclient.Source) {
	c.startTLS = s.Bool("start_tls", false)
	c.tls = &tls.Config{InsecureSkipVerify: !s.Bool("tls_require_cert", false)}
	if ca := s.Str("tls_ca_cert_file", ""); ca != "" {
		pem, err := os.ReadFile(ca)
		c.tls.RootCAs = x509.NewCertPool()
		if err == nil && !c.tls.RootCAs.AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s: %w", ca, errCertificates)
		}
		if err != nil {
			s.Fail("tls_ca_cert_file", err)
		}
	}
	if cert := s.Str("tls_cert", ""); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, s.Str("tls_key", ""))
		if err != nil {
			s.Fail("tls_cert", err)
		}
		c.tls.Certificates = []tls.Certificate{pair}
	}
}

// Ask implements dbclient.Asker.
func (c *client) Ask(ctx context.Context, key string, add func(string) error) error {
	base, ok := c.base.Expand(key, ldap.EscapeDN)
	filter, ok2 := c.filter.Expand(key, ldap.EscapeFilter)
	if !ok || !ok2 {
		return nil
	}
	if !strings.HasPrefix(filter, "(") {
		filter = "(" + filter + ")"
	}
	return c.hosts.Try(ctx, func(ctx context.Context, host string) error {
		// Values are kept until the whole answer is there: another host may be asked.
		var values []string
		w := &walk{client: c, host: host, add: func(v string) { values = append(values, v) }}
		err := w.search(ctx, query{base, filter, c.scope}, 0)
		if err != nil {
			return err
		}
		for _, v := range values {
			if err := add(v); err != nil {
				return dbclient.Final(err)
			}
		}
		return nil
	})
}

// attempt is a connection that is being made; all look-ups that need it wait for it.
type attempt struct {
	done chan struct{}
	conn *ldap.Conn
	err  error
}

// conn is the connection with a host, made when there is none.
func (c *client) conn(ctx context.Context, host string) (conn *ldap.Conn, kept bool, err error) {
	c.mu.Lock()
	if conn := c.conns[host]; conn != nil && !conn.IsClosing() {
		c.mu.Unlock()
		return conn, true, nil
	}
	a := c.attempts[host]
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		c.attempts[host] = a
		go c.make(host, a)
	}
	c.mu.Unlock()
	select {
	case <-a.done:
		return a.conn, false, a.err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// make makes a connection. connect has a time limit.
func (c *client) make(host string, a *attempt) {
	a.conn, a.err = c.connect(host)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.attempts, host)
	switch {
	case a.err != nil:
	case c.closed:
		a.conn.Close()
	default:
		c.conns[host] = a.conn
	}
	close(a.done)
}

func (c *client) connect(host string) (*ldap.Conn, error) {
	secure := c.tls.Clone()
	if u, err := url.Parse(host); err == nil {
		secure.ServerName = u.Hostname()
	}
	conn, err := ldap.DialURL(host, ldap.DialWithDialer(&net.Dialer{Timeout: c.common.Timeout}), ldap.DialWithTLSConfig(secure))
	if err != nil {
		return nil, err
	}
	conn.SetTimeout(c.common.Timeout)
	if c.startTLS {
		err = conn.StartTLS(secure)
	}
	if err == nil && c.bind {
		if c.bindDN == "" {
			err = conn.UnauthenticatedBind("")
		} else {
			err = conn.Bind(c.bindDN, c.bindPW)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// drop closes a connection that failed.
func (c *client) drop(host string, conn *ldap.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[host] == conn {
		delete(c.conns, host)
	}
	conn.Close()
}

func (c *client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.conns {
		conn.Close()
	}
	return nil
}
