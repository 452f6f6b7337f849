package pgsql

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"sealpost/lib/dbclient/dbtest"
	"sealpost/lib/table"
)

// server is a PostgreSQL server as far as a client of tables sees it.
type server struct {
	*dbtest.Server
	startup  atomic.Value // map[string]string of the last client
	password atomic.Value
	standard string // what it announces for standard_conforming_strings
	login    bool   // it asks for a password
	// answer gives the rows for a statement, or an error of the server; nil, nil closes
	// the connection.
	answer func(statement string) (rows [][]any, err *pgproto3.ErrorResponse)
}

func serve(t testing.TB, s *server) *server {
	t.Helper()
	s.Server = dbtest.Serve(t, func(_ *dbtest.Server, conn net.Conn) { s.talk(conn) })
	return s
}

func (s *server) talk(conn net.Conn) {
	b := pgproto3.NewBackend(conn, conn)
	for {
		m, err := b.ReceiveStartupMessage()
		if err != nil {
			return
		}
		if start, ok := m.(*pgproto3.StartupMessage); ok {
			s.startup.Store(start.Parameters)
			break
		}
		if _, err := conn.Write([]byte("N")); err != nil { // no TLS
			return
		}
	}
	if s.login {
		b.Send(&pgproto3.AuthenticationCleartextPassword{})
		if b.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil || b.Flush() != nil {
			return
		}
		m, err := b.Receive()
		if p, ok := m.(*pgproto3.PasswordMessage); ok && err == nil {
			s.password.Store(p.Password)
		}
	}
	standard := s.standard
	if standard == "" {
		standard = "on"
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	b.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: standard})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil {
			return
		}
		q, ok := m.(*pgproto3.Query)
		if !ok {
			return
		}
		if strings.HasPrefix(q.String, "-- ") { // a ping
			b.Send(&pgproto3.EmptyQueryResponse{})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			continue
		}
		s.Note(q.String)
		rows, fault := s.answer(q.String)
		if rows == nil && fault == nil {
			return
		}
		sendRows(b, rows, fault)
	}
}

func sendRows(b *pgproto3.Backend, rows [][]any, fault *pgproto3.ErrorResponse) {
	const textType = 25
	if fault != nil {
		b.Send(fault)
	} else {
		var fields []pgproto3.FieldDescription
		if len(rows) > 0 {
			for i := range rows[0] {
				fields = append(fields, pgproto3.FieldDescription{Name: []byte{byte('a' + i)}, DataTypeOID: textType, DataTypeSize: -1, TypeModifier: -1})
			}
		}
		b.Send(&pgproto3.RowDescription{Fields: fields})
		for _, row := range rows {
			values := make([][]byte, len(row))
			for i, v := range row {
				if v != nil {
					values[i] = []byte(v.(string))
				}
			}
			b.Send(&pgproto3.DataRow{Values: values})
		}
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT")})
	}
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
}

func always(rows ...[]any) func(string) ([][]any, *pgproto3.ErrorResponse) {
	if rows == nil {
		rows = [][]any{}
	}
	return func(string) ([][]any, *pgproto3.ErrorResponse) { return rows, nil }
}

func open(t testing.TB, hosts, text string) table.Table {
	t.Helper()
	return dbtest.MustOpen(t, "pgsql", Opener(nil), "hosts = "+hosts+"\nuser = u\ndbname = d\n"+text)
}

const query = "query = SELECT v FROM t WHERE k = '%s'\n"

// literal is the text that PostgreSQL reads of one literal, which must be all there is.
func literal(text string) (string, bool) {
	text = strings.Trim(text, " ()")
	if len(text) < 2 || text[0] != '\'' || text[len(text)-1] != '\'' {
		return "", false
	}
	inner := strings.ReplaceAll(text[1:len(text)-1], "''", "\x00")
	return strings.ReplaceAll(inner, "\x00", "'"), !strings.Contains(inner, "'")
}

