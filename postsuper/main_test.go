package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/lib/maillog"
	"sealpost/lib/queue"
)

var settings = queue.Settings{HashNames: []string{queue.Deferred, queue.Defer}, HashDepth: 1}

// newQueue is a queue with a message in each queue: ids A1 incoming, B1 active, C1
// and C2 deferred, D1 hold, E1 maildrop; F1 in incoming is being written, G1 in
// deferred is marked as damaged, D2 on hold is expired, Z1 on hold is misplaced. C1 and D1 have logs.
func newQueue(t *testing.T) string {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for name, mode := range map[string]fs.FileMode{
		"incoming/A1": 0o700, "active/B1": 0o700, "deferred/C/C1": 0o700, "deferred/C/C2": 0o740, "hold/D1": 0o700, "maildrop/E1": 0o744,
		"incoming/F1": 0o600, "deferred/G/G1": 0o400, "hold/D2": 0o710, "hold/Z/Z1": 0o700,
		"bounce/C1": 0o600, "defer/C/C1": 0o600, "trace/C1": 0o600, "bounce/D1": 0o600, "defer/D/D1": 0o600, "trace/D1": 0o600,
	} {
		path := filepath.Join(dir, name)
		for _, err := range []error{os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(name), 0o600), os.Chmod(path, mode), os.Chtimes(path, old, old)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// difference is what changed since newQueue: "-name" and "+name mode".
func difference(before, after []string) string {
	var d []string
	for _, f := range before {
		if !slices.Contains(after, f) {
			d = append(d, "-"+f)
		}
	}
	for _, f := range after {
		if !slices.Contains(before, f) {
			d = append(d, "+"+f)
		}
	}
	return strings.Join(d, " ")
}

func files(t *testing.T, dir string) []string {
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		age := ""
		if time.Since(st.ModTime()) < time.Minute {
			age = "!"
		}
		found = append(found, fmt.Sprintf("%s:%o%s", strings.TrimPrefix(path, dir+"/"), st.Mode().Perm(), age))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestActions(t *testing.T) {
	const logsOfC1 = "-bounce/C1:600 -defer/C/C1:600 -deferred/C/C1:700 -trace/C1:600"
	for _, c := range []struct {
		args  string
		input string
		want  string // what changed; "!" is a file time of now
		said  string
	}{
		{"-d C1", "", logsOfC1, "C1: removed|Deleted: 1 message"},
		{"-d E1", "", "-maildrop/E1:744", "E1: removed|Deleted: 1 message"},
		{"-d C1 hold", "", "", "Deleted: 0 messages"},
		{"-d C1 hold deferred", "", logsOfC1, "C1: removed|Deleted: 1 message"},
		{"-d nosuch", "", "", "Deleted: 0 messages"},
		{"-d ../hold/D1 -d x/y", "", "", "warning: invalid mail queue id: ../hold/D1|warning: invalid mail queue id: x/y|Deleted: 0 messages"},
		{"-d F1", "", "", "warning: incoming/F1: not a complete queue file: mode 0600|Deleted: 0 messages"},
		{"-d ALL", "", "-active/B1:700 -bounce/C1:600 -bounce/D1:600 -defer/C/C1:600 -defer/D/D1:600 -deferred/C/C1:700 -deferred/C/C2:740 -hold/D1:700 -hold/D2:710 -hold/Z/Z1:700 -incoming/A1:700 -maildrop/E1:744 -trace/C1:600 -trace/D1:600", "Deleted: 8 messages"},
		{"-d ALL deferred", "", "-bounce/C1:600 -defer/C/C1:600 -deferred/C/C1:700 -deferred/C/C2:740 -trace/C1:600", "Deleted: 2 messages"},
		{"-d all", "", "", "Deleted: 0 messages"},
		{"-d -", "C1\nALL\nx/y\nB1", "-active/B1:700 " + logsOfC1, "C1: removed|warning: invalid mail queue id: x/y|B1: removed|Deleted: 2 messages"},
		{"-h A1 -h B1", "", "-active/B1:700 -incoming/A1:700 +hold/A1:700 +hold/B1:700", "A1: placed on hold|B1: placed on hold|Placed on hold: 2 messages"},
		{"-h E1 -h D1", "", "", "Placed on hold: 0 messages"},
		{"-h ALL", "", "-active/B1:700 -deferred/C/C1:700 -deferred/C/C2:740 -incoming/A1:700 +hold/A1:700 +hold/B1:700 +hold/C1:700 +hold/C2:740", "Placed on hold: 4 messages"},
		{"-H D1", "", "-hold/D1:700 +deferred/D/D1:700", "D1: released from hold|Released from hold: 1 message"},
		{"-H A1", "", "", "Released from hold: 0 messages"},
		{"-H ALL -h ALL deferred hold", "", "-deferred/C/C1:700 -deferred/C/C2:740 -hold/Z/Z1:700 +hold/C1:700 +hold/C2:740 +hold/Z1:700", "Placed on hold: 5 messages|Released from hold: 3 messages"},
		{"-r C1", "", "-deferred/C/C1:700 +maildrop/C1:700!", "C1: requeued|Requeued: 1 message"},
		{"-r E1", "", "", "Requeued: 0 messages"},
		{"-r ALL hold incoming", "", "-hold/D1:700 -hold/D2:710 -hold/Z/Z1:700 -incoming/A1:700 +maildrop/A1:700! +maildrop/D1:700! +maildrop/D2:710! +maildrop/Z1:700!", "Requeued: 4 messages"},
		{"-e C2 -e C2", "", "-deferred/C/C2:740 +deferred/C/C2:750", "C2: expired|Force-expired: 1 message"},
		{"-e D1", "", "-hold/D1:700 +hold/D1:710", "D1: expired|Force-expired: 1 message"},
		{"-e E1", "", "", "Force-expired: 0 messages"},
		{"-f D1 -f C1", "", "-deferred/C/C1:700 -hold/D1:700 +deferred/C/C1:710 +deferred/D/D1:710", "D1: expired|D1: released from hold|C1: expired|Force-expired: 2 messages|Released from hold: 1 message"},
		{"-f D2", "", "-hold/D2:710 +deferred/D/D2:710", "D2: released from hold|Force-expired: 0 messages|Released from hold: 1 message"},
		{"-h C1 -r C1 -d B1", "", "-active/B1:700 -deferred/C/C1:700 +maildrop/C1:700!", "C1: placed on hold|C1: requeued|B1: removed|Requeued: 1 message|Deleted: 1 message|Placed on hold: 1 message"},
		{"-d G1", "", "", "warning: deferred/G/G1: not a complete queue file: mode 0400|Deleted: 0 messages"},
	} {
		t.Run(c.args, func(t *testing.T) {
			dir := newQueue(t)
			before := files(t, dir)
			o, err := parse(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			log := maillog.New(maillog.Options{Program: "postsuper", Writer: &out, Clock: func() time.Time { return time.Unix(0, 0) }, Hostname: "h"})
			cmd := &command{q: queue.New(dir, settings), queues: o.queues, in: strings.NewReader(c.input), now: time.Now,
				say: func(line func(*maillog.Logger)) { line(log) }}
			if err := cmd.run(o.tasks); err != nil {
				t.Fatal(err)
			}
			for _, s := range cmd.summary() {
				log.Log(maillog.Info, &s)
			}
			if got := difference(before, files(t, dir)); got != c.want {
				t.Errorf("changed\n%s, want\n%s", got, c.want)
			}
			var said []string
			for line := range strings.Lines(out.String()) {
				_, text, _ := strings.Cut(strings.TrimSpace(line), "]: ")
				said = append(said, strings.ReplaceAll(text, dir+"/", ""))
			}
			if got := strings.Join(said, "|"); got != c.said {
				t.Errorf("said\n%s, want\n%s", got, c.said)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // of the error; empty: none
	}{
		{"", ""},
		{"-psSv -c /etc -d A -e B -f C -h D -H E -r F hold flush trace", ""},
		{"-x", "invalid option -- 'x'\nusage: postsuper "},
		{"-d", "option requires an argument -- 'd'\nusage: postsuper "},
		{"-s corrupt", "invalid directory name: corrupt"},
		{"-d A ../hold", "invalid directory name: ../hold"},
	} {
		o, err := parse(strings.Fields(c.args))
		if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
		if both := o.repair.Purge && o.repair.Structure; c.want == "" && !both {
			t.Errorf("%q: no -p and -s", c.args)
		}
	}
	if o, err := parse([]string{"-d", "A"}); err != nil || o.repair.Purge || o.repair.Structure {
		t.Errorf("-d alone repairs: %+v %v", o, err)
	}
}
