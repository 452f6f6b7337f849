package service

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sealpost/lib/config"
)

func TestParseArgs(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		want options
	}{
		{"nothing", "", options{name: "smtpd", sockets: 1}},
		{"as master writes it", "-n smtp -t inet -u -c -o stress= -s 2", options{
			name: "smtp", transport: "inet", unprivileged: true, chroot: true, sockets: 2,
			overrides: []config.Override{{Name: "stress"}},
		}},
		{"one process", "-l -t unix -u", options{name: "smtpd", single: true, transport: "unix", unprivileged: true, sockets: 1}},
		{"no limit", "-z -t unix -v -v", options{name: "smtpd", unlimited: true, transport: "unix", verbose: 2, sockets: 1}},
		{"joined", "-dzvvtunix -nx", options{name: "x", notDaemon: true, unlimited: true, transport: "unix", verbose: 2, sockets: 1}},
		{"accepted and ignored", "-D -m 100 -r 1000 -i 10s -SV", options{
			name: "smtpd", maxIdle: "10s", standAlone: true, stderr: true, sockets: 1,
		}},
		{"value with equals sign", "-o a=b=c", options{
			name: "smtpd", sockets: 1, overrides: []config.Override{{Name: "a", Value: "b=c"}},
		}},
		{"the daemon's words", "-t unix flags=R -x argv", options{
			name: "smtpd", transport: "unix", sockets: 1, args: []string{"flags=R", "-x", "argv"},
		}},
		{"dashes end the options", "-t unix -- -x", options{name: "smtpd", transport: "unix", sockets: 1, args: []string{"-x"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseArgs("smtpd", strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.args) == 0 {
				got.args = nil
			}
			if d := cmp.Diff(tt.want, *got, cmp.AllowUnexported(options{})); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestParseArgsRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-q":       "invalid option: -q",
		"-t":       "option -t requires an argument",
		"-s 0":     "invalid socket_count: 0",
		"-s x":     "invalid socket_count: x",
		"-s 99999": "invalid socket_count: 99999",
		"-o name":  "missing '='",
		"-o =x":    "missing '='",
	} {
		if _, err := parseArgs("smtpd", strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestCheckArgs(t *testing.T) {
	for _, tt := range []struct {
		args     string
		spec     Spec
		terminal bool
		want     string
	}{
		{"-t unix", Spec{}, false, ""},
		{"-S", Spec{NeedSingle: true}, true, ""},
		{"-d -t unix", Spec{}, true, ""},
		{"-t unix", Spec{}, true, "do not run this command by hand"},
		{"", Spec{}, false, "no transport type specified"},
		{"-t carrier-pigeon", Spec{}, false, "unsupported transport type: carrier-pigeon"},
		{"-t unix -n a", Spec{NeedSingle: true}, false, "service a requires a process limit of 1"},
		{"-t unix -l -n a", Spec{NeedUnlimited: true}, false, "service a requires a process limit of 0"},
		{"-t unix -u -n a", Spec{NeedPrivilege: true}, false, "service a requires privileged operation"},
		{"-t unix word", Spec{}, false, "unexpected command-line argument: word"},
		{"-t unix word", Spec{TakesArgs: true}, false, ""},
	} {
		o, err := parseArgs("x", strings.Fields(tt.args))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := o.check(&tt.spec, tt.terminal); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add("-n\nsmtp\n-t\ninet\n-o\nstress=\n-s\n2")
	f.Add("-vv\n--\n-x")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\n")
		o, err := parseArgs("x", slices.Clone(args))
		if err != nil {
			return
		}
		if o.sockets < 1 || o.sockets > maxSockets {
			t.Errorf("%d sockets", o.sockets)
		}
		// What is left is the end of what was given.
		if n := len(o.args); !slices.Equal(o.args, args[len(args)-n:]) {
			t.Errorf("left %q of %q", o.args, args)
		}
	})
}