// checkKey asks for a key and looks at the statement that arrives: it is the query,
// with the key as one literal.
func checkKey(t *testing.T, s *server, tbl table.Table, key string) {
	t.Helper()
	dbtest.Lookup(t, tbl, key)
	asked := s.Asked()
	if len(asked) != 1 {
		t.Fatalf("%q: the server was asked %q", key, asked)
	}
	rest, ok := strings.CutPrefix(asked[0], "SELECT v FROM t WHERE k = ")
	if got, whole := literal(rest); !ok || !whole || got != strings.ToLower(key) {
		t.Errorf("%q: the server was asked %q", key, asked[0])
	}
}

func TestKeysStayText(t *testing.T) {
	s := serve(t, &server{answer: always()})
	tbl := open(t, s.Addr(), query)
	for _, key := range dbtest.Keys {
		checkKey(t, s, tbl, key)
	}
}

// FuzzKey: the server reads any key as one literal, or is not asked.
func FuzzKey(f *testing.F) {
	for _, key := range dbtest.Keys {
		f.Add(key)
	}
	s := serve(f, &server{answer: always()})
	tbl := open(f, s.Addr(), query)
	f.Fuzz(func(t *testing.T, key string) {
		if key != "" && strings.ToValidUTF8(key, "") == key && !strings.Contains(key, "\x00") {
			checkKey(t, s, tbl, key)
		} else if got := dbtest.Lookup(t, tbl, key); got != "not found" || len(s.Asked()) > 0 {
			t.Errorf("%q: %s", key, got)
		}
	})
}

