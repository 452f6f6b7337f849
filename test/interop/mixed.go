package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var mixedScenarios = []scenario{
	{"our smtpd under Debian's master", postfixMaster, underDebian("smtpd")},
	{"our cleanup under Debian's master", postfixMaster, underDebian("cleanup")},
	{"our pickup under Debian's master", postfixMaster, underDebian("pickup")},
	{"our bounce under Debian's master", postfixMaster, underDebian("bounce")},
	{"our showq under Debian's master", postfixMaster, underDebian("showq")},
	{"our postlogd under Debian's master", postfixMaster, underDebian("postlogd")},
	{"our virtual under Debian's master", postfixMaster, underDebian("virtual")},
	{"our smtp under Debian's master", postfixMaster, underDebian("smtp")},
	{"our qmgr under Debian's master", postfixMaster, underDebian("qmgr")},
	{"Debian's postlogd under our master", postfixMaster, underOurs("postlog unix-dgram n - n - 1 %s/postlogd")},
	{"Debian's showq under our master", postfixMaster, underOurs("showq unix n - n - - %s/showq")},
	{"Debian's pickup under our master", postfixMaster, underOurs("pickup unix n - n 60 1 %s/pickup")},
}

const debianDaemons = "/usr/lib/postfix/sbin"

// daemons is a daemon_directory of Debian's Postfix in which one program is ours.
func (s *stage) daemons(name string) (string, error) {
	dir := filepath.Join(s.dir, "sbin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(debianDaemons)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		target := filepath.Join(debianDaemons, e.Name())
		if e.Name() == name {
			target = filepath.Join(s.bin, name)
		}
		if err := os.Symlink(target, filepath.Join(dir, e.Name())); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func underDebian(name string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		dir, err := s.daemons(name)
		if err != nil {
			return err
		}
		m, err := s.debian("mx", map[string]string{"daemon_directory": dir})
		if err != nil {
			return err
		}
		if err := m.Start(ctx); err != nil {
			return err
		}
		return exercise(ctx, m)
	}
}

func underOurs(line string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		m, err := receiver(ctx, s, nil, fmt.Sprintf(line, debianDaemons))
		if err != nil {
			return err
		}
		return exercise(ctx, m)
	}
}

// exercise sends mail through every daemon of a system.
func exercise(ctx context.Context, m *system) error {
	want := letter("by-smtp", texts[1].text)
	if err := m.send(ctx, envelope{from: "alice@mx.test", to: "bob@mx.test", rcptArgs: " NOTIFY=SUCCESS"}, want); err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	got, err := m.delivered(ctx, "bob")
	if err != nil {
		return err
	}
	if err := endsWith("by SMTP", got, want); err != nil {
		return err
	}
	if got, err = m.delivered(ctx, "alice"); err != nil {
		return err
	}
	if err := contains("success report", got, "\nAction: delivered\n"); err != nil {
		return err
	}
	want = letter("by-sendmail", texts[1].text)
	if _, err := m.Command(ctx, strings.NewReader(want), "sendmail", "-G", "-i", "-f", "alice@mx.test", "bob@mx.test"); err != nil {
		return err
	}
	if got, err = m.delivered(ctx, "bob"); err != nil {
		return err
	}
	if err := endsWith("by sendmail", got, want); err != nil {
		return err
	}
	if err := m.send(ctx, envelope{from: "alice@mx.test", to: "late-bounce@mx.test"}, letter("bounces", "text\n")); err != nil {
		return err
	}
	if got, err = m.delivered(ctx, "alice"); err != nil {
		return err
	}
	if err := contains("bounce", got, "\nAction: failed\n", "\nStatus: 5.1.1\n"); err != nil {
		return err
	}
	if err := m.WaitEmpty(ctx); err != nil {
		return fmt.Errorf("%w%s", err, logs(m))
	}
	// Out by smtp(8), to a host that does not answer.
	if err := m.send(ctx, envelope{from: "alice@mx.test", to: "x@[127.0.0.1]"}, letter("deferred", "text\n")); err != nil {
		return err
	}
	if _, err := m.waitQueue(ctx, "deferred", 1); err != nil {
		return err
	}
	out, err := m.Command(ctx, nil, "postqueue", "-p")
	if err != nil {
		return err
	}
	return errors.Join(contains("queue list", out, "alice@mx.test", "x@[127.0.0.1]", "in 1 Request."), quiet(m))
}

// quiet checks that no daemon complained.
func quiet(m *system) error {
	for line := range strings.Lines(m.Log.Text()) {
		for _, bad := range []string{": fatal: ", ": panic: ", ": error: ", " killed by signal ", "throttling"} {
			if strings.Contains(line, bad) {
				return fmt.Errorf("log of %s: %s", m.Name, line)
			}
		}
	}
	return nil
}
