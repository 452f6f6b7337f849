package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sealpost/test/harness"
)

var queueScenarios = []scenario{
	{"Debian's postcat, postqueue and postsuper on our queue, short ids", postfixMaster, toolsOnOurs("no")},
	{"Debian's postcat, postqueue and postsuper on our queue, long ids", postfixMaster, toolsOnOurs("yes")},
	{"our postqueue says of Debian's queue what Debian's says", postfixMaster, postqueueOnDebians},
	{"a queue that Debian's Postfix wrote is delivered by ours", postfixMaster, queueHandover(true)},
	{"a queue that we wrote is delivered by Debian's Postfix", postfixMaster, queueHandover(false)},
}

// tools is a configuration of Debian's Postfix for the queue of another system.
func (s *stage) tools(ctx context.Context, m *system, params map[string]string) (*system, error) {
	all := map[string]string{"queue_directory": m.QueueDir}
	for k, v := range params {
		all[k] = v
	}
	t, err := s.debian("tools", all)
	if err != nil {
		return nil, err
	}
	t.QueueDir = m.QueueDir
	// postsuper logs as mail_owner when the system is down.
	_, err = run(ctx, nil, "chown", "postfix", t.Dir)
	return t, err
}

// queued are the messages of one queue: id to path below the queue directory.
func (m *system) queued(queue string) (map[string]string, error) {
	found := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(m.QueueDir, queue), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			rel, relErr := filepath.Rel(m.QueueDir, path)
			if relErr != nil {
				return relErr
			}
			found[e.Name()] = rel
		}
		return err
	})
	return found, err
}

// waitQueue waits until a queue holds exactly n messages.
func (m *system) waitQueue(ctx context.Context, queue string, n int) (map[string]string, error) {
	err := harness.Poll(ctx, func() (bool, error) { return m.Queue()[queue] == n, nil })
	if err != nil {
		return nil, fmt.Errorf("%s of %s: want %d messages: %v: %w%s", queue, m.Name, n, m.Queue(), err, logs(m))
	}
	return m.queued(queue)
}

// bySubject finds the queue id of a letter with postcat.
func bySubject(ctx context.Context, tools *system, files map[string]string) (map[string]string, error) {
	ids := make(map[string]string)
	for id := range files {
		out, err := tools.Command(ctx, nil, "postcat", "-q", id)
		if err != nil {
			return nil, err
		}
		ids[header(out[strings.Index(out, "*** MESSAGE CONTENTS"):], "Subject")] = id
	}
	return ids, nil
}

// toolsOnOurs lets Debian's tools work on a queue that we wrote, and then our
// system deliver what they left.
func toolsOnOurs(longIDs string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		ids := map[string]string{"enable_long_queue_ids": longIDs}
		m, err := receiver(ctx, s, map[string]string{"enable_long_queue_ids": longIDs, "relayhost": "[127.0.0.1]:9",
			"virtual_mailbox_domains": ""})
		if err != nil {
			return err
		}
		subjects := []string{"stays", "held", "released", "requeued", "deleted"}
		for _, subject := range subjects {
			e := envelope{from: "alice@sender.test", to: "bob@mx.test", mailArgs: " BODY=8BITMIME ENVID=id+2B1", rcptArgs: " NOTIFY=FAILURE,DELAY"}
			if err := m.send(ctx, e, letter(subject, texts[2].text+texts[3].text)); err != nil {
				return err
			}
		}
		before, err := m.waitQueue(ctx, "deferred", len(subjects))
		if err != nil {
			return err
		}
		if err := m.Stop(); err != nil {
			return err
		}
		tools, err := s.tools(ctx, m, ids)
		if err != nil {
			return err
		}
		if err := inspect(ctx, m, tools, before); err != nil {
			return err
		}
		id, err := bySubject(ctx, tools, before)
		if err != nil {
			return err
		}
		for _, step := range []struct{ option, subject, queue string }{
			{"-h", "held", "hold"}, {"-h", "released", "hold"}, {"-H", "released", "deferred"},
			{"-r", "requeued", "maildrop"}, {"-d", "deleted", ""},
		} {
			if out, err := run(ctx, nil, "/usr/sbin/postsuper", "-c", tools.ConfigDir, step.option, id[step.subject]); err != nil {
				return err
			} else if err := m.only(id[step.subject], step.queue); err != nil {
				return fmt.Errorf("postsuper %s: %w: %s", step.option, err, out)
			}
		}
		if err := m.set(ctx, "relayhost=", "virtual_mailbox_domains=mx.test"); err != nil {
			return err
		}
		if err := m.Start(ctx); err != nil {
			return err
		}
		if _, err := m.Command(ctx, nil, "postqueue", "-f"); err != nil {
			return err
		}
		mail, err := m.WaitMail(ctx, "bob", 3)
		if err != nil {
			return fmt.Errorf("%w%s", err, logs(m))
		}
		var got []string
		for _, text := range mail {
			got = append(got, header(text, "Subject"))
			if err := endsWith("message", text, letter(header(text, "Subject"), texts[2].text+texts[3].text)); err != nil {
				return err
			}
		}
		slices.Sort(got)
		if err := same("delivered", strings.Join(got, " "), "released requeued stays"); err != nil {
			return err
		}
		left, err := m.waitQueue(ctx, "hold", 1)
		if err != nil {
			return err
		}
		if left[id["held"]] == "" {
			return fmt.Errorf("in hold is %v, want %s", left, id["held"])
		}
		return nil
	}
}

