package service

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
)

// ProtoControl is the greeting of a control socket.
const ProtoControl = "sealpost_control_protocol"

// controlTimeout bounds one exchange on a control socket.
const controlTimeout = 10 * time.Second

// control is a worker's control socket: private/ctl/TRANSPORT.NAME. Who may
// connect is decided by the directory's mode and by the peer's user id.
//
// The server greets, the client sends {request, level}, the server replies
// {status, pid, program, service, sessions, max_sessions, draining, verbose,
// uptime} and then {name, value} lists of the counters, in a list of lists (§1.3).
// The request "counts" is answered with {key, count} lists (Tally).
type control struct {
	ln   *net.UnixListener
	path string
	ino  uint64
	uid  uint32 // owner of the directory: mail_owner
}

// openControl opens the socket. A worker without it works: a failure is only
// worth a line.
func (p *process) openControl(s *server) *control {
	c, err := listenControl(p.opt.transport, p.opt.name)
	if err != nil {
		p.env.Log.Warnf("control socket: %v", err)
		return nil
	}
	started := time.Now()
	go func() {
		for {
			conn, err := c.ln.AcceptUnix()
			if err != nil {
				return
			}
			if !c.allowed(conn) {
				conn.Close()
				continue
			}
			go p.serveControl(s, conn, started)
		}
	}()
	return c
}

// listenControl binds under a name of its own and renames: during a reload the
// successor takes the path over from the worker that is leaving.
func listenControl(transport, service string) (*control, error) {
	owner, err := controlDir()
	if err != nil {
		return nil, err
	}
	path := ControlPath(transport, service)
	temp := ControlDir + "/." + strconv.Itoa(os.Getpid())
	os.Remove(temp)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	var st unix.Stat_t
	if err = unix.Stat(temp, &st); err == nil {
		if err = os.Chmod(temp, 0o600); err == nil {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		os.Remove(temp)
		ln.Close()
		return nil, err
	}
	return &control{ln: ln, path: path, ino: st.Ino, uid: owner}, nil
}

// controlDir makes the directory where it is missing and returns its owner. A
// privileged worker gives it to mail_owner, whose private/ is.
func controlDir() (owner uint32, err error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Dir(ControlDir), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: filepath.Dir(ControlDir), Err: err}
	}
	err = os.Mkdir(ControlDir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return st.Uid, nil
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Chown(ControlDir, int(st.Uid), int(st.Gid))
	}
	return st.Uid, err
}

// close removes the socket, unless it is a successor's already.
func (c *control) close() {
	if c == nil {
		return
	}
	c.ln.Close()
	var st unix.Stat_t
	if unix.Stat(c.path, &st) == nil && st.Ino == c.ino {
		os.Remove(c.path)
	}
}

// allowed reports whether the peer is root, mail_owner, or the user that this
// worker runs as.
func (c *control) allowed(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ok = err == nil && (cred.Uid == 0 || cred.Uid == c.uid || int(cred.Uid) == os.Geteuid())
	})
	return ok && err == nil
}

func (p *process) serveControl(s *server, conn *net.UnixConn, started time.Time) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(controlTimeout)) //nolint:errcheck // reads and writes tell
	var e attr.Encoder
	e.Str("protocol", ProtoControl)
	e.End()
	if _, err := conn.Write(e.Bytes()); err != nil {
		return
	}
	d := attr.NewDecoder(bufio.NewReaderSize(conn, 256), attr.Lenient)
	request := d.Str("request")
	level := d.Int("level")
	if d.End() != nil {
		return
	}
	status := 0
	switch request {
	case ControlStatus:
	case ControlCounts:
		p.env.Tally.serve(conn)
		return
	case ControlVerbose:
		if level < 0 || level > maxVerbose {
			status = 1
			break
		}
		p.env.Log.SetVerbosity(level)
		p.env.Log.Infof("verbosity is now %d", level)
	default:
		status = 1
	}
	e.Reset()
	p.workerStatus(s, started, status).append(&e)
	conn.Write(e.Bytes()) //nolint:errcheck // the client has gone
}

// Requests of the control protocol.
const (
	ControlStatus  = "status"  // level is ignored
	ControlVerbose = "verbose" // level is the new verbosity, 0 to 9
	// ControlCounts is for a successor: {key, count} lists of the worker's Tally, for
	// as long as the worker lives. level is ignored.
	ControlCounts = "counts"
	maxVerbose    = 9
)

// ErrControl: the worker refused a control request.
var ErrControl = errors.New("control request refused")

// WorkerStatus is what a worker tells about itself.
type WorkerStatus struct {
	PID              int
	Program, Service string
	Sessions         int
	MaxSessions      int // 0: no limit
	Draining         bool
	Stress           bool
	Verbose          int
	Started          time.Time
	Counts           []Count
	status           int
}

func (p *process) workerStatus(s *server, started time.Time, status int) *WorkerStatus {
	return &WorkerStatus{
		PID: os.Getpid(), Program: p.env.Program, Service: p.env.ServiceName,
		Sessions: s.active(), MaxSessions: p.env.MaxSessions, Draining: s.isStopped(),
		Stress: s.stress.on(), Verbose: p.env.Log.Verbosity(), Started: started,
		Counts: p.env.Counters.Snapshot(), status: status,
	}
}

func (w *WorkerStatus) append(e *attr.Encoder) {
	e.Int("status", w.status)
	e.Int("pid", w.PID)
	e.Str("program", w.Program)
	e.Str("service", w.Service)
	e.Int("sessions", w.Sessions)
	e.Int("max_sessions", w.MaxSessions)
	e.Bool("draining", w.Draining)
	e.Bool("stress", w.Stress)
	e.Int("verbose", w.Verbose)
	e.Long("started", w.Started.Unix())
	e.End()
	for _, c := range w.Counts {
		e.Str("name", c.Name)
		e.Long("value", c.Value)
		e.End()
	}
	e.End()
}

func readWorkerStatus(d *attr.Decoder) (*WorkerStatus, error) {
	w := &WorkerStatus{
		status: d.Int("status"), PID: d.Int("pid"), Program: d.Str("program"), Service: d.Str("service"),
		Sessions: d.Int("sessions"), MaxSessions: d.Int("max_sessions"), Draining: d.Bool("draining"),
		Stress: d.Bool("stress"), Verbose: d.Int("verbose"), Started: time.Unix(d.Long("started"), 0),
	}
	if err := d.End(); err != nil {
		return nil, err
	}
	for {
		more, err := d.More()
		if err != nil || !more {
			return w, err
		}
		c := Count{Name: d.Str("name"), Value: d.Long("value")}
		if err := d.End(); err != nil {
			return nil, err
		}
		w.Counts = append(w.Counts, c)
	}
}

// Control sends one request to the worker whose control socket path is, and
// returns its status after it.
func Control(path, request string, level int) (*WorkerStatus, error) {
	conn, err := net.DialTimeout("unix", path, controlTimeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return nil, err
	}
	d := attr.NewDecoder(bufio.NewReader(conn), attr.Lenient)
	d.Const("protocol", ProtoControl)
	if err := d.End(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var e attr.Encoder
	e.Str("request", request)
	e.Int("level", level)
	e.End()
	if _, err := conn.Write(e.Bytes()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	w, err := readWorkerStatus(d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if w.status != 0 {
		return w, fmt.Errorf("%s: %w", path, ErrControl)
	}
	return w, nil
}
