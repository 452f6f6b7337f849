package floors

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestEveryImportKeepsToTheFloors(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "testdata" || path != root && strings.HasPrefix(e.Name(), ".") && e.Name() != "..") {
			return fs.SkipDir
		}
		if e.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		files++
		src, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		f := File{Package: filepath.ToSlash(dir), Test: strings.HasSuffix(path, "_test.go")}
		for _, imp := range src.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			f.Imports = append(f.Imports, name)
		}
		for _, wrong := range Check(f) {
			t.Errorf("%s: %s", path, wrong)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("only %d files were looked at", files)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name string
		file File
		ok   bool
	}{
		{"standard library", File{Package: "lib/attr", Imports: []string{"net/http", "os"}}, true},
		{"lower floor", File{Package: "lib/config", Imports: []string{"sealpost/lib/attr"}}, true},
		{"higher floor", File{Package: "lib/attr", Imports: []string{"sealpost/lib/config"}}, false},
		{"left on the same floor", File{Package: "lib/mailproto", Imports: []string{"sealpost/lib/attr"}}, true},
		{"right on the same floor", File{Package: "lib/attr", Imports: []string{"sealpost/lib/mailproto"}}, false},
		{"below itself imports up", File{Package: "lib/dns/dnstest", Imports: []string{"sealpost/lib/dns"}}, true},
		{"imports what is below itself", File{Package: "lib/dns", Imports: []string{"sealpost/lib/dns/dnstest"}}, false},
		{"unknown package of lib", File{Package: "lib/new", Imports: []string{"sealpost/lib/attr"}}, false},
		{"lib imports a program", File{Package: "lib/agent", Imports: []string{"sealpost/smtpd"}}, false},
		{"program imports lib", File{Package: "smtpd", Imports: []string{"sealpost/lib/agent"}}, true},
		{"program imports its own part", File{Package: "smtp", Imports: []string{"sealpost/smtp/session"}}, true},
		{"program imports another", File{Package: "smtp", Imports: []string{"sealpost/smtpd/reply"}}, false},
		{"program imports test", File{Package: "smtp", Imports: []string{"sealpost/test/harness"}}, false},
		{"a program's test imports test", File{Package: "smtp", Test: true, Imports: []string{"sealpost/test/harness"}}, true},
		{"a program's test imports another", File{Package: "smtp", Test: true, Imports: []string{"sealpost/smtpd/reply"}}, false},
		{"scenario imports a program", File{Package: "test", Test: true, Imports: []string{"sealpost/smtpd/reply"}}, false},
		{"module in its place", File{Package: "lib/dns", Imports: []string{"github.com/miekg/dns"}}, true},
		{"module below its place", File{Package: "lib/dns/dnstest", Imports: []string{"github.com/miekg/dns"}}, true},
		{"module elsewhere", File{Package: "smtp", Imports: []string{"github.com/miekg/dns"}}, false},
		{"module nobody knows", File{Package: "smtp", Imports: []string{"example.com/x"}}, false},
		{"the system", File{Package: "smtp", Imports: []string{"golang.org/x/sys/unix"}}, true},
		{"test module in a test", File{Package: "lib/attr", Test: true, Imports: []string{"github.com/google/go-cmp/cmp"}}, true},
		{"test module in code", File{Package: "lib/attr", Imports: []string{"github.com/google/go-cmp/cmp"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if wrong := Check(tt.file); (len(wrong) == 0) != tt.ok {
				t.Errorf("%q", wrong)
			}
		})
	}
}

// TestTheListsAreComplete: every package of lib/ has its floor, every entry a
// package, and go.mod's modules are those of the table.
func TestTheListsAreComplete(t *testing.T) {
	root := filepath.Join("..", "..")
	found := map[string]bool{}
	dirs, err := os.ReadDir(filepath.Join(root, "lib"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		found[d.Name()] = true
		if _, _, ok := place("lib/" + d.Name()); !ok {
			t.Errorf("lib/%s has no floor", d.Name())
		}
	}
	for _, floor := range floors {
		for _, name := range floor {
			if !found[name] {
				t.Errorf("there is no lib/%s", name)
			}
		}
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		words := strings.Fields(line)
		if len(words) != 2 || !strings.HasPrefix(words[1], "v") {
			continue // indirect ones have a comment
		}
		known := slices.Contains(testOnly, words[0])
		for m := range owners {
			known = known || below(m, words[0])
		}
		if !known {
			t.Errorf("module %s of go.mod is not in the table", words[0])
		}
	}
}
