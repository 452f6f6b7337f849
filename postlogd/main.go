// # NAME
//
// postlogd - write the mail log
//
// # SYNOPSIS
//
//	postlogd [generic daemon options]
//
// # DESCRIPTION
//
// The postlogd daemon receives one datagram per log line from every program of
// the mail system, on the socket public/postlog, and appends the lines to
// maillog_file, or writes them to standard output when that is /dev/stdout. It is
// used when maillog_file is not empty; otherwise programs log to syslog
// themselves, and a line that arrives here nevertheless goes there too.
//
// Lines that arrive together are written together, in the order of arrival.
// Whatever is not printable in a line is shown as '?', so that one datagram is
// always one line.
//
// When the log file is removed or renamed, postlogd notices with the next line,
// at most a second later, and opens the file anew. When it has no longer the
// right to do so it leaves, and master starts a new one that opens the file
// before it drops privileges. The same happens at "sealpost reload", and when
// postlogd receives SIGHUP.
//
// postlogd runs alone in its service: its process limit in master.cf must be 1.
//
// # CONFIGURATION PARAMETERS
//
// Changes of main.cf take effect with "sealpost reload".
//
//   - maillog_file (empty): the log file, or /dev/stdout.
//   - maillog_file_permissions (0600): permissions of a new log file; 0600, 0640
//     or 0644.
//   - maillog_file_prefixes (/var, /dev/stdout): where the log file may be. A
//     system that does not run as root may also log below its configuration
//     directory and below the parent of its queue directory.
//   - maillog_format (text): the form of the lines that programs send; text is
//     Postfix's form, json is one JSON object per line.
//   - postlog_service_name (postlog): the name of the service in master.cf.
//   - postlogd_watchdog_timeout (10s): the longest time that one write may take;
//     then postlogd ends and master starts another.
//
// # DIAGNOSTICS
//
// Lines that could not be written are counted, and the count is logged when
// writing works again. A log file that cannot be opened at start is fatal; the
// reason goes to syslog.
//
// # SECURITY
//
// The socket is reached by members of the setgid group and by the mail system
// itself. What arrives is untrusted: lines are cut at 16384 bytes and made
// printable. The log file's name comes from main.cf only and must be below one of
// the allowed directories; a missing file is never made through a symbolic link.
//
// # SEE ALSO
//
// postlog(1), log a line from a script; postconf(5), configuration parameters;
// master(8), process manager; syslogd(8), system logging
package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"sealpost/lib/maillog"
	"sealpost/lib/service"
)

type settings struct {
	File      string        `conf:"maillog_file"`
	Mode      int           `conf:"maillog_file_permissions"`
	Prefixes  []string      `conf:"maillog_file_prefixes"`
	QueueDir  string        `conf:"queue_directory"`
	ConfigDir string        `conf:"config_directory"`
	Watchdog  time.Duration `conf:"postlogd_watchdog_timeout"`

	SyslogName string `conf:"syslog_name"`
	Facility   string `conf:"syslog_facility"`
}

func main() {
	service.Main(service.Spec{Program: "postlogd", Kind: service.MultiClient, NeedSingle: true, Init: start})
}

func start(env *service.Env) (*service.Worker, error) {
	var s settings
	if err := env.Config.Decode(&s); err != nil {
		return nil, err
	}
	if s.File == "" {
		return &service.Worker{Datagram: func(b []byte) {
			env.Log.Text(maillog.Info, string(maillog.CleanLine(b, maxLine)))
		}}, nil
	}
	early := env.Log
	mode, err := s.check(os.Geteuid() == 0)
	var f *logFile
	if err == nil {
		f, err = openLogFile(s.File, mode)
	}
	if err != nil {
		// Not through the socket that nobody reads now.
		env.Log = maillog.New(maillog.Options{
			Program: env.Program, SyslogName: s.SyslogName, Facility: s.Facility, Stderr: os.Stderr,
		})
		return nil, err
	}
	// postlogd's own lines do not pass its socket: it could wait for itself.
	log, err := service.OpenLog(env.Config, service.LogOptions{
		Program: env.Program, Verbose: env.Verbose, Writer: f,
	})
	if err != nil {
		return nil, err
	}
	env.Log = log
	f.log = log
	f.watchdog = service.NewWatchdog(s.Watchdog, func(what string) { early.Fatalf("watchdog timeout: %s", what) })
	f.lost = func() { env.Restart() }
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			f.reopen()
		}
	}()
	return &service.Worker{Datagram: f.add, Quiet: f.flush, Close: f.close}, nil
}