// inspect compares what Debian's tools say of a stopped queue of ours with the
// truth, and with what our own say.
func inspect(ctx context.Context, m, tools *system, files map[string]string) error {
	for id, path := range files {
		for _, args := range [][]string{{"-q", id}, {filepath.Join(m.QueueDir, path)}} {
			out, err := tools.Command(ctx, nil, "postcat", args...)
			if err != nil {
				return err
			}
			ours, err := run(ctx, nil, append([]string{"env", "TZ=UTC", filepath.Join(m.Bin, "postcat"), "-c", tools.ConfigDir}, args...)...)
			if err != nil {
				return err
			}
			if err := same(fmt.Sprintf("postcat %q", args), ours, out); err != nil {
				return err
			}
			if err := contains("postcat", out, "*** ENVELOPE RECORDS ", "sender: alice@sender.test\n", "recipient: bob@mx.test\n",
				"*** MESSAGE CONTENTS ", "\nTo: Bob <bob@mx.test>\n", texts[2].text+texts[3].text, "*** MESSAGE FILE END ",
				"named_attribute: envelope_id=id+1\n", "named_attribute: notify_flags=", "named_attribute: encoding=8bit\n"); err != nil {
				// postcat prints ENVID as it is stored.
				return err
			}
		}
	}
	if out, err := run(ctx, nil, "/usr/sbin/postsuper", "-c", tools.ConfigDir, "-s"); err != nil {
		return err
	} else if strings.TrimSpace(out) != "" {
		return fmt.Errorf("postsuper -s finds something to do: %s", out)
	}
	after, err := m.queued("deferred")
	if err != nil {
		return err
	}
	if fmt.Sprint(after) != fmt.Sprint(files) {
		return fmt.Errorf("postsuper -s moved files: %v, was %v", after, files)
	}
	return samePostqueue(ctx, m, tools, len(files))
}

var origAddress = regexp.MustCompile(`"orig_address": "[^"]*", `)

// samePostqueue compares the reports of both systems' postqueue on one queue.
func samePostqueue(ctx context.Context, ours, debian *system, n int) error {
	for _, option := range []string{"-p", "-j"} {
		got, err := run(ctx, nil, filepath.Join(ours.Bin, "postqueue"), "-c", ours.ConfigDir, option)
		if err != nil {
			return err
		}
		want, err := run(ctx, nil, "/usr/sbin/postqueue", "-c", debian.ConfigDir, option)
		if err != nil {
			return err
		}
		// Later versions than Debian's name the original address always.
		if err := same("postqueue "+option, sorted(origAddress.ReplaceAllString(got, "")), sorted(origAddress.ReplaceAllString(want, ""))); err != nil {
			return err
		}
		if have := strings.Count(want, "bob@mx.test"); have < n {
			return fmt.Errorf("postqueue %s lists %d of %d messages:\n%s", option, have, n, want)
		}
	}
	return nil
}

// sorted is a queue report with its messages in order: that of a directory is
// anybody's.
func sorted(report string) string {
	if first, rest, _ := strings.Cut(report, "\n"); strings.Contains(first, "Mail system is down -- accessing queue directly") {
		report = rest // on standard error, and it names the product
	}
	sep := "\n\n"
	if strings.HasPrefix(report, "{") {
		sep = "\n"
	}
	head := ""
	if strings.HasPrefix(report, "-") {
		var rest string
		head, rest, _ = strings.Cut(report, "\n")
		report = rest
	}
	parts := strings.Split(report, sep)
	slices.Sort(parts)
	return head + "\n" + strings.Join(parts, sep)
}

// only checks that a message is in one queue and nowhere else; "" is nowhere.
func (m *system) only(id, want string) error {
	for _, queue := range []string{"maildrop", "incoming", "active", "deferred", "hold", "corrupt"} {
		files, err := m.queued(queue)
		if err != nil {
			return err
		}
		if (files[id] != "") != (queue == want) {
			return fmt.Errorf("%s: in %s: %t, want it in %q", id, queue, files[id] != "", want)
		}
	}
	return nil
}

