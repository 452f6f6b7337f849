package maillog

import (
	"errors"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// syslogPath is where the system logger listens.
const syslogPath = "/dev/log"

// facilities are the names of syslog_facility and their codes (RFC 3164 §4.1.1).
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6,
	"news": 7, "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11, "local0": 16,
	"local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21,
	"local6": 22, "local7": 23,
}

// ValidFacility reports whether name is a syslog facility.
func ValidFacility(name string) bool {
	_, ok := facilities[name]
	return ok
}

// syslogSink sends lines to /dev/log in the form of RFC 3164 as local programs
// send it: without host name.
type syslogSink struct {
	core     *core
	path     string
	facility int
	fd       atomic.Int32 // descriptor plus one; 0: not connected
	mu       sync.Mutex
	opened   int
}

func newSyslog(o Options, c *core) *syslogSink {
	f, ok := facilities[o.Facility]
	if !ok {
		f = facilities["mail"]
	}
	return &syslogSink{core: c, path: syslogPath, facility: f}
}

// syslogSeverity is RFC 3164's number: info 6, warning 4, err 3, crit 2.
func syslogSeverity(s Severity) int {
	switch s {
	case Info:
		return 6
	case Warning:
		return 4
	case Error:
		return 3
	}
	return 2
}

func (s *syslogSink) write(sev Severity, line []byte, tag int) { s.take(sev, line, tag) }
func (s *syslogSink) flush()                                   {}

func (s *syslogSink) take(sev Severity, line []byte, tag int) bool {
	buf := s.core.lines.Get().(*[]byte)
	defer s.core.lines.Put(buf)
	b := append((*buf)[:0], '<')
	b = strconv.AppendInt(b, int64(8*s.facility+syslogSeverity(sev)), 10)
	b = append(b, '>')
	b = syslogStamp(b, s.core.stampText())
	b = append(b, ' ')
	if tag == 0 {
		l := Logger{core: s.core}
		b = l.appendTag(b, Info)
	}
	b = append(b, line[tag:]...)
	*buf = b
	return s.send(b)
}

func (s *syslogSink) send(b []byte) bool {
	if fd := s.fd.Load(); fd > 0 {
		if _, err := unix.Write(int(fd-1), b); err == nil {
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 2 {
		if fd := s.fd.Load(); fd > 0 {
			_, err := unix.Write(int(fd-1), b)
			if err == nil {
				return true
			}
			if errors.Is(err, unix.EAGAIN) {
				p := []unix.PollFd{{Fd: fd - 1, Events: unix.POLLOUT}}
				unix.Poll(p, int(maxWait.Milliseconds())) //nolint:errcheck // the next write tells
				continue
			}
		}
		fd, err := dialDatagram(s.path)
		if err != nil {
			return false
		}
		if s.opened > 0 {
			err := unix.Dup3(fd, s.opened-1, unix.O_CLOEXEC)
			unix.Close(fd)
			if err != nil {
				return false
			}
			fd = s.opened - 1
		}
		s.opened = fd + 1
		s.fd.Store(int32(fd + 1))
	}
	return false
}

// dialDatagram connects a non-blocking datagram socket. A path that is too long
// for a socket address is reached through its directory's descriptor.
func dialDatagram(path string) (int, error) {
	const maxPath = 107
	if len(path) > maxPath {
		dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		defer unix.Close(dir)
		path = "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
