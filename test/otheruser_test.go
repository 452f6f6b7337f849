package test

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sealpost/test/harness"
)

// TestAnotherUserReachesTwoSockets (DESIGN §3, security-cases.md §2.H): in a
// system that was started by root, a user who is neither root nor the mail owner
// can open user/submit and user/showq and no other socket.
func TestAnotherUserReachesTwoSockets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs root to be three users; the modes are held by TestSocketDirectoriesKeepOthersOut")
	}
	owner, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("SKIP: there is no user nobody to own the mail system")
	}
	group, err := user.LookupGroupId(owner.Gid)
	if err != nil {
		t.Skip("SKIP: the group of nobody has no name")
	}
	bin, err := harness.Programs()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// Others must be able to come as far as the queue.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mta, err := harness.New(harness.Options{Name: "users", Dir: dir, Bin: bin, Params: map[string]string{
		"mail_owner": owner.Username, "setgid_group": group.Name, "maillog_file_prefixes": dir,
		"default_privs": owner.Username,
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
		defer cancel()
		if err := mta.Stop(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(mta.Log.Text())
		}
	})
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := mta.Send(ctx, "", []string{"nobody@users.test"}, "Subject: x\n\nx\n"); err != nil {
		t.Log(err) // whoever listens has started
	}
	const stranger = 54321
	var open []string
	for _, name := range slices.Sorted(maps.Keys(sockets(t, mta))) {
		// connect(2) needs what access(2) asks for: to search the directories and
		// to write to the socket.
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `test -w "$1"`, "sh", filepath.Join(mta.QueueDir, name))
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
		if cmd.Run() == nil {
			open = append(open, name)
		}
	}
	if got := strings.Join(open, " "); got != "user/showq user/submit" {
		t.Errorf("another user can open: %q", got)
	}
}