// fill leaves mail for bob in deferred, hold, incoming and maildrop of a system,
// and stops it. It returns the number of messages that are not held.
func fill(ctx context.Context, m *system, withoutQmgr func() error) (int, error) {
	if err := m.Start(ctx); err != nil {
		return 0, err
	}
	send := func(where string) error {
		for _, t := range texts {
			e := envelope{from: "alice@mx.test", to: "bob@mx.test", mailArgs: " BODY=8BITMIME"}
			if err := m.send(ctx, e, letter(where+"-"+t.name, t.text)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := send("deferred"); err != nil {
		return 0, err
	}
	if _, err := m.waitQueue(ctx, "deferred", len(texts)); err != nil {
		return 0, err
	}
	if err := m.Stop(); err != nil {
		return 0, err
	}
	if err := withoutQmgr(); err != nil {
		return 0, err
	}
	if err := m.Start(ctx); err != nil {
		return 0, err
	}
	if err := send("incoming"); err != nil {
		return 0, err
	}
	// A success report shows that the recipient's attributes were understood.
	e := envelope{from: "alice@mx.test", to: "bob@mx.test", mailArgs: " ENVID=env+2Bid", rcptArgs: " NOTIFY=SUCCESS ORCPT=rfc822;robert@mx.test"}
	if err := m.send(ctx, e, letter("incoming-dsn", "text\n")); err != nil {
		return 0, err
	}
	if _, err := m.waitQueue(ctx, "incoming", len(texts)+1); err != nil {
		return 0, err
	}
	if err := m.Stop(); err != nil {
		return 0, err
	}
	for _, t := range texts {
		if _, err := m.Command(ctx, strings.NewReader(letter("maildrop-"+t.name, t.text)), "sendmail", "-G", "-i", "-f", "alice@mx.test", "bob@mx.test"); err != nil {
			return 0, err
		}
	}
	_, err := m.waitQueue(ctx, "maildrop", len(texts))
	return 3*len(texts) + 1, err
}

func postqueueOnDebians(ctx context.Context, s *stage) error {
	m, err := s.debian("debian", map[string]string{"relayhost": "[127.0.0.1]:9"})
	if err != nil {
		return err
	}
	n, err := fill(ctx, m, m.withoutQmgr)
	if err != nil {
		return err
	}
	ours, err := s.ours("mx", map[string]string{"queue_directory": m.QueueDir})
	if err != nil {
		return err
	}
	return samePostqueue(ctx, ours, m, n)
}

// withoutQmgr takes away the services that empty incoming and maildrop.
func (m *system) withoutQmgr() error {
	path := filepath.Join(m.ConfigDir, "master.cf")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		if name := strings.Fields(line + " -")[0]; name != "qmgr" && name != "pickup" {
			kept.WriteString(line)
		}
	}
	return os.WriteFile(path, []byte(kept.String()), 0o644)
}

// queueHandover fills the queue of one system and lets the other deliver it.
func queueHandover(toOurs bool) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		dead := map[string]string{"relayhost": "[127.0.0.1]:9", "virtual_mailbox_domains": ""}
		make := func(ours bool, name string, params map[string]string) (*system, error) {
			if ours {
				return s.ours(name, params)
			}
			return s.debian(name, params)
		}
		from, err := make(!toOurs, "from", dead)
		if err != nil {
			return err
		}
		n, err := fill(ctx, from, from.withoutQmgr)
		if err != nil {
			return err
		}
		to, err := make(toOurs, "mx", map[string]string{"queue_directory": from.QueueDir})
		if err != nil {
			return err
		}
		to.QueueDir = from.QueueDir
		if err := to.Start(ctx); err != nil {
			return err
		}
		if _, err := to.Command(ctx, nil, "postqueue", "-f"); err != nil {
			return err
		}
		mail, err := to.WaitMail(ctx, "bob", n)
		if err != nil {
			return fmt.Errorf("%w%s", err, logs(to))
		}
		want := map[string]string{"incoming-dsn": letter("incoming-dsn", "text\n")}
		for _, where := range []string{"deferred-", "incoming-", "maildrop-"} {
			for _, t := range texts {
				want[where+t.name] = letter(where+t.name, t.text)
			}
		}
		for _, text := range mail {
			subject := header(text, "Subject")
			if err := endsWith(subject, text, want[subject]); err != nil {
				return err
			}
			delete(want, subject)
		}
		if len(want) != 0 {
			return fmt.Errorf("not delivered: %v", want)
		}
		report, err := to.delivered(ctx, "alice")
		if err != nil {
			return err
		}
		return errors.Join(to.WaitEmpty(ctx), contains("report", report, "\nAction: delivered\n", "\nOriginal-Envelope-Id: env+id\n",
			"\nOriginal-Recipient: rfc822;robert@mx.test\n"))
	}
}
