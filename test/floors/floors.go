// Package floors knows which package may import which.
//
// The packages of lib/ stand on floors. A package imports packages of lower
// floors, and of its own floor only those to its left in the list. The programs
// at the top level import lib/ and packages below themselves, never each other.
// A third-party module is imported by one package and those below it only.
package floors

import (
	"fmt"
	"slices"
	"strings"
)

// module is the module path, which all import paths of ours begin with.
const module = "sealpost/"

// floors are the packages of lib/, the lowest floor first, each from left to
// right. A package below another one stands directly to its right.
var floors = [][]string{
	{"sendopts", "ehlo", "getopt", "filelock", "atomicfile", "confline", "netstring", "policyclient", "logread"},
	{"attr", "record", "dsn", "xforward", "mailproto", "submit", "address", "idn", "header", "mime", "bouncetext", "maillog", "certname", "sasl"},
	{"config", "store", "table", "dbclient", "dbtypes", "queue", "mailbox", "command"},
	{"dns", "dane", "mtasts", "smtpio", "route", "smtpclient", "proxyfilter"},
	{"tlspolicy", "reqtls", "tlsconn", "hop", "rewrite"},
	{"mailclient", "instance", "service", "agent"},
}

// owners are the third-party modules, each with the package that it is behind.
// "*" is every package: golang.org/x/sys is the system itself.
var owners = map[string]string{
	"github.com/miekg/dns":           "lib/dns",
	"golang.org/x/net/idna":          "lib/idn",
	"github.com/emersion/go-message": "bounce",
	"github.com/emersion/go-smtp":    "test/interop",
	"go.etcd.io/bbolt":               "lib/store",
	"github.com/hashicorp/go-hclog":  "lib/maillog",
	"github.com/dlclark/regexp2/v2":  "lib/table",
	"github.com/jackc/pgx/v5":        "lib/dbclient/pgsql",
	"github.com/go-sql-driver/mysql": "lib/dbclient/mysql",
	"github.com/go-ldap/ldap/v3":     "lib/dbclient/ldap",
	"modernc.org/sqlite":             "lib/dbclient/sqlite",
	"github.com/bradfitz/gomemcache": "lib/dbclient/memcache",
	"github.com/redis/go-redis/v9":   "lib/dbclient/redis",
	"golang.org/x/sys":               "*",
}

// testOnly are modules that only test files import.
var testOnly = []string{"github.com/google/go-cmp"}

// A File is one source file's imports.
type File struct {
	Package string // import path without the module: "lib/attr", "smtpd"
	Test    bool
	Imports []string
}

// Check returns one sentence for each import that breaks a rule.
func Check(f File) []string {
	var wrong []string
	for _, path := range f.Imports {
		reason := ""
		if ours, ok := strings.CutPrefix(path, module); ok {
			reason = checkOurs(f, ours)
		} else if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
			reason = checkForeign(f, path)
		}
		if reason != "" {
			wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", f.Package, path, reason))
		}
	}
	return wrong
}

func checkOurs(f File, imported string) string {
	from, to := top(f.Package), top(imported)
	switch {
	case f.Package == imported:
		return "" // a test of the package from outside
	case from == "test" || f.Test && (to == "test" || to == "lib"):
		if to != "lib" && to != "test" && to != "conf" {
			return "no program imports or tests another one's packages"
		}
		return ""
	case to == "test" || to == "conf":
		return "only tests import it"
	case from == "lib":
		return checkFloors(f.Package, imported)
	case to == "lib" || from == to:
		return ""
	}
	return "a program never imports another program"
}

func checkFloors(from, to string) string {
	if top(to) != "lib" {
		return "lib/ never imports a program"
	}
	a, i, ok := place(from)
	if !ok {
		return "the importing package has no place in the list of floors"
	}
	b, j, ok := place(to)
	switch {
	case !ok:
		return "it has no place in the list of floors"
	case b > a:
		return "it is on a higher floor"
	case b == a && j > i:
		return "it is on the same floor, to the right"
	case b == a && j == i && !below(from, to):
		return "it is below the importing package"
	}
	return ""
}

// place is the floor of a package of lib/ and its position there.
func place(path string) (floor, position int, ok bool) {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "lib/"), "/")
	for n, list := range floors {
		if i := slices.Index(list, name); i >= 0 {
			return n, i, true
		}
	}
	return 0, 0, false
}

func checkForeign(f File, path string) string {
	for _, m := range testOnly {
		if below(path, m) {
			if f.Test {
				return ""
			}
			return "only test files import it"
		}
	}
	for m, owner := range owners {
		if !below(path, m) {
			continue
		}
		if owner == "*" || below(f.Package, owner) {
			return ""
		}
		return "only " + owner + " imports this module"
	}
	return "this module is not in the table of third-party modules"
}

// below tells whether path is root or in it.
func below(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

func top(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}
