package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sealpost/test/harness"
)

var databaseScenarios = []scenario{
	{"mailboxes in PostgreSQL, which is killed and comes back", "psql", killed(postgres())},
	{"mailboxes in MariaDB, which is killed and comes back", "mariadbd", killed(mariadb())},
	{"mailboxes in OpenLDAP, which is killed and comes back", "slapd", killed(openldap())},
	{"mailboxes in Redis, which is killed and comes back", "redis-server", killed(redis())},
	{"mailboxes in memcached, which is killed and comes back", "memcached", killed(memcached())},
	{"mailboxes in SQLite, whose file vanishes and comes back", "sqlite3", vanished},
	{"users of the system: local_recipient_maps as it is by default", "getent", systemUsers},
}

// database is a private server with the mailboxes of ours.test.
type database struct {
	kind, user string // table type; user that the server runs as
	// prepare makes the server's directory; load fills a running server.
	prepare, load func(ctx context.Context, d *server) error
	command       func(d *server) []string
	ready         func(ctx context.Context, d *server) error
	config        string // of the table, beside the host
	volatile      bool   // it forgets when it is killed
	host          string // parameter with the host
}

// server is a database while it runs.
type server struct {
	database
	dir  string
	port int
	cred *syscall.Credential
	cmd  *exec.Cmd
}

// boxes are the mailboxes: names that a careless client would take for syntax.
var boxes = map[string]string{"bob": "bob/", "o'brien": "bob/", "back\\slash": "bob/", "star*": "bob/", "per%s": "bob/"}

