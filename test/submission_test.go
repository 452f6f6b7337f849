package test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/lib/record"
	"sealpost/test/harness"
)

// shell runs a command line for an instance; $S is sendmail, $P postdrop.
func shell(ctx context.Context, mta *harness.Instance, stdin []byte, line string, args ...string) (out string, status int) {
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", line, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+mta.ConfigDir, "S="+filepath.Join(mta.Bin, "sendmail"), "P="+filepath.Join(mta.Bin, "postdrop"))
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.WaitDelay = time.Second
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		status = exit.ExitCode()
	default:
		status = -1
	}
	return string(b), status
}

// TestHostileSubmitters (§2.H): whatever the options, the environment and the
// limits of the calling process are, a submission is taken as a whole or fails
// with an exit status of sysexits.h and leaves nothing. Both ways in are tried:
// the socket, and postdrop while the system is down.
func TestHostileSubmitters(t *testing.T) {
	mta := harness.Prepare(t, harness.Options{Name: "local", Domain: "local.test", Users: []string{"bob"}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	evil := t.TempDir()
	os.WriteFile(filepath.Join(evil, "main.cf"), []byte("queue_directory = /nonexistent\ncommand_directory = "+evil+"\n"), 0o644)
	large := append([]byte("Subject: large\n\n"), bytes.Repeat([]byte("0123456789abcdef\n"), 200_000)...)
	many := make([]string, 40_000)
	for i := range many {
		many[i] = "bob@local.test"
	}
	type row struct {
		behaviour, line string
		args            []string
		stdin           []byte
		taken           bool
		down            int // exit status while the system is down, if it is another
		status          int // -1: any failure
	}
	small := []byte("Subject: small\n\nx\n")
	rows := []row{
		{behaviour: "line break in -f", line: `exec "$S" -f "$1" bob@local.test`, args: []string{"a\nRCPT x"}, status: 64},
		{behaviour: "line break in -F", line: `exec "$S" -F "$1" bob@local.test`, args: []string{"x\nBcc: y@local.test"}, status: 64},
		{behaviour: "line break in a recipient", line: `exec "$S" "$1"`, args: []string{"a\r\nBcc: b@local.test"}, status: 64},
		{behaviour: "line break in -V", line: `exec "$S" -V "$1" bob@local.test`, args: []string{"a\nb"}, status: 64},
		{behaviour: "line break in NAME", line: `NAME="$1" exec "$S" bob@local.test`, args: []string{"x\nBcc: y"}, status: 64},
		{behaviour: "an unknown -N", line: `exec "$S" -N maybe bob@local.test`, status: 64},
		{behaviour: "an unknown -R", line: `exec "$S" -R some bob@local.test`, status: 64},
		{behaviour: "another configuration by -C", line: `exec "$S" -C "$1" bob@local.test`, args: []string{evil}, status: -1},
		{behaviour: "another configuration by MAIL_CONFIG", line: `MAIL_CONFIG="$1" exec "$S" bob@local.test`, args: []string{evil}, status: -1},
		{behaviour: "no configuration", line: `MAIL_CONFIG=/nonexistent exec "$S" bob@local.test`, status: -1},
		{behaviour: "no recipient", line: `exec "$S"`, status: 64},
		{behaviour: "600 KB of arguments", line: `exec "$S" "$@"`, args: many, taken: true},
		{behaviour: "an argument of 100 KB", line: `exec "$S" "$1"`, args: []string{strings.Repeat("x", 100_000) + "@local.test"}, status: -1},
		{behaviour: "standard output is closed", line: `exec "$S" bob@local.test >&-`, taken: true},
		{behaviour: "standard output and error are closed", line: `exec "$S" bob@local.test >&- 2>&-`, taken: true},
		{behaviour: "umask 0", line: `umask 0; exec "$S" bob@local.test`, taken: true},
		{behaviour: "umask 777", line: `umask 777; exec "$S" bob@local.test`, taken: true},
		{behaviour: "odd environment", line: `MAIL_DEBUG=1 TZ=../../../etc/passwd LD_PRELOAD=/nonexistent.so LD_LIBRARY_PATH=/tmp GODEBUG=x PATH= IFS=/ exec "$S" bob@local.test`, taken: true},
		{behaviour: "small files only", line: `ulimit -f 1; exec "$S" bob@local.test`, stdin: large, taken: true, down: 75},
		{behaviour: "few descriptors", line: `ulimit -n 4; exec "$S" bob@local.test`, status: -1},
		{behaviour: "no input", line: `exec "$S" bob@local.test </dev/null`, taken: true},
		{behaviour: "a directory as input", line: `exec "$S" bob@local.test </`, status: -1},
	}
	check := func(t *testing.T, r row, want int) (taken bool) {
		stdin := r.stdin
		if stdin == nil {
			stdin = small
		}
		out, status := shell(ctx, mta, stdin, r.line, r.args...)
		if strings.Contains(out, "goroutine ") || status < 0 || status == 2 {
			t.Errorf("crashed (%d): %s", status, out)
		}
		if status != want && (want >= 0 || status == 0) {
			t.Errorf("exit status %d, want %d: %.500s", status, want, out)
		}
		return status == 0
	}
	// Directories exist after the first start.
	if err := errors.Join(mta.Start(ctx), mta.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for _, r := range rows {
		t.Run(r.behaviour+", system down", func(t *testing.T) {
			want := r.status
			if r.down != 0 {
				want = r.down
			}
			before := mta.Queue()["maildrop"]
			if check(t, r, want) {
				taken++
				before++
			}
			if got := mta.Queue()["maildrop"]; got != before {
				t.Errorf("%d files in maildrop, want %d", got, before)
			}
		})
	}
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		t.Run(r.behaviour, func(t *testing.T) {
			if check(t, r, r.status) {
				taken++
			}
		})
	}
	if err := mta.WaitEmpty(ctx); err != nil {
		t.Error(err)
	}
	mail, err := mta.WaitMail(ctx, "bob", taken)
	if err != nil || len(mail) != taken {
		t.Errorf("%d messages, want %d: %v", len(mail), taken, err)
	}
	for _, m := range mail {
		if strings.Contains(m, "Bcc:") || strings.Contains(m, "RCPT") || strings.Contains(m, "Subject: large") && !strings.HasSuffix(m, string(large[len(large)-1000:])) {
			t.Errorf("a message that is not as submitted: %.500q", m)
		}
	}
	wellFormed(t, mta, logLine)
}

// TestAKilledSubmitterLeavesNothing (§2.H): SIGKILL while the message is being
// written, to sendmail and to postdrop, with the system up and down.
func TestAKilledSubmitterLeavesNothing(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "local", Domain: "local.test", Users: []string{"bob"}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	kill := func(program string, stream []byte) {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(mta.Bin, program), map[string][]string{"sendmail": {"-i", "bob@local.test"}}[program]...)
		cmd.Env = append(os.Environ(), "MAIL_CONFIG="+mta.ConfigDir)
		w, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// More than a pipe holds: when this returns, a part was read.
		if _, err := w.Write(stream); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
	}
	text := append([]byte("Subject: half\n\n"), bytes.Repeat([]byte("half a message\n"), 20_000)...)
	var records []byte
	records = record.Append(records, record.From, "a@local.test")
	records = record.Append(records, record.Rcpt, "bob@local.test")
	records = record.Append(records, record.Message, "")
	for range 20_000 {
		records = record.Append(records, record.Norm, "half a message")
	}
	kill("sendmail", text)
	kill("postdrop", records)
	if err := mta.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	kill("sendmail", text)
	kill("postdrop", records)
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := mta.Command(ctx, strings.NewReader("Subject: whole\n\nx\n"), "sendmail", "bob@local.test"); err != nil {
		t.Fatal(err)
	}
	mail, err := mta.WaitMail(ctx, "bob", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mta.Log.Wait(ctx, 0, `: removed$`); err != nil {
		t.Error(err)
	}
	if len(mail) != 1 || !strings.Contains(mail[0], "Subject: whole") {
		t.Errorf("%d messages: %.300q", len(mail), mail)
	}
}

// TestHostileRecordsForPostdrop (§2.H): what postdrop itself is fed.
func TestHostileRecordsForPostdrop(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "local", Domain: "local.test", Users: []string{"bob"}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	type rec struct {
		t    record.Type
		text string
	}
	stream := func(recs ...rec) (b []byte) {
		for _, r := range recs {
			b = record.Append(b, r.t, r.text)
		}
		return b
	}
	from, to, body := rec{record.From, "a@local.test"}, rec{record.Rcpt, "bob@local.test"}, []rec{{record.Message, ""}, {record.Norm, "Subject: x"}, {record.Extracted, ""}, {record.End, ""}}
	envelope := func(extra ...rec) []byte { return stream(append(append([]rec{from, to}, extra...), body...)...) }
	taken := 0
	for _, tc := range []struct {
		behaviour string
		stream    []byte
		taken     bool
	}{
		{"nothing", nil, false},
		{"type 0", append([]byte{0, 0}, envelope()...), false},
		{"a pointer", envelope(rec{record.Pointer, "0000000000000001"}), false},
		{"a length of 2^31", append(stream(from), byte(record.Rcpt), 0xff, 0xff, 0xff, 0xff, 0x0f), false},
		{"a length without end", append(stream(from), byte(record.Rcpt), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), false},
		{"a recipient that is done", envelope(rec{record.Done, "x@local.test"}), false},
		{"NUL in the sender", stream(append([]rec{{record.From, "a\x00b"}, to}, body...)...), false},
		{"line break in a recipient", envelope(rec{record.Rcpt, "a\nb"}), false},
		{"no sender", stream(append([]rec{to}, body...)...), false},
		{"no end", stream(from, to, rec{record.Message, ""}, rec{record.Norm, "x"}), false},
		{"an envelope record in the content", stream(from, to, rec{record.Message, ""}, to), false},
		{"attributes of others", envelope(rec{record.Attr, "sasl_username=root"}, rec{record.Attr, "client_name=trusted"},
			rec{record.Attr, "trace_flags=16"}, rec{record.Attr, "rewrite_context=evil"}), true},
		{"plain", envelope(), true},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			out, status := shell(ctx, mta, tc.stream, `exec "$P" -r`)
			if (status == 0) != tc.taken || strings.Contains(out, "goroutine ") {
				t.Errorf("exit status %d: %q", status, out)
			}
			if tc.taken {
				taken++
			}
		})
	}
	mail, err := mta.WaitMail(ctx, "bob", taken)
	if err == nil {
		err = mta.WaitEmpty(ctx)
	}
	if err != nil || len(mail) != taken {
		t.Errorf("%d messages, want %d: %v", len(mail), taken, err)
	}
	if n := mta.Log.Count("sasl_username|trusted"); n > 0 {
		t.Errorf("a submitter's attributes are in %d log lines", n)
	}
}

