package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/test/postconfcase"
)

var update = flag.Bool("update", false, "write the golden files anew")

// caseDir holds a copy of the files of postconfcase.
func caseDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": postconfcase.MainCF, "master.cf": postconfcase.MasterCF} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestGolden holds what every option prints, and what every edit makes of the
// files, against testdata.
func TestGolden(t *testing.T) {
	for _, c := range postconfcase.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			dir := caseDir(t)
			stdout, stderr, status := postconf(dir, c.Args...)
			got := fmt.Sprintf("$ postconf %q\nstatus %d\n--- stdout\n%s--- stderr\n%s", c.Args, status, stdout, stderr)
			for name, before := range map[string]string{"main.cf": postconfcase.MainCF, "master.cf": postconfcase.MasterCF} {
				after, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if string(after) != before {
					got += fmt.Sprintf("--- %s\n%s", name, after)
				}
			}
			golden := filepath.Join("testdata", c.Name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, []byte(got)) {
				t.Errorf("postconf %q says\n%s\nand not\n%s", c.Args, got, want)
			}
		})
	}
}

// No golden file is left of a case that is gone.
func TestGoldenFilesHaveCases(t *testing.T) {
	have := make(map[string]bool)
	for _, c := range postconfcase.Cases() {
		if have[c.Name] {
			t.Errorf("two cases %s", c.Name)
		}
		have[c.Name] = true
	}
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !have[strings.TrimSuffix(filepath.Base(file), ".golden")] {
			t.Errorf("%s belongs to no case", file)
		}
	}
}
