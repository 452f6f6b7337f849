package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"sealpost/test/postmapcase"
)

// Lookup tables, and the commands that make them.
var tableScenarios = []scenario{
	{"postmap and postalias say of the same files what Debian's say", postfixMaster, postmapAlike},
}

func postmapAlike(ctx context.Context, s *stage) error {
	var compared []postmapcase.Case
	for _, c := range postmapcase.Cases() {
		if c.Differ == "" {
			compared = append(compared, c)
		}
	}
	if len(compared) < 20 {
		return fmt.Errorf("only %d cases are compared", len(compared))
	}
	return together(len(compared), func(i int) error {
		c := compared[i]
		ours, err := postmapRun(ctx, filepath.Join(s.dir, fmt.Sprint("ours-", i)), s.bin, c)
		if err != nil {
			return err
		}
		theirs, err := postmapRun(ctx, filepath.Join(s.dir, fmt.Sprint("debian-", i)), "/usr/sbin", c)
		if err != nil {
			return err
		}
		return same(c.Name, ours, theirs)
	})
}

// postmapRun is what one case prints: for each step standard output and the warnings,
// without their order.
func postmapRun(ctx context.Context, dir, bin string, c postmapcase.Case) (string, error) {
	if err := errors.Join(os.Mkdir(dir, 0o755), postmapcase.Write(dir)); err != nil {
		return "", err
	}
	var all strings.Builder
	for _, step := range c.Steps {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, step.Args[0]), step.Args[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), "MAIL_CONFIG="+dir), strings.NewReader(step.Stdin)
		var out, errout strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errout
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return "", err
		}
		fmt.Fprintf(&all, "%s\n%s%s=> %v\n", step.Label(), sortedLines(out.String()), sortedLines(comparable(errout.String())), err == nil)
	}
	return all.String(), nil
}

// comparable leaves out of warnings what differs on purpose: the name of the file, hints,
// how bytes are shown, and the entries of NIS.
func comparable(text string) string {
	return strings.NewReplacer(".bbolt: ", ".db: ", " -- ignoring this line", "", `\xff bad`, "? bad",
		"No such file", "no such file").Replace(text)
}

func sortedLines(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "YP_") && !strings.HasPrefix(line, "postmap: fatal: open database") &&
			!strings.HasPrefix(line, "postmap: fatal: table ") && !strings.HasPrefix(line, "postmap: fatal: open hash:") &&
			!strings.HasPrefix(line, "postmap: fatal: delete ") {
			kept = append(kept, line+"\n")
		}
	}
	sort.Strings(kept)
	return strings.Join(kept, "")
}
