// Package mysql has the tables of MySQL and MariaDB: mysql_table(5). The driver
// quotes values for the SQL mode that the server announces.
package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/go-sql-driver/mysql"

	"sealpost/lib/config"
	"sealpost/lib/dbclient"
	"sealpost/lib/table"
)

// defaultPort and defaultSocket are where a host without one listens.
const (
	defaultPort   = "3306"
	defaultSocket = "/var/run/mysqld/mysqld.sock"
)

// errCertificates: a file without certificates.
var errCertificates = errors.New("no certificate in the file")

type account struct {
	user, password, dbname string
	timeout                time.Duration
	tls                    *tls.Config
	verifyName             bool
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
		a := account{user: s.Str("user", ""), password: s.Str("password", ""), dbname: s.Str("dbname", ""), timeout: common.Timeout}
		a.readTLS(s)
		// A query without a result set has no rows here: it is not found either way.
		s.Bool("require_result_set", true)
		q := &dbclient.SQL{
			Common:    common,
			Statement: dbclient.ReadQuery(s, dbclient.Dialect{Backslash: true, HashComment: true}, false),
			Hosts:     dbclient.NewHosts(s.List("hosts", "localhost"), s.Seconds("retry_interval", 60), nil),
			Lost:      func(err error) bool { return errors.Is(err, mysql.ErrInvalidConn) },
			Idle:      s.Seconds("idle_interval", 60),
			Open: func(host string) (*sql.DB, error) {
				connector, err := mysql.NewConnector(a.config(host))
				if err != nil {
					return nil, err
				}
				return sql.OpenDB(connector), nil
			},
		}
		s.Warn(env)
		return common.Table(q), s.Err()
	}
}

// readTLS reads the tls_ parameters. Without a certificate authority the server
// is not asked for TLS.
func (a *account) readTLS(s *dbclient.Source) {
	ca, cert, key := s.Str("tls_CAfile", ""), s.Str("tls_cert_file", ""), s.Str("tls_key_file", "")
	a.verifyName = s.Bool("tls_verify_cert", false)
	if ca == "" && cert == "" && !a.verifyName {
		return
	}
	c := &tls.Config{}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		c.RootCAs = x509.NewCertPool()
		if err == nil && !c.RootCAs.AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s: %w", ca, errCertificates)
		}
		if err != nil {
			s.Fail("tls_CAfile", err)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			s.Fail("tls_cert_file", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	a.tls = c
}

// config is the driver's configuration for a word of hosts.
func (a *account) config(host string) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr = dbclient.Address(host, defaultPort)
	if c.Addr == "localhost:"+defaultPort {
		c.Net, c.Addr = "unix", defaultSocket // as MySQL's own clients read it
	}
	c.User, c.Passwd, c.DBName = a.user, a.password, a.dbname
	c.Timeout, c.ReadTimeout, c.WriteTimeout = a.timeout, a.timeout, a.timeout
	c.InterpolateParams = true
	c.Logger = silent{}
	if a.tls == nil || c.Net == "unix" {
		return c
	}
	c.TLS = a.tls.Clone()
	if name, _, err := net.SplitHostPort(c.Addr); err == nil {
		c.TLS.ServerName = name
	}
	if !a.verifyName {
		chainOnly(c.TLS)
	}
	return c
}

// chainOnly checks the certificate, but not the name in it.
func chainOnly(c *tls.Config) {
	roots := c.RootCAs
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if roots == nil {
			return nil
		}
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(o)
		return err
	}
}

// silent keeps the driver from writing to standard error: what fails comes back
// as an error.
type silent struct{}

func (silent) Print(...any) {}
