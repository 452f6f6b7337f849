package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The rows say what the programs do: a parameter that a program reads is not
// marked as known only, and one that is marked implemented is read somewhere.
func TestStatusOfRowsFollowsTheSource(t *testing.T) {
	tags := regexp.MustCompile(`conf:"([^"]+)"`)
	words := regexp.MustCompile(`"([0-9A-Za-z_]+)"`)
	read, mentioned := make(map[string]string), make(map[string]bool)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == ".git" || name == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(filepath.Base(path), "params_") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range tags.FindAllSubmatch(text, -1) {
			read[string(m[1])] = path
			mentioned[string(m[1])] = true
		}
		for _, m := range words.FindAllSubmatch(text, -1) {
			word := string(m[1])
			for _, prefix := range []string{"", "default", "smtp_", "lmtp_", "address_verify_"} {
				mentioned[prefix+word] = true
			}
			mentioned[strings.TrimPrefix(word, "_")] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(read) == 0 {
		t.Fatal("no source was found")
	}
	for name, path := range read {
		if p, ok := Lookup(name); ok && p.Status == Known && filepath.Base(path) != "config.go" {
			t.Errorf("%s reads %s: its row must say Status: Implemented", path, name)
		}
	}
	for _, p := range Params() {
		if p.Status != Known {
			for _, m := range mentions.FindAllStringSubmatch(p.Default, -1) {
				mentioned[m[1]] = true
			}
		}
	}
	for _, p := range Params() {
		if p.Status == Implemented && !mentioned[p.Name] {
			t.Errorf("%s is marked implemented, but nothing reads it", p.Name)
		}
		if p.Status != Known && p.Doc == "" {
			t.Errorf("%s has no documentation", p.Name)
		}
	}
}
