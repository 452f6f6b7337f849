package instance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
)

func settings(t *testing.T) (*config.Config, Settings) {
	t.Helper()
	dir := t.TempDir()
	c, err := config.FromMap(map[string]string{
		"queue_directory":  filepath.Join(dir, "queue"),
		"data_directory":   filepath.Join(dir, "data"),
		"daemon_directory": filepath.Join(dir, "bin"),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// asCaller are the identities of an instance without root.
var asCaller = IDs{UID: -1, GID: -1, Setgid: -1}

func TestCreateMakesWhatCheckWants(t *testing.T) {
	_, s := settings(t)
	if problems := Check(s, asCaller); len(problems) != len(Layout(s))+1 {
		t.Errorf("before: %d problems, want one for each of %d directories", len(problems), len(Layout(s))+1)
	}
	for range 2 { // the second time nothing is missing
		if err := Create(s, asCaller); err != nil {
			t.Fatal(err)
		}
		if problems := Check(s, asCaller); len(problems) != 0 {
			t.Errorf("after: %q", problems)
		}
	}
	modes := map[string]fs.FileMode{"private": 0o700, "public": 0o710, "user": 0o755, "maildrop": 0o730, "incoming": 0o700, "pid": 0o755}
	for name, want := range modes {
		st, err := os.Stat(filepath.Join(s.QueueDir, name))
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", name, st.Mode(), err, want)
		}
	}
}

func TestCheckFindsDifferences(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"too open", func(dir string) error { return os.Chmod(filepath.Join(dir, "private"), 0o755) }, "private has mode 0755, expected 0700: others may get at it"},
		{"too closed", func(dir string) error { return os.Chmod(filepath.Join(dir, "user"), 0o700) }, "user has mode 0700, expected 0755"},
		{"missing", func(dir string) error { return os.Remove(filepath.Join(dir, "hold")) }, "hold: no such file"},
		{"a file in its place", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "hold")), os.WriteFile(filepath.Join(dir, "hold"), nil, 0o600))
		}, "hold is not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, s := settings(t)
			if err := Create(s, asCaller); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(s.QueueDir); err != nil {
				t.Fatal(err)
			}
			problems := Check(s, asCaller)
			if len(problems) != 1 || !strings.Contains(problems[0], tt.want) {
				t.Errorf("got %q, want one with %q", problems, tt.want)
			}
		})
	}
}

func TestRelativeDirectoryIsRefused(t *testing.T) {
	c, err := config.FromMap(map[string]string{"queue_directory": "spool"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(c); err == nil || !strings.Contains(err.Error(), "queue_directory") {
		t.Errorf("error %v", err)
	}
}

// TestMain lets the test program be the process that holds a lock.
func TestMain(m *testing.M) {
	if path := os.Getenv("INSTANCE_TEST_HOLD"); path != "" {
		if _, err := Lock(path, os.Getpid()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestLockIsHeldByOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.pid")
	if pid, ok, err := Running(path); pid != 0 || ok || err != nil {
		t.Errorf("no file: %d %v %v", pid, ok, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(self)
	holder.Env = append(os.Environ(), "INSTANCE_TEST_HOLD="+path)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	word := make([]byte, 7)
	if _, err := out.Read(word); err != nil || string(word) != "locked\n" {
		t.Fatalf("%q %v", word, err)
	}
	if pid, ok, err := Running(path); pid != holder.Process.Pid || !ok || err != nil {
		t.Errorf("held: %d %v %v, want pid %d", pid, ok, err, holder.Process.Pid)
	}
	if _, err := Lock(path, 1); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	in.Close()
	if err := holder.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Running(path); ok || err != nil {
		t.Errorf("released: %v %v", ok, err)
	}
	f, err := Lock(path, 4660)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := os.ReadFile(path); string(text) != fmt.Sprintf("%32d\n", 4660) || err != nil {
		t.Errorf("content %q %v", text, err)
	}
}

func TestRecover(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const week = 7 * 24 * time.Hour
	tests := []struct {
		name string
		path string
		mode fs.FileMode
		age  time.Duration
		want string // where it is afterwards; empty: removed
	}{
		{"a complete message stays", "incoming/AAAAA1", 0o700, 2 * week, "incoming/AAAAA1"},
		{"an incomplete message may still grow", "incoming/AAAAA2", 0o600, week - time.Hour, "incoming/AAAAA2"},
		{"an old incomplete message goes", "incoming/AAAAA3", 0o600, week + time.Hour, ""},
		{"an old temporary file goes", "incoming/123456.77", 0o600, week + time.Hour, ""},
		{"an old incomplete submission goes", "maildrop/AAAAA4", 0o644, week + time.Hour, ""},
		{"a complete submission stays", "maildrop/AAAAA5", 0o744, 2 * week, "maildrop/AAAAA5"},
		{"a damaged message stays", "active/AAAAA6", 0o400, 2 * week, "active/AAAAA6"},
		{"a deferred message in no hash directory moves", "deferred/BAAAA1", 0o700, 0, "deferred/B/BAAAA1"},
		{"a deferred message in its place stays", "deferred/B/BAAAA2", 0o700, 0, "deferred/B/BAAAA2"},
		{"a message in a hash directory of a flat queue moves", "hold/C/CAAAA1", 0o700, 0, "hold/CAAAA1"},
		{"a log without message goes", "bounce/DAAAA1", 0o600, 2 * time.Hour, ""},
		{"a young log without message stays", "trace/DAAAA2", 0o600, time.Minute, "trace/DAAAA2"},
		{"a log with its message stays", "defer/B/BAAAA2", 0o600, 2 * week, "defer/B/BAAAA2"},
		{"a log in no hash directory moves", "defer/BAAAA1", 0o600, 0, "defer/B/BAAAA1"},
		{"a file with a foreign name stays", "deferred/core-dump.x", 0o700, 0, "deferred/core-dump.x"},
	}
	c, s := settings(t)
	if err := Create(s, asCaller); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		path := filepath.Join(s.QueueDir, tt.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(tt.name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-tt.age), now.Add(-tt.age)); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	r, err := prepare(c, s, now, maillog.New(maillog.Options{Writer: &log}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left to do
		if err := r.run(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var found []string
			err := filepath.WalkDir(s.QueueDir, func(path string, e fs.DirEntry, err error) error {
				if err == nil && e.Name() == filepath.Base(tt.path) && filepath.Dir(path) != "" {
					rel, _ := filepath.Rel(s.QueueDir, path)
					if strings.HasPrefix(rel, strings.SplitN(tt.path, "/", 2)[0]+"/") {
						found = append(found, rel)
					}
				}
				return err
			})
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if err != nil || !slices.Equal(found, want) {
				t.Errorf("found %q %v, want %q", found, err, want)
			}
		})
	}
	if n := strings.Count(log.String(), "\n"); n != 7 {
		t.Errorf("%d log lines, want 7:\n%s", n, log.String())
	}
}