// Without these settings quoting would be another one. A server, or a pooler in front of
// it, that does not take them is not asked. statement_timeout and others are unknown to
// PgBouncer, which then refuses the connection.
func TestSession(t *testing.T) {
	s := serve(t, &server{answer: always([]any{"v"}), login: true})
	if got := dbtest.Lookup(t, open(t, s.Addr(), query+"password = it's $ecret %s\n"), "k"); got != "v" {
		t.Fatal(got)
	}
	startup := s.startup.Load().(map[string]string)
	for name, want := range map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on", "user": "u", "database": "d"} {
		if startup[name] != want {
			t.Errorf("%s = %q, want %q", name, startup[name], want)
		}
	}
	known := []string{"user", "database", "client_encoding", "standard_conforming_strings", "application_name", "datestyle", "timezone"}
	for name := range startup {
		if !slices.Contains(known, strings.ToLower(name)) {
			t.Errorf("the session begins with %s = %q, which a pooler does not know", name, startup[name])
		}
	}
	if got := s.password.Load(); got != "it's $ecret %s" {
		t.Errorf("the password is %q", got)
	}
	old := serve(t, &server{answer: always([]any{"v"}), standard: "off"})
	if got := dbtest.Lookup(t, open(t, old.Addr(), query), "k"); !strings.HasPrefix(got, "error: ") || len(old.Asked()) > 0 {
		t.Errorf("a server with other quoting: %s", got)
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
		{"only NULL", "", "k", [][]any{{nil}}, "not found"},
		{"result_format", "result_format = %U:%s\n", "k@x", [][]any{{"a"}, {"b"}}, "k:a,k:b"},
		{"a value is no format", "result_format = <%s>\n", "k", [][]any{{"%s%d"}}, "<%s%d>"},
		{"expansion_limit", "expansion_limit = 2\n", "k", [][]any{{"a"}, {"b"}}, "a,b"},
		{"above expansion_limit", "expansion_limit = 1\n", "k", [][]any{{"a"}, {"b"}}, "error: expansion_limit is exceeded: more than 1 values"},
		{"in domain", "domain = x.org\n", "k@X.org", [][]any{{"v"}}, "v"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &server{answer: always(tt.rows...)})
			if got := dbtest.Lookup(t, open(t, s.Addr(), query+tt.config), tt.key); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// A key of another domain costs no connection.
func TestOtherDomainsAreNotAskedFor(t *testing.T) {
	s := serve(t, &server{answer: always([]any{"v"})})
	tbl := open(t, s.Addr(), query+"domain = x.org\n")
	for _, key := range []string{"a@y.org", "x.org", "@x.org", "a@"} {
		if got := dbtest.Lookup(t, tbl, key); got != "not found" || s.Conns() > 0 {
			t.Errorf("%s: %s, %d connections", key, got, s.Conns())
		}
	}
}

// An error of the statement is the same on every host: nobody is left alone for it.
func TestErrorOfTheServer(t *testing.T) {
	fault := &pgproto3.ErrorResponse{Severity: "ERROR", Code: "42P01", Message: `relation "t" does not exist`}
	s := serve(t, &server{answer: func(string) ([][]any, *pgproto3.ErrorResponse) { return nil, fault }})
	other := serve(t, &server{answer: s.answer})
	tbl := open(t, s.Addr()+" "+other.Addr(), query)
	for range 3 {
		if got := dbtest.Lookup(t, tbl, "k"); !strings.Contains(got, `relation "t" does not exist`) {
			t.Error(got)
		}
	}
	if n := len(s.Asked()) + len(other.Asked()); n != 3 {
		t.Errorf("asked %d times for 3 look-ups", n)
	}
}

func TestHostsThatFail(t *testing.T) {
	s := serve(t, &server{answer: always([]any{"v"})})
	tbl := open(t, dbtest.Refused(t)+", "+s.Addr(), query)
	for range 5 {
		if got := dbtest.Lookup(t, tbl, "k"); got != "v" {
			t.Errorf("one of two hosts is down: %s", got)
		}
	}
	tbl = open(t, dbtest.Refused(t), query)
	if got := dbtest.Lookup(t, tbl, "k"); !strings.Contains(got, "connection refused") {
		t.Error(got)
	}
	if got := dbtest.Lookup(t, tbl, "k"); !strings.Contains(got, "no host is available; last: ") || !strings.Contains(got, "connection refused") {
		t.Errorf("within retry_interval: %s", got)
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
	for _, fault := range []*pgproto3.ErrorResponse{nil, {Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command"}} {
		hangsUp(t, &server{answer: func(string) ([][]any, *pgproto3.ErrorResponse) { return nil, fault }})
	}
}

func hangsUp(t *testing.T, bad *server) {
	t.Helper()
	serve(t, bad)
	good := serve(t, &server{answer: always([]any{"v"})})
	dbtest.WantNextHost(t, bad.Server, good.Server, func(hosts string) table.Table { return open(t, hosts, query) })
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, &server{answer: func(string) ([][]any, *pgproto3.ErrorResponse) { <-release; return nil, nil }})
	t.Cleanup(func() { close(release) })
	if got := dbtest.Lookup(t, open(t, s.Addr(), query+"timeout = 1\n"), "k"); !strings.HasPrefix(got, "error: host "+s.Addr()) {
		t.Error(got)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no query", "hosts = h\n", "parameter query: is missing"},
		{"a sequence in a name", "query = SELECT \"%s\"\n", "parameter query: invalid query"},
		{"a sequence in a text with escapes", "query = SELECT E'%s'\n", "parameter query: invalid query"},
		{"a port", query + "hosts = h:x\n", "parameter hosts: "},
		{"a URI", query + "hosts = postgresql://h:x/\n", "parameter hosts: "},
		{"a limit", query + "expansion_limit = -1\n", "parameter expansion_limit: bad value"},
		{"a format", query + "result_format = %q\n", "parameter result_format: "},
		{"half of the older form", "table = t\nselect_field = v\n", "parameter where_field: is missing"},
	} {
		dbtest.WantMistake(t, "pgsql", Opener(nil), tt.text, tt.want)
	}
	_, warned, err := dbtest.Open(t, "pgsql", Opener(nil), query+"querry = x\n")
	if err != nil || len(warned) != 1 {
		t.Errorf("an unknown name: %q, %v", warned, err)
	}
}

func TestOlderFormsOfTheQuery(t *testing.T) {
	s := serve(t, &server{answer: always()})
	for text, want := range map[string]string{
		"select_function = f\n": "SELECT f( 'k' )",
		"table = t\nselect_field = v\nwhere_field = k\nadditional_conditions = AND a\n": "SELECT v FROM t WHERE k =  'k'  AND a",
	} {
		dbtest.Lookup(t, open(t, s.Addr(), text), "k")
		if got := fmt.Sprint(s.Asked()); strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields("["+want+"]"), "") {
			t.Errorf("%q asks %s", text, got)
		}
	}
}
