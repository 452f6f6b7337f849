package maillog

import (
	"bytes"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// Limits of JSON fields in bytes, so that a line stays below what postlogd takes.
const (
	maxJSONString = 1000 // one string
	maxJSONList   = 4000 // all strings of a list; the rest is left out
)

// jsonForm makes JSON lines with hclog. hclog has one buffer per logger and a
// lock around it; a pool of loggers keeps sessions from waiting for each other,
// and the system call is made outside.
type jsonForm struct {
	core *core
	pool sync.Pool // *jsonEncoder
}

type jsonEncoder struct {
	buf  bytes.Buffer
	log  hclog.Logger
	args []any
}

func newJSONForm(c *core) *jsonForm {
	f := &jsonForm{core: c}
	f.pool.New = func() any {
		e := &jsonEncoder{}
		e.log = hclog.New(&hclog.LoggerOptions{
			Name: c.tag, Level: hclog.Trace, JSONFormat: true, Output: &e.buf,
			TimeFn: c.clock, JSONEscapeDisabled: true,
		})
		return e
	}
	return f
}

func (f *jsonForm) write(l *Logger, sev Severity, debug bool, event string, text []byte, fields []Field) {
	e := f.pool.Get().(*jsonEncoder)
	defer f.pool.Put(e)
	e.buf.Reset()
	e.args = append(e.args[:0], "pid", f.core.pid)
	if l.session != 0 {
		e.args = append(e.args, "session", l.session)
	}
	if sev > Error {
		e.args = append(e.args, "severity", sev.String())
	}
	if event != "" {
		e.args = append(e.args, "event", event)
	}
	for _, field := range fields {
		e.args = append(e.args, field.Key, jsonValue(field.Value))
	}
	e.log.Log(hclogLevel(sev, debug), string(text), e.args...)
	f.core.sink.write(sev, bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")), 0)
}

func hclogLevel(sev Severity, debug bool) hclog.Level {
	switch {
	case debug:
		return hclog.Debug
	case sev == Info:
		return hclog.Info
	case sev == Warning:
		return hclog.Warn
	}
	return hclog.Error
}

func jsonValue(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > maxJSONString {
			b := []byte(v[:maxJSONString])
			makePrintable(b) // a rune that the cut divides becomes '?'
			return string(b)
		}
		return Printable(v)
	case []string:
		out := make([]string, 0, len(v))
		size := 0
		for _, s := range v {
			text := jsonValue(s).(string)
			if size += len(text); size > maxJSONList {
				break
			}
			out = append(out, text)
		}
		return out
	}
	return v
}
