package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListedDir(t *testing.T) {
	def := t.TempDir()
	const lists = "alternate_config_directories = /etc/out, /etc/in\nmulti_instance_directories = /etc/third\n"
	if err := os.WriteFile(filepath.Join(def, "main.cf"), []byte(lists), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		behaviour, dir string
		restricted, ok bool
	}{
		{"the default", def, true, true},
		{"one that is listed", "/etc/in", true, true},
		{"another instance", "/etc/third", true, true},
		{"one of the caller's own", "/home/eve", true, false},
		{"below one that is listed", "/etc/in/x", true, false},
		{"another name of one that is listed", "/etc/../etc/in", true, false},
		{"without rights that the caller lacks", "/home/eve", false, true},
	} {
		got, err := listedDir(tc.dir, def, tc.restricted)
		if (err == nil) != tc.ok || tc.ok && got != tc.dir {
			t.Errorf("%s: %q, %v", tc.behaviour, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "alternate_config_directories = "+tc.dir) {
			t.Errorf("%s: the error does not say what to do: %v", tc.behaviour, err)
		}
	}
	if _, err := listedDir("/etc/in", filepath.Join(def, "absent"), true); err == nil {
		t.Error("a directory was taken although the list cannot be read")
	}
}
