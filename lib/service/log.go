package service

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
)

// LogOptions are what OpenLog needs besides main.cf.
type LogOptions struct {
	Program string
	Verbose int
	Tag     string    // postlog -t
	Stderr  io.Writer // copies lines there
	Direct  bool      // may write maillog_file itself while postlogd is absent
	Writer  io.Writer // takes the lines instead of postlogd or syslog
}

// logSettings are the parameters of the log.
type logSettings struct {
	SyslogName     string `conf:"syslog_name"`
	Hostname       string `conf:"myhostname"`
	SyslogFacility string `conf:"syslog_facility"`
	File           string `conf:"maillog_file"`
	Permissions    int    `conf:"maillog_file_permissions"`
	Format         string `conf:"maillog_format"`
	Service        string `conf:"postlog_service_name"`
	QueueDirectory string `conf:"queue_directory"`
}

// OpenLog returns the logger that main.cf describes: postlogd where maillog_file
// is set, else syslog (§2.13). Commands use it too.
func OpenLog(cfg *config.Config, o LogOptions) (*maillog.Logger, error) {
	var s logSettings
	if err := cfg.Decode(&s); err != nil {
		return nil, err
	}
	if !maillog.ValidFacility(s.SyslogFacility) {
		return nil, fmt.Errorf("bad value for parameter syslog_facility: %q is not a facility", s.SyslogFacility)
	}
	mo := maillog.Options{
		SyslogName: s.SyslogName, Program: o.Program, Tag: o.Tag, Verbose: o.Verbose,
		Format: s.Format, Facility: s.SyslogFacility, Stderr: o.Stderr, Writer: o.Writer, Hostname: s.Hostname,
	}
	if s.File != "" {
		mo.Postlog = filepath.Join(s.QueueDirectory, "public", s.Service)
		if o.Direct {
			mo.Direct, mo.DirectMode = s.File, os.FileMode(s.Permissions)
		}
	}
	return maillog.New(mo), nil
}

// earlyLog is the log before main.cf was read: the one that master or sealpost
// named in the environment, else syslog; and standard error, when a person
// started the program.
func earlyLog(program string) maillog.Options {
	o := maillog.Options{Program: program, SyslogName: os.Getenv("MAIL_LOGTAG"), Postlog: os.Getenv("POSTLOG_SERVICE")}
	if isTerminal(2) {
		o.Stderr = os.Stderr
	}
	return o
}