// TestTrapsInMaildrop (§2.H): what is no complete message of postdrop's is not
// delivered, does not block the rest and harms nothing.
func TestTrapsInMaildrop(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "local", Domain: "local.test", Users: []string{"bob"}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	// A message as postdrop leaves it.
	if err := mta.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if out, status := shell(ctx, mta, []byte("Subject: model\n\nx\n"), `exec "$S" bob@local.test`); status != 0 {
		t.Fatal(out)
	}
	files, _ := filepath.Glob(filepath.Join(mta.QueueDir, "maildrop", "*"))
	if len(files) != 1 {
		t.Fatalf("maildrop: %q", files)
	}
	model, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	os.WriteFile(victim, model, 0o644)
	os.Chmod(victim, 0o744)
	at := func(id string) string { return filepath.Join(mta.QueueDir, "maildrop", id) }
	for _, err := range []error{
		os.Symlink(victim, at("A0000000001")), os.Link(victim, at("A0000000002")), syscall.Mkfifo(at("A0000000003"), 0o777),
		os.Mkdir(at("A0000000004"), 0o777), os.WriteFile(at("A0000000005"), model[:len(model)/2], 0o744),
		os.WriteFile(at("A0000000006"), []byte("garbage\x00\xff\xff\xff\xff\xff"), 0o744), os.WriteFile(at("A0000000007"), model, 0o644),
		os.WriteFile(at("A0000000008"), nil, 0o744), os.Symlink("/dev/zero", at("A0000000009")), os.Symlink("loop", at("loop")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	// A message through maildrop while the traps are there.
	var b []byte
	for _, r := range []struct {
		t    record.Type
		text string
	}{{record.From, ""}, {record.Rcpt, "bob@local.test"}, {record.Message, ""}, {record.Norm, "Subject: after"}, {record.Extracted, ""}, {record.End, ""}} {
		b = record.Append(b, r.t, r.text)
	}
	if out, status := shell(ctx, mta, b, `exec "$P"`); status != 0 {
		t.Fatal(out)
	}
	mail, err := mta.WaitMail(ctx, "bob", 2)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(mail[0]+mail[1], "Subject: model") || !strings.Contains(mail[0]+mail[1], "Subject: after") {
		t.Errorf("%q", mail)
	}
	if err := harness.Poll(ctx, func() (bool, error) { _, err := os.Lstat(at("A0000000006")); return err != nil, nil }); err != nil {
		t.Errorf("garbage stays in maildrop")
	}
	if got, err := os.ReadFile(victim); err != nil || !bytes.Equal(got, model) {
		t.Errorf("the target of the links was changed: %v", err)
	}
	if n := len(mta.MailFiles("bob")); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// TestASubmissionWithoutEndDoesNotBlockOthers (§2.H).
func TestASubmissionWithoutEndDoesNotBlockOthers(t *testing.T) {
	mta := harness.Start(t, harness.Options{Name: "local", Domain: "local.test", Users: []string{"bob"}})
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	for range 5 {
		cmd := exec.CommandContext(ctx, filepath.Join(mta.Bin, "sendmail"), "-i", "bob@local.test")
		cmd.Env = append(os.Environ(), "MAIL_CONFIG="+mta.ConfigDir)
		w, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		io.WriteString(w, "Subject: endless\n\n"+strings.Repeat("x\n", 100_000))
	}
	if _, err := mta.Command(ctx, strings.NewReader("Subject: other\n\nx\n"), "sendmail", "bob@local.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := mta.WaitMail(ctx, "bob", 1); err != nil {
		t.Error(err)
	}
}
