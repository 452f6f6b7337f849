package queue

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sealpost/lib/dsn"
	"sealpost/lib/filelock"
	"sealpost/lib/mailproto"
)

// StatusRecord is one recipient's status in a bounce, defer or trace log (§4.7).
type StatusRecord struct {
	Recipient mailproto.Recipient // addresses in external (quoted) form
	Status    dsn.Status
}

// AppendStatusRecord appends the text form of a record. compat also writes the
// line "<addr>: reason" (backwards_bounce_logfile_compatibility). Control
// characters in values become "?": a remote server's reply must not be able to
// forge lines.
func AppendStatusRecord(b []byte, rec StatusRecord, compat bool) []byte {
	r, s := &rec.Recipient, &rec.Status
	b = append(b, '\n')
	if compat {
		b = append(b, '<')
		b = appendClean(b, r.Addr)
		b = append(b, ">: "...)
		b = append(appendClean(b, s.Reason), '\n')
	}
	addr := r.Addr
	if addr == "" {
		addr = "<>"
	}
	b = appendLine(b, "recipient", addr)
	if r.OrigAddr != "" && !strings.EqualFold(r.OrigAddr, r.Addr) {
		b = appendLine(b, "original_recipient", r.OrigAddr)
	}
	if r.Offset > 0 {
		b = appendLine(b, "offset", strconv.FormatInt(r.Offset, 10))
	}
	if r.OrigRcpt != "" {
		b = appendLine(b, "dsn_orig_rcpt", r.OrigRcpt)
	}
	if r.Notify != 0 {
		b = appendLine(b, "notify_flags", strconv.Itoa(int(r.Notify)))
	}
	b = appendLine(b, "status", s.Code)
	b = appendLine(b, "action", s.Action)
	if s.DiagType != "" && s.DiagText != "" {
		b = appendLine(b, "diag_type", s.DiagType)
		b = appendLine(b, "diag_text", s.DiagText)
	}
	if s.MTAType != "" && s.MTAName != "" {
		b = appendLine(b, "mta_type", s.MTAType)
		b = appendLine(b, "mta_mname", s.MTAName)
	}
	b = appendLine(b, "reason", s.Reason)
	return append(b, '\n')
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, '=')
	return append(appendClean(b, value), '\n')
}

func appendClean(b []byte, s string) []byte {
	start := len(b)
	b = append(b, s...)
	for i, c := range b[start:] {
		if c < ' ' || c == 0x7f {
			b[start+i] = '?'
		}
	}
	return b
}

