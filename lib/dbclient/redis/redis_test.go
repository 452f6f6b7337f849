package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"sealpost/lib/dbclient/dbtest"
	"sealpost/lib/table"
)

// server is a Redis as far as a client of tables sees it.
type server struct {
	*dbtest.Server
	password string
	values   map[string]string // "GET key" or "HGET hash field", in Go's quotes
	fault    string            // the answer to GET and HGET
}

func serve(t testing.TB, s *server) *server {
	t.Helper()
	s.Server = dbtest.Serve(t, func(_ *dbtest.Server, conn net.Conn) { s.talk(conn) })
	return s
}

// readCommand reads a list of strings with their lengths.
func readCommand(r *bufio.Reader) ([]string, error) {
	number := func(sign byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line[0] != sign {
			return 0, fmt.Errorf("%q begins with something else than %c", line, sign)
		}
		return strconv.Atoi(strings.TrimSuffix(line[1:], "\r\n"))
	}
	n, err := number('*')
	words := make([]string, max(n, 0))
	for i := range words {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:size])
	}
	return words, err
}

func (s *server) talk(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		if _, err := conn.Write([]byte(s.reply(words))); err != nil {
			return
		}
	}
}

func (s *server) reply(words []string) string {
	quoted := strings.ToUpper(words[0])
	for _, w := range words[1:] {
		quoted += fmt.Sprintf(" %q", w)
	}
	switch strings.ToUpper(words[0]) {
	case "HELLO":
		return "-ERR unknown command 'HELLO'\r\n"
	case "AUTH":
		s.Note(quoted)
		if words[len(words)-1] != s.password {
			return "-WRONGPASS invalid username-password pair\r\n"
		}
		return "+OK\r\n"
	case "SELECT":
		s.Note(quoted)
		return "+OK\r\n"
	case "GET", "HGET":
		s.Note(quoted)
		if s.fault != "" {
			return s.fault
		}
		if value, ok := s.values[quoted]; ok {
			return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
		}
		return "$-1\r\n"
	}
	return "-ERR unknown command\r\n"
}

func open(t testing.TB, hosts, text string) table.Table {
	t.Helper()
	return dbtest.MustOpen(t, "redis", Opener(nil), "hosts = "+hosts+"\n"+text)
}

// checkKey asks for a key and looks at the command that arrives: the key is one string.
func checkKey(t *testing.T, s *server, tbl table.Table, key string) {
	t.Helper()
	s.Asked()
	dbtest.Lookup(t, tbl, key)
	want := fmt.Sprintf("HGET %q %q", "h:%s", "p:"+strings.ToLower(key))
	if asked := s.Asked(); len(asked) > 1 || len(asked) == 1 && asked[0] != want {
		t.Errorf("%q: the server was asked %q", key, asked)
	}
}

func TestKeysStayText(t *testing.T) {
	s := serve(t, &server{})
	tbl := open(t, s.Addr(), "hash = h:%%s\nkey_format = p:%s\n")
	for _, key := range append(dbtest.Keys, "x\r\n*1\r\n$8\r\nFLUSHALL\r\n") {
		checkKey(t, s, tbl, key)
	}
}

func FuzzKey(f *testing.F) {
	for _, key := range dbtest.Keys {
		f.Add(key)
	}
	s := serve(f, &server{})
	tbl := open(f, s.Addr(), "hash = h:%%s\nkey_format = p:%s\n")
	f.Fuzz(func(t *testing.T, key string) { checkKey(t, s, tbl, key) })
}

func TestAnswers(t *testing.T) {
	values := map[string]string{`GET "a"`: "v", `GET "empty"`: "", `HGET "boxes-d" "k"`: "box", `GET "long"`: "a,b"}
	for _, tt := range []struct{ name, config, key, want string }{
		{"there", "", "a", "v"},
		{"in capitals", "", "A", "v"},
		{"not there", "", "b", "not found"},
		{"empty", "", "empty", "not found"},
		{"a field of a hash", "hash = boxes-%d\nkey_format = %u\n", "k@d", "box"},
		{"a key that the hash has no use for", "hash = boxes-%d\n", "k", "not found"},
		{"result_format", "result_format = <%s>\n", "a", "<v>"},
		{"another domain", "domain = d\n", "k@e", "not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &server{values: values})
			if got := dbtest.Lookup(t, open(t, s.Addr(), tt.config), tt.key); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	s := serve(t, &server{password: "it's $ecret %s", values: map[string]string{`GET "a"`: "v"}})
	tbl := open(t, s.Addr(), "user = mail\npassword = it's $ecret %s\ndbnumber = 3\n")
	if got := dbtest.Lookup(t, tbl, "a"); got != "v" {
		t.Error(got)
	}
	if got, want := strings.Join(s.Asked(), ";"), `AUTH "mail" "it's $ecret %s";SELECT "3";GET "a"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	got := dbtest.Lookup(t, open(t, s.Addr(), "password = wrong-one\n"), "a")
	if !strings.Contains(got, "WRONGPASS") || strings.Contains(got, "wrong-one") {
		t.Error(got)
	}
}

// An error about the question is the same on every host; a host that is still loading is
// one that is down.
func TestErrorsOfTheServer(t *testing.T) {
	good := serve(t, &server{values: map[string]string{`GET "a"`: "v"}})
	for fault, want := range map[string]string{
		"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n": "error: WRONGTYPE",
		"-LOADING Redis is loading the dataset in memory\r\n":                    "v",
	} {
		s := serve(t, &server{fault: fault})
		for range 20 { // hosts are tried in random order
			got := dbtest.Lookup(t, open(t, s.Addr()+" "+good.Addr(), ""), "a")
			if len(s.Asked()) == 0 {
				continue
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%q: %s, want %s", fault, got, want)
			}
			break
		}
	}
}

func TestHostsThatFail(t *testing.T) {
	s := serve(t, &server{values: map[string]string{`GET "a"`: "v"}})
	tbl := open(t, dbtest.Refused(t)+" unix:/no/such/socket "+s.Addr(), "")
	for range 5 {
		if got := dbtest.Lookup(t, tbl, "a"); got != "v" {
			t.Errorf("one of three hosts is up: %s", got)
		}
	}
	tbl = open(t, dbtest.Refused(t), "")
	for range 2 {
		if got := dbtest.Lookup(t, tbl, "a"); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "connection refused") {
			t.Error(got)
		}
	}
}

// Connections that were kept while the server was restarted are no reason to fail.
func TestServerThatIsRestarted(t *testing.T) {
	s := serve(t, &server{values: map[string]string{`GET "a"`: "v"}})
	tbl := open(t, s.Addr(), "")
	for i := range 3 {
		if got := dbtest.Lookup(t, tbl, "a"); got != "v" {
			t.Errorf("look-up %d: %s", i, got)
		}
		s.Kick()
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"key_format = %z\n", "parameter key_format: "},
		{"hash = %\n", "parameter hash: "},
		{"dbnumber = -1\n", "parameter dbnumber: bad value"},
		{"tls = maybe\n", "parameter tls: bad value"},
	} {
		dbtest.WantMistake(t, "redis", Opener(nil), tt.text, tt.want)
	}
}
