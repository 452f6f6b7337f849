package ldap

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"sealpost/lib/dbclient/dbtest"
	"sealpost/lib/table"
)

func open(t testing.TB, hosts, text string) table.Table {
	t.Helper()
	return dbtest.MustOpen(t, "ldap", Opener(nil), "server_host = "+hosts+"\nsearch_base = dc=test\n"+text)
}

const injectable = "query_filter = (&(objectClass=person)(mail=%s))\nsearch_base = ou=x%d,dc=test\n"

// checkKey asks for a key and looks at the search that arrives: it has the filter and
// the base that were written, with the key as one value of each.
func checkKey(t *testing.T, s *server, tbl table.Table, key string) {
	t.Helper()
	s.Asked()
	dbtest.Lookup(t, tbl, key)
	at := strings.LastIndexByte(key, '@')
	askable := utf8.ValidString(key) && !strings.Contains(key, "\x00") && at >= 0 && at < len(key)-1
	asked := strings.Join(s.Asked(), "\n")
	_, asked, found := strings.Cut("\n"+asked, "\nsearch ")
	if found != askable {
		t.Errorf("%q: a search is %v, want %v", key, found, askable)
	}
	if !found {
		return
	}
	key = strings.ToLower(key)
	base, ok := strings.CutSuffix(asked, fmt.Sprintf(` (&(objectClass="person")(mail=%q))`, key))
	if !ok {
		t.Errorf("%q: the server was asked %q", key, asked)
		return
	}
	dn, err := goldap.ParseDN(base)
	if err != nil || len(dn.RDNs) != 2 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != "x"+key[strings.LastIndexByte(key, '@')+1:] {
		t.Errorf("%q: the base is %q, %v", key, base, err)
	}
}

func TestKeysStayText(t *testing.T) {
	s := serve(t, &server{answer: always()})
	tbl := open(t, s.Addr(), injectable)
	for _, key := range dbtest.Keys {
		checkKey(t, s, tbl, key)
	}
}

// FuzzKey: the server reads any key as one value, or is not asked.
func FuzzKey(f *testing.F) {
	for _, key := range dbtest.Keys {
		f.Add(key)
	}
	s := serve(f, &server{answer: always()})
	tbl := open(f, s.Addr(), injectable)
	f.Fuzz(func(t *testing.T, key string) { checkKey(t, s, tbl, key) })
}

