package service

import (
	"fmt"
	"strconv"
	"strings"

	"sealpost/lib/config"
)

// options are the command line of a worker (§3.2).
type options struct {
	chroot       bool // -c
	notDaemon    bool // -d
	single       bool // -l: maxproc is 1
	unlimited    bool // -z: maxproc is 0
	standAlone   bool // -S
	unprivileged bool // -u
	stderr       bool // -V
	verbose      int  // -v
	sockets      int  // -s
	maxIdle      string
	name         string // -n
	transport    string // -t
	overrides    []config.Override
	args         []string
}

// flagLetters and valueLetters are all that a worker takes: those that mean
// nothing here (-D, -m, -r) are accepted, since master.cf files have them.
const (
	flagLetters  = "cdDlSuvVz"
	valueLetters = "imnorst"
)

// parseArgs reads the arguments after the program name. The service name is the
// program's unless -n says otherwise.
func parseArgs(program string, argv []string) (*options, error) {
	o := &options{name: program, sockets: 1}
	for len(argv) > 0 {
		arg := argv[0]
		if arg == "--" {
			argv = argv[1:]
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		argv = argv[1:]
		for arg = arg[1:]; arg != ""; {
			letter := arg[0]
			arg = arg[1:]
			if strings.IndexByte(flagLetters, letter) >= 0 {
				o.flag(letter)
				continue
			}
			if strings.IndexByte(valueLetters, letter) < 0 {
				return nil, fmt.Errorf("invalid option: -%c", letter)
			}
			if arg == "" {
				if len(argv) == 0 {
					return nil, fmt.Errorf("option -%c requires an argument", letter)
				}
				arg, argv = argv[0], argv[1:]
			}
			if err := o.value(letter, arg); err != nil {
				return nil, err
			}
			arg = ""
		}
	}
	o.args = argv
	return o, nil
}

func (o *options) flag(letter byte) {
	switch letter {
	case 'c':
		o.chroot = true
	case 'd':
		o.notDaemon = true
	case 'l':
		o.single = true
	case 'S':
		o.standAlone = true
	case 'u':
		o.unprivileged = true
	case 'v':
		o.verbose++
	case 'V':
		o.stderr = true
	case 'z':
		o.unlimited = true
	}
}

func (o *options) value(letter byte, v string) error {
	switch letter {
	case 'i':
		o.maxIdle = v
	case 'n':
		o.name = v
	case 'o':
		name, val, ok := strings.Cut(v, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return fmt.Errorf("bad -o argument %q: missing '=' after attribute name", v)
		}
		o.overrides = append(o.overrides, config.Override{Name: name, Value: strings.TrimSpace(val)})
	case 's':
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxSockets {
			return fmt.Errorf("invalid socket_count: %s", v)
		}
		o.sockets = n
	case 't':
		o.transport = v
	}
	return nil
}

// maxSockets bounds -s: one descriptor per address of a service.
const maxSockets = 1000

// check makes the remaining checks of §3.2.
func (o *options) check(s *Spec, stdinTerminal bool) error {
	if stdinTerminal && !o.standAlone && !o.notDaemon {
		return fmt.Errorf("do not run this command by hand")
	}
	if !o.standAlone && o.transport == "" {
		return fmt.Errorf("no transport type specified")
	}
	switch o.transport {
	case "", "inet", "unix", "fifo", "pass", "unix-dgram":
	default:
		return fmt.Errorf("unsupported transport type: %s", o.transport)
	}
	if s.NeedSingle && !o.single && !o.standAlone {
		return fmt.Errorf("service %s requires a process limit of 1", o.name)
	}
	if s.NeedUnlimited && !o.unlimited && !o.standAlone {
		return fmt.Errorf("service %s requires a process limit of 0", o.name)
	}
	if s.NeedPrivilege && o.unprivileged {
		return fmt.Errorf("service %s requires privileged operation", o.name)
	}
	if !s.TakesArgs && len(o.args) > 0 {
		return fmt.Errorf("unexpected command-line argument: %s", o.args[0])
	}
	return nil
}

// stress reports whether master gives this service stress values (it does to
// those that strangers reach), and whether the value is on.
func (o *options) stress() (eligible, on bool) {
	for _, v := range o.overrides {
		if v.Name == "stress" {
			eligible, on = true, v.Value != ""
		}
	}
	return eligible, on
}
