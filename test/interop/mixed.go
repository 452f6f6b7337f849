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
	{"our bounce under Debian's master: another protocol, nothing is lost", postfixMaster, foreign("bounce", `trace service: missing attribute "sendopts"`)},
	{"our postlogd under Debian's master", postfixMaster, underDebian("postlogd")},
	{"our virtual under Debian's master: another protocol, nothing is lost", postfixMaster, foreign("virtual", `delivery request from qmgr: unexpected attribute "smtputf8" \(expecting: "sendopts"\)`)},
	{"our smtp under Debian's master: another protocol, nothing is lost", postfixMaster, foreign("smtp", `delivery request from qmgr: unexpected attribute "smtputf8" \(expecting: "sendopts"\)`)},
	{"our qmgr under Debian's master: another protocol, nothing is lost", postfixMaster, foreign("qmgr", `unexpected attribute sendopts from virtual socket`)},
	{"Debian's postlogd under our master", postfixMaster, underOurs("postlogd", "postlog unix-dgram n - n - 1 %s")},
	{"Debian's showq and our postqueue: another protocol, said clearly", postfixMaster, foreignShowq},
	{"Debian's pickup under our master", postfixMaster, underOurs("pickup", "pickup unix n - n 60 1 %s", "-user/submit/unix")},
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
		return errors.Join(exercise(ctx, m), m.runs(name, filepath.Join(s.bin, name)))
	}
}

// foreign puts in a daemon whose protocol Debian's version does not speak: delivery
// and bounce requests differ from those of 3.12. The log says so, and the mail is
// delivered when the right daemon is back.
func foreign(name, complaint string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		dir, err := s.daemons(name)
		if err != nil {
			return err
		}
		m, err := s.debian("mx", map[string]string{"daemon_directory": dir, "transport_maps": "inline:{ { out.test = smtp:[127.0.0.1]:9 } }"})
		if err != nil {
			return err
		}
		if err := m.Start(ctx); err != nil {
			return err
		}
		want := letter("foreign", "text\n")
		to := "bob@mx.test"
		if name == "smtp" {
			to = "bob@out.test"
		}
		if err := m.send(ctx, envelope{from: "alice@mx.test", to: to, rcptArgs: " NOTIFY=SUCCESS,FAILURE"}, want); err != nil {
			return err
		}
		if _, err := m.Log.Wait(ctx, 0, complaint); err != nil {
			return fmt.Errorf("%w%s", err, logs(m))
		}
		if err := m.Stop(); err != nil {
			return err
		}
		if err := m.set(ctx, "daemon_directory="+debianDaemons, "transport_maps=inline:{ { out.test = virtual: } }",
			"virtual_mailbox_maps=inline:{ { bob@mx.test = bob/ }, { bob@out.test = bob/ }, { alice@mx.test = alice/ } }"); err != nil {
			return err
		}
		if err := m.Start(ctx); err != nil {
			return err
		}
		if _, err := m.Command(ctx, nil, "postqueue", "-f"); err != nil {
			return err
		}
		mail, err := m.WaitMail(ctx, "bob", 1)
		if err != nil {
			return fmt.Errorf("%w%s", err, logs(m))
		}
		if err := endsWith("message", mail[0], want); err != nil {
			return err
		}
		return m.WaitEmpty(ctx)
	}
}

// underOurs puts one daemon of Debian's into our system.
func underOurs(name, line string, services ...string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		program := filepath.Join(debianDaemons, name)
		services := append([]string{fmt.Sprintf(line, program)}, services...)
		// Debian's daemons want an address that an interface has.
		m, err := receiver(ctx, s, map[string]string{"inet_interfaces": "127.0.0.1", "compatibility_level": "3.6"}, services...)
		if err != nil {
			return err
		}
		return errors.Join(exercise(ctx, m), m.runs(name, program))
	}
}

// foreignShowq: the list of 3.7 has no original recipients. Our postqueue says so
// and does not print half a list.
func foreignShowq(ctx context.Context, s *stage) error {
	m, err := receiver(ctx, s, map[string]string{"inet_interfaces": "127.0.0.1", "compatibility_level": "3.6",
		"relayhost": "[127.0.0.1]:9"}, "showq unix n - n - - "+debianDaemons+"/showq", "-user/showq/unix")
	if err != nil {
		return err
	}
	if err := m.send(ctx, envelope{from: "alice@mx.test", to: "x@elsewhere.test"}, letter("listed", "text\n")); err != nil {
		return err
	}
	if _, err := m.waitQueue(ctx, "deferred", 1); err != nil {
		return err
	}
	out, err := m.Command(ctx, nil, "postqueue", "-p")
	if err == nil {
		return fmt.Errorf("postqueue understood it: %s", out)
	}
	return errors.Join(contains("postqueue", out, "malformed showq server response", `unexpected attribute "recipient"`), m.runs("showq", debianDaemons+"/showq"))
}

// runs checks that master's worker of that name is the given program.
func (m *system) runs(name, program string) error {
	pids := m.Workers()[name]
	for _, pid := range pids {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || exe != program {
			return fmt.Errorf("%s is %s, want %s: %w", name, exe, program, err)
		}
	}
	if len(pids) == 0 {
		return fmt.Errorf("no %s runs: %v", name, m.Workers())
	}
	return nil
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
