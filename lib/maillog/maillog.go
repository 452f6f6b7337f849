// Package maillog writes the mail log. Its text form is Postfix's to the byte
// (protocols.md §7.1), so that programs that read Postfix's log read ours:
//
//	Nov 22 19:22:53 mail postfix/smtpd[5192]: connect from localhost[127.0.0.1]
//
// The same events can be written as JSON lines (maillog_format = json).
//
// # Events
//
// Whatever happens to mail is an Event: a small struct that knows its text and
// its fields. One file of this package per daemon holds that daemon's events,
// so the form of all lines is found in one place. Free text for everything else
// goes through Infof, Warnf, Errorf, Fatalf and Verbosef.
//
// The bracket after the tag shows the process id in a line about the process,
// and the session number in a line about a session: one worker serves many
// sessions, and readers of the log follow a session by that number. JSON lines
// have both.
//
// # Sinks
//
// A line goes to the first of these that is configured (Options): a writer, the
// datagram socket of postlogd, syslog's /dev/log. A line costs one system call
// and takes no lock, so a log line is with postlogd before the daemon goes on,
// and the lines of one message are in order over all daemons.
//
// postlogd that cannot take a line delays its sender for at most a second, once.
// Then, and for a second after that, lines go to the log file directly (programs
// that may: Options.Direct), else to syslog. A line that nobody takes is
// counted, and the count is logged when postlogd is back.
//
// # Foreign text
//
// Text of peers is cut at 2000 bytes, and what is not printable is shown as '?':
// one event is always one line.
package maillog

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Severity of a line; the text form is the prefix "warning: " etc. (§7.1).
type Severity int

const (
	Info Severity = iota
	Warning
	Error
	Fatal
	Panic
)

// String is the word before the text; Info has none.
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warning:
		return "warning"
	case Error:
		return "error"
	case Fatal:
		return "fatal"
	}
	return "panic"
}

// Field is one named value of an event, for the JSON form. Value is a string,
// a number, a bool or a list of these.
type Field struct {
	Key   string
	Value any
}

// An Event is one thing that happened to mail: it knows its text, which is
// Postfix's to the byte, and its fields for JSON. One type per event; events of
// a daemon live in a file of this package named after it (smtpd.go, qmgr.go,
// delivery.go ...), so that the form of log lines lives in one package.
type Event interface {
	Name() string               // "connect", "delivery": the JSON event name
	AppendText(b []byte) []byte // without "warning: " and without tag
	Fields() []Field
}

// Formats of a log (maillog_format).
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Options say what a logger's lines look like and where they go.
type Options struct {
	SyslogName string // first half of the tag; empty: postfix
	Program    string // second half of the tag: smtpd
	Tag        string // the whole tag, if not empty (postlog -t)
	Verbose    int    // number of -v options
	Format     string // FormatText (also when empty) or FormatJSON
	Facility   string // of syslog; empty: mail

	// Writer, when not nil, takes all lines, one Write each, newline included.
	Writer io.Writer
	// Postlog is the path of postlogd's socket; empty: syslog.
	Postlog string
	// Direct is the log file that is appended to while postlogd is absent or does
	// not read; empty: none. Only for programs that run without postlogd by nature
	// (postlog, master, sealpost).
	Direct     string
	DirectMode os.FileMode // of a new log file; 0: 0600
	// Stderr, when not nil, gets a copy of each line in the short form that
	// commands use: "postqueue: warning: text".
	Stderr io.Writer
	// Hostname: empty is POSTLOG_HOSTNAME, else the system's.
	Hostname string

	// Clock and Exit are time.Now and os.Exit when nil (tests).
	Clock func() time.Time
	Exit  func(int)
}

// A Logger writes lines for one program or one session in it. It is safe for
// concurrent use. A nil *Logger discards (tests).
type Logger struct {
	core    *core
	session uint64 // 0: about the process
	verbose int32  // at least this verbose
}

// core is what all loggers of a program share.
type core struct {
	tag     string
	host    string
	pid     int
	short   string // program name for stderr
	verbose atomic.Int32
	sink    sink
	stderr  io.Writer
	clock   func() time.Time
	exit    func(int)
	stamp   atomic.Pointer[stamp]
	lines   sync.Pool // *[]byte
	json    *jsonForm // nil: text
}

