package config

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// The table has every parameter of Postfix 3.12 with its default, except where
// the mail system differs on purpose.
func TestDefaultsAreThoseOfPostfix(t *testing.T) {
	different := map[string]string{
		"command_directory":     "/usr/sbin",
		"compatibility_level":   "3.11",
		"config_directory":      "/etc/sealpost",
		"daemon_directory":      "/usr/libexec/sealpost",
		"data_directory":        "/var/lib/sealpost",
		"default_database_type": "bbolt",
		"mail_name":             "Sealpost",
		"mail_owner":            "sealpost",
		"mail_release_date":     "20261122",
		"mail_version":          "3.12-sealpost-0.1.0",
		"meta_directory":        "/etc/sealpost",
		"queue_directory":       "/var/spool/sealpost",
		"sample_directory":      "/etc/sealpost",
		"setgid_group":          "sealdrop",
	}
	f, err := os.Open("testdata/postconf-defaults.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := make(map[string]bool)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		name, want, ok := strings.Cut(sc.Text(), " =")
		if !ok {
			t.Fatalf("line %q", sc.Text())
		}
		want = strings.TrimPrefix(want, " ")
		if own, ok := different[name]; ok {
			want = own
		}
		seen[name] = true
		switch p, ok := paramIndex()[name]; {
		case !ok:
			t.Errorf("no parameter %s", name)
		case p.Computed:
		case p.Default != want:
			t.Errorf("%s = %s, want %s", name, p.Default, want)
		case p.Status == Own:
			t.Errorf("%s is Postfix's", name)
		}
	}
	for _, p := range Params() {
		if !seen[p.Name] && p.Status != Own {
			t.Errorf("%s is not Postfix's", p.Name)
		}
	}
	if len(seen) != 909 {
		t.Errorf("%d parameters, not 909", len(seen))
	}
}
