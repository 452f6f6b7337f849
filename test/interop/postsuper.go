package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var postsuperScenarios = []scenario{
	{"our postsuper does to messages what Debian's does", postfixMaster, superCases("no", messageCases)},
	{"our postsuper does to messages with long ids what Debian's does", postfixMaster, superCases("yes", messageCases)},
	{"our postsuper repairs a queue as Debian's does, short ids", postfixMaster, superCases("no", repairCases)},
	{"our postsuper repairs a queue as Debian's does, long ids", postfixMaster, superCases("yes", repairCases)},
}

// superFiles are the queue in which both commands work. "I" stands for the file's
// inode number as it is in a short id, "L" as in a long one.
var superFiles = []struct {
	name string
	mode fs.FileMode
	age  time.Duration
}{
	{"incoming/0000AI", 0o700, time.Hour}, {"active/0000BI", 0o700, time.Hour}, {"deferred/0/0000CI", 0o700, time.Hour},
	{"deferred/0/0000DI", 0o740, time.Hour}, {"hold/0000EI", 0o700, time.Hour}, {"hold/0000FI", 0o710, time.Hour},
	{"maildrop/00010I", 0o744, time.Hour}, {"deferred/1/4jTzLm0WYxzL", 0o700, time.Hour}, {"hold/4jTzLm0WYzzL", 0o700, time.Hour},
	// What only a repair is shown: misnamed, misplaced, left over.
	{"incoming/0002A777", 0o700, time.Hour}, {"hold/0002B777", 0o700, time.Hour}, {"deferred/0/0002C", 0o700, time.Hour},
	{"hold/4jTzLm0WYyz4k3", 0o700, time.Hour}, {"maildrop/0002D777", 0o744, time.Hour},
	{"deferred/2001AI", 0o700, time.Hour}, {"deferred/3/2001BI", 0o700, time.Hour}, {"hold/4/2001CI", 0o700, time.Hour},
	{"incoming/3001AI", 0o600, 8 * 24 * time.Hour}, {"incoming/3001BI", 0o600, time.Hour}, {"maildrop/3001CI", 0o644, 8 * 24 * time.Hour},
	{"incoming/123456.789", 0o600, 8 * 24 * time.Hour}, {"hold/core-dump", 0o700, time.Hour},
}

// superOdd is the first of superFiles that is for a repair.
const superOdd = 9

// superLogs are the logs of some messages, by the name they had first.
var superLogs = []string{"deferred/0/0000CI", "hold/0000EI", "hold/0002B777", "incoming/0002A777"}

// messageCases are command lines; %NAME is the id of a message by its first name.
var messageCases = []string{
	"-d %deferred/0/0000CI", "-d %maildrop/00010I -d %hold/0000EI -d nosuch", "-d %hold/0000EI deferred", "-d ../hold/x -d x/y",
	"-d all", "-h %incoming/0000AI -h %deferred/0/0000DI", "-h %hold/0000EI -h %maildrop/00010I", "-H %hold/0000EI", "-H %incoming/0000AI",
	"-H ALL", "-H ALL deferred", "-r %deferred/0/0000CI -r %maildrop/00010I", "-r ALL hold", "-e %deferred/0/0000DI -e %deferred/0/0000DI -e %maildrop/00010I",
	"-e ALL", "-f %hold/0000EI -f %hold/0000FI -f %deferred/0/0000CI", "-f ALL", "-h ALL active deferred",
	"-H ALL -h ALL deferred hold", "-h %active/0000BI -r %deferred/0/0000CI -d %hold/0000EI -e %deferred/0/0000DI -H %hold/0000FI",
	"-h %deferred/1/4jTzLm0WYxzL -r %hold/4jTzLm0WYzzL", "-s corrupt", "-d %hold/0000EI nosuch", "-d - -h %active/0000BI",
}

// repairCases are run twice each: the second time there is nothing left to do.
// Debian's -p alone fails over hash directories, and its -s of one queue of messages leaves
// their logs with half their new names.
var repairCases = []string{"-s", "", "-S", "-s deferred", "-p incoming", "-p -s maildrop"}

// superCases runs both commands on queues with the same files, and compares what they
// say and what they leave.
func superCases(longIDs string, cases []string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		ids := map[string]string{"enable_long_queue_ids": longIDs}
		debian, err := s.debian("debian", ids)
		if err != nil {
			return err
		}
		ours, err := s.ours("mx", ids)
		if err != nil {
			return err
		}
		// Debian's command writes the log as mail_owner.
		if _, err := run(ctx, nil, "chown", "postfix", debian.Dir); err != nil {
			return err
		}
		if _, err := ours.Command(ctx, nil, "sealpost", "check"); err != nil {
			return err
		}
		var errs []error
		for _, args := range cases {
			got, err := superRun(ctx, filepath.Join(ours.Bin, "postsuper"), ours, args)
			if err != nil {
				return err
			}
			want, err := superRun(ctx, "/usr/sbin/postsuper", debian, args)
			if err != nil {
				return err
			}
			if got != want {
				errs = append(errs, fmt.Errorf("postsuper %s:\nours\n%s\nDebian's\n%s", args, got, want))
			}
		}
		return errors.Join(errs...)
	}
}

