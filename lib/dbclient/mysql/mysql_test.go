package mysql

import (
	"strings"
	"testing"

	"sealpost/lib/dbclient/dbtest"
	"sealpost/lib/table"
)

const query = "query = SELECT v FROM t WHERE k = '%s'\n"

func open(t testing.TB, hosts, text string) table.Table {
	t.Helper()
	return dbtest.MustOpen(t, "mysql", Opener(nil), "hosts = "+hosts+"\nuser = u\npassword = secret\ndbname = d\n"+text)
}

// statements are what the server was asked, without the log-ins.
func statements(s *server) []string {
	var list []string
	for _, text := range s.Asked() {
		if !strings.HasPrefix(text, "login ") {
			list = append(list, text)
		}
	}
	return list
}

// literal is the text that MySQL reads of one literal, which must be all there is.
func literal(text string, backslash bool) (string, bool) {
	if len(text) < 2 || text[0] != '\'' || text[len(text)-1] != '\'' {
		return "", false
	}
	text = text[1 : len(text)-1]
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && backslash && i+1 < len(text):
			i++
			b.WriteString(map[byte]string{'n': "\n", 'r': "\r", 't': "\t", '0': "\x00", 'Z': "\x1a", 'b': "\b"}[text[i]])
			if strings.IndexByte("nrt0Zb", text[i]) < 0 {
				b.WriteByte(text[i])
			}
		case c == '\\' && backslash:
			return "", false
		case c == '\'' && (i+1 == len(text) || text[i+1] != '\''):
			return "", false
		case c == '\'':
			i++
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// checkKey asks for a key and looks at the statement that arrives: it is the query,
// with the key as one literal.
func checkKey(t *testing.T, s *server, tbl table.Table, key string) {
	t.Helper()
	statements(s)
	dbtest.Lookup(t, tbl, key)
	asked := statements(s)
	if len(asked) != 1 {
		t.Fatalf("%q: the server was asked %q", key, asked)
	}
	rest, ok := strings.CutPrefix(asked[0], "SELECT v FROM t WHERE k = ")
	if got, whole := literal(rest, s.status&noBackslash == 0); !ok || !whole || got != strings.ToLower(key) {
		t.Errorf("%q: the server was asked %q", key, asked[0])
	}
}

// In both modes of the server that make a difference.
func TestKeysStayText(t *testing.T) {
	for _, status := range []uint16{0, noBackslash} {
		s := serve(t, &server{answer: always(), status: status})
		tbl := open(t, s.Addr(), query)
		for _, key := range dbtest.Keys {
			checkKey(t, s, tbl, key)
		}
	}
}

// FuzzKey: the server reads any key as one literal, or is not asked.
func FuzzKey(f *testing.F) {
	for _, key := range dbtest.Keys {
		f.Add(key)
	}
	servers := []*server{serve(f, &server{answer: always()}), serve(f, &server{answer: always(), status: noBackslash})}
	tables := []table.Table{open(f, servers[0].Addr(), query), open(f, servers[1].Addr(), query)}
	f.Fuzz(func(t *testing.T, key string) {
		for i, s := range servers {
			if key != "" && strings.ToValidUTF8(key, "") == key && !strings.Contains(key, "\x00") {
				checkKey(t, s, tables[i], key)
			} else if got := dbtest.Lookup(t, tables[i], key); got != "not found" {
				t.Errorf("%q: %s", key, got)
			}
		}
	})
}

// A text in double quotes is text, whatever mode the server has for them.
func TestDoubleQuotes(t *testing.T) {
	s := serve(t, &server{answer: always()})
	tbl := open(t, s.Addr(), "query = SELECT v FROM t WHERE k = \"%s\" AND n = %u\n")
	dbtest.Lookup(t, tbl, `a"'@b`)
	if got, want := strings.Join(statements(s), ";"), `SELECT v FROM t WHERE k = 'a\"\'@b' AND n = 'a\"\''`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestLogin(t *testing.T) {
	s := serve(t, &server{answer: always([]any{"v"})})
	if got := dbtest.Lookup(t, open(t, s.Addr(), query), "k"); got != "v" {
		t.Fatal(got)
	}
	login := s.Asked()[0]
	if !strings.Contains(login, "u\x00") || !strings.Contains(login, "d\x00") || strings.Contains(login, "secret") {
		t.Errorf("%q", login)
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, config, key string
		rows              [][]any
		want              string
	}{
		{"one", "", "k", [][]any{{"v"}}, "v"},
		{"none", "", "k", [][]any{}, "not found"},
		{"rows and columns", "", "k", [][]any{{"a", "b"}, {"c", "d"}}, "a,b,c,d"},
		{"NULL and empty text are no values", "", "k", [][]any{{nil, ""}, {"c", nil}}, "c"},
		{"result_format", "result_format = %U:%s\n", "k@x", [][]any{{"a"}, {"b"}}, "k:a,k:b"},
		{"expansion_limit", "expansion_limit = 2\n", "k", [][]any{{"a"}, {"b"}}, "a,b"},
		{"above expansion_limit", "expansion_limit = 1\n", "k", [][]any{{"a"}, {"b"}}, "error: expansion_limit is exceeded: more than 1 values"},
		{"in domain", "domain = x.org\n", "k@X.org", [][]any{{"v"}}, "v"},
		{"in another domain", "domain = x.org\n", "k@y.org", [][]any{{"v"}}, "not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &server{answer: always(tt.rows...)})
			if got := dbtest.Lookup(t, open(t, s.Addr(), query+tt.config), tt.key); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// An error of the statement is the same on every host: nobody is left alone for it.
func TestErrorOfTheServer(t *testing.T) {
	s := serve(t, &server{answer: func(string) ([][]any, string) { return nil, "Table 'd.t' doesn't exist" }})
	tbl := open(t, s.Addr(), query)
	for range 2 {
		if got := dbtest.Lookup(t, tbl, "k"); !strings.Contains(got, "Table 'd.t' doesn't exist") || strings.Contains(got, "no host") {
			t.Error(got)
		}
	}
}

func TestHostsThatFail(t *testing.T) {
	s := serve(t, &server{answer: always([]any{"v"})})
	tbl := open(t, "inet:"+dbtest.Refused(t)+" unix:/no/such/socket inet:"+s.Addr(), query)
	for range 5 {
		if got := dbtest.Lookup(t, tbl, "k"); got != "v" {
			t.Errorf("one of three hosts is up: %s", got)
		}
	}
	tbl = open(t, dbtest.Refused(t), query)
	for range 2 {
		if got := dbtest.Lookup(t, tbl, "k"); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "connection refused") || strings.Contains(got, "secret") {
			t.Error(got)
		}
	}
}

// A connection that was kept while the server was restarted is no reason to fail.
func TestServerThatIsRestarted(t *testing.T) {
	s := serve(t, &server{answer: always([]any{"v"})})
	tbl := open(t, s.Addr(), query)
	for i := range 3 {
		if got := dbtest.Lookup(t, tbl, "k"); got != "v" {
			t.Errorf("look-up %d: %s", i, got)
		}
		s.Kick()
	}
}

// A server that dies in the middle of a question is no answer: the next host is asked.
func TestServerThatHangsUp(t *testing.T) {
	bad := serve(t, &server{answer: func(string) ([][]any, string) { return nil, "" }})
	good := serve(t, &server{answer: always([]any{"v"})})
	dbtest.WantNextHost(t, bad.Server, good.Server, func(hosts string) table.Table { return open(t, hosts, query) })
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, &server{answer: func(string) ([][]any, string) { <-release; return nil, "" }})
	t.Cleanup(func() { close(release) })
	if got := dbtest.Lookup(t, open(t, s.Addr(), query+"timeout = 1\n"), "k"); !strings.HasPrefix(got, "error: host "+s.Addr()) {
		t.Error(got)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no query", "hosts = h\n", "parameter query: is missing"},
		{"a function is PostgreSQL's", "select_function = f\n", "parameter query: is missing"},
		{"a placeholder", "query = SELECT ? '%s'\n", "parameter query: invalid query"},
		{"a certificate authority", query + "tls_CAfile = /no/such\n", "parameter tls_CAfile: "},
		{"a certificate", query + "tls_cert_file = /no/such\n", "parameter tls_cert_file: "},
		{"yes or no", query + "tls_verify_cert = maybe\n", "parameter tls_verify_cert: "},
	} {
		dbtest.WantMistake(t, "mysql", Opener(nil), tt.text, tt.want)
	}
}

// A server without TLS, where TLS is asked for, does not get the password.
func TestServerWithoutTLS(t *testing.T) {
	s := serve(t, &server{answer: always([]any{"v"})})
	got := dbtest.Lookup(t, open(t, s.Addr(), query+"tls_verify_cert = yes\n"), "k")
	if !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "TLS") || len(s.Asked()) > 0 {
		t.Error(got)
	}
}
