package instance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/queue/repair"
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
		{"too open", func(dir string) error { return os.Chmod(filepath.Join(dir, "private"), 0o755) }, "private has mode 0755, expected 0700: others may get at it; chmod 0700 "},
		{"too closed", func(dir string) error { return os.Chmod(filepath.Join(dir, "user"), 0o700) }, "user has mode 0700, expected 0755; chmod 0755 "},
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

// TestRepair: what crashes left behind goes, and names that do not fit are mended,
// which the log says.
func TestRepair(t *testing.T) {
	c, s := settings(t)
	if err := Create(s, asCaller); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for path, mode := range map[string]fs.FileMode{"hold/0123412345": 0o700, "incoming/1.2": 0o600} {
		path = filepath.Join(s.QueueDir, path)
		if err := errors.Join(os.WriteFile(path, nil, mode), os.Chtimes(path, now, now.Add(-8*24*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	job := repair.Job{Structure: true, Purge: true, Now: now}
	if n, err := Repair(c, s, asCaller, job, maillog.New(maillog.Options{Writer: &log})); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if left, err := os.ReadDir(filepath.Join(s.QueueDir, "incoming")); err != nil || len(left) != 0 {
		t.Errorf("incoming has %v %v", left, err)
	}
	if files, err := filepath.Glob(filepath.Join(s.QueueDir, "hold", "01234*")); err != nil || len(files) != 1 || strings.HasSuffix(files[0], "12345") {
		t.Errorf("hold has %v %v", files, err)
	}
	for _, want := range []string{"removed incoming/1.2: it was never completed", "Renamed to match inode number: 1 message\n", "warning: QUEUE FILE NAMES WERE CHANGED"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}
