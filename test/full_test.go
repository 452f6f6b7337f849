package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/lib/queue"
	"sealpost/test/harness"
)

// fullEnv tells the test program that it is in a mount namespace of its own.
const fullEnv = "SEALPOST_TEST_MOUNTS"

// inOwnMounts runs a test again in a process that may mount file systems that
// only it and its children see. It returns true in that process.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(fullEnv) != "" {
		// The daemons shall not have this right.
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Geteuid() == 0 {
		t.Skip("an instance without privileges is tested; run \"make test\", which steps down from root")
	}
	if _, err := harness.Programs(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), fullEnv+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Start()
	if err != nil {
		t.Skipf("SKIP: NOT TESTED: what happens on a full file system: no namespace for mounts: %v", err)
	}
	err = cmd.Wait()
	if strings.Contains(out.String(), "--- SKIP") {
		t.Skip(out.String())
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out.String())
	}
	return false
}

// tmpfs mounts a small file system on a directory.
func tmpfs(t *testing.T, dir, size string) *disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size="+size)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("SKIP: NOT TESTED: what happens on a full file system: mount: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return &disk{t, filepath.Join(dir, "filler")}
}

type disk struct {
	t    *testing.T
	path string
}

// fill leaves no space. It may be called again for space that was freed.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
}

func (d *disk) free() {
	d.t.Helper()
	if err := os.Remove(d.path); err != nil {
		d.t.Fatal(err)
	}
}

// onSmallDisk starts an instance whose queue and mailboxes are file systems of
// their own.
func onSmallDisk(t *testing.T) (mta *harness.Instance, queueDisk, mailDisk *disk) {
	t.Helper()
	dir := t.TempDir()
	queueDisk, mailDisk = tmpfs(t, filepath.Join(dir, "queue"), "2m"), tmpfs(t, filepath.Join(dir, "mail"), "1m")
	mta = harness.Start(t, harness.Options{Name: "small", Dir: dir, Params: map[string]string{
		"virtual_mailbox_domains": "b.test",
		"virtual_mailbox_maps":    "inline:{ { user@b.test = user/ }, { mbox@b.test = mbox } }",
		"message_size_limit":      "400000", "virtual_mailbox_limit": "0",
		"minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s",
	}})
	return mta, queueDisk, mailDisk
}

// TestQueueOnAFullFileSystem: new mail is refused for the time being, whoever
// brings it, nothing is left of it, and when there is space again all goes on.
func TestQueueOnAFullFileSystem(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	mta, disk, _ := onSmallDisk(t)
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	if err := mta.Send(ctx, "sender@a.test", []string{"user@b.test"}, "X-Number: m1\n\nbefore\n"); err != nil {
		t.Fatal(err)
	}
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Fatal(err)
	}

	// A client is in the middle of a message when the space ends.
	conn, err := dialSMTP(mta.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	say := func(text, want string) {
		t.Helper()
		if _, got := conn.command(text); !strings.HasPrefix(got, want) {
			t.Errorf("%.40q answered with %q, want %s", text, got, want)
		}
	}
	say("MAIL FROM:<sender@a.test>\r\n", "250 ")
	say("RCPT TO:<user@b.test>\r\n", "250 ")
	disk.fill()
	say("DATA\r\n", "354 ")
	say("X-Number: m2\r\n\r\n"+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 3000)+".\r\n", "451 4.3.0 ")
	// Others do not get so far; smtpd looks at the space once per second.
	mail := func(want string) {
		t.Helper()
		if err := harness.Poll(ctx, func() (bool, error) {
			_, got := conn.command("MAIL FROM:<sender@a.test>\r\n")
			if strings.HasPrefix(got, want) {
				return true, nil
			}
			say("RSET\r\n", "250 ")
			return false, nil
		}); err != nil {
			t.Errorf("MAIL is not answered with %s: %v", want, err)
		}
	}
	mail("452 4.3.1 ")
	var exit *exec.ExitError
	_, err = mta.Command(ctx, strings.NewReader("X-Number: m3\n\nlocal\n"), "sendmail", "-i", "-f", "sender@a.test", "user@b.test")
	if !errors.As(err, &exit) || exit.ExitCode() != 75 {
		t.Errorf("sendmail: %v, want exit status 75", err)
	}
	if n := mta.Queue(); len(n) > 0 {
		t.Errorf("left in the queue: %v", n)
	}

	disk.free()
	mail("250 ")
	say("RCPT TO:<user@b.test>\r\n", "250 ")
	say("DATA\r\n", "354 ")
	say("X-Number: m4\r\n\r\nafter\r\n.\r\n", "250 ")
	if out, err := mta.Command(ctx, strings.NewReader("X-Number: m5\n\nlocal\n"), "sendmail", "-i", "-f", "sender@a.test", "user@b.test"); err != nil {
		t.Errorf("sendmail: %v %s", err, out)
	}
	if _, err := mta.WaitMail(ctx, "user", 3); err != nil {
		t.Error(err)
	}
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(numbers(t, mta, "user")); got != "map[m1:1 m4:1 m5:1]" {
		t.Errorf("delivered: %s", got)
	}
	if n := mta.Log.Count(`(fatal|panic): |throttling|killed by signal`); n > 0 {
		t.Errorf("%d complaints in the log", n)
	}
}

