package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"sealpost/test/postconfcase"
)

var configScenarios = []scenario{
	{"postconf says of one configuration what Debian's says, and edits it alike", postfixMaster, postconfAlike},
	{"postconf expands what Debian's expands, and refuses what it refuses", postfixMaster, expansionAlike},
	{"a stock main.cf and master.cf of Debian start, and check says what is not supported", postfixMaster, stockConfiguration},
}

// postconfAlike runs both postconfs on copies of the same files and compares what
// they print and what they leave.
func postconfAlike(ctx context.Context, s *stage) error {
	var compared []postconfcase.Case
	for _, c := range postconfcase.Cases() {
		if c.Differ == "" {
			compared = append(compared, c)
		}
	}
	if len(compared) < 60 {
		return fmt.Errorf("only %d cases are compared", len(compared))
	}
	return together(len(compared), func(i int) error {
		c := compared[i]
		ours, err := postconfRun(ctx, filepath.Join(s.dir, "ours-"+c.Name), filepath.Join(s.bin, "postconf"), c)
		if err != nil {
			return err
		}
		theirs, err := postconfRun(ctx, filepath.Join(s.dir, "debian-"+c.Name), "/usr/sbin/postconf", c)
		if err != nil {
			return err
		}
		return same(fmt.Sprintf("postconf %q", c.Args), ours, theirs)
	})
}

// together calls a function n times at the same time: Debian's commands wait a
// second before they say that something is wrong.
func together(n int, run func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = run(i) })
	}
	wg.Wait()
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

// stockFiles are a main.cf and a master.cf as Debian's package installs them.
const stockFiles = "/usr/share/postfix/"

// keep are settings of the stock main.cf that the instance has too.
var keep = []string{"compatibility_level", "append_dot_mydomain", "recipient_delimiter"}

// stockConfiguration starts Sealpost with the files of Debian's Postfix. Only
// what says where it lives is edited, with postconf, as Debian's own scripts do.
func stockConfiguration(ctx context.Context, s *stage) error {
	m, err := s.ours("mx", nil)
	if err != nil {
		return err
	}
	path := filepath.Join(m.ConfigDir, "main.cf")
	place, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var settings []string
	for line := range strings.Lines(string(place)) {
		name, _, ok := strings.Cut(line, " =")
		if line = strings.TrimSpace(line); ok && line[0] != '#' && !slices.Contains(keep, name) {
			settings = append(settings, line)
		}
	}
	for name, stock := range map[string]string{"main.cf": "main.cf.debian", "master.cf": "master.cf.dist"} {
		text, err := os.ReadFile(stockFiles + stock)
		if err == nil {
			err = os.WriteFile(filepath.Join(m.ConfigDir, name), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		append([]string{"-e", "smtpd_tls_enable_rpk=yes"}, settings...), {"-MX", "smtp/inet"},
		{"-M", m.SMTP() + "/inet=" + m.SMTP() + " inet n - y - - smtpd"},
	} {
		if _, err := m.Command(ctx, nil, "postconf", args...); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(s.bin, "sealpost"), "-c", m.ConfigDir, "check").CombinedOutput()
	if err != nil {
		return fmt.Errorf("sealpost check: %w: %s", err, out)
	}
	if err := contains("sealpost check", string(out), "/main.cf: line ", `: parameter "smtpd_tls_enable_rpk" is not supported: raw public keys`,
		"/master.cf: line ", ": service local "); err != nil {
		return err
	}
	if strings.Contains(string(out), ": service uucp ") { // of pipe(8)
		return fmt.Errorf("sealpost check is not content with a service of pipe(8): %s", out)
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	for _, to := range []string{"bob@mx.test", "alice@mx.test"} {
		if err := m.send(ctx, envelope{from: "alice@mx.test", to: to}, letter("stock", "text\n")); err != nil {
			return err
		}
		if _, err := m.delivered(ctx, strings.TrimSuffix(to, "@mx.test")); err != nil {
			return err
		}
	}
	return nil
}

// expansionAlike compares the results of expressions, and the errors of bad ones.
func expansionAlike(ctx context.Context, s *stage) error {
	const names = "word = val\nnone =\nten = 10\nmyhostname = mx.test\n"
	text := names
	for i, expression := range postconfcase.Expressions {
		// Each is used by the next, or it would not be shown.
		text += fmt.Sprintf("e%d = %s\nuse%d = $e%d$use%d\n", i, expression, i, i, i+1)
	}
	text += fmt.Sprintf("use%d =\nalways_bcc = $use0\n", len(postconfcase.Expressions))
	out, err := bothSay(ctx, s, "good", text, (*exec.Cmd).Output)
	if err == nil {
		err = same("postconf -nx", out[0], out[1])
	}
	if err != nil {
		return err
	}
	warning := regexp.MustCompile(`(?m)warning: (.*(?:: "|at: ").*)$`)
	return together(len(postconfcase.BadExpressions), func(i int) error {
		expression := postconfcase.BadExpressions[i]
		out, err := bothSay(ctx, s, fmt.Sprintf("bad%d", i), names+"always_bcc = "+expression+"\n", (*exec.Cmd).CombinedOutput)
		if err != nil {
			return err
		}
		m := warning.FindStringSubmatch(out[1])
		if m == nil {
			return fmt.Errorf("%s: Debian's postconf says no error: %s", expression, out[1])
		}
		return contains("postconf about "+expression, out[0], "fatal: ", "parameter always_bcc: ", m[1])
	})
}

// bothSay is what our postconf and Debian's say of a main.cf. Whether they fail is
// in what they say.
func bothSay(ctx context.Context, s *stage, name, text string, run func(*exec.Cmd) ([]byte, error)) (out [2]string, err error) {
	dir := filepath.Join(s.dir, name)
	path := filepath.Join(dir, "main.cf")
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(path, []byte(text), 0o644), os.Chtimes(path, old, old),
		os.WriteFile(filepath.Join(dir, "master.cf"), nil, 0o644)); err != nil {
		return out, err
	}
	for i, program := range []string{filepath.Join(s.bin, "postconf"), "/usr/sbin/postconf"} {
		said, _ := run(exec.CommandContext(ctx, program, "-c", dir, "-n", "-x"))
		out[i] = strings.ReplaceAll(string(said), dir, "DIR")
	}
	return out, ctx.Err()
}
