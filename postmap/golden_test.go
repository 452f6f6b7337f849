package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/test/postmapcase"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden holds what the commands print, and their exit status, against
// testdata/NAME.golden; interop holds the same against Debian's.
func TestGolden(t *testing.T) {
	for _, c := range postmapcase.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			if err := postmapcase.Write(dir); err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
			t.Setenv("MAIL_CONFIG", ".")
			var got strings.Builder
			for _, step := range c.Steps {
				var out, errout strings.Builder
				found, err := run(context.Background(), step.Args[0], step.Args[1:], strings.NewReader(step.Stdin), &out, &errout)
				if err != nil {
					fmt.Fprintf(&errout, "%s: fatal: %v\n", step.Args[0], err)
				}
				fmt.Fprintf(&got, "%s\n%s%s=> %v\n", step.Label(), out.String(), errout.String(), found && err == nil)
			}
			checkGolden(t, filepath.Join("testdata", strings.ReplaceAll(c.Name, " ", "_")+".golden"), got.String())
		})
	}
}

var here, _ = os.Getwd()

func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join(here, file)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
