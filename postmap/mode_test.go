package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A table may not be read by who may not read what it was made from: its source, and
// with -F the files that the source names, which may be private keys.
func TestModeOfANewTable(t *testing.T) {
	for _, tc := range []struct {
		option       string
		source, file os.FileMode
		want         os.FileMode
	}{
		{"-N", 0o644, 0o600, 0o644}, {"-N", 0o600, 0o644, 0o600},
		{"-F", 0o644, 0o600, 0o600}, {"-F", 0o644, 0o640, 0o640}, {"-F", 0o644, 0o644, 0o644},
		{"-Fp", 0o600, 0o600, 0o644},
	} {
		dir := t.TempDir()
		t.Setenv("MAIL_CONFIG", dir)
		file, source := filepath.Join(dir, "key.pem"), filepath.Join(dir, "sni")
		for name, text := range map[string]string{file: "secret\n", source: "a.test " + file + "\n", filepath.Join(dir, "main.cf"): ""} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for name, mode := range map[string]os.FileMode{file: tc.file, source: tc.source} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := run(context.Background(), "postmap", []string{tc.option, "hash:" + source}, strings.NewReader(""), io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(source + ".bbolt")
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != tc.want {
			t.Errorf("%s, source %o, file %o: the table is %o, want %o", tc.option, tc.source, tc.file, st.Mode().Perm(), tc.want)
		}
	}
}