// New returns a logger. It does not fail: a sink that cannot be opened now is
// tried again, and lines meanwhile take the way the package comment describes.
func New(o Options) *Logger {
	if o.SyslogName == "" {
		o.SyslogName = "postfix"
	}
	c := &core{
		tag: o.SyslogName + "/" + o.Program, pid: os.Getpid(), short: o.Program,
		stderr: o.Stderr, clock: o.Clock, exit: o.Exit, host: shortHostname(o.Hostname),
	}
	if o.Tag != "" {
		c.tag, c.short = o.Tag, o.Tag
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	if c.exit == nil {
		c.exit = os.Exit
	}
	c.verbose.Store(int32(o.Verbose))
	c.lines.New = func() any { b := make([]byte, 0, 512); return &b }
	if o.Format == FormatJSON {
		c.json = newJSONForm(c)
	}
	c.sink = newSink(o, c)
	return &Logger{core: c}
}

// Discard is a logger that drops everything.
func Discard() *Logger { return nil }

// Session returns a logger whose bracket shows the session number n instead of
// the process id (DESIGN §3, Traps).
func (l *Logger) Session(n uint64) *Logger {
	if l == nil {
		return nil
	}
	return &Logger{core: l.core, session: n, verbose: l.verbose}
}

// WithVerbose returns a logger with at least the given verbosity (debug_peer_list).
func (l *Logger) WithVerbose(level int) *Logger {
	if l == nil {
		return nil
	}
	v := *l
	v.verbose = max(v.verbose, int32(level))
	return &v
}

// SetVerbosity changes the verbosity of the program while it runs.
func (l *Logger) SetVerbosity(level int) {
	if l != nil {
		l.core.verbose.Store(int32(level))
	}
}

// Verbosity is 0, or the number of -v options.
func (l *Logger) Verbosity() int {
	if l == nil {
		return 0
	}
	return int(max(l.verbose, l.core.verbose.Load()))
}

// Log writes an event.
func (l *Logger) Log(sev Severity, ev Event) {
	if l == nil {
		return
	}
	if l.core.json != nil || l.core.stderr != nil {
		text := ev.AppendText(make([]byte, 0, 256))
		l.emit(sev, false, ev.Name(), text, ev.Fields())
		return
	}
	buf := l.core.lines.Get().(*[]byte)
	b, h := l.head((*buf)[:0], sev)
	at := len(b)
	b = clean(ev.AppendText(b), at)
	l.core.sink.write(sev, b, h)
	*buf = b
	l.core.lines.Put(buf)
}

// Infof, Warnf, Errorf write free text; foreign text in it is made printable.
func (l *Logger) Infof(format string, args ...any)  { l.logf(Info, format, args) }
func (l *Logger) Warnf(format string, args ...any)  { l.logf(Warning, format, args) }
func (l *Logger) Errorf(format string, args ...any) { l.logf(Error, format, args) }

// Fatalf logs, waits a second as Postfix does, and exits with status 1. The
// pause keeps a program that fails at start from spinning.
func (l *Logger) Fatalf(format string, args ...any) {
	l.die(Fatal, format, args)
}

// Panicf is Fatalf for what cannot happen.
func (l *Logger) Panicf(format string, args ...any) {
	l.die(Panic, format, args)
}

func (l *Logger) die(sev Severity, format string, args []any) {
	if l == nil {
		fmt.Fprintf(os.Stderr, sev.String()+": "+format+"\n", args...)
		os.Exit(1)
	}
	l.logf(sev, format, args)
	l.Flush()
	time.Sleep(time.Second)
	l.core.exit(1)
}

// Verbosef writes when the verbosity is at least 1: what was decided and why.
func (l *Logger) Verbosef(format string, args ...any) {
	if l == nil || l.Verbosity() == 0 {
		return
	}
	l.emit(Info, true, "", fmt.Appendf(nil, format, args...), nil)
}

// Text writes a line as given, without formatting.
func (l *Logger) Text(sev Severity, text string) {
	if l != nil {
		l.emit(sev, false, "", []byte(text), nil)
	}
}

// Flush waits until what was logged so far was handed to the sink. Every line is
// handed over before its call returns, so only a broken sink is retried here.
func (l *Logger) Flush() {
	if l != nil {
		l.core.sink.flush()
	}
}

// Chrooted tells that the program's working directory is now the queue
// directory dir and that its root may be: postlogd's socket, when it is below
// dir, is from now on opened by a relative name.
func (l *Logger) Chrooted(dir string) {
	if l == nil {
		return
	}
	if p, ok := l.core.sink.(*postlogSink); ok {
		p.relativeTo(dir)
	}
}

// Lost is the number of lines that no sink took.
func (l *Logger) Lost() int64 {
	if l == nil {
		return 0
	}
	if p, ok := l.core.sink.(*postlogSink); ok {
		return p.lost.Load()
	}
	return 0
}

func (l *Logger) logf(sev Severity, format string, args []any) {
	if l != nil {
		l.emit(sev, false, "", fmt.Appendf(nil, format, args...), nil)
	}
}

// emit writes one line of any form. text is ours to change.
func (l *Logger) emit(sev Severity, debug bool, event string, text []byte, fields []Field) {
	text = clean(text, 0)
	c := l.core
	if c.stderr != nil {
		c.toStderr(sev, text)
	}
	if c.json != nil {
		c.json.write(l, sev, debug, event, text, fields)
		return
	}
	buf := c.lines.Get().(*[]byte)
	b, h := l.head((*buf)[:0], sev)
	b = append(b, text...)
	c.sink.write(sev, b, h)
	*buf = b
	c.lines.Put(buf)
}

func (c *core) toStderr(sev Severity, text []byte) {
	var s strings.Builder
	s.WriteString(c.short)
	s.WriteString(": ")
	if sev != Info {
		s.WriteString(sev.String())
		s.WriteString(": ")
	}
	s.Write(text)
	s.WriteByte('\n')
	io.WriteString(c.stderr, s.String())
}