// TestMailboxOnAFullFileSystem: mail that cannot be stored stays in the queue and
// the mailboxes stay as they were, even when the queue has no space either to
// note the reason.
func TestMailboxOnAFullFileSystem(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	mta, queueDisk, mailDisk := onSmallDisk(t)
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	send := func(id string) {
		t.Helper()
		text := "X-Number: " + id + "\n\n" + strings.Repeat(strings.Repeat("y", 70)+"\n", 200)
		if err := mta.Send(ctx, "sender@a.test", []string{"user@b.test", "mbox@b.test"}, text); err != nil {
			t.Fatal(err)
		}
	}
	send("m1")
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Fatal(err)
	}
	mbox := filepath.Join(mta.MailDir, "mbox")
	before, err := os.ReadFile(mbox)
	if err != nil {
		t.Fatal(err)
	}

	mailDisk.fill()
	mark := mta.Log.Mark()
	send("m2")
	for _, what := range []string{`to=<user@b.test>.*dsn=4.2.2, status=deferred \(maildir delivery failed: .*no space left`,
		`to=<mbox@b.test>.*dsn=4.2.2, status=deferred \(mailbox delivery failed: .*no space left`} {
		if _, err := mta.Log.Wait(ctx, mark, what); err != nil {
			t.Error(err)
		}
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		queueDisk.fill() // an attempt begins with the removal of the last one's log
		return mta.Log.Count(`defer service failure`) > 1, nil
	}); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(mbox); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the mailbox file has changed from %d to %d bytes, %v", len(before), len(after), err)
	}
	if n := len(mta.MailFiles("user")); n != 1 {
		t.Errorf("%d messages in the Maildir, want 1", n)
	}
	if n := complete(mta.QueueDir, queue.Incoming, queue.Active, queue.Deferred); n != 1 {
		t.Errorf("%d messages in the queue, want 1", n)
	}

	queueDisk.free()
	mailDisk.free()
	if _, err := mta.WaitMail(ctx, "user", 2); err != nil {
		t.Error(err)
	}
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(mbox)
	if err != nil || !bytes.HasPrefix(text, before) || strings.Count(string(text), "X-Number: m2\n") != 1 {
		t.Errorf("the mailbox file, %d bytes, is not the old one with one new message: %v", len(text), err)
	}
	if got := fmt.Sprint(numbers(t, mta, "user")); got != "map[m1:1 m2:1]" {
		t.Errorf("delivered: %s", got)
	}
	if left, _ := filepath.Glob(filepath.Join(mta.MailDir, "user", "tmp", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestFileSizeLimitOfTheSystem: a message that the process may not write
// (RLIMIT_FSIZE) is too large, and kills nobody.
func TestFileSizeLimitOfTheSystem(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "limited", Domain: "b.test", Users: []string{"user"}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	if err := mta.Send(ctx, "sender@a.test", []string{"user@b.test"}, "X-Number: m1\n\nbefore\n"); err != nil {
		t.Fatal(err)
	}
	pids := mta.Workers()["cleanup"]
	if len(pids) != 1 {
		t.Fatalf("cleanup: %v", pids)
	}
	if err := unix.Prlimit(pids[0], unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100 << 10, Max: 100 << 10}, nil); err != nil {
		t.Fatal(err)
	}
	conn, err := dialSMTP(mta.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	big := "X-Number: m2\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 3000)
	for _, step := range []struct{ text, want string }{
		{"MAIL FROM:<sender@a.test>\r\n", "250 "}, {"RCPT TO:<user@b.test>\r\n", "250 "}, {"DATA\r\n", "354 "},
		{big + ".\r\n", "552 5.3.4 "},
	} {
		if _, got := conn.command(step.text); !strings.HasPrefix(got, step.want) {
			t.Fatalf("%.40q answered with %q, want %s", step.text, got, step.want)
		}
	}
	if !conn.send("sender@a.test", "user@b.test", "X-Number: m3\r\n\r\nafter") {
		t.Error("a small message is not accepted any more")
	}
	if _, err := mta.WaitMail(ctx, "user", 2); err != nil {
		t.Error(err)
	}
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
	if now := mta.Workers()["cleanup"]; len(now) != 1 || now[0] != pids[0] {
		t.Errorf("cleanup %v was replaced by %v", pids, now)
	}
	if got := fmt.Sprint(numbers(t, mta, "user")); got != "map[m1:1 m3:1]" {
		t.Errorf("delivered: %s", got)
	}
}