// AppendStatus adds a record to the log of message id in the log directory
// service (Bounce, Defer, Trace), durably: exclusive lock, write, fsync, and for
// a new log fsync of its directory. When that fails the file is truncated back
// and the error returned.
func (q *Queue) AppendStatus(ctx context.Context, service, id string, rec StatusRecord, compat bool) error {
	if err := check(id, service); err != nil {
		return err
	}
	// Goroutines of this process queue here; the lock is for other processes.
	mu := &q.logs[maphash.String(q.seed, id)%uint64(len(q.logs))]
	mu.Lock()
	defer mu.Unlock()
	f, err := q.lockLog(ctx, service, id)
	if err != nil {
		return err
	}
	path, fd := f.Name(), int(f.Fd())
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	b := AppendStatusRecord(make([]byte, 0, 512), rec, compat)
	if err = q.fs.pwrite(fd, path, b, size); err == nil {
		err = q.fs.fsync(fd, path)
	}
	if err == nil && size == 0 {
		err = q.dirs.Sync(ctx, q.dir(service, id))
	}
	if err != nil {
		if e := f.Truncate(size); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

// lockLog opens and locks a log. Another process may remove the log between the
// two; then there is a new one to make.
func (q *Queue) lockLog(ctx context.Context, service, id string) (*os.File, error) {
	path := q.Path(service, id)
	for {
		fd, err := q.fs.open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, uint32(ModeWriting))
		if errors.Is(err, fs.ErrNotExist) && q.hash(service, id) != "" {
			if err := q.mkdirs(service, id); err != nil {
				return nil, err
			}
			fd, err = q.fs.open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, uint32(ModeWriting))
		}
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), path)
		var st unix.Stat_t
		if err = filelock.Lock(ctx, f, filelock.Exclusive); err == nil {
			err = q.fs.fstat(fd, path, &st)
		}
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			err = fmt.Errorf("%s: %w: not a regular file", path, ErrNotReady)
		}
		if err == nil && st.Nlink > 0 {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// OpenLog opens a log for reading, with a shared lock.
func (q *Queue) OpenLog(ctx context.Context, service, id string) (*os.File, error) {
	if err := check(id, service); err != nil {
		return nil, err
	}
	path := q.Path(service, id)
	fd, err := q.fs.open(path, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if err := filelock.Lock(ctx, f, filelock.Shared); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// LogSize is the size of a message's log; an error that is fs.ErrNotExist when
// there is none. An empty log is of no use and may be removed.
func (q *Queue) LogSize(service, id string) (int64, error) {
	if err := check(id, service); err != nil {
		return 0, err
	}
	path := q.Path(service, id)
	var st unix.Stat_t
	if err := retry("stat", path, func() error { return unix.Stat(path, &st) }); err != nil {
		return 0, err
	}
	return st.Size, nil
}

// Values of a record that lacks them (§4.7).
const (
	noRecipient = "(recipient address unavailable)"
	noReason    = "(description unavailable)"
)

// DefaultStatus is the status that a record in the log directory service has
// when it names none.
func DefaultStatus(service string) dsn.Status {
	if service == Defer {
		return dsn.Status{Code: dsn.Code400, Action: dsn.ActionDelayed}
	}
	return dsn.Status{Code: dsn.Code500, Action: dsn.ActionFailed}
}

// maxLogLine bounds a line of a log; the rest of a longer one is dropped.
const maxLogLine = 64 << 10

// StatusLog reads the records of a status log. It is tolerant: unknown names
// are skipped, missing values get Postfix's defaults, old-style lines are read.
type StatusLog struct {
	r        *bufio.Reader
	defaults dsn.Status
	line     []byte
}

// NewStatusLog reads from r. defaults is the status of a record that names none
// (DefaultStatus).
func NewStatusLog(r io.Reader, defaults dsn.Status) *StatusLog {
	return &StatusLog{r: bufio.NewReader(r), defaults: defaults}
}

// Next returns the next record; io.EOF after the last.
func (l *StatusLog) Next() (StatusRecord, error) {
	rec := StatusRecord{Status: l.defaults}
	rec.Recipient.Addr, rec.Status.Reason = noRecipient, noReason
	some, named := false, false
	for {
		line, err := l.read()
		if err != nil && err != io.EOF {
			return StatusRecord{}, err
		}
		switch {
		case len(line) > 0:
			some = true
			if line[0] == '<' && !named {
				rec.oldStyle(string(line))
			} else {
				named = rec.set(line) || named
			}
		case some:
			return rec, nil
		case err == io.EOF:
			return StatusRecord{}, io.EOF
		}
	}
}

// read returns a line without its end, empty at the end of the file.
func (l *StatusLog) read() ([]byte, error) {
	l.line = l.line[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if room := maxLogLine - len(l.line); len(part) > room {
			part = part[:room]
		}
		l.line = append(l.line, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		return bytes.TrimRight(l.line, "\r\n"), err
	}
}

// oldStyle takes "<address>: reason", the only line of a record in old logs.
func (rec *StatusRecord) oldStyle(line string) {
	if addr, reason, ok := strings.Cut(line[1:], ">: "); ok {
		rec.Recipient.Addr, rec.Status.Reason = addr, reason
	}
}

// set takes name=value and reports whether it knows the name.
func (rec *StatusRecord) set(line []byte) bool {
	name, v, ok := cutAttr(line)
	if !ok {
		return false
	}
	value := string(v)
	r, s := &rec.Recipient, &rec.Status
	switch string(name) {
	case "recipient":
		r.Addr = value
		if value == "<>" {
			r.Addr = ""
		}
	case "original_recipient":
		r.OrigAddr = value
	case "offset":
		r.Offset = max(atoi(value), 0)
	case "dsn_orig_rcpt":
		r.OrigRcpt = value
	case "notify_flags":
		if n := dsn.Notify(atoi(value)); n.Valid() {
			r.Notify = n
		}
	case "status":
		if dsn.ValidCode(value) {
			s.Code = value
		}
	case "action":
		s.Action = value
	case "diag_type":
		s.DiagType = value
	case "diag_text":
		s.DiagText = value
	case "mta_type":
		s.MTAType = value
	case "mta_mname":
		s.MTAName = value
	case "reason":
		s.Reason = value
	default:
		return false
	}
	return true
}

func atoi(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
