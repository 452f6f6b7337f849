package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/queue/listing"
	"sealpost/test/capture"
)

// sample is a listing whose output was recorded from Postfix's command.
func sample() []*mailproto.ShowqEntry {
	type rcpt = mailproto.ShowqRecipient
	return []*mailproto.ShowqEntry{
		{QueueName: "deferred", QueueID: "806419A801F", Time: 1795375356, Size: 642, Sender: "a@b", Recipients: []rcpt{
			{Addr: "x@y", LogClass: "defer", Reason: "short reason"},
			{Addr: "x2@y", LogClass: "defer", Reason: "short reason"},
			{OrigAddr: "o@y", Addr: "x3@y", LogClass: "defer", Reason: "other"},
			{OrigAddr: "x4@y", Addr: "x4@y"},
			{Addr: "x5@y", LogClass: "bounce", Reason: "short reason"}}},
		{QueueName: "active", QueueID: "4A5299A8012", Time: 1795375356, Size: 123456789, ForcedExpire: true, Sender: "a@b", Recipients: []rcpt{
			{Addr: "x@y", LogClass: "defer", Reason: strings.Repeat("L", 74)},
			{Addr: "x@z", LogClass: "defer", Reason: strings.Repeat("M", 76)},
			{Addr: "x@z", LogClass: "defer", Reason: strings.Repeat("M", 90)}}},
		{QueueName: "hold", QueueID: "4A5299A8013", Time: 1795375356, ForcedExpire: true, Sender: `"q u\o"@b`, RequireTLS: true,
			Recipients: []rcpt{{Addr: `x"\/@y`, LogClass: "other", Reason: "r"}}},
		{QueueName: "maildrop", QueueID: "4p6DPl2fYtz1cvK5", Time: 1795375356, Size: 1023, Sender: "a@b"},
		{QueueName: "incoming", QueueID: "4p6DPl2fYtz1cvK6", Time: 1, Size: 1, Sender: "a@b",
			Recipients: []rcpt{{Addr: "sénder@y", LogClass: "defer", Reason: "ok"}}},
	}
}

func print(p printer, w *bufio.Writer, entries []*mailproto.ShowqEntry) {
	for _, e := range entries {
		p.entry(e)
	}
	p.end()
	w.Flush()
}

func TestMailqForm(t *testing.T) {
	for _, c := range []struct {
		file    string
		longIDs bool
		entries []*mailproto.ShowqEntry
	}{
		{"short.txt", false, sample()},
		{"long.txt", true, sample()},
		{"one.txt", false, sample()[3:4]},
		{"empty.txt", false, nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			w := bufio.NewWriter(&out)
			print(&mailq{w: w, c: newColumns(c.longIDs), zone: time.UTC}, w, c.entries)
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("(-Postfix +ours)\n%s", diff)
			}
		})
	}
}

func TestJSONForm(t *testing.T) {
	want := []string{
		// From a running Postfix 3.12, a forced expiry and the addition for REQUIRETLS aside.
		`{"queue_name": "deferred", "queue_id": "806419A801F", "arrival_time": 1795375356, "message_size": 642, "forced_expire": false, "sender": "cap-def4474@ret.dsn.test", "recipients": [{"orig_address": "", "address": "def@d.secure.opp.signed.test", "delay_reason": "Server certificate not verified"}]}`,
		`{"queue_name": "hold", "queue_id": "4A5299A8012", "arrival_time": 1795375355, "message_size": 429, "forced_expire": true, "requiretls": true, "sender": "cap-N4474@ret.dsn.test", "recipients": [{"orig_address": "hold-N@s.may.opp.signed.test", "address": "hold-N@s.may.opp.signed.test"}]}`,
	}
	entries := []*mailproto.ShowqEntry{
		{QueueName: "deferred", QueueID: "806419A801F", Time: 1795375356, Size: 642, Sender: "cap-def4474@ret.dsn.test", Recipients: []mailproto.ShowqRecipient{
			{Addr: "def@d.secure.opp.signed.test", LogClass: "defer", Reason: "Server certificate not verified"}}},
		{QueueName: "hold", QueueID: "4A5299A8012", Time: 1795375355, Size: 429, Sender: "cap-N4474@ret.dsn.test", ForcedExpire: true, RequireTLS: true, Recipients: []mailproto.ShowqRecipient{
			{OrigAddr: "hold-N@s.may.opp.signed.test", Addr: "hold-N@s.may.opp.signed.test"}}},
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	print(&jsonLines{w: w}, w, entries)
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", out.String()); diff != "" {
		t.Errorf("(-Postfix +ours)\n%s", diff)
	}
}

