package memcache

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"sealpost/lib/dbclient/dbtest"
	"sealpost/lib/table"
)

// server is a memcached as far as a client of tables sees it.
type server struct {
	*dbtest.Server
	mu     sync.Mutex
	values map[string]string
	fault  string // what it answers to everything
}

func serve(t testing.TB, s *server) *server {
	t.Helper()
	if s.values == nil {
		s.values = make(map[string]string)
	}
	s.Server = dbtest.Serve(t, func(_ *dbtest.Server, conn net.Conn) { s.talk(conn) })
	return s
}

func (s *server) talk(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		reply, err := s.reply(strings.TrimSuffix(line, "\r\n"), r)
		if err != nil {
			return
		}
		if _, err := conn.Write([]byte(reply)); err != nil {
			return
		}
	}
}

func (s *server) reply(line string, r *bufio.Reader) (string, error) {
	s.Note(line)
	s.mu.Lock()
	defer s.mu.Unlock()
	words := strings.Split(line, " ")
	var data string
	if words[0] == "set" {
		var flags, ttl, size int
		if _, err := fmt.Sscan(strings.Join(words[2:], " "), &flags, &ttl, &size); err != nil {
			return "", err
		}
		block := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(r, block); err != nil {
			return "", err
		}
		data = string(block[:size])
	}
	value, known := s.values[words[1]]
	switch {
	case s.fault != "":
		return s.fault, nil
	case words[0] == "set":
		s.values[words[1]] = data
		return "STORED\r\n", nil
	case words[0] == "delete" && known:
		delete(s.values, words[1])
		return "DELETED\r\n", nil
	case words[0] == "delete":
		return "NOT_FOUND\r\n", nil
	case !known:
		return "END\r\n", nil
	}
	return fmt.Sprintf("VALUE %s 0 %d 1\r\n%s\r\nEND\r\n", words[1], len(value), value), nil
}

func open(t testing.TB, s *server, text string) table.Table {
	t.Helper()
	return dbtest.MustOpen(t, "memcache", Opener(nil), "memcache = inet:"+s.Addr()+"\n"+text)
}

// A key is one word of one line, or is not sent.
func checkKey(t *testing.T, s *server, tbl table.Table, key string) {
	t.Helper()
	s.Asked()
	if got := dbtest.Lookup(t, tbl, key); got != "not found" {
		t.Errorf("%q: %s", key, got)
	}
	asked := s.Asked()
	if len(asked) > 1 || len(asked) == 1 && asked[0] != "gets p:"+strings.ToLower(key) {
		t.Errorf("%q: the server was asked %q", key, asked)
	}
	if strings.ContainsAny(key, " \r\n\t") && len(asked) > 0 {
		t.Errorf("%q was sent", key)
	}
}

func TestKeysStayText(t *testing.T) {
	s := serve(t, &server{})
	tbl := open(t, s, "key_format = p:%s\n")
	for _, key := range append(dbtest.Keys, strings.Repeat("k", 300), "x\r\nflush_all", "x 0 0 1\r\ny") {
		checkKey(t, s, tbl, key)
	}
}

