// Package dbtypes are the types of tables that need a client of a database, or
// the users of the system. Only the programs that hold such tables import it,
// proxymap and postmap: the clients are large.
package dbtypes

import (
	"sealpost/lib/config"
	"sealpost/lib/dbclient/getent"
	"sealpost/lib/dbclient/ldap"
	"sealpost/lib/dbclient/memcache"
	"sealpost/lib/dbclient/mysql"
	"sealpost/lib/dbclient/pgsql"
	"sealpost/lib/dbclient/redis"
	"sealpost/lib/dbclient/sqlite"
	"sealpost/lib/table"
)

// Types are the types for table.Env; main has the parameters of tables that name
// no file.
func Types(main *config.Config) map[string]table.Opener {
	return map[string]table.Opener{
		"ldap":     ldap.Opener(main),
		"memcache": memcache.Opener(main),
		"mysql":    mysql.Opener(main),
		"pgsql":    pgsql.Opener(main),
		"redis":    redis.Opener(main),
		"sqlite":   sqlite.Opener(main),
		"unix":     getent.Opener("getent"),
	}
}
