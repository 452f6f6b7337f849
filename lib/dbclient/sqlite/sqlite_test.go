package sqlite

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/lib/dbclient/dbtest"
	"sealpost/lib/table"
)

// database makes a file with a table t of keys k and values v and w.
func database(t testing.TB, path string, rows ...[3]any) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE t (k, v, w)"); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if _, err := db.Exec("INSERT INTO t VALUES (?, ?, ?)", r[0], r[1], r[2]); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func openTable(t testing.TB, path, text string) table.Table {
	t.Helper()
	return dbtest.MustOpen(t, "sqlite", Opener(nil), "dbpath = "+path+"\n"+text)
}

const query = "query = SELECT v, w FROM t WHERE k = '%s'\n"

// Every key finds its own row and no other.
func TestKeysStayText(t *testing.T) {
	rows := [][3]any{{"other", "wrong", ""}}
	for _, key := range dbtest.Keys {
		rows = append(rows, [3]any{strings.ToLower(key), "<" + key + ">", ""})
	}
	tbl := openTable(t, database(t, filepath.Join(t.TempDir(), "db"), rows...), query)
	for _, key := range dbtest.Keys {
		if got := dbtest.Lookup(t, tbl, key); got != "<"+key+">" {
			t.Errorf("%q: %s", key, got)
		}
	}
	if got := dbtest.Lookup(t, tbl, "%"); got != "not found" {
		t.Error(got)
	}
}

func TestAnswers(t *testing.T) {
	path := database(t, filepath.Join(t.TempDir(), "db"),
		[3]any{"a", "v", "w"}, [3]any{"b", "1", nil}, [3]any{"b", 2, nil}, [3]any{"b", nil, nil}, [3]any{"null", nil, nil}, [3]any{"k@d", "dom", nil})
	for _, tt := range []struct{ name, config, key, want string }{
		{"the first column", query, "a", "v"},
		{"rows", query, "b", "1,2"},
		{"NULL is no value", query, "null", "not found"},
		{"no row", query, "z", "not found"},
		{"outside of quotes", "query = SELECT v FROM t WHERE k = %s\n", "a", "v"},
		{"several sequences", "query = SELECT v FROM t WHERE k = '%u@%d' AND '%1' = 'd'\n", "k@d", "dom"},
		{"result_format", query + "result_format = %s!\n", "b", "1!,2!"},
		{"expansion_limit", query + "expansion_limit = 2\n", "b", "1,2"},
		{"above expansion_limit", query + "expansion_limit = 1\n", "b", "error: expansion_limit is exceeded: more than 1 values"},
		{"domain", query + "domain = d\n", "k@d", "dom"},
		{"another domain", query + "domain = e\n", "k@d", "not found"},
		{"the older form", "table = t\nselect_field = v\nwhere_field = k\n", "a", "v"},
		{"a statement that fails", "query = SELECT v FROM nosuch WHERE k = '%s'\n", "a", "error: "},
		{"a statement that changes the database", "query = DELETE FROM t WHERE k = '%s' RETURNING v\n", "a", "error: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := dbtest.Lookup(t, openTable(t, path, tt.config), tt.key)
			if got != tt.want && !(tt.want == "error: " && strings.HasPrefix(got, tt.want)) {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// A database that takes the place of the old one is read at once, without a restart.
func TestFileThatIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mail?#1 %20.db")
	tbl := openTable(t, path, query)
	if got := dbtest.Lookup(t, tbl, "a"); !strings.Contains(got, "no such file") {
		t.Errorf("no file: %s", got)
	}
	for _, value := range []string{"old", "new", "newest"} {
		fresh := database(t, filepath.Join(dir, value), [3]any{"a", value, ""})
		if err := os.Rename(fresh, path); err != nil {
			t.Fatal(err)
		}
		for range 3 { // with kept connections
			if got := dbtest.Lookup(t, tbl, "a"); got != value {
				t.Errorf("%s, want %s", got, value)
			}
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := dbtest.Lookup(t, tbl, "a"); !strings.Contains(got, "no such file") {
		t.Errorf("the file is gone: %s", got)
	}
}

func TestFileThatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := dbtest.Lookup(t, openTable(t, path, query), "a"); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "not a database") {
		t.Error(got)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{query, "parameter dbpath: is missing"},
		{"dbpath = /x\n", "parameter query: is missing"},
		{"dbpath = /x\nquery = SELECT \"%s\"\n", "parameter query: invalid query"},
	} {
		dbtest.WantMistake(t, "sqlite", Opener(nil), tt.text, tt.want)
	}
}
