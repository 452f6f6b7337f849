package repair

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/lib/maillog"
	"sealpost/lib/queue"
)

var hashes = queue.Settings{HashNames: []string{queue.Deferred, queue.Defer}, HashDepth: 1}

// tree is a queue in a test. Every file of it has its first name as content, and
// in names "INO" stands for the file's own inode number.
type tree struct {
	t    *testing.T
	dir  string
	now  time.Time
	said []string
}

func newTree(t *testing.T) *tree {
	tr := &tree{t: t, dir: t.TempDir(), now: time.Now()}
	for _, name := range append(Queues(), queue.Corrupt) {
		if err := os.Mkdir(filepath.Join(tr.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// add makes a file and returns its name.
func (tr *tree) add(name string, mode fs.FileMode, age time.Duration) string {
	tr.t.Helper()
	temp := filepath.Join(tr.dir, "temp")
	if err := os.WriteFile(temp, []byte(name), 0o600); err != nil {
		tr.t.Fatal(err)
	}
	name = strings.ReplaceAll(name, "INO", tr.inode("temp"))
	path := filepath.Join(tr.dir, name)
	at := tr.now.Add(-age)
	for _, err := range []error{os.MkdirAll(filepath.Dir(path), 0o700), os.Chmod(temp, mode), os.Chtimes(temp, at, at), os.Rename(temp, path)} {
		if err != nil {
			tr.t.Fatal(err)
		}
	}
	return name
}

// inode is the inode number of a file, as it stands in a short id.
func (tr *tree) inode(name string) string {
	st, err := os.Lstat(filepath.Join(tr.dir, name))
	if err != nil {
		tr.t.Fatal(err)
	}
	return fmt.Sprintf("%X", st.Sys().(*syscall.Stat_t).Ino)
}

// files are all files, "name" or "name=first name" where that differs.
func (tr *tree) files() []string {
	var found []string
	err := filepath.WalkDir(tr.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		os.Chmod(path, 0o600)
		text, err := os.ReadFile(path)
		name := strings.TrimPrefix(path, tr.dir+"/")
		if first := strings.ReplaceAll(string(text), "INO", tr.inode(name)); first != name {
			name += "=" + string(text)
		}
		found = append(found, name)
		return err
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	return found
}

func (tr *tree) run(s queue.Settings, job Job) (int, error) {
	job.Now = tr.now
	job.Report = func(sev maillog.Severity, text string) {
		tr.said = append(tr.said, strings.TrimPrefix(sev.String()+": ", "info: ")+text)
	}
	return Run(tr.dir, s, job)
}

var all = Job{Structure: true, Purge: true}

const week = 7 * 24 * time.Hour

func TestRun(t *testing.T) {
	long := queue.Settings{HashNames: hashes.HashNames, HashDepth: 1, LongIDs: true}
	type file struct {
		name string
		mode fs.FileMode
		age  time.Duration
	}
	for _, c := range []struct {
		name  string
		set   queue.Settings
		job   Job
		files []file
		want  []string // as files() says, INO replaced for a file of that first name
		said  string   // the part of a line that must be there
	}{
		{"a complete message stays", hashes, all, []file{{"incoming/00001INO", 0o700, 2 * week}}, []string{"incoming/00001INO"}, ""},
		{"an incomplete message may still grow", hashes, all, []file{{"incoming/00001INO", 0o600, week - time.Hour}}, []string{"incoming/00001INO"}, ""},
		{"an old incomplete message goes", hashes, all, []file{{"incoming/00001INO", 0o600, week + time.Hour}}, nil, "it was never completed"},
		{"without -p it stays", hashes, Job{Structure: true}, []file{{"incoming/00001INO", 0o600, week + time.Hour}}, []string{"incoming/00001INO"}, ""},
		{"an old temporary file goes", hashes, all, []file{{"incoming/123456.77", 0o600, week + time.Hour}}, nil, "it was never completed"},
		{"a new temporary file is somebody's", hashes, all, []file{{"incoming/123456.77", 0o600, 0}}, []string{"incoming/123456.77"}, ""},
		{"an old incomplete submission goes", hashes, all, []file{{"maildrop/00001INO", 0o644, week + time.Hour}}, nil, "it was never completed"},
		{"a complete submission stays", hashes, all, []file{{"maildrop/00001INO", 0o744, 2 * week}}, []string{"maildrop/00001INO"}, ""},
		{"a damaged message stays", hashes, all, []file{{"active/00001INO", 0o400, 2 * week}}, []string{"active/00001INO"}, ""},
		{"a deferred message in no hash directory moves", hashes, all, []file{{"deferred/B0001INO", 0o700, 0}}, []string{"deferred/B/B0001INO=deferred/B0001INO"}, "moved deferred/B0001"},
		{"without -s it stays", hashes, Job{Purge: true}, []file{{"deferred/B0001INO", 0o700, 0}}, []string{"deferred/B0001INO"}, ""},
		{"a deferred message in its place stays", hashes, all, []file{{"deferred/B/B0001INO", 0o700, 0}}, []string{"deferred/B/B0001INO"}, ""},
		{"a message in a hash directory of a flat queue moves", hashes, all, []file{{"hold/C/C0001INO", 0o700, 0}}, []string{"hold/C0001INO=hold/C/C0001INO"}, "moved hold/C0001"},
		{"a log without message goes", hashes, all, []file{{"bounce/00001F", 0o600, 2 * time.Hour}}, nil, "its message is gone"},
		{"a young log without message stays", hashes, all, []file{{"trace/00001F", 0o600, time.Minute}}, []string{"trace/00001F"}, ""},
		{"a log with its message stays", hashes, all, []file{{"defer/B/B0001A", 0o600, 2 * week}, {"corrupt/B0001A", 0o400, week}}, []string{"corrupt/B0001A", "defer/B/B0001A"}, ""},
		{"a log whose message is misplaced stays", hashes, Job{Queues: []string{"bounce", "deferred"}, Structure: true, Purge: true},
			[]file{{"bounce/B0001A", 0o600, 2 * week}, {"hold/X/B0001A", 0o700, week}}, []string{"bounce/B0001A", "hold/X/B0001A"}, ""},
		{"a log in no hash directory moves", hashes, all, []file{{"defer/B0001A", 0o600, 0}}, []string{"defer/B/B0001A=defer/B0001A"}, "moved defer/B0001A"},
		{"a file with a foreign name stays", hashes, all, []file{{"incoming/core-dump.x", 0o700, 0}}, []string{"incoming/core-dump.x"}, "warning: bogus file name: incoming/core-dump.x"},
		{"a name that is no id stays", hashes, all, []file{{"incoming/00001xyz", 0o700, 0}}, []string{"incoming/00001xyz"}, "warning: bogus file name: incoming/00001xyz"},
		{"a copied message gets a new name, with its logs", hashes, all,
			[]file{{"hold/00001AAAA", 0o700, 0}, {"bounce/00001AAAA", 0o600, 0}, {"defer/0/00001AAAA", 0o600, 0}, {"trace/00001AAAA", 0o600, week}},
			[]string{"bounce/00001HOLD=bounce/00001AAAA", "defer/0/00001HOLD=defer/0/00001AAAA", "hold/00001INO=hold/00001AAAA", "trace/00001HOLD=trace/00001AAAA"}, ""},
		{"only its microseconds are left of a short name", hashes, all, []file{{"hold/00001", 0o700, 0}}, []string{"hold/00001INO=hold/00001"}, ""},
		{"a rename that was interrupted is finished", hashes, all, []file{{"hold/00001INO#FIX", 0o700, 0}, {"bounce/00001AAA#FIX", 0o600, 0}},
			[]string{"bounce/00001AAA=bounce/00001AAA#FIX", "hold/00001INO=hold/00001INO#FIX"}, ""},
		{"long ids become short ones", hashes, all, []file{{"deferred/4jTzLm0WYxz4k3", 0o700, 0}}, []string{"deferred/1/12345INO=deferred/4jTzLm0WYxz4k3"}, ""},
		{"long ids stay", long, all, []file{{"deferred/1/4jTzLm0WYxz4k3", 0o700, 0}}, []string{"deferred/1/4jTzLm0WYxz4k3"}, ""},
		{"short ids stay among long ones", long, all, []file{{"hold/00001INO", 0o700, 0}}, []string{"hold/00001INO"}, ""},
		{"active messages of a running system keep their names", hashes, Job{Structure: true, Live: true}, []file{{"active/00001AAAA", 0o700, 0}},
			[]string{"active/00001AAAA"}, "warning: active/00001AAAA does not match its inode number"},
		{"other messages of a running system do not", hashes, Job{Structure: true, Live: true}, []file{{"incoming/00001AAAA", 0o700, 0}}, []string{"incoming/00001INO=incoming/00001AAAA"}, ""},
		{"other queues are left alone", hashes, Job{Queues: []string{"hold"}, Structure: true, Purge: true}, []file{{"incoming/00001AAAA", 0o700, 0}}, []string{"incoming/00001AAAA"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTree(t)
			for _, f := range c.files {
				tr.add(f.name, f.mode, f.age)
			}
			held := ""
			if e, _ := os.ReadDir(filepath.Join(tr.dir, "hold")); len(e) == 1 && !e[0].IsDir() {
				held = tr.inode("hold/" + e[0].Name())
			}
			for range 2 { // the second time there is nothing left to do
				if _, err := tr.run(c.set, c.job); err != nil {
					t.Fatal(err)
				}
			}
			if text := strings.Join(tr.said, "\n"); !strings.Contains(text, c.said) || c.said == "" && text != "" {
				t.Errorf("said %q, want %q", text, c.said)
			}
			got := tr.files()
			for i, name := range got {
				place, first, renamed := strings.Cut(name, "=")
				place = strings.ReplaceAll(place, tr.inode(place), "INO")
				if held != "" {
					place = strings.ReplaceAll(place, held, "HOLD")
				}
				if got[i] = place; renamed {
					got[i] += "=" + first
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("left\n%q, want\n%q", got, c.want)
			}
		})
	}
}

// TestSwappedNames: two messages with each other's names get their own.
func TestSwappedNames(t *testing.T) {
	tr := newTree(t)
	a, b := tr.add("hold/0000AINO", 0o700, 0), tr.add("hold/0000AINO", 0o700, 0)
	tr.add("bounce/"+filepath.Base(a), 0o600, 0) // lies under the name that the message has now
	if err := os.Rename(filepath.Join(tr.dir, a), filepath.Join(tr.dir, "temp")); err != nil {
		t.Fatal(err)
	}
	for _, move := range [][2]string{{b, a}, {"temp", b}} {
		if err := os.Rename(filepath.Join(tr.dir, move[0]), filepath.Join(tr.dir, move[1])); err != nil {
			t.Fatal(err)
		}
	}
	n, err := tr.run(hashes, all)
	if n != 2 || err != nil {
		t.Fatal(n, err)
	}
	want := []string{"bounce/" + filepath.Base(b) + "=bounce/" + filepath.Base(a), a, b}
	slices.Sort(want)
	if got := tr.files(); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}

// TestNoMessageIsReplaced: what is in the way of a new name stays, and says so.
func TestNoMessageIsReplaced(t *testing.T) {
	tr := newTree(t)
	if err := os.Link(filepath.Join(tr.dir, tr.add("hold/00001INO", 0o700, 0)), filepath.Join(tr.dir, "hold/00001AAAA")); err != nil {
		t.Fatal(err)
	}
	in := tr.add("deferred/00002INO", 0o700, 0)
	tr.add("deferred/0/"+filepath.Base(in), 0o600, 0) // being written
	n, err := tr.run(hashes, all)
	if n != 0 || err == nil || !strings.Contains(err.Error(), "both exist") {
		t.Errorf("%d renamed, error %v", n, err)
	}
	if len(tr.files()) != 4 || !strings.Contains(strings.Join(tr.said, "\n"), "file has 2 links") {
		t.Errorf("left %q, said %q", tr.files(), tr.said)
	}
}

func TestRedundant(t *testing.T) {
	long := queue.Settings{LongIDs: true}
	tr := newTree(t)
	name := tr.add("hold/4jTzLm0WYxz4k3", 0o700, 0)
	n, err := tr.run(long, Job{Structure: true, Redundant: true})
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
	e, err := os.ReadDir(filepath.Join(tr.dir, "hold"))
	if err != nil || len(e) != 1 {
		t.Fatal(e, err)
	}
	ino, ok := queue.IDInode(e[0].Name())
	if !ok || fmt.Sprintf("%X", ino) != tr.inode("hold/"+e[0].Name()) || e[0].Name()[:11] != filepath.Base(name)[:11] {
		t.Errorf("%s became %s, inode number %s", name, e[0].Name(), tr.inode("hold/"+e[0].Name()))
	}
}

// TestWhatIsNoFileGoes: special files in any queue, and directories that nobody
// needs, but none with something in it.
func TestWhatIsNoFileGoes(t *testing.T) {
	tr := newTree(t)
	path := func(name string) string { return filepath.Join(tr.dir, name) }
	for _, err := range []error{
		syscall.Mkfifo(path("maildrop/00001AAAA"), 0o600), os.Symlink("/etc/passwd", path("incoming/00001BBBB")),
		os.Mkdir(path("incoming/A"), 0o700), os.Mkdir(path("deferred/A"), 0o700), os.MkdirAll(path("deferred/B/C"), 0o700),
		os.MkdirAll(path("maildrop/A"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	kept := tr.add("maildrop/A/00001INO", 0o700, 0) // nobody walks into a user's directory
	if _, err := tr.run(hashes, all); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"maildrop/00001AAAA": false, "incoming/00001BBBB": false, "incoming/A": false,
		"deferred/A": true, "deferred/B": true, "deferred/B/C": false, kept: true} {
		if _, err := os.Lstat(path(name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text := strings.Join(tr.said, "\n"); !strings.Contains(text, "warning: remove subdirectory maildrop/A: directory not empty") {
		t.Errorf("said %q", text)
	}
}
