// Proxymap asks database servers and the system's user database on behalf of
// the other daemons.
//
// # NAME
//
// proxymap - table lookups for the mail system
//
// # SYNOPSIS
//
//	proxymap [generic daemon options]
//
// # DESCRIPTION
//
// The daemon proxymap is the one place of the mail system that holds clients of
// databases, their passwords and their connections. The other daemons ask it, over
// the socket private/proxymap, for every table of type pgsql, mysql, ldap,
// sqlite, memcache or redis, and for unix:passwd.byname and unix:group.byname,
// with or without "proxy:" before the type. For tables of other types "proxy:"
// means the table itself, which each daemon opens; Postfix's own daemons, when
// they run beside these, ask proxymap for those, too.
//
// Two services run this program, and their names in master.cf must be these:
//
//   - proxymap: look-ups.
//   - proxywrite: look-ups and changes, one process only.
//
// A client names a table; it cannot make proxymap open one. The tables that are
// served were opened when proxymap started:
//
//   - by proxymap: the tables of the types above that appear in the value of any
//     parameter of main.cf, expanded, or with -o in master.cf, also within lists,
//     restrictions and tables of tables (pipemap, unionmap); and the tables of any
//     type that proxy_read_maps lists as proxy:TYPE:NAME.
//   - by proxywrite: the tables that proxy_write_maps lists as proxy:TYPE:NAME, and no
//     others.
//
// A database that does not answer is asked again the next time, and mail that
// needs it is deferred meanwhile. When the file of a table changes, proxymap
// starts anew by itself.
//
// # USERS AND GROUPS
//
// unix: tables are asked through getent(1), so that accounts of LDAP, NIS and
// other sources are known. A getent that fails or does not answer within 10
// seconds is a temporary error. proxymap does not run in a chroot.
//
// # CONFIGURATION PARAMETERS
//
//   - proxy_read_maps (see postconf -d): lists with the tables of other types that
//     may be read.
//   - proxy_write_maps (see postconf -d): the tables that may be changed.
//   - ipc_timeout (3600s): how long a client may take to send or to receive.
//
// # SECURITY
//
// proxymap has passwords of databases and runs without privileges. A table's
// file may belong to root with mode 0600: it is read before privileges are
// dropped. The file of an SQLite database must be readable by mail_owner. Keys come
// from strangers; they reach a database as values only, never as part of a
// query's text. Tables that decide under which user something is delivered should
// not be in a database that others can write.
//
// # DIAGNOSTICS
//
// A look-up that fails is logged with the table and the reason; the client is told
// that it failed. A request for a table that is not served is logged as "request
// for unapproved table".
//
// # BUGS
//
// getent(1) has one status for a name that does not exist and for a source in
// nsswitch.conf that is not available: such a user is "not found".
//
// # SEE ALSO
//
// postconf(5), pgsql_table(5), mysql_table(5), ldap_table(5), sqlite_table(5),
// memcache_table(5), redis_table(5), getent(1)
package main