// FuzzJSON: every line is JSON, whatever the names are.
func FuzzJSON(f *testing.F) {
	f.Add("a@b", "reason", "defer")
	f.Add("\"\\/\x00\x1f\x7f\u2028é\xff", "", "")
	f.Fuzz(func(t *testing.T, addr, reason, class string) {
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		print(&jsonLines{w: w}, w, []*mailproto.ShowqEntry{{Sender: addr, Recipients: []mailproto.ShowqRecipient{{Addr: addr, Reason: reason, LogClass: class}}}})
		var v struct{ Sender string }
		line, rest, ok := strings.Cut(out.String(), "\n")
		if err := json.Unmarshal([]byte(line), &v); err != nil || !ok || rest != "" {
			t.Errorf("%q: %v", out.String(), err)
		}
		if utf8.ValidString(addr) && v.Sender != addr {
			t.Errorf("sender %q became %q", addr, v.Sender)
		}
	})
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		args string
		want options
		ok   bool
	}{
		{"-p", options{mode: 'p'}, true},
		{"-vj -c dir", options{mode: 'j', verbose: true, dir: "dir"}, true},
		{"-i ABC", options{mode: 'i', arg: "ABC"}, true},
		{"-sexample.com", options{mode: 's', arg: "example.com"}, true},
		{"", options{}, false}, {"-p -f", options{}, false}, {"-p extra", options{}, false},
		{"-i", options{}, false}, {"-x", options{}, false}, {"-v", options{}, false},
	} {
		o, err := parseOptions(strings.Fields(c.args), io.Discard)
		if (err == nil) != c.ok || c.ok && o != c.want {
			t.Errorf("%q: %+v, %v", c.args, o, err)
		}
		if err != nil && (err.Error() != usage || report(io.Discard, err) != exUnavailable) {
			t.Errorf("%q: %v", c.args, err)
		}
	}
}

// newCommand makes a queue the working directory and a command for it, run by a
// user who is not its owner.
func newCommand(t *testing.T) (c *command, out, errout *bytes.Buffer) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range append(listing.Queues(), queue.Defer, queue.Bounce, "public", "user") {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out, errout = new(bytes.Buffer), new(bytes.Buffer)
	set := settings{
		MailOwner: "nosuchuser", MailName: "Sealpost", MailqUsers: "static:anyone", FlushUsers: "static:anyone",
		IPCTimeout: time.Minute, TriggerTimeout: time.Minute,
		Listing: listing.Settings{DuplicateLimit: 1000, EmptyRecipient: "MAILER-DAEMON"},
	}
	return &command{set: set, q: queue.New("", set.Queue), uid: 4711, user: "joe", out: out, errout: errout, zone: time.UTC}, out, errout
}

// answer serves one connection on a socket.
func answer(t *testing.T, path string, serve func(c net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		serve(c)
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func showqBytes(user bool, entries []*mailproto.ShowqEntry) []byte {
	var e attr.Encoder
	protocol := mailproto.ProtoShowq
	if user {
		protocol = mailproto.ProtoUserShowq
	}
	mailproto.Greeting{Protocol: protocol}.Append(&e)
	for _, entry := range entries {
		if user {
			entry.AppendUser(&e)
		} else {
			entry.Append(&e)
		}
	}
	e.End()
	return e.Bytes()
}

func TestListFromServices(t *testing.T) {
	for _, c := range []struct {
		name, path string
		user       bool
		requiretls int
	}{
		{"the users' socket", mailproto.PathUserShowq, true, 1},
		{"Postfix's socket", mailproto.PathShowq, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd, out, _ := newCommand(t)
			answer(t, c.path, func(conn net.Conn) { conn.Write(showqBytes(c.user, sample())) })
			if err := cmd.do(options{mode: 'j'}); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "\n"); n != len(sample()) {
				t.Errorf("%d lines", n)
			}
			if n := strings.Count(out.String(), `"requiretls": true`); n != c.requiretls {
				t.Errorf("%d messages with requiretls", n)
			}
		})
	}
}