// A leading "#" or blank in the value is special in a DN only at its begin.
func TestBaseThatBeginsWithTheKey(t *testing.T) {
	s := serve(t, &server{answer: always()})
	tbl := open(t, s.Addr(), "search_base = ou=%d,dc=test\n")
	for _, domain := range []string{"#41", " a", "a ", "# ", "a=b", "\\#41", "a\\"} {
		s.Asked()
		dbtest.Lookup(t, tbl, "u@"+domain)
		asked := strings.Join(s.Asked(), "\n")
		_, asked, _ = strings.Cut("\n"+asked, "\nsearch ")
		base, _, _ := strings.Cut(asked, " (mailacceptinggeneralid=")
		dn, err := goldap.ParseDN(base)
		if err != nil || len(dn.RDNs) != 2 || dn.RDNs[0].Attributes[0].Value != domain {
			t.Errorf("%q: the base is %q, %v", domain, base, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	groups := map[string]entry{
		"cn=group": {"cn=group", []string{"member", "cn=a", "member", "cn=b", "maildrop", "g"}},
		"cn=a":     {"cn=a", []string{"maildrop", "a", "mail", "leaf-a"}},
		"cn=b":     {"cn=b", []string{"maildrop", "b", "final", "b-final"}},
		"cn=loop":  {"cn=loop", []string{"member", "cn=loop", "maildrop", "l"}},
		"cn=url":   {"cn=url", []string{"member", "ldap:///cn=a?maildrop?base?(objectClass=*)"}},
		"cn=bad":   {"cn=bad", []string{"member", "ldap://%zz/"}},
		"cn=gone":  {"cn=gone", []string{"member", "cn=nosuch", "maildrop", "g"}},
	}
	const members = "special_result_attribute = member\n"
	for _, tt := range []struct{ name, config, key, want string }{
		{"a value", "", "a", "a"},
		{"nothing there", "", "nosuch", "not found"},
		{"names of attributes in any case", "result_attribute = MailDrop, MAIL\n", "a", "a,leaf-a"},
		{"result_format", "result_format = <%s>\n", "a", "<a>"},
		{"result_filter is its older name", "result_filter = <%s>\n", "a", "<a>"},
		{"members", members, "group", "g,a,b"},
		{"leaf attributes of entries without members", members + "leaf_result_attribute = mail\nresult_attribute =\n", "group", "leaf-a"},
		{"a terminal attribute is all that counts", members + "terminal_result_attribute = final\n", "group", "g,a,b-final"},
		{"a member of itself is read once more, not for ever", members, "loop", "l,l"},
		{"a URL", members, "url", "a"},
		{"a malformed URL", members, "bad", "error: LDAP URL in an entry: "},
		{"a member that is not there", members, "gone", "g"},
		{"expansion_limit", members + "expansion_limit = 2\n", "group", "error: expansion_limit is exceeded: more than 2 values"},
		{"recursion_limit is not reached", members + "recursion_limit = 1\n", "group", "g,a,b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const noSuchObject = 32
			s := serve(t, &server{answer: func(q search) ([]entry, int) {
				name := q.base
				if _, key, ok := strings.Cut(q.filter, `(cn="`); ok {
					if name = "cn=" + strings.TrimSuffix(key, `")`); groups[name].dn == "" {
						return nil, 0
					}
				}
				if groups[name].dn == "" {
					return nil, noSuchObject
				}
				return []entry{groups[name]}, 0
			}})
			got := dbtest.Lookup(t, open(t, s.Addr(), "query_filter = (cn=%s)\n"+tt.config), tt.key)
			if got != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(got, tt.want)) {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// Members of members without an end are an error, not a loop.
func TestRecursionIsBounded(t *testing.T) {
	n := 0
	s := serve(t, &server{answer: func(search) ([]entry, int) {
		n++
		return []entry{{"cn=x", []string{"member", fmt.Sprintf("cn=%d", n)}}}, 0
	}})
	tbl := open(t, s.Addr(), "special_result_attribute = member\nrecursion_limit = 5\n")
	if got := dbtest.Lookup(t, tbl, "k"); got != "error: recursion_limit is exceeded: 5" {
		t.Error(got)
	}
}

func TestBind(t *testing.T) {
	const invalidCredentials = 49
	for _, tt := range []struct {
		name, config string
		code         byte
		bound, want  string
	}{
		{"with a name and a password", "bind_dn = cn=admin\nbind_pw = it's $ecret %s\n", 0, "bind cn=admin it's $ecret %s", "v"},
		{"anonymous", "", 0, "bind  ", "v"},
		{"not at all", "bind = no\n", 0, "", "v"},
		{"refused", "bind_dn = cn=admin\nbind_pw = secret\n", invalidCredentials, "bind cn=admin secret", "error: host ldap://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &server{answer: always(entry{"cn=x", []string{"maildrop", "v"}}), bindCode: tt.code})
			got := dbtest.Lookup(t, open(t, s.Addr(), tt.config), "k")
			if !strings.HasPrefix(got, tt.want) || strings.Contains(got, "secret") {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if asked := s.Asked(); tt.bound != "" && asked[0] != tt.bound || tt.bound == "" && !strings.HasPrefix(asked[0], "search ") {
				t.Errorf("asked %q", asked)
			}
		})
	}
}

// A result code about the state of the server makes the next host answer; one about the
// question is an error.
func TestErrorsOfTheServer(t *testing.T) {
	const busy, unwilling, sizeLimit, noSuchObject = 51, 53, 4, 32
	good := serve(t, &server{answer: always(entry{"cn=x", []string{"maildrop", "v"}})})
	for code, want := range map[int]string{busy: "v", -1: "v", unwilling: "error: search: ", sizeLimit: "error: search: ", noSuchObject: "not found"} {
		s := serve(t, &server{answer: func(search) ([]entry, int) { return nil, code }})
		for range 20 { // hosts are tried in random order
			tbl := open(t, s.Addr()+" "+good.Addr(), "")
			got := dbtest.Lookup(t, tbl, "k")
			if len(s.Asked()) == 0 {
				continue
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("code %d: %s, want %s", code, got, want)
			}
			break
		}
	}
}

// A connection that was kept while the server was restarted is no reason to fail.
func TestServerThatIsRestarted(t *testing.T) {
	s := serve(t, &server{answer: always(entry{"cn=x", []string{"maildrop", "v"}})})
	tbl := open(t, s.Addr(), "")
	for i := range 3 {
		if got := dbtest.Lookup(t, tbl, "k"); got != "v" {
			t.Errorf("look-up %d: %s", i, got)
		}
		s.Kick()
	}
}

// Look-ups that wait for a server that does not answer wait together, not one after the
// other.
func TestServerThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, &server{answer: func(search) ([]entry, int) { return nil, 0 }})
	s.Server = dbtest.Serve(t, func(*dbtest.Server, net.Conn) { <-release })
	t.Cleanup(func() { close(release) })
	tbl := open(t, s.Addr(), "timeout = 1\n")
	const lookups = 6
	start := time.Now()
	var wg sync.WaitGroup
	for range lookups {
		wg.Go(func() {
			if got := dbtest.Lookup(t, tbl, "k"); !strings.HasPrefix(got, "error: ") {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > lookups*time.Second/2 {
		t.Errorf("%d look-ups at a time with a time limit of 1s took %v", lookups, took)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	const base = "search_base = dc=test\n"
	for _, tt := range []struct{ name, text, want string }{
		{"no base", "server_host = h\n", "parameter search_base: is missing"},
		{"a filter", base + "query_filter = (mail=%z)\n", "parameter query_filter: "},
		{"scope", base + "scope = all\n", "parameter scope: bad value"},
		{"dereference", base + "dereference = 4\n", "parameter dereference: bad value"},
		{"an old version", base + "version = 2\n", "parameter version: is not supported"},
		{"a SASL bind", base + "bind = sasl\n", "parameter bind: is not supported"},
		{"referrals", base + "chase_referrals = yes\n", "parameter chase_referrals: is not supported"},
		{"a certificate authority", base + "tls_ca_cert_file = /no/such\n", "parameter tls_ca_cert_file: "},
		{"a URL", base + "server_host = ldap://[\n", "parameter server_host: "},
	} {
		dbtest.WantMistake(t, "ldap", Opener(nil), tt.text, tt.want)
	}
}

// A filter that is no filter is said at the look-up: what is filled in could be part of it.
func TestMalformedFilter(t *testing.T) {
	s := serve(t, &server{answer: always()})
	if got := dbtest.Lookup(t, open(t, s.Addr(), "query_filter = (&(a=b)\n"), "k"); !strings.HasPrefix(got, "error: ") {
		t.Error(got)
	}
}