func FuzzKey(f *testing.F) {
	for _, key := range dbtest.Keys {
		f.Add(key)
	}
	s := serve(f, &server{})
	tbl := open(f, s, "key_format = p:%s\n")
	f.Fuzz(func(t *testing.T, key string) { checkKey(t, s, tbl, key) })
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct{ name, config, key, want string }{
		{"there", "", "a", "v"},
		{"in capitals", "", "A", "v"},
		{"not there", "", "b", "not found"},
		{"key_format", "key_format = x-%u-%d\n", "k@d", "formed"},
		{"a key that the format has no use for", "key_format = x-%u-%d\n", "k", "not found"},
		{"result_format", "result_format = <%s>\n", "a", "<v>"},
		{"another domain", "domain = d\n", "k@e", "not found"},
		{"data_size_limit", "data_size_limit = 2\n", "long", "error: data_size_limit is exceeded: 4 bytes"},
		{"blanks and lines in a value", "", "lines", "a b\r\nEND\r\nc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &server{values: map[string]string{"a": "v", "x-k-d": "formed", "long": "1234", "lines": "a b\r\nEND\r\nc"}})
			if got := dbtest.Lookup(t, open(t, s, tt.config), tt.key); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// What the backup has is stored, and asked for again no more.
func TestBackup(t *testing.T) {
	s := serve(t, &server{})
	tbl := open(t, s, "backup = inline:{{a=from backup}, {b c=blank}}\nttl = 60\nflags = 3\nkey_format = p:%s\nresult_format = <%s>\n")
	for range 2 {
		if got := dbtest.Lookup(t, tbl, "a"); got != "<from backup>" {
			t.Error(got)
		}
	}
	if got, want := strings.Join(s.Asked(), ";"), "gets p:a;set p:a 3 60 11;gets p:a"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if got := dbtest.Lookup(t, tbl, "b c"); got != "<blank>" || len(s.Asked()) > 0 {
		t.Errorf("a key that the server cannot have: %s", got)
	}
	if got := dbtest.Lookup(t, tbl, "z"); got != "not found" {
		t.Error(got)
	}
}

// A server that fails is an error without a backup, and no reason to fail with one.
func TestServerThatFails(t *testing.T) {
	for _, fault := range []string{"SERVER_ERROR out of memory\r\n", "nonsense\r\n", "VALUE a 0 99999999999999\r\n"} {
		s := serve(t, &server{fault: fault})
		const once = "max_try = 1\ntimeout = 1\n"
		if got := dbtest.Lookup(t, open(t, s, once), "a"); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%q: %s", fault, got)
		}
		if got := dbtest.Lookup(t, open(t, s, once+"backup = inline:{a=b}\n"), "a"); got != "b" {
			t.Errorf("%q, with a backup: %s", fault, got)
		}
		if got := dbtest.Lookup(t, open(t, s, once+"backup = fail:x\n"), "a"); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%q, with a backup that fails, too: %s", fault, got)
		}
	}
	tbl := dbtest.MustOpen(t, "memcache", Opener(nil), "memcache = inet:"+dbtest.Refused(t)+"\nmax_try = 1\n")
	if got := dbtest.Lookup(t, tbl, "a"); !strings.Contains(got, "connection refused") {
		t.Error(got)
	}
}

// Connections that were kept while the server was restarted are no reason to fail,
// however many there are.
func TestServerThatIsRestarted(t *testing.T) {
	s := serve(t, &server{values: map[string]string{"a": "v"}})
	tbl := open(t, s, "")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := dbtest.Lookup(t, tbl, "a"); got != "v" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	s.Kick()
	if got := dbtest.Lookup(t, tbl, "a"); got != "v" {
		t.Errorf("after the restart: %s", got)
	}
}

// The name of the server is resolved for each connection: its address may change.
func TestNameOfTheServer(t *testing.T) {
	for word, want := range map[string]string{"inet:localhost": "tcp localhost:11211", "cache.test:1": "tcp cache.test:1",
		"inet:[::1]:5": "tcp [::1]:5", "unix:/run/m": "unix /run/m"} {
		addr, err := serverOf(word).PickServer("key")
		if err != nil || addr.Network()+" "+addr.String() != want {
			t.Errorf("%s: %v, %v", word, addr, err)
		}
	}
}

func TestChanges(t *testing.T) {
	s := serve(t, &server{values: map[string]string{"p:a": "v"}})
	tbl := open(t, s, "key_format = p:%s\n")
	u := tbl.(table.Updater)
	if err := u.Put(t.Context(), "B", "w"); err != nil {
		t.Error(err)
	}
	if got := dbtest.Lookup(t, tbl, "b"); got != "w" {
		t.Error(got)
	}
	for _, want := range []bool{true, false} {
		if found, err := u.Delete(t.Context(), "a"); err != nil || found != want {
			t.Errorf("delete: %t, %v", found, err)
		}
	}
	if err := u.Put(t.Context(), "a b", "w"); err == nil || !strings.Contains(err.Error(), "cannot be stored") {
		t.Errorf("a key with a blank: %v", err)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"key_format = %z\n", "parameter key_format: "},
		{"max_try = 0\n", "parameter max_try: bad value"},
		{"ttl = -1\n", "parameter ttl: bad value"},
	} {
		dbtest.WantMistake(t, "memcache", Opener(nil), tt.text, tt.want)
	}
}
