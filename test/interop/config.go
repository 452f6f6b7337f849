package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sealpost/test/postconfcase"
)

var configScenarios = []scenario{
	{"postconf says of one configuration what Debian's says, and edits it alike", postfixMaster, postconfAlike},
}

// postconfAlike runs both postconfs on copies of the same files and compares what
// they print and what they leave.
func postconfAlike(ctx context.Context, s *stage) error {
	var errs []error
	compared := 0
	for _, c := range postconfcase.Cases() {
		if c.Differ != "" {
			continue
		}
		compared++
		ours, err := postconfRun(ctx, filepath.Join(s.dir, "ours-"+c.Name), filepath.Join(s.bin, "postconf"), c)
		if err != nil {
			return err
		}
		theirs, err := postconfRun(ctx, filepath.Join(s.dir, "debian-"+c.Name), "/usr/sbin/postconf", c)
		if err != nil {
			return err
		}
		if err := same(fmt.Sprintf("postconf %q", c.Args), ours, theirs); err != nil {
			errs = append(errs, err)
		}
	}
	if compared < 60 {
		errs = append(errs, fmt.Errorf("only %d cases were compared", compared))
	}
	return errors.Join(errs...)
}

// postconfRun is everything that one run says and does.
func postconfRun(ctx context.Context, dir, program string, c postconfcase.Case) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	// A file that has just changed is read again and again by Debian's.
	old := time.Now().Add(-time.Hour)
	for name, text := range map[string]string{"main.cf": postconfcase.MainCF, "master.cf": postconfcase.MasterCF} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chtimes(path, old, old)); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"-c", dir}, c.Args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var status *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &status) {
		return "", err
	}
	said := strings.SplitAfter(strings.ReplaceAll(stderr.String(), program+":", "postconf:"), "\n")
	slices.Sort(said) // Debian's warnings come in the order of a hash table
	text := fmt.Sprintf("status %d\n%s--- stderr\n%s", cmd.ProcessState.ExitCode(), stdout.String(), strings.Join(said, ""))
	for _, name := range []string{"main.cf", "master.cf"} {
		after, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		text += "--- " + name + "\n"
		for line := range strings.Lines(string(after)) {
			if bare := strings.TrimSpace(line); !c.Moves || bare != "" && bare[0] != '#' {
				text += line
			}
		}
	}
	return strings.ReplaceAll(text, dir, "DIR"), nil
}
