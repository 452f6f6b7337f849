package dbclient

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var dialects = map[string]Dialect{
	"pgsql":  {Numbered: true, Dollar: true},
	"mysql":  {Backslash: true, HashComment: true},
	"sqlite": {},
}

func TestParseStatement(t *testing.T) {
	for _, c := range []struct {
		name, dialect, query, key, text string
		args                            []any
	}{
		{"a text is one value", "pgsql", "SELECT v FROM t WHERE k='%s'", "a'b", "SELECT v FROM t WHERE k=$1", []any{"a'b"}},
		{"and so is text around a sequence", "mysql", "WHERE k='x-%u@%d-y'", "a@b", "WHERE k=?", []any{"x-a@b-y"}},
		{"several", "pgsql", "'%u','%d'", "a@b", "$1,$2", []any{"a", "b"}},
		{"outside of quotes", "sqlite", "WHERE n = %s", "1 OR 1=1", "WHERE n = ?", []any{"1 OR 1=1"}},
		{"a pattern of LIKE", "sqlite", "LIKE '%%%s'", "a", "LIKE ?", []any{"%a"}},
		{"a text without sequences stays", "sqlite", "LIKE 'a%%''b' AND k='%s'", "x", "LIKE 'a%''b' AND k=?", []any{"x"}},
		{"doubled quotes are one", "sqlite", "'it''s %s'", "x", "?", []any{"it's x"}},
		{"a backslash is a character", "pgsql", `'\%s'`, "x", "$1", []any{`\x`}},
		{"but not in MySQL", "mysql", `'\'%s\n\%%'`, "x", "?", []any{"'x\n\\%"}},
		{"double quotes are text in MySQL", "mysql", `k="%s"`, `"`, "k=?", []any{`"`}},
		{"and names elsewhere", "pgsql", `"t'able" = '%s'`, "x", `"t'able" = $1`, []any{"x"}},
		{"comments stay", "mysql", "# it's\n'%s' -- it's\n/* it's */", "x", "# it's\n? -- it's\n/* it's */", []any{"x"}},
		{"dollar quotes stay", "pgsql", "$q$it's$q$ || '%s'", "x", "$q$it's$q$ || $1", []any{"x"}},
		{"modulo", "sqlite", "SELECT 5 %% 2", "x", "SELECT 5 % 2", []any{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, err := ParseStatement(c.query, dialects[c.dialect])
			if err != nil {
				t.Fatal(err)
			}
			args, ok := st.Args(c.key)
			if st.Text != c.text || !ok || !cmp.Equal(args, c.args) {
				t.Errorf("%q %q %v; want %q %q", st.Text, args, ok, c.text, c.args)
			}
		})
	}
}

func TestParseStatementRefuses(t *testing.T) {
	for _, c := range []struct{ name, dialect, query string }{
		{"a text that does not end", "sqlite", "k='%s"},
		{"an escape at the end of a text", "mysql", `k='%s\'`},
		{"a sequence in a name", "pgsql", `"%s"`},
		{"a sequence in a comment", "pgsql", "SELECT 1 -- %s"},
		{"a sequence in a long comment", "mysql", "SELECT /* %s */ 1"},
		{"a sequence in dollar quotes", "pgsql", "SELECT $$%s$$"},
		{"a sequence in a text with escapes", "pgsql", `SELECT E'%s'`},
		{"a placeholder", "mysql", "SELECT ? '%s'"},
		{"a numbered placeholder", "pgsql", "SELECT $1 '%s'"},
		{"an unknown sequence", "pgsql", "SELECT '%z'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if st, err := ParseStatement(c.query, dialects[c.dialect]); !errors.Is(err, ErrStatement) {
				t.Errorf("%q gives %v, %v; want ErrStatement", c.query, st, err)
			}
		})
	}
}

// FuzzParseStatement: the text that the server reads as SQL does not depend on
// the key, and has as many placeholders as there are values.
func FuzzParseStatement(f *testing.F) {
	f.Add("SELECT v FROM t WHERE k='%s' AND d=%d", "a'b@c\\")
	f.Add(`"x" $a$ ' $a$ '%u' -- c`, "--")
	f.Fuzz(func(t *testing.T, query, key string) {
		for name, d := range dialects {
			st, err := ParseStatement(query, d)
			if err != nil {
				continue
			}
			args, ok := st.Args(key)
			if !ok {
				continue
			}
			again, err := ParseStatement(strings.ReplaceAll(query, "%s", "%S"), d)
			if err != nil || strings.Contains(query, "%%") {
				continue
			}
			if again.Text != st.Text || len(again.args) != len(args) {
				t.Errorf("%s: %q reads %q and %q", name, query, st.Text, again.Text)
			}
		}
	})
}