// sql are the statements that make them.
func sqlBoxes(escape string) string {
	b := "CREATE TABLE boxes (k varchar(200), v varchar(200));\n"
	for name, box := range boxes {
		name = strings.ReplaceAll(strings.ReplaceAll(name, "'", "''"), `\`, escape)
		b += fmt.Sprintf("INSERT INTO boxes VALUES ('%s@ours.test', '%s');\n", name, box)
	}
	return b
}

const sqlQuery = "query = SELECT v FROM boxes WHERE k = '%u@%d' AND 'x' <> '%1'\nuser = mail\npassword = it's $ecret\ndbname = maildb\n"

func postgres() database {
	tool := func(name string) string {
		// Debian keeps them out of the path, one directory per version.
		if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
			return found[len(found)-1]
		}
		return name
	}
	return database{kind: "pgsql", user: "postgres", host: "hosts", config: sqlQuery,
		prepare: func(ctx context.Context, d *server) error {
			return d.run(ctx, "", tool("initdb"), "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D", d.dir+"/data")
		},
		command: func(d *server) []string {
			return []string{tool("postgres"), "-D", d.dir + "/data", "-h", "127.0.0.1", "-p", strconv.Itoa(d.port), "-k", d.dir}
		},
		ready: func(ctx context.Context, d *server) error { return d.psql(ctx, "postgres", "SELECT 1") },
		load: func(ctx context.Context, d *server) error {
			return errors.Join(d.psql(ctx, "postgres", "CREATE ROLE mail LOGIN PASSWORD 'it''s $ecret'"),
				d.psql(ctx, "postgres", "CREATE DATABASE maildb OWNER mail"),
				d.psql(ctx, "maildb", "SET ROLE mail; "+sqlBoxes(`\`)))
		}}
}

func (d *server) psql(ctx context.Context, db, text string) error {
	return d.run(ctx, text, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", d.dir, "-p", strconv.Itoa(d.port), db)
}

func mariadb() database {
	return database{kind: "mysql", user: "mysql", host: "hosts", config: sqlQuery,
		prepare: func(ctx context.Context, d *server) error {
			return d.run(ctx, "", "mariadb-install-db", "--no-defaults", "--datadir="+d.dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
		},
		command: func(d *server) []string {
			return []string{"mariadbd", "--no-defaults", "--datadir=" + d.dir + "/data", "--socket=" + d.dir + "/s", "--bind-address=127.0.0.1",
				"--port=" + strconv.Itoa(d.port), "--pid-file=" + d.dir + "/pid", "--innodb-flush-log-at-trx-commit=2"}
		},
		ready: func(ctx context.Context, d *server) error { return d.mariadb(ctx, "SELECT 1") },
		load: func(ctx context.Context, d *server) error {
			return d.mariadb(ctx, "CREATE DATABASE maildb; CREATE USER 'mail'@'%' IDENTIFIED BY 'it''s $ecret'; GRANT SELECT ON maildb.* TO 'mail'@'%'; USE maildb; "+
				sqlBoxes(`\\`))
		}}
}

func (d *server) mariadb(ctx context.Context, text string) error {
	return d.run(ctx, text, "mariadb", "--no-defaults", "-u", "root", "-S", d.dir+"/s")
}

func openldap() database {
	return database{kind: "ldap", user: "openldap", host: "server_host",
		config: "search_base = ou=%d,dc=test\nquery_filter = (&(objectClass=inetOrgPerson)(mail=%s))\nresult_attribute = homePostalAddress\n" +
			"bind_dn = cn=admin,dc=test\nbind_pw = it's $ecret\n",
		prepare: func(ctx context.Context, d *server) error {
			conf := "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n" +
				"modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile " + d.dir + "/pid\ndatabase mdb\nsuffix dc=test\nrootdn cn=admin,dc=test\n" +
				"rootpw \"it's $ecret\"\ndirectory " + d.dir + "\naccess to * by * none\n"
			ldif := "dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: test\n\ndn: ou=ours.test,dc=test\nobjectClass: organizationalUnit\nou: ours.test\n\n"
			n := 0
			for name, box := range boxes {
				n++
				ldif += fmt.Sprintf("dn: uid=u%d,ou=ours.test,dc=test\nobjectClass: inetOrgPerson\nuid: u%[1]d\ncn: x\nsn: x\nmail: %s@ours.test\nhomePostalAddress: %s\n\n", n, name, box)
			}
			if err := os.WriteFile(d.dir+"/slapd.conf", []byte(conf), 0o644); err != nil {
				return err
			}
			return d.run(ctx, ldif, "/usr/sbin/slapadd", "-f", d.dir+"/slapd.conf")
		},
		command: func(d *server) []string {
			return []string{"/usr/sbin/slapd", "-f", d.dir + "/slapd.conf", "-h", "ldap://" + d.address(), "-d", "0"}
		},
		ready: connects, load: nothing}
}

func redis() database {
	return database{kind: "redis", user: "redis", host: "hosts", config: "hash = boxes-%d\nkey_format = u:%s\npassword = it's-$ecret\n",
		volatile: true, prepare: nothing, ready: connects,
		command: func(d *server) []string {
			return []string{"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(d.port), "--dir", d.dir, "--save", "", "--requirepass", "it's-$ecret"}
		},
		load: func(ctx context.Context, d *server) error {
			for name, box := range boxes {
				err := d.run(ctx, "", "redis-cli", "-p", strconv.Itoa(d.port), "-a", "it's-$ecret", "--no-auth-warning", "HSET", "boxes-ours.test", "u:"+name+"@ours.test", box)
				if err != nil {
					return err
				}
			}
			return nil
		}}
}

func memcached() database {
	return database{kind: "memcache", user: "memcache", host: "memcache", config: "key_format = u:%s\nretry_pause = 1\n",
		volatile: true, prepare: nothing, ready: connects,
		command: func(d *server) []string {
			return []string{"memcached", "-l", "127.0.0.1", "-p", strconv.Itoa(d.port), "-U", "0"}
		},
		load: func(ctx context.Context, d *server) error {
			var dialer net.Dialer
			c, err := dialer.DialContext(ctx, "tcp", d.address())
			if err != nil {
				return err
			}
			defer c.Close()
			for name, box := range boxes {
				fmt.Fprintf(c, "set u:%s@ours.test 0 0 %d\r\n%s\r\n", name, len(box), box)
				reply := make([]byte, len("STORED\r\n"))
				if _, err := c.Read(reply); err != nil || string(reply) != "STORED\r\n" {
					return fmt.Errorf("memcached said %q: %w", reply, err)
				}
			}
			return nil
		}}
}

func nothing(context.Context, *server) error { return nil }

// connects is ready for servers that answer as soon as they listen.
func connects(ctx context.Context, d *server) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", d.address())
	if err != nil {
		return err
	}
	return c.Close()
}

func (d *server) address() string { return "127.0.0.1:" + strconv.Itoa(d.port) }

// database makes a private server; it does not run yet.
func (s *stage) database(ctx context.Context, db database) (*server, error) {
	d := &server{database: db, dir: filepath.Join(s.dir, db.kind)}
	u, err := user.Lookup(db.user)
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	d.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := errors.Join(os.Mkdir(d.dir, 0o755), os.Chown(d.dir, int(uid), int(gid))); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d.port = ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	s.closers = append(s.closers, func() error { d.kill(); return nil })
	return d, d.prepare(ctx, d)
}

// run runs a program as the server's user.
func (d *server) run(ctx context.Context, stdin string, args ...string) error {
	cmd := command(ctx, args...)
	cmd.Dir, cmd.Stdin = d.dir, strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.cred}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, out)
	}
	return nil
}

// start starts the server and waits until it answers.
func (d *server) start(ctx context.Context) error {
	d.cmd = command(ctx, d.command(d)...)
	d.cmd.Dir = d.dir
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.cred, Setpgid: true}
	log, err := os.OpenFile(filepath.Join(d.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.cmd = nil
		return err
	}
	short, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var last error
	err = harness.Poll(short, func() (bool, error) { last = d.ready(short, d); return last == nil, nil })
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%s does not start: %w: %w: %s", d.kind, err, last, lastLines(string(said), 5))
	}
	return nil
}

// kill kills the server and what it started.
func (d *server) kill() {
	if d.cmd == nil {
		return
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
	_ = d.cmd.Wait()
	d.cmd = nil
}

// killed is the story of a server that is killed and comes back.
func killed(db database) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		d, err := s.database(ctx, db)
		if err != nil {
			return err
		}
		if err := d.start(ctx); err != nil {
			return err
		}
		if err := d.load(ctx, d); err != nil {
			return err
		}
		table := filepath.Join(s.dir, "table.cf")
		// Only root can read the password.
		text := fmt.Sprintf("%s = inet:%s\nretry_interval = 1\ntimeout = 5\ndomain = ours.test\n", d.host, d.address()) + d.config
		if d.kind == "memcache" {
			text = strings.Replace(text, "retry_interval = 1\n", "", 1)
		}
		if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
			return err
		}
		m, err := s.ours("ours", map[string]string{"virtual_mailbox_maps": d.kind + ":" + table})
		if err != nil {
			return err
		}
		if err := m.Start(ctx); err != nil {
			return err
		}
		return d.story(ctx, m)
	}
}

func (d *server) story(ctx context.Context, m *system) error {
	if err := m.knowsBoxes(ctx); err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	if err := m.send(ctx, envelope{from: "alice@ours.test", to: "bob@ours.test"}, letter("from-database", "text\n")); err != nil {
		return err
	}
	if _, err := m.delivered(ctx, "bob"); err != nil {
		return err
	}
	d.kill()
	for _, to := range []string{"bob@ours.test", "nobody@ours.test"} {
		if err := m.recipient(ctx, to, 451); err != nil {
			return fmt.Errorf("while the server is away: %w%s", err, logs(m))
		}
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	if d.volatile {
		if err := d.load(ctx, d); err != nil {
			return err
		}
	}
	// Within retry_interval the host is left alone.
	err := harness.Poll(ctx, func() (bool, error) { return m.recipient(ctx, "bob@ours.test", 250) == nil, nil })
	if err != nil {
		return fmt.Errorf("after the server came back: %w%s", err, logs(m))
	}
	return m.knowsBoxes(ctx)
}

// knowsBoxes asks for the mailboxes, and for addresses that would be found if a
// key became part of the query.
func (m *system) knowsBoxes(ctx context.Context) error {
	for name := range boxes {
		to := name + "@ours.test"
		if name == `back\slash` {
			to = `"back\\slash"@ours.test`
		}
		if err := m.recipient(ctx, to, 250); err != nil {
			return err
		}
	}
	for _, to := range []string{"nobody", "x'or'1'='1", `"x' OR '1'='1"`, `"x\\' OR 1=1 -- "`, "b*", `"b)(mail=*"`, `"*)(|(mail=*"`, `"bob@ours.test 0 0"`, "%s", "bob%"} {
		if err := m.recipient(ctx, to+"@ours.test", 550); err != nil {
			return err
		}
	}
	return nil
}

// recipient offers one recipient and expects a reply.
func (m *system) recipient(ctx context.Context, to string, code int) error {
	c, err := m.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := say(c, 250, "MAIL FROM:<alice@elsewhere.test>"); err != nil {
		return err
	}
	if err := say(c, code, "RCPT TO:<"+to+">"); err != nil {
		return err
	}
	return goodbye(c)
}

// vanished is the story of an SQLite file that is not there for a while.
func vanished(ctx context.Context, s *stage) error {
	file, table := filepath.Join(s.dir, "mail?#1.db"), filepath.Join(s.dir, "table.cf")
	if _, err := run(ctx, strings.NewReader(sqlBoxes(`\`)), "sqlite3", file); err != nil {
		return err
	}
	text := "dbpath = " + file + "\nquery = SELECT v FROM boxes WHERE k = '%s'\nidle_interval = 1\n"
	if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
		return err
	}
	m, err := s.ours("ours", map[string]string{"virtual_mailbox_maps": "sqlite:" + table})
	if err != nil {
		return err
	}
	// Away at the start: nothing is kept open.
	if err := os.Rename(file, file+".away"); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	if err := m.recipient(ctx, "bob@ours.test", 451); err != nil {
		return fmt.Errorf("while the file is away: %w%s", err, logs(m))
	}
	if err := os.Rename(file+".away", file); err != nil {
		return err
	}
	err = harness.Poll(ctx, func() (bool, error) { return m.recipient(ctx, "bob@ours.test", 250) == nil, nil })
	if err != nil {
		return fmt.Errorf("after the file came back: %w%s", err, logs(m))
	}
	return m.knowsBoxes(ctx)
}

// systemUsers has the recipients of mydestination from the system, as
// local_recipient_maps says when nobody sets it.
func systemUsers(ctx context.Context, s *stage) error {
	m, err := s.ours("ours", map[string]string{"mydestination": "ours.test", "virtual_mailbox_domains": "", "virtual_mailbox_maps": "",
		"local_transport": "virtual:", "alias_maps": "", "local_recipient_maps": "proxy:unix:passwd.byname $alias_maps",
		"allow_min_user": "yes"}) // what looks like an option of getent gets that far
	if err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	for to, code := range map[string]int{"root": 250, "Daemon": 250, "nobody-such": 550, "0": 550, "-h": 550} {
		if err := m.recipient(ctx, to+"@ours.test", code); err != nil {
			return fmt.Errorf("%w%s", err, logs(m))
		}
	}
	if warned := strings.Contains(m.Log.Text(), "unavailable"); warned {
		return fmt.Errorf("a table is unavailable:%s", logs(m))
	}
	return nil
}
