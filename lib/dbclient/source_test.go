package dbclient

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/table"
)

func writeSource(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table.cf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSourceReadsAFileWithoutExpansion(t *testing.T) {
	path := writeSource(t, "# comment\npassword = a$b%c # no comment\nquery = SELECT v\n  FROM t\ntimeout = 3s\nbogus = 1\n")
	s, err := ReadSource(nil, path)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Str("password", ""); got != "a$b%c # no comment" {
		t.Errorf("password %q", got)
	}
	if got := s.Str("query", ""); got != "SELECT v FROM t" {
		t.Errorf("query %q", got)
	}
	if got := s.Seconds("timeout", 1); got != 3*time.Second || s.Err() != nil {
		t.Errorf("timeout %v, %v", got, s.Err())
	}
	if got := s.Unused(); !slices.Equal(got, []string{"bogus"}) {
		t.Errorf("unused %q", got)
	}
}

func TestSourceInMainCF(t *testing.T) {
	main, err := config.FromMap(map[string]string{"users_query": "SELECT '$myhostname'", "myhostname": "h.test", "usersx_query": "no"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadSource(main, "users")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Str("query", ""); got != "SELECT 'h.test'" {
		t.Errorf("query %q", got)
	}
}

func TestSourceErrorsNameFileAndParameter(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		get              func(*Source)
	}{
		{"a number", "x = many\n", "parameter x: bad value", func(s *Source) { s.Int("x", 1, 0) }},
		{"too small", "x = -1\n", "parameter x: bad value", func(s *Source) { s.Int("x", 1, 0) }},
		{"yes or no", "x = perhaps\n", "parameter x: bad value", func(s *Source) { s.Bool("x", true) }},
		{"a time", "x = 0\n", "parameter x: bad value", func(s *Source) { s.Seconds("x", 1) }},
		{"a template", "x = %q\n", "parameter x: invalid query template", func(s *Source) { s.Template("x", "%s") }},
		{"what must be there", "", "parameter x: is missing", func(s *Source) { s.Required("x") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeSource(t, c.text)
			s, err := ReadSource(nil, path)
			if err != nil {
				t.Fatal(err)
			}
			c.get(s)
			if err := s.Err(); err == nil || !strings.HasPrefix(err.Error(), path+": "+c.want) {
				t.Errorf("error %v, want %s: %s", err, path, c.want)
			}
		})
	}
}

// fakeAsker answers with the same values for every key.
type fakeAsker struct {
	values []string
	err    error
	keys   []string
}

func (f *fakeAsker) Ask(_ context.Context, key string, add func(string) error) error {
	f.keys = append(f.keys, key)
	for _, v := range f.values {
		if err := add(v); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fakeAsker) Close() error { return nil }

func commonTable(t *testing.T, env table.Env, text string, a Asker) table.Table {
	t.Helper()
	s, err := ReadSource(nil, writeSource(t, text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadCommon(env, "fake:t", s, 1)
	if err != nil {
		t.Fatal(err)
	}
	return c.Table(a)
}

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		name, config, key string
		values            []string
		want              string
		found             bool
		asked             string
	}{
		{"several values are joined", "", "k", []string{"a", "b"}, "a,b", true, "k"},
		{"empty values are left out", "", "k", []string{"", "b"}, "b", true, "k"},
		{"only empty values", "", "k", []string{""}, "", false, "k"},
		{"no value", "", "k", nil, "", false, "k"},
		{"keys are in lower case", "", "A@X.Org", []string{"v"}, "v", true, "a@x.org"},
		{"result_format", "result_format = <%s>\n", "k", []string{"a", "b"}, "<a>,<b>", true, "k"},
		{"its older name", "result_filter = <%s>\n", "k", []string{"a"}, "<a>", true, "k"},
		{"a value that lacks a domain", "result_format = %d\n", "k", []string{"a", "b@c"}, "c", true, "k"},
		{"as many as expansion_limit", "expansion_limit = 2\n", "k", []string{"a", "b"}, "a,b", true, "k"},
		{"domain: listed", "domain = x.org, y.org\n", "a@Y.org", []string{"v"}, "v", true, "a@y.org"},
		{"domain: another", "domain = x.org\n", "a@z.org", []string{"v"}, "", false, ""},
		{"domain: below", "domain = x.org\n", "a@b.x.org", []string{"v"}, "", false, ""},
		{"domain: no local part", "domain = x.org\n", "@x.org", []string{"v"}, "", false, ""},
		{"domain: no address", "domain = x.org\n", "x.org", []string{"v"}, "", false, ""},
		{"not UTF-8", "", "a\xff", []string{"v"}, "", false, ""},
		{"NUL", "", "a\x00b", []string{"v"}, "", false, ""},
		{"empty key", "", "", []string{"v"}, "", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &fakeAsker{values: c.values}
			tbl := commonTable(t, table.Env{}, c.config, a)
			got, found, err := tbl.Lookup(t.Context(), c.key)
			if err != nil || got != c.want || found != c.found {
				t.Errorf("%q, %v, %v; want %q, %v", got, found, err, c.want, c.found)
			}
			if asked := strings.Join(a.keys, " "); asked != c.asked {
				t.Errorf("asked for %q, want %q", asked, c.asked)
			}
		})
	}
}

func TestLookupFailuresNameTheTable(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name, config string
		asker        *fakeAsker
		want         error
	}{
		{"the database", "", &fakeAsker{err: broken}, broken},
		{"after some values", "", &fakeAsker{values: []string{"v"}, err: broken}, broken},
		{"above expansion_limit", "expansion_limit = 1\n", &fakeAsker{values: []string{"a", "b"}}, ErrExpansionLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			value, found, err := commonTable(t, table.Env{}, c.config, c.asker).Lookup(t.Context(), "k")
			if !errors.Is(err, c.want) || found || value != "" || !strings.Contains(err.Error(), "fake:t") {
				t.Errorf("%q, %v, %v; want %v", value, found, err, c.want)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	now := time.Unix(0, 0)
	h := NewHosts([]string{"a", "unix:/b", "c"}, time.Minute, func() time.Time { return now })
	refused := errors.New("refused")
	var tried []string
	down := func(_ context.Context, host string) error { tried = append(tried, host); return refused }
	if err := h.Try(t.Context(), down); !errors.Is(err, refused) || len(tried) != 3 || tried[0] != "unix:/b" {
		t.Errorf("tried %q, %v; want all three, the socket first", tried, err)
	}
	tried = nil
	if err := h.Try(t.Context(), down); !errors.Is(err, ErrNoHost) || !errors.Is(err, refused) || tried != nil {
		t.Errorf("within the interval: tried %q, %v", tried, err)
	}
	now = now.Add(time.Minute)
	bad := errors.New("bad question")
	n := 0
	err := h.Try(t.Context(), func(context.Context, string) error { n++; return Final(bad) })
	if !errors.Is(err, bad) || n != 1 {
		t.Errorf("an error of the question: %d hosts tried, %v", n, err)
	}
	if err := h.Try(t.Context(), func(context.Context, string) error { return nil }); err != nil {
		t.Errorf("a host that works: %v", err)
	}
}

func TestAddress(t *testing.T) {
	for word, want := range map[string]string{
		"h": "tcp h:99", "inet:h": "tcp h:99", "h:1": "tcp h:1", "inet:[::1]:5": "tcp [::1]:5", "[::1]": "tcp [::1]:99",
		"unix:/s": "unix /s", "/s": "unix /s",
	} {
		if network, address := Address(word, "99"); network+" "+address != want {
			t.Errorf("%s: %s %s, want %s", word, network, address, want)
		}
	}
}

// FuzzSource: no file makes the reader panic, and what it accepts has names.
func FuzzSource(f *testing.F) {
	f.Add("hosts = a b\nquery = SELECT '%s'\n  AND 1\n# x\n")
	f.Add("= x\n")
	f.Add(" orphan\nexpansion_limit = 99999999999999999999\nresult_format = %\ndomain = x:y")
	f.Fuzz(func(t *testing.T, text string) {
		path := writeSource(t, text)
		s, err := ReadSource(nil, path)
		if err != nil {
			return
		}
		if slices.Contains(s.Unused(), "") {
			t.Error("a parameter without a name")
		}
		_, _ = ReadCommon(table.Env{}, "fake:t", s, 1)
		ReadQuery(s, dialects["mysql"], true)
	})
}
