package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func loadMaster(t *testing.T, text, level string) ([]Service, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.cf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := FromMap(map[string]string{"compatibility_level": level, "default_process_limit": "50"})
	if err != nil {
		t.Fatal(err)
	}
	return LoadMaster(path, c)
}

func TestMasterFile(t *testing.T) {
	services, err := loadMaster(t, "# name type ...\nsmtp inet n - - - - smtpd\n  -o smtpd_timeout=5s\n  # comment\n  -o { smtpd_banner = a b } -v\r\n"+
		"pickup unix n n y 60 1 pickup\nqmgr unix n - n 300? 0 qmgr\nsame unix - - n - - old\nsame unix - - n - - new\n", "3.11")
	if err != nil {
		t.Fatal(err)
	}
	want := []Service{
		{Name: "smtp", Type: "inet", Unprivileged: true, MaxProc: 50, Command: "smtpd", Args: []string{"-o", "smtpd_timeout=5s", "-o", "smtpd_banner = a b", "-v"}, Line: 2},
		{Name: "pickup", Type: "unix", Chroot: true, Wakeup: time.Minute, MaxProc: 1, Command: "pickup", Line: 6},
		{Name: "qmgr", Type: "unix", Unprivileged: true, Wakeup: 300 * time.Second, WakeupIfUsed: true, Command: "qmgr", Line: 7},
		{Name: "same", Type: "unix", Private: true, Unprivileged: true, MaxProc: 50, Command: "new", Line: 9},
	}
	if !reflect.DeepEqual(services, want) {
		t.Errorf("got  %+v\nwant %+v", services, want)
	}
}

func TestChrootDefaultFollowsCompatibilityLevel(t *testing.T) {
	for level, want := range map[string]bool{"0": true, "0.9": true, "1": false, "3.11": false} {
		services, err := loadMaster(t, "a unix - - - - - b\n", level)
		if err != nil || services[0].Chroot != want {
			t.Errorf("level %s: %+v, %v", level, services, err)
		}
	}
}

func TestMalformedMasterFile(t *testing.T) {
	tests := []struct{ text, want string }{
		{"\nsmtp foo n - - - - smtpd\n", `master.cf: line 2: field "type": bad value: "foo"`},
		{"smtp inet y - - - - smtpd\n", `line 1: field "private": bad value: "y"`},
		{"smtp inet x - - - - smtpd\n", `line 1: field "private": bad value: "x"`},
		{"smtp unix - x - - - smtpd\n", `line 1: field "unprivileged": bad value: "x"`},
		{"smtp unix - - x - - smtpd\n", `line 1: field "chroot": bad value: "x"`},
		{"smtp unix - - - 5s - smtpd\n", `line 1: field "wakeup": bad value: "5s"`},
		{"smtp unix - - - ? - smtpd\n", `line 1: field "wakeup": bad value: "?"`},
		{"smtp unix - - - 99999999999 - smtpd\n", `line 1: field "wakeup": bad value: "99999999999"`},
		{"smtp unix - - - - -1 smtpd\n", `line 1: field "process_limit": bad value: "-1"`},
		{"smtp unix - - - - 5? smtpd\n", `line 1: field "process_limit": bad value: "5?"`},
		{"smtp unix - - - - - -v\n", `line 1: field "command": bad value: "-v"`},
		{"../x unix - - - - - a\n", `line 1: field "service": bad value: "../x"`},
		{"smtp unix - - - -\n", "line 1: bad field count"},
		{"smtp unix - - - - - a { -o\n", "line 1: missing '}' in command arguments"},
		{"  smtp unix - - - - - a\n", "line 1: logical line must not start with whitespace"},
		{"a unix - - - - - b \x00\n", "line 1: null byte"},
	}
	for _, tt := range tests {
		_, err := loadMaster(t, tt.text, "3.11")
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %s", tt.text, err, tt.want)
		}
	}
}

// An accepted file gives services with a name, a known type and a command.
func FuzzMasterFile(f *testing.F) {
	for _, seed := range []string{"a unix - - - - - b\n", "a inet n - - 60? 0 b -o { c = d }\n -v", "a unix", "{ } { } { } { } { } { } { } {\n"} {
		f.Add(seed)
	}
	c, err := FromMap(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseMaster(strings.NewReader(text), "master.cf")
		if err != nil {
			return
		}
		services, err := c.services("master.cf", entries)
		if err != nil {
			return
		}
		for _, s := range services {
			if s.Name == "" || s.Command == "" || s.MaxProc < 0 || s.Wakeup < 0 || s.Line < 1 {
				t.Errorf("%q gives %+v", text, s)
			}
		}
	})
}
