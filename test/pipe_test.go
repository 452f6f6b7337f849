package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/lib/queue"
	"sealpost/test/harness"
)

// slowCommand says who it is, and delivers when it is told to.
const slowCommand = `#!/bin/sh
cat >/dev/null
echo $$ >DIR/begun.tmp && mv DIR/begun.tmp DIR/begun
cat DIR/go >/dev/null
echo >>DIR/delivered
`

// startSlow prepares a system whose mail for out.test goes to slowCommand.
func startSlow(t *testing.T) *filtering {
	f := newFiltering(t, startStrictSink(t))
	script := f.file("slow", strings.ReplaceAll(slowCommand, "DIR", f.dir), 0o755)
	if err := unix.Mkfifo(filepath.Join(f.dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Services = append(f.Services, "slow unix - n n - - pipe "+f.places.Replace("user=filter")+" argv="+script)
	f.Params["transport_maps"] = "inline:{{out.test=slow:}}"
	f.apply()
	return f
}

// begun waits for the command and returns its process id.
func (f *filtering) begun() int {
	f.t.Helper()
	path := filepath.Join(f.dir, "begun")
	var text []byte
	err := harness.Poll(f.ctx, func() (bool, error) {
		var err error
		text, err = os.ReadFile(path)
		return err == nil, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	os.Remove(path)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		f.t.Fatal(err)
	}
	return pid
}

// goOn lets the command deliver.
func (f *filtering) goOn() {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, "go"), []byte("go"), 0); err != nil {
		f.t.Fatal(err)
	}
}

func (f *filtering) delivered() int {
	text, _ := os.ReadFile(filepath.Join(f.dir, "delivered"))
	return len(text)
}

// TestReloadLetsACommandFinish: what it has begun it ends, once.
func TestReloadLetsACommandFinish(t *testing.T) {
	f := startSlow(t)
	f.send(false, "alice@mail.test", "user@out.test", "Subject: x\n\ny\n")
	f.begun()
	if err := f.Reloaded(f.ctx); err != nil {
		t.Fatal(err)
	}
	f.goOn()
	f.log(`to=<user@out.test>, relay=slow, .*status=sent \(delivered via slow service\)`)
	if n := f.delivered(); n != 1 {
		t.Errorf("delivered %d times", n)
	}
}

// TestStopEndsACommand: nothing is left of it, and its message waits in the queue.
func TestStopEndsACommand(t *testing.T) {
	f := startSlow(t)
	f.send(false, "alice@mail.test", "user@out.test", "Subject: x\n\ny\n")
	command, err := unix.PidfdOpen(f.begun(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(command)
	if err := f.Stop(f.ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(command), Events: unix.POLLIN}}, 30_000); n != 1 {
		t.Fatalf("the command is still there: %v", err)
	}
	if n := f.delivered(); n != 0 {
		t.Errorf("delivered %d times by a command that was ended", n)
	}
	if len(f.Queue()) == 0 {
		t.Error("the message is gone")
	}
	f.apply()
	f.begun()
	f.goOn()
	f.log(`to=<user@out.test>, relay=slow, .*status=sent \(delivered via slow service\)`)
	if n := f.delivered(); n != 1 {
		t.Errorf("delivered %d times", n)
	}
	if err := f.WaitEmpty(f.ctx); err != nil {
		t.Error(err)
	}
}

// TestDamagedMessageAtACommand: the command never gets to the end of a message that
// has none, and the message is saved.
func TestDamagedMessageAtACommand(t *testing.T) {
	f := newFiltering(t, startStrictSink(t))
	script := f.file("keep", "#!/bin/sh\ncat >"+f.dir+"/part.$$ && mv "+f.dir+"/part.$$ "+f.dir+"/whole.$$\n", 0o755)
	f.Services = append(f.Services, "keep unix - n n - - pipe "+f.places.Replace("user=filter")+" argv="+script)
	f.Params["transport_maps"] = "inline:{{b.test=keep:}}"
	f.Params["relay_domains"] = "b.test"
	f.apply()
	for n := 1; n <= 2; n++ {
		data := numbered(queue.Incoming, fmt.Sprintf("m%d", n))
		if n == 1 {
			data = damage(t, data, "body of m1")
		}
		if _, err := store(f.ctx, queueOf(f.Instance), queue.Incoming, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Command(f.ctx, nil, "postqueue", "-f"); err != nil {
		t.Fatal(err)
	}
	f.log(`pipe\[\d+\]: \w+: to=<.*@b.test>, relay=keep, .*dsn=2.0.0, status=sent`)
	f.log(`pipe\[\d+\]: \w+: to=<.*@b.test>, relay=keep, .*dsn=4.3.0, status=deferred \(queue file read error\)`)
	if err := harness.Poll(f.ctx, func() (bool, error) {
		n := f.Queue()
		return len(n) == 1 && n["corrupt"] == 1, nil
	}); err != nil {
		t.Errorf("in the queue: %v", f.Queue())
	}
	whole, _ := filepath.Glob(filepath.Join(f.dir, "whole.*"))
	if len(whole) != 1 {
		t.Errorf("the command took %d messages for whole ones", len(whole))
	}
}

// TestServiceThatCannotBe: the log names the service of master.cf and what is wrong
// with it; its mail waits, and other mail does not.
func TestServiceThatCannotBe(t *testing.T) {
	f := newFiltering(t, startStrictSink(t))
	f.Services = append(f.Services, "bad unix - n n - - pipe "+f.places.Replace("user=filter")+" flags=RZ argv=/bin/true",
		"good unix - n n - - pipe "+f.places.Replace("user=filter")+" argv=/bin/ls /proc/self/fd")
	f.Params["transport_maps"] = "inline:{{out.test=bad:}, {good.out.test=good:}}"
	f.apply()
	f.send(false, "alice@mail.test", "user@out.test", "Subject: x\n\ny\n")
	f.log(`postfix/pipe\[\d+\]: warning: \w+: master.cf: service bad: unknown flag 'Z' in flags=RZ; there are BDFORXhqu.>$`)
	f.log(`to=<user@out.test>, relay=bad, .*dsn=4.3.5, status=deferred \(mail system configuration error\)$`)
	f.send(false, "alice@mail.test", "user@good.out.test", "Subject: x\n\ny\n")
	// The command has no descriptors but its own; 3 is the directory that ls reads.
	f.log(`to=<user@good.out.test>, relay=good, .*status=sent \(delivered via good service \(0 1 2 3\)\)$`)
}

// TestCommandTimeLimit: the limit of the service, not the general one.
func TestCommandTimeLimit(t *testing.T) {
	f := startSlow(t)
	f.set("slow_time_limit", "1s")
	f.apply()
	f.send(false, "alice@mail.test", "user@out.test", "Subject: x\n\ny\n")
	f.log(`to=<user@out.test>, relay=slow, .*dsn=5.3.0, status=bounced \(Command time limit exceeded: ".*/slow"\)`)
	if bounce := f.mail("alice", 1)[0]; !strings.Contains(bounce, "Command time limit exceeded") {
		t.Errorf("the notification does not say why:\n%s", bounce)
	}
	f.quiet("")
}