func TestBrokenListings(t *testing.T) {
	whole := showqBytes(true, sample())
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"cut off":          whole[:300],
		"without end mark": whole[:len(whole)-1],
		"other protocol":   []byte("protocol\x00x\x00\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			cmd, _, _ := newCommand(t)
			answer(t, mailproto.PathUserShowq, func(conn net.Conn) { conn.Write(b) })
			err := cmd.do(options{mode: 'p'})
			if err == nil || !strings.HasPrefix(err.Error(), "malformed showq server response") || report(io.Discard, err) != exUnavailable {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestListWhileDown(t *testing.T) {
	cmd, out, errout := newCommand(t)
	f := capture.QueueFile(t, "requiretls")
	if err := os.WriteFile(f.Path, f.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	err := cmd.do(options{mode: 'j'})
	if want := "Queue report unavailable - mail system is down (Connect to the Sealpost showq service: No such file or directory)"; err == nil || err.Error() != want {
		t.Errorf("other user: %v", err)
	}
	cmd.uid = os.Getuid() // the owner of the queue
	if err := cmd.do(options{mode: 'j'}); err != nil {
		t.Fatal(err)
	}
	if want := "postqueue: warning: Mail system is down -- accessing queue directly (Connect to the Sealpost showq service: No such file or directory)\n"; errout.String() != want {
		t.Errorf("warning: %q", errout)
	}
	if !strings.Contains(out.String(), `"queue_id": "`+f.ID+`"`) || !strings.Contains(out.String(), `"requiretls": true`) {
		t.Errorf("got %s", out)
	}
}

func TestAuthorization(t *testing.T) {
	for _, c := range []struct {
		users string
		uid   int
		user  string
		ok    bool
	}{
		{"static:anyone", 4711, "joe", true},
		{"joe", 4711, "joe", true},
		{"!joe, static:anyone", 4711, "joe", false},
		{"jane", 4711, "joe", false},
		{"", 4711, "joe", false},
		{"jane", 0, "root", true},
	} {
		cmd, _, _ := newCommand(t)
		cmd.set.MailqUsers, cmd.set.FlushUsers, cmd.uid, cmd.user = c.users, c.users, c.uid, c.user
		for mode, what := range map[byte]string{'p': "view", 'f': "flush"} {
			err := cmd.do(options{mode: mode})
			denied := report(io.Discard, err) == exNoPerm
			if denied == c.ok {
				t.Errorf("%q as %s: %v", c.users, c.user, err)
			}
			if want := "User joe(4711) is not allowed to " + what + " the mail queue"; denied && err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		}
	}
}

// sends returns what arrives at a trigger socket.
func sends(t *testing.T, path string) <-chan string {
	got := make(chan string, 1)
	answer(t, path, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	return got
}

func TestFlushAll(t *testing.T) {
	cmd, _, _ := newCommand(t)
	qmgr, pickup := sends(t, mailproto.PathQmgr), sends(t, mailproto.PathPickup)
	if err := cmd.do(options{mode: 'f'}); err != nil {
		t.Fatal(err)
	}
	if got, want := <-qmgr, string(capture.Conns(t, "qmgr-from-postqueue")[0].Client); got != want {
		t.Errorf("qmgr got %q, recorded %q", got, want)
	}
	if got, want := <-pickup, string(capture.Conns(t, "pickup-from-postqueue")[0].Client); got != want {
		t.Errorf("pickup got %q, recorded %q", got, want)
	}
}

func TestFlushWhileDown(t *testing.T) {
	cmd, _, errout := newCommand(t)
	for _, o := range []options{{mode: 'f'}, {mode: 'i', arg: "ABC"}, {mode: 's', arg: "x"}} {
		if err := cmd.do(o); err == nil || err.Error() != "Cannot flush mail queue - mail system is down" || report(io.Discard, err) != exUnavailable {
			t.Errorf("-%c: %v", o.mode, err)
		}
	}
	if !strings.Contains(errout.String(), "postqueue: warning: unable to look up public/qmgr: No such file or directory\n") {
		t.Errorf("warnings: %s", errout)
	}
	for _, o := range []options{{mode: 'i', arg: "a/b"}, {mode: 'i'}, {mode: 's', arg: "a b"}} {
		if err := cmd.do(o); err == nil || !strings.Contains(err.Error(), "invalid") {
			t.Errorf("-%c %q: %v", o.mode, o.arg, err)
		}
	}
}

// TestFlushWithoutFlushService: what there is none of is not a system that is down.
func TestFlushWithoutFlushService(t *testing.T) {
	cmd, _, errout := newCommand(t)
	cmd.uid = 1 << 30
	answer(t, mailproto.PathQmgr, func(net.Conn) {})
	for arg, o := range map[string]options{"ABC": {mode: 'i', arg: "ABC"}, "x.example": {mode: 's', arg: "x.example"}} {
		if err := cmd.do(o); err == nil || !strings.Contains(err.Error(), arg) || !strings.Contains(err.Error(), "there is no flush service") || report(io.Discard, err) != exUnavailable {
			t.Errorf("-%c: %v", o.mode, err)
		}
	}
	if strings.Contains(errout.String(), "down") {
		t.Errorf("warnings: %s", errout)
	}
}

func TestFlushService(t *testing.T) {
	for _, c := range []struct {
		o      options
		status int
		conn   int // of the recording
		want   string
	}{
		{options{mode: 's', arg: "refused.example"}, mailproto.FlushOK, 0, ""},
		{options{mode: 'i', arg: "76AEC9C05FD"}, mailproto.FlushOK, 1, ""},
		{options{mode: 's', arg: "refused.example"}, mailproto.FlushDeny, 0, `Flush service is not configured for destination "refused.example"`},
		{options{mode: 'i', arg: "76AEC9C05FD"}, mailproto.FlushBad, 1, `Invalid request: "76AEC9C05FD"`},
		{options{mode: 'i', arg: "76AEC9C05FD"}, mailproto.FlushFail, 1, "Cannot flush mail queue - mail system is down"},
	} {
		cmd, _, _ := newCommand(t)
		want := capture.Conns(t, "flush-from-postqueue")[c.conn].Client
		got := make([]byte, len(want))
		answer(t, mailproto.PathFlush, func(conn net.Conn) {
			var e attr.Encoder
			mailproto.Greeting{Protocol: mailproto.ProtoFlush}.Append(&e)
			conn.Write(e.Bytes())
			io.ReadFull(conn, got)
			e.Reset()
			mailproto.StatusReply{Status: c.status}.Append(&e)
			conn.Write(e.Bytes())
		})
		err := cmd.do(c.o)
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("status %d: %v", c.status, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("sent %q, recorded %q", got, want)
		}
	}
}

func TestFlushMessageWithoutService(t *testing.T) {
	cmd, _, errout := newCommand(t)
	cmd.uid = os.Getuid()
	if err := os.WriteFile("deferred/ABC123", []byte("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := errors.Join(os.Chmod("deferred/ABC123", 0o710), os.Chtimes("deferred/ABC123", later, later)); err != nil {
		t.Fatal(err)
	}
	qmgr := sends(t, mailproto.PathQmgr)
	if err := cmd.do(options{mode: 'i', arg: "ABC123"}); err != nil {
		t.Fatal(err)
	}
	if got := <-qmgr; got != "I\x00" {
		t.Errorf("qmgr got %q", got)
	}
	st, err := os.Stat("incoming/ABC123")
	if err != nil || st.Mode().Perm() != 0o750 || st.ModTime().After(time.Now()) {
		t.Errorf("%v %v", st, err)
	}
	if err := cmd.release("NONE"); err != nil || !strings.Contains(errout.String(), "no deferred message NONE") {
		t.Errorf("missing message: %v, %s", err, errout)
	}
}