// superRun makes the queue, runs the command, a repair twice, and tells the outcome
// with first names in place of inode numbers.
func superRun(ctx context.Context, path string, m *system, args string) (string, error) {
	messages := strings.Contains(args, "%") || strings.Contains(args, "ALL")
	q, err := newSuperQueue(m.QueueDir, messages)
	if err != nil {
		return "", err
	}
	line := regexp.MustCompile(`%\S+`).ReplaceAllStringFunc(args, func(name string) string { return filepath.Base(q.names[name[1:]]) })
	var text strings.Builder
	for range 2 {
		cmd := command(ctx, append([]string{path, "-c", m.ConfigDir}, strings.Fields(line)...)...)
		cmd.Stdin = strings.NewReader(filepath.Base(q.names["hold/0000EI"]) + "\nx/y\nALL\n")
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return "", err
		}
		fmt.Fprintf(&text, "exit status %d\n%s", cmd.ProcessState.ExitCode(), withoutExtras(string(out)))
		if messages {
			break
		}
	}
	left, err := q.files()
	return q.anonymous(text.String()) + left, err
}

// withoutExtras is the output without what differs on purpose: Debian's says again what is
// odd in each pass, calls the temporary name of a file odd, and says nothing about files
// that it removes or moves.
func withoutExtras(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		said := strings.HasPrefix(line, "postsuper: removed ") || strings.HasPrefix(line, "postsuper: moved ") || strings.Contains(line, "bogus file name: incoming/123456.789")
		if !said && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// superQueue is a queue of both kinds.
type superQueue struct {
	dir   string
	names map[string]string // by first name
	inode map[string]string // first name by inode number in hexadecimal
}

func newSuperQueue(dir string, messages bool) (*superQueue, error) {
	q := &superQueue{dir: dir, names: make(map[string]string), inode: make(map[string]string)}
	ownerName, _ := owner()
	for _, name := range []string{"maildrop", "incoming", "active", "deferred", "hold", "bounce", "defer", "trace", "flush"} {
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, name)), os.Mkdir(filepath.Join(dir, name), 0o700)); err != nil {
			return nil, err
		}
	}
	files := superFiles
	if messages {
		files = files[:superOdd]
	}
	for _, f := range files {
		if err := q.add(f.name, f.mode, f.age); err != nil {
			return nil, err
		}
	}
	for _, first := range superLogs {
		if q.names[first] == "" {
			continue
		}
		id := filepath.Base(q.names[first])
		for _, log := range []string{"bounce/" + id, "defer/" + id[:1] + "/" + id} {
			if err := q.add(log, 0o600, 0); err != nil {
				return nil, err
			}
		}
	}
	_, err := run(context.Background(), nil, "sh", "-c", "cd "+dir+" && chown -R "+ownerName+" maildrop incoming active deferred hold bounce defer trace flush")
	return q, err
}

func (q *superQueue) add(first string, mode fs.FileMode, age time.Duration) error {
	temp := filepath.Join(q.dir, "temp")
	if err := os.WriteFile(temp, []byte(first), 0o600); err != nil {
		return err
	}
	st, err := os.Stat(temp)
	if err != nil {
		return err
	}
	ino := st.Sys().(*syscall.Stat_t).Ino
	q.inode[fmt.Sprintf("%X", ino)] = first
	name := first
	if end := first[len(first)-1:]; end == "I" {
		name = first[:len(first)-1] + fmt.Sprintf("%X", ino)
	} else if end == "L" {
		name = first[:len(first)-1] + base51(ino)
	}
	q.names[first] = name
	path, at := filepath.Join(q.dir, name), time.Now().Add(-age)
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Chmod(temp, mode), os.Chtimes(temp, at, at), os.Rename(temp, path))
}

// base51 is an inode number in a long id.
func base51(n uint64) string {
	const digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
	text := ""
	for ; n > 0; n /= 51 {
		text = digits[n%51:n%51+1] + text
	}
	return text
}

// anonymous puts first names for inode numbers.
func (q *superQueue) anonymous(text string) string {
	for ino, first := range q.inode {
		text = strings.ReplaceAll(text, ino, "["+first+"]")
		if n, err := strconv.ParseUint(ino, 16, 64); err == nil && strings.Contains(first, "z") {
			text = strings.ReplaceAll(text, "z"+base51(n), "z["+first+"]")
		}
	}
	for first, name := range q.names {
		if strings.HasSuffix(first, "L") {
			text = strings.ReplaceAll(text, filepath.Base(name), filepath.Base(first))
		}
	}
	return text
}

// files are what is left: place, mode, first name.
func (q *superQueue) files() (string, error) {
	var lines []string
	err := filepath.WalkDir(q.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(q.dir, path)
		if err != nil || strings.HasPrefix(rel, "pid/") {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		first, err := os.ReadFile(path)
		text := string(first)
		if id := filepath.Base(text); strings.HasPrefix(text, "bounce/") || strings.HasPrefix(text, "defer/") {
			text = filepath.Dir(text) + "/" + q.anonymous(id)
		}
		lines = append(lines, fmt.Sprintf("%s %o %s\n", q.anonymous(rel), st.Mode().Perm(), text))
		return err
	})
	slices.Sort(lines)
	return strings.Join(lines, ""), err
}
